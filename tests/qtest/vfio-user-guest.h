/*
 * The bare guest
 *
 * Runs tests/vfio-user/guest.c in place of a BIOS, with TCG or KVM, and maps
 * its memory as the server does.  The test gives orders to the processors, see
 * vfio-user-guest-layout.h.  Test thread only.
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

/* Guest physical addresses of fields of the layout. */
#define VFIO_USER_GUEST_WORD(field) \
    (VFIO_USER_GUEST_MEMORY + offsetof(VFIOUserGuestMemory, field))
#define VFIO_USER_GUEST_CPU(n, field) VFIO_USER_GUEST_WORD(cpu[n].field)

/* Returns the path of the guest's image. */
const char *vfio_user_guest_image(void);

/**
 * vfio_user_guest_begin:
 * @accel: QEMU options that select the accelerator
 * @cpus: up to VFIO_USER_GUEST_CPUS
 * @model: of the device; NULL: the default model
 * @rules: of the server; may be NULL
 *
 * Starts a new VM with the guest and a device plugged in.  With TCG, returns
 * after the guest has started; with KVM, the guest may fail to run.
 */
void vfio_user_guest_begin(VFIOUserGuest *guest, const char *accel,
                           unsigned cpus, const VFIOUserModel *model,
                           const VFIOUserRule *rules);
void vfio_user_guest_end(VFIOUserGuest *guest);

/**
 * vfio_user_guest_order:
 *
 * Replaces the order of a processor.  The processor must not be blocked in an
 * access.  This function accesses guest memory from QEMU's main loop.
 */
void vfio_user_guest_order(QTestState *qts, unsigned cpu,
                           VFIOUserGuestOrder order);

/* Cancels an order without waiting for the processor. */
void vfio_user_guest_stop(QTestState *qts, unsigned cpu);

/* Returns a word of the guest's memory, read through the shared mapping. */
uint32_t vfio_user_guest_word(const VFIOUserGuest *guest, uint64_t address);

/* Returns how many orders a processor has executed. */
uint32_t vfio_user_guest_done(const VFIOUserGuest *guest, unsigned cpu);

/* Waits until a word has @value.  Returns false at @deadline (us). */
bool vfio_user_guest_becomes(const VFIOUserGuest *guest, uint64_t address,
                             uint32_t value, gint64 deadline);

/* Fails the test unless a word gets @value soon. */
void vfio_user_guest_check(const VFIOUserGuest *guest, uint64_t address,
                           uint32_t value);

/* Returns a deadline for an action that should complete immediately. */
gint64 vfio_user_guest_soon(void);

/**
 * vfio_user_guest_check_working:
 *
 * Fails the test unless a processor executes @orders more orders soon.
 * Returns the longest response time of QEMU's monitor meanwhile, in us.
 */
gint64 vfio_user_guest_check_working(const VFIOUserGuest *guest, unsigned cpu,
                                     unsigned orders);

#endif /* TESTS_QTEST_VFIO_USER_GUEST_H */
