/*
 * vfio-user migration: a device is saved
 *
 * In PRE_COPY while the VM runs, where the server can do that, and in
 * STOP_COPY once it has stopped; then what QEMU knows of the device.  Each
 * read of the server is a record of the stream.
 *
 * Threads: the migration thread, with the big QEMU lock once the VM stands
 * still; the main loop for snapshots.  A failure fails the migration, and the
 * VM goes on here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "io/channel-buffer.h"
#include "migration/migration.h"
#include "migration/qemu-file.h"
#include "migration/ram.h"
#include "system/runstate.h"
#include "hw/vfio/user/migration-internal.h"
#include "trace.h"

/* Reads of the server in one turn of the migration thread. */
#define READS_PER_TURN 16

/* As often as the VM's memory, a server may give without coming to an end. */
#define ENDLESS_FACTOR 4
/* In a snapshot, that and as many bytes; a read counts as so many at least. */
#define ENDLESS_LEAST (1 * GiB)
#define SMALL_READ (64 * KiB)

int vfio_user_migration_put(VFIOUserMigration *m, QEMUFile *f,
                            VFIOUserMigRecord record, const void *payload,
                            size_t size)
{
    return vfio_user_mig_put(f, &m->save.position, record, payload, size);
}

/* Tells why the migration ends; returns @ret. */
static int failed(VFIOUserMigration *m, int ret, Error *err)
{
    error_reportf_err(err, "%s: saving the device failed, the VM stays here: ",
                      m->vbasedev->name);
    return ret;
}

static int end_section(VFIOUserMigration *m, QEMUFile *f)
{
    return vfio_user_migration_put(m, f, VFIO_USER_MIG_SECTION_END, NULL, 0);
}

static int set_state(VFIOUserMigration *m, VFIOUserMigState to)
{
    Error *err = NULL;
    int ret = vfio_user_mig_set_state(&m->d, to, &err);

    vfio_user_migration_mirror(m);
    return ret < 0 ? failed(m, ret, err) : 0;
}

/* One read: how many bytes it brought, 0 at the end, or -errno. */
static int save_some(VFIOUserMigration *m, QEMUFile *f,
                     VFIOUserMigPiece *piece)
{
    Error *err = NULL;
    int ret = m->d.ops->read(&m->d, piece, &err);

    if (ret < 0) {
        return failed(m, ret, err);
    }
    trace_vfio_user_mig_save(vfio_user_proxy_name(m->d.udev->proxy),
                             vfio_user_mig_state_name(m->d.state),
                             piece->size);
    if (piece->size) {
        ret = vfio_user_migration_put(m, f, piece->more ? VFIO_USER_MIG_PART :
                                                          VFIO_USER_MIG_DATA,
                                      piece->data, piece->size);
        if (ret < 0) {
            return ret;
        }
        vfio_migration_add_bytes_transferred(piece->size);
    }
    vfio_user_proxy_reuse(m->d.udev->proxy, &piece->call);
    return piece->size;
}

/* Begins the stream anew where what was sent is void. */
static int restart(VFIOUserMigration *m, QEMUFile *f)
{
    int ret;

    if (!m->save.restart) {
        return 0;
    }
    ret = vfio_user_migration_put(m, f, VFIO_USER_MIG_RESTART, NULL, 0);
    if (ret == 0 && m->flags & VFIO_USER_MIG_HAS_PRE_COPY &&
        m->d.state == VFIO_USER_MIG_RUNNING) {
        ret = set_state(m, VFIO_USER_MIG_PRE_COPY);
    }
    m->save.restart = ret < 0;
    m->save.backlog = (VFIOUserMigBacklog) { };
    return ret;
}

static int begin_pre_copy(VFIOUserMigration *m, Error **errp)
{
    int ret = vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_PRE_COPY, errp);

    vfio_user_migration_mirror(m);
    return ret;
}

static int save_setup_locked(VFIOUserMigration *m, QEMUFile *f, Error **errp)
{
    int ret = 0;

    memset(&m->save, 0, sizeof(m->save));
    m->save.active = true;
    m->save.ack_wanted = true;
    m->d.ask = 0;
    if (m->d.uncertain) {
        vfio_user_mig_ask_state(&m->d, NULL);
    }
    vfio_user_migration_mirror(m);
    vfio_user_mig_begin_put(f, &m->save.position, &m->who);
    if (m->flags & VFIO_USER_MIG_HAS_PRE_COPY &&
        m->d.state == VFIO_USER_MIG_RUNNING && m->vm_running) {
        ret = begin_pre_copy(m, errp);
    }
    if (ret == 0) {
        ret = end_section(m, f);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "cannot write to the stream");
        }
    }
    return ret;
}

