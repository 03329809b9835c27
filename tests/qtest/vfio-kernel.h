/*
 * Test rig: a VM and a simulated VFIO kernel driver
 *
 * A preloaded library (vfio-kernel-shim.c) simulates the kernel and writes a
 * log with one line per call.  REGION and INTERRUPT are the indices of
 * linux/vfio.h:
 *
 *   read REGION OFFSET SIZE
 *   write REGION OFFSET SIZE VALUE
 *   mmap REGION OFFSET SIZE
 *   SET_IRQS INTERRUPT ACTION START+COUNT none|fd|no-fd
 *   NAME-OF-IOCTL ARGUMENT...
 *   open FILE, close container|group|device
 *
 * A guest access has completed when qtest answers, so its calls are in the log
 * by then.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_KERNEL_H
#define TESTS_QTEST_VFIO_KERNEL_H

#include "libqtest.h"
#include "libqos/pci-pc.h"

#define VFIO_KERNEL_NAME "0000:00:0b.0"
#define VFIO_KERNEL_ID "dut"
#define VFIO_KERNEL_SLOT 4

typedef struct VFIOKernel {
    QTestState *qts;
    QPCIBusPC bus;
    QPCIDevice *dev;            /* set by the test, or NULL */
    char *dir;
    char *sysfs;
    char *group;
    char *log;
    char *bios;
    size_t seen;                /* bytes of the log read so far */
} VFIOKernel;

/**
 * vfio_kernel_start:
 * @fail: log line prefix of calls that fail with EBUSY; NULL: none fails
 *
 * Returns a VM without the device.
 */
VFIOKernel *vfio_kernel_start(const char *fail);
void vfio_kernel_stop(VFIOKernel *k);

/* Plugs the device, which must succeed. */
void vfio_kernel_plug(VFIOKernel *k);

/* Returns the log's lines since the last call. */
char **vfio_kernel_calls(VFIOKernel *k);

/* Returns how many of @calls begin with @prefix. */
unsigned vfio_kernel_count(char **calls, const char *prefix);

/* Waits until QEMU has released the device; returns all calls so far. */
char **vfio_kernel_wait_for_end(VFIOKernel *k);

#endif /* TESTS_QTEST_VFIO_KERNEL_H */
