/*
 * vfio-user container
 *
 * Within a transaction of the memory listener maps and unmaps are sent one
 * behind the other and awaited at its commit; outside, each is awaited.  A
 * failure before the container is in use fails the device; a later one costs
 * the connection and so the device, never the VM.
 *
 * Threads and locks: see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "exec/address-spaces.h"
#include "exec/ram_addr.h"
#include "qapi/error.h"
#include "hw/vfio/user/container.h"
#include "trace.h"

/* One DMA_MAP or DMA_UNMAP on its way. */
typedef struct Message {
    VFIOUserCall call;
    union {
        VFIOUserDMAMap map;
        VFIOUserDMAUnmap unmap;
    };
    int fd;                     /* borrowed from the memory's backend */
} Message;

static void message_free(Message *m)
{
    vfio_user_call_clear(&m->call);
    g_free(m);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Message, message_free)

static VFIOUserContainer *user_of(VFIOContainer *container)
{
    return container_of(container, VFIOUserContainer, container);
}

static bool is_up(VFIOUserContainer *c)
{
    return vfio_user_proxy_state(c->proxy) == VFIO_USER_UP;
}

/* The list of maps */

/* Keeps the memory at @vaddr while the server may ask for it, or lets it go. */
static void maps_hold(void *vaddr, bool hold)
{
    ram_addr_t offset;
    MemoryRegion *mr;

    RCU_READ_LOCK_GUARD();
    mr = memory_region_from_host(vaddr, &offset);
    if (mr && hold) {
        memory_region_ref(mr);
    } else if (mr) {
        memory_region_unref(mr);
    }
}

static bool maps_insert(VFIOUserContainer *c, hwaddr iova, hwaddr size,
                        void *vaddr, bool readonly)
{
    DMAMap map = {
        .iova = iova,
        .translated_addr = (uintptr_t)vaddr,
        .size = size - 1,
        .perm = readonly ? IOMMU_RO : IOMMU_RW,
    };

    WITH_QEMU_LOCK_GUARD(&c->maps_lock) {
        if (iova_tree_insert(c->maps, &map) != IOVA_OK) {
            return false;
        }
        c->nr_maps++;
    }
    maps_hold(vaddr, true);
    return true;
}

/* Any map that overlaps the range; false where there is none. */
static bool maps_find(VFIOUserContainer *c, hwaddr iova, hwaddr size,
                      DMAMap *found)
{
    DMAMap range = { .iova = iova, .size = size - 1 };
    const DMAMap *map;

    QEMU_LOCK_GUARD(&c->maps_lock);
    map = iova_tree_find(c->maps, &range);
    if (map) {
        *found = *map;
    }
    return map;
}

static void maps_remove(VFIOUserContainer *c, const DMAMap *map)
{
    WITH_QEMU_LOCK_GUARD(&c->maps_lock) {
        iova_tree_remove(c->maps, *map);
        c->nr_maps--;
    }
    maps_hold((void *)(uintptr_t)map->translated_addr, false);
}

typedef enum MapsAccess { MAPS_CHECK, MAPS_READ, MAPS_WRITE } MapsAccess;

/* Copies out of a map or into it. */
static void maps_copy(const DMAMap *map, hwaddr iova, void *buf, size_t size,
                      MapsAccess access)
{
    uint8_t *host = (uint8_t *)(uintptr_t)map->translated_addr +
                    (iova - map->iova);
    ram_addr_t offset;
    MemoryRegion *mr;

    switch (access) {
    case MAPS_CHECK:
        break;
    case MAPS_READ:
        memcpy(buf, host, size);
        break;
    case MAPS_WRITE:
        memcpy(host, buf, size);
        /* tells migration and translated code, as a device's DMA does */
        mr = memory_region_from_host(host, &offset);
        if (mr) {
            memory_region_ref(mr);
            address_space_unmap(&address_space_memory, host, size, true, size);
        }
        break;
    }
}

static int maps_walk_locked(VFIOUserContainer *c, hwaddr iova, uint8_t *buf,
                            size_t size, bool write, MapsAccess access)
{
    while (size) {
        DMAMap at = { .iova = iova };
        const DMAMap *map = iova_tree_find(c->maps, &at);
        size_t some;

        if (!map) {
            return -EFAULT;
        }
        if (write && !(map->perm & IOMMU_WO)) {
            return -EPERM;
        }
        some = MIN(size - 1, map->iova + map->size - iova) + 1;
        maps_copy(map, iova, buf, some, access);
        iova += some;
        buf += some;
        size -= some;
    }
    return 0;
}

