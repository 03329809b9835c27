/*
 * vfio-user migration: a device of the first generation
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_REGION_H
#define HW_VFIO_USER_MIGRATION_REGION_H

#include "hw/vfio/user/device.h"
#include "hw/vfio/user/migration-stream.h"

typedef struct VFIOUserMigRegion VFIOUserMigRegion;

/**
 * vfio_user_mig_region_new:
 * @vbasedev: for which hw/vfio/migration.c has found a migration region
 * @who: what must be the same on both sides, but for the generation
 *
 * Takes over the sections that it has registered.
 */
VFIOUserMigRegion *vfio_user_mig_region_new(VFIODevice *vbasedev,
                                            VFIOUserDevice *udev,
                                            const VFIOUserMigIdentity *who);

/* @m may be NULL. */
void vfio_user_mig_region_free(VFIOUserMigRegion *m);

#endif /* HW_VFIO_USER_MIGRATION_REGION_H */
