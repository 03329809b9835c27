/*
 * vfio-user mapped regions
 *
 * The mappings that hw/vfio has made of a server's files for the regions of its
 * device.  Adds a guard to each mapping, and disables all mappings of a device
 * when its server must not be trusted with them any more.  Does not decide
 * which regions are mapped.
 *
 * Threads: the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MAPPING_H
#define HW_VFIO_USER_MAPPING_H

#include "hw/vfio/vfio-device.h"
#include "hw/vfio/vfio-region.h"

/* Called in the main loop after an access to a missing page of region @nr. */
typedef void VFIOUserMappingLost(void *opaque, unsigned nr);

typedef struct VFIOUserMappings {
    VFIODevice *vbasedev;
    VFIOUserMappingLost *lost;
    void *opaque;
    QEMUBH *bh;                 /* calls lost */
    GPtrArray *areas;
    QLIST_ENTRY(VFIOUserMappings) next;
} VFIOUserMappings;

/**
 * vfio_user_mappings_init:
 * @vbasedev: the device that has the regions
 * @lost: called with @opaque when a page is missing
 */
void vfio_user_mappings_init(VFIOUserMappings *m, VFIODevice *vbasedev,
                             VFIOUserMappingLost *lost, void *opaque);

/**
 * vfio_user_mappings_add:
 * @region: a region of the device, after vfio_region_mmap()
 *
 * Adds a guard to each mapping of @region.
 */
void vfio_user_mappings_add(VFIOUserMappings *m, VFIORegion *region);

/**
 * vfio_user_mappings_off:
 *
 * Disables all mappings.  From now on, regions are accessed by message.
 */
void vfio_user_mappings_off(VFIOUserMappings *m);

/**
 * vfio_user_mappings_replace:
 * @nr: a region of the device
 * @fd: another file for it, with the same areas; exchanged for the present one
 *      on success
 *
 * Maps the new file in place of the present one, at the same addresses.
 *
 * Returns true, or false with @errp set.
 */
bool vfio_user_mappings_replace(VFIOUserMappings *m, unsigned nr, int *fd,
                                Error **errp);

/* Enables the mappings again, unless an INTx is pending. */
void vfio_user_mappings_on(VFIOUserMappings *m, bool intx_pending);

/**
 * vfio_user_mappings_cleanup:
 *
 * Call this before hw/vfio unmaps the regions.  May be called without init.
 */
void vfio_user_mappings_cleanup(VFIOUserMappings *m);

#endif /* HW_VFIO_USER_MAPPING_H */
