/*
 * The device of the benchmarks in which no guest uses it
 *
 * A PCI function without BARs and interrupts. This has its replies to all
 * requests that are not measured, and the listening socket. The servers add
 * what is measured, and regions after the fixed ones. One thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VFIO_USER_BENCH_DEVICE_H
#define VFIO_USER_BENCH_DEVICE_H

#include "vfio-user-bench-wire.h"

#define CONFIG_REGION 7
#define CONFIG_SIZE 256
#define FIXED_REGIONS 9

typedef struct Device {
    int conn;                   /* -1: no client */
    uint32_t regions;           /* FIXED_REGIONS or more */
    uint8_t config[CONFIG_SIZE];
    uint8_t payload[BENCH_MAX_DATA + 64];
} Device;

#define DEVICE(n) { \
    .conn = -1, \
    .regions = (n), \
    .config = { 0x34, 0x12, 0xe8, 0x0b, [0xa] = 0, [0xb] = 0xff }, \
}

static inline void answer(Device *d, Header header, const void *payload,
                          size_t size)
{
    if (!(header.flags & FLAGS_NO_REPLY)) {
        header.flags = FLAGS_REPLY;
        send_message(d->conn, header, payload, size, NULL, 0, -1);
    }
}

static inline void answer_error(Device *d, Header header, int error)
{
    header.flags = FLAGS_REPLY | FLAGS_ERROR;
    header.error = error;
    send_message(d->conn, header, NULL, 0, NULL, 0, -1);
}

/* Receives the payload of a message. Returns false if the client has gone. */
static inline bool receive_payload(Device *d, const Header *header)
{
    if (header->size < sizeof(*header) ||
        header->size - sizeof(*header) > sizeof(d->payload)) {
        errx(1, "a message of %u bytes", header->size);
    }
    return recv_bytes(d->conn, d->payload, header->size - sizeof(*header),
                      NULL);
}

static inline void access_config(Device *d, Header header)
{
    RegionRW *rw = (RegionRW *)d->payload;
    uint8_t *data = d->payload + sizeof(*rw);

    if (rw->region != CONFIG_REGION || rw->offset > CONFIG_SIZE ||
        rw->count > CONFIG_SIZE - rw->offset) {
        errx(1, "access to region %u at %llu", rw->region,
             (unsigned long long)rw->offset);
    }
    if (header.command == CMD_REGION_WRITE) {
        memcpy(d->config + rw->offset, data, rw->count);
        answer(d, header, rw, sizeof(*rw));
    } else {
        memcpy(data, d->config + rw->offset, rw->count);
        answer(d, header, rw, sizeof(*rw) + rw->count);
    }
}

/*
 * Replies to requests that are not measured. The reply to unknown requests is
 * an error; from these a client learns what the server supports.
 */
static inline void describe(Device *d, Header header)
{
    uint32_t *info = (uint32_t *)d->payload;

    switch (header.command) {
    case CMD_GET_INFO:
        info[1] = 1 | 1 << 1;                   /* reset, PCI */
        info[2] = d->regions;
        info[3] = 5;
        answer(d, header, info, 16);
        break;
    case CMD_GET_REGION_INFO:
        info[0] = 32;
        info[1] = info[2] == CONFIG_REGION ? 3 : 0;
        info[3] = 0;
        memset(info + 4, 0, 16);
        info[4] = info[2] == CONFIG_REGION ? CONFIG_SIZE : 0;
        answer(d, header, info, 32);
        break;
    case CMD_GET_IRQ_INFO:
        info[1] = info[3] = 0;
        answer(d, header, info, 16);
        break;
    case CMD_REGION_READ:
    case CMD_REGION_WRITE:
        access_config(d, header);
        break;
    case CMD_SET_IRQS:
    case CMD_RESET:
        answer(d, header, NULL, 0);
        break;
    case CMD_DMA_UNMAP:
        answer(d, header, d->payload, 24);
        break;
    default:
        answer_error(d, header, ENOTSUP);
    }
}

/* Listens at @path and prints "ready". */
static inline int listen_at(const char *path)
{
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr = socket_address(path);

    if (listener < 0 ||
        bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(listener, 1) < 0) {
        err(1, "%s", path);
    }
    puts("ready");
    fflush(stdout);
    return listener;
}

/*
 * Serves one client after another, forever.
 * @obey: reads and executes a line of stdin
 * @serve: reads and serves a message; returns false if the client has gone
 */
static inline void run_device(Device *d, int listener, void (*obey)(Device *),
                              bool (*serve)(Device *))
{
    while (true) {
        struct pollfd fds[] = {
            { .fd = 0, .events = POLLIN },
            { .fd = d->conn < 0 ? listener : d->conn, .events = POLLIN },
        };

        if (poll(fds, 2, -1) < 0) {
            err(1, "poll");
        }
        if (fds[0].revents) {
            obey(d);
        } else if (d->conn < 0) {
            d->conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        } else if (!serve(d)) {
            close(d->conn);
            d->conn = -1;
        }
    }
}

#endif
