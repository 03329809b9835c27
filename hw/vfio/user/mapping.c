/*
 * vfio-user mapped regions
 *
 * vCPUs access mapped regions directly.  With TCG, a fault raises a signal, as
 * in any program.  With KVM, a fault makes KVM_RUN return EFAULT.  Accesses
 * through the memory API, mostly from the main loop, use the functions in this
 * file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/mmap-alloc.h"
#include "system/kvm.h"
#include "hw/vfio/user/guard.h"
#include "hw/vfio/user/mapping.h"

typedef struct Area {
    VFIOUserGuard guard;
    VFIOUserMappings *owner;
    VFIORegion *region;
    int64_t end;                /* in the region's file */
    bool hit;
} Area;

/* Protected by the big QEMU lock. */
static QLIST_HEAD(, VFIOUserMappings) all_mappings =
    QLIST_HEAD_INITIALIZER(all_mappings);

/* Accesses of the memory API, with SIGBUS unblocked. */
static uint64_t mapping_read(void *opaque, hwaddr addr, unsigned size)
{
    uint8_t *bytes = memory_region_get_ram_ptr(opaque);
    sigset_t mask;
    uint64_t data;

    vfio_user_guard_begin_access(&mask);
    data = ldn_le_p(bytes + addr, size);
    vfio_user_guard_end_access(&mask);
    return data;
}

static void mapping_write(void *opaque, hwaddr addr, uint64_t data,
                          unsigned size)
{
    uint8_t *bytes = memory_region_get_ram_ptr(opaque);
    sigset_t mask;

    vfio_user_guard_begin_access(&mask);
    stn_le_p(bytes + addr, size, data);
    vfio_user_guard_end_access(&mask);
}

static const MemoryRegionOps mapping_ops = {
    .read = mapping_read,
    .write = mapping_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
    .impl = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
};

static void lost_in_main_loop(void *opaque)
{
    VFIOUserMappings *m = opaque;

    for (unsigned i = 0; i < m->areas->len; i++) {
        Area *area = g_ptr_array_index(m->areas, i);

        if (qatomic_read(&area->hit)) {
            m->lost(m->opaque, area->region->nr);
            return;
        }
    }
}

/* Called in a signal handler, which may schedule a bottom half. */
static void area_hit(VFIOUserGuard *guard)
{
    Area *area = container_of(guard, Area, guard);

    qatomic_set(&area->hit, true);
    qemu_bh_schedule(area->owner->bh);
}

#ifdef CONFIG_KVM
static bool is_short(const Area *area)
{
    int fd = vfio_device_get_region_fd(area->owner->vbasedev,
                                       area->region->nr);
    struct stat st;

    return fstat(fd, &st) < 0 || st.st_size < area->end;
}

static bool any_short(VFIOUserMappings *m)
{
    bool found = false;

    for (unsigned i = 0; i < m->areas->len; i++) {
        Area *area = g_ptr_array_index(m->areas, i);

        if (is_short(area)) {
            area_hit(&area->guard);
            found = true;
        }
    }
    return found;
}

static bool is_enabled(const VFIOUserMappings *m)
{
    return m->areas->len && !m->vbasedev->no_mmap;
}

/* Disables the mappings of devices with a truncated file; see area_hit(). */
static bool turn_short_off(void)
{
    VFIOUserMappings *m;
    bool changed = false;

    QLIST_FOREACH(m, &all_mappings, next) {
        if (is_enabled(m) && any_short(m)) {
            vfio_user_mappings_off(m);
            changed = true;
        }
    }
    return changed;
}

static bool turn_all_off(void)
{
    VFIOUserMappings *m;
    bool changed = false;

    QLIST_FOREACH(m, &all_mappings, next) {
        if (is_enabled(m)) {
            warn_report("%s: memory that the guest accessed is missing:"
                        " regions are accessed by message from now on",
                        m->vbasedev->name);
            vfio_user_mappings_off(m);
            changed = true;
        }
    }
    return changed;
}

/*
 * A vCPU accessed guest memory that is missing; KVM does not report which.  If
 * no file is truncated, there may be no memory left for one.  In this case all
 * mappings are disabled.  If the vCPU faults again, the cause was not a mapping
 * and this function returns false.
 */
