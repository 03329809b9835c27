/*
 * vfio-user migration: saving a device
 *
 * The device is saved in PRE_COPY while the VM runs, if the server supports
 * that, and in STOP_COPY after the VM has stopped; QEMU's own state of the
 * device follows.  Each read becomes a record of the stream.  Data is read from
 * the server with the device's lock; the stream is written without that lock.
 *
 * Threads: the migration thread, with the big QEMU lock during the set-up and
 * after the VM has stopped; the main loop for snapshots.  An error fails the
 * migration, and the VM continues on the source.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "io/channel-buffer.h"
#include "migration/migration.h"
#include "migration/qemu-file.h"
#include "migration/ram.h"
#include "system/runstate.h"
#include "hw/vfio/user/migration-internal.h"
#include "trace.h"

/* Most reads in one turn of the migration thread. */
#define READS_PER_TURN 16

/* Most bytes without an end, as a multiple of the VM's memory. */
#define ENDLESS_FACTOR 4
/* While the VM is stopped: bytes added to that limit; least cost of a read. */
#define ENDLESS_LEAST (1 * GiB)
#define SMALL_READ (64 * KiB)

/* Attempts to set the device to RUNNING while no other thread waits for it. */
#define PATIENCE VFIO_USER_BUDGET_MIG_STATE
/* How long the clean-up waits (not noticeable), and the next migration, ms */
#define PROMPT_MS 50
#define PATIENT_MS 1000

/* Most bytes of a chunk that are kept in memory because the VM stops. */
#define MAX_REST (64 * MiB)

int vfio_user_migration_put(VFIOUserMigration *m, QEMUFile *f,
                            VFIOUserMigRecord record, const void *payload,
                            size_t size)
{
    return vfio_user_mig_put(f, &m->save.position, record, payload, size);
}

static void prepend_save_failed(VFIOUserMigration *m, Error **errp)
{
    error_prepend(errp, "%s: saving the device failed, the VM stays here: ",
                  m->name);
}

int vfio_user_migration_failed(VFIOUserMigration *m, int ret, Error *err)
{
    if (vfio_user_migration_is_cancelled()) {
        error_free(err);        /* the user cancelled: not an error */
        return ret;
    }
    prepend_save_failed(m, &err);
    if (m->saving) {
        vfio_user_migration_set_reason(err);
    } else {
        error_report_err(err);
    }
    return ret;
}

static int end_section(VFIOUserMigration *m, QEMUFile *f)
{
    return vfio_user_migration_put(m, f, VFIO_USER_MIG_SECTION_END, NULL, 0);
}

/* Fails if the device was unplugged or if saving has already failed. */
static int check_locked(VFIOUserMigration *m)
{
    Error *err = NULL;
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    ret = vfio_user_migration_check(m, &err);
    if (ret < 0) {
        return vfio_user_migration_failed(m, ret, err);
    }
    if (m->save.error == 0 &&
        vfio_user_iova_refused(&vfio_user_migration_container(m)->iova)) {
        error_setg(&err, "the server asked to write to memory (DMA_WRITE)"
                   " after it had stopped the device");
        m->save.error = vfio_user_migration_failed(m, -EIO, err);
    }
    return m->save.error;
}

static int set_state_locked(VFIOUserMigration *m, VFIOUserMigState to)
{
    Error *err = NULL;
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    ret = vfio_user_mig_set_state(&m->d, to, &err);
    vfio_user_migration_mirror_locked(m);
    return ret < 0 ? vfio_user_migration_failed(m, ret, err) : 0;
}

/* Pieces of the state */

/* Reads the next piece into @piece.  Returns 0 or -errno. */
static int read_locked(VFIOUserMigration *m, VFIOUserMigPiece **piece)
{
    g_autoptr(VFIOUserMigPiece) next = g_steal_pointer(&m->save.ahead) ?:
                                       g_new0(VFIOUserMigPiece, 1);
    Error *err = NULL;
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    ret = m->d.ops->read(&m->d, next, &err);
    if (ret < 0) {
        return vfio_user_migration_failed(m, ret, err);
    }
    m->save.more = next->more;
    trace_vfio_user_mig_save(vfio_user_proxy_name(m->proxy),
                             vfio_user_mig_state_name(m->d.state), next->size);
    *piece = g_steal_pointer(&next);
    return 0;
}

