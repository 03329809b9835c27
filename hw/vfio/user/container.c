/*
 * vfio-user container
 *
 * Keeps the list of maps as hw/vfio asks for it, and serves the server's
 * requests from it.  The messages for a change are in container-messages.c.
 *
 * Until the container is initialized, a failure fails realize.  A later one
 * closes the connection, and the device is lost.  The ops never return an error
 * to hw/vfio, because it terminates QEMU on some errors.
 *
 * Threads and locks: see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "system/address-spaces.h"
#include "system/ramblock.h"
#include "system/runstate.h"
#include "hw/vfio/vfio-device.h"
#include "hw/vfio/vfio-listener.h"
#include "hw/vfio/user/base.h"
#include "hw/vfio/user/container-internal.h"

/* The server's requests */

/*
 * From hold to release the range stays mapped.  Only the RCU read lock is held,
 * while guest memory is copied or is sent without blocking.
 */
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
 * Marks written memory dirty for migration and invalidates translated code, as
 * the DMA of any device does.
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

/*
 * The mapped registers of a device are not passed to the server, which cannot
 * do DMA to them.  They are mapped and unmapped with every interrupt, they
 * cannot be shared, and a copy of them is not an access that their device
 * expects.
 */
static bool is_device_registers(void *vaddr)
{
    ram_addr_t offset;
    MemoryRegion *mr = memory_region_from_host(vaddr, &offset);

    return mr && memory_region_is_ram_device(mr);
}

/* Maps */

/* Takes or drops a reference to the memory region at @vaddr. */
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

ram_addr_t vfio_user_container_ram_addr(const DMAMap *map)
{
    return qemu_ram_addr_from_host((void *)(uintptr_t)map->translated_addr);
}

void vfio_user_container_each_map(VFIOUserContainer *c, uint64_t first,
                                  uint64_t last,
                                  void (*func)(VFIOUserContainer *c,
                                               const DMAMap *map,
                                               void *opaque), void *opaque)
{
    DMAMap map;

    while (vfio_user_iova_find(&c->iova, first, last - first + 1, &map)) {
        func(c, &map, opaque);
        if (map.iova + map.size >= last) {
            break;
        }
        first = map.iova + map.size + 1;
    }
}

/* Returns whether the server can map @map.  If not, fails the container. */
static bool check_map(VFIOUserContainer *c, const DMAMap *map)
{
    uint64_t page = c->caps->pgsizes & -c->caps->pgsizes;
    Error *err = NULL;

    if (vfio_user_iova_count(&c->iova) >= c->caps->max_dma_maps) {
        error_setg(&err, "vfio-user %s: the server accepts at most %u DMA"
                   " maps", vfio_user_proxy_name(c->proxy),
                   c->caps->max_dma_maps);
    } else if ((map->iova | (map->size + 1)) & (page - 1)) {
        error_setg(&err, "vfio-user %s: the server maps pages of 0x%" PRIx64
                   " bytes, the range at 0x%" PRIx64 " of 0x%" PRIx64
                   " bytes is not aligned", vfio_user_proxy_name(c->proxy),
                   page, map->iova, map->size + 1);
    } else {
        return true;
    }
    vfio_user_container_failed(c, err);
    return false;
}

/* A live sync would take the bits of a new map for those of an older one. */
static void note_new_map(VFIOUserContainer *c, const DMAMap *map)
{
    VFIOUserDirtyMap new_map = { .iova = map->iova, .size = map->size + 1 };

    if (c->live_sync && vfio_user_container_is_direct(c, map)) {
        new_map.ram_addr = vfio_user_container_ram_addr(map);
        g_array_append_val(c->new_maps, new_map);
    }
}

static void add_map(VFIOUserContainer *c, const DMAMap *map)
{
    bool send = vfio_user_container_is_usable(c) && check_map(c, map);

    note_new_map(c, map);

    /* before DMA_MAP: the server may use the map before it replies */
    if (vfio_user_iova_insert(&c->iova, map)) {
        hold_region((void *)(uintptr_t)map->translated_addr, true);
    }
    if (send) {
        vfio_user_container_send_map(c, map);
    }
}

static void remove_map(VFIOUserContainer *c, const DMAMap *map)
{
    bool direct, unmapped;

    vfio_user_container_catch_up(c);
    direct = vfio_user_container_is_direct(c, map);
    unmapped = direct &&
               vfio_user_dirty_unmap(&c->dirty, map->iova, map->size + 1,
                                     vfio_user_container_ram_addr(map),
                                     vfio_user_container_is_stopped(c));
    vfio_user_iova_remove(&c->iova, map);
    if (vfio_user_container_is_usable(c) && !unmapped) {
        vfio_user_container_send_unmap(c, map, direct);
    }
    hold_region((void *)(uintptr_t)map->translated_addr, false);
}

