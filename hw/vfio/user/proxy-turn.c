/*
 * vfio-user connection: turns of the main loop
 *
 * A thread that waits for a server may make the main loop wait, and with it the
 * monitor: with the big QEMU lock always, and without it where the main loop
 * waits for the thread, to stop a processor or for its RCU.  Here the main loop
 * is asked for a turn, and it is found out whether it has had one.
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/proxy-internal.h"

/* As long as a main loop may take that waits for nobody, ms. */
#define TURN_MS 500

/* How often who waits for one looks around, ms. */
#define LOOK_MS 10

/* Calls without the lock that take less make nobody ask for a turn, ns. */
#define TURN_NOTICED (10 * SCALE_MS)

/*
 * A call of any connection is under way with the big QEMU lock: that is what
 * the main loop waits for.  Set by whoever has the lock.
 */
static bool call_with_lock;

void proxy_turn_set_call(bool under_way)
{
    if (bql_locked()) {
        qatomic_set(&call_with_lock, under_way);
    }
}

/* Not in a loop that the main loop runs inside, as for a block device. */
static void have_turn(void *opaque)
{
    VFIOUserProxy *p = opaque;

    proxy_budget_renew(p);
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        p->turns_had = p->turns_asked;
        qemu_cond_broadcast(&p->turn_cond);
    }
    object_unref(OBJECT(p));
}

unsigned proxy_ask_for_turn(VFIOUserProxy *p, int64_t since)
{
    unsigned turn;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        if (p->turns_had == p->turns_asked) {
            p->turn_since = since;
        }
        turn = ++p->turns_asked;
    }
    object_ref(OBJECT(p));
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), have_turn, p);
    return turn;
}

/* Returns whether the main loop has had its turn @turn within LOOK_MS. */
static bool await_turn(VFIOUserProxy *p, unsigned turn)
{
    int64_t end = proxy_clock_ns() + LOOK_MS * SCALE_MS;

    QEMU_LOCK_GUARD(&p->lock);
    while ((int)(p->turns_had - turn) < 0) {
        int64_t left = end - proxy_clock_ns();

        if (left <= 0) {
            return false;
        }
        qemu_cond_timedwait(&p->turn_cond, &p->lock,
                            DIV_ROUND_UP(left, SCALE_MS));
    }
    return true;
}

bool proxy_main_loop_runs(VFIOUserProxy *p)
{
    int64_t now = proxy_clock_ns();
    int64_t end = now + TURN_MS * SCALE_MS;
    unsigned turn;
    bool usable;

    assert(!bql_locked());
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        usable = proxy_usable_locked(p);
    }
    turn = proxy_ask_for_turn(p, now);
    while (usable && proxy_clock_ns() < end) {
        if (qatomic_read(&call_with_lock) || await_turn(p, turn)) {
            return true;
        }
    }
    return false;
}

bool proxy_turn_is_overdue(VFIOUserProxy *p, int64_t since)
{
    int64_t now = proxy_clock_ns();

    if (now - since < TURN_NOTICED) {
        return false;
    }
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        if (p->turns_had != p->turns_asked) {
            return now - p->turn_since >= (int64_t)p->timeout_ms * SCALE_MS;
        }
    }
    proxy_ask_for_turn(p, since);
    return false;
}

void vfio_user_proxy_give_way(VFIOUserProxy *p, bool (*is_waited_for)(void))
{
    int64_t end = proxy_clock_ns() + proxy_budget_total(p);
    unsigned turn;
    bool had;

    assert(bql_locked());
    had = !p->budget.asked;
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        turn = p->turns_asked;
    }
    while (!had && !is_waited_for() && proxy_clock_ns() < end) {
        bql_unlock();
        had = await_turn(p, turn);
        bql_lock();
    }
}
