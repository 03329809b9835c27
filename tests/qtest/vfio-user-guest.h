/*
 * Guests of a few bytes
 *
 * Machine code in place of a BIOS, run by TCG or KVM, and the guest's memory,
 * which the test sees as the server does. What the code does, and with which
 * words of memory, is each test's own. The test's thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_GUEST_H
#define TESTS_QTEST_VFIO_USER_GUEST_H

#include "vfio-user-rig.h"

typedef struct VFIOUserGuest {
    VFIOUserRig *rig;
    VFIOUserMap memory;
} VFIOUserGuest;

/**
 * vfio_user_guest_begin:
 * @accel: options of QEMU for the accelerator and the processors
 * @code: 16-bit code for F000:0000, where each processor begins
 * @rules: of the server, or NULL
 *
 * Starts the guest in a VM of its own, with a device plugged in.
 */
void vfio_user_guest_begin(VFIOUserGuest *guest, const char *accel,
                           const uint8_t *code, size_t size,
                           const VFIOUserRule *rules);
void vfio_user_guest_end(VFIOUserGuest *guest);

/* Returns a word of the guest's memory, without asking QEMU. */
uint32_t vfio_user_guest_word(const VFIOUserGuest *guest, uint64_t address);

/* Waits until a word has a value; returns false at @deadline, in us. */
bool vfio_user_guest_becomes(const VFIOUserGuest *guest, uint64_t address,
                             uint32_t value, gint64 deadline);

/* Fails the test unless a word gets a value soon. */
void vfio_user_guest_check(const VFIOUserGuest *guest, uint64_t address,
                           uint32_t value);

/* Returns a deadline for what a guest does at once. */
gint64 vfio_user_guest_soon(void);

#endif /* TESTS_QTEST_VFIO_USER_GUEST_H */
