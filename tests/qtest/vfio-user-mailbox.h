/*
 * A guest that accesses registers on the test's behalf
 *
 * Runs the bare guest with one processor.  Its accesses come from a vCPU,
 * while those of libqos come from QEMU's main loop.  Test thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_MAILBOX_H
#define TESTS_QTEST_VFIO_USER_MAILBOX_H

#include "vfio-user-rig.h"

/**
 * vfio_user_mailbox_begin:
 * @accel: "tcg" or "kvm"
 * @more: further options of QEMU
 * @timeout_ms: see vfio_user_rig_try_plug()
 *
 * Returns a VM that runs the guest, with the device plugged in.  Skips the
 * test and returns NULL if /dev/kvm is missing or cannot run a guest.
 */
VFIOUserRig *vfio_user_mailbox_begin(const char *accel, const char *more,
                                     const VFIOUserModel *model,
                                     const VFIOUserRule *rules,
                                     unsigned timeout_ms);

/* One 32-bit access; waits until it completes. */
uint32_t vfio_user_mailbox_read(VFIOUserRig *rig, uint64_t address);
void vfio_user_mailbox_write(VFIOUserRig *rig, uint64_t address,
                             uint32_t value);

typedef struct VFIOUserMailboxWrite {
    uint32_t address;
    uint32_t value;
} VFIOUserMailboxWrite;

/* Two back-to-back writes; does not wait. */
void vfio_user_mailbox_write_both(VFIOUserRig *rig,
                                  VFIOUserMailboxWrite first,
                                  VFIOUserMailboxWrite second);

/* Waits until the last command completes. */
void vfio_user_mailbox_wait(VFIOUserRig *rig);

#endif /* TESTS_QTEST_VFIO_USER_MAILBOX_H */
