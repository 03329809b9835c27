/*
 * vfio-user migration: set-up, and following the state of the VM
 *
 * When the VM stops, the device stops; if the VM is being migrated, the device
 * changes to STOP_COPY.  When the VM runs, the device runs.  If the server
 * cannot set the device to RUNNING, the connection fails.
 *
 * Threads and locks: see migration-internal.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qemu/atomic.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/core/vmstate-if.h"
#include "hw/vfio/vfio-migration.h"
#include "migration/blocker.h"
#include "migration/migration.h"
#include "migration/misc.h"
#include "migration/options.h"
#include "migration/qemu-file.h"
#include "migration/vmstate.h"
#include "system/runstate.h"
#include "hw/vfio/user/base.h"
#include "hw/vfio/user/container.h"
#include "hw/vfio/user/migration-internal.h"
#include "trace.h"

/* The state of the device */

VFIOUserContainer *vfio_user_migration_container(VFIOUserMigration *m)
{
    return VFIO_IOMMU_USER(m->vbasedev->bcontainer);
}

void vfio_user_migration_mirror_locked(VFIOUserMigration *m)
{
    bool unknown = m->d.uncertain || m->d.state == VFIO_USER_MIG_ERROR;

    vfio_user_mig_assert_locked(&m->lock);
    QEMU_BUILD_BUG_ON((int)VFIO_USER_MIG_STOP != VFIO_DEVICE_STATE_STOP ||
                      (int)VFIO_USER_MIG_PRE_COPY_P2P !=
                      VFIO_DEVICE_STATE_PRE_COPY_P2P);
    /* if the state is unknown, assume that the device writes to memory */
    m->common.device_state = unknown ? VFIO_DEVICE_STATE_RUNNING :
                                       (uint32_t)m->d.state;
}

static bool migration_is_lost(VFIOUserMigration *m)
{
    return vfio_user_proxy_state(m->proxy) != VFIO_USER_UP;
}

/* Tries again after the first failure, which may have led to ERROR. */
int vfio_user_migration_run_locked(VFIOUserMigration *m, Error **errp)
{
    Error *err = NULL;
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    ret = vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_RUNNING, &err);
    if (ret < 0 && ret != -ETIMEDOUT && !migration_is_lost(m)) {
        error_report_err(err);
        err = NULL;
        ret = vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_RUNNING, &err);
    }
    error_propagate(errp, err);
    return ret;
}

/* With the big QEMU lock: a call that timed out has failed the connection. */
static void run_locked(VFIOUserMigration *m)
{
    Error *err = NULL;
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    ret = vfio_user_migration_run_locked(m, &err);
    if (ret == -ETIMEDOUT) {
        error_report_err(err);
    } else if (ret < 0) {
        vfio_user_proxy_fail(m->proxy, err);
    }
}

/*
 * Servers with migration v1 may track dirty pages only in saving states.  Mark
 * the memory that the device may have written until now.
 */
static void mark_unrecorded(VFIOUserMigration *m)
{
    if (m->d.ops->version == 1) {
        vfio_user_container_mark(vfio_user_migration_container(m));
    }
}

/* A device that runs while the VM is saved is in PRE_COPY, if supported. */
static void resume_saving_locked(VFIOUserMigration *m)
{
    Error *err = NULL;
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    if (!m->save.active || m->save.error || migration_is_lost(m) ||
        !vfio_user_devices_run() || m->d.state != VFIO_USER_MIG_RUNNING ||
        !(m->flags & VFIO_USER_MIG_HAS_PRE_COPY)) {
        return;
    }
    ret = vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_PRE_COPY, &err);
    if (ret < 0) {
        m->save.error = vfio_user_migration_failed(m, ret, err);
    }
    mark_unrecorded(m);
}

static void stop_locked(VFIOUserMigration *m, VFIOUserMigState to)
{
    Error *err = NULL;
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    vfio_user_migration_finish_chunk_locked(m);
    ret = vfio_user_mig_set_state(&m->d, to, &err);
    if (ret == 0) {
        return;
    }
    m->save.error = ret;
    if (m->save.active) {
        vfio_user_migration_failed(m, ret, err);
    } else if (migration_is_lost(m)) {
        error_free(err);
    } else {
        error_report_err(err);
    }
}