int vfio_user_migration_save_setup(QEMUFile *f, void *opaque, Error **errp)
{
    ERRP_GUARD();
    VFIOUserMigration *m = opaque;
    int ret = -ECONNRESET;

    if (vfio_user_proxy_check(m->d.udev->proxy, errp)) {
        QEMU_LOCK_GUARD(&m->lock);
        ret = save_setup_locked(m, f, errp);
    }
    if (ret < 0) {
        error_prepend(errp, "%s: saving the device failed, the VM stays here:"
                      " ", m->vbasedev->name);
    }
    return ret;
}

bool vfio_user_migration_is_active_iterate(void *opaque)
{
    VFIOUserMigration *m = opaque;

    return m->flags & VFIO_USER_MIG_HAS_PRE_COPY;
}

/* A failure shows in the next turn: QEMU is told that there is one to come. */
static uint64_t pre_copy_pending(VFIOUserMigration *m, uint64_t threshold)
{
    uint64_t bytes;
    Error *err = NULL;
    int ret;

    if (!m->d.ops->pending || m->save.backlog.endless) {
        return vfio_user_mig_backlog_pending(&m->save.backlog, threshold);
    }
    if (m->save.error == 0) {
        ret = m->d.ops->pending(&m->d, &bytes, &err);
        if (ret == 0) {
            return bytes;
        }
        m->save.error = failed(m, ret, err);
    }
    return MAX(threshold, VFIO_USER_MIG_UNKNOWN);
}

uint64_t vfio_user_migration_pending(VFIOUserMigration *m)
{
    const VFIOUserMigBacklog nothing_yet = { };
    /* QEMU stops the VM for as many; its own thread asks, and sets it */
    uint64_t threshold = migrate_get_current()->threshold_size + 1;
    uint64_t bytes = 0;

    QEMU_LOCK_GUARD(&m->lock);
    if (m->d.state == VFIO_USER_MIG_PRE_COPY) {
        bytes = pre_copy_pending(m, threshold);
    } else if (m->save.restart && m->flags & VFIO_USER_MIG_HAS_PRE_COPY &&
               m->d.state == VFIO_USER_MIG_RUNNING) {
        bytes = vfio_user_mig_backlog_pending(&nothing_yet, threshold);
    }
    trace_vfio_user_mig_pending(vfio_user_proxy_name(m->d.udev->proxy), bytes,
                                threshold);
    return bytes;
}

/* Whether there is to be another read after @n of them. */
static bool goes_on(VFIOUserMigration *m, QEMUFile *f, unsigned n,
                    const VFIOUserMigTurn *turn)
{
    return !turn->ended && m->d.state == VFIO_USER_MIG_PRE_COPY &&
           n < READS_PER_TURN && !migration_rate_exceeded(f) &&
           !qatomic_read(&m->wanted);
}

/*
 * A few reads in PRE_COPY.  A chunk is read to its end, as a change of the
 * state would void the rest.
 */
static int save_turn(VFIOUserMigration *m, QEMUFile *f)
{
    uint64_t limit = ENDLESS_FACTOR * ram_bytes_total();
    VFIOUserMigTurn turn = { };
    bool more = false;
    unsigned n;

    for (n = 0; more || goes_on(m, f, n, &turn); n++) {
        g_auto(VFIOUserMigPiece) piece = { };
        int got = save_some(m, f, &piece);

        if (got < 0) {
            return got;
        }
        more = piece.more;
        turn.bytes += got;
        turn.ended = !got;
        turn.short_reads += piece.is_short;
    }
    if (n && vfio_user_mig_backlog_turn(&m->save.backlog, &turn, limit)) {
        warn_report("%s: saving the running device did not converge after"
                    " %" PRIu64 " bytes; the rest is saved while the VM is"
                    " stopped", m->vbasedev->name,
                    m->save.backlog.since);
    }
    return 0;
}

int vfio_user_migration_save_iterate(QEMUFile *f, void *opaque)
{
    VFIOUserMigration *m = opaque;
    int ret;

    QEMU_LOCK_GUARD(&m->lock);
    ret = m->save.error;
    if (ret == 0) {
        ret = restart(m, f);
    }
    if (ret == 0) {
        ret = save_turn(m, f);
    }
    if (ret == 0) {
        ret = end_section(m, f);
    }
    return ret < 0 ? ret : m->d.state != VFIO_USER_MIG_PRE_COPY ||
                           !m->save.backlog.more;
}

static int begin_stop_copy(VFIOUserMigration *m, QEMUFile *f)
{
    int ret;

    QEMU_LOCK_GUARD(&m->lock);
    ret = m->save.error;
    if (ret < 0) {
        return ret;
    }
    ret = restart(m, f);
    return ret < 0 ? ret : set_state(m, VFIO_USER_MIG_STOP_COPY);
}

