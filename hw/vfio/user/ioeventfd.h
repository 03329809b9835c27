/*
 * vfio-user ioeventfds
 *
 * Registers of a region for which the server has an eventfd, and takes its
 * signal in place of the message that a write to them would be.  Checks what
 * the server says of them, and does a write: stores the value where the
 * server wants that, and signals.  Asks no server and knows no KVM.
 *
 * Threads: any, one at a time; the callers have the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_IOEVENTFD_H
#define HW_VFIO_USER_IOEVENTFD_H

#include "hw/vfio/user/guard.h"

/* The region that was asked about. */
typedef struct VFIOUserIOFdRegion {
    uint32_t index;
    uint64_t size;              /* bytes */
    bool ports;                 /* an I/O BAR, not memory */
} VFIOUserIOFdRegion;

typedef struct VFIOUserIoeventfd {
    uint64_t offset;            /* in the region */
    uint64_t datamatch;         /* where match: the value that signals */
    uint64_t shadow_offset;     /* where shadow: in that memory */
    uint32_t fd;                /* indexes of descriptors of the reply */
    uint32_t shadow_fd;
    uint8_t size;               /* bytes of the write; 0: any number */
    bool match;
    bool shadow;                /* the value is stored before the signal */
} VFIOUserIoeventfd;

/* Entries that are not used: their writes go by message. */
typedef struct VFIOUserIOFdRefusals {
    uint32_t entries;           /* how many there were in all */
    uint32_t refused;           /* those that no server may send */
    uint32_t ioregionfds;       /* those that the client does not speak */
    Error *why;                 /* of the first that was refused */
} VFIOUserIOFdRefusals;

void vfio_user_io_fd_refusals_clear(VFIOUserIOFdRefusals *refusals);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VFIOUserIOFdRefusals,
                                 vfio_user_io_fd_refusals_clear)

/**
 * vfio_user_ioeventfds_parse:
 * @region: what was asked about
 * @payload: of the reply, @size bytes, at least those of VFIOUserRegionIOFds
 * @nfds: descriptors that came with it
 * @refusals: zeroed; gets what is not used, and why
 *
 * An entry that is wrong, and all that clash with one another, are refused;
 * a reply that cannot be told into entries is a violation of the protocol.
 * What its descriptors are is not looked at.
 *
 * Returns VFIOUserIoeventfd ordered by offset, or NULL with @errp set.
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
 * @fds: @nfds descriptors, at most VFIO_USER_MAX_FDS; taken
 * @refusals: gets entries whose descriptors are not what they must be
 *
 * Returns NULL where no entry remains.
 */
VFIOUserIoeventfds *vfio_user_ioeventfds_new(const GArray *entries,
                                             const int *fds, size_t nfds,
                                             VFIOUserIOFdRefusals *refusals);
void vfio_user_ioeventfds_free(VFIOUserIoeventfds *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserIoeventfds, vfio_user_ioeventfds_free)

unsigned vfio_user_ioeventfds_count(const VFIOUserIoeventfds *table);
const VFIOUserIoeventfd *vfio_user_ioeventfds_at(
    const VFIOUserIoeventfds *table, unsigned i);

/* Returns the descriptor that @entry signals; the table's. */
int vfio_user_ioeventfds_fd(const VFIOUserIoeventfds *table,
                            const VFIOUserIoeventfd *entry);

/**
 * vfio_user_ioeventfds_find:
 * @size: bytes written, 1, 2, 4 or 8
 *
 * Returns the entry that the write signals, or NULL.
 */
const VFIOUserIoeventfd *vfio_user_ioeventfds_find(
    const VFIOUserIoeventfds *table, uint64_t offset, unsigned size,
    uint64_t value);

/**
 * vfio_user_ioeventfds_signal:
 *
 * Does such a write.  Never blocks, whatever the server does to eventfd and
 * memory.
 *
 * Returns false where it cannot be done, and nothing was signalled.
 */
bool vfio_user_ioeventfds_signal(VFIOUserIoeventfds *table,
                                 const VFIOUserIoeventfd *entry,
                                 unsigned size, uint64_t value);

/* Where the value of a shadow ioeventfd goes; must not be moved. */
typedef struct VFIOUserShadow {
    VFIOUserGuard guard;        /* of the page that is mapped */
    void *address;              /* in it; NULL: none */
    bool gone;                  /* the server took the page away */
} VFIOUserShadow;

/**
 * vfio_user_shadow_map:
 * @offset: in the file, a multiple of @size
 * @size: most bytes of a value
 *
 * Returns false with @errp set where @fd is no memory or not so large.
 */
bool vfio_user_shadow_map(VFIOUserShadow *shadow, int fd, uint64_t offset,
                          unsigned size, Error **errp);
void vfio_user_shadow_unmap(VFIOUserShadow *shadow);

/* Returns false where the server took the memory away. */
bool vfio_user_shadow_store(VFIOUserShadow *shadow, unsigned size,
                            uint64_t value);

/* Signals eventfds of others without ever blocking. */
typedef struct VFIOUserSignaller VFIOUserSignaller;

/**
 * vfio_user_signaller_new:
 *
 * Returns NULL with @errp set where the host has no AIO context left.
 */
VFIOUserSignaller *vfio_user_signaller_new(Error **errp);
void vfio_user_signaller_free(VFIOUserSignaller *s);

/* Returns whether @fd is an eventfd, without a signal. */
bool vfio_user_signaller_takes(VFIOUserSignaller *s, int fd);

/**
 * vfio_user_signaller_signal:
 * @fd: an eventfd
 *
 * Adds 1 to its counter, or as much of it as the counter can take.
 *
 * Returns 0 or -errno.
 */
int vfio_user_signaller_signal(VFIOUserSignaller *s, int fd);

#endif /* HW_VFIO_USER_IOEVENTFD_H */
