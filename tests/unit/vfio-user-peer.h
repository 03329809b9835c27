/*
 * The other end of a vfio-user connection, for unit tests
 *
 * Plain code to send and receive on one end of a socket pair.  Of the code
 * under test it uses only the structures of the wire.  It also counts
 * descriptors and threads around a test.  All waits are bounded: a test fails
 * if one takes longer than PEER_DEADLINE.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_UNIT_VFIO_USER_PEER_H
#define TESTS_UNIT_VFIO_USER_PEER_H

#include <sys/socket.h>
#include <glib-unix.h>
#include "qapi/error.h"
#include "hw/vfio/user/wire.h"

/* Long enough for a loaded machine with a sanitizer, in us. */
#define PEER_DEADLINE (60 * G_USEC_PER_SEC)

/* Waits until another thread makes the condition true. */
#define peer_wait_until(condition)                                          \
    do {                                                                    \
        int64_t peer_end = g_get_monotonic_time() + PEER_DEADLINE;          \
        while (!(condition)) {                                              \
            g_assert_cmpint(g_get_monotonic_time(), <, peer_end);           \
            g_thread_yield();                                               \
        }                                                                   \
    } while (0)

/* Checks that @err is set and contains @part, and frees it. */
static inline void peer_assert_error(Error *err, const char *part)
{
    g_assert_nonnull(err);
    if (!strstr(error_get_pretty(err), part)) {
        g_error("'%s' does not say '%s'", error_get_pretty(err), part);
    }
    error_free(err);
}

/* Descriptors and threads of this process */

typedef struct PeerCounts {
    unsigned fds;
    unsigned threads;
} PeerCounts;

static inline unsigned peer_count_entries(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

static inline PeerCounts peer_counts(void)
{
    return (PeerCounts) {
        .fds = peer_count_entries("/proc/self/fd"),
        .threads = peer_count_entries("/proc/self/task"),
    };
}

static inline void peer_assert_counts(PeerCounts before)
{
    /* a thread may still close descriptors, and takes a moment to exit */
    peer_wait_until(peer_count_entries("/proc/self/fd") == before.fds);
    peer_wait_until(peer_count_entries("/proc/self/task") == before.threads);
}

/* Returns whether the thread @tid of this process sleeps in the kernel. */
static inline bool peer_is_asleep(int tid)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%d/stat", tid);
    g_autofree char *stat = NULL;

    return g_file_get_contents(path, &stat, NULL, NULL) &&
           strstr(strrchr(stat, ')'), ") S");
}

/* Sockets and bytes */

/* Returns a connected pair; the peer's end blocks, up to the deadline. */
static inline void peer_socketpair(int *client, int *peer)
{
    struct timeval tv = { .tv_sec = PEER_DEADLINE / G_USEC_PER_SEC };
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    *client = sv[0];
    *peer = sv[1];
    setsockopt(sv[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(sv[1], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

/* Sends all of @data, and @fds with its first byte. */
static inline void peer_send_bytes(int peer, const void *data, size_t size,
                                   const int *fds, size_t nfds)
{
    char control[CMSG_SPACE(64 * sizeof(int))] = { };

    while (size) {
        struct iovec iov = { (void *)data, size };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t len;

        if (nfds) {
            struct cmsghdr *cmsg = (struct cmsghdr *)control;

            msg.msg_control = control;
            msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
            cmsg->cmsg_level = SOL_SOCKET;
            cmsg->cmsg_type = SCM_RIGHTS;
            cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
            memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));
        }
        len = sendmsg(peer, &msg, MSG_NOSIGNAL);
        g_assert_cmpint(len, >, 0);
        data = (const char *)data + len;
        size -= len;
        nfds = 0;
    }
}

/* Receives @size bytes, or less if the client closed the connection. */
static inline size_t peer_recv_bytes(int peer, void *data, size_t size,
                                     int *fds, size_t *nfds)
{
    size_t done = 0;

    while (done < size) {
        char control[CMSG_SPACE(VFIO_USER_MAX_FDS * sizeof(int))] = { };
        struct iovec iov = { (char *)data + done, size - done };
        struct msghdr msg = {
            .msg_iov = &iov,
            .msg_iovlen = 1,
            .msg_control = control,
            .msg_controllen = sizeof(control),
        };
        ssize_t len = recvmsg(peer, &msg, MSG_CMSG_CLOEXEC);

        if (len == 0 || (len < 0 && errno == ECONNRESET)) {
            break;
        }
        g_assert_cmpint(len, >, 0);
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c;
             c = CMSG_NXTHDR(&msg, c)) {
            size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

            g_assert_nonnull(fds);
            g_assert_cmpuint(*nfds + n, <=, VFIO_USER_MAX_FDS);
            memcpy(fds + *nfds, CMSG_DATA(c), n * sizeof(int));
            *nfds += n;
        }
        done += len;
    }
    return done;
}

/* Messages */

typedef struct PeerMessage {
    VFIOUserHeader header;
    uint8_t *payload;
    size_t size;                /* of the payload */
    int fds[VFIO_USER_MAX_FDS];
    size_t nfds;
} PeerMessage;

static inline void peer_message_clear(PeerMessage *m)
{
    for (size_t i = 0; i < m->nfds; i++) {
        close(m->fds[i]);
    }
    g_free(m->payload);
    *m = (PeerMessage) { };
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PeerMessage, peer_message_clear)

/* Returns false if the client closed the connection between two messages. */
static inline bool peer_recv(int peer, PeerMessage *m)
{
    size_t len;

    *m = (PeerMessage) { };
    len = peer_recv_bytes(peer, &m->header, sizeof(m->header), m->fds,
                          &m->nfds);
    if (!len) {
        return false;
    }
    g_assert_cmpuint(len, ==, sizeof(m->header));
    g_assert_cmpuint(m->header.size, >=, sizeof(m->header));
    g_assert_cmpuint(m->header.size, <=, 4 * MiB);
    m->size = m->header.size - sizeof(m->header);
    m->payload = g_malloc(m->size);
    g_assert_cmpuint(peer_recv_bytes(peer, m->payload, m->size, m->fds,
                                     &m->nfds), ==, m->size);
    return true;
}

/* Sends @header, with its size set, followed by the payload. */
static inline void peer_send(int peer, VFIOUserHeader header,
                             const void *payload, size_t size,
                             const int *fds, size_t nfds)
{
    g_autofree uint8_t *bytes = g_malloc(sizeof(header) + size);

    header.size = sizeof(header) + size;
    memcpy(bytes, &header, sizeof(header));
    if (size) {
        memcpy(bytes + sizeof(header), payload, size);
    }
    peer_send_bytes(peer, bytes, header.size, fds, nfds);
}

/* Descriptors with different inodes */

/* Returns a new descriptor, which the caller owns. */
static inline int peer_new_fd(void)
{
    int fds[2];

    g_assert_true(g_unix_open_pipe(fds, FD_CLOEXEC, NULL));
    close(fds[1]);
    return fds[0];
}

static inline ino_t peer_inode(int fd)
{
    struct stat st;

    g_assert_cmpint(fstat(fd, &st), ==, 0);
    return st.st_ino;
}

#endif /* TESTS_UNIT_VFIO_USER_PEER_H */