/* All or nothing: the whole range is looked at before a byte is copied. */
static int maps_access(VFIOUserContainer *c, uint64_t iova, void *buf,
                       size_t size, bool write)
{
    int ret;

    RCU_READ_LOCK_GUARD();
    QEMU_LOCK_GUARD(&c->maps_lock);
    ret = maps_walk_locked(c, iova, buf, size, write, MAPS_CHECK);
    if (ret == 0) {
        ret = maps_walk_locked(c, iova, buf, size, write,
                               write ? MAPS_WRITE : MAPS_READ);
    }
    return ret;
}

static int memory_read(void *opaque, uint64_t iova, void *to, size_t size)
{
    return maps_access(opaque, iova, to, size, false);
}

static int memory_write(void *opaque, uint64_t iova, const void *from,
                        size_t size)
{
    return maps_access(opaque, iova, (void *)from, size, true);
}

const VFIOUserMemoryOps vfio_user_container_memory_ops = {
    .read = memory_read,
    .write = memory_write,
};

/* Messages */

/* Where a failure ends; takes @err. */
static int container_failed(VFIOUserContainer *c, Error *err)
{
    if (!c->container.initialized) {
        if (c->container.error) {
            error_free(err);
        } else {
            c->container.error = err;
        }
        return -EINVAL;
    }
    vfio_user_proxy_fail(c->proxy, err);
    return 0;
}

/* Sends; awaits the answer outside a transaction. */
static int container_send(VFIOUserContainer *c, Message *taken)
{
    g_autoptr(Message) m = taken;
    Error *err = NULL;
    int ret;

    ret = c->in_transaction ? vfio_user_proxy_begin(c->proxy, &m->call, &err)
                            : vfio_user_proxy_call(c->proxy, &m->call, &err);
    if (ret < 0) {
        return container_failed(c, err);
    }
    if (c->in_transaction) {
        g_ptr_array_add(c->begun, g_steal_pointer(&m));
    }
    return 0;
}

/*
 * The descriptor through which the server can share the memory at @vaddr,
 * and where it is in its file; -1 where it is to go by message.
 */
static int shared_fd(VFIOUserContainer *c, void *vaddr, uint64_t *offset)
{
    ram_addr_t in_block;
    MemoryRegion *mr;

    if (!vfio_user_proxy_passes_fds(c->proxy) || !c->caps->max_msg_fds) {
        return -1;
    }
    mr = memory_region_from_host(vaddr, &in_block);
    /* a private mapping is no longer what the file holds once written to */
    if (!mr || !mr->ram_block || !qemu_ram_is_shared(mr->ram_block)) {
        return -1;
    }
    *offset = in_block;
    return memory_region_get_fd(mr);
}

/*
 * Registers that a device lets QEMU map come and go with every interrupt, are
 * no memory to share, and copying from them is no access that their device
 * would expect: a server is not told of them, and refused DMA to them.
 */
static bool is_registers(void *vaddr)
{
    ram_addr_t offset;
    MemoryRegion *mr = memory_region_from_host(vaddr, &offset);

    return mr && memory_region_is_ram_device(mr);
}

static int dma_map(VFIOContainer *container, hwaddr iova, ram_addr_t size,
                   void *vaddr, bool readonly)
{
    VFIOUserContainer *c = user_of(container);
    uint64_t offset = 0;
    Error *err = NULL;
    Message *m;
    int fd;

    if (!is_up(c)) {
        return container->initialized ? 0 : -ECONNRESET;
    }
    if (is_registers(vaddr)) {
        return 0;
    }
    if (c->nr_maps >= c->caps->max_dma_maps) {
        error_setg(&err, "vfio-user %s: the server takes no more than %u DMA"
                   " maps", vfio_user_proxy_name(c->proxy),
                   c->caps->max_dma_maps);
        return container_failed(c, err);
    }
    if (!maps_insert(c, iova, size, vaddr, readonly)) {
        return -EEXIST;
    }

    fd = shared_fd(c, vaddr, &offset);
    m = g_new(Message, 1);
    *m = (Message) {
        .map = {
            .argsz = sizeof(m->map),
            .flags = VFIO_USER_DMA_READABLE |
                     (readonly ? 0 : VFIO_USER_DMA_WRITEABLE),
            .offset = offset,
            .iova = iova,
            .size = size,
        },
        .fd = fd,
        .call = {
            .command = VFIO_USER_DMA_MAP,
            .head = &m->map,
            .head_size = sizeof(m->map),
            .fds = &m->fd,
            .nfds = fd >= 0,
        },
    };
    trace_vfio_user_container_map(vfio_user_proxy_name(c->proxy), iova, size,
                                  fd, offset, readonly);
    return container_send(c, m);
}