/*
 * Begins to read the next piece, so that the server sends it while the stream
 * is written.  The state may change meanwhile: the server processes the read
 * first.
 */
static int read_ahead_locked(VFIOUserMigration *m)
{
    g_autoptr(VFIOUserMigPiece) next = g_new0(VFIOUserMigPiece, 1);
    Error *err = NULL;
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    ret = m->d.ops->begin_read(&m->d, next, &err);
    if (ret < 0) {
        return vfio_user_migration_failed(m, ret, err);
    }
    if (next->begun) {
        m->save.ahead = g_steal_pointer(&next);
    }
    return 0;
}

static void drop_ahead_locked(VFIOUserMigration *m)
{
    g_autoptr(VFIOUserMigPiece) ahead = g_steal_pointer(&m->save.ahead);

    vfio_user_mig_assert_locked(&m->lock);
    if (ahead) {
        ahead->begun = false;
        vfio_user_proxy_finish(m->proxy, &ahead->call, NULL);
    }
}

static int put_piece(VFIOUserMigration *m, QEMUFile *f,
                     VFIOUserMigPiece *piece)
{
    int ret = 0;

    if (piece->size) {
        ret = vfio_user_migration_put(m, f, piece->more ? VFIO_USER_MIG_PART :
                                                          VFIO_USER_MIG_DATA,
                                      piece->data, piece->size);
    }
    if (ret == 0) {
        vfio_migration_add_bytes_transferred(piece->size);
        vfio_user_proxy_reuse(m->proxy, &piece->call);
    }
    return ret;
}

void vfio_user_migration_finish_chunk_locked(VFIOUserMigration *m)
{
    VFIOUserMigPiece *piece = NULL;
    Error *err = NULL;

    vfio_user_mig_assert_locked(&m->lock);
    while (m->save.active && m->save.more && m->save.error == 0) {
        m->save.error = read_locked(m, &piece);
        if (m->save.error == 0) {
            m->save.rest_size += piece->size;
            g_queue_push_tail(&m->save.rest, piece);
        }
        if (m->save.rest_size > MAX_REST) {
            error_setg(&err, "it was stopped in the middle of a chunk of its"
                       " state, and the rest of the chunk is too large");
            m->save.error = vfio_user_migration_failed(m, -EFBIG, err);
        }
    }
}

void vfio_user_migration_drop_chunk_locked(VFIOUserMigration *m)
{
    vfio_user_mig_assert_locked(&m->lock);
    m->save.more = false;
    drop_ahead_locked(m);
    g_queue_clear_full(&m->save.rest,
                       (GDestroyNotify)vfio_user_mig_piece_free);
}

/* Begin */

/* Returns 1 if the data sent so far is void, else 0 or -errno. */
static int restart_locked(VFIOUserMigration *m)
{
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    ret = check_locked(m);
    if (ret < 0 || !m->save.restart) {
        return ret;
    }
    vfio_user_migration_drop_chunk_locked(m);
    m->save.restart = false;
    return 1;
}

/* Restarts the device's stream if the data sent so far is void. */
static int restart(VFIOUserMigration *m, QEMUFile *f)
{
    int ret;

    vfio_user_mig_lock(&m->lock);
    ret = restart_locked(m);
    vfio_user_mig_unlock(&m->lock);
    if (ret <= 0) {
        return ret;
    }
    m->save.backlog = (VFIOUserMigBacklog) { };
    return vfio_user_migration_put(m, f, VFIO_USER_MIG_RESTART, NULL, 0);
}

/*
 * Changes the device to a saving state, before the first page is sent: a device
 * with migration v1 that was stopped or loaded has to pass through RUNNING.
 */
static int tell_server_locked(VFIOUserMigration *m, Error **errp)
{
    int ret = 0;

    vfio_user_mig_assert_locked(&m->lock);
    m->save.told =
        !vfio_user_container_start_pending(vfio_user_migration_container(m));
    if (m->d.uncertain) {
        vfio_user_mig_ask_state(&m->d, NULL);
    }
    if (m->flags & VFIO_USER_MIG_HAS_PRE_COPY &&
        m->d.state == VFIO_USER_MIG_RUNNING && m->vm_running) {
        ret = vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_PRE_COPY, errp);
    } else if (vfio_user_migration_is_idle_locked(m) && !m->vm_running) {
        ret = vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_STOP_COPY, errp);
    }
    vfio_user_migration_mirror_locked(m);
    return ret;
}

