/*
 * vfio-user ioeventfds
 *
 * A server can provide an eventfd for a register of a region.  A write to the
 * register then signals the eventfd, and no message is sent.  Checks the
 * server's entries, and does a write: stores the value in shadow memory if the
 * entry has one, and signals.  Sends no messages and knows no KVM.
 *
 * Threads: create and free under the big QEMU lock.  Any number of threads may
 * find and signal at a time, with the lock or without.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_IOEVENTFD_H
#define HW_VFIO_USER_IOEVENTFD_H

#include "hw/vfio/user/guard.h"

/* The region whose ioeventfds are queried. */
typedef struct VFIOUserIOFdRegion {
    uint32_t index;
    uint64_t size;              /* bytes */
    bool ports;                 /* an I/O BAR, not memory */
} VFIOUserIOFdRegion;

typedef struct VFIOUserIoeventfd {
    uint64_t offset;            /* in the region */
    uint64_t datamatch;         /* if match: the value that signals */
    uint64_t shadow_offset;     /* if shadow: in the shadow memory */
    uint32_t fd;                /* index of a descriptor of the reply */
    uint32_t shadow_fd;         /* if shadow: index of another */
    uint8_t size;               /* bytes of the write; 0: any size */
    bool match;                 /* only writes of datamatch signal */
    bool shadow;                /* store the value before the signal */
} VFIOUserIoeventfd;

/* Entries that are not used.  Their writes are sent by message. */
typedef struct VFIOUserIOFdRefusals {
    uint32_t entries;           /* number of all entries of the reply */
    uint32_t refused;           /* invalid entries */
    uint32_t ioregionfds;       /* entries that the client does not support */
    Error *why;                 /* of the first refused entry */
} VFIOUserIOFdRefusals;

void vfio_user_io_fd_refusals_clear(VFIOUserIOFdRefusals *refusals);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VFIOUserIOFdRefusals,
                                 vfio_user_io_fd_refusals_clear)

/**
 * vfio_user_ioeventfds_parse:
 * @region: the region of the query
 * @payload: of the reply, @size bytes, at least those of VFIOUserRegionIOFds
 * @nfds: number of descriptors in the reply
 * @refusals: initially zero; receives the entries that are not used, and why
 *
 * Refuses invalid entries, and all entries that conflict with one another.  A
 * reply that is not an array of entries is a protocol violation.  Does not
 * check the descriptors.
 *
 * Returns an array of VFIOUserIoeventfd, sorted by offset, or NULL with @errp
 * set.
 * Specification: "VFIO_USER_DEVICE_GET_REGION_IO_FDS".
 */
GArray *vfio_user_ioeventfds_parse(const VFIOUserIOFdRegion *region,
                                   const void *payload, size_t size,
                                   size_t nfds,
                                   VFIOUserIOFdRefusals *refusals,
                                   Error **errp);

/* The ioeventfds of one region, with their descriptors. */
typedef struct VFIOUserIoeventfds VFIOUserIoeventfds;

/**
 * vfio_user_ioeventfds_new:
 * @entries: from vfio_user_ioeventfds_parse()
 * @fds: @nfds descriptors, at most VFIO_USER_MAX_FDS; takes ownership
 * @refusals: entries with unsuitable descriptors are added
 *
 * Returns NULL if no entry is left.
 */
VFIOUserIoeventfds *vfio_user_ioeventfds_new(const GArray *entries,
                                             const int *fds, size_t nfds,
                                             VFIOUserIOFdRefusals *refusals);
void vfio_user_ioeventfds_free(VFIOUserIoeventfds *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserIoeventfds, vfio_user_ioeventfds_free)

unsigned vfio_user_ioeventfds_count(const VFIOUserIoeventfds *table);
const VFIOUserIoeventfd *vfio_user_ioeventfds_at(
    const VFIOUserIoeventfds *table, unsigned i);

/* Returns the descriptor that @entry signals.  The table owns it. */
int vfio_user_ioeventfds_fd(const VFIOUserIoeventfds *table,
                            const VFIOUserIoeventfd *entry);

/**
 * vfio_user_ioeventfds_find:
 * @size: bytes written, 1, 2, 4 or 8
 *
 * Returns the entry that a write signals, or NULL.
 */
const VFIOUserIoeventfd *vfio_user_ioeventfds_find(
    const VFIOUserIoeventfds *table, uint64_t offset, unsigned size,
    uint64_t value);

/**
 * vfio_user_ioeventfds_signal:
 *
 * Does a write with an ioeventfd.  Never blocks, whatever the server does with
 * the eventfd and the shadow memory.
 *
 * Returns false if that failed and nothing was signalled.
 */
bool vfio_user_ioeventfds_signal(VFIOUserIoeventfds *table,
                                 const VFIOUserIoeventfd *entry,
                                 unsigned size, uint64_t value);

/* Memory for the value of a shadow ioeventfd.  Must not be moved. */
typedef struct VFIOUserShadow {
    VFIOUserGuard guard;        /* of the mapped page */
    void *address;              /* in the page; NULL: not mapped */
    bool gone;                  /* the server truncated the file */
} VFIOUserShadow;

/**
 * vfio_user_shadow_map:
 * @offset: in the file, a multiple of @size
 * @size: maximum size of a value, bytes
 *
 * Returns true, or false with @errp set, for example if @fd is not memory or is
 * too small.
 */
bool vfio_user_shadow_map(VFIOUserShadow *shadow, int fd, uint64_t offset,
                          unsigned size, Error **errp);
void vfio_user_shadow_unmap(VFIOUserShadow *shadow);

/* Returns false if the server has truncated the file. */
bool vfio_user_shadow_store(VFIOUserShadow *shadow, unsigned size,
                            uint64_t value);

/* Signals eventfds of a server without blocking. */
typedef struct VFIOUserSignaller VFIOUserSignaller;

/**
 * vfio_user_signaller_new:
 *
 * Returns NULL with @errp set, for example if the host has no AIO context left.
 */
VFIOUserSignaller *vfio_user_signaller_new(Error **errp);
void vfio_user_signaller_free(VFIOUserSignaller *s);

/* Returns whether @fd is an eventfd, without signalling it. */
bool vfio_user_signaller_accepts(VFIOUserSignaller *s, int fd);

/**
 * vfio_user_signaller_signal:
 * @fd: an eventfd
 *
 * Adds 1 to its counter, unless the counter is at its maximum.
 *
 * Returns 0 or -errno.
 */
int vfio_user_signaller_signal(VFIOUserSignaller *s, int fd);

#endif /* HW_VFIO_USER_IOEVENTFD_H */
