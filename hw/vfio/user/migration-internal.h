/*
 * vfio-user migration: declarations private to migration*.c
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
#include "hw/vfio/user/worker.h"

struct VFIOUserMigration {
    VFIOMigration common;       /* the part that hw/vfio uses */
    VFIODevice *vbasedev;       /* NULL after unplug */
    VFIOUserProxy *proxy;       /* a reference */
    char *name;                 /* names the server and the device */
    VMChangeStateEntry *vm_change;
    bool vm_running;            /* the VM state that the device last followed */
    NotifierWithReturn notifier, sync_notifier;
    Error *cpr_blocker;
    VFIOUserMigIdentity who;
    uint64_t flags;             /* VFIO_USER_MIG_HAS_ */
    char *id, *end_id;          /* of the sections in QEMU's stream */

    /*
     * QEMU saves or loads the device and may call the handlers in its
     * migration thread.  If the device is unplugged meanwhile, the struct stays
     * allocated until QEMU has finished.  The main loop writes the fields while
     * no other thread reads them.  Snapshots set @loading only.
     */
    bool saving, loading;
    bool prepared;              /* save_prepare succeeded, no stream yet */
    bool switching;             /* another server gets the device's state */
    unsigned workers;           /* threads that call the server */
    QLIST_ENTRY(VFIOUserMigration) next;        /* in the list of unplugged */

    /* A worker thread ends the save. */
    QemuMutex ending_lock;
    QemuCond ended;
    bool ending;

    /* Protects the fields up to the end of @save, except where noted. */
    VFIOUserMigLock lock;
    bool gone;                  /* unplugged: @d must not be used */
    VFIOUserMigDevice d;
    struct {
        bool active;
        bool restart;           /* the data sent so far is void */
        bool more;              /* the rest of a chunk must still be read */
        GQueue rest;            /* VFIOUserMigPiece: rest of a chunk, read */
        VFIOUserMigPiece *ahead;        /* the next read, begun; or NULL */
        uint64_t rest_size;     /* bytes put into @rest during this save */
        int error;              /* -errno: saving failed, already reported */

        /* Owned by the thread that writes the stream, without the lock. */
        bool told;              /* the server knows about the save */
        bool complete;          /* all but the configuration was sent */
        bool ended;             /* END was sent; also under the BQL */
        bool ack_wanted;        /* the base must request a switchover ack */
        VFIOUserMigBacklog backlog;
        uint64_t position;      /* in the device's stream */
    } save;

    /* Owned by the main loop, or its worker while that calls the server. */
    struct {
        bool hello;
        bool ended;             /* END was received */
        bool partial;           /* the rest of a chunk must follow */
        uint64_t position;      /* in the device's stream */
        uint8_t *buffer;        /* VFIO_USER_MIG_MAX_RECORD bytes */
    } load;
};

/*
 * Returns false with @errp set if postcopy is enabled, on either side, and the
 * server shares the VM's memory: a page that the server accesses before the
 * page arrives exists already, with the wrong contents.
 */
bool vfio_user_migration_check_postcopy(VFIOUserMigration *m, Error **errp);

/* Copies the device's state to hw/vfio's, which the container reads. */
void vfio_user_migration_mirror_locked(VFIOUserMigration *m);

/*
 * Sets the device to RUNNING; tries twice if necessary.  Returns 0, or -errno
 * with @errp set.
 */
int vfio_user_migration_run_locked(VFIOUserMigration *m, Error **errp);

/* Whether the device neither runs nor saves. */
bool vfio_user_migration_is_idle_locked(VFIOUserMigration *m);

/* Sets the device to the state that matches the VM's. */
void vfio_user_migration_follow_vm_locked(VFIOUserMigration *m, bool running);

/*
 * For use before a state change that would void the rest of a partly sent
 * chunk: reads the rest into memory, so that it can be sent later.
 */
void vfio_user_migration_finish_chunk_locked(VFIOUserMigration *m);

/*
 * Records that saving failed because of @err, which becomes the reason that
 * query-migrate shows.  QEMU stores no reason for a snapshot; @err is reported
 * instead.  Takes ownership of @err.  Returns @ret.
 */
int vfio_user_migration_failed(VFIOUserMigration *m, int ret, Error *err);

/* Drops data that was read, or is being read, and must not be sent. */
void vfio_user_migration_drop_chunk_locked(VFIOUserMigration *m);

/*
 * The container of a device that was not unplugged.  The server's access to
 * memory by messages is frozen from the last dirty bitmap sync until the VM
 * runs.
 */
VFIOUserContainer *vfio_user_migration_container(VFIOUserMigration *m);

/* Called when saving begins, in the migration thread or the main thread. */
void vfio_user_migration_set_thread(void);

/* Returns 0, or -ENODEV with @errp set if the device was unplugged. */
int vfio_user_migration_check(VFIOUserMigration *m, Error **errp);

/* Keeps @m allocated, even if the device is unplugged, until released. */
void vfio_user_migration_hold(VFIOUserMigration *m);
void vfio_user_migration_release(VFIOUserMigration *m);

/*
 * Runs @work on @m in a thread instead of the main loop.  @m stays allocated
 * until @work is done.
 */
void vfio_user_migration_start_worker(VFIOUserMigration *m,
                                      VFIOUserWork *work);

/*
 * Whether the worker that sets the device to RUNNING after a save has finished;
 * waits for it for up to a second.
 */
bool vfio_user_migration_has_ended(VFIOUserMigration *m);

/* Called when saving or loading has ended, with the big QEMU lock. */
void vfio_user_migration_saved(VFIOUserMigration *m);
void vfio_user_migration_loaded(VFIOUserMigration *m);

/*
 * Resets a stopped device whose reset was postponed, and stops it again.  Must
 * be called with the big QEMU lock and without the device's lock.
 */
void vfio_user_migration_reset_stopped(VFIOUserMigration *m);

/* Appends a record to QEMU's stream.  Returns 0 or the stream's error. */
int vfio_user_migration_put(VFIOUserMigration *m, QEMUFile *f,
                            VFIOUserMigRecord record, const void *payload,
                            size_t size);

/*
 * Implementations of QEMU's handlers, see migration/register.h.  The two tables
 * of handlers, for the device's state and for the section after all others,
 * depend on the base: see migration-base.c in its folder.
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
 * Returns the number of bytes that the device may still send while the VM runs.
 * Unless @exact is set, may sync dirty pages from the server first, so that
 * QEMU counts them.
 */
uint64_t vfio_user_migration_pending(VFIOUserMigration *m, bool exact);

/*
 * Defined by the base: blocks the CPR migration modes, in which descriptors and
 * memory are kept and no device state is saved.  Returns 0 or -errno.
 */
int vfio_user_migration_block_cpr(Error **reason, Error **errp);

/*
 * Defined by the base: makes @err the reason of the failure that query-migrate
 * shows, unless there is one already.  Takes ownership of @err.
 */
void vfio_user_migration_set_reason(Error *err);

/*
 * Defined by the base: acknowledges the switchover to the source, if the user
 * enabled that; must be called once per stream.
 */
int vfio_user_migration_approve(VFIOUserMigration *m);

#endif /* HW_VFIO_USER_MIGRATION_INTERNAL_H */
