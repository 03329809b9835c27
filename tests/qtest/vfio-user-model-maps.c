/*
 * The device behind the scripted vfio-user server: DMA maps
 *
 * The DMA maps of the client, with their memory if it was passed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>

#include "vfio-user-model-internal.h"

static VFIOUserMap *map_at(VFIOUserDevice *dev, unsigned i)
{
    return &g_array_index(dev->maps, VFIOUserMap, i);
}

static void drop_map(VFIOUserDevice *dev, unsigned i)
{
    VFIOUserMap *map = map_at(dev, i);

    if (map->memory) {
        munmap(map->memory, map->size);
    }
    g_array_remove_index(dev->maps, i);
}

const VFIOUserMap *vfio_user_device_map(VFIOUserDevice *dev, uint64_t address)
{
    unsigned i;

    for (i = 0; i < dev->maps->len; i++) {
        VFIOUserMap *map = map_at(dev, i);

        if (address >= map->address && address - map->address < map->size) {
            return map;
        }
    }
    return NULL;
}

unsigned vfio_user_device_maps(VFIOUserDevice *dev)
{
    return dev->maps->len;
}

bool vfio_user_device_asks(const VFIOUserDevice *dev)
{
    return !device_habits(dev)->no_messages;
}

/* Whether the server uses such a map. */
static bool uses(VFIOUserDevice *dev, const VFIOUserDMAMap *head)
{
    uint64_t align = device_habits(dev)->map_align ?: 1;

    return (head->offset | head->size) % align == 0;
}

int device_dma_map(VFIOUserDevice *dev, VFIOUserPacket *request,
                   VFIOUserPacket *reply)
{
    const VFIOUserDMAMap *head = device_head_of(request, sizeof(*head));
    uint32_t most = device_habits(dev)->most_maps ?: UINT32_MAX;
    VFIOUserMap map;
    unsigned i;

    if (!head || head->argsz != sizeof(*head) || request->fds->len > 1 ||
        !head->size || head->iova + (head->size - 1) < head->iova ||
        dev->maps->len >= most) {
        return -EINVAL;
    }
    for (i = 0; i < dev->maps->len; i++) {
        if (head->iova < map_at(dev, i)->address + map_at(dev, i)->size &&
            map_at(dev, i)->address < head->iova + head->size) {
            return -EEXIST;
        }
    }

    map = (VFIOUserMap) { head->iova, head->size, head->flags };
    if (request->fds->len && uses(dev, head)) {
        int prot = (head->flags & VFIO_USER_DMA_READABLE ? PROT_READ : 0) |
                   (head->flags & VFIO_USER_DMA_WRITEABLE ? PROT_WRITE : 0);

        map.memory = mmap(NULL, map.size, prot, MAP_SHARED,
                          g_array_index(request->fds, int, 0), head->offset);
        if (map.memory == MAP_FAILED) {
            return -errno;
        }
    }
    g_array_append_val(dev->maps, map);
    return 0;
}

int device_dma_unmap(VFIOUserDevice *dev, VFIOUserPacket *request,
                     VFIOUserPacket *reply)
{
    const VFIOUserDMAUnmap *head = device_head_of(request, sizeof(*head));
    const VFIOUserBitmap *bitmap = (const void *)(head + 1);
    bool bits = head && head->flags == VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
    unsigned i;
    int ret;

    if (!head || (head->flags && !bits) ||
        (bits && (!dev->migration1 ||
                  !device_head_of(request, sizeof(*head) + sizeof(*bitmap)) ||
                  head->argsz != sizeof(*head) + sizeof(*bitmap) +
                                 bitmap->size))) {
        return -EINVAL;
    }
    for (i = 0; i < dev->maps->len; i++) {
        if (map_at(dev, i)->address == head->iova &&
            map_at(dev, i)->size == head->size) {
            vfio_user_packet_put(reply, head, sizeof(*head));
            if (bits) {
                vfio_user_packet_put(reply, bitmap, sizeof(*bitmap));
                ret = vfio_user_record_bitmap(device_record(dev), head->iova,
                                              head->size, bitmap, reply);
                if (ret < 0) {
                    return ret;
                }
            }
            drop_map(dev, i);
            if (device_habits(dev)->short_unmap) {
                vfio_user_packet_resize(reply, 0);
            }
            return 0;
        }
    }
    return -ENOENT;
}

void device_drop_maps(VFIOUserDevice *dev)
{
    while (dev->maps->len) {
        drop_map(dev, dev->maps->len - 1);
    }
}
