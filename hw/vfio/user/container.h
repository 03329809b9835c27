/*
 * vfio-user container
 *
 * Guest memory as one server may use it: the container's ops turn events of
 * the memory listener into DMA_MAP and DMA_UNMAP, and the list of maps tells
 * what the server's own requests may reach.  One container a device, since
 * every server has maps of its own.  Knows no PCI.
 *
 * Threads: the ops run under the big QEMU lock, which they assert, and wait for
 * the server within one budget; the list of maps has a lock of its own, for
 * whoever reads the connection.
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

    bool does_dma;              /* the guest has let the device do it */
    bool failed;                /* nothing is sent any more */
    Error *error;               /* the first one, until the container starts */
    bool in_transaction;        /* of the memory listener */
    GPtrArray *begun;           /* messages of it, unanswered; oldest first */
    GQueue *postponed;          /* until the device is no longer stopped */
    GHashTable *postponed_maps; /* its links that are DMA_MAPs, by address */

    VFIOUserIOVA iova;          /* has a lock of its own */
    const struct iovec *held;   /* what a request is at; who serves it */
    unsigned nheld;

    VFIOUserDirty dirty;
    VMChangeStateEntry *vm_change;
    bool record_wanted;         /* it is for the next look to begin, */
    bool record_late;           /* which comes after pages were sent */
    bool looking;               /* between prepare_look and finish_look */
    GArray *made;               /* VFIOUserDirtyMap: maps since then */
    bool counted;               /* what no record covers, since it stopped */
};

/* Serves the server's requests; the opaque is the container. */
extern const VFIOUserMemoryOps vfio_user_container_memory_ops;

/* Whether the VM has its devices run, which they do while the guest sleeps. */
static inline bool vfio_user_devices_run(void)
{
    return runstate_is_live(runstate_get());
}

/**
 * vfio_user_container_new:
 * @proxy: UP; a reference is taken
 * @caps: agreed with the server, stay the caller's
 *
 * Returns a container without maps.  The last reference goes when nobody reads
 * the connection any more.
 */
VFIOUserContainer *vfio_user_container_new(VFIOUserProxy *proxy,
                                           const VFIOUserCaps *caps);

/**
 * vfio_user_container_attach:
 * @as: what the device does DMA to
 *
 * Maps what is there now and follows its changes until detach.
 *
 * Returns true, or false with @errp set: a map that the server refused.
 */
bool vfio_user_container_attach(VFIOUserContainer *c, AddressSpace *as,
                                Error **errp);

/**
 * vfio_user_container_detach:
 *
 * Unmaps everything.  The connection may be closed or lost.
 */
void vfio_user_container_detach(VFIOUserContainer *c);

/**
 * vfio_user_container_expect_dma:
 *
 * The guest lets the device do DMA: from now on users are told how memory is
 * shared that is not, once.
 */
void vfio_user_container_expect_dma(VFIOUserContainer *c);

/**
 * vfio_user_container_shares_memory:
 *
 * Returns whether the server gets memory of the VM by descriptor, or would
 * with the next map: it touches that behind QEMU's back.
 */
bool vfio_user_container_shares_memory(VFIOUserContainer *c);

/**
 * vfio_user_container_mark:
 *
 * Counts all memory as dirty that the server may have written to without a
 * message.
 */
void vfio_user_container_mark(VFIOUserContainer *c);

/**
 * vfio_user_container_let_write:
 *
 * To be called before the device runs, in a VM that does or for a reset: what
 * it writes from now on is to be looked for once more when the VM has stopped.
 */
void vfio_user_container_let_write(VFIOUserContainer *c);

/**
 * vfio_user_container_is_stopped:
 *
 * Returns whether migration has the device stopped, as it is in a VM that is
 * paused: the server takes hardly a message.
 */
bool vfio_user_container_is_stopped(VFIOUserContainer *c);

/* What a look at the server's record is about: one of these, or nothing */
typedef struct VFIOUserLook {
    GArray *record;             /* to be begun, */
    bool late;                  /* when the device may have written before */
    GArray *covered;            /* by the record: to be asked for */
} VFIOUserLook;

void vfio_user_look_clear(VFIOUserLook *look);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VFIOUserLook, vfio_user_look_clear)

/**
 * vfio_user_container_look:
 * @look: set by vfio_user_container_prepare_look()
 *
 * Has the server begin its record of what it writes, and later marks dirty what
 * is on it, without the big QEMU lock: while the VM runs, nobody waits.  The
 * last look, once the VM has stopped, is vfio_user_container_sync().
 *
 * Maps may change meanwhile, and what a server says of an address may be about
 * memory that was mapped there later: vfio_user_container_finish_look() counts
 * all of that as dirty.  It and prepare_look have the big QEMU lock.
 *
 * Returns 0, or -ETIMEDOUT with @errp set.
 */
void vfio_user_container_prepare_look(VFIOUserContainer *c,
                                      VFIOUserLook *look);
int vfio_user_container_look(VFIOUserContainer *c, const VFIOUserLook *look,
                             Error **errp);
void vfio_user_container_finish_look(VFIOUserContainer *c,
                                     const VFIOUserLook *look);

/* Whether there is to be a record that no look has begun yet; any thread. */
bool vfio_user_container_wants_record(VFIOUserContainer *c);

#endif /* HW_VFIO_USER_CONTAINER_H */
