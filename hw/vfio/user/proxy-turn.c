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

/* How often a processor that waits for it looks whether it is waited for. */
#define LOOK_MS 10

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

unsigned proxy_ask_for_turn(VFIOUserProxy *p)
{
    unsigned turn;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        turn = ++p->turns_asked;
    }
    object_ref(OBJECT(p));
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), have_turn, p);
    return turn;
}

/* Returns whether the main loop has had its turn @turn within @ms. */
static bool await_turn(VFIOUserProxy *p, unsigned turn, unsigned ms)
{
    int64_t end = proxy_clock_ns() + (int64_t)ms * SCALE_MS;

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
    assert(!bql_locked());
    return await_turn(p, proxy_ask_for_turn(p), TURN_MS);
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
        had = await_turn(p, turn, LOOK_MS);
        bql_lock();
    }
}
