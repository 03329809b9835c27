/*
 * vfio-user migration: loading a device
 *
 * The stream is not trusted: the head of each record is checked before its
 * payload is sent to the server.  The first error ends the load; an incoming
 * migration then ends QEMU.
 *
 * Threads: the main loop, usually in the coroutine that reads the stream.  The
 * coroutine yields while a thread of QEMU's pool calls the server, with the
 * device's lock and without the big QEMU lock.  A snapshot is loaded without a
 * coroutine, so the main loop waits.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/units.h"
#include "io/channel-buffer.h"
#include "migration/qemu-file.h"
#include "system/runstate.h"
#include "hw/vfio/user/migration-internal.h"
#include "trace.h"

/* Most bytes of a record that are sent at a time. */
#define PIECE (256 * KiB)

/* Calls to the server */

/* A series of calls.  @run returns 0, or -errno with @errp set. */
typedef struct Step Step;
struct Step {
    int (*run)(VFIOUserMigration *m, const Step *step, Error **errp);
    VFIOUserMigState to;        /* for enter */
    size_t size;                /* for write_data: bytes in the buffer */
    bool more;                  /* for write_data: the chunk continues */

    VFIOUserMigration *m;
    Error *err;
};

static int run_step(void *opaque)
{
    Step *step = opaque;
    VFIOUserMigration *m = step->m;
    int ret;

    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    ret = vfio_user_migration_check(m, &step->err);
    if (ret == 0) {
        ret = step->run(m, step, &step->err);
    }
    if (ret < 0) {
        vfio_user_mig_drop_writes(&m->d.writes, m->proxy);
    }
    return ret;
}

/* Fails if the device was unplugged meanwhile. */
static int load_call_server(VFIOUserMigration *m, Step step, Error **errp)
{
    int ret;

    step.m = m;
    ret = qemu_in_coroutine() ? vfio_user_worker_run(run_step, &step)
                              : run_step(&step);
    error_propagate(errp, step.err);
    return ret < 0 ? ret : vfio_user_migration_check(m, errp);
}

static int enter(VFIOUserMigration *m, const Step *step, Error **errp)
{
    int ret = vfio_user_mig_set_state(&m->d, step->to, errp);

    vfio_user_migration_mirror_locked(m);
    return ret;
}

static int load_set_state(VFIOUserMigration *m, VFIOUserMigState to,
                          Error **errp)
{
    return load_call_server(m, (Step) { enter, .to = to }, errp);
}

/*
 * Enters RESUMING anew: the data of another server, or of a stream that ended
 * early, may be there.  After a reset, libvfio-user still reports RESUMING, but
 * the device may have left it, and libvfio-user informs the device only about a
 * change.  So change to STOP first.  A server that kept the data so far, and
 * finds it incomplete, goes to ERROR; RESUMING is entered from there, too.
 */
static int enter_resuming(VFIOUserMigration *m, Error **errp)
{
    Error *err = NULL;
    int ret = m->d.state == VFIO_USER_MIG_RESUMING
              ? load_set_state(m, VFIO_USER_MIG_STOP, &err) : 0;

    if (ret < 0 && (m->gone || m->d.state != VFIO_USER_MIG_ERROR)) {
        error_propagate(errp, err);
        return ret;
    }
    error_free(err);
    return load_set_state(m, VFIO_USER_MIG_RESUMING, errp);
}

/*
 * A postponed reset must precede the loaded state.  After RESUMING was entered,
 * the switchover can be acknowledged.
 */
static int begin(VFIOUserMigration *m, Error **errp)
{
    int ret = enter_resuming(m, errp);

    if (ret == 0 && m->d.udev->reset_pending) {
        m->d.udev->ops->reset(m->d.udev);
        ret = enter_resuming(m, errp);
    }
    if (ret < 0) {
        return ret;
    }
    ret = vfio_user_migration_approve(m);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot acknowledge the switchover");
    }
    return ret;
}

