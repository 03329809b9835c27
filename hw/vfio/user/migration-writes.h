/*
 * vfio-user migration: pipelined writes to a server that loads a device
 *
 * Several writes are in flight at once.  Servers process them in order, so the
 * first failure is the one that is reported.
 *
 * Threads: one at a time; the owner of the queue is responsible for that.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_WRITES_H
#define HW_VFIO_USER_MIGRATION_WRITES_H

#include "hw/vfio/user/proxy.h"

/* Writes in flight, oldest first; initialized with zeros. */
typedef GQueue VFIOUserMigWrites;

/**
 * vfio_user_mig_write:
 * @command: MIG_DATA_WRITE or REGION_WRITE
 * @head: head of the request, VFIOUserMigData or VFIOUserRegionRW
 * @data: @size bytes, not used after return
 *
 * Sends a write; waits for the oldest first if too many are in flight.
 *
 * Returns 0; or -errno with @errp set, for this write or an earlier one.  After
 * an error, vfio_user_mig_drop_writes() must follow.
 */
int vfio_user_mig_write(VFIOUserMigWrites *w, VFIOUserProxy *proxy,
                        VFIOUserCommand command, const void *head,
                        size_t head_size, const void *data, size_t size,
                        Error **errp);

/**
 * vfio_user_mig_finish_writes:
 *
 * Waits for all writes, or until the first failure.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_mig_finish_writes(VFIOUserMigWrites *w, VFIOUserProxy *proxy,
                                Error **errp);

/**
 * vfio_user_mig_drop_writes:
 *
 * Waits for all writes and ignores their results.  Waits no longer in total
 * than for one call.
 */
void vfio_user_mig_drop_writes(VFIOUserMigWrites *w, VFIOUserProxy *proxy);

#endif /* HW_VFIO_USER_MIGRATION_WRITES_H */
