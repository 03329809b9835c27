/*
 * Test rig: a device that loses its server
 *
 * Loses the server of a rig and waits for what QEMU does about it.  Needs a VM
 * whose messages can be read, see vfio-user-errors.h.  Test thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_LOSS_H
#define TESTS_QTEST_VFIO_USER_LOSS_H

#include "vfio-user-rig.h"

#define VFIO_USER_LOSS_DEADLINE (60 * G_TIME_SPAN_SECOND)

/* Attempts are at most 10 ms apart. */
#define VFIO_USER_LOSS_RECONNECT "-global vfio-user-pci.reconnect-ms=10 "

/* The next attempt stays at its first message until release. */
extern const VFIOUserRule vfio_user_loss_hold[];

/**
 * vfio_user_loss_begin:
 * @args: without vfio_user_errors_args()
 *
 * vfio_user_rig_begin() and vfio_user_rig_plug(), with no messages yet.
 */
VFIOUserRig *vfio_user_loss_begin(const char *args, const VFIOUserModel *model,
                                  unsigned timeout_ms);

/*
 * Loses the server.  The next server has @rules, which may be NULL, and its
 * log is empty.
 */
void vfio_user_loss_happen(VFIOUserRig *rig, const VFIOUserRule *rules);

/* The same with vfio_user_loss_hold; returns when VERSION has arrived. */
void vfio_user_loss_open_gap(VFIOUserRig *rig);

/* Lets the server that was held go on, with @rules, which may be NULL. */
void vfio_user_loss_let_go(VFIOUserRig *rig, const VFIOUserRule *rules);

/* How often a server was lost, has come back, or was rejected. */
unsigned vfio_user_loss_losses(void);
unsigned vfio_user_loss_returns(void);
unsigned vfio_user_loss_rejections(void);

/* Waits, also with a VM that is stopped. */
#define vfio_user_loss_wait(rig, condition) do {                            \
        gint64 deadline_ = g_get_monotonic_time() +                         \
                           VFIO_USER_LOSS_DEADLINE;                         \
        while (!(condition)) {                                              \
            g_assert_cmpint(g_get_monotonic_time(), <, deadline_);          \
            qtest_qmp_assert_success((rig)->qts,                            \
                                     "{'execute': 'query-status'}");        \
        }                                                                   \
    } while (0)

/* Waits until the server has come back for the nth time. */
void vfio_user_loss_wait_return(VFIOUserRig *rig, unsigned nth);

/* Fails the test unless the guest reads what is in the server. */
void vfio_user_loss_check_works(VFIOUserRig *rig);

/* Fails the test unless the guest reads ones. */
void vfio_user_loss_check_gone(VFIOUserRig *rig);

/* Register writes of the guest that no server got, since the device exists. */
uint64_t vfio_user_loss_dropped_writes(VFIOUserRig *rig);

#endif /* TESTS_QTEST_VFIO_USER_LOSS_H */
