/*
 * vfio-user IOVA space
 *
 * See the header for what this file is and is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "hw/vfio/user/iova.h"

void vfio_user_iova_init(VFIOUserIOVA *v)
{
    qemu_mutex_init(&v->lock);
    v->maps = iova_tree_new();
    v->nr_maps = 0;
    v->held = g_array_new(false, false, sizeof(struct iovec));
}

void vfio_user_iova_destroy(VFIOUserIOVA *v)
{
    g_array_unref(v->held);
    iova_tree_destroy(v->maps);
    qemu_mutex_destroy(&v->lock);
}

uint32_t vfio_user_iova_count(VFIOUserIOVA *v)
{
    QEMU_LOCK_GUARD(&v->lock);
    return v->nr_maps;
}

bool vfio_user_iova_insert(VFIOUserIOVA *v, const DMAMap *map)
{
    QEMU_LOCK_GUARD(&v->lock);
    if (iova_tree_insert(v->maps, map) != IOVA_OK) {
        return false;
    }
    v->nr_maps++;
    return true;
}

void vfio_user_iova_remove(VFIOUserIOVA *v, const DMAMap *map)
{
    QEMU_LOCK_GUARD(&v->lock);
    iova_tree_remove(v->maps, *map);
    v->nr_maps--;
}

bool vfio_user_iova_find(VFIOUserIOVA *v, uint64_t iova, uint64_t size,
                         DMAMap *found)
{
    DMAMap range = { .iova = iova, .size = size - 1 };
    const DMAMap *map;

    QEMU_LOCK_GUARD(&v->lock);
    map = iova_tree_find(v->maps, &range);
    if (map) {
        *found = *map;
    }
    return map;
}

bool vfio_user_iova_covers(const DMAMap *map, const DMAMap *part)
{
    uint64_t skip = part->iova - map->iova;

    return part->iova >= map->iova && skip <= map->size &&
           part->size <= map->size - skip && part->perm == map->perm &&
           part->translated_addr == map->translated_addr + skip;
}

/* The part of @map from @first to @last. */
static DMAMap iova_part(const DMAMap *map, uint64_t first, uint64_t last)
{
    DMAMap part = *map;

    part.iova = first;
    part.translated_addr += first - map->iova;
    part.size = last - first;
    return part;
}

unsigned vfio_user_iova_rest(const DMAMap *map, uint64_t iova, uint64_t size,
                             DMAMap rest[2])
{
    uint64_t map_last = map->iova + map->size;
    uint64_t last = iova + size - 1;
    unsigned n = 0;

    if (map->iova < iova) {
        rest[n++] = iova_part(map, map->iova, iova - 1);
    }
    if (map_last > last) {
        rest[n++] = iova_part(map, last + 1, map_last);
    }
    return n;
}

static int iova_collect_locked(VFIOUserIOVA *v, uint64_t iova, uint64_t size,
                               bool write)
{
    g_array_set_size(v->held, 0);
    while (size) {
        DMAMap at = { .iova = iova };
        const DMAMap *map = iova_tree_find(v->maps, &at);
        struct iovec iov;
        uint64_t skip;

        if (!map) {
            return -EFAULT;
        }
        if (write && !(map->perm & IOMMU_WO)) {
            return -EPERM;
        }
        skip = iova - map->iova;
        iov.iov_base = (uint8_t *)(uintptr_t)map->translated_addr + skip;
        iov.iov_len = MIN(size - 1, map->size - skip) + 1;
        g_array_append_val(v->held, iov);
        iova += iov.iov_len;
        size -= iov.iov_len;
    }
    return 0;
}

int vfio_user_iova_hold(VFIOUserIOVA *v, uint64_t iova, uint64_t size,
                        bool write, const struct iovec **iov, unsigned *niov)
{
    int ret;

    qemu_mutex_lock(&v->lock);
    ret = iova_collect_locked(v, iova, size, write);
    if (ret < 0) {
        qemu_mutex_unlock(&v->lock);
        return ret;
    }
    *iov = (const struct iovec *)v->held->data;
    *niov = v->held->len;
    return 0;
}

void vfio_user_iova_release(VFIOUserIOVA *v)
{
    qemu_mutex_unlock(&v->lock);
}
