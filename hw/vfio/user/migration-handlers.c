/*
 * vfio-user migration: QEMU's tables of handlers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "hw/vfio/user/migration-internal.h"

static int save_setup(QEMUFile *f, void *opaque)
{
    Error *err = NULL;
    int ret = vfio_user_migration_save_setup(f, opaque, &err);

    if (ret < 0) {
        error_report_err(err);
    }
    return ret;
}

static void save_pending(QEMUFile *f, void *opaque, uint64_t threshold,
                         uint64_t *precopy, uint64_t *compatible,
                         uint64_t *postcopy)
{
    *precopy += vfio_user_migration_pending(opaque);
}

static int load_setup(QEMUFile *f, void *opaque)
{
    return vfio_user_migration_load_setup(f, opaque, NULL);
}

const SaveVMHandlers vfio_user_migration_handlers = {
    .save_setup = save_setup,
    .is_active_iterate = vfio_user_migration_is_active_iterate,
    .save_live_pending = save_pending,
    .save_live_iterate = vfio_user_migration_save_iterate,
    .save_live_complete_precopy = vfio_user_migration_save_complete,
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
