/*
 * vfio-user guards of mapped files
 *
 * If a server truncates a file that it shares, or there is no memory left for
 * the file, an access to the mapping raises SIGBUS, which terminates QEMU.  A
 * guard handles the signal: it replaces the page that faulted by a page of all
 * ones and notifies its owner.  Knows no regions or devices.
 *
 * Threads: the handler runs in the thread that accesses the mapping, which must
 * not block SIGBUS.  Guards are added and removed by one thread at a time; QEMU
 * holds the big QEMU lock for that.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_GUARD_H
#define HW_VFIO_USER_GUARD_H

#include <signal.h>

/* Filled and owned by the caller.  Must stay valid from add to remove. */
typedef struct VFIOUserGuard {
    void *start;                /* of a shared mapping of a file */
    size_t size;                /* bytes, a multiple of @page */
    size_t page;                /* page size of the file, bytes */
    /* Called by the signal handler after it replaced a page; must not block. */
    void (*hit)(struct VFIOUserGuard *guard);

    struct VFIOUserGuard *next; /* private */
} VFIOUserGuard;

/**
 * vfio_user_guard_add:
 *
 * The first call installs a handler for SIGBUS.  Signals that are not about a
 * guarded mapping are passed to the previous handler.
 */
void vfio_user_guard_add(VFIOUserGuard *guard);

/**
 * vfio_user_guard_remove:
 *
 * Call this before the mapping is unmapped, when no thread accesses it any
 * more.  @hit is not called afterwards.
 */
void vfio_user_guard_remove(VFIOUserGuard *guard);

/**
 * vfio_user_guard_begin_access:
 * @mask: for vfio_user_guard_end_access()
 *
 * Unblocks SIGBUS in this thread, so that it can access a guarded mapping.  The
 * main loop normally blocks SIGBUS.
 */
void vfio_user_guard_begin_access(sigset_t *mask);
void vfio_user_guard_end_access(const sigset_t *mask);

#endif /* HW_VFIO_USER_GUARD_H */