static int begin_saving_locked(VFIOUserMigration *m, Error **errp)
{
    vfio_user_mig_assert_locked(&m->lock);
    vfio_user_migration_drop_chunk_locked(m);
    memset(&m->save, 0, sizeof(m->save));
    vfio_user_iova_thaw(&vfio_user_migration_container(m)->iova);
    m->save.active = true;
    m->save.ack_wanted = true;
    m->d.ask = 0;
    return m->vm_running ? 0 : tell_server_locked(m, errp);
}

static int begin_saving(VFIOUserMigration *m, Error **errp)
{
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    int ret = vfio_user_migration_check(m, errp);

    if (ret < 0) {
        return ret;
    }
    if (!vfio_user_proxy_check(m->proxy, errp)) {
        return -ECONNRESET;
    }
    vfio_user_mig_renew_window(&m->d, m->vbasedev);
    return begin_saving_locked(m, errp);
}

/*
 * Called with the big QEMU lock even if the VM runs.  If it runs, the server is
 * not called here, but in the first dirty page sync.
 */
int vfio_user_migration_save_setup(QEMUFile *f, void *opaque, Error **errp)
{
    ERRP_GUARD();
    VFIOUserMigration *m = opaque;
    int ret;

    vfio_user_migration_set_thread();
    VFIO_USER_BUDGET_GUARD(m->proxy, VFIO_USER_BUDGET_MIG_STATE);
    ret = begin_saving(m, errp);
    if (ret == 0) {
        vfio_user_mig_begin_put(f, &m->save.position, &m->who);
        ret = end_section(m, f);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "cannot write to the stream");
        }
    }
    if (ret < 0) {
        prepend_save_failed(m, errp);
        qemu_file_set_error(f, ret);    /* do not send what was written */
    }
    return ret;
}

/* In PRE_COPY */

bool vfio_user_migration_is_active_iterate(void *opaque)
{
    VFIOUserMigration *m = opaque;

    /* after a failure or unplug, the next turn returns the error */
    return qatomic_read(&m->gone) || qatomic_read(&m->save.error) ||
           m->flags & VFIO_USER_MIG_HAS_PRE_COPY;
}

/* After a failure, makes QEMU call the next turn, which returns the error. */
static uint64_t pending_locked(VFIOUserMigration *m, uint64_t threshold)
{
    uint64_t bytes;
    Error *err = NULL;
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    if (!m->d.ops->pending || m->save.backlog.endless) {
        return vfio_user_mig_backlog_pending(&m->save.backlog, threshold);
    }
    ret = m->d.ops->pending(&m->d, &bytes, &err);
    if (ret == 0) {
        return bytes;
    }
    m->save.error = vfio_user_migration_failed(m, ret, err);
    return MAX(threshold, VFIO_USER_MIG_UNKNOWN);
}

static int sync_locked(VFIOUserMigration *m, const VFIOUserLiveSync *sync,
                       Error **errp)
{
    int ret;

    vfio_user_mig_assert_locked(&m->lock);
    ret = vfio_user_container_live_sync(vfio_user_migration_container(m), sync,
                                        errp);
    if (ret == 0 && !m->save.told) {
        ret = tell_server_locked(m, errp);
    }
    return ret;
}

static void sync_with_server(VFIOUserMigration *m,
                             const VFIOUserLiveSync *sync)
{
    Error *err = NULL;
    int ret;

    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    if (m->gone || m->save.error < 0) {
        return;
    }
    ret = sync_locked(m, sync, &err);
    if (ret < 0) {
        m->save.error = vfio_user_migration_failed(m, ret, err);
    }
}

/*
 * Syncs dirty pages while the VM runs.  The server is called without the big
 * QEMU lock, the first time also to change to a saving state.
 */
