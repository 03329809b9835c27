/*
 * vfio-user migration: code that depends on the version of QEMU
 *
 * The SaveVMHandlers, the switchover acknowledgement, the error of a failed
 * migration, and the blocked migration modes, for QEMU 10.0.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "migration/blocker.h"
#include "migration/migration.h"
#include "migration/options.h"
#include "migration/savevm.h"
#include "hw/vfio/user/migration-internal.h"

static void pending_estimate(void *opaque, uint64_t *must_precopy,
                             uint64_t *can_postcopy)
{
    *must_precopy += vfio_user_migration_pending(opaque, false);
}

static void pending_exact(void *opaque, uint64_t *must_precopy,
                          uint64_t *can_postcopy)
{
    *must_precopy += vfio_user_migration_pending(opaque, true);
}

static bool switchover_ack_needed(void *opaque)
{
    return true;
}

/* The stream of a snapshot or of a file has none, and no source waits. */
static bool has_return_path(void)
{
    MigrationIncomingState *mis = migration_incoming_get_current();

    QEMU_LOCK_GUARD(&mis->rp_mutex);
    return mis->to_src_file;
}

int vfio_user_migration_approve(VFIOUserMigration *m)
{
    return migrate_switchover_ack() && has_return_path() ?
           qemu_loadvm_approve_switchover() : 0;
}

void vfio_user_migration_set_reason(Error *err)
{
    migrate_set_error(migrate_get_current(), err);
    error_free(err);
}

int vfio_user_migration_block_cpr(Error **reason, Error **errp)
{
    return migrate_add_blocker_modes(reason, errp, MIG_MODE_CPR_REBOOT,
                                     MIG_MODE_CPR_TRANSFER, -1);
}

const SaveVMHandlers vfio_user_migration_handlers = {
    .save_prepare = vfio_user_migration_save_prepare,
    .save_setup = vfio_user_migration_save_setup,
    .is_active_iterate = vfio_user_migration_is_active_iterate,
    .state_pending_estimate = pending_estimate,
    .state_pending_exact = pending_exact,
    .save_live_iterate = vfio_user_migration_save_iterate,
    .save_live_complete_precopy = vfio_user_migration_save_complete,
    .save_state = vfio_user_migration_save_config,
    .save_cleanup = vfio_user_migration_save_cleanup,
    .switchover_ack_needed = switchover_ack_needed,
    .load_setup = vfio_user_migration_load_setup,
    .load_state = vfio_user_migration_load_state,
    .load_cleanup = vfio_user_migration_load_cleanup,
};

const SaveVMHandlers vfio_user_migration_end_handlers = {
    .save_state = vfio_user_migration_save_end,
    .load_state = vfio_user_migration_load_state,
};