void vfio_user_migration_follow_vm_locked(VFIOUserMigration *m, bool running)
{
    vfio_user_mig_assert_locked(&m->lock);
    if (running && m->save.active && m->d.state == VFIO_USER_MIG_STOP_COPY) {
        m->save.restart = true;
    }
    if (running) {
        run_locked(m);
    } else {
        stop_locked(m, m->save.active && m->d.state == VFIO_USER_MIG_PRE_COPY ?
                       VFIO_USER_MIG_STOP_COPY : VFIO_USER_MIG_STOP);
        m->d.udev->ops->drain_irqs(m->d.udev);
    }
    m->vm_running = running;
    resume_saving_locked(m);
    vfio_user_migration_mirror_locked(m);
}

bool vfio_user_migration_is_idle_locked(VFIOUserMigration *m)
{
    vfio_user_mig_assert_locked(&m->lock);
    return m->d.state == VFIO_USER_MIG_STOP ||
           m->d.state == VFIO_USER_MIG_RESUMING;
}

/* The device runs during the reset, as if the VM were continued. */
void vfio_user_migration_reset_stopped(VFIOUserMigration *m)
{
    if (!m->d.udev->reset_pending || migration_is_lost(m)) {
        return;
    }
    vfio_user_mig_lock(&m->lock);
    vfio_user_migration_follow_vm_locked(m, true);
    vfio_user_mig_unlock(&m->lock);
    m->d.udev->ops->reset(m->d.udev);
    vfio_user_container_catch_up(vfio_user_migration_container(m));
    vfio_user_mig_lock(&m->lock);
    vfio_user_migration_follow_vm_locked(m, false);
    vfio_user_mig_unlock(&m->lock);
}

/* QEMU does not detect a stream that lacks a section. */
static void check_loaded(VFIOUserMigration *m)
{
    Error *err = NULL;

    if (m->load.hello && !m->load.ended) {
        error_setg(&err, "the migration stream did not contain the end of the"
                   " device's state");
        vfio_user_proxy_fail(m->proxy, err);
    }
}

/*
 * QEMU may load a device without stopping it, as after a reset from S3, and may
 * not stop one that is created while the VM does not run.  A device in ERROR
 * must be reset before it can be saved.  If saving has failed, nothing is tried
 * again until the VM continues.
 */
static bool is_as_vm_locked(VFIOUserMigration *m, bool running)
{
    vfio_user_mig_assert_locked(&m->lock);
    if (running) {
        return !vfio_user_migration_is_idle_locked(m);
    }
    return (m->save.active && m->save.error < 0) ||
           (m->d.state != VFIO_USER_MIG_RUNNING &&
            m->d.state != VFIO_USER_MIG_ERROR);
}

static void migration_vm_changed(void *opaque, bool running, RunState state)
{
    VFIOUserMigration *m = opaque;

    VFIO_USER_BUDGET_GUARD(m->proxy, VFIO_USER_BUDGET_MIG_STATE);
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    if (running) {
        check_loaded(m);
        /* first, because the device may write before the server replies */
        vfio_user_container_allow_writes(vfio_user_migration_container(m));
    }
    if (!migration_is_lost(m) &&
        (m->vm_running != running || !is_as_vm_locked(m, running))) {
        /* a device that stops now has been running, at least after a reset */
        vfio_user_container_allow_writes(vfio_user_migration_container(m));
        trace_vfio_user_mig_vm(vfio_user_proxy_name(m->proxy), running,
                               RunState_str(state));
        vfio_user_migration_follow_vm_locked(m, running);
    }
}

/*
 * Called before QEMU syncs the dirty bitmap of a stopped VM; later writes of
 * the device may be lost.  A VM stop that still waits for the vCPUs, without
 * the big QEMU lock, has not stopped devices yet.  A postponed reset makes the
 * device run once more, and so does v1's path from STOP to STOP_COPY.
 */
static void stop_before_sync(VFIOUserMigration *m)
{
    VFIO_USER_BUDGET_GUARD(m->proxy, VFIO_USER_BUDGET_MIG_STATE);

    migration_vm_changed(m, false, runstate_get());
    if (m->d.udev->reset_pending) {
        vfio_user_container_allow_writes(vfio_user_migration_container(m));
        vfio_user_migration_reset_stopped(m);
    }
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    if (m->save.active && m->save.error == 0 && !migration_is_lost(m) &&
        vfio_user_migration_is_idle_locked(m)) {
        stop_locked(m, VFIO_USER_MIG_STOP_COPY);
        vfio_user_migration_mirror_locked(m);
        mark_unrecorded(m);
    }
}

