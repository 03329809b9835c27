/*
 * vfio-user IOVA space
 *
 * The list of maps from the device's IOVAs to memory of this process.  Looks up
 * ranges, and splits a map if only a part of it is unmapped.  Maps never
 * overlap.  Sends no messages and does not own the memory.
 *
 * Threads: any.  A thread holds a range while it uses the memory.  Removing a
 * map waits for the holder of its range; other maps can be added and removed
 * meanwhile.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_IOVA_H
#define HW_VFIO_USER_IOVA_H

#include "qemu/iova-tree.h"
#include "qemu/thread.h"

/*
 * The size of a DMAMap is the number of bytes minus one.  The guest controls
 * how many maps there are, so every function takes at most logarithmic time.
 */
typedef struct VFIOUserIOVA {
    /*
     * A leaf lock.  Do not copy, send or wait for others under it.  At most one
     * map, or one iovec per map of a request, is allocated under it.
     */
    QemuMutex lock;
    GTree *maps;                /* of DMAMap, by IOVA */
    bool is_held;               /* a range is in use, */
    bool is_written;            /* for writing */
    uint64_t held_iova;         /* start of the held range */
    uint64_t held_size;         /* bytes */
    bool frozen;                /* no writes are allowed */
    bool refused;               /* a write was refused while frozen */
    QemuCond released;

    /* Used by the holder without the lock */
    GArray *held;               /* struct iovec */
} VFIOUserIOVA;

void vfio_user_iova_init(VFIOUserIOVA *v);
void vfio_user_iova_destroy(VFIOUserIOVA *v);

uint32_t vfio_user_iova_count(VFIOUserIOVA *v);

/* Returns false and changes nothing if @map overlaps another. */
bool vfio_user_iova_insert(VFIOUserIOVA *v, const DMAMap *map);

/*
 * Removes an existing map.  If its range is held, waits for the release.  The
 * holder only copies or sends without blocking, so this never waits for a
 * server.
 */
void vfio_user_iova_remove(VFIOUserIOVA *v, const DMAMap *map);

/**
 * vfio_user_iova_find:
 * @size: bytes, not 0; the range does not wrap around
 * @found: set to the first map that overlaps the range
 *
 * Returns false if there is none.
 */
bool vfio_user_iova_find(VFIOUserIOVA *v, uint64_t iova, uint64_t size,
                         DMAMap *found);

/* Returns whether @map maps all of @part to the same memory. */
bool vfio_user_iova_covers(const DMAMap *map, const DMAMap *part);

/**
 * vfio_user_iova_rest:
 * @size: bytes of a range that overlaps @map
 * @rest: set to the parts of @map outside the range, ascending
 *
 * Returns the number of parts.
 */
unsigned vfio_user_iova_rest(const DMAMap *map, uint64_t iova, uint64_t size,
                             DMAMap rest[2]);

/**
 * vfio_user_iova_hold:
 * @size: bytes, an untrusted value from a server
 * @write: the caller writes to the memory
 * @iov: set to the memory of the range, one element per map, in order
 * @niov: set to the number of elements
 *
 * Only one range can be held at a time.
 *
 * Returns 0, and the caller must call vfio_user_iova_release().  On failure
 * holds nothing and returns -EFAULT if the range is not completely mapped, or
 * -EPERM if some of it is read-only or writes are frozen.
 */
int vfio_user_iova_hold(VFIOUserIOVA *v, uint64_t iova, uint64_t size,
                        bool write, const struct iovec **iov, unsigned *niov);
void vfio_user_iova_release(VFIOUserIOVA *v);

/**
 * vfio_user_iova_freeze:
 *
 * Refuses writes from now on.  If a range is held for writing, waits for its
 * release; see vfio_user_iova_remove().
 */
void vfio_user_iova_freeze(VFIOUserIOVA *v);

/* Allows writes again and clears refused. */
void vfio_user_iova_thaw(VFIOUserIOVA *v);

/* Returns whether a write was refused since vfio_user_iova_freeze(). */
bool vfio_user_iova_refused(VFIOUserIOVA *v);

#endif /* HW_VFIO_USER_IOVA_H */
