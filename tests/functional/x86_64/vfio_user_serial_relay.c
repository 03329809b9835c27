/*
 * A server's socket at a port of virtio-serial, for a guest
 *
 * Connects to the socket as soon as somebody on the host has connected to the
 * other end of the port, and passes on what either of them says until one
 * hangs up.  Bytes only: a port carries no descriptors.  One thread.
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

#define BETWEEN_LOOKS_US 1000

/* A port without anybody at its other end is hung up, and ends no poll. */
static int open_port(const char *path)
{
    struct pollfd pfd = { .fd = open(path, O_RDWR) };

    if (pfd.fd < 0) {
        err(1, "%s", path);
    }
    while (poll(&pfd, 1, 0) > 0 && (pfd.revents & POLLHUP)) {
        usleep(BETWEEN_LOOKS_US);
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

/* Passes on what is there; false where that is the end. */
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