static int load_reset(VFIOUserMigration *m, const Step *step, Error **errp)
{
    /* a server without that discards the data when it enters RESUMING */
    if (m->d.udev->can_reset &&
        vfio_user_device_reset(m->d.udev, errp) < 0) {
        return -EIO;
    }
    return vfio_user_mig_ask_state(&m->d, errp);
}

/* The data written so far is void: a reset discards it. */
static int begin_again(VFIOUserMigration *m, Error **errp)
{
    int ret;

    m->load.partial = false;
    ret = load_call_server(m, (Step) { load_reset }, errp);
    return ret < 0 ? ret : enter_resuming(m, errp);
}

static int write_data(VFIOUserMigration *m, const Step *step, Error **errp)
{
    const uint8_t *data = m->load.buffer;
    size_t left = step->size;

    while (left) {
        int ret = m->d.ops->write(&m->d, data, left, step->more, errp);

        if (ret < 0) {
            return ret;
        }
        data += ret;
        left -= ret;
    }
    return 0;
}

static int finish_writes(VFIOUserMigration *m, const Step *step, Error **errp)
{
    return vfio_user_mig_finish_writes(&m->d.writes, m->proxy, errp);
}

static int load_data(VFIOUserMigration *m, QEMUFile *f,
                     const VFIOUserMigHead *head, Error **errp)
{
    size_t left = head->size;
    int ret = 0;

    m->load.partial = head->record == VFIO_USER_MIG_PART;
    while (ret == 0 && left) {
        size_t size = MIN(left, PIECE);

        if (!vfio_user_mig_get_payload(f, m->load.buffer, size, errp)) {
            return -EINVAL;
        }
        left -= size;
        ret = load_call_server(m, (Step) {
            write_data, .size = size, .more = left || m->load.partial
        }, errp);
    }
    return ret;
}

static int load_config_record(VFIOUserMigration *m, const void *bytes,
                              size_t size, Error **errp)
{
    VFIODevice *vbasedev = m->vbasedev;
    /* one byte more, because vmstate code peeks for subsections */
    g_autoptr(QIOChannelBuffer) buffer = qio_channel_buffer_new(size + 1);
    QEMUFile *from;
    int ret;

    memcpy(buffer->data, bytes, size);
    buffer->data[size] = 0;
    buffer->usage = size + 1;
    from = qemu_file_new_input(QIO_CHANNEL(buffer));
    ret = vbasedev->ops->vfio_load_config(vbasedev, from);
    qemu_fclose(from);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot load the configuration of the"
                         " device");
    }
    return ret;
}

static int load_end(VFIOUserMigration *m, Error **errp)
{
    if (m->load.partial) {
        error_setg(errp, "the stream ends in the middle of a chunk of data");
        return -EINVAL;
    }
    m->load.ended = true;
    return load_set_state(m, m->d.ops->loaded, errp);
}

/* Handles a record without server data, after all writes have finished. */
static int load_control_record(VFIOUserMigration *m,
                               const VFIOUserMigHead *head, Error **errp)
{
    const uint8_t *payload = m->load.buffer;
    int ret = m->d.writes.length ? load_call_server(m, (Step) { finish_writes },
                                                    errp) : 0;

    if (ret < 0) {
        return ret;
    }
    switch (head->record) {
    case VFIO_USER_MIG_HELLO:
        m->load.hello = true;
        return vfio_user_mig_check_hello(&m->who, payload, errp) ?
               begin(m, errp) : -EINVAL;
    case VFIO_USER_MIG_RESTART:
        return begin_again(m, errp);
    case VFIO_USER_MIG_CONFIG:
        return load_config_record(m, payload, head->size, errp);
    case VFIO_USER_MIG_END:
        return load_end(m, errp);
    default:
        return 0;
    }
}

