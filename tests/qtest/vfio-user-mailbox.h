/*
 * A guest that accesses registers as the test says
 *
 * The bare guest with one processor.  What libqos does with QEMU's main loop,
 * it does with a vCPU.  The test's thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_MAILBOX_H
#define TESTS_QTEST_VFIO_USER_MAILBOX_H

#include "vfio-user-rig.h"

/**
 * vfio_user_mailbox_begin:
 * @accel: "tcg" or "kvm"
 * @more: options of QEMU
 * @timeout_ms: see vfio_user_rig_try_plug()
 *
 * Returns a VM that runs the guest, with the device plugged in.  NULL, and has
 * skipped the test, where /dev/kvm is missing or runs no guest.
 */
VFIOUserRig *vfio_user_mailbox_begin(const char *accel, const char *more,
                                     const VFIOUserModel *model,
                                     const VFIOUserRule *rules,
                                     unsigned timeout_ms);

/* One access of 32 bits; waits for its end. */
uint32_t vfio_user_mailbox_read(VFIOUserRig *rig, uint64_t address);
void vfio_user_mailbox_write(VFIOUserRig *rig, uint64_t address,
                             uint32_t value);

typedef struct VFIOUserMailboxWrite {
    uint32_t address;
    uint32_t value;
} VFIOUserMailboxWrite;

/* Two writes with nothing between them; does not wait. */
void vfio_user_mailbox_write_both(VFIOUserRig *rig,
                                  VFIOUserMailboxWrite first,
                                  VFIOUserMailboxWrite second);

/* Waits until the last command is done. */
void vfio_user_mailbox_wait(VFIOUserRig *rig);

#endif /* TESTS_QTEST_VFIO_USER_MAILBOX_H */
