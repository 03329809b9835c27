/*
 * The floor of the register benchmark: a bare vfio-user client
 *
 * Negotiates the version on a plain socket, then sends one REGION_READ after
 * another, or posts one REGION_WRITE with No_reply after another, and prints
 * the time of one as JSON. It waits as the client in QEMU does, polling the
 * socket for a bounded time before it sleeps. It does nothing else that a
 * client must do: no ids, no threads, no requests of the server. What remains
 * is the time that the kernel and the server need. One thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <endian.h>
#include <getopt.h>
#include <poll.h>
#include <stddef.h>
#include <x86intrin.h>

#include "vfio-user-bench.h"
#include "vfio-user-bench-wire.h"

#define REPLY_TIMEOUT_MS 5000

typedef struct __attribute__((packed)) Version {
    Header header;
    uint16_t major;
    uint16_t minor;
} Version;

typedef struct __attribute__((packed)) RegionAccess {
    Header header;
    uint64_t offset;
    uint32_t region;
    uint32_t count;
    uint32_t data;      /* absent from the request of a read */
} RegionAccess;

typedef struct Floor {
    int fd;
    uint16_t next_id;
    uint64_t poll_ns;
} Floor;

static void send_all(Floor *f, const void *message, size_t size)
{
    ssize_t n = send(f->fd, message, size, MSG_NOSIGNAL);

    if (n != (ssize_t)size) {
        err(1, "send");
    }
}

static void await_input(Floor *f)
{
    struct pollfd pfd = { .fd = f->fd, .events = POLLIN };

    if (poll(&pfd, 1, REPLY_TIMEOUT_MS) != 1) {
        errx(1, "no reply within %d ms", REPLY_TIMEOUT_MS);
    }
}

static void recv_all(Floor *f, void *buf, size_t size)
{
    uint64_t sleep_at = now_ns() + f->poll_ns;
    size_t done = 0;

    while (done < size) {
        ssize_t n = recv(f->fd, (char *)buf + done, size - done, MSG_DONTWAIT);

        if (n > 0) {
            done += n;
        } else if (n == 0) {
            errx(1, "the server closed the connection");
        } else if (errno != EAGAIN) {
            err(1, "recv");
        } else if (now_ns() >= sleep_at) {
            await_input(f);
        }
    }
}

static void check_reply(const Header *h, const Header *request, size_t size)
{
    uint32_t flags = le32toh(h->flags);

    if (h->id != request->id || h->command != request->command ||
        (flags & FLAGS_TYPE) != FLAGS_REPLY || (flags & FLAGS_ERROR) ||
        le32toh(h->size) != size) {
        errx(1, "bad reply to command %u: flags 0x%x, size %u, error %u",
             le16toh(request->command), flags, le32toh(h->size),
             le32toh(h->error));
    }
}

static Header request(Floor *f, uint16_t command, uint32_t flags, size_t size)
{
    return (Header) {
        .id = htole16(f->next_id++),
        .command = htole16(command),
        .size = htole32(size),
        .flags = htole32(flags),
    };
}

static void negotiate(Floor *f)
{
    Version v = { .header = request(f, CMD_VERSION, 0, sizeof(v)) };
    char rest[4096];
    Version r;
    size_t size;

    send_all(f, &v, sizeof(v));
    recv_all(f, &r, sizeof(r));
    size = le32toh(r.header.size);
    if (size < sizeof(r) || size - sizeof(r) > sizeof(rest)) {
        errx(1, "bad reply to VERSION: size %zu", size);
    }
    check_reply(&r.header, &v.header, size);
    recv_all(f, rest, size - sizeof(r));
}

static uint32_t region_read(Floor *f, uint64_t offset)
{
    size_t size = offsetof(RegionAccess, data);
    RegionAccess r, q = {
        .header = request(f, CMD_REGION_READ, 0, size),
        .offset = htole64(offset),
        .count = htole32(sizeof(q.data)),
    };

    send_all(f, &q, size);
    recv_all(f, &r, sizeof(r));
    check_reply(&r.header, &q.header, sizeof(r));
    return le32toh(r.data);
}

static void region_post(Floor *f, uint64_t offset, uint32_t value)
{
    RegionAccess q = {
        .header = request(f, CMD_REGION_WRITE, FLAGS_NO_REPLY, sizeof(q)),
        .offset = htole64(offset),
        .count = htole32(sizeof(q.data)),
        .data = htole32(value),
    };

    send_all(f, &q, sizeof(q));
}

/* Returns the time of one batch in ns. */
static uint64_t time_reads(Floor *f)
{
    uint64_t begin = now_ns();
    uint32_t first = region_read(f, BENCH_COUNTER), last = first;

    for (int i = 1; i < BENCH_BATCH; i++) {
        last = region_read(f, BENCH_COUNTER);
    }
    if (last - first != BENCH_BATCH - 1) {
        errx(1, "%u counted up to %u in %d reads", first, last, BENCH_BATCH);
    }
    return now_ns() - begin;
}

/* The read after a batch of posts is not part of the time. */
static uint64_t time_posts(Floor *f)
{
    static uint32_t value;
    uint64_t begin = now_ns(), taken;

    for (int i = 0; i < BENCH_BATCH; i++) {
        region_post(f, BENCH_SCRATCH, ++value);
    }
    taken = now_ns() - begin;
    if (region_read(f, BENCH_SCRATCH) != value) {
        errx(1, "a post was lost");
    }
    return taken;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void report(uint64_t *sample, double tsc_hz)
{
    const double batch = BENCH_BATCH;
    double sum = 0;

    qsort(sample, BENCH_SAMPLES, sizeof(*sample), compare);
    for (int i = 0; i < BENCH_SAMPLES; i++) {
        sum += sample[i];
    }
    printf("{\"median\": %.1f, \"p10\": %.1f, \"p90\": %.1f, \"mean\": %.1f, "
           "\"tsc_hz\": %.0f}\n",
           sample[BENCH_SAMPLES / 2] / batch,
           sample[BENCH_SAMPLES / 10] / batch,
           sample[BENCH_SAMPLES * 9 / 10] / batch,
           sum / BENCH_SAMPLES / batch, tsc_hz);
}

static int dial(const char *path)
{
    struct sockaddr_un addr = socket_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        err(1, "%s", path);
    }
    return fd;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "posts", no_argument, NULL, 'w' },
        { "poll-ns", required_argument, NULL, 'p' },
        { }
    };
    uint64_t (*time_batch)(Floor *) = time_reads;
    Floor f = { .poll_ns = 100 * 1000 };
    uint64_t sample[BENCH_SAMPLES], begin_ns, begin_tsc;
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'w':
            time_batch = time_posts;
            break;
        case 'p':
            f.poll_ns = atoi(optarg);
            break;
        default:
            optind = argc;
        }
    }
    if (optind != argc - 1) {
        errx(2, "usage: %s [--posts] [--poll-ns N] SOCKET\n"
             "Prints ns per access as JSON.", argv[0]);
    }

    f.fd = dial(argv[optind]);
    negotiate(&f);
    for (int i = 0; i < BENCH_WARMUP; i++) {
        time_batch(&f);
    }
    begin_ns = now_ns();
    begin_tsc = __rdtsc();
    for (int i = 0; i < BENCH_SAMPLES; i++) {
        sample[i] = time_batch(&f);
    }
    report(sample, (__rdtsc() - begin_tsc) * 1e9 / (now_ns() - begin_ns));
    close(f.fd);
    return 0;
}