/* @head: checked, including the order of records */
static int load_payload(VFIOUserMigration *m, QEMUFile *f,
                        const VFIOUserMigHead *head, Error **errp)
{
    int ret;

    if (head->record == VFIO_USER_MIG_PART ||
        head->record == VFIO_USER_MIG_DATA) {
        return load_data(m, f, head, errp);
    }
    if (!vfio_user_mig_get_payload(f, m->load.buffer, head->size, errp)) {
        return -EINVAL;
    }
    ret = vfio_user_migration_check(m, errp);
    return ret < 0 ? ret : load_control_record(m, head, errp);
}

/* Returns 1, 0 at the end of the section, or -errno. */
static int load_record(VFIOUserMigration *m, QEMUFile *f, Error **errp)
{
    VFIOUserMigHead head;
    int ret;

    if (!vfio_user_mig_get(f, &m->load.position, &head, errp)) {
        return -EINVAL;
    }
    trace_vfio_user_mig_load(vfio_user_proxy_name(m->proxy),
                             vfio_user_mig_record_name(head.record),
                             head.size);
    if ((head.record == VFIO_USER_MIG_HELLO) == m->load.hello) {
        error_setg(errp, "the stream %s", m->load.hello ?
                   "has a second record HELLO" :
                   "does not begin with a record HELLO");
        return -EINVAL;
    }
    ret = load_payload(m, f, &head, errp);
    return ret < 0 ? ret : head.record != VFIO_USER_MIG_SECTION_END;
}

/* Reports @err, or makes it the reason of a failed incoming migration. */
static void load_failed(VFIOUserMigration *m, Error *err)
{
    error_prepend(&err, "%s: loading the device failed: ", m->name);
    if (runstate_check(RUN_STATE_INMIGRATE)) {
        vfio_user_migration_set_reason(err);
    } else {
        error_report_err(err);
    }
}

bool vfio_user_migration_is_loading(const VFIOUserMigration *m)
{
    return m && m->loading && !m->load.ended;
}

int vfio_user_migration_load_setup(QEMUFile *f, void *opaque, Error **errp)
{
    ERRP_GUARD();
    VFIOUserMigration *m = opaque;

    if (!vfio_user_migration_check_postcopy(m, errp)) {
        /* some versions of QEMU report the error but do not store it */
        vfio_user_migration_set_reason(error_copy(*errp));
        return -EOPNOTSUPP;
    }
    if (m->vbasedev) {
        vfio_user_mig_renew_window(&m->d, m->vbasedev);
    }
    m->loading = true;
    m->load.hello = m->load.ended = m->load.partial = false;
    if (!m->load.buffer) {
        m->load.buffer = g_malloc(VFIO_USER_MIG_MAX_RECORD);
    }
    return 0;
}

int vfio_user_migration_load_state(QEMUFile *f, void *opaque, int version)
{
    VFIOUserMigration *m = opaque;
    Error *err = NULL;
    int ret = 0;

    VFIO_USER_BUDGET_GUARD(m->proxy, VFIO_USER_BUDGET_MIG_DATA);
    if (!m->load.hello && !vfio_user_mig_begin_get(f, &m->load.position,
                                                   &err)) {
        ret = -EINVAL;
    }
    if (ret == 0) {
        do {
            ret = load_record(m, f, &err);
        } while (ret > 0);
    }
    if (ret < 0) {
        load_failed(m, err);
    }
    return ret;
}

static int drop_writes(void *opaque)
{
    VFIOUserMigration *m = opaque;

    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    vfio_user_mig_drop_writes(&m->d.writes, m->proxy);
    return 0;
}

/* After an error in the stream, writes may still be in flight. */
int vfio_user_migration_load_cleanup(void *opaque)
{
    VFIOUserMigration *m = opaque;

    if (m->d.writes.length) {
        vfio_user_migration_start_worker(m, drop_writes);
    }
    g_clear_pointer(&m->load.buffer, g_free);
    vfio_user_migration_loaded(m);
    return 0;
}
