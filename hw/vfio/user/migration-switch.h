/*
 * vfio-user migration: moves the state of a device to another server
 *
 * For a VM that goes on with the same guest: no stream, no dirty pages, and
 * nothing of QEMU's state.  Does not know the sockets, or what else a server
 * must be told.
 *
 * Threads and locks: vfio_user_migration_switch_ahead() is called without the
 * big QEMU lock, the others with it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_SWITCH_H
#define HW_VFIO_USER_MIGRATION_SWITCH_H

#include "hw/vfio/user/migration-device.h"
#include "hw/vfio/user/migration.h"

typedef struct VFIOUserMigSwitch {
    VFIOUserMigration *m;
    VFIOUserMigDevice to;       /* the device of the other server */
    VFIOUserMigDevice from;     /* that of the present one, to return to */
    uint64_t bytes;             /* moved so far */
} VFIOUserMigSwitch;

/**
 * vfio_user_migration_switch_begin:
 * @m: may be NULL
 * @udev: what calls to the other server need
 * @region_fd: returns a descriptor of the other server for a region, or -1
 *
 * Until vfio_user_migration_switch_end() QEMU does not migrate the device.
 *
 * Returns true, or false with @errp set if the device cannot be migrated, or is
 * being migrated.
 */
bool vfio_user_migration_switch_begin(VFIOUserMigSwitch *s,
                                      VFIOUserMigration *m,
                                      VFIOUserDevice *udev,
                                      int (*region_fd)(void *opaque,
                                                       unsigned nr),
                                      void *opaque, Error **errp);
void vfio_user_migration_switch_end(VFIOUserMigSwitch *s);

/**
 * vfio_user_migration_switch_ahead:
 *
 * Prepares the other server, and moves what can be moved while the device runs.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_migration_switch_ahead(VFIOUserMigSwitch *s, Error **errp);

/**
 * vfio_user_migration_switch_move:
 *
 * Stops the device and moves the rest of its state.  From now on @m uses the
 * device of the other server, which is not complete yet and accepts maps.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_migration_switch_move(VFIOUserMigSwitch *s, Error **errp);

/**
 * vfio_user_migration_switch_finish:
 *
 * The other server has been told everything: its device is complete, and runs
 * if the VM does.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_migration_switch_finish(VFIOUserMigSwitch *s, Error **errp);

/*
 * After a failure: @m uses the present server's device again, which gets the
 * state that matches the VM's.  The connection fails if it does not.
 */
void vfio_user_migration_switch_undo(VFIOUserMigSwitch *s);

#endif /* HW_VFIO_USER_MIGRATION_SWITCH_H */
