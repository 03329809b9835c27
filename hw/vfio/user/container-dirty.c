/*
 * vfio-user container: dirty tracking
 *
 * Decides for which maps dirty bitmaps are fetched, and marks memory dirty that
 * the server does not track.  The messages are in dirty.c.
 *
 * Threads and locks: see container.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "migration/misc.h"
#include "system/runstate.h"
#include "hw/vfio/user/container-internal.h"

static void collect_direct(VFIOUserContainer *c, const DMAMap *map,
                           void *opaque)
{
    const VFIOUserLoggingRange range = { map->iova, map->size + 1 };

    if (vfio_user_container_is_direct(c, map)) {
        g_array_append_val((GArray *)opaque, range);
    }
}

/* The ranges that the server can write to through a descriptor. */
static GArray *direct_ranges(VFIOUserContainer *c)
{
    GArray *ranges = g_array_new(false, false, sizeof(VFIOUserLoggingRange));

    vfio_user_container_each_map(c, 0, UINT64_MAX - 1, collect_direct, ranges);
    return ranges;
}

/*
 * While the VM runs, the migration thread calls the server without the big QEMU
 * lock, the first time before it sends a page; see
 * vfio_user_container_live_sync().
 */
static bool has_live_sync(void)
{
    /* a migration that is cancelled immediately is set up all the same */
    return vfio_user_devices_run() &&
           (migration_is_running() || migration_thread_is_self());
}

int vfio_user_container_track(const VFIOContainer *container, bool start,
                              Error **errp)
{
    VFIOUserContainer *c = VFIO_IOMMU_USER(container);
    g_autoptr(GArray) ranges = NULL;

    VFIO_USER_BUDGET_GUARD(c->proxy, VFIO_USER_BUDGET_ORDINARY);
    qatomic_set(&c->start_pending, start && has_live_sync());
    c->start_late = false;
    if (!start) {
        vfio_user_dirty_stop(&c->dirty);
        return 0;
    }
    vfio_user_dirty_enable(&c->dirty);
    c->untracked_marked = false;
    if (!c->start_pending) {
        ranges = direct_ranges(c);
        vfio_user_dirty_start(&c->dirty, ranges, NULL);
    }
    return 0;
}

static void collect_tracked(VFIOUserContainer *c, const DMAMap *map,
                            void *opaque)
{
    if (vfio_user_container_is_direct(c, map) &&
        vfio_user_dirty_covers(&c->dirty, map->iova, map->size + 1)) {
        const VFIOUserDirtyMap tracked = {
            .iova = map->iova,
            .size = map->size + 1,
            .ram_addr = vfio_user_container_ram_addr(map),
        };

        g_array_append_val((GArray *)opaque, tracked);
    }
}

static GArray *tracked_maps(VFIOUserContainer *c, uint64_t first,
                            uint64_t last)
{
    GArray *maps = g_array_new(false, false, sizeof(VFIOUserDirtyMap));

    vfio_user_container_each_map(c, first, last, collect_tracked, maps);
    return maps;
}

static void container_mark_map(VFIOUserContainer *c, const DMAMap *map,
                               void *opaque)
{
    if (vfio_user_container_is_direct(c, map)) {
        vfio_user_dirty_mark(vfio_user_container_ram_addr(map), map->size + 1);
    }
}

void vfio_user_container_mark(VFIOUserContainer *c)
{
    vfio_user_container_each_map(c, 0, UINT64_MAX - 1, container_mark_map,
                                 NULL);
}

static void mark_map_if_untracked(VFIOUserContainer *c, const DMAMap *map,
                                  void *opaque)
{
    if (!vfio_user_dirty_covers(&c->dirty, map->iova, map->size + 1)) {
        container_mark_map(c, map, NULL);
    }
}

/*
 * The server may write to untracked memory at any time.  If it were marked
 * dirty while the device runs, it would be dirty again at every sync and
 * migration would not converge.  It is marked once, when the VM and the device
 * have stopped.
 */
static void mark_untracked(VFIOUserContainer *c, bool tracked)
{
    c->untracked_marked &= tracked == c->dirty.tracked;
    if (!vfio_user_devices_run() && !c->untracked_marked) {
        c->untracked_marked = true;
        vfio_user_container_each_map(c, 0, UINT64_MAX - 1,
                                     mark_map_if_untracked, NULL);
    }
}

void vfio_user_container_allow_writes(VFIOUserContainer *c)
{
    assert(bql_locked());
    c->untracked_marked = false;
    vfio_user_iova_thaw(&c->iova);
}

/*
 * Goes through the maps and marks the memory that each map points to.  With a
 * vIOMMU, the guest's page tables may translate the IOVA differently by now, or
 * not at all.
 */
void vfio_user_container_sync(VFIOContainer *container, hwaddr first,
                              hwaddr last)
{
    VFIOUserContainer *c = VFIO_IOMMU_USER(container);
    bool tracked = c->dirty.tracked;
    g_autoptr(GArray) maps = NULL;

    if (has_live_sync()) {
        return;
    }
    /* this is the last sync of a migration: a later write would be lost */
    if (!vfio_user_devices_run()) {
        vfio_user_iova_freeze(&c->iova);
    }
    maps = tracked_maps(c, first, MIN(last, UINT64_MAX - 1));
    vfio_user_budget_begin(c->proxy, VFIO_USER_BUDGET_ORDINARY);
    vfio_user_dirty_fetch(&c->dirty, maps, NULL);
    vfio_user_budget_end(c->proxy);
    mark_untracked(c, tracked);
}

void vfio_user_container_prepare_live_sync(VFIOUserContainer *c,
                                           VFIOUserLiveSync *sync)
{
    assert(bql_locked());
    *sync = (VFIOUserLiveSync) { };
    if (!vfio_user_devices_run()) {
        c->start_late |= c->start_pending;
        return;
    }
    c->live_sync = true;
    if (c->start_pending) {
        qatomic_set(&c->start_pending, false);
        sync->start = direct_ranges(c);
        sync->late = c->start_late;
    } else {
        sync->fetch = tracked_maps(c, 0, UINT64_MAX - 1);
    }
}

bool vfio_user_container_start_pending(VFIOUserContainer *c)
{
    return qatomic_read(&c->start_pending);
}

int vfio_user_container_live_sync(VFIOUserContainer *c,
                                  const VFIOUserLiveSync *sync, Error **errp)
{
    assert(!bql_locked());
    if (sync->start) {
        return vfio_user_dirty_start(&c->dirty, sync->start, errp);
    }
    return sync->fetch ? vfio_user_dirty_fetch(&c->dirty, sync->fetch, errp)
                       : 0;
}

void vfio_user_container_finish_live_sync(VFIOUserContainer *c,
                                          const VFIOUserLiveSync *sync)
{
    assert(bql_locked());
    if (sync->late) {
        vfio_user_container_mark(c);
    }
    for (guint i = 0; i < c->new_maps->len; i++) {
        const VFIOUserDirtyMap *map = &g_array_index(c->new_maps,
                                                     VFIOUserDirtyMap, i);

        vfio_user_dirty_mark(map->ram_addr, map->size);
    }
    g_array_set_size(c->new_maps, 0);
    c->live_sync = false;
}

void vfio_user_live_sync_clear(VFIOUserLiveSync *sync)
{
    g_clear_pointer(&sync->start, g_array_unref);
    g_clear_pointer(&sync->fetch, g_array_unref);
}
