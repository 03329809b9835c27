/*
 * The register benchmark in a Linux guest
 *
 * Measures batches of 32-bit reads of the first register of a BAR, through the
 * BAR's resource file in sysfs. If the file can be mapped, a read is one
 * instruction, as in a driver; I/O ports are read by system call. Prints
 * median, p10 and p90 of one read in ns. One thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vfio-user-bench.h"

typedef struct Resource {
    int fd;
    volatile uint32_t *bar;     /* MAP_FAILED: I/O ports */
} Resource;

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void read_register(const Resource *r)
{
    uint32_t value;

    if (r->bar != MAP_FAILED) {
        value = r->bar[BENCH_COUNTER / 4];
    } else if (pread(r->fd, &value, sizeof(value), BENCH_COUNTER) < 0) {
        err(1, "pread");
    }
}

static uint64_t time_batch(const Resource *r)
{
    uint64_t begin = now_ns();

    for (int i = 0; i < BENCH_BATCH; i++) {
        read_register(r);
    }
    return now_ns() - begin;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static uint64_t sample[BENCH_SAMPLES];
    const double batch = BENCH_BATCH;
    Resource r;

    if (argc != 2) {
        errx(2, "usage: %s RESOURCE", argv[0]);
    }
    r.fd = open(argv[1], O_RDWR);
    if (r.fd < 0) {
        err(1, "%s", argv[1]);
    }
    r.bar = mmap(NULL, BENCH_BAR_SIZE, PROT_READ, MAP_SHARED, r.fd, 0);
    for (int i = 0; i < BENCH_WARMUP; i++) {
        time_batch(&r);
    }
    for (int i = 0; i < BENCH_SAMPLES; i++) {
        sample[i] = time_batch(&r);
    }
    qsort(sample, BENCH_SAMPLES, sizeof(sample[0]), compare);
    printf("%.1f %.1f %.1f\n", sample[BENCH_SAMPLES / 2] / batch,
           sample[BENCH_SAMPLES / 10] / batch,
           sample[BENCH_SAMPLES * 9 / 10] / batch);
    return 0;
}
