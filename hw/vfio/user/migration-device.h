/*
 * vfio-user migration: a server's device as it is moved through its states
 *
 * The messages of servers later than 0.9.1: what migration they know, the
 * device's state and the data of saving and loading.  Keeps where the device
 * is and leaves it in a state that is known or said to be unknown.
 *
 * Threads: one at a time; whoever owns the struct sees to that.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_DEVICE_H
#define HW_VFIO_USER_MIGRATION_DEVICE_H

#include "hw/vfio/user/device.h"
#include "hw/vfio/user/migration-arcs.h"

/* flags of the feature MIGRATION */
#define VFIO_USER_MIG_HAS_STOP_COPY (1u << 0)
#define VFIO_USER_MIG_HAS_PRE_COPY  (1u << 2)

typedef struct VFIOUserMigDevice {
    VFIOUserDevice *udev;
    VFIOUserMigState state;
    bool uncertain;             /* a change has timed out: it may be @told */
    VFIOUserMigState told;      /* where it was to go last */
} VFIOUserMigDevice;

/**
 * vfio_user_mig_probe:
 * @flags: set to VFIO_USER_MIG_HAS_ flags
 *
 * Returns 1; 0 where the server says that it has no migration of the second
 * generation; or -errno with @errp set where it has one that cannot be used, or
 * nobody knows.  Specification: DEVICE_FEATURE, MIGRATION.
 */
int vfio_user_mig_probe(VFIOUserDevice *udev, uint64_t *flags, Error **errp);

/**
 * vfio_user_mig_ask_state:
 *
 * Takes the device's state from the server; ERROR where that cannot be had.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_mig_ask_state(VFIOUserMigDevice *d, Error **errp);

/**
 * vfio_user_mig_set_state:
 * @to: RUNNING, STOP, STOP_COPY, RESUMING or PRE_COPY
 *
 * Takes arc after arc.  From ERROR by a reset, of which QEMU's user is told.
 * Waits no longer than one call may take for a server that does not answer, and
 * tells it nothing twice.
 *
 * Returns 0; or -errno with @errp set and d->state where the device has
 * stopped on its way.  Specification: MIG_DEVICE_STATE.
 */
int vfio_user_mig_set_state(VFIOUserMigDevice *d, VFIOUserMigState to,
                            Error **errp);

/**
 * vfio_user_mig_read:
 * @call: zeroed; has the data until vfio_user_call_clear()
 * @size: bytes wanted, at most max_data_xfer_size
 * @data: set to the bytes that came
 *
 * Returns how many came, or -errno with @errp set.  0 is the end, in PRE_COPY
 * for now; fewer than wanted may be all that is there, or all that the server
 * gives at a time.  Specification: MIG_DATA_READ.
 */
int vfio_user_mig_read(VFIOUserMigDevice *d, VFIOUserCall *call, uint32_t size,
                       const uint8_t **data, Error **errp);

/**
 * vfio_user_mig_write:
 * @size: of @data, 1 or more
 *
 * Writes with one message, which may not take all of @data.
 *
 * Returns how many bytes were written, or -errno with @errp set.
 * Specification: MIG_DATA_WRITE.
 */
int vfio_user_mig_write(VFIOUserMigDevice *d, const void *data, size_t size,
                        Error **errp);

#endif /* HW_VFIO_USER_MIGRATION_DEVICE_H */