static void sync_dirty(VFIOUserMigration *m)
{
    g_auto(VFIOUserLiveSync) sync = { };

    bql_lock();
    if (!m->gone) {
        vfio_user_container_prepare_live_sync(vfio_user_migration_container(m),
                                              &sync);
    }
    bql_unlock();
    sync_with_server(m, &sync);
    bql_lock();
    if (!m->gone) {
        vfio_user_container_finish_live_sync(vfio_user_migration_container(m),
                                             &sync);
    }
    bql_unlock();
}

static uint64_t save_pending(VFIOUserMigration *m, uint64_t threshold)
{
    const VFIOUserMigBacklog nothing_yet = { };

    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    if (m->save.ended) {
        return 0;               /* QEMU asks in postcopy, too */
    }
    if (m->gone || m->save.error < 0) {
        return MAX(threshold, VFIO_USER_MIG_UNKNOWN);
    }
    if (m->d.state != VFIO_USER_MIG_PRE_COPY) {
        return 0;
    }
    return m->save.restart ?
           vfio_user_mig_backlog_pending(&nothing_yet, threshold) :
           pending_locked(m, threshold);
}

/* Whether so little is left that QEMU is about to sync dirty pages itself. */
static bool is_about_to_sync(uint64_t bytes, uint64_t threshold)
{
    return ram_bytes_remaining() + bytes < threshold;
}

uint64_t vfio_user_migration_pending(VFIOUserMigration *m, bool exact)
{
    /* QEMU does not stop the VM for this many; only this thread changes it */
    uint64_t threshold = migrate_get_current()->threshold_size + 1;
    bool may_sync = !exact && !bql_locked();
    uint64_t bytes;

    if (may_sync && !m->save.told) {
        sync_dirty(m);
    }
    bytes = save_pending(m, threshold);
    if (may_sync && is_about_to_sync(bytes, threshold)) {
        sync_dirty(m);
        if (qatomic_read(&m->save.error)) {
            bytes = save_pending(m, threshold); /* must not stop the VM */
        }
    }
    trace_vfio_user_mig_pending(vfio_user_proxy_name(m->proxy), bytes,
                                threshold);
    return bytes;
}

/* Whether the turn should continue with another read after @n reads. */
static bool turn_continues_locked(VFIOUserMigration *m, QEMUFile *f, unsigned n,
                                  const VFIOUserMigTurn *turn)
{
    vfio_user_mig_assert_locked(&m->lock);
    if (m->save.restart) {
        return false;           /* the next data is void */
    }
    /* complete the chunk, or the destination cannot load it */
    return m->save.more || (!turn->ended && n < READS_PER_TURN &&
                            m->d.state == VFIO_USER_MIG_PRE_COPY &&
                            !migration_rate_exceeded(f));
}

/* Sets @piece to the turn's next piece, or NULL at its end; 0 or -errno. */
static int save_next_piece(VFIOUserMigration *m, QEMUFile *f, unsigned n,
                           VFIOUserMigTurn *turn, VFIOUserMigPiece **piece)
{
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    int ret = check_locked(m);

    if (ret < 0) {
        return ret;
    }
    *piece = g_queue_pop_head(&m->save.rest);
    if (!*piece && ((m->save.ahead && !m->save.restart) ||
                    turn_continues_locked(m, f, n, turn))) {
        ret = read_locked(m, piece);
    }
    if (*piece) {
        turn->bytes += (*piece)->size;
        turn->ended = !(*piece)->size;
        turn->short_reads += (*piece)->is_short;
    }
    if (ret == 0 && *piece && turn_continues_locked(m, f, n + 1, turn)) {
        ret = read_ahead_locked(m);
    }
    return ret;
}

/* After an error: the stream will not be written any more. */
static int end_turn(VFIOUserMigration *m, int ret)
{
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    /* wait for the read here, without the big QEMU lock */
    drop_ahead_locked(m);
    return ret;
}

/* A series of reads.  Between them the lock is free, so the VM may stop. */
static int save_turn(VFIOUserMigration *m, QEMUFile *f)
{
    uint64_t limit = ENDLESS_FACTOR * ram_bytes_total();
    VFIOUserMigTurn turn = { };
    unsigned n;

    for (n = 0; ; n++) {
        g_autoptr(VFIOUserMigPiece) piece = NULL;
        int ret = save_next_piece(m, f, n, &turn, &piece);

        if (ret == 0 && !piece) {
            break;
        }
        if (ret == 0) {
            ret = put_piece(m, f, piece);
        }
        if (ret < 0) {
            return end_turn(m, ret);
        }
    }
    if (n && vfio_user_mig_backlog_turn(&m->save.backlog, &turn, limit)) {
        warn_report("%s: saving the running device did not converge after"
                    " %" PRIu64 " bytes; the rest is saved while the VM is"
                    " stopped", m->name, m->save.backlog.since);
    }
    return 0;
}