static int before_sync(NotifierWithReturn *notifier, void *data, Error **errp)
{
    VFIOUserMigration *m = container_of(notifier, VFIOUserMigration,
                                        sync_notifier);
    PrecopyNotifyData *notify = data;

    if (notify->reason == PRECOPY_NOTIFY_BEFORE_BITMAP_SYNC &&
        !vfio_user_devices_run()) {
        stop_before_sync(m);
    }
    return 0;
}

void vfio_user_migration_begin_reset(VFIOUserMigration *m)
{
    if (m) {
        vfio_user_mig_lock(&m->lock);
    }
}

static void follow_reset_locked(VFIOUserMigration *m)
{
    VFIOUserMigState before = m->d.state;

    vfio_user_mig_assert_locked(&m->lock);
    vfio_user_migration_drop_chunk_locked(m);
    vfio_user_mig_ask_state(&m->d, NULL);
    /* libvfio-user stays in PRE_COPY, but the data sent so far is outdated */
    if (m->d.state == VFIO_USER_MIG_PRE_COPY) {
        run_locked(m);
    }
    if (m->d.state != before) {
        m->save.restart = m->save.active;
        /* the VM may not run yet */
        if (before == VFIO_USER_MIG_STOP) {
            stop_locked(m, VFIO_USER_MIG_STOP);
        }
    }
    resume_saving_locked(m);
    vfio_user_migration_mirror_locked(m);
}

void vfio_user_migration_finish_reset(VFIOUserMigration *m)
{
    if (m) {
        if (!migration_is_lost(m)) {
            follow_reset_locked(m);
        }
        vfio_user_mig_unlock(&m->lock);
    }
}

/* Life cycle */

/*
 * The section with the END record follows all sections that may still change
 * the server's maps: a server does not allow that after it has loaded and
 * stopped.
 */
static void register_end(VFIOUserMigration *m)
{
    unregister_savevm(NULL, m->end_id, m);
    register_savevm_live(m->end_id, 0, 1, &vfio_user_migration_end_handlers,
                         m);
}

static int migration_changed(NotifierWithReturn *notifier, MigrationEvent *e,
                             Error **errp)
{
    VFIOUserMigration *m = container_of(notifier, VFIOUserMigration, notifier);

    if (e->type == MIG_EVENT_SETUP && !m->gone) {
        m->saving = true;
        vfio_migration_reset_bytes_transferred();
        register_end(m);
    }
    return 0;
}

static char *stream_id(VFIODevice *vbasedev)
{
    g_autofree char *path = vmstate_if_get_id(VMSTATE_IF(vbasedev->dev));

    return g_strdup_printf("%s/vfio", path ?: "vfio-user");
}

/* Must not be called while QEMU iterates over its list of handlers. */
static void unregister_handlers(VFIOUserMigration *m)
{
    migration_remove_notifier(&m->notifier);
    unregister_savevm(NULL, m->end_id, m);
    unregister_savevm(NULL, m->id, m);
}

/* Unplugged devices; owned by the main loop */
static QLIST_HEAD(, VFIOUserMigration) unplugged =
    QLIST_HEAD_INITIALIZER(unplugged);

/*
 * A new device may get the stream ID of an unplugged one that is still
 * registered; QEMU would exit because of the duplicate ID.  No device can be
 * added during an active save, so only QEMU's clean-up of a failed save can be
 * left, which is done here.  Fails if the unplugged device is being loaded.
 */
static bool take_over_id(VFIODevice *vbasedev, Error **errp)
{
    g_autofree char *id = stream_id(vbasedev);
    VFIOUserMigration *m, *next;

    QLIST_FOREACH_SAFE(m, &unplugged, next, next) {
        if (!g_str_equal(m->id, id)) {
            continue;
        }
        if (m->loading) {
            error_setg(errp, "vfio-user %s: the previous device in this place"
                       " is still being loaded", vbasedev->name);
            return false;
        }
        unregister_handlers(m);
        if (m->saving) {
            vfio_user_migration_save_cleanup(m);
        }
    }
    return true;
}

void vfio_user_migration_rename(VFIOUserMigration *m)
{
    if (m) {
        g_autofree char *device = qdev_get_human_name(m->vbasedev->dev);

        g_free(m->name);
        m->name = g_strdup_printf("%s (device %s)", m->vbasedev->name, device);
    }
}

