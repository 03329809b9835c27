/*
 * Messages of the benchmarks
 *
 * The messages between servers and bare clients, and plain blocking code to
 * send and receive them. It is independent of QEMU. One thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VFIO_USER_BENCH_WIRE_H
#define VFIO_USER_BENCH_WIRE_H

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BENCH_MAX_DATA (1 << 20)    /* of a message */

enum {
    CMD_VERSION = 1,
    CMD_DMA_MAP = 2,
    CMD_DMA_UNMAP = 3,
    CMD_GET_INFO = 4,
    CMD_GET_REGION_INFO = 5,
    CMD_GET_IRQ_INFO = 7,
    CMD_SET_IRQS = 8,
    CMD_REGION_READ = 9,
    CMD_REGION_WRITE = 10,
    CMD_DMA_READ = 11,
    CMD_DMA_WRITE = 12,
    CMD_RESET = 13,
    CMD_DIRTY_PAGES = 14,
    CMD_DEVICE_FEATURE = 16,
    CMD_MIG_DATA_READ = 17,
    CMD_MIG_DATA_WRITE = 18,
};

enum {
    FLAGS_TYPE = 0xf,
    FLAGS_REPLY = 1,
    FLAGS_NO_REPLY = 1 << 4,
    FLAGS_ERROR = 1 << 5,
};

typedef struct __attribute__((packed)) Header {
    uint16_t id;
    uint16_t command;
    uint32_t size;
    uint32_t flags;
    uint32_t error;
} Header;

typedef struct __attribute__((packed)) DMAMap {
    uint32_t argsz;
    uint32_t flags;             /* 1: read, 2: write */
    uint64_t offset;
    uint64_t iova;
    uint64_t size;
} DMAMap;

typedef struct __attribute__((packed)) DMARW {
    uint64_t address;
    uint64_t count;
} DMARW;

typedef struct __attribute__((packed)) RegionRW {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
} RegionRW;

static inline uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Sends a message; sets the size in its header. */
static inline void send_message(int conn, Header header, const void *head,
                                size_t head_size, const void *data,
                                size_t data_size, int fd)
{
    struct iovec iov[] = {
        { &header, sizeof(header) },
        { (void *)head, head_size },
        { (void *)data, data_size },
    };
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { .header = {
        .cmsg_len = CMSG_LEN(sizeof(int)),
        .cmsg_level = SOL_SOCKET,
        .cmsg_type = SCM_RIGHTS,
    } };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };

    header.size = sizeof(header) + head_size + data_size;
    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
    }
    while (msg.msg_iovlen) {
        ssize_t n = sendmsg(conn, &msg, MSG_NOSIGNAL);

        if (n < 0) {
            err(1, "sendmsg");
        }
        msg.msg_controllen = 0;
        while (msg.msg_iovlen && (size_t)n >= msg.msg_iov->iov_len) {
            n -= msg.msg_iov->iov_len;
            msg.msg_iov++;
            msg.msg_iovlen--;
        }
        if (msg.msg_iovlen) {
            msg.msg_iov->iov_base = (char *)msg.msg_iov->iov_base + n;
            msg.msg_iov->iov_len -= n;
        }
    }
}

/* Returns false if the peer closed. Stores a received descriptor in *@fd. */
static inline bool recv_bytes(int conn, void *buf, size_t size, int *fd)
{
    while (size) {
        union {
            struct cmsghdr header;
            char bytes[CMSG_SPACE(16 * sizeof(int))];
        } control;
        struct iovec iov = { buf, size };
        struct msghdr msg = {
            .msg_iov = &iov,
            .msg_iovlen = 1,
            .msg_control = fd ? control.bytes : NULL,
            .msg_controllen = fd ? sizeof(control) : 0,
        };
        ssize_t n = recvmsg(conn, &msg, MSG_CMSG_CLOEXEC);

        if (n == 0 || (n < 0 && errno == ECONNRESET)) {
            return false;
        }
        if (n < 0) {
            err(1, "recvmsg");
        }
        if (fd && msg.msg_controllen >= sizeof(struct cmsghdr)) {
            memcpy(fd, CMSG_DATA(&control.header), sizeof(*fd));
        }
        buf = (char *)buf + n;
        size -= n;
    }
    return true;
}

static inline struct sockaddr_un socket_address(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(addr.sun_path)) {
        errx(1, "%s: too long", path);
    }
    strcpy(addr.sun_path, path);
    return addr;
}

#endif