static bool is_in_pre_copy(VFIOUserMigration *m)
{
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    return m->d.state == VFIO_USER_MIG_PRE_COPY;
}

int vfio_user_migration_save_iterate(QEMUFile *f, void *opaque)
{
    VFIOUserMigration *m = opaque;
    int ret = restart(m, f);

    if (ret == 0) {
        ret = save_turn(m, f);
    }
    if (ret == 0) {
        ret = end_section(m, f);
    }
    return ret < 0 ? ret : !is_in_pre_copy(m) || !m->save.backlog.more;
}

/*
 * After the VM has stopped.  The big QEMU lock is held from the last pass over
 * memory to the end of the stream, so that the saved state is consistent.
 */

static int change_state(VFIOUserMigration *m, VFIOUserMigState to)
{
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    return set_state_locked(m, to);
}

static int read_stopped(VFIOUserMigration *m, VFIOUserMigPiece **piece)
{
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    int ret = read_locked(m, piece);

    return ret == 0 && (*piece)->size ? read_ahead_locked(m) : ret;
}

/*
 * Fails if the server does not stop sending data.  @cost is the number of bytes
 * so far; smaller reads count as SMALL_READ.
 */
static int check_end(VFIOUserMigration *m, uint64_t *cost, uint32_t got)
{
    uint64_t limit = ENDLESS_FACTOR * ram_bytes_total() + ENDLESS_LEAST;
    Error *err = NULL;

    *cost += MAX(got, SMALL_READ);
    if (*cost < limit) {
        return 0;
    }
    error_setg(&err, "its state data did not end within %" PRIu64 " MiB, each"
               " read counted as 64 KiB at least", limit / MiB);
    return vfio_user_migration_failed(m, -EFBIG, err);
}

static int save_stopped(VFIOUserMigration *m, QEMUFile *f)
{
    bool ended = false;
    uint64_t cost = 0;
    int ret = 0;

    while (ret == 0 && !ended) {
        g_autoptr(VFIOUserMigPiece) piece = NULL;

        ret = read_stopped(m, &piece);
        if (ret == 0) {
            ended = !piece->size;
            ret = put_piece(m, f, piece);
        }
        if (ret == 0 && !ended) {
            ret = check_end(m, &cost, piece->size);
        }
        if (ret == 0) {
            ret = qemu_file_get_error(f);       /* is the connection lost? */
        }
    }
    return ret;
}

static int check(VFIOUserMigration *m)
{
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    return check_locked(m);
}

