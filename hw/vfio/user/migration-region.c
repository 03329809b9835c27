/*
 * vfio-user migration: a device of the first generation
 *
 * Its state goes through a migration region, which hw/vfio/migration.c reads
 * and writes.  What that puts into QEMU's stream says neither whose it is nor
 * whether it is what was sent, and a destination of another generation could
 * not read it; so here it is packed into the records of migration-stream.h.
 * A device that does not run when its VM does is lost.
 *
 * Threads: saving, the migration thread, with the big QEMU lock once the VM
 * stands still, or the main loop for snapshots; loading, the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/vmstate-if.h"
#include "migration/qemu-file.h"
#include "migration/vmstate.h"
#include "sysemu/runstate.h"
#include "hw/vfio/user/migration-channel.h"
#include "hw/vfio/user/migration-internal.h"
#include "hw/vfio/user/migration-region.h"
#include "trace.h"

struct VFIOUserMigRegion {
    VFIODevice *vbasedev;
    VFIOUserDevice *udev;
    VFIOUserMigIdentity who;
    char *id;                   /* of the sections in QEMU's stream */
    VMChangeStateEntry *vm_state;

    struct {
        VFIOUserMigSum sum;
        int64_t since;          /* ms, when the monitor had its turn */
    } save;

    struct {
        bool hello;
        VFIOUserMigSum sum;
        uint8_t *buffer;        /* VFIO_USER_MIG_MAX_RECORD bytes */
    } load;
};

/*
 * Resets that were put off.  Saving and loading a stopped device lead through
 * the state in which it runs, as the specification draws the arcs, so it is
 * reset there.
 */

static int write_state(VFIOUserMigRegion *m, uint32_t state)
{
    VFIOMigration *migration = m->vbasedev->migration;
    int ret = vfio_user_device_io_ops.region_write(m->vbasedev,
                                                   migration->region.nr, 0,
                                                   sizeof(state), &state,
                                                   false);

    if (ret != sizeof(state)) {
        return ret < 0 ? ret : -EIO;
    }
    migration->device_state = state;
    return 0;
}

/* With the big QEMU lock; leaves a device that was reset running. */
static int finish_reset(VFIOUserMigRegion *m)
{
    int ret;

    if (!m->udev->reset_pending) {
        return 0;
    }
    ret = write_state(m, VFIO_DEVICE_STATE_V1_RUNNING);
    if (ret == 0) {
        m->udev->ops->reset(m->udev);
    }
    return ret;
}

/* Of a VM that stands still, and whose device is to be stopped for it. */
static int finish_reset_stopped(VFIOUserMigRegion *m)
{
    int ret = 0;

    qemu_mutex_lock_iothread();
    if (m->udev->reset_pending) {
        ret = finish_reset(m);
        if (ret == 0) {
            ret = write_state(m, VFIO_DEVICE_STATE_V1_STOP);
        }
    }
    qemu_mutex_unlock_iothread();
    return ret;
}

/* Saving */

static void record_put(void *opaque)
{
    VFIOUserMigRegion *m = opaque;

    if (qemu_mutex_iothread_locked()) {
        vfio_user_migration_let_monitor_in(&m->save.since);
    }
}

static void tell_failure(VFIOUserMigRegion *m)
{
    error_report("%s: saving the device failed, the VM stays here",
                 m->vbasedev->name);
}

/* A file for what hw/vfio/migration.c writes in one section. */
static QEMUFile *begin_section(VFIOUserMigRegion *m, QEMUFile *f)
{
    VFIOUserMigChannel *channel = vfio_user_mig_channel_new(f, &m->save.sum);
    QEMUFile *section = qemu_file_new_output(QIO_CHANNEL(channel));

    channel->put = record_put;
    channel->opaque = m;
    object_unref(OBJECT(channel));
    m->save.since = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    return section;
}

/* @ret: of what has written the section; returns it, or the first error. */
static int end_section(VFIOUserMigRegion *m, QEMUFile *f, QEMUFile *section,
                       int ret)
{
    int closed = qemu_fclose(section);

    if (ret >= 0 && closed < 0) {
        ret = closed;
    }
    trace_vfio_user_mig_section(vfio_user_proxy_name(m->udev->proxy),
                                m->save.sum.bytes, ret);
    if (ret >= 0) {
        int put = vfio_user_mig_put(f, &m->save.sum, VFIO_USER_MIG_SECTION_END,
                                    NULL, 0);

        return put < 0 ? put : ret;
    }
    /* cancelled, or nobody listens: that is told elsewhere */
    if (!qemu_file_get_error(f)) {
        tell_failure(m);
    }
    return ret;
}

