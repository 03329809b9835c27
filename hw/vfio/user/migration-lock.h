/*
 * vfio-user migration: the lock of a device that is saved or loaded
 *
 * Held while the device changes its state and while a piece of its data is
 * read, that is, during calls to the server; not held while QEMU's stream is
 * written.  Order: big QEMU lock, then this lock.
 *
 * This is not a mutex, because a thread with the big QEMU lock must not wait
 * indefinitely for the calls of another thread.  Such a thread gets the lock
 * first, its wait is charged to the budget of its operation, and the connection
 * fails if the wait takes longer than a call may take.
 *
 * Any thread may lock; the same thread unlocks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_LOCK_H
#define HW_VFIO_USER_MIGRATION_LOCK_H

#include "hw/vfio/user/proxy.h"

typedef struct VFIOUserMigLock {
    VFIOUserProxy *proxy;       /* a reference; the holder calls its server */

    /* Protects the fields below.  Nothing blocks while it is held. */
    QemuMutex mutex;
    QemuCond released;
    bool held;
    QemuThread holder;
    unsigned first;             /* waiters that have the big QEMU lock */
} VFIOUserMigLock;

void vfio_user_mig_lock_init(VFIOUserMigLock *lock, VFIOUserProxy *proxy);
void vfio_user_mig_lock_destroy(VFIOUserMigLock *lock);

VFIOUserMigLock *vfio_user_mig_lock(VFIOUserMigLock *lock);
void vfio_user_mig_unlock(VFIOUserMigLock *lock);

/* First line of functions that need the lock. */
void vfio_user_mig_assert_locked(VFIOUserMigLock *lock);

/* Private to the macro. */
typedef VFIOUserMigLock *VFIOUserMigLockGuard;
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(VFIOUserMigLockGuard, vfio_user_mig_unlock,
                                NULL)

/* Holds the lock for the rest of the scope. */
#define VFIO_USER_MIG_LOCK_GUARD(lock)                                  \
    g_auto(VFIOUserMigLockGuard) glue(mig_lock_guard_, __LINE__)        \
        G_GNUC_UNUSED = vfio_user_mig_lock(lock)

#endif /* HW_VFIO_USER_MIGRATION_LOCK_H */
