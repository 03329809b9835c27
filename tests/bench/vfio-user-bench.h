/*
 * What the programs of the register benchmark share
 *
 * Server, bare client and guests include it: the device's registers and the
 * number of accesses, so that all of them measure the same thing. The bare
 * guest is built without a C library, so nothing else may be added here.
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
#define BENCH_DOORBELL 0x8      /* write: ioeventfd for any value */

/*
 * A sample is the time of one batch, because in a guest, reading the clock
 * takes longer than an access to a device inside QEMU. A batch of posted
 * writes fits into the smallest socket buffer, so that the sender does not
 * block.
 */
#define BENCH_BATCH 16
#define BENCH_WARMUP 125        /* batches before the first sample */
#define BENCH_SAMPLES 1000

#endif
