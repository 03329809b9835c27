/*
 * Test rig: a VM, and the kernel's VFIO without hardware
 *
 * A preloaded library (vfio-kernel-shim.c) is the kernel and keeps a log, one
 * line a call, in which regions and interrupts are those of linux/vfio.h:
 *
 *   read REGION OFFSET SIZE
 *   write REGION OFFSET SIZE VALUE
 *   mmap REGION OFFSET SIZE
 *   SET_IRQS INTERRUPT ACTION START+COUNT none|fd|no-fd
 *   NAME-OF-IOCTL ARGUMENT...
 *   open FILE, close container|group|device
 *
 * What a step of the guest leads to is over when qtest answers, so a step's
 * lines are there when they are looked for.
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
    QPCIDevice *dev;            /* NULL, or what a test has found */
    char *dir;
    char *sysfs;
    char *group;
    char *log;
    char *bios;
    size_t seen;                /* bytes of the log */
} VFIOKernel;

/**
 * vfio_kernel_start:
 * @fail: how the line of calls begins that fail with EBUSY; NULL: none does
 *
 * A VM without the device.
 */
VFIOKernel *vfio_kernel_start(const char *fail);
void vfio_kernel_stop(VFIOKernel *k);

/* Must succeed. */
void vfio_kernel_plug(VFIOKernel *k);

/* Returns the log's lines since the last time. */
char **vfio_kernel_calls(VFIOKernel *k);

/* Returns how many of @calls begin with @prefix. */
unsigned vfio_kernel_count(char **calls, const char *prefix);

/* Waits until QEMU has let the device go, and returns all calls so far. */
char **vfio_kernel_wait_for_end(VFIOKernel *k);

#endif /* TESTS_QTEST_VFIO_KERNEL_H */
