/*
 * vfio-user migration
 *
 * A device in a VM that migrates, is saved or is loaded: its state follows the
 * VM's, and what the server saves goes through QEMU's migration stream.
 * Servers speak migration v1 (a migration region) or v2 (DEVICE_FEATURE).
 * Tracks no dirty pages and knows neither PCI nor sockets.
 *
 * Threads: set-up and its like from the main loop; QEMU calls the handlers
 * from its migration thread and the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_H
#define HW_VFIO_USER_MIGRATION_H

#include "hw/vfio/user/device.h"
#include "hw/vfio/user/migration-stream.h"

typedef struct VFIOUserMigration VFIOUserMigration;

/**
 * vfio_user_migration_setup:
 * @who: what must be the same on both sides, but for the version of migration
 * @m: set to what vfio_user_migration_teardown() takes
 *
 * Finds out which version of migration the server speaks, and prepares for
 * it; where it speaks none, the VM refuses to migrate from now on.
 *
 * Returns true, or false with @errp set: QEMU is to migrate at all events.
 */
bool vfio_user_migration_setup(VFIODevice *vbasedev, VFIOUserDevice *udev,
                               const VFIOUserMigIdentity *who,
                               VFIOUserMigration **m, Error **errp);
void vfio_user_migration_teardown(VFIODevice *vbasedev, VFIOUserMigration *m);

/* Of migration that the server speaks: 1 or 2. */
unsigned vfio_user_migration_version(const VFIOUserMigration *m);

/* Whether this is the thread of a migration that the user has cancelled. */
bool vfio_user_migration_is_cancelled(void);

/*
 * Whether the server may be given more of the device's state; @m may be NULL.
 * With the big QEMU lock.
 */
bool vfio_user_migration_is_loading(const VFIOUserMigration *m);

/**
 * vfio_user_migration_begin_reset:
 * @m: may be NULL
 *
 * Nobody saves the device until vfio_user_migration_finish_reset(), which finds
 * out to which state the reset has brought it.
 */
void vfio_user_migration_begin_reset(VFIOUserMigration *m);
void vfio_user_migration_finish_reset(VFIOUserMigration *m);

#endif /* HW_VFIO_USER_MIGRATION_H */
