/*
 * vfio-user migration: code that depends on the version of QEMU
 *
 * The SaveVMHandlers, the switchover acknowledgement, the error of a failed
 * migration, and the blocked migration modes, for QEMU 11.1.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "migration/blocker.h"
#include "migration/migration.h"
#include "migration/options.h"
#include "migration/savevm.h"
#include "hw/vfio/user/migration-internal.h"

static void save_query_pending(void *opaque, MigPendingData *pending,
                               bool exact, bool final)
{
    VFIOUserMigration *m = opaque;

    pending->precopy_bytes += vfio_user_migration_pending(m, exact);
    if (m->save.ack_wanted) {
        m->save.ack_wanted = false;
        pending->switchover_ack_pending++;
    }
}

/* Postcopy would call save_complete() a second time at its end. */
static bool is_active(void *opaque)
{
    VFIOUserMigration *m = opaque;

    return !m->save.active || !m->save.complete;
}

/* Machine types up to 11.0: the destination counts the acknowledgements. */
static int load_setup(QEMUFile *f, void *opaque, Error **errp)
{
    VFIOUserMigration *m = opaque;

    migration_request_switchover_ack_legacy(m->id);
    return vfio_user_migration_load_setup(f, m, errp);
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
           qemu_loadvm_approve_switchover(m->id) : 0;
}

void vfio_user_migration_set_reason(Error *err)
{
    migrate_error_propagate(migrate_get_current(), err);
}

int vfio_user_migration_block_cpr(Error **reason, Error **errp)
{
    const unsigned modes = BIT(MIG_MODE_CPR_REBOOT) |
                           BIT(MIG_MODE_CPR_TRANSFER) |
                           BIT(MIG_MODE_CPR_EXEC);

    return migrate_add_blocker_modes(reason, modes, errp);
}

const SaveVMHandlers vfio_user_migration_handlers = {
    .save_prepare = vfio_user_migration_save_prepare,
    .save_setup = vfio_user_migration_save_setup,
    .is_active = is_active,
    .is_active_iterate = vfio_user_migration_is_active_iterate,
    .save_query_pending = save_query_pending,
    .save_live_iterate = vfio_user_migration_save_iterate,
    .save_complete = vfio_user_migration_save_complete,
    .save_state = vfio_user_migration_save_config,
    .save_cleanup = vfio_user_migration_save_cleanup,
    .load_setup = load_setup,
    .load_state = vfio_user_migration_load_state,
    .load_cleanup = vfio_user_migration_load_cleanup,
};

const SaveVMHandlers vfio_user_migration_end_handlers = {
    .save_state = vfio_user_migration_save_end,
    .load_state = vfio_user_migration_load_state,
};
