/*
 * The device of the memory benchmark: a vfio-user server that measures
 *
 * A PCI function without BARs and interrupts, which maps memory for DMA_MAP
 * and transfers data by message on command. All measurements are made here, in
 * the same way for every client: from the arrival of the first DMA_MAP to the
 * last reply sent; from the first request for data to the last reply received.
 * There is one request in flight at a time. The server serves one client after
 * another, reads commands on stdin and replies to each with a line:
 *
 *     maps                               number of maps, ns they took
 *     read|write ADDRESS TOTAL CHUNK     ns the transfer took
 *
 * One thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <inttypes.h>
#include <sys/mman.h>

#include "vfio-user-bench-device.h"

typedef struct Server {
    Device device;              /* first: callbacks get it */
    uint64_t maps;
    uint64_t first_map_ns;
    uint64_t last_map_ns;
    uint16_t next_id;
} Server;

static const char version[] =
    "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":8,"
    "\"max_data_xfer_size\":1048576}}";

static void map(Server *s, Header header, int fd)
{
    DMAMap m;

    memcpy(&m, s->device.payload, sizeof(m));
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
    answer(&s->device, header, NULL, 0);
    s->last_map_ns = now_ns();
}

/* Returns false if the client has gone. */
static bool serve(Device *d)
{
    Server *s = (Server *)d;
    Header header;
    int fd = -1;

    if (!recv_bytes(d->conn, &header, sizeof(header), &fd) ||
        !receive_payload(d, &header)) {
        return false;
    }
    switch (header.command) {
    case CMD_VERSION:
        s->maps = 0;
        answer(d, header, version, sizeof(version));
        break;
    case CMD_DMA_MAP:
        map(s, header, fd);
        break;
    default:
        describe(d, header);
    }
    return true;
}

/* Sends a request and receives the reply. */
static void move(Server *s, uint16_t command, uint64_t address, uint64_t count)
{
    bool write = command == CMD_DMA_WRITE;
    int conn = s->device.conn;
    uint8_t *data = s->device.payload;
    Header header = { .id = s->next_id++, .command = command };
    size_t size = sizeof(header) + sizeof(DMARW) + (write ? 0 : count);
    DMARW rw = { address, count };

    send_message(conn, header, &rw, sizeof(rw), data,
                 write ? count : 0, -1);
    if (!recv_bytes(conn, &header, sizeof(header), NULL) ||
        header.flags != FLAGS_REPLY || header.command != command ||
        header.size != size ||
        !recv_bytes(conn, &rw, sizeof(rw), NULL) || rw.count != count ||
        (!write && !recv_bytes(conn, data, count, NULL))) {
        errx(1, "bad reply to command %u", command);
    }
}

static void obey(Device *d)
{
    Server *s = (Server *)d;
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
               chunk && chunk <= BENCH_MAX_DATA && d->conn >= 0) {
        begin = now_ns();
        for (uint64_t at = 0; at < total; at += chunk) {
            move(s, *word == 'w' ? CMD_DMA_WRITE : CMD_DMA_READ, address + at,
                 chunk);
        }
        printf("%" PRIu64 "\n", now_ns() - begin);
    } else {
        errx(1, "unknown command: %s", line);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static Server s = { .device = DEVICE(FIXED_REGIONS) };

    if (argc != 2) {
        errx(2, "usage: %s SOCKET", argv[0]);
    }
    run_device(&s.device, listen_at(argv[1]), obey, serve);
    return 0;
}
