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
#include "hw/vfio/user/container.h"
#include "hw/vfio/user/migration.h"
#include "hw/vfio/user/migration-backlog.h"
#include "hw/vfio/user/migration-device.h"
#include "hw/vfio/user/migration-lock.h"
#include "hw/vfio/user/migration-records.h"
#include "hw/vfio/user/migration-worker.h"

struct VFIOUserMigration {
    VFIOMigration common;       /* what hw/vfio looks at */
    VFIODevice *vbasedev;       /* NULL once it is gone */
    VFIOUserProxy *proxy;       /* a reference */
    char *name;                 /* of the server and the device */
    VMChangeStateEntry *vm_change;
    bool vm_running;            /* as the device was last told */
    NotifierWithReturn notifier, look_notifier;
    Error *cpr_blocker;
    VFIOUserMigIdentity who;
    uint64_t flags;             /* VFIO_USER_MIG_HAS_ */
    char *id, *end_id;          /* of the sections in QEMU's stream */

    /*
     * QEMU has begun to save or to load, and may call the handlers from its
     * migration thread.  A device that is unplugged meanwhile leaves the struct
     * behind until that has ended.  Set by the main loop while no other thread
     * reads them.  Snapshots set @loading only.
     */
    bool saving, loading;
    bool prepared;              /* is to be saved, once there is a stream */
    unsigned workers;           /* threads that call the server for it */
    QLIST_ENTRY(VFIOUserMigration) next;        /* of those left behind */

    /* A thread ends the save. */
    QemuMutex ending_lock;
    QemuCond ended;
    bool ending;

    /* Protects all up to the end of @save, unless it says otherwise. */
    VFIOUserMigLock lock;
    bool gone;                  /* unplugged: @d is nobody's */
    VFIOUserMigDevice d;
    struct {
        bool active;
        bool restart;           /* what was sent is void */
        bool more;              /* the rest of a chunk is to be read, */
        GQueue rest;            /* or is here: VFIOUserMigPiece */
        VFIOUserMigPiece *ahead;        /* begun, the next one; or NULL */
        uint64_t rest_size;     /* bytes that were ever put there */
        int error;              /* -errno: saving has failed, as was told */

        /* Of whoever writes the stream, without the lock. */
        bool told;              /* the server knows of it */
        bool complete;          /* all but the configuration was sent */
        bool ack_wanted;        /* the base has yet to ask for it */
        VFIOUserMigBacklog backlog;
        uint64_t position;      /* in the device's stream */
    } save;

    /* The main loop's, and of its thread while that calls the server. */
    struct {
        bool hello;
        bool ended;             /* END has come */
        bool partial;           /* the rest of a chunk is to come */
        uint64_t position;      /* in the device's stream */
        uint8_t *buffer;        /* VFIO_USER_MIG_MAX_RECORD bytes */
    } load;
};

/*
 * Returns false with @errp set where postcopy is wanted, at either end, and the
 * server shares the memory that is to come page by page: what it touches first
 * is there already when the page comes, and is not what the page holds.
 */
bool vfio_user_migration_check_postcopy(VFIOUserMigration *m, Error **errp);

/* Tells hw/vfio of the state, and the container. */
void vfio_user_migration_mirror_locked(VFIOUserMigration *m);

/*
 * Lets the device run, if need be in two attempts.  Returns 0, or -errno with
 * @errp set.
 */
int vfio_user_migration_run_locked(VFIOUserMigration *m, Error **errp);

/* Whether the device neither runs nor saves. */
bool vfio_user_migration_is_idle_locked(VFIOUserMigration *m);

/* Brings the device where the VM is. */
void vfio_user_migration_follow_vm_locked(VFIOUserMigration *m, bool running);

/*
 * Before a change of the state that would void the rest of a chunk whose
 * beginning was sent: reads it, for who writes the stream.
 */
void vfio_user_migration_finish_chunk_locked(VFIOUserMigration *m);

/*
 * Saving has failed with @ret, which it returns: @err, which it takes, is the
 * reason that query-migrate gives.  QEMU keeps none for a snapshot, it is
 * reported.
 */
int vfio_user_migration_failed(VFIOUserMigration *m, int ret, Error *err);

/* Forgets what was read, or is being read, and is not to be sent. */
void vfio_user_migration_drop_chunk_locked(VFIOUserMigration *m);

/*
 * Of a device that was not unplugged.  What its server reaches by message is
 * frozen from the last look for dirty pages until the VM runs.
 */
VFIOUserContainer *vfio_user_migration_container(VFIOUserMigration *m);

/* For who begins to save: the migration's thread, or the main one */
void vfio_user_migration_set_thread(void);

/* Returns 0, or -ENODEV with @errp set where the device was unplugged. */
int vfio_user_migration_check(VFIOUserMigration *m, Error **errp);

/*
 * Has a thread do @work on @m, in place of the main loop; the struct stays
 * until that is done.
 */
void vfio_user_migration_start_worker(VFIOUserMigration *m,
                                      VFIOUserMigWork *work);

/*
 * Whether the server lets the device run again after it was saved; waits for
 * that, but not for long.
 */
bool vfio_user_migration_has_ended(VFIOUserMigration *m);

/* With the big QEMU lock: saving or loading has ended. */
void vfio_user_migration_saved(VFIOUserMigration *m);
void vfio_user_migration_loaded(VFIOUserMigration *m);

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

/*
 * Bytes that the device may still have to say while the VM runs.  Unless
 * @exact, what the server has written to memory is marked, before QEMU counts.
 */
uint64_t vfio_user_migration_pending(VFIOUserMigration *m, bool exact);

/*
 * The base's: keeps QEMU from migrating in a mode in which descriptors and
 * memory stay and no state is saved.  Returns 0 or -errno.
 */
int vfio_user_migration_block_cpr(Error **reason, Error **errp);

/*
 * The base's: query-migrate gives @err, which it takes, as the reason for which
 * the migration has failed, unless there is one.
 */
void vfio_user_migration_set_reason(Error *err);

/*
 * The base's: tells the source that it may stop the VM, if the user asked for
 * that; to be called once a stream.
 */
int vfio_user_migration_approve(VFIOUserMigration *m);

#endif /* HW_VFIO_USER_MIGRATION_INTERNAL_H */
