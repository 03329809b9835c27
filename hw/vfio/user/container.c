/*
 * vfio-user container
 *
 * Within a transaction of the memory listener maps and unmaps are sent one
 * behind the other and awaited at its commit; outside, each is awaited, since
 * a doorbell that is no message may overtake one.
 *
 * A failure before the container is in use fails the device; a later one costs
 * the connection and so the device.  hw/vfio ends the VM over some, so it is
 * told of none.
 *
 * Threads and locks: see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "exec/address-spaces.h"
#include "exec/ram_addr.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "sysemu/hostmem.h"
#include "sysemu/runstate.h"
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

/* Whether messages still make sense. */
static bool is_usable(VFIOUserContainer *c)
{
    return !c->failed && vfio_user_proxy_state(c->proxy) == VFIO_USER_UP;
}

/* Where a failure ends; takes @err. */
static void container_failed(VFIOUserContainer *c, Error *err)
{
    c->failed = true;
    if (c->container.initialized) {
        g_autofree char *name =
            g_strdup_printf("vfio-user %s: ", vfio_user_proxy_name(c->proxy));
        const char *text = error_get_pretty(err);
        Error *cause = NULL;

        /* whoever tells of a lost connection says which */
        error_setg(&cause, "%s", text + (g_str_has_prefix(text, name)
                                         ? strlen(name) : 0));
        error_free(err);
        vfio_user_proxy_fail(c->proxy, cause);
    } else if (c->error) {
        error_free(err);
    } else {
        c->error = err;
    }
}

/* The server's requests */

static int memory_hold(void *opaque, uint64_t iova, uint64_t size, bool write,
                       const struct iovec **iov, unsigned *niov)
{
    VFIOUserContainer *c = opaque;
    int ret;

    rcu_read_lock();
    ret = vfio_user_iova_hold(&c->iova, iova, size, write, iov, niov);
    if (ret < 0) {
        rcu_read_unlock();
        return ret;
    }
    c->held = *iov;
    c->nheld = *niov;
    return 0;
}

/*
 * Tells migration and translated code what was written, as a device's DMA
 * does.
 */
static void memory_release(void *opaque, bool written)
{
    VFIOUserContainer *c = opaque;

    for (unsigned i = 0; written && i < c->nheld; i++) {
        const struct iovec *iov = &c->held[i];
        ram_addr_t offset;
        MemoryRegion *mr = memory_region_from_host(iov->iov_base, &offset);

        if (mr) {
            memory_region_ref(mr);
            address_space_unmap(&address_space_memory, iov->iov_base,
                                iov->iov_len, true, iov->iov_len);
        }
    }
    vfio_user_iova_release(&c->iova);
    rcu_read_unlock();
}

const VFIOUserMemoryOps vfio_user_container_memory_ops = {
    .hold = memory_hold,
    .release = memory_release,
};

/* Messages */

/* Sends; awaits the answer outside a transaction. */
static void container_send(VFIOUserContainer *c, Message *taken)
{
    g_autoptr(Message) m = taken;
    Error *err = NULL;
    int ret;

    ret = c->in_transaction ? vfio_user_proxy_begin(c->proxy, &m->call, &err)
                            : vfio_user_proxy_call(c->proxy, &m->call, &err);
    if (ret < 0) {
        container_failed(c, err);
    } else if (c->in_transaction) {
        g_ptr_array_add(c->begun, g_steal_pointer(&m));
    }
}

/* Says how memory is shared, where the user could have shared it. */
static void advise_to_share(VFIOUserContainer *c, MemoryRegion *mr)
{
    static bool said;

    if (!said && mr && mr->owner &&
        object_dynamic_cast(mr->owner, TYPE_MEMORY_BACKEND)) {
        said = true;
        warn_report("vfio-user %s: the server cannot share the guest's memory"
                    " '%s' and asks for all of it by message, which is slow;"
                    " to share it, say -object memory-backend-memfd,id=ram,"
                    "size=SIZE,share=on -machine memory-backend=ram",
                    vfio_user_proxy_name(c->proxy), memory_region_name(mr));
    }
}

