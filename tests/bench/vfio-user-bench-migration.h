/*
 * What the server and the client of the migration benchmark share
 *
 * The messages of migration v1 and v2, and the layout of the migration region
 * of v1.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VFIO_USER_BENCH_MIGRATION_H
#define VFIO_USER_BENCH_MIGRATION_H

#include <stdint.h>

#define BENCH_PAGE 4096

/* Migration v1: a separate region with registers, followed by the data */
#define MIG_REGION 9
#define MIG_STATE 0
#define MIG_PENDING 8
#define MIG_OFFSET 16
#define MIG_SIZE 24
#define MIG_DATA 4096           /* offset in the region */
#define MIG_DATA_SIZE (1 << 20)

enum { STATE1_RUNNING = 1, STATE1_SAVING = 2 };

#define STATE_RESUMING 4        /* of both versions */

enum { DIRTY_START = 1, DIRTY_STOP = 2, DIRTY_GET_BITMAP = 4 };

typedef struct __attribute__((packed)) DirtyPages {
    uint32_t argsz;
    uint32_t flags;
    uint64_t iova;              /* from here on: only with GET_BITMAP */
    uint64_t size;
    uint64_t page_size;
    uint64_t bitmap_size;       /* bytes */
} DirtyPages;

/* Migration v2: values of <linux/vfio.h> */
enum {
    FEATURE_MIGRATION = 1,
    FEATURE_STATE = 2,
    FEATURE_LOGGING_START = 6,
    FEATURE_LOGGING_STOP = 7,
    FEATURE_LOGGING_REPORT = 8,
    FEATURE_MASK = 0xffff,
    FEATURE_GET = 1 << 16,
    FEATURE_SET = 1 << 17,
    FEATURE_PROBE = 1 << 18,
};

enum {
    STATE2_STOP = 1,
    STATE2_RUNNING = 2,
    STATE2_STOP_COPY = 3,
};

typedef struct __attribute__((packed)) Feature {
    uint32_t argsz;
    uint32_t flags;
    union {
        uint64_t migration;
        struct {
            uint32_t state;
            uint32_t data_fd;
        };
    };
} Feature;

typedef struct __attribute__((packed)) Logging {
    uint32_t argsz;
    uint32_t flags;
    union {
        struct {
            uint64_t page_size;
            uint32_t ranges;
            uint32_t reserved;
            uint64_t first[2];  /* iova and length of the first range */
        } start;
        struct {
            uint64_t iova;
            uint64_t length;
            uint64_t page_size;
        } report;
    };
} Logging;

typedef struct __attribute__((packed)) MigData {
    uint32_t argsz;
    uint32_t size;
} MigData;

/* Returns the bytes of the bitmap for @size bytes of memory. */
static inline uint64_t bitmap_bytes(uint64_t size)
{
    return (size / BENCH_PAGE + 63) / 64 * 8;
}

#endif