int vfio_user_migration_save_complete(QEMUFile *f, void *opaque)
{
    VFIOUserMigration *m = opaque;
    int ret;

    VFIO_USER_BUDGET_GUARD(m->proxy, VFIO_USER_BUDGET_MIG_DATA);
    ret = check(m);
    if (ret < 0) {
        return ret;
    }
    vfio_user_migration_reset_stopped(m);
    ret = restart(m, f);
    if (ret == 0) {
        ret = change_state(m, VFIO_USER_MIG_STOP_COPY);
    }
    if (ret == 0) {
        ret = save_stopped(m, f);
    }
    if (ret == 0) {
        ret = change_state(m, VFIO_USER_MIG_STOP);
    }
    if (ret == 0) {
        ret = end_section(m, f);
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
    int ret = vfio_user_migration_check(m, &err);

    if (ret == 0) {
        ret = vbasedev->ops->vfio_save_config(vbasedev, to, &err);
    }
    qemu_fflush(to);
    if (ret == 0 && buffer->usage > VFIO_USER_MIG_MAX_RECORD) {
        error_setg(&err, "its configuration of %zu bytes is too large",
                   buffer->usage);
        ret = -E2BIG;
    }
    if (ret < 0) {
        qemu_file_set_error(f, vfio_user_migration_failed(m, ret, err));
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
    int ret = check(m);

    if (ret < 0) {
        qemu_file_set_error(f, ret);
        return;
    }
    vfio_user_migration_put(m, f, VFIO_USER_MIG_END, NULL, 0);
    m->save.ended = end_section(m, f) == 0;
}

/* Called when everything was sent, or after a failure for another reason. */
static void warn_of_late_write_locked(VFIOUserMigration *m)
{
    vfio_user_mig_assert_locked(&m->lock);
    if (m->save.error == 0 &&
        vfio_user_iova_refused(&vfio_user_migration_container(m)->iova)) {
        warn_report("%s: the server asked to write to memory (DMA_WRITE) after"
                    " it had stopped the device; the write was rejected",
                    m->name);
    }
}

/* Whether the VM runs and the device must change to RUNNING. */
static bool must_run_locked(VFIOUserMigration *m)
{
    vfio_user_mig_assert_locked(&m->lock);
    return m->vm_running && !m->gone &&
           (m->d.uncertain || m->d.state != VFIO_USER_MIG_RUNNING) &&
           vfio_user_proxy_state(m->proxy) == VFIO_USER_UP;
}

/* One attempt; other threads can get the lock between two attempts. */
static int try_to_run(VFIOUserMigration *m, Error **errp)
{
    int ret = 0;

    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    vfio_user_migration_drop_chunk_locked(m);
    if (must_run_locked(m)) {
        ret = vfio_user_migration_run_locked(m, errp);
        vfio_user_migration_mirror_locked(m);
    }
    return ret;
}

/*
 * In a worker thread: changes the device from PRE_COPY to RUNNING.  The device
 * works in both states, so neither the VM nor any thread waits for this.
 */
static int run_device(void *opaque)
{
    VFIOUserMigration *m = opaque;
    Error *err = NULL;
    int ret = try_to_run(m, &err);

    for (unsigned n = 1; ret == -ETIMEDOUT && n < PATIENCE; n++) {
        error_free(err);
        err = NULL;
        ret = try_to_run(m, &err);
    }
    if (ret < 0) {
        vfio_user_proxy_fail(m->proxy, err);
    }
    WITH_QEMU_LOCK_GUARD(&m->ending_lock) {
        m->ending = false;
        qemu_cond_signal(&m->ended);
    }
    return 0;
}

/* Waits only briefly, for the monitor's sake; most servers reply at once. */
static void start_to_run(VFIOUserMigration *m)
{
    QEMU_LOCK_GUARD(&m->ending_lock);
    m->ending = true;
    vfio_user_migration_start_worker(m, run_device);
    if (m->ending) {
        qemu_cond_timedwait(&m->ended, &m->ending_lock, PROMPT_MS);
    }
}

bool vfio_user_migration_has_ended(VFIOUserMigration *m)
{
    int64_t end = g_get_monotonic_time() +
                  PATIENT_MS * G_TIME_SPAN_MILLISECOND;
    int64_t now;

    QEMU_LOCK_GUARD(&m->ending_lock);
    while (m->ending && (now = g_get_monotonic_time()) < end) {
        qemu_cond_timedwait(&m->ended, &m->ending_lock,
                            DIV_ROUND_UP(end - now, G_TIME_SPAN_MILLISECOND));
    }
    return !m->ending;
}

/*
 * After success or failure: makes the device follow the VM again.  Returns true
 * if a worker must do that.
 */
static bool end_saving(VFIOUserMigration *m)
{
    VFIO_USER_BUDGET_GUARD(m->proxy, VFIO_USER_BUDGET_MIG_STATE);
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);

    m->save.active = false;
    if (!m->gone) {
        warn_of_late_write_locked(m);
    }
    if (vfio_user_devices_run() && must_run_locked(m)) {
        return true;
    }
    vfio_user_migration_drop_chunk_locked(m);
    if (!m->gone && vfio_user_proxy_state(m->proxy) == VFIO_USER_UP) {
        vfio_user_migration_follow_vm_locked(m, vfio_user_devices_run());
    }
    return false;
}

void vfio_user_migration_save_cleanup(void *opaque)
{
    VFIOUserMigration *m = opaque;

    if (end_saving(m)) {
        start_to_run(m);
    }
    vfio_user_migration_saved(m);
}
