/*
 * vfio-user migration: set-up, and a device that follows its VM
 *
 * When the VM stops, the device stops, to be saved if the VM migrates; when
 * the VM runs, so does the device.  A server that cannot get its device to run
 * loses it.
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
    /* for all we know, it writes to memory */
    m->common.device_state = unknown ? VFIO_DEVICE_STATE_RUNNING :
                                       (uint32_t)m->d.state;
}

static bool is_lost(VFIOUserMigration *m)
{
    return vfio_user_proxy_state(m->proxy) != VFIO_USER_UP;
}

/* Once more after the first failure, which may have led to ERROR. */
int vfio_user_migration_run_locked(VFIOUserMigration *m, Error **errp)
{
    Error *err = NULL;
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    ret = vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_RUNNING, &err);
    if (ret < 0 && ret != -ETIMEDOUT && !is_lost(m)) {
        error_report_err(err);
        err = NULL;
        ret = vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_RUNNING, &err);
    }
    error_propagate(errp, err);
    return ret;
}

/* With the big QEMU lock: a call that is late has failed the connection. */
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
 * Servers with migration v1 may keep their record of dirty pages in states
 * that save only: what the device wrote until now counts as dirty.
 */
static void mark_unrecorded(VFIOUserMigration *m)
{
    if (m->d.ops->version == 1) {
        vfio_user_container_mark(vfio_user_migration_container(m));
    }
}

