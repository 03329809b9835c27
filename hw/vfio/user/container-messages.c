/*
 * vfio-user container: messages about maps
 *
 * DMA_MAP and DMA_UNMAP, and how their failures are handled.  Within a
 * transaction of the memory listener, messages are sent one after another, and
 * its commit waits for the replies.  Outside a transaction each message waits
 * for its reply, because a doorbell that is not a message could overtake it.
 * Does not know the list of maps.
 *
 * libvfio-user rejects these messages for a device that migration has stopped,
 * and such a device accesses no memory.  Messages are postponed until it runs
 * and are then sent in the same order.  If a map is removed before its DMA_MAP
 * was sent, neither DMA_MAP nor DMA_UNMAP is sent.
 *
 * Threads and locks: see container.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "system/hostmem.h"
#include "system/ramblock.h"
#include "hw/vfio/vfio-device.h"
#include "hw/vfio/vfio-migration-internal.h"
#include "hw/vfio/user/container-internal.h"
#include "trace.h"

/* One DMA_MAP or DMA_UNMAP, in flight or postponed. */
typedef struct Message {
    VFIOUserCall call;
    union {
        VFIOUserDMAMap map;
        VFIOUserDMAUnmap unmap;
    };
    int fd;                     /* borrowed from the memory's backend */
    uint64_t iova;              /* aligned copy of the message's, a hash key */
    void *direct;               /* DMA_UNMAP: memory that is shared, or NULL */
} Message;

static void message_free(Message *m)
{
    vfio_user_call_clear(&m->call);
    g_free(m);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Message, message_free)

bool vfio_user_container_is_usable(VFIOUserContainer *c)
{
    return !c->failed && vfio_user_proxy_state(c->proxy) == VFIO_USER_UP;
}

void vfio_user_container_failed(VFIOUserContainer *c, Error *err)
{
    c->failed = true;
    if (VFIO_IOMMU(c)->initialized) {
        vfio_user_proxy_fail(c->proxy, err);
    } else if (c->error) {
        error_free(err);
    } else {
        c->error = err;
    }
}

bool vfio_user_container_is_stopped(VFIOUserContainer *c)
{
    VFIODevice *vbasedev = QLIST_FIRST(&VFIO_IOMMU(c)->device_list);

    if (!vbasedev || !vbasedev->migration) {
        return false;
    }
    switch (vbasedev->migration->device_state) {
    case VFIO_DEVICE_STATE_STOP:
    case VFIO_DEVICE_STATE_STOP_COPY:
        return true;
    default:
        return false;
    }
}

/*
 * Returns the link of the postponed DMA_MAP of a range, or NULL.  The guest
 * controls how many maps there are, hence the hash table.
 */
static GList *postponed_map(VFIOUserContainer *c, uint64_t iova, uint64_t size)
{
    GList *link = g_hash_table_lookup(c->postponed_maps, &iova);
    const Message *m = link ? link->data : NULL;

    return m && m->map.size == size ? link : NULL;
}

static void postpone_map(VFIOUserContainer *c, Message *m)
{
    g_queue_push_tail(c->postponed, m);
    g_hash_table_replace(c->postponed_maps, &m->iova,
                         g_queue_peek_tail_link(c->postponed));
}

static void postpone_unmap(VFIOUserContainer *c, Message *m)
{
    GList *link = postponed_map(c, m->unmap.iova, m->unmap.size);

    if (!link) {
        g_queue_push_tail(c->postponed, m);
        return;
    }
    g_hash_table_remove(c->postponed_maps, &m->iova);
    message_free(link->data);
    g_queue_delete_link(c->postponed, link);
    message_free(m);
}

/*
 * Sends and, outside a transaction, waits for the reply.  Takes ownership of
 * @message.
 */
static void container_send_now(VFIOUserContainer *c, Message *message)
{
    g_autoptr(Message) m = message;
    Error *err = NULL;
    int ret;

    if (!vfio_user_container_is_usable(c)) {
        return;
    }
    ret = c->in_transaction ? vfio_user_proxy_begin(c->proxy, &m->call, &err)
                            : vfio_user_proxy_call(c->proxy, &m->call, &err);
    if (ret < 0) {
        vfio_user_container_failed(c, err);
    } else if (c->in_transaction) {
        g_ptr_array_add(c->begun, g_steal_pointer(&m));
    }
}

static void container_send(VFIOUserContainer *c, Message *m)
{
    if (!vfio_user_container_is_stopped(c)) {
        vfio_user_container_catch_up(c);
        container_send_now(c, m);
    } else if (m->call.command == VFIO_USER_DMA_MAP) {
        postpone_map(c, m);
    } else {
        postpone_unmap(c, m);
    }
}

/*
 * The device runs and may have written before this unmap.  The memory may be
 * gone, or replaced by other memory; marking that does no harm.
 */
static void mark_unmapped(const Message *m)
{
    ram_addr_t in_block;
    RAMBlock *block;

    RCU_READ_LOCK_GUARD();
    block = qemu_ram_block_from_host(m->direct, false, &in_block);
    if (block && in_block < block->used_length) {
        vfio_user_dirty_mark(block->offset + in_block,
                             MIN(m->unmap.size, block->used_length - in_block));
    }
}

