/*
 * The bare guest
 *
 * tests/vfio-user/guest.c in place of a BIOS, run by TCG or KVM, and its
 * memory, which the test sees as the server does.  What its processors do are
 * orders of the test, see vfio-user-guest-layout.h.  The test's thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_GUEST_H
#define TESTS_QTEST_VFIO_USER_GUEST_H

#include "vfio-user-guest-layout.h"
#include "vfio-user-rig.h"

typedef struct VFIOUserGuest {
    VFIOUserRig *rig;
    VFIOUserMap memory;
} VFIOUserGuest;

/* Addresses in the guest's memory. */
#define VFIO_USER_GUEST_WORD(field) \
    (VFIO_USER_GUEST_MEMORY + offsetof(VFIOUserGuestMemory, field))
#define VFIO_USER_GUEST_CPU(n, field) VFIO_USER_GUEST_WORD(cpu[n].field)

/* What the guest is started with. */
const char *vfio_user_guest_image(void);

/**
 * vfio_user_guest_begin:
 * @accel: options of QEMU for the accelerator
 * @cpus: up to VFIO_USER_GUEST_CPUS
 * @model: of the device, or NULL
 * @rules: of the server, or NULL
 *
 * Starts the guest in a VM of its own, with a device plugged in.  With TCG it
 * has begun; KVM may not run it.
 */
void vfio_user_guest_begin(VFIOUserGuest *guest, const char *accel,
                           unsigned cpus, const VFIOUserModel *model,
                           const VFIOUserRule *rules);
void vfio_user_guest_end(VFIOUserGuest *guest);

/**
 * vfio_user_guest_order:
 *
 * Replaces the order of a processor, which must not be in the middle of an
 * access that waits.  Uses QEMU's main loop.
 */
void vfio_user_guest_order(QTestState *qts, unsigned cpu,
                           VFIOUserGuestOrder order);

/* Takes back an order without waiting for the processor. */
void vfio_user_guest_stop(QTestState *qts, unsigned cpu);

/* Returns a word of the guest's memory, without asking QEMU. */
uint32_t vfio_user_guest_word(const VFIOUserGuest *guest, uint64_t address);

/* How often a processor has carried out its orders. */
uint32_t vfio_user_guest_done(const VFIOUserGuest *guest, unsigned cpu);

/* Waits until a word has a value; returns false at @deadline, in us. */
bool vfio_user_guest_becomes(const VFIOUserGuest *guest, uint64_t address,
                             uint32_t value, gint64 deadline);

/* Fails the test unless a word gets a value soon. */
void vfio_user_guest_check(const VFIOUserGuest *guest, uint64_t address,
                           uint32_t value);

/* Returns a deadline for what a guest does at once. */
gint64 vfio_user_guest_soon(void);

/**
 * vfio_user_guest_check_working:
 *
 * Fails the test unless a processor carries out @orders more orders soon.
 * Returns how long QEMU's monitor took to answer in the meantime at most, us.
 */
gint64 vfio_user_guest_check_working(const VFIOUserGuest *guest, unsigned cpu,
                                     unsigned orders);

#endif /* TESTS_QTEST_VFIO_USER_GUEST_H */