static int save_setup(QEMUFile *f, void *opaque)
{
    VFIOUserMigRegion *m = opaque;
    QEMUFile *section;
    Error *err = NULL;
    int ret;

    if (!vfio_user_proxy_check(m->udev->proxy, &err)) {
        error_reportf_err(err, "%s: saving the device failed, the VM stays"
                          " here: ", m->vbasedev->name);
        return -ECONNRESET;
    }
    ret = finish_reset_stopped(m);
    if (ret < 0) {
        tell_failure(m);
        return ret;
    }
    vfio_reset_bytes_transferred();
    m->save.sum = (VFIOUserMigSum) { };
    vfio_user_mig_put_beginning(f, &m->save.sum, &m->who);
    section = begin_section(m, f);
    return end_section(m, f, section,
                       vfio_migration_handlers.save_setup(section,
                                                          m->vbasedev));
}

static void save_pending(QEMUFile *f, void *opaque, uint64_t threshold,
                         uint64_t *precopy, uint64_t *compatible,
                         uint64_t *postcopy)
{
    VFIOUserMigRegion *m = opaque;
    int before = qemu_file_get_error(f);

    vfio_migration_handlers.save_live_pending(f, m->vbasedev, threshold,
                                              precopy, compatible, postcopy);
    if (!before && qemu_file_get_error(f)) {
        tell_failure(m);
    }
}

static int save_iterate(QEMUFile *f, void *opaque)
{
    VFIOUserMigRegion *m = opaque;
    QEMUFile *section = begin_section(m, f);
    int ret = vfio_migration_handlers.save_live_iterate(section, m->vbasedev);

    return end_section(m, f, section, ret);
}

static int save_complete(QEMUFile *f, void *opaque)
{
    VFIOUserMigRegion *m = opaque;
    QEMUFile *section = begin_section(m, f);
    int ret = vfio_migration_handlers.save_live_complete_precopy(section,
                                                                 m->vbasedev);

    /* the data that the destination has by now cannot be taken back */
    if (ret >= 0 && m->udev->reset_pending) {
        error_report("%s: it was reset while it was saved",
                     m->vbasedev->name);
        ret = -EIO;
    }
    return end_section(m, f, section, ret);
}

static void save_config(QEMUFile *f, void *opaque)
{
    VFIOUserMigRegion *m = opaque;
    QEMUFile *section = begin_section(m, f);
    int ret;

    vfio_migration_handlers.save_state(section, m->vbasedev);
    ret = end_section(m, f, section, 0);
    if (ret < 0) {
        qemu_file_set_error(f, ret);
    }
}

static void save_cleanup(void *opaque)
{
    VFIOUserMigRegion *m = opaque;

    vfio_migration_handlers.save_cleanup(m->vbasedev);
}

/* Loading */

static int load_setup(QEMUFile *f, void *opaque)
{
    VFIOUserMigRegion *m = opaque;
    int ret = finish_reset(m);

    if (ret < 0) {
        return ret;
    }
    m->load.hello = false;
    m->load.sum = (VFIOUserMigSum) { };
    if (!m->load.buffer) {
        m->load.buffer = g_malloc(VFIO_USER_MIG_MAX_RECORD);
    }
    return vfio_migration_handlers.load_setup(f, m->vbasedev);
}

static bool take_hello(VFIOUserMigRegion *m, QEMUFile *f, Error **errp)
{
    VFIOUserMigHead head;

    if (!vfio_user_mig_check_magic(qemu_get_be64(f), errp) ||
        !vfio_user_mig_get(f, &m->load.sum, &head, m->load.buffer, errp)) {
        return false;
    }
    if (head.record != VFIO_USER_MIG_HELLO) {
        error_setg(errp, "the stream says not first who the device is");
        return false;
    }
    m->load.hello = true;
    return vfio_user_mig_check_hello(&m->who, m->load.buffer, errp);
}

/* What has kept hw/vfio/migration.c from reading on. */
static void set_read_error(QEMUFile *section, Error **errp)
{
    qemu_file_get_error_obj(section, errp);
    if (!*errp) {
        error_setg(errp, "a section ends in the middle of the device's state");
    }
}

/* Nothing must be left of a section that has been loaded. */
static bool is_at_end(VFIOUserMigChannel *channel, QEMUFile *section,
                      Error **errp)
{
    qemu_get_byte(section);
    if (!qemu_file_get_error(section)) {
        error_setg(errp, "a section has more than the device's state");
        return false;
    }
    if (channel->ended) {
        return true;
    }
    set_read_error(section, errp);
    return false;
}

