/*
 * vfio-user container
 *
 * The guest memory that one server may use.  The container's ops turn memory
 * listener events into DMA_MAP and DMA_UNMAP requests.  The list of maps limits
 * what the server's own requests can access.  Each device has its own
 * container, because each server has its own maps.  Knows no PCI.
 *
 * Threads: the ops run under the big QEMU lock, which they assert, and wait for
 * the server within one budget.  The list of maps has its own lock, because the
 * thread that reads the connection uses it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_CONTAINER_H
#define HW_VFIO_USER_CONTAINER_H

#include "system/runstate.h"
#include "hw/vfio/vfio-container.h"
#include "hw/vfio/user/caps.h"
#include "hw/vfio/user/dirty.h"
#include "hw/vfio/user/iova.h"
#include "hw/vfio/user/proxy.h"
#include "hw/vfio/user/serve.h"

OBJECT_DECLARE_SIMPLE_TYPE(VFIOUserContainer, VFIO_IOMMU_USER)

struct VFIOUserContainer {
    VFIOContainer parent_obj;
    VFIOUserProxy *proxy;
    const VFIOUserCaps *caps;

    bool dma_enabled;           /* the guest has enabled DMA */
    bool failed;                /* no more messages are sent */
    Error *error;               /* the first one, until the container starts */
    bool in_transaction;        /* of the memory listener */
    GPtrArray *begun;           /* its unanswered messages, oldest first */
    GQueue *postponed;          /* messages to send when the device runs */
    GHashTable *postponed_maps; /* links of postponed DMA_MAPs, by IOVA */

    VFIOUserIOVA iova;          /* has its own lock */
    /* Memory of the current request; only the thread that serves it uses it */
    const struct iovec *held;
    unsigned nheld;

    VFIOUserDirty dirty;
    VMChangeStateEntry *vm_change;
    bool start_pending;         /* the next live sync starts tracking */
    bool start_late;            /* but pages may have been sent before */
    bool live_sync;             /* between its prepare and its finish */
    GArray *new_maps;           /* VFIOUserDirtyMap: added during live_sync */
    /* Since the VM stopped, untracked memory has been marked dirty */
    bool untracked_marked;
};

/* Serves the server's requests.  The opaque pointer is the container. */
extern const VFIOUserMemoryOps vfio_user_container_memory_ops;

/* Whether the VM lets its devices run, as it does in S3 (suspended). */
static inline bool vfio_user_devices_run(void)
{
    return runstate_is_live(runstate_get());
}

/**
 * vfio_user_container_new:
 * @proxy: must be UP; the container takes a reference
 * @caps: agreed with the server; owned by the caller
 *
 * Returns a container without maps.  Drop the last reference only when no
 * thread reads the connection any more.
 */
VFIOUserContainer *vfio_user_container_new(VFIOUserProxy *proxy,
                                           const VFIOUserCaps *caps);

/**
 * vfio_user_container_attach:
 * @as: the address space that the device accesses by DMA
 *
 * Maps the memory in @as and follows its changes until detach.
 *
 * Returns true, or false with @errp set, for example if the server refused a
 * map.
 */
bool vfio_user_container_attach(VFIOUserContainer *c, AddressSpace *as,
                                Error **errp);

/**
 * vfio_user_container_detach:
 *
 * Unmaps everything.  The connection may be closed or lost.
 */
void vfio_user_container_detach(VFIOUserContainer *c);

/* Uses another connection from now on. */
void vfio_user_container_use(VFIOUserContainer *c, VFIOUserProxy *proxy);

/**
 * vfio_user_container_resume:
 *
 * The server knows no maps, and its device accepts them.  Sends all maps, one
 * after the other, and waits for the replies.  If dirty pages are tracked, all
 * memory that is shared counts as dirty, and tracking begins anew.  The
 * connection fails if the server refuses a map.
 */
void vfio_user_container_resume(VFIOUserContainer *c);

/**
 * vfio_user_container_expect_dma:
 *
 * The guest has enabled DMA for the device.  From now on, a map of memory that
 * is not shared makes QEMU warn once and explain how to share it.
 */
void vfio_user_container_expect_dma(VFIOUserContainer *c);

/**
 * vfio_user_container_shares_memory:
 *
 * Returns whether the server can get, now or with a later map, a descriptor of
 * guest memory.  It can access such memory without a message.
 */
bool vfio_user_container_shares_memory(VFIOUserContainer *c);

/**
 * vfio_user_container_mark:
 *
 * Marks all memory dirty that the server can write to without a message.
 */
void vfio_user_container_mark(VFIOUserContainer *c);

/**
 * vfio_user_container_allow_writes:
 *
 * Call this before the device runs, whether for a running VM or for a reset.
 * Allows the server's DMA writes again.  When the VM stops the next time,
 * untracked memory is marked dirty again.
 */
void vfio_user_container_allow_writes(VFIOUserContainer *c);

/**
 * vfio_user_container_catch_up:
 *
 * Sends the messages about maps that were postponed because the device was
 * stopped, if it runs now.  Marks dirty what the server could write to until
 * then, although it was unmapped.
 */
void vfio_user_container_catch_up(VFIOUserContainer *c);

/**
 * vfio_user_container_is_stopped:
 *
 * Returns whether migration code has stopped the device, as it does when the VM
 * is paused.  The server then accepts only a few commands.
 */
bool vfio_user_container_is_stopped(VFIOUserContainer *c);

/* What a live sync does: it starts tracking, fetches bitmaps, or nothing. */
typedef struct VFIOUserLiveSync {
    GArray *start;              /* VFIOUserLoggingRange: start tracking these */
    bool late;                  /* the device may have written before that */
    GArray *fetch;              /* VFIOUserDirtyMap: fetch their bitmaps */
} VFIOUserLiveSync;

void vfio_user_live_sync_clear(VFIOUserLiveSync *sync);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VFIOUserLiveSync, vfio_user_live_sync_clear)

/**
 * vfio_user_container_live_sync:
 * @sync: set by vfio_user_container_prepare_live_sync()
 *
 * Starts dirty tracking in the server the first time, and later fetches the
 * dirty bitmaps and marks the pages dirty.  Called without the big QEMU lock,
 * so that the running VM does not wait for the server.  The last sync, after
 * the VM has stopped, is vfio_user_container_sync().
 *
 * Maps may change during a live sync, and the server's bits for an IOVA may
 * then be about memory that was mapped there later.
 * vfio_user_container_finish_live_sync() marks all such memory dirty.  It and
 * vfio_user_container_prepare_live_sync() need the big QEMU lock.
 *
 * Returns 0, or -ETIMEDOUT with @errp set.
 */
void vfio_user_container_prepare_live_sync(VFIOUserContainer *c,
                                           VFIOUserLiveSync *sync);
int vfio_user_container_live_sync(VFIOUserContainer *c,
                                  const VFIOUserLiveSync *sync, Error **errp);
void vfio_user_container_finish_live_sync(VFIOUserContainer *c,
                                          const VFIOUserLiveSync *sync);

/*
 * Whether dirty tracking was requested and the next live sync has to start it.
 * Any thread.
 */
bool vfio_user_container_start_pending(VFIOUserContainer *c);

#endif /* HW_VFIO_USER_CONTAINER_H */
