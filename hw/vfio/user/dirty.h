/*
 * vfio-user dirty tracking
 *
 * Finds the guest memory that the server writes to through descriptors while a
 * VM migrates: starts and stops dirty tracking in the server, fetches the dirty
 * bitmaps in pieces, checks them, and marks the pages dirty.  DMA_WRITE marks
 * its pages where it is served.  Knows no maps.  The container decides what
 * happens if the server does not track dirty pages.
 *
 * Threads: any.  Enable, stop and unmap assert the big QEMU lock; start, fetch
 * and marking work with it or without.  The caller has one budget for all
 * pieces of a fetch.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_DIRTY_H
#define HW_VFIO_USER_DIRTY_H

#include "system/ram_addr.h"
#include "hw/vfio/user/caps.h"
#include "hw/vfio/user/proxy.h"

/* The messages used for dirty tracking. */
typedef enum VFIOUserDirtyKind {
    VFIO_USER_DIRTY_UNSUPPORTED, /* none: the device cannot migrate */
    VFIO_USER_DIRTY_BY_PAGES,    /* version 0.9.1: DIRTY_PAGES */
    VFIO_USER_DIRTY_BY_LOGGING,  /* later: DMA_LOGGING of DEVICE_FEATURE */
} VFIOUserDirtyKind;

typedef struct VFIOUserDirty {
    VFIOUserProxy *proxy;
    const VFIOUserCaps *caps;
    VFIOUserDirtyKind kind;     /* set once, when the device is realized */
    bool enabled;               /* between enable and stop */
    bool tracked;               /* the server tracks dirty pages */
    uint64_t pgsize;            /* bytes per bit of the server's bitmaps */
    GArray *ranges;             /* BY_LOGGING: VFIOUserLoggingRange, sorted */
    bool whole_maps;            /* the server refused a report of many maps */
    bool warned;                /* that the server does not track */
} VFIOUserDirty;

/* A map that the server tracks. */
typedef struct VFIOUserDirtyMap {
    uint64_t iova;
    uint64_t size;              /* bytes */
    ram_addr_t ram_addr;        /* of the mapped memory */
    bool asked;                 /* private to dirty.c; initially false */
} VFIOUserDirtyMap;

/**
 * vfio_user_dirty_init:
 * @proxy: owned by the caller
 * @caps: owned by the caller
 */
void vfio_user_dirty_init(VFIOUserDirty *d, VFIOUserProxy *proxy,
                          const VFIOUserCaps *caps);
void vfio_user_dirty_destroy(VFIOUserDirty *d);

/* Another server, at @proxy, tracks nothing yet. */
void vfio_user_dirty_resume(VFIOUserDirty *d, VFIOUserProxy *proxy);

/* From now on, vfio_user_dirty_unmap() marks the pages that were written. */
void vfio_user_dirty_enable(VFIOUserDirty *d);

/**
 * vfio_user_dirty_start:
 * @maps: VFIOUserLoggingRange, ascending: the memory that the server can write
 *        to through descriptors; this function may change it
 *
 * Starts dirty tracking in the server.  If the server refuses or its reply is
 * invalid, warns once and leaves @d->tracked false.  With the big QEMU lock or
 * without.
 *
 * Returns 0, or -ETIMEDOUT with @errp set if the server does not reply.
 *
 * Specification: "VFIO_USER_DIRTY_PAGES"; DMA_LOGGING_START of later servers.
 */
int vfio_user_dirty_start(VFIOUserDirty *d, GArray *maps, Error **errp);
void vfio_user_dirty_stop(VFIOUserDirty *d);

/**
 * vfio_user_dirty_max_map:
 *
 * Returns the maximum size of a map, in bytes, whose dirty bitmap fits into one
 * message, or UINT64_MAX if the size is not limited.  libvfio-user reports only
 * the bitmaps of whole maps.
 */
uint64_t vfio_user_dirty_max_map(const VFIOUserDirty *d);

/**
 * vfio_user_dirty_covers:
 *
 * Returns whether the server tracks all of a range of @size bytes, and its bits
 * for the range cover no other memory.
 */
bool vfio_user_dirty_covers(const VFIOUserDirty *d, uint64_t iova,
                            uint64_t size);

/**
 * vfio_user_dirty_fetch:
 * @maps: VFIOUserDirtyMap, ascending; no other tracked memory that is to be
 *        fetched later lies between them
 *
 * Marks the pages dirty that the server wrote since the last fetch.  Many
 * requests are in flight at a time.  With DMA_LOGGING, a request may cover
 * several maps.
 *
 * An invalid reply ends dirty tracking, and so does an error reply to a caller
 * that holds the big QEMU lock: warns once and sets @d->tracked to false.
 *
 * Returns 0, or -ETIMEDOUT with @errp set if the server does not reply.
 *
 * Specification: "VFIO_USER_DIRTY_PAGES"; DMA_LOGGING_REPORT of later servers.
 */
int vfio_user_dirty_fetch(VFIOUserDirty *d, GArray *maps, Error **errp);

/**
 * vfio_user_dirty_unmap:
 * @iova: of a map
 * @size: bytes of the map, multiple of the target's page size
 * @ram_addr: of the map
 * @later: the unmap cannot be sent now
 *
 * If dirty tracking is enabled: unmaps, and marks the pages dirty that the
 * server wrote before the unmap, or the whole map if they are not known.
 *
 * Returns false if the caller still has to send a plain DMA_UNMAP.
 * Specification: "VFIO_USER_DMA_UNMAP".
 */
bool vfio_user_dirty_unmap(VFIOUserDirty *d, uint64_t iova, uint64_t size,
                           ram_addr_t ram_addr, bool later);

/**
 * vfio_user_dirty_mark:
 * @size: bytes
 *
 * Marks all of a range dirty.
 */
void vfio_user_dirty_mark(ram_addr_t ram_addr, uint64_t size);

/**
 * vfio_user_dirty_mark_bits:
 * @size: bytes
 * @pgsize: bytes per bit, a power of two
 * @bits: 64-bit words, aligned; bits beyond @size are ignored
 *
 * Marks the pages of a range dirty whose bits are set.
 */
void vfio_user_dirty_mark_bits(ram_addr_t ram_addr, uint64_t size,
                               uint64_t pgsize, const void *bits);

#endif /* HW_VFIO_USER_DIRTY_H */
