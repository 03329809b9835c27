/*
 * vfio-user descriptors of a server
 *
 * Which descriptors are memory, and that closing a descriptor never blocks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include "hw/vfio/user/descriptor.h"
#include "vfio-user-peer.h"

static int memory(void)
{
    return memfd_create("test", MFD_CLOEXEC);
}

static int sealed_memory(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), ==, 0);
    return fd;
}

static int read_only_memory(void)
{
    int writable = memory();
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", writable);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    close(writable);
    return fd;
}

static int event(void)
{
    return eventfd(0, EFD_CLOEXEC);
}

static int device(void)
{
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int directory(void)
{
    return open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int file_of_proc(void)
{
    return open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
}

static const struct {
    const char *name;
    int (*make)(void);
    bool is_memory;
} rows[] = {
    { "memory", memory, true },
    { "sealed-memory", sealed_memory, true },
    { "read-only-memory", read_only_memory, true },
    { "eventfd", event },
    { "pipe", peer_new_fd },
    { "device", device },
    { "directory", directory },
    { "file-of-proc", file_of_proc },
};

static void test_kind(const void *opaque)
{
    size_t i = GPOINTER_TO_SIZE(opaque);
    PeerCounts before = peer_counts();
    int fd = rows[i].make();

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(vfio_user_fd_is_memory(fd), ==, rows[i].is_memory);
    vfio_user_close_fds(&fd, 1);
    peer_assert_counts(before);
}

static void test_all_kinds(void)
{
    PeerCounts before = peer_counts();
    int fds[ARRAY_SIZE(rows)];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        fds[i] = rows[i].make();
    }
    vfio_user_close_fds(fds, ARRAY_SIZE(rows));
    vfio_user_close_fds(NULL, 0);
    peer_assert_counts(before);
}

/* Returns a socket whose last close takes an hour, or until @peer is closed. */
static int lingering(int *peer)
{
    const struct linger linger = { 1, 3600 };
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t size = sizeof(addr);
    static const char bytes[65536];
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(bind(listening, (struct sockaddr *)&addr, size), ==, 0);
    g_assert_cmpint(listen(listening, 1), ==, 0);
    g_assert_cmpint(getsockname(listening, (struct sockaddr *)&addr, &size),
                    ==, 0);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, size), ==, 0);
    *peer = accept(listening, NULL, NULL);
    g_assert_cmpint(*peer, >=, 0);
    close(listening);
    while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {
        continue;
    }
    g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger,
                               sizeof(linger)), ==, 0);
    return fd;
}

/* The call returns although the descriptor is not closed yet. */
static void test_lingers(void)
{
    PeerCounts before = peer_counts();
    int fds[3], peer;

    fds[0] = memory();
    fds[1] = lingering(&peer);
    fds[2] = memory();
    vfio_user_close_fds(fds, ARRAY_SIZE(fds));
    g_assert_cmpint(fcntl(fds[0], F_GETFD), <, 0);
    g_assert_cmpint(fcntl(fds[2], F_GETFD), <, 0);
    peer_wait_until(peer_counts().threads == before.threads + 1);
    close(peer);
    peer_assert_counts(before);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/descriptor/%s",
                                                rows[i].name);

        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_kind);
    }
    g_test_add_func("/vfio-user/descriptor/all-kinds", test_all_kinds);
    g_test_add_func("/vfio-user/descriptor/lingers", test_lingers);
    return g_test_run();
}
