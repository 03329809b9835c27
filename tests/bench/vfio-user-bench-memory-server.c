/*
 * The device of the memory benchmark: a vfio-user server that measures
 *
 * A PCI function without BARs and interrupts, which maps what it is told of,
 * and moves data by message when it is told to. What it measures it measures
 * here, for any client alike: from the first DMA_MAP that arrives to the last
 * answer that is sent; from the first request for data to the last answer that
 * is received. One request is under way at a time. It serves one client after
 * another, takes orders on stdin and answers each with a line:
 *
 *     maps                               number of maps, ns they took
 *     read|write ADDRESS TOTAL CHUNK     ns it took
 *
 * One thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <inttypes.h>
#include <poll.h>
#include <sys/mman.h>

#include "vfio-user-bench-wire.h"

#define CONFIG_REGION 7
#define CONFIG_SIZE 256

typedef struct Server {
    int conn;                   /* -1: no client */
    uint64_t maps;
    uint64_t first_map_ns;
    uint64_t last_map_ns;
    uint16_t next_id;
    uint8_t config[CONFIG_SIZE];
    uint8_t payload[BENCH_MAX_DATA + 64];
} Server;

static const char version[] =
    "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":8,"
    "\"max_data_xfer_size\":1048576}}";

static void answer(Server *s, Header header, const void *payload, size_t size)
{
    if (!(header.flags & FLAGS_NO_REPLY)) {
        header.flags = FLAGS_REPLY;
        send_message(s->conn, header, payload, size, NULL, 0, -1);
    }
}

static void map(Server *s, Header header, int fd)
{
    DMAMap m;

    memcpy(&m, s->payload, sizeof(m));
    if (!s->maps++) {
        s->first_map_ns = now_ns();
    }
    if (fd >= 0) {
        if (mmap(NULL, m.size, PROT_READ, MAP_SHARED, fd, m.offset) ==
            MAP_FAILED) {
            err(1, "mmap");
        }
        close(fd);
    }
    answer(s, header, NULL, 0);
    s->last_map_ns = now_ns();
}

static void access_region(Server *s, Header header)
{
    struct { uint64_t offset; uint32_t region, count; } *rw =
        (void *)s->payload;
    uint8_t *data = s->payload + sizeof(*rw);

    if (rw->region != CONFIG_REGION || rw->offset > CONFIG_SIZE ||
        rw->count > CONFIG_SIZE - rw->offset) {
        errx(1, "access to region %u at %" PRIu64, rw->region, rw->offset);
    }
    if (header.command == CMD_REGION_WRITE) {
        memcpy(s->config + rw->offset, data, rw->count);
        answer(s, header, rw, sizeof(*rw));
    } else {
        memcpy(data, s->config + rw->offset, rw->count);
        answer(s, header, rw, sizeof(*rw) + rw->count);
    }
}

/* The rest of what a client asks, none of which is measured. */
static void describe(Server *s, Header header)
{
    uint32_t *info = (uint32_t *)s->payload;

    switch (header.command) {
    case CMD_GET_INFO:
        info[1] = 1 | 1 << 1;                   /* reset, PCI */
        info[2] = 9;
        info[3] = 5;
        answer(s, header, info, 16);
        break;
    case CMD_GET_REGION_INFO:
        info[0] = 32;
        info[1] = info[2] == CONFIG_REGION ? 3 : 0;
        info[3] = 0;
        memset(info + 4, 0, 16);
        info[4] = info[2] == CONFIG_REGION ? CONFIG_SIZE : 0;
        answer(s, header, info, 32);
        break;
    case CMD_GET_IRQ_INFO:
        info[1] = info[3] = 0;
        answer(s, header, info, 16);
        break;
    case CMD_SET_IRQS:
    case CMD_RESET:
        answer(s, header, NULL, 0);
        break;
    case CMD_DMA_UNMAP:
        answer(s, header, s->payload, 24);
        break;
    default:
        errx(1, "command %u", header.command);
    }
}

/* Returns false where the client has gone. */
static bool serve(Server *s)
{
    Header header;
    int fd = -1;

    if (!recv_bytes(s->conn, &header, sizeof(header), &fd)) {
        return false;
    }
    if (header.size < sizeof(header) ||
        header.size - sizeof(header) > sizeof(s->payload) ||
        !recv_bytes(s->conn, s->payload, header.size - sizeof(header), NULL)) {
        errx(1, "a message of %u bytes", header.size);
    }
    switch (header.command) {
    case CMD_VERSION:
        s->maps = 0;
        answer(s, header, version, sizeof(version));
        break;
    case CMD_DMA_MAP:
        map(s, header, fd);
        break;
    case CMD_REGION_READ:
    case CMD_REGION_WRITE:
        access_region(s, header);
        break;
    default:
        describe(s, header);
    }
    return true;
}

/* One request, and its answer. */
static void move(Server *s, uint16_t command, uint64_t address, uint64_t count)
{
    bool write = command == CMD_DMA_WRITE;
    Header header = { .id = s->next_id++, .command = command };
    size_t size = sizeof(header) + sizeof(DMARW) + (write ? 0 : count);
    DMARW rw = { address, count };

    send_message(s->conn, header, &rw, sizeof(rw), s->payload,
                 write ? count : 0, -1);
    if (!recv_bytes(s->conn, &header, sizeof(header), NULL) ||
        header.flags != FLAGS_REPLY || header.command != command ||
        header.size != size ||
        !recv_bytes(s->conn, &rw, sizeof(rw), NULL) || rw.count != count ||
        (!write && !recv_bytes(s->conn, s->payload, count, NULL))) {
        errx(1, "no proper answer to command %u", command);
    }
}

static void obey(Server *s)
{
    uint64_t address, total, chunk, begin;
    char line[128], word[8];

    if (!fgets(line, sizeof(line), stdin)) {
        exit(0);
    }
    if (!strcmp(line, "maps\n")) {
        printf("%" PRIu64 " %" PRIu64 "\n", s->maps,
               s->last_map_ns - s->first_map_ns);
    } else if (sscanf(line, "%7s %" SCNu64 " %" SCNu64 " %" SCNu64, word,
                      &address, &total, &chunk) == 4 &&
               chunk && chunk <= BENCH_MAX_DATA && s->conn >= 0) {
        begin = now_ns();
        for (uint64_t at = 0; at < total; at += chunk) {
            move(s, *word == 'w' ? CMD_DMA_WRITE : CMD_DMA_READ, address + at,
                 chunk);
        }
        printf("%" PRIu64 "\n", now_ns() - begin);
    } else {
        errx(1, "not understood: %s", line);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static Server s = {
        .conn = -1,
        .config = { 0x34, 0x12, 0xe8, 0x0b, [0xa] = 0, [0xb] = 0xff },
    };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr;

    if (argc != 2) {
        errx(2, "usage: %s SOCKET", argv[0]);
    }
    addr = socket_address(argv[1]);
    if (listener < 0 ||
        bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(listener, 1) < 0) {
        err(1, "%s", argv[1]);
    }
    puts("ready");
    fflush(stdout);

    while (true) {
        struct pollfd fds[] = {
            { .fd = 0, .events = POLLIN },
            { .fd = s.conn < 0 ? listener : s.conn, .events = POLLIN },
        };

        if (poll(fds, 2, -1) < 0) {
            err(1, "poll");
        }
        if (fds[0].revents) {
            obey(&s);
        } else if (s.conn < 0) {
            s.conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        } else if (!serve(&s)) {
            close(s.conn);
            s.conn = -1;
        }
    }
}