/*
 * Servers require that an unmap matches a map.  A range that QEMU unmaps may
 * contain several maps, none, or a part of one.  Unmap each map that overlaps
 * the range, and map again any part of it that is outside the range.
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

static int dma_unmap(const VFIOContainer *container, hwaddr iova,
                     uint64_t size, IOMMUTLBEntry *iotlb, bool unmap_all)
{
    VFIOUserContainer *c = VFIO_IOMMU_USER(container);
    const uint64_t half = 1ULL << 63;

    vfio_user_budget_begin(c->proxy, VFIO_USER_BUDGET_ORDINARY);
    if (unmap_all) {
        clear_range(c, 0, half);
        clear_range(c, half, half);
    } else {
        clear_range(c, iova, size);
    }
    vfio_user_budget_end(c->proxy);
    return 0;
}

static void replace_map(VFIOUserContainer *c, const DMAMap *map)
{
    uint64_t size = map->size + 1;
    DMAMap old;

    if (vfio_user_iova_find(&c->iova, map->iova, size, &old) &&
        vfio_user_iova_covers(&old, map)) {
        return;                 /* IOMMUs notify the same map again */
    }
    clear_range(c, map->iova, size);
    add_map(c, map);
}

static int dma_map(const VFIOContainer *container, hwaddr iova, uint64_t size,
                   void *vaddr, bool readonly, MemoryRegion *mr)
{
    VFIOUserContainer *c = VFIO_IOMMU_USER(container);
    uint64_t most = vfio_user_dirty_max_map(&c->dirty);
    DMAMap map = { .perm = readonly ? IOMMU_RO : IOMMU_RW };
    Error *err = NULL;

    if (!container->initialized && !c->failed &&
        !vfio_user_proxy_check(c->proxy, &err)) {
        vfio_user_container_failed(c, err);
    }
    if (is_device_registers(vaddr)) {
        return 0;
    }
    vfio_user_budget_begin(c->proxy, VFIO_USER_BUDGET_ORDINARY);
    for (uint64_t done = 0; done < size; done += map.size + 1) {
        map.iova = iova + done;
        map.translated_addr = (uintptr_t)vaddr + done;
        map.size = MIN(size - done, most) - 1;
        replace_map(c, &map);
    }
    vfio_user_budget_end(c->proxy);
    return 0;
}

static void listener_begin(VFIOContainer *container)
{
    VFIO_IOMMU_USER(container)->in_transaction = true;
}

/* hw/vfio could not follow a change of memory at run time. */
static void listener_failed(VFIOContainer *container, Error *err)
{
    vfio_user_container_failed(VFIO_IOMMU_USER(container), err);
}

static void listener_commit(VFIOContainer *container)
{
    VFIOUserContainer *c = VFIO_IOMMU_USER(container);

    c->in_transaction = false;
    vfio_user_budget_begin(c->proxy, VFIO_USER_BUDGET_ORDINARY);
    vfio_user_container_finish(c);
    vfio_user_budget_end(c->proxy);
}

/* Lifecycle */

static void vm_changed(void *opaque, bool running, RunState state)
{
    VFIOUserContainer *c = opaque;

    if (running) {
        vfio_user_budget_begin(c->proxy, VFIO_USER_BUDGET_ORDINARY);
        vfio_user_container_catch_up(c);
        vfio_user_budget_end(c->proxy);
    }
}

VFIOUserContainer *vfio_user_container_new(VFIOUserProxy *proxy,
                                           const VFIOUserCaps *caps)
{
    VFIOUserContainer *c = VFIO_IOMMU_USER(object_new(TYPE_VFIO_IOMMU_USER));

    c->proxy = proxy;
    c->caps = caps;
    object_ref(OBJECT(proxy));
    vfio_user_dirty_init(&c->dirty, proxy, caps);
    return c;
}

/* Unmaps everything and leaves the address space. */
static void container_stop(VFIOUserContainer *c)
{
    VFIOContainer *container = VFIO_IOMMU(c);

    vfio_listener_unregister(container);
    container->initialized = false;
    QLIST_SAFE_REMOVE(container, next);
    vfio_address_space_put(container->space);
    ram_block_uncoordinated_discard_disable(false);
}

/*
 * Maps the memory.  Our own errors are returned without a prefix from hw/vfio.
 */
static bool container_start(VFIOUserContainer *c, Error **errp)
{
    VFIOContainer *container = VFIO_IOMMU(c);

    if (!vfio_listener_register(container, errp)) {
        g_clear_pointer(&c->error, error_free);
        return false;
    }
    if (c->error) {
        error_propagate(errp, g_steal_pointer(&c->error));
        return false;
    }
    container->initialized = true;
    return true;
}

