/*
 * vfio-user PCI device: the return of its server
 *
 * After a loss, connects to the server's socket again and again, compares the
 * device that it finds with the one that the guest knows, and tells the server
 * all that the lost one knew.  Until then the device is in a gap, see gap.h.
 * What the server must be told is in pci.c, in the steps of realize.
 *
 * Threads: the main loop, with the big QEMU lock; another server is examined in
 * a thread without that lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_RECONNECT_H
#define HW_VFIO_USER_PCI_RECONNECT_H

#include "qemu/timer.h"
#include "hw/vfio/user/profile.h"

typedef struct VFIOUserPCIReconnect {
    uint32_t ms;                /* longest delay between attempts; 0: off */
    bool aer;                   /* report each return as an error */
    VFIOUserProfile *profile;   /* the device that the guest knows */
    QEMUTimer *timer;           /* the next attempt */
    uint32_t delay_ms;          /* before the next attempt */
    int64_t since_ms;           /* when the present server came */
    struct VFIOUserAttempt *attempt;    /* under way, or NULL */
    bool in_gap;                /* the loss is known to the main loop */
    bool rejected;              /* the last server: do not try again */
    char *why_not;              /* why the last server was not used, or NULL */
    uint64_t returns;           /* how often a server came back */
} VFIOUserPCIReconnect;

#endif /* HW_VFIO_USER_PCI_RECONNECT_H */
