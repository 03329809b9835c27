/*
 * vfio-user mapped regions
 *
 * The files that a server shares, where hw/vfio has mapped them as regions of
 * its device: puts a guard over each, and turns all of them off when their
 * server is not to be trusted with them any more.  Which region may be mapped
 * is decided elsewhere.
 *
 * Threads: the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MAPPING_H
#define HW_VFIO_USER_MAPPING_H

#include "hw/vfio/vfio-device.h"
#include "hw/vfio/vfio-region.h"

/* Called in the main loop: a page of region @nr was not there. */
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
 * @vbasedev: whose regions these will be
 */
void vfio_user_mappings_init(VFIOUserMappings *m, VFIODevice *vbasedev,
                             VFIOUserMappingLost *lost, void *opaque);

/**
 * vfio_user_mappings_add:
 * @region: of the device, as vfio_region_mmap() left it
 */
void vfio_user_mappings_add(VFIOUserMappings *m, VFIORegion *region);

/**
 * vfio_user_mappings_off:
 *
 * Every access is the device's from now on, for good.
 */
void vfio_user_mappings_off(VFIOUserMappings *m);

/**
 * vfio_user_mappings_cleanup:
 *
 * To be called before hw/vfio takes the mappings away; may be called without
 * init.
 */
void vfio_user_mappings_cleanup(VFIOUserMappings *m);

#endif /* HW_VFIO_USER_MAPPING_H */