bool vfio_user_container_attach(VFIOUserContainer *c, AddressSpace *as,
                                Error **errp)
{
    VFIOContainer *container = VFIO_IOMMU(c);
    int ret;

    /*
     * hw/vfio asserts that every host page can be mapped.  The page sizes of
     * the server are checked by check_map().
     */
    container->pgsizes = qemu_real_host_page_size();
    container->dma_max_mappings = c->caps->max_dma_maps;
    /* memory that the server does not track is marked dirty */
    container->dirty_pages_supported = true;
    container->dirty_pgsizes = qemu_real_host_page_size();
    container->max_dirty_bitmap_size = c->caps->max_bitmap_size;

    /* a server may pin the memory that it has mapped, as the kernel does */
    ret = ram_block_uncoordinated_discard_disable(true);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot disable the discarding of RAM,"
                         " for example by a balloon");
        return false;
    }
    vfio_address_space_insert(vfio_address_space_get(as), container);
    if (!container_start(c, errp)) {
        container_stop(c);
        return false;
    }
    /* after migration's handler, which lets the device run */
    c->vm_change =
        qemu_add_vm_change_state_handler_prio(vm_changed, c, INT_MAX);
    return true;
}

static void resume_map(VFIOUserContainer *c, const DMAMap *map, void *opaque)
{
    if (vfio_user_container_is_usable(c)) {
        vfio_user_container_send_map(c, map);
    }
}

void vfio_user_container_use(VFIOUserContainer *c, VFIOUserProxy *proxy)
{
    VFIOUserProxy *last = c->proxy;

    assert(bql_locked());
    c->proxy = VFIO_USER_PROXY(object_ref(OBJECT(proxy)));
    object_unref(OBJECT(last));
    vfio_user_dirty_resume(&c->dirty, proxy);
    c->failed = false;
}

void vfio_user_container_resume(VFIOUserContainer *c)
{
    VFIO_USER_BUDGET_GUARD(c->proxy, VFIO_USER_BUDGET_REALIZE);
    vfio_user_container_drop_postponed(c);
    c->in_transaction = true;
    vfio_user_container_each_map(c, 0, UINT64_MAX - 1, resume_map, NULL);
    c->in_transaction = false;
    vfio_user_container_finish(c);
    if (c->dirty.enabled) {
        vfio_user_container_mark(c);
        vfio_user_container_track(VFIO_IOMMU(c), true, NULL);
    }
}

void vfio_user_container_detach(VFIOUserContainer *c)
{
    qemu_del_vm_change_state_handler(c->vm_change);
    container_stop(c);
}

static void container_init(Object *obj)
{
    VFIOUserContainer *c = VFIO_IOMMU_USER(obj);

    c->begun =
        g_ptr_array_new_with_free_func(vfio_user_container_message_free);
    c->postponed = g_queue_new();
    c->postponed_maps = g_hash_table_new(g_int64_hash, g_int64_equal);
    c->new_maps = g_array_new(false, false, sizeof(VFIOUserDirtyMap));
    vfio_user_iova_init(&c->iova);
}

static void container_finalize(Object *obj)
{
    VFIOUserContainer *c = VFIO_IOMMU_USER(obj);

    vfio_user_dirty_destroy(&c->dirty);
    vfio_user_iova_destroy(&c->iova);
    g_ptr_array_unref(c->begun);
    g_hash_table_unref(c->postponed_maps);
    g_array_unref(c->new_maps);
    g_queue_free_full(c->postponed, vfio_user_container_message_free);
    object_unref(OBJECT(c->proxy));
}

static void container_class_init(ObjectClass *klass,
                                 VFIOUserClassData *data)
{
    VFIOIOMMUClass *vioc = VFIO_IOMMU_CLASS(klass);

    vioc->dma_map = dma_map;
    vioc->dma_unmap = dma_unmap;
    vioc->listener_begin = listener_begin;
    vioc->listener_commit = listener_commit;
    vioc->listener_failed = listener_failed;
    vioc->set_dirty_page_tracking = vfio_user_container_track;
    vioc->sync_dirty = vfio_user_container_sync;
}

static const TypeInfo container_info = {
    .name = TYPE_VFIO_IOMMU_USER,
    .parent = TYPE_VFIO_IOMMU,
    .instance_size = sizeof(VFIOUserContainer),
    .instance_init = container_init,
    .instance_finalize = container_finalize,
    .class_init = container_class_init,
};

static void container_register_type(void)
{
    type_register_static(&container_info);
}

type_init(container_register_type)
