/*
 * Connects a server's socket and a port of virtio-serial, in a guest
 *
 * Connects to the socket as soon as a program on the host has opened the other
 * end of the port, and forwards bytes in both directions until one side hangs
 * up.  A port cannot transfer descriptors.  One thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define POLL_INTERVAL_US 1000

/* Waits for the other end; until then poll() returns POLLHUP at once. */
static int open_port(const char *path)
{
    struct pollfd pfd = { .fd = open(path, O_RDWR) };

    if (pfd.fd < 0) {
        err(1, "%s", path);
    }
    while (poll(&pfd, 1, 0) > 0 && (pfd.revents & POLLHUP)) {
        usleep(POLL_INTERVAL_US);
    }
    return pfd.fd;
}

static int dial(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        err(1, "%s", path);
    }
    return fd;
}

/* Forwards available bytes; returns false at the end. */
static bool relay(int from, int to)
{
    char data[4096];
    ssize_t size = read(from, data, sizeof(data));

    for (ssize_t done = 0; done < size;) {
        ssize_t n = write(to, data + done, size - done);

        if (n < 0) {
            return false;
        }
        done += n;
    }
    return size > 0;
}

int main(int argc, char **argv)
{
    struct pollfd pfds[2] = { { .events = POLLIN }, { .events = POLLIN } };

    if (argc != 3) {
        errx(2, "usage: %s PORT SOCKET", argv[0]);
    }
    pfds[0].fd = open_port(argv[1]);
    pfds[1].fd = dial(argv[2]);

    while (poll(pfds, 2, -1) > 0) {
        for (int i = 0; i < 2; i++) {
            if (pfds[i].revents && !relay(pfds[i].fd, pfds[!i].fd)) {
                return 0;
            }
        }
    }
    err(1, "poll");
}