static VFIOUserMigration *new_migration(VFIODevice *vbasedev,
                                        const VFIOUserMigDevice *d,
                                        const VFIOUserMigIdentity *who,
                                        uint64_t flags)
{
    VFIOUserMigration *m = g_new0(VFIOUserMigration, 1);

    m->vbasedev = vbasedev;
    vfio_user_migration_rename(m);
    m->proxy = VFIO_USER_PROXY(object_ref(OBJECT(d->udev->proxy)));
    m->who = *who;
    m->who.version = d->ops->version;
    m->flags = flags;
    m->d = *d;
    m->id = stream_id(vbasedev);
    m->end_id = g_strdup_printf("%s-end", m->id);
    vfio_user_mig_lock_init(&m->lock, m->proxy);
    qemu_mutex_init(&m->ending_lock);
    qemu_cond_init(&m->ended);

    m->common.vbasedev = vbasedev;
    /*
     * hw/vfio migrates several devices only if they cannot access each other
     * while stopped.  vfio-user devices do not access the registers of others.
     */
    m->common.mig_flags = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P;
    m->vm_running = vfio_user_devices_run();
    m->vm_change = qdev_add_vm_change_state_handler(vbasedev->dev,
                                                    migration_vm_changed, NULL,
                                                    m);
    migration_add_notifier(&m->notifier, migration_changed);
    m->sync_notifier.notify = before_sync;
    precopy_add_notifier(&m->sync_notifier);
    register_savevm_live(m->id, VMSTATE_INSTANCE_ID_ANY, 1,
                         &vfio_user_migration_handlers, m);
    register_end(m);
    vbasedev->migration = &m->common;
    return m;
}

/* A server that had other clients may be in any state: start with RUNNING. */
static bool begin_running(VFIOUserMigration *m, Error **errp)
{
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);

    if (vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_RUNNING, errp) < 0) {
        return false;
    }
    vfio_user_migration_mirror_locked(m);
    return true;
}

/*
 * @why_not: why migration is not possible; NULL: the server does not support
 *           it; taken
 */
static bool block_migration(VFIODevice *vbasedev, VFIOUserDevice *udev,
                            Error *why_not, Error **errp)
{
    if (!vfio_user_proxy_check(udev->proxy, errp)) {
        error_free(why_not);
        return false;
    }
    error_setg(&vbasedev->migration_blocker,
               "%s: VFIO device doesn't support migration: %s", vbasedev->name,
               why_not ? error_get_pretty(why_not) :
                         "the server does not support migration");
    error_free(why_not);
    return migrate_add_blocker(&vbasedev->migration_blocker, errp) == 0;
}

/* Fails if the user has already selected an unsupported migration mode. */
static bool block_cpr(VFIOUserMigration *m, VFIODevice *vbasedev, Error **errp)
{
    error_setg(&m->cpr_blocker, "%s: vfio-user devices support migration"
               " mode 'normal' only", vbasedev->name);
    return vfio_user_migration_block_cpr(&m->cpr_blocker, errp) == 0;
}

bool vfio_user_migration_setup(VFIODevice *vbasedev, VFIOUserDevice *udev,
                               const VFIOUserMigIdentity *who,
                               VFIOUserMigration **m, Error **errp)
{
    VFIOUserMigDevice d = { .udev = udev };
    Error *why_not = NULL;
    uint64_t flags;

    *m = NULL;
    if (!vfio_user_mig_find(&d, vbasedev, &flags, &why_not)) {
        return block_migration(vbasedev, udev, why_not, errp);
    }
    if (!take_over_id(vbasedev, errp)) {
        return false;
    }
    *m = new_migration(vbasedev, &d, who, flags);
    if (!block_cpr(*m, vbasedev, errp) || !begin_running(*m, errp)) {
        vfio_user_migration_teardown(vbasedev, *m);
        *m = NULL;
        return false;
    }
    return true;
}

bool vfio_user_migration_is_busy(const VFIOUserMigration *m)
{
    return m && (m->saving || m->loading || m->workers || m->switching);
}

static void replace_proxy(VFIOUserProxy **p, VFIOUserProxy *proxy)
{
    VFIOUserProxy *last = *p;

    *p = VFIO_USER_PROXY(object_ref(OBJECT(proxy)));
    object_unref(OBJECT(last));
}