static int load_section(VFIOUserMigRegion *m, QEMUFile *f, int version,
                        Error **errp)
{
    VFIOUserMigChannel *channel = vfio_user_mig_channel_new(f, &m->load.sum);
    QEMUFile *section;
    int ret = -EINVAL;

    channel->buffer = m->load.buffer;
    section = qemu_file_new_input(QIO_CHANNEL(channel));
    if (vfio_user_mig_channel_fill(channel, errp)) {
        trace_vfio_user_mig_load(vfio_user_proxy_name(m->udev->proxy),
                                 VFIO_USER_MIG_DATA, channel->size);
        ret = vfio_migration_handlers.load_state(section, m->vbasedev,
                                                 version);
        if (qemu_file_get_error(section)) {
            set_read_error(section, errp);
            ret = -EINVAL;
        } else if (ret == 0 && !is_at_end(channel, section, errp)) {
            ret = -EINVAL;
        }
    }
    qemu_fclose(section);
    object_unref(OBJECT(channel));
    return ret;
}

static int load_state(QEMUFile *f, void *opaque, int version)
{
    VFIOUserMigRegion *m = opaque;
    Error *err = NULL;
    int ret;

    if (!m->load.hello && !take_hello(m, f, &err)) {
        ret = -EINVAL;
    } else {
        ret = load_section(m, f, version, &err);
    }
    if (err) {
        error_reportf_err(err, "%s: loading the device failed: ",
                          m->vbasedev->name);
    } else if (ret < 0) {
        error_report("%s: loading the device failed", m->vbasedev->name);
    }
    return ret;
}

static int load_cleanup(void *opaque)
{
    VFIOUserMigRegion *m = opaque;

    g_clear_pointer(&m->load.buffer, g_free);
    return vfio_migration_handlers.load_cleanup(m->vbasedev);
}

static const SaveVMHandlers handlers = {
    .save_setup = save_setup,
    .save_live_pending = save_pending,
    .save_live_iterate = save_iterate,
    .save_live_complete_precopy = save_complete,
    .save_state = save_config,
    .save_cleanup = save_cleanup,
    .load_setup = load_setup,
    .load_state = load_state,
    .load_cleanup = load_cleanup,
};

/* Life */

/*
 * hw/vfio/migration.c has told the device to run, behind which this comes.  A
 * server that did not say yes may have done it; one that did not loses its
 * device, which the guest would find standing still.
 */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    VFIOUserMigRegion *m = opaque;
    VFIOMigration *migration = m->vbasedev->migration;
    uint32_t is = 0;
    Error *err = NULL;

    if (!running || migration->device_state & VFIO_DEVICE_STATE_V1_RUNNING ||
        vfio_user_proxy_state(m->udev->proxy) != VFIO_USER_UP) {
        return;
    }
    if (vfio_user_device_io_ops.region_read(m->vbasedev, migration->region.nr,
                                            0, sizeof(is), &is) == sizeof(is) &&
        is == VFIO_DEVICE_STATE_V1_RUNNING) {
        migration->device_state = is;
        return;
    }
    error_setg(&err, "the VM runs, and the server does not let its device run"
               " (state 0x%x)", is);
    vfio_user_proxy_fail(m->udev->proxy, err);
}

VFIOUserMigRegion *vfio_user_mig_region_new(VFIODevice *vbasedev,
                                            VFIOUserDevice *udev,
                                            const VFIOUserMigIdentity *who)
{
    VMStateIf *owner = VMSTATE_IF(vbasedev->dev);
    g_autofree char *path = vmstate_if_get_id(owner);
    VFIOUserMigRegion *m = g_new0(VFIOUserMigRegion, 1);

    m->vbasedev = vbasedev;
    m->udev = udev;
    m->who = *who;
    m->who.generation = 1;
    m->id = g_strdup_printf("%s/vfio", path ?: "vfio-user");
    m->vm_state = qdev_add_vm_change_state_handler(vbasedev->dev,
                                                   vm_state_changed, m);
    unregister_savevm(owner, "vfio", vbasedev);
    register_savevm_live(m->id, VMSTATE_INSTANCE_ID_ANY, 1, &handlers, m);
    return m;
}

void vfio_user_mig_region_free(VFIOUserMigRegion *m)
{
    if (m) {
        unregister_savevm(NULL, m->id, m);
        qemu_del_vm_change_state_handler(m->vm_state);
        g_free(m->load.buffer);
        g_free(m->id);
        g_free(m);
    }
}