/*
 * The descriptor through which the server can share the memory at @vaddr,
 * and where it is in its file; -1 where it is to go by message.
 */
static int shared_fd(VFIOUserContainer *c, void *vaddr, uint64_t *offset)
{
    ram_addr_t in_block;
    MemoryRegion *mr;

    *offset = 0;
    if (!vfio_user_proxy_passes_fds(c->proxy) || !c->caps->max_msg_fds) {
        return -1;
    }
    mr = memory_region_from_host(vaddr, &in_block);
    /* a private mapping is no longer what the file holds once written to */
    if (!mr || !mr->ram_block || !qemu_ram_is_shared(mr->ram_block) ||
        memory_region_get_fd(mr) < 0) {
        advise_to_share(c, mr);
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

/* Whether the server writes to it without a message. */
static bool is_direct(VFIOUserContainer *c, const DMAMap *map)
{
    uint64_t offset;

    return map->perm & IOMMU_WO &&
           shared_fd(c, (void *)(uintptr_t)map->translated_addr, &offset) >= 0;
}

static void send_map(VFIOUserContainer *c, const DMAMap *map)
{
    Message *m = g_new(Message, 1);
    uint64_t offset;
    int fd = shared_fd(c, (void *)(uintptr_t)map->translated_addr, &offset);
    bool readonly = map->perm == IOMMU_RO;

    *m = (Message) {
        .map = {
            .argsz = sizeof(m->map),
            .flags = VFIO_USER_DMA_READABLE |
                     (readonly ? 0 : VFIO_USER_DMA_WRITEABLE),
            .offset = offset,
            .iova = map->iova,
            .size = map->size + 1,
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
    trace_vfio_user_container_map(vfio_user_proxy_name(c->proxy), map->iova,
                                  map->size + 1, fd, offset, readonly);
    container_send(c, m);
}

static void send_unmap(VFIOUserContainer *c, const DMAMap *map)
{
    Message *m = g_new(Message, 1);

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
    container_send(c, m);
}

/* Maps */

/* Keeps the memory at @vaddr while the server may ask for it, or lets it go. */
static void hold_region(void *vaddr, bool hold)
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

static ram_addr_t ram_addr_of(const DMAMap *map)
{
    return qemu_ram_addr_from_host((void *)(uintptr_t)map->translated_addr);
}

/* Calls @func for every map that overlaps the range, ascending. */
static void each_map(VFIOUserContainer *c, uint64_t first, uint64_t last,
                     void (*func)(VFIOUserContainer *c, const DMAMap *map,
                                  void *opaque), void *opaque)
{
    uint64_t end;
    DMAMap map;

    if (!vfio_user_iova_find(&c->iova, first, last - first + 1, &map)) {
        return;
    }
    end = map.iova + map.size;
    if (map.iova > first) {
        each_map(c, first, map.iova - 1, func, opaque);
    }
    func(c, &map, opaque);
    if (end < last) {
        each_map(c, end + 1, last, func, opaque);
    }
}

static void collect_direct(VFIOUserContainer *c, const DMAMap *map,
                           void *opaque)
{
    const VFIOUserLoggingRange range = { map->iova, map->size + 1 };

    if (is_direct(c, map)) {
        g_array_append_val((GArray *)opaque, range);
    }
}

/* Whether the server can map it; has failed the container if not. */
static bool check_map(VFIOUserContainer *c, const DMAMap *map)
{
    uint64_t page = c->caps->pgsizes & -c->caps->pgsizes;
    Error *err = NULL;

    if (vfio_user_iova_count(&c->iova) >= c->caps->max_dma_maps) {
        error_setg(&err, "vfio-user %s: the server takes no more than %u DMA"
                   " maps", vfio_user_proxy_name(c->proxy),
                   c->caps->max_dma_maps);
    } else if ((map->iova | (map->size + 1)) & (page - 1)) {
        error_setg(&err, "vfio-user %s: the server maps pages of 0x%" PRIx64
                   " bytes, which the range at 0x%" PRIx64 " of 0x%" PRIx64
                   " bytes is not made of", vfio_user_proxy_name(c->proxy),
                   page, map->iova, map->size + 1);
    } else {
        return true;
    }
    container_failed(c, err);
    return false;
}

static void add_map(VFIOUserContainer *c, const DMAMap *map)
{
    bool told = is_usable(c) && check_map(c, map);

    /* first, since whoever is told may use it before it answers */
    if (vfio_user_iova_insert(&c->iova, map)) {
        hold_region((void *)(uintptr_t)map->translated_addr, true);
    }
    if (told) {
        send_map(c, map);
    }
}

static void remove_map(VFIOUserContainer *c, const DMAMap *map)
{
    bool unmapped = is_direct(c, map) &&
                    vfio_user_dirty_unmap(&c->dirty, map->iova, map->size + 1,
                                          ram_addr_of(map));

    vfio_user_iova_remove(&c->iova, map);
    hold_region((void *)(uintptr_t)map->translated_addr, false);
    if (is_usable(c) && !unmapped) {
        send_unmap(c, map);
    }
}

/*
 * Servers want an unmap to match a map.  QEMU may mean several maps, none, or
 * a part of one: what is in the range goes map by map, and of one that reaches
 * beyond the range the rest comes back.
 */
static void clear_range(VFIOUserContainer *c, hwaddr iova, ram_addr_t size)
{
    DMAMap map, rest[2];

    while (vfio_user_iova_find(&c->iova, iova, size, &map)) {
        unsigned n = vfio_user_iova_rest(&map, iova, size, rest);

        remove_map(c, &map);
        while (n--) {
            add_map(c, &rest[n]);
        }
    }
}

static int dma_unmap(VFIOContainer *container, hwaddr iova, ram_addr_t size,
                     IOMMUTLBEntry *iotlb)
{
    clear_range(user_of(container), iova, size);
    return 0;
}

static int dma_map(VFIOContainer *container, hwaddr iova, ram_addr_t size,
                   void *vaddr, bool readonly)
{
    VFIOUserContainer *c = user_of(container);
    const DMAMap map = {
        .iova = iova,
        .translated_addr = (uintptr_t)vaddr,
        .size = size - 1,
        .perm = readonly ? IOMMU_RO : IOMMU_RW,
    };
    Error *err = NULL;
    DMAMap is;

    if (!container->initialized && !c->failed &&
        !vfio_user_proxy_check(c->proxy, &err)) {
        container_failed(c, err);
    }
    if (is_registers(vaddr)) {
        return 0;
    }
    if (vfio_user_iova_find(&c->iova, iova, size, &is) &&
        vfio_user_iova_covers(&is, &map)) {
        return 0;               /* told again, as IOMMUs do */
    }
    clear_range(c, iova, size);
    add_map(c, &map);
    return 0;
}

static void listener_begin(VFIOContainer *container)
{
    user_of(container)->in_transaction = true;
}

/* What hw/vfio cannot do about a change of memory, at run time. */
static void listener_failed(VFIOContainer *container, Error *err)
{
    container_failed(user_of(container), err);
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

/* Dirty tracking */

static int set_dirty_page_tracking(VFIOContainer *container, bool start)
{
    VFIOUserContainer *c = user_of(container);
    g_autoptr(GArray) direct =
        g_array_new(false, false, sizeof(VFIOUserLoggingRange));

    if (start) {
        each_map(c, 0, UINT64_MAX - 1, collect_direct, direct);
        vfio_user_dirty_start(&c->dirty, direct);
        c->counted = false;
    } else {
        vfio_user_dirty_stop(&c->dirty);
    }
    return 0;
}

typedef struct Query {
    uint64_t iova;
    uint64_t last;
    ram_addr_t ram_addr;
} Query;

static void query_map(VFIOUserContainer *c, const DMAMap *map, void *opaque)
{
    Query *q = opaque;
    uint64_t iova = MAX(map->iova, q->iova);
    uint64_t size = MIN(map->iova + map->size, q->last) - iova + 1;

    if (is_direct(c, map) && vfio_user_dirty_covers(&c->dirty, iova, size)) {
        vfio_user_dirty_fetch(&c->dirty, iova, size,
                              q->ram_addr + (iova - q->iova));
    }
}

static void count_map(VFIOUserContainer *c, const DMAMap *map, void *opaque)
{
    if (is_direct(c, map) &&
        !vfio_user_dirty_covers(&c->dirty, map->iova, map->size + 1)) {
        vfio_user_dirty_mark(ram_addr_of(map), map->size + 1);
    }
}

/*
 * What is not on record may have been written to at any time.  To say so while
 * the device runs would be true for ever; it is said once, when the VM has
 * stopped and the device with it.
 */
static int query_dirty_bitmap(VFIOContainer *container, uint64_t iova,
                              uint64_t size, ram_addr_t ram_addr)
{
    VFIOUserContainer *c = user_of(container);
    Query q = { iova, iova + size - 1, ram_addr };
    bool tracked = c->dirty.tracked;

    each_map(c, q.iova, q.last, query_map, &q);
    c->counted &= tracked == c->dirty.tracked;
    if (!runstate_is_running() && !c->counted) {
        c->counted = true;
        each_map(c, 0, UINT64_MAX - 1, count_map, NULL);
    }
    return 0;
}

static void on_vm_change(void *opaque, bool running, RunState state)
{
    VFIOUserContainer *c = opaque;

    c->counted &= !running;
}

static const VFIOContainerOps container_ops = {
    .dma_map = dma_map,
    .dma_unmap = dma_unmap,
    .listener_begin = listener_begin,
    .listener_commit = listener_commit,
    .listener_failed = listener_failed,
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
    };
    object_ref(OBJECT(proxy));
    vfio_user_iova_init(&c->iova);
    vfio_user_dirty_init(&c->dirty, proxy, caps);
}

/* Maps what is there; an error of ours is told without hw/vfio's words. */
static bool container_start(VFIOUserContainer *c, Error **errp)
{
    if (vfio_container_start(&c->container, &c->group, errp) < 0) {
        g_clear_pointer(&c->error, error_free);
        return false;
    }
    if (c->error) {
        error_propagate(errp, g_steal_pointer(&c->error));
        vfio_container_stop(&c->container, &c->group);
        return false;
    }
    return true;
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
    /* hw/vfio asserts that it can map any page: what fits the server is ours */
    c->container.pgsizes = qemu_real_host_page_size();
    c->container.dma_max_mappings = c->caps->max_dma_maps;
    vfio_host_win_add(&c->container, 0, (hwaddr)-1, c->caps->pgsizes);
    /* what a server keeps no record of counts as dirty */
    c->container.dirty_pages_supported = true;
    c->container.dirty_pgsizes = qemu_real_host_page_size();
    c->container.max_dirty_bitmap_size = c->caps->max_bitmap_size;

    /* a server may keep what it mapped pinned: see vfio_connect_container() */
    ret = ram_block_uncoordinated_discard_disable(true);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot forbid the discarding of RAM,"
                         " as by a balloon");
        vfio_put_address_space(space);
        return false;
    }
    if (!container_start(c, errp)) {
        ram_block_uncoordinated_discard_disable(false);
        vfio_put_address_space(space);
        return false;
    }
    vfio_group_insert(&c->group);
    c->vm_change = qemu_add_vm_change_state_handler(on_vm_change, c);
    return true;
}

void vfio_user_container_detach(VFIOUserContainer *c)
{
    qemu_del_vm_change_state_handler(c->vm_change);
    vfio_group_remove(&c->group);
    vfio_container_stop(&c->container, &c->group);
    vfio_put_address_space(c->container.space);
    ram_block_uncoordinated_discard_disable(false);
}

void vfio_user_container_destroy(VFIOUserContainer *c)
{
    if (!c->proxy) {
        return;
    }
    vfio_user_dirty_destroy(&c->dirty);
    vfio_user_iova_destroy(&c->iova);
    g_ptr_array_unref(c->begun);
    object_unref(OBJECT(c->proxy));
    c->proxy = NULL;
}
