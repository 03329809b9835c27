/*
 * vfio-user IOVA space
 *
 * See the header for the purpose of this file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "hw/vfio/user/iova.h"
#include "hw/vfio/user/locked.h"

/* The tree treats overlapping maps as equal. */
static gint compare_maps(gconstpointer a, gconstpointer b, gpointer opaque)
{
    const DMAMap *map = a, *other = b;

    if (map->iova > other->iova + other->size) {
        return 1;
    }
    return map->iova + map->size < other->iova ? -1 : 0;
}

void vfio_user_iova_init(VFIOUserIOVA *v)
{
    qemu_mutex_init(&v->lock);
    qemu_cond_init(&v->released);
    v->maps = g_tree_new_full(compare_maps, NULL, g_free, NULL);
    v->is_held = v->frozen = v->refused = false;
    v->held = g_array_new(false, false, sizeof(struct iovec));
}

void vfio_user_iova_destroy(VFIOUserIOVA *v)
{
    assert(!v->is_held);
    g_array_unref(v->held);
    g_tree_destroy(v->maps);
    qemu_cond_destroy(&v->released);
    qemu_mutex_destroy(&v->lock);
}

uint32_t vfio_user_iova_count(VFIOUserIOVA *v)
{
    QEMU_LOCK_GUARD(&v->lock);
    return g_tree_nnodes(v->maps);
}

bool vfio_user_iova_insert(VFIOUserIOVA *v, const DMAMap *map)
{
    DMAMap *new;

    QEMU_LOCK_GUARD(&v->lock);
    if (map->iova + map->size < map->iova || g_tree_lookup(v->maps, map)) {
        return false;
    }
    new = g_memdup2(map, sizeof(*map));
    g_tree_insert(v->maps, new, new);
    return true;
}

static bool iova_is_held_locked(VFIOUserIOVA *v, const DMAMap *map)
{
    vfio_user_assert_locked(&v->lock);
    return v->is_held && v->held_size &&
           map->iova <= v->held_iova + (v->held_size - 1) &&
           map->iova + map->size >= v->held_iova;
}

void vfio_user_iova_remove(VFIOUserIOVA *v, const DMAMap *map)
{
    QEMU_LOCK_GUARD(&v->lock);
    g_tree_remove(v->maps, map);
    /* no new request can hold it now */
    while (iova_is_held_locked(v, map)) {
        qemu_cond_wait(&v->released, &v->lock);
    }
}

/* Finds the first map that ends at or above @from. */
typedef struct Search {
    uint64_t from;
    const DMAMap *found;
} Search;

/* Returns -1 to continue with lower addresses, 1 with higher ones. */
static gint search_map(gconstpointer key, gconstpointer opaque)
{
    const DMAMap *map = key;
    Search *search = (Search *)opaque;

    if (map->iova + map->size < search->from) {
        return 1;
    }
    search->found = map;
    return -1;
}

bool vfio_user_iova_find(VFIOUserIOVA *v, uint64_t iova, uint64_t size,
                         DMAMap *found)
{
    Search search = { .from = iova };

    QEMU_LOCK_GUARD(&v->lock);
    g_tree_search(v->maps, search_map, &search);
    if (!search.found || search.found->iova > iova + (size - 1)) {
        return false;
    }
    *found = *search.found;
    return true;
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
    vfio_user_assert_locked(&v->lock);
    g_array_set_size(v->held, 0);
    while (size) {
        DMAMap at = { .iova = iova };
        const DMAMap *map = g_tree_lookup(v->maps, &at);
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

    QEMU_LOCK_GUARD(&v->lock);
    assert(!v->is_held);
    if (write && v->frozen) {
        v->refused = true;
        return -EPERM;
    }
    ret = iova_collect_locked(v, iova, size, write);
    if (ret < 0) {
        return ret;
    }
    v->is_held = true;
    v->is_written = write;
    v->held_iova = iova;
    v->held_size = size;
    *iov = (const struct iovec *)v->held->data;
    *niov = v->held->len;
    return 0;
}

void vfio_user_iova_release(VFIOUserIOVA *v)
{
    QEMU_LOCK_GUARD(&v->lock);
    v->is_held = false;
    qemu_cond_broadcast(&v->released);
}

void vfio_user_iova_freeze(VFIOUserIOVA *v)
{
    QEMU_LOCK_GUARD(&v->lock);
    v->frozen = true;
    while (v->is_held && v->is_written) {
        qemu_cond_wait(&v->released, &v->lock);
    }
}

void vfio_user_iova_thaw(VFIOUserIOVA *v)
{
    QEMU_LOCK_GUARD(&v->lock);
    v->frozen = v->refused = false;
}

bool vfio_user_iova_refused(VFIOUserIOVA *v)
{
    QEMU_LOCK_GUARD(&v->lock);
    return v->refused;
}
