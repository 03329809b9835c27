/*
 * vfio-user dirty tracking
 *
 * Which guest memory the server wrote to through descriptors, while a VM
 * migrates: starts and stops the server's record, fetches it in pieces, checks
 * it, and marks the pages dirty.  What the server writes by message is marked
 * by whoever serves the message.  Knows no maps and does not decide what is to
 * happen where a server keeps no record; the container does.
 *
 * Threads: any, under the big QEMU lock, which is asserted where the server is
 * asked.  Whoever calls has a budget for all pieces of what it wants.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_DIRTY_H
#define HW_VFIO_USER_DIRTY_H

#include "system/ram_addr.h"
#include "hw/vfio/user/caps.h"
#include "hw/vfio/user/proxy.h"

/* By which messages the server is asked. */
typedef enum VFIOUserDirtyKind {
    VFIO_USER_DIRTY_BY_NOTHING, /* by none: the device does not migrate */
    VFIO_USER_DIRTY_BY_PAGES,   /* version 0.9.1: DIRTY_PAGES */
    VFIO_USER_DIRTY_BY_LOGGING, /* later: DMA_LOGGING of DEVICE_FEATURE */
} VFIOUserDirtyKind;

typedef struct VFIOUserDirty {
    VFIOUserProxy *proxy;
    const VFIOUserCaps *caps;
    VFIOUserDirtyKind kind;     /* set by who finds out, once */
    bool wanted;                /* between start and stop */
    bool tracked;               /* the server keeps a record */
    uint64_t pgsize;            /* bytes for which a bit of it stands */
    GArray *ranges;             /* of LOGGING: VFIOUserLoggingRange, sorted */
    bool whole_maps;            /* the server has refused bits of several */
    bool said;                  /* that the server keeps none */
} VFIOUserDirty;

/* A map that the record covers. */
typedef struct VFIOUserDirtyMap {
    uint64_t iova;
    uint64_t size;              /* bytes */
    ram_addr_t ram_addr;        /* where that memory is */
    bool asked;                 /* of dirty.c: false */
} VFIOUserDirtyMap;

/**
 * vfio_user_dirty_init:
 * @proxy: stays the caller's, as do @caps
 */
void vfio_user_dirty_init(VFIOUserDirty *d, VFIOUserProxy *proxy,
                          const VFIOUserCaps *caps);
void vfio_user_dirty_destroy(VFIOUserDirty *d);

/* From now on what the server may have written to is of interest. */
void vfio_user_dirty_want(VFIOUserDirty *d);

/**
 * vfio_user_dirty_start:
 * @maps: VFIOUserLoggingRange, ascending: what the server may write to by
 *        descriptor; may be changed
 *
 * Has the server begin a record.  Where it keeps none, or asks for what no
 * server can mean, the user is told once and @d->tracked stays false.  With the
 * big QEMU lock or without.
 *
 * Returns 0, or -ETIMEDOUT with @errp set where the server says nothing.
 *
 * Specification: "VFIO_USER_DIRTY_PAGES"; DMA_LOGGING_START of later servers.
 */
int vfio_user_dirty_start(VFIOUserDirty *d, GArray *maps, Error **errp);
void vfio_user_dirty_stop(VFIOUserDirty *d);

/**
 * vfio_user_dirty_max_map:
 *
 * Returns how many bytes a map may have at most for all of its bits to fit into
 * one message.  libvfio-user gives the bits of a whole map or none.
 */
uint64_t vfio_user_dirty_max_map(const VFIOUserDirty *d);

/**
 * vfio_user_dirty_covers:
 *
 * Returns whether the server's record holds all of a range of @size bytes, and
 * of no other memory in the same pages.
 */
bool vfio_user_dirty_covers(const VFIOUserDirty *d, uint64_t iova,
                            uint64_t size);

/**
 * vfio_user_dirty_fetch:
 * @maps: VFIOUserDirtyMap, ascending; between them is nothing that is on
 *        record and asked for another time
 *
 * Marks dirty what the server wrote to since the last time.  Many requests are
 * under way at once; where the version allows it, one is about many maps.
 *
 * An answer that makes no sense, or with the big QEMU lock one that is an
 * error, is the end of the record: the user is told, and @d->tracked becomes
 * false.
 *
 * Returns 0, or -ETIMEDOUT with @errp set where the server says nothing.
 *
 * Specification: "VFIO_USER_DIRTY_PAGES"; DMA_LOGGING_REPORT of later servers.
 */
int vfio_user_dirty_fetch(VFIOUserDirty *d, GArray *maps, Error **errp);

/**
 * vfio_user_dirty_unmap:
 * @iova: of a map
 * @size: bytes of the map, multiple of the target's page size
 * @later: the unmap cannot be sent now
 *
 * Unmaps, and marks dirty what the server wrote to by then, or all of it where
 * that cannot be known.
 *
 * Returns false where a plain DMA_UNMAP is still to be sent.
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
 * @pgsize: bytes for which a bit stands, a power of two
 * @bits: of which those beyond @size do not count; 64-bit words, aligned
 *
 * Marks those pages of a range dirty whose bits are set.
 */
void vfio_user_dirty_mark_bits(ram_addr_t ram_addr, uint64_t size,
                               uint64_t pgsize, const void *bits);

#endif /* HW_VFIO_USER_DIRTY_H */
