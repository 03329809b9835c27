/*
 * vfio-user IOVA space
 *
 * The list of maps: which of the device's addresses lead to which memory of
 * this process.  Here a range is looked up, and cut where half a map goes.
 * Sends nothing and owns none of the memory; maps never overlap.
 *
 * Threads: any.  Who looks memory up holds its range for as long as it is used:
 * a map that goes has gone once nobody uses it, all others come and go.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_IOVA_H
#define HW_VFIO_USER_IOVA_H

#include "qemu/iova-tree.h"
#include "qemu/thread.h"

/*
 * A DMAMap's size is that of the range, bytes, less one.  A guest decides how
 * many there are: no function takes longer than the logarithm of that.
 */
typedef struct VFIOUserIOVA {
    /*
     * A leaf: nothing is copied, sent or waited for under it.  What is
     * allocated is one map, or an iovec for each map of a request.
     */
    QemuMutex lock;
    GTree *maps;                /* of DMAMap, by address */
    bool is_held, is_written;   /* to be read, or to be written to */
    uint64_t held_iova;         /* from here on memory is in use */
    uint64_t held_size;         /* as far as this, bytes */
    bool frozen;                /* nothing is written to, */
    bool refused;               /* and something was to be */
    QemuCond released;

    /* Of who holds. */
    GArray *held;               /* struct iovec */
} VFIOUserIOVA;

void vfio_user_iova_init(VFIOUserIOVA *v);
void vfio_user_iova_destroy(VFIOUserIOVA *v);

uint32_t vfio_user_iova_count(VFIOUserIOVA *v);

/* Returns false, and nothing is changed, where @map overlaps another. */
bool vfio_user_iova_insert(VFIOUserIOVA *v, const DMAMap *map);

/*
 * Takes a map out that is in.  Where its range is held waits for the one who
 * holds it: for a copy, or a send that does not block, and so for no server.
 */
void vfio_user_iova_remove(VFIOUserIOVA *v, const DMAMap *map);

/**
 * vfio_user_iova_find:
 * @size: bytes, not 0; the range does not wrap around
 * @found: gets the first map that overlaps the range
 *
 * Returns false where there is none.
 */
bool vfio_user_iova_find(VFIOUserIOVA *v, uint64_t iova, uint64_t size,
                         DMAMap *found);

/* Returns whether all of @part leads to the same memory through @map. */
bool vfio_user_iova_covers(const DMAMap *map, const DMAMap *part);

/**
 * vfio_user_iova_rest:
 * @size: bytes of a range that overlaps @map
 * @rest: gets what is left of @map without the range, ascending
 *
 * Returns how many parts are left.
 */
unsigned vfio_user_iova_rest(const DMAMap *map, uint64_t iova, uint64_t size,
                             DMAMap rest[2]);

/**
 * vfio_user_iova_hold:
 * @size: bytes, from a server, not trusted
 * @write: the memory is to be written to
 * @iov: gets the memory of all of the range, in its order
 * @niov: gets its pieces, one a map
 *
 * One range at a time.
 *
 * Returns 0, and vfio_user_iova_release() must follow; or, with nothing held,
 * -EFAULT where not all of the range is mapped and -EPERM where not all of it
 * may be written to, or none at all.
 */
int vfio_user_iova_hold(VFIOUserIOVA *v, uint64_t iova, uint64_t size,
                        bool write, const struct iovec **iov, unsigned *niov);
void vfio_user_iova_release(VFIOUserIOVA *v);

/**
 * vfio_user_iova_freeze:
 *
 * Nobody writes to the memory from now on: waits for the one who does, as
 * vfio_user_iova_remove() would.
 */
void vfio_user_iova_freeze(VFIOUserIOVA *v);

/* Ends that, and forgets what was refused. */
void vfio_user_iova_thaw(VFIOUserIOVA *v);

/* Returns whether somebody wanted to write meanwhile. */
bool vfio_user_iova_refused(VFIOUserIOVA *v);

#endif /* HW_VFIO_USER_IOVA_H */
