/*
 * vfio-user migration
 *
 * Migration and snapshots of a VM with the device: the device's state follows
 * the VM's, and the state data of the server is part of QEMU's migration
 * stream.  Servers support migration v1 (a migration region) or v2
 * (DEVICE_FEATURE).  Dirty page tracking, PCI and sockets are not handled here.
 *
 * Threads: set-up and teardown run in the main loop; QEMU calls the handlers in
 * its migration thread and the main loop.
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
 * @who: the device's identity, which must be the same on the source and the
 *       destination; its migration version is ignored
 * @m: set to the argument of vfio_user_migration_teardown(), or NULL
 *
 * Finds out which version of migration the server supports and prepares for
 * it.  If the server supports none, adds a migration blocker.
 *
 * Returns true; or false with @errp set if preparing failed or the blocker
 * could not be added.
 */
bool vfio_user_migration_setup(VFIODevice *vbasedev, VFIOUserDevice *udev,
                               const VFIOUserMigIdentity *who,
                               VFIOUserMigration **m, Error **errp);
void vfio_user_migration_teardown(VFIODevice *vbasedev, VFIOUserMigration *m);

/* The migration version that the server supports: 1 or 2. */
unsigned vfio_user_migration_version(const VFIOUserMigration *m);

/*
 * Whether the calling thread is the thread of a migration that the user has
 * cancelled.  Any thread.
 */
bool vfio_user_migration_is_cancelled(void);

/*
 * Whether the device is being loaded and its state is not complete; @m may be
 * NULL.  Called with the big QEMU lock.
 */
bool vfio_user_migration_is_loading(const VFIOUserMigration *m);

/*
 * Whether QEMU saves or loads the device, or a thread still calls its server
 * because it did; @m may be NULL.
 */
bool vfio_user_migration_is_busy(const VFIOUserMigration *m);

/**
 * vfio_user_migration_resume:
 * @m: may be NULL; not busy
 * @proxy: connected to a server whose device was reset and runs
 *
 * Uses another server.  vfio_user_migration_follow() must be called when the
 * server knows everything else.
 */
void vfio_user_migration_resume(VFIOUserMigration *m, VFIOUserProxy *proxy);

/* Uses another connection from now on; @m may be NULL. */
void vfio_user_migration_use(VFIOUserMigration *m, VFIOUserProxy *proxy);

/* Sets the server's device to the state that matches the VM's. */
void vfio_user_migration_follow(VFIOUserMigration *m);

/* The name of the VFIODevice has changed; @m may be NULL. */
void vfio_user_migration_rename(VFIOUserMigration *m);

/**
 * vfio_user_migration_begin_reset:
 * @m: may be NULL
 *
 * Prevents saving of the device until vfio_user_migration_finish_reset(), which
 * asks the server for the device's state after the reset.
 */
void vfio_user_migration_begin_reset(VFIOUserMigration *m);
void vfio_user_migration_finish_reset(VFIOUserMigration *m);

#endif /* HW_VFIO_USER_MIGRATION_H */
