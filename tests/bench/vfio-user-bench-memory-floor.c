/*
 * The floor of the memory benchmark: a bare vfio-user client
 *
 * Does only what a client must do. It either maps pages by descriptor, with as
 * many messages in flight as the client in QEMU has; or it maps its memory
 * without a descriptor and serves DMA requests, without another copy of the
 * data, until the server closes the connection. One thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <sys/mman.h>

#include "vfio-user-bench-wire.h"

#define PAGE 4096
#define IN_FLIGHT 255
#define POLL_NS 100000          /* the maximum of the client in QEMU */
#define HUGE (2ull << 20)

static void receive_reply(int conn, uint16_t command)
{
    uint8_t payload[4096];
    Header header;

    if (!recv_bytes(conn, &header, sizeof(header), NULL) ||
        header.flags != FLAGS_REPLY || header.command != command ||
        header.size > sizeof(header) + sizeof(payload) ||
        !recv_bytes(conn, payload, header.size - sizeof(header), NULL)) {
        errx(1, "bad reply to command %u", command);
    }
}

static void negotiate(int conn)
{
    static const char version[] = "\0\0\1\0{}";

    send_message(conn, (Header) { .command = CMD_VERSION }, version,
                 sizeof(version), NULL, 0, -1);
    receive_reply(conn, CMD_VERSION);
}

static void send_map(int conn, uint16_t id, uint64_t iova, uint64_t offset,
                     uint64_t size, int fd)
{
    DMAMap map = { sizeof(map), 3, offset, iova, size };

    send_message(conn, (Header) { .id = id, .command = CMD_DMA_MAP }, &map,
                 sizeof(map), NULL, 0, fd);
}

/* Waits for replies; returns the number of replies received. */
static unsigned receive_replies(int conn)
{
    static uint8_t buf[IN_FLIGHT * sizeof(Header)];
    static size_t filled;
    const uint64_t sleep_at = now_ns() + POLL_NS;
    unsigned n;

    while (filled < sizeof(Header)) {
        ssize_t len = recv(conn, buf + filled, sizeof(buf) - filled,
                           now_ns() < sleep_at ? MSG_DONTWAIT : 0);

        if (len == 0 || (len < 0 && errno != EAGAIN)) {
            errx(1, "the server has gone");
        }
        filled += len > 0 ? len : 0;
    }
    n = filled / sizeof(Header);
    for (unsigned i = 0; i < n; i++) {
        const Header *header = (const Header *)buf + i;

        if (header->flags != FLAGS_REPLY || header->command != CMD_DMA_MAP) {
            errx(1, "bad reply to a map");
        }
    }
    filled -= n * sizeof(Header);
    memmove(buf, buf + n * sizeof(Header), filled);
    return n;
}

/* Maps pages that are adjacent only in the device's address space. */
static void map_pages(int conn, unsigned n)
{
    int fd = memfd_create("bench", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)n * PAGE) < 0) {
        err(1, "memfd");
    }
    for (unsigned i = 0, answered = 0; answered < n;) {
        if (i < n && i - answered < IN_FLIGHT) {
            send_map(conn, i, (uint64_t)i * PAGE, (uint64_t)(n - i - 1) * PAGE,
                     PAGE, fd);
            i++;
        } else {
            answered += receive_replies(conn);
        }
    }
}

static uint8_t *allocate(uint64_t size)
{
    uint8_t *memory = aligned_alloc(HUGE, size);

    if (!memory) {
        err(1, "no memory");
    }
    /* as QEMU does for guest memory */
    madvise(memory, size, MADV_HUGEPAGE);
    memset(memory, 0, size);
    return memory;
}

/* Returns false if the server has gone. */
static bool serve(int conn, uint8_t *memory, uint64_t size)
{
    Header header;
    DMARW rw;

    if (!recv_bytes(conn, &header, sizeof(header), NULL) ||
        !recv_bytes(conn, &rw, sizeof(rw), NULL)) {
        return false;
    }
    if (rw.address > size || rw.count > size - rw.address) {
        errx(1, "a request beyond the memory");
    }
    header.flags = FLAGS_REPLY;
    if (header.command == CMD_DMA_WRITE) {
        if (!recv_bytes(conn, memory + rw.address, rw.count, NULL)) {
            return false;
        }
        send_message(conn, header, &rw, sizeof(rw), NULL, 0, -1);
    } else {
        send_message(conn, header, &rw, sizeof(rw), memory + rw.address,
                     rw.count, -1);
    }
    return true;
}

static void serve_until_eof(int conn, uint64_t size)
{
    uint8_t *memory = allocate(size);

    send_map(conn, 1, 0, 0, size, -1);
    receive_reply(conn, CMD_DMA_MAP);
    puts("ready");
    fflush(stdout);
    while (serve(conn, memory, size)) {
        continue;
    }
    free(memory);
}

int main(int argc, char **argv)
{
    int conn = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr;

    if (argc != 4 || (strcmp(argv[2], "maps") && strcmp(argv[2], "serve"))) {
        errx(2, "usage: %s SOCKET maps NUMBER | serve BYTES", argv[0]);
    }
    addr = socket_address(argv[1]);
    if (conn < 0 || connect(conn, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        err(1, "%s", argv[1]);
    }
    negotiate(conn);
    if (!strcmp(argv[2], "maps")) {
        map_pages(conn, atoi(argv[3]));
    } else {
        serve_until_eof(conn, atoll(argv[3]));
    }
    return 0;
}