/* A device that runs while the VM is saved is in PRE_COPY, if it knows that. */
static void save_on_locked(VFIOUserMigration *m)
{
    Error *err = NULL;
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    if (!m->save.active || m->save.error || is_lost(m) ||
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
    } else if (is_lost(m)) {
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
    save_on_locked(m);
    vfio_user_migration_mirror_locked(m);
}

bool vfio_user_migration_is_idle_locked(VFIOUserMigration *m)
{
    vfio_user_mig_assert_locked(&m->lock);
    return m->d.state == VFIO_USER_MIG_STOP ||
           m->d.state == VFIO_USER_MIG_RESUMING;
}

/* It runs for that long, as where the VM is continued. */
void vfio_user_migration_reset_stopped(VFIOUserMigration *m)
{
    if (!m->d.udev->reset_pending || is_lost(m)) {
        return;
    }
    vfio_user_mig_lock(&m->lock);
    vfio_user_migration_follow_vm_locked(m, true);
    vfio_user_mig_unlock(&m->lock);
    m->d.udev->ops->reset(m->d.udev);
    vfio_user_mig_lock(&m->lock);
    vfio_user_migration_follow_vm_locked(m, false);
    vfio_user_mig_unlock(&m->lock);
}

/* QEMU does not notice a stream that lacks a section. */
static void check_loaded(VFIOUserMigration *m)
{
    Error *err = NULL;

    if (m->load.hello && !m->load.ended) {
        error_setg(&err, "the VM was loaded from a stream without the end of"
                   " the device's state");
        vfio_user_proxy_fail(m->proxy, err);
    }
}

static void vm_state_changed(void *opaque, bool running, RunState state)
{
    VFIOUserMigration *m = opaque;

    VFIO_USER_BUDGET_GUARD(m->proxy, VFIO_USER_BUDGET_MIG_STATE);
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    if (running) {
        check_loaded(m);
        /* first, since the device may write before its server answers */
        vfio_user_container_allow_writes(vfio_user_migration_container(m));
    }
    /* QEMU loads devices that it told of no stop, as after a reset out of S3 */
    if (!is_lost(m) && (m->vm_running != running ||
                        (running && vfio_user_migration_is_idle_locked(m)))) {
        trace_vfio_user_mig_vm(vfio_user_proxy_name(m->proxy), running,
                               RunState_str(state));
        vfio_user_migration_follow_vm_locked(m, running);
    }
}

/*
 * QEMU looks for dirty pages of a stopped VM: what the device writes from then
 * on may be lost.  A stop that still waits for the processors, without the big
 * QEMU lock, has told no device yet, and a reset that was put off lets the
 * device run once more, as does v1's way from STOP to STOP_COPY.
 */
static void stand_still(VFIOUserMigration *m)
{
    VFIO_USER_BUDGET_GUARD(m->proxy, VFIO_USER_BUDGET_MIG_STATE);

    vm_state_changed(m, false, runstate_get());
    if (m->d.udev->reset_pending) {
        vfio_user_container_allow_writes(vfio_user_migration_container(m));
        vfio_user_migration_reset_stopped(m);
    }
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    if (m->save.active && m->save.error == 0 && !is_lost(m) &&
        vfio_user_migration_is_idle_locked(m)) {
        stop_locked(m, VFIO_USER_MIG_STOP_COPY);
        vfio_user_migration_mirror_locked(m);
        mark_unrecorded(m);
    }
}

static int before_look(NotifierWithReturn *notifier, void *data, Error **errp)
{
    VFIOUserMigration *m = container_of(notifier, VFIOUserMigration,
                                        look_notifier);
    PrecopyNotifyData *look = data;

    if (look->reason == PRECOPY_NOTIFY_BEFORE_BITMAP_SYNC &&
        !vfio_user_devices_run()) {
        stand_still(m);
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
    /* libvfio-user stays in PRE_COPY; what was sent is from before the reset */
    if (m->d.state == VFIO_USER_MIG_PRE_COPY) {
        run_locked(m);
    }
    if (m->d.state != before) {
        m->save.restart = m->save.active;
        /* a VM that has not begun to run yet leaves it as it is */
        if (before == VFIO_USER_MIG_STOP) {
            stop_locked(m, VFIO_USER_MIG_STOP);
        }
    }
    save_on_locked(m);
    vfio_user_migration_mirror_locked(m);
}

void vfio_user_migration_finish_reset(VFIOUserMigration *m)
{
    if (m) {
        if (!is_lost(m)) {
            follow_reset_locked(m);
        }
        vfio_user_mig_unlock(&m->lock);
    }
}

/* Life */

/*
 * Its end comes behind all that may still change the server's maps, which a
 * server does not let happen any more once it has loaded and stopped.
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

/* Not while QEMU goes over its list of them */
static void forget_handlers(VFIOUserMigration *m)
{
    migration_remove_notifier(&m->notifier);
    unregister_savevm(NULL, m->end_id, m);
    unregister_savevm(NULL, m->id, m);
}

/* Of devices that were unplugged; the main loop's */
static QLIST_HEAD(, VFIOUserMigration) left_behind =
    QLIST_HEAD_INITIALIZER(left_behind);

/*
 * Another device may come where one was, and be called the same in QEMU's
 * stream, which ends QEMU.  It may not while a VM is saved: of the one that has
 * failed, QEMU's clean-up is all that is left.  But what loads is looked at.
 */
static bool take_place(VFIODevice *vbasedev, Error **errp)
{
    g_autofree char *id = stream_id(vbasedev);
    VFIOUserMigration *m, *next;

    QLIST_FOREACH_SAFE(m, &left_behind, next, next) {
        if (!g_str_equal(m->id, id)) {
            continue;
        }
        if (m->loading) {
            error_setg(errp, "vfio-user %s: the device that was in its place is"
                       " still being loaded", vbasedev->name);
            return false;
        }
        forget_handlers(m);
        if (m->saving) {
            vfio_user_migration_save_cleanup(m);
        }
    }
    return true;
}

static VFIOUserMigration *new_migration(VFIODevice *vbasedev,
                                        const VFIOUserMigDevice *d,
                                        const VFIOUserMigIdentity *who,
                                        uint64_t flags)
{
    VFIOUserMigration *m = g_new0(VFIOUserMigration, 1);
    g_autofree char *device = qdev_get_human_name(vbasedev->dev);

    m->vbasedev = vbasedev;
    m->proxy = VFIO_USER_PROXY(object_ref(OBJECT(d->udev->proxy)));
    m->name = g_strdup_printf("%s (device %s)", vbasedev->name, device);
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
     * hw/vfio migrates no two devices of which one may access the other while
     * it is stopped.  Ours do not know the registers of other devices.
     */
    m->common.mig_flags = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P;
    m->vm_running = vfio_user_devices_run();
    m->vm_change = qdev_add_vm_change_state_handler(vbasedev->dev,
                                                    vm_state_changed, NULL, m);
    migration_add_notifier(&m->notifier, migration_changed);
    m->look_notifier.notify = before_look;
    precopy_add_notifier(&m->look_notifier);
    register_savevm_live(m->id, VMSTATE_INSTANCE_ID_ANY, 1,
                         &vfio_user_migration_handlers, m);
    register_end(m);
    vbasedev->migration = &m->common;
    return m;
}

/* A server may have served others: what it has left is no state to be in. */
static bool begin_running(VFIOUserMigration *m, Error **errp)
{
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);

    if (vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_RUNNING, errp) < 0) {
        return false;
    }
    vfio_user_migration_mirror_locked(m);
    return true;
}

