/*
 * Unit tests of the lock of a vfio-user device that is saved or loaded
 *
 * A thread with the big QEMU lock is served first.  It waits within its budget,
 * and not longer than for a call.  That lock does not exist here: each thread
 * sets whether it would hold it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/migration-lock.h"
#include "vfio-user-bql.h"
#include "vfio-user-rig.h"

#define MS 200                  /* timeout of tests that let it expire */
#define THREADS 4
#define ROUNDS 2000

/* Threads without the big QEMU lock */

typedef struct Holder {
    QemuThread thread;
    Rig *rig;
    VFIOUserMigLock *lock;
    bool holds;                 /* atomic: holds the lock */
    unsigned *count;            /* protected by the lock */
    unsigned seen;              /* value of @count */
    int64_t held;               /* us for which the main thread waited */
    int64_t at_least;           /* minimum of @held in us */
} Holder;

static void holder_start(Holder *h, void *(*run)(void *opaque))
{
    qemu_thread_create(&h->thread, "holder", run, h, QEMU_THREAD_JOINABLE);
}

static bool main_thread_waits(VFIOUserMigLock *lock)
{
    QEMU_LOCK_GUARD(&lock->mutex);
    return lock->first;
}

/* Holds the lock until the main thread has waited for @at_least us. */
static void *hold_for_a_while(void *opaque)
{
    Holder *h = opaque;
    int64_t begun;

    VFIO_USER_MIG_LOCK_GUARD(h->lock);
    qatomic_set(&h->holds, true);
    peer_wait_until(main_thread_waits(h->lock));
    begun = g_get_monotonic_time();
    peer_wait_until(g_get_monotonic_time() - begun >= h->at_least);
    h->held = g_get_monotonic_time() - begun;
    return NULL;
}

/* Holds the lock until the connection fails. */
static void *hold_for_long(void *opaque)
{
    Holder *h = opaque;

    VFIO_USER_MIG_LOCK_GUARD(h->lock);
    qatomic_set(&h->holds, true);
    peer_wait_until(vfio_user_proxy_state(h->rig->proxy) != VFIO_USER_UP);
    return NULL;
}

static void *see_count(void *opaque)
{
    Holder *h = opaque;

    VFIO_USER_MIG_LOCK_GUARD(h->lock);
    h->seen = *h->count;
    return NULL;
}

static void *count_up(void *opaque)
{
    Holder *h = opaque;

    for (int i = 0; i < ROUNDS; i++) {
        VFIO_USER_MIG_LOCK_GUARD(h->lock);
        vfio_user_mig_assert_locked(h->lock);
        ++*h->count;
    }
    return NULL;
}

/* Tests */

/* Only one thread holds the lock, with the big QEMU lock or without. */
static void test_excludes(void)
{
    g_autoptr(Rig) rig = rig_new();
    Holder holders[THREADS] = { };
    VFIOUserMigLock lock;
    unsigned count = 0;

    vfio_user_mig_lock_init(&lock, rig->proxy);
    for (int i = 0; i < THREADS; i++) {
        holders[i] = (Holder) { .rig = rig, .lock = &lock, .count = &count };
        holder_start(&holders[i], count_up);
    }
    for (int i = 0; i < ROUNDS; i++) {
        VFIO_USER_MIG_LOCK_GUARD(&lock);
        count++;
    }
    for (int i = 0; i < THREADS; i++) {
        qemu_thread_join(&holders[i].thread);
    }
    g_assert_cmpuint(count, ==, (THREADS + 1) * ROUNDS);
    vfio_user_mig_lock_destroy(&lock);
    rig_assert_in_sync(rig);
}

/* The main thread is served before a thread that may have waited longer. */
static void test_first(void)
{
    g_autoptr(Rig) rig = rig_new();
    unsigned count = 0;
    VFIOUserMigLock lock;
    Holder holder = { .rig = rig, .lock = &lock };
    Holder other = { .rig = rig, .lock = &lock, .count = &count };

    vfio_user_mig_lock_init(&lock, rig->proxy);
    holder_start(&holder, hold_for_a_while);
    peer_wait_until(qatomic_read(&holder.holds));
    holder_start(&other, see_count);
    vfio_user_mig_lock(&lock);
    count++;
    vfio_user_mig_unlock(&lock);
    qemu_thread_join(&other.thread);
    qemu_thread_join(&holder.thread);
    g_assert_cmpuint(other.seen, ==, 1);
    vfio_user_mig_lock_destroy(&lock);
}

/* Waiting for another thread's lock is charged to the operation's budget. */
static void test_charged(void)
{
    g_autoptr(Rig) rig = rig_new();
    VFIOUserMigLock lock;
    Holder holder = { .rig = rig, .lock = &lock, .at_least = 20000 };
    unsigned left;

    vfio_user_mig_lock_init(&lock, rig->proxy);
    holder_start(&holder, hold_for_a_while);
    peer_wait_until(qatomic_read(&holder.holds));
    {
        VFIO_USER_BUDGET_GUARD(rig->proxy, VFIO_USER_BUDGET_ORDINARY);
        left = vfio_user_budget_left_ms(rig->proxy);
        vfio_user_mig_lock(&lock);
        vfio_user_mig_unlock(&lock);
        qemu_thread_join(&holder.thread);
        g_assert_cmpuint(vfio_user_budget_left_ms(rig->proxy), <=,
                         left - holder.held / 1000);
    }
    vfio_user_mig_lock_destroy(&lock);
    rig_assert_in_sync(rig);
}

/* The connection ends if a server makes the main thread wait too long. */
static void test_late(void)
{
    g_autoptr(Rig) rig = rig_new();
    VFIOUserMigLock lock;
    Holder holder = { .rig = rig, .lock = &lock };

    vfio_user_proxy_set_timeout(rig->proxy, MS);
    vfio_user_mig_lock_init(&lock, rig->proxy);
    holder_start(&holder, hold_for_long);
    peer_wait_until(qatomic_read(&holder.holds));
    vfio_user_mig_lock(&lock);
    vfio_user_mig_assert_locked(&lock);
    vfio_user_mig_unlock(&lock);
    qemu_thread_join(&holder.thread);
    rig_assert_lost(rig, "waited for the server for longer than");
    vfio_user_mig_lock_destroy(&lock);
}

static const RigTest tests[] = {
    { "/vfio-user/migration-lock/excludes", test_excludes },
    { "/vfio-user/migration-lock/first", test_first },
    { "/vfio-user/migration-lock/charged", test_charged },
    { "/vfio-user/migration-lock/late", test_late },
};

int main(int argc, char **argv)
{
    locked = true;
    rig_init(argc, argv, tests, ARRAY_SIZE(tests));
    return g_test_run();
}
