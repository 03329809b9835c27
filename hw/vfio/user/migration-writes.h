/*
 * vfio-user migration: data on their way to a server that loads them
 *
 * Several writes are under way at once.  Servers take them in order, and so the
 * first one that fails is the one that counts.
 *
 * Threads: one at a time; whoever owns the queue sees to that.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_WRITES_H
#define HW_VFIO_USER_MIGRATION_WRITES_H

#include "hw/vfio/user/proxy.h"

/* Writes under way, the oldest first; zeroed at first. */
typedef GQueue VFIOUserMigWrites;

/**
 * vfio_user_mig_write:
 * @command: MIG_DATA_WRITE or REGION_WRITE
 * @head: of the request, VFIOUserMigData or VFIOUserRegionRW
 * @data: @size bytes, of which nothing is needed after return
 *
 * Sends a write; where too many are under way, it waits for the oldest first.
 *
 * Returns 0; or -errno with @errp set, of this write or of an older one.  Then
 * vfio_user_mig_drop_writes() is to follow.
 */
int vfio_user_mig_write(VFIOUserMigWrites *w, VFIOUserProxy *proxy,
                        VFIOUserCommand command, const void *head,
                        size_t head_size, const void *data, size_t size,
                        Error **errp);

/**
 * vfio_user_mig_finish_writes:
 *
 * Waits for all of them, or for the first that fails.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_mig_finish_writes(VFIOUserMigWrites *w, VFIOUserProxy *proxy,
                                Error **errp);

/**
 * vfio_user_mig_drop_writes:
 *
 * Waits for all of them, whatever becomes of them, for no longer than for one.
 */
void vfio_user_mig_drop_writes(VFIOUserMigWrites *w, VFIOUserProxy *proxy);

#endif /* HW_VFIO_USER_MIGRATION_WRITES_H */