static bool on_kvm_fault(void)
{
    bool changed;

    bql_lock();
    changed = turn_short_off() || turn_all_off();
    bql_unlock();
    return changed;
}
#endif

void vfio_user_mappings_init(VFIOUserMappings *m, VFIODevice *vbasedev,
                             VFIOUserMappingLost *lost, void *opaque)
{
    *m = (VFIOUserMappings) {
        .vbasedev = vbasedev,
        .lost = lost,
        .opaque = opaque,
        .bh = qemu_bh_new(lost_in_main_loop, m),
        .areas = g_ptr_array_new_with_free_func(g_free),
    };
    QLIST_INSERT_HEAD(&all_mappings, m, next);
#ifdef CONFIG_KVM
    kvm_fault_handler = on_kvm_fault;
#endif
}

void vfio_user_mappings_add(VFIOUserMappings *m, VFIORegion *region)
{
    int fd = vfio_device_get_region_fd(m->vbasedev, region->nr);

    for (int i = 0; i < region->nr_mmaps; i++) {
        VFIOMmap *mmap = &region->mmaps[i];
        Area *area;

        if (!mmap->mmap) {
            continue;
        }
        area = g_new(Area, 1);
        *area = (Area) {
            .guard = {
                .start = mmap->mmap,
                .size = mmap->size,
                .page = qemu_fd_getpagesize(fd),
                .hit = area_hit,
            },
            .owner = m,
            .region = region,
            .end = region->fd_offset + mmap->offset + mmap->size,
        };
        g_ptr_array_add(m->areas, area);
        vfio_user_guard_add(&area->guard);
        /* the default ops do the same, but with SIGBUS blocked */
        mmap->mem.ops = &mapping_ops;
    }
}

void vfio_user_mappings_off(VFIOUserMappings *m)
{
    m->vbasedev->no_mmap = true;
    for (unsigned i = 0; i < m->areas->len; i++) {
        Area *area = g_ptr_array_index(m->areas, i);

        vfio_region_mmaps_set_enabled(area->region, false);
    }
}

/* hw/vfio has made the mapping, with the protection that the region allows. */
static bool map_again(const Area *area, int fd, Error **errp)
{
    uint32_t flags = area->region->flags;
    int prot = (flags & VFIO_REGION_INFO_FLAG_READ ? PROT_READ : 0) |
               (flags & VFIO_REGION_INFO_FLAG_WRITE ? PROT_WRITE : 0);

    if (mmap(area->guard.start, area->guard.size, prot,
             MAP_SHARED | MAP_FIXED, fd, area->end - area->guard.size) ==
        MAP_FAILED) {
        error_setg_errno(errp, errno, "cannot map region %u",
                         area->region->nr);
        return false;
    }
    return true;
}

bool vfio_user_mappings_replace(VFIOUserMappings *m, unsigned nr, int *fd,
                                Error **errp)
{
    int *present = &m->vbasedev->region_fds[nr];
    int last = *present;

    for (unsigned i = 0; i < m->areas->len; i++) {
        Area *area = g_ptr_array_index(m->areas, i);

        if (area->region->nr != nr) {
            continue;
        }
        if (!map_again(area, *fd, errp)) {
            return false;
        }
        qatomic_set(&area->hit, false);
    }
    *present = *fd;
    *fd = last;
    return true;
}

void vfio_user_mappings_on(VFIOUserMappings *m, bool intx_pending)
{
    if (!m->areas->len) {
        return;
    }
    m->vbasedev->no_mmap = false;
    for (unsigned i = 0; i < m->areas->len; i++) {
        Area *area = g_ptr_array_index(m->areas, i);

        vfio_region_mmaps_set_enabled(area->region, !intx_pending);
    }
}

void vfio_user_mappings_cleanup(VFIOUserMappings *m)
{
    if (!m->areas) {
        return;
    }
    QLIST_REMOVE(m, next);
    for (unsigned i = 0; i < m->areas->len; i++) {
        Area *area = g_ptr_array_index(m->areas, i);

        vfio_user_guard_remove(&area->guard);
    }
    g_clear_pointer(&m->areas, g_ptr_array_unref);
    qemu_bh_delete(m->bh);
}
