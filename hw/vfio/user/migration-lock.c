/*
 * vfio-user migration: the lock of a device that is saved or loaded
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/vfio/user/locked.h"
#include "hw/vfio/user/migration-lock.h"

void vfio_user_mig_lock_init(VFIOUserMigLock *lock, VFIOUserProxy *proxy)
{
    *lock = (VFIOUserMigLock) {
        .proxy = VFIO_USER_PROXY(object_ref(OBJECT(proxy))),
    };
    qemu_mutex_init(&lock->mutex);
    qemu_cond_init(&lock->released);
}

void vfio_user_mig_lock_destroy(VFIOUserMigLock *lock)
{
    assert(!lock->held && !lock->first);
    qemu_cond_destroy(&lock->released);
    qemu_mutex_destroy(&lock->mutex);
    object_unref(OBJECT(lock->proxy));
}

static void take_locked(VFIOUserMigLock *lock)
{
    vfio_user_assert_locked(&lock->mutex);
    assert(!lock->held);
    lock->held = true;
    qemu_thread_get_self(&lock->holder);
}

/* Returns whether the lock was taken within @ms. */
static bool take_first(VFIOUserMigLock *lock, unsigned ms)
{
    int64_t end = g_get_monotonic_time() + ms * G_TIME_SPAN_MILLISECOND;
    int64_t now;

    QEMU_LOCK_GUARD(&lock->mutex);
    assert(!lock->held || !qemu_thread_is_self(&lock->holder));
    lock->first++;
    while (lock->held && (now = g_get_monotonic_time()) < end) {
        qemu_cond_timedwait(&lock->released, &lock->mutex,
                            DIV_ROUND_UP(end - now, G_TIME_SPAN_MILLISECOND));
    }
    lock->first--;
    if (lock->held) {
        return false;
    }
    take_locked(lock);
    return true;
}

static void take_after_others(VFIOUserMigLock *lock)
{
    QEMU_LOCK_GUARD(&lock->mutex);
    while (lock->held || lock->first) {
        qemu_cond_wait(&lock->released, &lock->mutex);
    }
    take_locked(lock);
}

static void take_at_last(VFIOUserMigLock *lock)
{
    bool taken;

    do {
        taken = take_first(lock, vfio_user_proxy_timeout(lock->proxy));
    } while (!taken);
}

static void fail(VFIOUserMigLock *lock, unsigned ms)
{
    Error *err = NULL;

    error_setg(&err, "migration and QEMU's main loop waited for the server for"
               " longer than %u ms (x-timeout-ms)", ms);
    vfio_user_proxy_fail(lock->proxy, err);
}

static void take_with_bql(VFIOUserMigLock *lock)
{
    unsigned ms = vfio_user_budget_left_ms(lock->proxy);
    int64_t since = g_get_monotonic_time();

    if (!take_first(lock, ms)) {
        fail(lock, ms);
        /* the holder's calls fail now, so it releases the lock soon */
        take_at_last(lock);
    }
    vfio_user_budget_charge(lock->proxy,
                            (g_get_monotonic_time() - since) * SCALE_US);
}

VFIOUserMigLock *vfio_user_mig_lock(VFIOUserMigLock *lock)
{
    if (bql_locked()) {
        take_with_bql(lock);
    } else {
        take_after_others(lock);
    }
    return lock;
}

void vfio_user_mig_unlock(VFIOUserMigLock *lock)
{
    vfio_user_mig_assert_locked(lock);
    QEMU_LOCK_GUARD(&lock->mutex);
    lock->held = false;
    qemu_cond_broadcast(&lock->released);
}

void vfio_user_mig_assert_locked(VFIOUserMigLock *lock)
{
    QEMU_LOCK_GUARD(&lock->mutex);
    assert(lock->held && qemu_thread_is_self(&lock->holder));
}
