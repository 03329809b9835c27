/*
 * vfio-user connection: turns of the main loop
 *
 * A thread that waits for a server may block the main loop and with it the
 * monitor.  With the big QEMU lock it always does; without that lock it does if
 * the main loop waits for the thread, for example to stop a vCPU or for RCU.
 * The functions in this file ask the main loop for a turn (a bottom half) and
 * find out whether it had that turn.
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/proxy-internal.h"

/* How long a main loop that is not blocked may take until it runs, ms. */
#define TURN_MS 500

/* How often a thread that waits for a turn checks other conditions, ms. */
#define LOOK_MS 10

/* Shorter calls without the big QEMU lock do not ask for a turn, ns. */
#define TURN_NOTICED (10 * SCALE_MS)

/*
 * A thread waits for a reply, on any connection, with the big QEMU lock: the
 * main loop waits for that thread.  Written with that lock held.
 */
static bool call_with_lock;

void proxy_turn_set_call(bool under_way)
{
    if (bql_locked()) {
        qatomic_set(&call_with_lock, under_way);
    }
}

/* Does not run in a nested event loop, such as that of a block device. */
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