void vfio_user_migration_use(VFIOUserMigration *m, VFIOUserProxy *proxy)
{
    assert(bql_locked());
    if (m) {
        replace_proxy(&m->proxy, proxy);
        replace_proxy(&m->lock.proxy, proxy);
    }
}

void vfio_user_migration_resume(VFIOUserMigration *m, VFIOUserProxy *proxy)
{
    assert(!vfio_user_migration_is_busy(m));
    vfio_user_migration_use(m, proxy);
    if (!m) {
        return;
    }
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    vfio_user_mig_resume(&m->d, m->vbasedev);
    vfio_user_migration_mirror_locked(m);
}

void vfio_user_migration_follow(VFIOUserMigration *m)
{
    if (!m) {
        return;
    }
    VFIO_USER_BUDGET_GUARD(m->proxy, VFIO_USER_BUDGET_MIG_STATE);
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    vfio_user_mig_ask_state(&m->d, NULL);
    if (vfio_user_devices_run()) {
        run_locked(m);
    } else {
        stop_locked(m, VFIO_USER_MIG_STOP);
    }
    m->vm_running = vfio_user_devices_run();
    vfio_user_migration_mirror_locked(m);
}

bool vfio_user_migration_check_postcopy(VFIOUserMigration *m, Error **errp)
{
    if (vfio_user_migration_check(m, errp) < 0) {
        return false;
    }
    if (!migrate_postcopy_ram() ||
        !vfio_user_container_shares_memory(
            vfio_user_migration_container(m))) {
        return true;
    }
    error_setg(errp, "%s: vfio-user devices do not support postcopy-ram while"
               " they share the VM's memory", m->name);
    error_append_hint(errp, "Use memory with share=off.\n");
    return false;
}

/*
 * Returns the enabled capability that no server supports, or NULL.
 * background-snapshot saves the devices of a running VM; x-colo saves and loads
 * them repeatedly.
 */
static const char *unsupported_capability(void)
{
    return migrate_background_snapshot() ? "background-snapshot" :
           migrate_colo() ? "x-colo" : NULL;
}

/* Saving would fail as well, but after the destination has got a stream. */
static bool check_connected(VFIOUserMigration *m, Error **errp)
{
    g_autofree char *cause = vfio_user_proxy_cause(m->proxy);

    if (cause) {
        error_setg(errp, "%s: a device without a server cannot be saved,"
                   " %s: %s", m->name, m->d.udev->gap.expected ?
                   "unplug it or wait until a server is back" : "unplug it",
                   cause);
    }
    return !cause;
}

/* Snapshots into a block device ignore these capabilities. */
int vfio_user_migration_save_prepare(void *opaque, Error **errp)
{
    VFIOUserMigration *m = opaque;
    const char *unsupported = unsupported_capability();

    if (!m->gone && !check_connected(m, errp)) {
        return -ECONNRESET;
    }
    if (m->switching) {
        error_setg(errp, "%s: the device is being moved to another server",
                   m->name);
        return -EBUSY;
    }
    if (runstate_check(RUN_STATE_SAVE_VM)) {
        return 0;
    }
    if (unsupported) {
        error_setg(errp, "%s: vfio-user devices do not support %s", m->name,
                   unsupported);
        return -EOPNOTSUPP;
    }
    if (!vfio_user_migration_has_ended(m)) {
        error_setg(errp, "%s: the server has not replied since the last"
                   " migration ended", m->name);
        return -EBUSY;
    }
    m->prepared = vfio_user_migration_check_postcopy(m, errp);
    return m->prepared ? 0 : -EOPNOTSUPP;
}

/*
 * Whether this is the migration thread.  Only that thread may access QEMU's
 * MigrationState at any time: when QEMU quits, the migration ends before other
 * threads do.
 */
static __thread bool is_migration_thread;

void vfio_user_migration_set_thread(void)
{
    is_migration_thread = migration_thread_is_self();
}

bool vfio_user_migration_is_cancelled(void)
{
    return is_migration_thread &&
           qatomic_read(&migrate_get_current()->state) ==
           MIGRATION_STATUS_CANCELLING;
}

unsigned vfio_user_migration_version(const VFIOUserMigration *m)
{
    return m->d.ops->version;
}