void vfio_user_container_catch_up(VFIOUserContainer *c)
{
    bool in_transaction = c->in_transaction;
    Message *m;

    if (!c->postponed->length || vfio_user_container_is_stopped(c)) {
        return;
    }
    trace_vfio_user_container_catch_up(vfio_user_proxy_name(c->proxy),
                                       c->postponed->length);
    g_hash_table_remove_all(c->postponed_maps);
    c->in_transaction = true;
    while ((m = g_queue_pop_head(c->postponed))) {
        if (m->direct) {
            mark_unmapped(m);
        }
        container_send_now(c, m);
    }
    c->in_transaction = in_transaction;
    if (!in_transaction) {
        vfio_user_container_finish(c);
    }
}

void vfio_user_container_drop_postponed(VFIOUserContainer *c)
{
    Message *m;

    g_hash_table_remove_all(c->postponed_maps);
    while ((m = g_queue_pop_head(c->postponed))) {
        if (m->direct) {
            mark_unmapped(m);
        }
        message_free(m);
    }
}

/*
 * Warns once that memory is not shared and explains how to share it, if the
 * device does DMA and the user could have shared the memory.
 */
static void advise_to_share(VFIOUserContainer *c, MemoryRegion *mr)
{
    static bool warned;

    if (!warned && c->dma_enabled && mr && mr->owner &&
        object_dynamic_cast(mr->owner, TYPE_MEMORY_BACKEND)) {
        warned = true;
        warn_report("vfio-user %s: guest memory '%s' is not shared: servers"
                    " that need shared memory will not work, others will be"
                    " slow; to share it, use -object memory-backend-memfd,"
                    "id=ram,size=SIZE,share=on -machine memory-backend=ram",
                    vfio_user_proxy_name(c->proxy), memory_region_name(mr));
    }
}

static bool accepts_fds(VFIOUserContainer *c)
{
    return vfio_user_proxy_passes_fds(c->proxy) && c->caps->max_msg_fds;
}

/* A write to a private mapping would not reach the file. */
static bool is_shareable(RAMBlock *block)
{
    return qemu_ram_is_shared(block) && qemu_ram_get_fd(block) >= 0;
}

/*
 * Returns a descriptor with which the server can map the memory at @vaddr, and
 * sets @offset to the position in its file.  Returns -1 if the server has to
 * access the memory by message.
 */
static int shared_fd(VFIOUserContainer *c, void *vaddr, uint64_t *offset)
{
    ram_addr_t in_block;
    MemoryRegion *mr;

    *offset = 0;
    if (!accepts_fds(c)) {
        return -1;
    }
    mr = memory_region_from_host(vaddr, &in_block);
    if (!mr || !mr->ram_block || !is_shareable(mr->ram_block)) {
        advise_to_share(c, mr);
        return -1;
    }
    *offset = mr->ram_block->fd_offset + in_block;
    return memory_region_get_fd(mr);
}

static int find_shareable(RAMBlock *block, void *opaque)
{
    return qemu_ram_is_migratable(block) && is_shareable(block);
}

bool vfio_user_container_shares_memory(VFIOUserContainer *c)
{
    return accepts_fds(c) && qemu_ram_foreach_block(find_shareable, NULL);
}

static void advise_for_map(VFIOUserContainer *c, const DMAMap *map,
                           void *opaque)
{
    uint64_t offset;

    shared_fd(c, (void *)(uintptr_t)map->translated_addr, &offset);
}

void vfio_user_container_expect_dma(VFIOUserContainer *c)
{
    if (!c->dma_enabled) {
        c->dma_enabled = true;
        vfio_user_container_each_map(c, 0, UINT64_MAX - 1, advise_for_map,
                                     NULL);
    }
}

bool vfio_user_container_is_direct(VFIOUserContainer *c, const DMAMap *map)
{
    uint64_t offset;

    return map->perm & IOMMU_WO &&
           !postponed_map(c, map->iova, map->size + 1) &&
           shared_fd(c, (void *)(uintptr_t)map->translated_addr, &offset) >= 0;
}

void vfio_user_container_send_map(VFIOUserContainer *c, const DMAMap *map)
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
        .iova = map->iova,
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

void vfio_user_container_send_unmap(VFIOUserContainer *c, const DMAMap *map,
                                    bool direct)
{
    Message *m = g_new(Message, 1);

    *m = (Message) {
        .unmap = {
            .argsz = sizeof(m->unmap),
            .iova = map->iova,
            .size = map->size + 1,
        },
        .iova = map->iova,
        .direct = direct ? (void *)(uintptr_t)map->translated_addr : NULL,
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

void vfio_user_container_message_free(void *m)
{
    message_free(m);
}

void vfio_user_container_finish(VFIOUserContainer *c)
{
    for (unsigned i = 0; i < c->begun->len; i++) {
        Message *m = g_ptr_array_index(c->begun, i);
        Error *err = NULL;

        if (vfio_user_proxy_finish(c->proxy, &m->call, &err) < 0) {
            vfio_user_container_failed(c, err);
        }
    }
    g_ptr_array_set_size(c->begun, 0);
}
