/*
 * vfio-user container: dirty tracking
 *
 * Which maps the server is asked about, and what is to happen where it keeps
 * no record.  Asks nothing itself: dirty.c does.
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

/* What the server may write to by descriptor. */
static GArray *direct_ranges(VFIOUserContainer *c)
{
    GArray *ranges = g_array_new(false, false, sizeof(VFIOUserLoggingRange));

    vfio_user_container_each_map(c, 0, UINT64_MAX - 1, collect_direct, ranges);
    return ranges;
}

/*
 * While the VM runs, the migration thread calls the server without the big QEMU
 * lock, before it sends the first page; see vfio_user_container_look().
 */
static bool is_looked_at(void)
{
    /* one that is cancelled at once is set up all the same */
    return vfio_user_devices_run() &&
           (migration_is_running() || migration_thread_is_self());
}

int vfio_user_container_track(const VFIOContainer *container, bool start,
                              Error **errp)
{
    VFIOUserContainer *c = VFIO_IOMMU_USER(container);
    g_autoptr(GArray) ranges = NULL;

    VFIO_USER_BUDGET_GUARD(c->proxy, VFIO_USER_BUDGET_ORDINARY);
    qatomic_set(&c->record_wanted, start && is_looked_at());
    c->record_late = false;
    if (!start) {
        vfio_user_dirty_stop(&c->dirty);
        return 0;
    }
    vfio_user_dirty_want(&c->dirty);
    c->counted = false;
    if (!c->record_wanted) {
        ranges = direct_ranges(c);
        vfio_user_dirty_start(&c->dirty, ranges, NULL);
    }
    return 0;
}

static void collect_covered(VFIOUserContainer *c, const DMAMap *map,
                            void *opaque)
{
    if (vfio_user_container_is_direct(c, map) &&
        vfio_user_dirty_covers(&c->dirty, map->iova, map->size + 1)) {
        const VFIOUserDirtyMap covered = {
            .iova = map->iova,
            .size = map->size + 1,
            .ram_addr = vfio_user_container_ram_addr(map),
        };

        g_array_append_val((GArray *)opaque, covered);
    }
}

static GArray *covered_maps(VFIOUserContainer *c, uint64_t first,
                            uint64_t last)
{
    GArray *maps = g_array_new(false, false, sizeof(VFIOUserDirtyMap));

    vfio_user_container_each_map(c, first, last, collect_covered, maps);
    return maps;
}

static void mark_map(VFIOUserContainer *c, const DMAMap *map, void *opaque)
{
    if (vfio_user_container_is_direct(c, map)) {
        vfio_user_dirty_mark(vfio_user_container_ram_addr(map), map->size + 1);
    }
}

void vfio_user_container_mark(VFIOUserContainer *c)
{
    vfio_user_container_each_map(c, 0, UINT64_MAX - 1, mark_map, NULL);
}

static void count_map(VFIOUserContainer *c, const DMAMap *map, void *opaque)
{
    if (!vfio_user_dirty_covers(&c->dirty, map->iova, map->size + 1)) {
        mark_map(c, map, NULL);
    }
}

/*
 * What is not on record may have been written to at any time.  To say so while
 * the device runs would be true for ever; it is said once, when the VM has
 * stopped and the device with it.
 */
static void count_rest(VFIOUserContainer *c, bool tracked)
{
    c->counted &= tracked == c->dirty.tracked;
    if (!vfio_user_devices_run() && !c->counted) {
        c->counted = true;
        vfio_user_container_each_map(c, 0, UINT64_MAX - 1, count_map, NULL);
    }
}

void vfio_user_container_let_write(VFIOUserContainer *c)
{
    assert(bql_locked());
    c->counted = false;
    vfio_user_iova_thaw(&c->iova);
}

/*
 * By map, and marked where the map leads: with a vIOMMU the guest's tables may
 * say something else by now, or nothing, of what was written to.
 */
void vfio_user_container_sync(VFIOContainer *container, hwaddr first,
                              hwaddr last)
{
    VFIOUserContainer *c = VFIO_IOMMU_USER(container);
    bool tracked = c->dirty.tracked;
    g_autoptr(GArray) covered = NULL;

    if (is_looked_at()) {
        return;
    }
    /* the last look for a VM that migrates: what is written later is lost */
    if (!vfio_user_devices_run()) {
        vfio_user_iova_freeze(&c->iova);
    }
    covered = covered_maps(c, first, MIN(last, UINT64_MAX - 1));
    vfio_user_budget_begin(c->proxy, VFIO_USER_BUDGET_ORDINARY);
    vfio_user_dirty_fetch(&c->dirty, covered, NULL);
    vfio_user_budget_end(c->proxy);
    count_rest(c, tracked);
}

void vfio_user_container_prepare_look(VFIOUserContainer *c,
                                      VFIOUserLook *look)
{
    assert(bql_locked());
    *look = (VFIOUserLook) { };
    if (!vfio_user_devices_run()) {
        c->record_late |= c->record_wanted;
        return;
    }
    c->looking = true;
    if (c->record_wanted) {
        qatomic_set(&c->record_wanted, false);
        look->record = direct_ranges(c);
        look->late = c->record_late;
    } else {
        look->covered = covered_maps(c, 0, UINT64_MAX - 1);
    }
}

bool vfio_user_container_wants_record(VFIOUserContainer *c)
{
    return qatomic_read(&c->record_wanted);
}

int vfio_user_container_look(VFIOUserContainer *c, const VFIOUserLook *look,
                             Error **errp)
{
    assert(!bql_locked());
    if (look->record) {
        return vfio_user_dirty_start(&c->dirty, look->record, errp);
    }
    return look->covered ? vfio_user_dirty_fetch(&c->dirty, look->covered,
                                                 errp) : 0;
}

void vfio_user_container_finish_look(VFIOUserContainer *c,
                                     const VFIOUserLook *look)
{
    assert(bql_locked());
    if (look->late) {
        vfio_user_container_mark(c);
    }
    for (guint i = 0; i < c->made->len; i++) {
        const VFIOUserDirtyMap *map = &g_array_index(c->made, VFIOUserDirtyMap,
                                                     i);

        vfio_user_dirty_mark(map->ram_addr, map->size);
    }
    g_array_set_size(c->made, 0);
    c->looking = false;
}

void vfio_user_look_clear(VFIOUserLook *look)
{
    g_clear_pointer(&look->record, g_array_unref);
    g_clear_pointer(&look->covered, g_array_unref);
}
