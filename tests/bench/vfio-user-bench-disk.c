/*
 * Reads a disk in the guest of scripts/bench-nvme
 *
 *     disk DEVICE BYTES SPAN MS [random]
 *
 * reads BYTES at a time, one request after another, without the page cache. It
 * reads the first SPAN bytes of the device repeatedly from start to end, or in
 * random order, for MS milliseconds. Prints the number of reads and the
 * nanoseconds they took.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
}

/* xorshift64: any order is fine that defeats read-ahead */
static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

int main(int argc, char **argv)
{
    uint64_t state = 88172645463325252, reads = 0, begin, end;
    size_t bytes, blocks;
    void *buffer;
    int fd;

    if (argc < 5) {
        errx(2, "DEVICE BYTES SPAN MS [random]");
    }
    bytes = atoll(argv[2]);
    blocks = atoll(argv[3]) / bytes;
    fd = open(argv[1], O_RDONLY | O_DIRECT);
    if (fd < 0 || posix_memalign(&buffer, 4096, bytes)) {
        err(2, "%s", argv[1]);
    }
    begin = now();
    end = begin + UINT64_C(1000000) * atoll(argv[4]);
    while (now() < end) {
        uint64_t block = (argc > 5 ? next(&state) : reads) % blocks;

        if (pread(fd, buffer, bytes, block * bytes) != (ssize_t)bytes) {
            err(2, "%s: read at %llu", argv[1],
                (unsigned long long)(block * bytes));
        }
        reads++;
    }
    printf("%llu %llu\n", (unsigned long long)reads,
           (unsigned long long)(now() - begin));
    return 0;
}
