/*
 * vfio-user guards of mapped files
 *
 * A server may take bytes away from the file that it shares, or have no memory
 * left for it: then an access to the mapping is SIGBUS, which ends QEMU.  A
 * guard over the mapping puts a page of ones where the fault was and says so.
 * Knows neither regions nor devices.
 *
 * Threads: the handler runs in whichever thread accesses the mapping, and
 * works only where that thread does not block SIGBUS.  Guards are added and
 * removed by one thread at a time, for QEMU with the big lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_GUARD_H
#define HW_VFIO_USER_GUARD_H

#include <signal.h>

/* Lives with its user, who fills it, from add to remove. */
typedef struct VFIOUserGuard {
    void *start;                /* of the mapping: shared, of a file */
    size_t size;                /* whole pages */
    size_t page;                /* bytes of a page of that file */
    /* Called after a page was replaced, in a signal handler; may not block. */
    void (*hit)(struct VFIOUserGuard *guard);

    struct VFIOUserGuard *next; /* private */
} VFIOUserGuard;

/**
 * vfio_user_guard_add:
 *
 * The first one takes SIGBUS over; a signal that is about no guarded mapping
 * goes to whoever had it.
 */
void vfio_user_guard_add(VFIOUserGuard *guard);

/**
 * vfio_user_guard_remove:
 *
 * To be called before the mapping is taken away, when nobody accesses it any
 * more.  No hit is called afterwards.
 */
void vfio_user_guard_remove(VFIOUserGuard *guard);

/**
 * vfio_user_guard_begin_access:
 * @mask: for vfio_user_guard_end_access()
 *
 * Lets a thread that blocks SIGBUS, as the main loop does, access a mapping.
 */
void vfio_user_guard_begin_access(sigset_t *mask);
void vfio_user_guard_end_access(const sigset_t *mask);

#endif /* HW_VFIO_USER_GUARD_H */
