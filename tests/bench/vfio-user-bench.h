/*
 * What the programs of the register benchmark agree on
 *
 * Server, bare program and bare guest include it: the device's registers and
 * how many accesses are timed, so that all of them measure the same thing.
 * The guest is built without a C library, so nothing else belongs here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VFIO_USER_BENCH_H
#define VFIO_USER_BENCH_H

/* 0x1234 is the vendor of QEMU's own test devices */
#define BENCH_VENDOR 0x1234
#define BENCH_DEVICE 0x0be7

#define BENCH_BAR_SIZE 4096
#define BENCH_PORTS_SIZE 256    /* BAR 1: the same registers as I/O ports */
#define BENCH_COUNTER 0x0       /* read: the number of reads before this one */
#define BENCH_SCRATCH 0x4       /* read, write: the last value written */
#define BENCH_DOORBELL 0x8      /* write: an ioeventfd's, any value */

/*
 * A sample is the time of one batch: a clock read costs a guest more than a
 * register of a device inside QEMU. A batch of posted writes stays below what
 * the smallest socket buffer takes without blocking the sender.
 */
#define BENCH_BATCH 16
#define BENCH_WARMUP 125        /* batches before the first sample */
#define BENCH_SAMPLES 1000

#endif