/* As save_some(), unless something else has happened to the device. */
static int save_more(VFIOUserMigration *m, QEMUFile *f)
{
    g_auto(VFIOUserMigPiece) piece = { };
    Error *err = NULL;

    QEMU_LOCK_GUARD(&m->lock);
    if (m->save.restart || m->d.state != VFIO_USER_MIG_STOP_COPY ||
        m->d.udev->reset_pending) {
        error_setg(&err, "it was reset while it was saved");
        return failed(m, -EIO, err);
    }
    return save_some(m, f, &piece);
}

void vfio_user_migration_let_monitor_in(int64_t *since)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);

    if (now - *since >= MONITOR_WAITS_MS &&
        runstate_check(RUN_STATE_FINISH_MIGRATE)) {
        bql_unlock();
        g_usleep(MONITOR_TURN_US);
        bql_lock();
        *since = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    }
}

/*
 * A migration can be cancelled.  A snapshot cannot: it ends where a server has
 * given more than any device has, or as many bytes in very many small reads.
 */
static bool is_endless(VFIOUserMigration *m, uint64_t *cost, int got)
{
    Error *err = NULL;

    *cost += MAX(got, SMALL_READ);
    if (runstate_check(RUN_STATE_FINISH_MIGRATE) ||
        *cost < ENDLESS_FACTOR * ram_bytes_total() + ENDLESS_LEAST) {
        return false;
    }
    error_setg(&err, "its state did not end");
    failed(m, -EFBIG, err);
    return true;
}

static int save_stopped(VFIOUserMigration *m, QEMUFile *f)
{
    int ret = begin_stop_copy(m, f);
    uint64_t cost = 0;

    if (ret < 0) {
        return ret;
    }
    while ((ret = save_more(m, f)) > 0) {
        if (is_endless(m, &cost, ret)) {
            return -EFBIG;
        }
        vfio_user_migration_let_monitor_in(&m->monitor_ms);
        ret = qemu_file_get_error(f);
        if (ret < 0) {
            return ret;         /* cancelled, or nobody listens any more */
        }
    }
    QEMU_LOCK_GUARD(&m->lock);
    if (ret == 0) {
        ret = set_state(m, VFIO_USER_MIG_STOP);
    }
    return ret < 0 ? ret : end_section(m, f);
}

int vfio_user_migration_save_complete(QEMUFile *f, void *opaque)
{
    VFIOUserMigration *m = opaque;
    int ret;

    /* the server was waited for to stop */
    vfio_user_migration_let_monitor_in(&m->monitor_ms);
    vfio_user_migration_reset_stopped(m);
    ret = save_stopped(m, f);
    if (ret < 0) {
        /* it will be to run again */
        vfio_user_migration_let_monitor_in(&m->monitor_ms);
    }
    m->save.complete = ret == 0;
    return ret;
}

void vfio_user_migration_save_config(QEMUFile *f, void *opaque)
{
    VFIOUserMigration *m = opaque;
    VFIODevice *vbasedev = m->vbasedev;
    g_autoptr(QIOChannelBuffer) buffer = qio_channel_buffer_new(4 * KiB);
    QEMUFile *to = qemu_file_new_output(QIO_CHANNEL(buffer));
    Error *err = NULL;
    int ret = vbasedev->ops->vfio_save_config(vbasedev, to, &err);

    qemu_fflush(to);
    if (ret < 0) {
        qemu_file_set_error(f, failed(m, ret, err));
    } else if (buffer->usage > VFIO_USER_MIG_MAX_RECORD) {
        error_report("%s: %zu bytes of configuration are too many to save",
                     vbasedev->name, buffer->usage);
        qemu_file_set_error(f, -E2BIG);
    } else {
        vfio_user_migration_put(m, f, VFIO_USER_MIG_CONFIG, buffer->data,
                                buffer->usage);
        end_section(m, f);
    }
    qemu_fclose(to);
}

void vfio_user_migration_save_end(QEMUFile *f, void *opaque)
{
    VFIOUserMigration *m = opaque;

    vfio_user_migration_put(m, f, VFIO_USER_MIG_END, NULL, 0);
    end_section(m, f);
}

/* However it ended: the device is again where the VM is. */
void vfio_user_migration_save_cleanup(void *opaque)
{
    VFIOUserMigration *m = opaque;

    vfio_user_migration_lock(m);
    m->save.active = false;
    if (vfio_user_proxy_state(m->d.udev->proxy) == VFIO_USER_UP) {
        vfio_user_migration_follow_vm(m, runstate_is_running());
    }
    qemu_mutex_unlock(&m->lock);
}