static int unmap_one(VFIOUserContainer *c, const DMAMap *map)
{
    Message *m;

    maps_remove(c, map);
    if (!is_up(c)) {
        return 0;
    }
    m = g_new(Message, 1);
    *m = (Message) {
        .unmap = {
            .argsz = sizeof(m->unmap),
            .iova = map->iova,
            .size = map->size + 1,
        },
        .call = {
            .command = VFIO_USER_DMA_UNMAP,
            .head = &m->unmap,
            .head_size = sizeof(m->unmap),
            .reply_max = sizeof(m->unmap),
        },
    };
    trace_vfio_user_container_unmap(vfio_user_proxy_name(c->proxy),
                                    map->iova, map->size + 1);
    return container_send(c, m);
}

/* A server wants an unmap to match a map: what is in the range goes singly. */
static int dma_unmap(VFIOContainer *container, hwaddr iova, ram_addr_t size,
                     IOMMUTLBEntry *iotlb)
{
    VFIOUserContainer *c = user_of(container);
    DMAMap map;
    int ret = 0;

    while (ret == 0 && maps_find(c, iova, size, &map)) {
        ret = unmap_one(c, &map);
    }
    return ret;
}

static void listener_begin(VFIOContainer *container)
{
    user_of(container)->in_transaction = true;
}

static void listener_commit(VFIOContainer *container)
{
    VFIOUserContainer *c = user_of(container);

    c->in_transaction = false;
    for (unsigned i = 0; i < c->begun->len; i++) {
        Message *m = g_ptr_array_index(c->begun, i);
        Error *err = NULL;

        if (vfio_user_proxy_finish(c->proxy, &m->call, &err) < 0) {
            container_failed(c, err);
        }
    }
    g_ptr_array_set_size(c->begun, 0);
}

static int set_dirty_page_tracking(VFIOContainer *container, bool start)
{
    return -EOPNOTSUPP;
}

static int query_dirty_bitmap(VFIOContainer *container, uint64_t iova,
                              uint64_t size, ram_addr_t ram_addr)
{
    return -EOPNOTSUPP;
}

static const VFIOContainerOps container_ops = {
    .dma_map = dma_map,
    .dma_unmap = dma_unmap,
    .listener_begin = listener_begin,
    .listener_commit = listener_commit,
    .set_dirty_page_tracking = set_dirty_page_tracking,
    .query_dirty_bitmap = query_dirty_bitmap,
};

/* Life */

void vfio_user_container_init(VFIOUserContainer *c, VFIOUserProxy *proxy,
                              const VFIOUserCaps *caps)
{
    *c = (VFIOUserContainer) {
        .proxy = proxy,
        .caps = caps,
        .begun = g_ptr_array_new_with_free_func((GDestroyNotify)message_free),
        .maps = iova_tree_new(),
    };
    object_ref(OBJECT(proxy));
    qemu_mutex_init(&c->maps_lock);
}

bool vfio_user_container_attach(VFIOUserContainer *c, AddressSpace *as,
                                Error **errp)
{
    VFIOAddressSpace *space = vfio_get_address_space(as);
    int ret;

    c->group.fd = -1;
    c->group.groupid = -1;
    QLIST_INIT(&c->group.device_list);
    vfio_container_init(&c->container, space, &container_ops);
    c->container.pgsizes = c->caps->pgsizes;
    c->container.dma_max_mappings = c->caps->max_dma_maps;
    vfio_host_win_add(&c->container, 0, (hwaddr)-1, c->container.pgsizes);

    /* a server may keep what it mapped pinned: see vfio_connect_container() */
    ret = ram_block_uncoordinated_discard_disable(true);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot forbid the discarding of RAM,"
                         " as by a balloon");
    } else {
        ret = vfio_container_start(&c->container, &c->group, errp);
        if (ret < 0) {
            ram_block_uncoordinated_discard_disable(false);
        }
    }
    if (ret < 0) {
        vfio_put_address_space(space);
        return false;
    }
    vfio_group_insert(&c->group);
    return true;
}

void vfio_user_container_detach(VFIOUserContainer *c)
{
    vfio_group_remove(&c->group);
    vfio_container_stop(&c->container, &c->group);
    vfio_put_address_space(c->container.space);
    ram_block_uncoordinated_discard_disable(false);
}

void vfio_user_container_destroy(VFIOUserContainer *c)
{
    if (!c->maps) {
        return;
    }
    iova_tree_destroy(c->maps);
    c->maps = NULL;
    g_ptr_array_unref(c->begun);
    qemu_mutex_destroy(&c->maps_lock);
    object_unref(OBJECT(c->proxy));
}
