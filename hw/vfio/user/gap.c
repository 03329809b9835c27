/*
 * vfio-user gap: the time between the loss of a server and its return
 *
 * A vCPU that waits here is in an RCU read-side critical section, and the main
 * loop may need it: to stop it, or to wait for RCU.  So a waiting thread looks
 * around every few milliseconds, and leaves if the main loop does not run.
 *
 * Threads: see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/gap.h"
#include "hw/vfio/user/locked.h"

/* How often a waiting thread looks whether it is needed elsewhere. */
#define LOOK_MS 5

/*
 * A main loop without a turn for so long is taken to wait for this thread.  If
 * it waits for a vCPU, it has nearly always queued work for it.  But nobody
 * waits for most queued work, such as that of each change of the memory map.
 */
#define TURN_WITH_WORK_NS (100 * SCALE_MS)
#define TURN_NS (2000 * SCALE_MS)

static int64_t clock_ns(void)
{
    return g_get_monotonic_time() * 1000;
}

void vfio_user_gap_init(VFIOUserGap *gap, Object *owner,
                        VFIOUserWanted (*wanted)(void))
{
    gap->owner = owner;
    gap->wanted = wanted;
    qemu_mutex_init(&gap->lock);
    qemu_cond_init(&gap->changed);
}

void vfio_user_gap_destroy(VFIOUserGap *gap)
{
    qemu_cond_destroy(&gap->changed);
    qemu_mutex_destroy(&gap->lock);
}

void vfio_user_gap_begin(VFIOUserGap *gap, uint64_t seen)
{
    QEMU_LOCK_GUARD(&gap->lock);
    if (gap->expected && !gap->open && gap->returns == seen) {
        gap->since = clock_ns();
        gap->given_up = false;
        qatomic_store_release(&gap->open, true);
    }
}

void vfio_user_gap_set_ending(VFIOUserGap *gap, bool ending)
{
    QEMU_LOCK_GUARD(&gap->lock);
    gap->ending = ending;
}

int64_t vfio_user_gap_end(VFIOUserGap *gap)
{
    QEMU_LOCK_GUARD(&gap->lock);
    assert(gap->open);
    gap->ending = false;
    qatomic_store_release(&gap->returns, gap->returns + 1);
    qatomic_store_release(&gap->open, false);
    qemu_cond_broadcast(&gap->changed);
    return (clock_ns() - gap->since) / SCALE_MS;
}

void vfio_user_gap_give_up(VFIOUserGap *gap)
{
    QEMU_LOCK_GUARD(&gap->lock);
    gap->given_up = true;
    qemu_cond_broadcast(&gap->changed);
}

static void have_turn(void *opaque)
{
    VFIOUserGap *gap = opaque;

    WITH_QEMU_LOCK_GUARD(&gap->lock) {
        gap->turn_asked = false;
    }
    object_unref(gap->owner);
}

/* Asks for a turn of the main loop; false if none was had for @most ns. */
static bool main_loop_runs_locked(VFIOUserGap *gap, int64_t most)
{
    vfio_user_assert_locked(&gap->lock);
    if (gap->turn_asked) {
        return gap->ending || clock_ns() - gap->turn_since < most;
    }
    gap->turn_asked = true;
    gap->turn_since = clock_ns();
    object_ref(gap->owner);
    aio_bh_schedule_oneshot(qemu_get_aio_context(), have_turn, gap);
    return true;
}

static bool is_young_locked(VFIOUserGap *gap)
{
    vfio_user_assert_locked(&gap->lock);
    return gap->open && !gap->given_up &&
           clock_ns() - gap->since < (int64_t)gap->wait_ms * SCALE_MS;
}

static bool may_wait_locked(VFIOUserGap *gap)
{
    VFIOUserWanted wanted = gap->wanted();

    return is_young_locked(gap) && wanted != VFIO_USER_WANTED_STOP &&
           main_loop_runs_locked(gap, wanted == VFIO_USER_WANTED_WORK ?
                                      TURN_WITH_WORK_NS : TURN_NS);
}

bool vfio_user_gap_wait(VFIOUserGap *gap, uint64_t seen)
{
    QEMU_LOCK_GUARD(&gap->lock);
    while (gap->returns == seen && !bql_locked() && may_wait_locked(gap)) {
        qemu_cond_timedwait(&gap->changed, &gap->lock, LOOK_MS);
    }
    return gap->returns > seen;
}

bool vfio_user_gap_is_young(VFIOUserGap *gap)
{
    QEMU_LOCK_GUARD(&gap->lock);
    return is_young_locked(gap);
}

void vfio_user_gap_drop_write(VFIOUserGap *gap)
{
    QEMU_LOCK_GUARD(&gap->lock);
    gap->dropped_writes++;
}

uint64_t vfio_user_gap_dropped_writes(VFIOUserGap *gap)
{
    QEMU_LOCK_GUARD(&gap->lock);
    return gap->dropped_writes;
}
