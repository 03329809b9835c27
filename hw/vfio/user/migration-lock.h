/*
 * vfio-user migration: the lock of a device that is saved or loaded
 *
 * Held while the device changes its state and while a piece of its data is
 * read, so for as long as calls to the server take; not while QEMU's stream is
 * written.  The big QEMU lock comes first.
 *
 * Not a mutex, because whoever has the big QEMU lock is not to wait for
 * somebody else's calls without end: it goes first, its wait is charged to the
 * budget of its operation, and a connection that keeps it waiting for longer
 * than a call may take fails.
 *
 * Any thread may lock; the same one unlocks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_LOCK_H
#define HW_VFIO_USER_MIGRATION_LOCK_H

#include "hw/vfio/user/proxy.h"

typedef struct VFIOUserMigLock {
    VFIOUserProxy *proxy;       /* a reference; the holder calls its server */

    /* Nothing blocks while the mutex is held; it protects what follows. */
    QemuMutex mutex;
    QemuCond released;
    bool held;
    QemuThread holder;
    unsigned first;             /* how many wait with the big QEMU lock */
} VFIOUserMigLock;

void vfio_user_mig_lock_init(VFIOUserMigLock *lock, VFIOUserProxy *proxy);
void vfio_user_mig_lock_destroy(VFIOUserMigLock *lock);

VFIOUserMigLock *vfio_user_mig_lock(VFIOUserMigLock *lock);
void vfio_user_mig_unlock(VFIOUserMigLock *lock);

/* For the first line of functions that need it. */
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