static void free_migration(VFIOUserMigration *m)
{
    if (m->gone) {
        QLIST_REMOVE(m, next);
    }
    unregister_handlers(m);
    g_queue_clear_full(&m->save.rest, (GDestroyNotify)vfio_user_mig_piece_free);
    vfio_user_mig_close_window(&m->d);
    vfio_user_mig_lock_destroy(&m->lock);
    qemu_cond_destroy(&m->ended);
    qemu_mutex_destroy(&m->ending_lock);
    object_unref(OBJECT(m->proxy));
    g_free(m->load.buffer);
    g_free(m->name);
    g_free(m->id);
    g_free(m->end_id);
    g_free(m);
}

/*
 * Whether QEMU may still call the handlers.  If a prepared migration does not
 * start, QEMU ends it without calling a handler.
 */
static bool handlers_in_use(VFIOUserMigration *m)
{
    return m->saving || m->loading || (m->prepared && migration_is_running());
}

void vfio_user_migration_hold(VFIOUserMigration *m)
{
    m->workers++;
}

void vfio_user_migration_release(VFIOUserMigration *m)
{
    m->workers--;
    if (m->gone && !m->workers && !handlers_in_use(m)) {
        free_migration(m);
    }
}

static void worker_done(void *opaque)
{
    vfio_user_migration_release(opaque);
}

void vfio_user_migration_start_worker(VFIOUserMigration *m,
                                      VFIOUserWork *work)
{
    vfio_user_migration_hold(m);
    vfio_user_worker_start("vfio-user-mig", work, worker_done, m);
}

static void unregister_later(void *opaque)
{
    unregister_handlers(opaque);
    worker_done(opaque);
}

/* Uses a bottom half, because QEMU iterates over its list of handlers now. */
static void unregister_if_gone(VFIOUserMigration *m)
{
    if (m->gone) {
        vfio_user_migration_hold(m);
        aio_bh_schedule_oneshot(qemu_get_aio_context(), unregister_later, m);
    }
}

void vfio_user_migration_saved(VFIOUserMigration *m)
{
    m->prepared = m->saving = false;
    unregister_if_gone(m);
}

void vfio_user_migration_loaded(VFIOUserMigration *m)
{
    m->loading = false;
    unregister_if_gone(m);
}

int vfio_user_migration_check(VFIOUserMigration *m, Error **errp)
{
    if (qatomic_read(&m->gone)) {
        error_setg(errp, "the device was unplugged");
        return -ENODEV;
    }
    return 0;
}

/*
 * Ends the stream immediately, because the next call of a handler may be far
 * away.  An error alone would leave the stream open: the destination would wait
 * for more data, and the multifd threads would wait for the destination.
 */
static void end_stream(void)
{
    MigrationState *s = migrate_get_current();

    migration_file_set_error(-ENODEV, NULL);
    WITH_QEMU_LOCK_GUARD(&s->qemu_file_lock) {
        if (s->to_dst_file) {
            qemu_file_shutdown(s->to_dst_file);
        }
    }
}

/*
 * Keeps @m while QEMU may still use it.  Waits for a call of the migration
 * thread, within the budget of the unplug: the server may use memory until it
 * has answered DMA_UNMAP, so the connection must not fail before.
 *
 * Once all of the device was sent, the destination has it, or even runs the
 * VM: the migration must not fail any more.
 */
static void keep_unplugged(VFIOUserMigration *m)
{
    Error *err = NULL;

    if (m->saving && !m->save.ended) {
        error_setg(&err, "the device was unplugged while it was saved");
        vfio_user_migration_failed(m, -ENODEV, err);
        end_stream();
    }
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    QLIST_INSERT_HEAD(&unplugged, m, next);
    qatomic_set(&m->gone, true);
    m->d.udev = NULL;
    m->vbasedev = NULL;
}

void vfio_user_migration_teardown(VFIODevice *vbasedev, VFIOUserMigration *m)
{
    if (m) {
        vbasedev->migration = NULL;
        migrate_del_blocker(&m->cpr_blocker);
        qemu_del_vm_change_state_handler(m->vm_change);
        precopy_remove_notifier(&m->sync_notifier);
        if (!handlers_in_use(m)) {
            unregister_handlers(m);
        }
        if (handlers_in_use(m) || m->workers) {
            keep_unplugged(m);
        } else {
            free_migration(m);
        }
    }
    migrate_del_blocker(&vbasedev->migration_blocker);
}
