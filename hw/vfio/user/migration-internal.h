/*
 * vfio-user migration: what its files share
 *
 * Private to migration*.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_INTERNAL_H
#define HW_VFIO_USER_MIGRATION_INTERNAL_H

#include "migration/misc.h"
#include "migration/register.h"
#include "hw/vfio/vfio-migration-internal.h"
#include "hw/vfio/user/migration.h"
#include "hw/vfio/user/migration-backlog.h"
#include "hw/vfio/user/migration-device.h"
#include "hw/vfio/user/migration-records.h"

/* How long the main loop gets to answer the monitor, us. */
#define MONITOR_TURN_US 10000

/* How long it waits for that at most, beside a call to the server, ms. */
#define MONITOR_WAITS_MS 100

struct VFIOUserMigration {
    VFIOMigration common;       /* what hw/vfio looks at */
    VFIODevice *vbasedev;
    VMChangeStateEntry *vm_change;
    bool vm_running;            /* as the device was last told */
    NotifierWithReturn notifier;
    Error *cpr_blocker;
    VFIOUserMigIdentity who;
    uint64_t flags;             /* VFIO_USER_MIG_HAS_ */
    char *id, *end_id;          /* of the sections in QEMU's stream */

    /*
     * Held while the device changes its state and while its data are read, so
     * for as long as the server may take.  Big QEMU lock first.  The holder
     * of that counts in @wanted and waits for one read, not for a turn of them.
     */
    QemuMutex lock;
    unsigned wanted;            /* atomic */
    VFIOUserMigDevice d;
    struct {
        bool active;
        bool restart;           /* what was sent is void */
        bool complete;          /* all but the configuration was sent */
        bool ack_wanted;        /* the base has yet to ask for it */
        VFIOUserMigBacklog backlog;
        int error;              /* -errno: saving has failed, as was told */
        uint64_t position;      /* in the device's stream */
    } save;

    int64_t monitor_ms;         /* big lock: since when it has had no turn */

    /* Main loop only. */
    struct {
        bool hello;
        bool ended;             /* END has come */
        bool partial;           /* the rest of a chunk is to come */
        int64_t since;          /* ms, when the monitor had its turn */
        uint64_t position;      /* in the device's stream */
        uint8_t *buffer;        /* VFIO_USER_MIG_MAX_RECORD bytes */
    } load;
};

/* As qemu_mutex_lock() of the lock, with the big QEMU lock. */
void vfio_user_migration_lock(VFIOUserMigration *m);

/*
 * Returns false with @errp set where postcopy is wanted, at either end, and the
 * server shares the memory that is to come page by page: what it touches first
 * is there already when the page comes, and is not what the page holds.
 */
bool vfio_user_migration_check_postcopy(VFIOUserMigration *m, Error **errp);

/* Tells hw/vfio of the state, and the container. */
void vfio_user_migration_mirror(VFIOUserMigration *m);

/* Brings the device where the VM is, after saving has ended. */
void vfio_user_migration_follow_vm(VFIOUserMigration *m, bool running);

/*
 * Resets a stopped device whose reset was put off, and stops it again.  With
 * the big QEMU lock, and without the device's.
 */
void vfio_user_migration_reset_stopped(VFIOUserMigration *m);

/* Appends a record to QEMU's stream; 0 or its error. */
int vfio_user_migration_put(VFIOUserMigration *m, QEMUFile *f,
                            VFIOUserMigRecord record, const void *payload,
                            size_t size);

/*
 * The migration thread has the big QEMU lock while the VM stands still.  A
 * server may have more to say than anybody wants to wait for, so the monitor
 * gets a turn after each call to a server that is slow, and often enough where
 * there are many calls; @since is when it had the last one, ms.
 */
void vfio_user_migration_let_monitor_in(int64_t *since);

/*
 * What QEMU's handlers do; see migration/register.h.  The tables of them, of
 * the state of the device and of the section behind all others, are the base's:
 * see migration-base.c in its folder.
 */
extern const SaveVMHandlers vfio_user_migration_handlers;
extern const SaveVMHandlers vfio_user_migration_end_handlers;

int vfio_user_migration_save_prepare(void *opaque, Error **errp);
int vfio_user_migration_save_setup(QEMUFile *f, void *opaque, Error **errp);
bool vfio_user_migration_is_active_iterate(void *opaque);
int vfio_user_migration_save_iterate(QEMUFile *f, void *opaque);
int vfio_user_migration_save_complete(QEMUFile *f, void *opaque);
void vfio_user_migration_save_config(QEMUFile *f, void *opaque);
void vfio_user_migration_save_end(QEMUFile *f, void *opaque);
void vfio_user_migration_save_cleanup(void *opaque);
int vfio_user_migration_load_setup(QEMUFile *f, void *opaque, Error **errp);
int vfio_user_migration_load_state(QEMUFile *f, void *opaque, int version);
int vfio_user_migration_load_cleanup(void *opaque);

/* Bytes that the device may still have to say while the VM runs. */
uint64_t vfio_user_migration_pending(VFIOUserMigration *m);

/*
 * The base's: keeps QEMU from migrating in a mode in which descriptors and
 * memory stay and no state is saved.  Returns 0 or -errno.
 */
int vfio_user_migration_block_cpr(Error **reason, Error **errp);

/*
 * The base's: tells the source that it may stop the VM, if the user asked for
 * that; to be called once a stream.
 */
int vfio_user_migration_approve(VFIOUserMigration *m);

#endif /* HW_VFIO_USER_MIGRATION_INTERNAL_H */