/* Takes @why_not: what speaks against migration; NULL: the server has none. */
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
                         "the device has no migration");
    error_free(why_not);
    return migrate_add_blocker(&vbasedev->migration_blocker, errp) == 0;
}

/* Fails where the user wants a mode that the device does not migrate in. */
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
    if (!take_place(vbasedev, errp)) {
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
 * The capability that is set and that no server can do, or NULL: one saves the
 * devices of a VM that runs, the other saves and loads them again and again.
 */
static const char *unable_to(void)
{
    return migrate_background_snapshot() ? "background-snapshot" :
           migrate_colo() ? "x-colo" : NULL;
}

/* A snapshot into a block device knows none of these, whatever is set. */
int vfio_user_migration_save_prepare(void *opaque, Error **errp)
{
    VFIOUserMigration *m = opaque;
    const char *unable = unable_to();

    if (runstate_check(RUN_STATE_SAVE_VM)) {
        return 0;
    }
    if (unable) {
        error_setg(errp, "%s: vfio-user devices do not support %s", m->name,
                   unable);
        return -EOPNOTSUPP;
    }
    if (!vfio_user_migration_has_ended(m)) {
        error_setg(errp, "%s: the server has not answered since the last"
                   " migration ended", m->name);
        return -EBUSY;
    }
    m->prepared = vfio_user_migration_check_postcopy(m, errp);
    return m->prepared ? 0 : -EOPNOTSUPP;
}

/*
 * Whether this is the thread of a migration.  Only that one may look at QEMU's
 * migration at any time: when QEMU quits, it ends before other threads do.
 */
static __thread bool migrates;

void vfio_user_migration_set_thread(void)
{
    migrates = migration_thread_is_self();
}

bool vfio_user_migration_is_cancelled(void)
{
    return migrates &&
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
    forget_handlers(m);
    g_queue_clear_full(&m->save.rest, (GDestroyNotify)vfio_user_mig_piece_free);
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
 * Whether QEMU may still call the handlers.  A migration that has been prepared
 * and then does not begin ends without a word.
 */
static bool is_called(VFIOUserMigration *m)
{
    return m->saving || m->loading || (m->prepared && migration_is_running());
}

static void worker_done(void *opaque)
{
    VFIOUserMigration *m = opaque;

    m->workers--;
    if (m->gone && !m->workers && !is_called(m)) {
        free_migration(m);
    }
}

void vfio_user_migration_start_worker(VFIOUserMigration *m,
                                      VFIOUserMigWork *work)
{
    m->workers++;
    vfio_user_mig_worker_start(work, worker_done, m);
}

static void forget(void *opaque)
{
    forget_handlers(opaque);
    worker_done(opaque);
}

/* QEMU goes over its list of handlers now. */
static void forget_if_gone(VFIOUserMigration *m)
{
    if (m->gone) {
        m->workers++;
        aio_bh_schedule_oneshot(qemu_get_aio_context(), forget, m);
    }
}

void vfio_user_migration_saved(VFIOUserMigration *m)
{
    m->prepared = m->saving = false;
    forget_if_gone(m);
}

void vfio_user_migration_loaded(VFIOUserMigration *m)
{
    m->loading = false;
    forget_if_gone(m);
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
 * At once: the migration's next turn may be far away.  With an error alone the
 * stream stays open and the destination waits for more of it, and for it the
 * threads of multifd.
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

/* The migration thread's call fails, so that nobody waits for it. */
static void leave_behind(VFIOUserMigration *m)
{
    Error *err = NULL;

    error_setg(&err, "the device was unplugged while it was %s",
               m->loading ? "loaded" : "saved");
    if (m->saving) {
        vfio_user_migration_failed(m, -ENODEV, error_copy(err));
        end_stream();
    }
    vfio_user_proxy_fail(m->proxy, err);
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    QLIST_INSERT_HEAD(&left_behind, m, next);
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
        precopy_remove_notifier(&m->look_notifier);
        if (!is_called(m)) {
            forget_handlers(m);
        }
        if (is_called(m) || m->workers) {
            leave_behind(m);
        } else {
            free_migration(m);
        }
    }
    migrate_del_blocker(&vbasedev->migration_blocker);
}
