/*
 * Uses the disk of vfio-user-disk-server in a guest
 *
 *     vfio_user_disk_work numbers|memory DISK
 *     vfio_user_disk_work storage DISK [FIRST]
 *
 * Runs until SIGTERM and then prints what it has seen, in one line, or ends at
 * the first wrong word.  "numbers" reads the disk's first chunk repeatedly:
 * each read must continue where the last one stopped, and the data in memory
 * must still be the same much later.  "storage" writes 32 chunks of the disk
 * repeatedly, by default its second half, and reads what it wrote in the
 * previous round.  Both bypass the page cache: the device reads and writes the
 * memory of this program.
 * "memory" does not use the disk but modifies a little memory without a pause:
 * a store that QEMU misses during migration is lost.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNK (64 * 1024)
#define WORDS (CHUNK / sizeof(uint64_t))
/* the number of reads for which data are kept */
#define KEPT 64
#define PAGE 4096
#define PAGES 256
#define FIRST 32
#define CHUNKS 32

static volatile sig_atomic_t ended;

static void on_end(int signal)
{
    ended = 1;
}

static void *allocate(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (memory == MAP_FAILED) {
        err(EXIT_FAILURE, "mmap");
    }
    return memory;
}

/* Checks words that increase by one; returns their sum. */
static uint64_t check(const uint64_t *words, uint64_t first, const char *what)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < WORDS; i++) {
        if (words[i] != first + i) {
            errx(EXIT_FAILURE, "%s: 0x%llx instead of 0x%llx", what,
                 (unsigned long long)words[i],
                 (unsigned long long)(first + i));
        }
        sum += words[i];
    }
    return sum;
}

static void numbers(int disk)
{
    uint64_t (*kept)[WORDS] = allocate(KEPT * CHUNK);
    uint64_t first = 0, sum = 0, count;

    for (count = 0; !ended || count < KEPT; count++) {
        uint64_t *chunk = kept[count % KEPT];

        if (count >= KEPT) {
            sum += check(chunk, first + (count - KEPT) * WORDS, "kept");
        }
        if (pread(disk, chunk, CHUNK, 0) != CHUNK) {
            err(EXIT_FAILURE, "read");
        }
        if (count == 0) {
            first = chunk[0];
        }
        check(chunk, first + count * WORDS, "new");
    }
    for (uint64_t i = count - KEPT; i < count; i++) {
        sum += check(kept[i % KEPT], first + i * WORDS, "kept");
    }
    printf("numbers %llu %llu sum %llu\n", (unsigned long long)first,
           (unsigned long long)(first + count * WORDS),
           (unsigned long long)sum);
}

/* Returns the first word of a chunk that is written in this round. */
static uint64_t content(uint64_t round, uint64_t chunk)
{
    return round << 32 | chunk << 16;
}

static uint64_t read_back(int disk, uint64_t *data, uint64_t round,
                          uint64_t chunk)
{
    if (pread(disk, data, CHUNK, chunk * CHUNK) != CHUNK) {
        err(EXIT_FAILURE, "read");
    }
    return check(data, content(round, chunk), "stored");
}

static void storage(int disk, uint64_t first)
{
    uint64_t last = first + CHUNKS;
    uint64_t *data = allocate(CHUNK);
    uint64_t round, sum = 0;

    for (round = 0; !ended || round == 0; round++) {
        for (uint64_t chunk = first; chunk < last; chunk++) {
            if (round) {
                read_back(disk, data, round - 1, chunk);
            }
            for (uint64_t i = 0; i < WORDS; i++) {
                data[i] = content(round, chunk) + i;
            }
            if (pwrite(disk, data, CHUNK, chunk * CHUNK) != CHUNK) {
                err(EXIT_FAILURE, "write");
            }
        }
    }
    for (uint64_t chunk = first; chunk < last; chunk++) {
        sum += read_back(disk, data, round - 1, chunk);
    }
    printf("storage %llu sum %llu\n", (unsigned long long)round,
           (unsigned long long)sum);
}

static void memory(void)
{
    uint64_t (*pages)[PAGE / sizeof(uint64_t)] = allocate(PAGES * PAGE);
    uint64_t round;

    for (round = 0; !ended; round++) {
        for (int i = 0; i < PAGES; i++) {
            if (pages[i][0] != round) {
                errx(EXIT_FAILURE, "memory: 0x%llx instead of 0x%llx",
                     (unsigned long long)pages[i][0],
                     (unsigned long long)round);
            }
            pages[i][0]++;
        }
    }
    printf("memory %llu\n", (unsigned long long)round);
}

int main(int argc, char **argv)
{
    const struct sigaction action = {
        .sa_handler = on_end,
        .sa_flags = SA_RESTART,
    };
    int disk = argc >= 3 ? open(argv[2], O_RDWR | O_DIRECT) : -1;

    if (disk < 0) {
        err(EXIT_FAILURE, "%s", argc >= 3 ? argv[2] : "no disk");
    }
    sigaction(SIGTERM, &action, NULL);
    if (strcmp(argv[1], "numbers") == 0) {
        numbers(disk);
    } else if (strcmp(argv[1], "storage") == 0) {
        storage(disk, argc > 3 ? atoll(argv[3]) : FIRST);
    } else {
        memory();
    }
    return EXIT_SUCCESS;
}
