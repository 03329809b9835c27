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

int vfio_user_container_track(const VFIOContainer *container, bool start,
                              Error **errp)
{
    VFIOUserContainer *c = VFIO_IOMMU_USER(container);
    g_autoptr(GArray) direct =
        g_array_new(false, false, sizeof(VFIOUserLoggingRange));

    vfio_user_budget_begin(c->proxy, VFIO_USER_BUDGET_ORDINARY);
    if (start) {
        vfio_user_container_each_map(c, 0, UINT64_MAX - 1, collect_direct,
                                     direct);
        vfio_user_dirty_start(&c->dirty, direct);
        c->counted = false;
    } else {
        vfio_user_dirty_stop(&c->dirty);
    }
    vfio_user_budget_end(c->proxy);
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
    if (!runstate_is_running() && !c->counted) {
        c->counted = true;
        vfio_user_container_each_map(c, 0, UINT64_MAX - 1, count_map, NULL);
    }
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
    g_autoptr(GArray) covered =
        g_array_new(false, false, sizeof(VFIOUserDirtyMap));

    /* the last look for a VM that migrates: what is written later is lost */
    if (!runstate_is_running()) {
        vfio_user_iova_freeze(&c->iova);
    }
    vfio_user_container_each_map(c, first, MIN(last, UINT64_MAX - 1),
                                 collect_covered, covered);
    vfio_user_budget_begin(c->proxy, VFIO_USER_BUDGET_ORDINARY);
    vfio_user_dirty_fetch(&c->dirty, covered);
    vfio_user_budget_end(c->proxy);
    count_rest(c, tracked);
}
