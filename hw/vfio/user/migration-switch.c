/*
 * vfio-user migration: moves the state of a device to another server
 *
 * A piece is read from one server while the last one is on its way to the
 * other.  Nothing is kept in memory but these.
 *
 * Threads and locks: see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "system/runstate.h"
#include "hw/vfio/user/migration-internal.h"
#include "hw/vfio/user/migration-switch.h"
#include "trace.h"

/* Most bytes that are moved while the device runs: it may never be done. */
#define MOST_AHEAD (1 * GiB)

/*
 * Time-outs reserved for the return to the present server if its state takes
 * too long to move.  Without time for that, its connection would fail.
 */
#define RETURN_RESERVE 3

static VFIOUserProxy *proxy_of(const VFIOUserMigDevice *d)
{
    return d->udev->proxy;
}

static int write_piece(VFIOUserMigSwitch *s, const VFIOUserMigPiece *piece,
                       Error **errp)
{
    const uint8_t *data = piece->data;
    size_t left = piece->size;

    while (left) {
        int ret = s->to.ops->write(&s->to, data, left, piece->more, errp);

        if (ret < 0) {
            return ret;
        }
        data += ret;
        left -= ret;
    }
    s->bytes += piece->size;
    return 0;
}

/* Ends a read that was begun and whose data is not wanted. */
static void drop_read(VFIOUserMigSwitch *s, VFIOUserMigPiece *piece)
{
    if (piece && piece->begun) {
        piece->begun = false;
        vfio_user_proxy_finish(proxy_of(&s->m->d), &piece->call, NULL);
    }
}

/* After the last write, or a failure */
static int end_writes(VFIOUserMigSwitch *s, int ret, Error **errp)
{
    VFIOUserProxy *proxy = proxy_of(&s->to);

    if (ret == 0) {
        ret = vfio_user_mig_finish_writes(&s->to.writes, proxy, errp);
    }
    if (ret < 0) {
        vfio_user_mig_drop_writes(&s->to.writes, proxy);
    }
    return ret;
}

/* Returns the time, us, at which the state must have been moved. */
static int64_t move_deadline(VFIOUserMigSwitch *s, unsigned timeouts)
{
    return g_get_monotonic_time() +
           (int64_t)vfio_user_proxy_timeout(proxy_of(&s->to)) * 1000 * timeouts;
}

static int check_deadline(int64_t end, Error **errp)
{
    if (g_get_monotonic_time() <= end) {
        return 0;
    }
    error_setg(errp, "the state of the device takes too long to move");
    return -ETIMEDOUT;
}

static int set_void(Error **errp)
{
    error_setg(errp, "the VM was stopped, continued or reset meanwhile");
    return -EAGAIN;
}

/* Reads one piece of a device that runs. */
static int read_piece(VFIOUserMigSwitch *s, VFIOUserMigPiece *piece,
                      Error **errp)
{
    VFIOUserMigration *m = s->m;
    int ret;

    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    ret = vfio_user_migration_check(m, errp);
    if (ret < 0) {
        return ret;
    }
    return m->d.state == VFIO_USER_MIG_PRE_COPY ?
           m->d.ops->read(&m->d, piece, errp) : set_void(errp);
}

/*
 * Moves until the server has no more for now, or until MOST_AHEAD bytes were
 * moved and a chunk is complete.  The lock is free while the other server
 * loads, since the VM may have to be stopped.
 */
static int move_data_ahead(VFIOUserMigSwitch *s, Error **errp)
{
    int64_t end = move_deadline(s, VFIO_USER_BUDGET_MIG_DATA);
    bool done = false;
    int ret = 0;

    while (ret == 0 && !done) {
        g_autoptr(VFIOUserMigPiece) piece = g_new0(VFIOUserMigPiece, 1);

        ret = read_piece(s, piece, errp);
        if (ret == 0) {
            done = !piece->size || (s->bytes >= MOST_AHEAD && !piece->more);
            ret = write_piece(s, piece, errp);
        }
        if (ret == 0 && !done) {
            ret = check_deadline(end, errp);
        }
    }
    return end_writes(s, ret, errp);
}

/* Moves the rest of a device that has stopped. */
static int move_data_locked(VFIOUserMigSwitch *s, int64_t end, Error **errp)
{
    VFIOUserMigDevice *from = &s->m->d;
    g_autoptr(VFIOUserMigPiece) next = g_new0(VFIOUserMigPiece, 1);
    bool done = false;
    int ret = 0;

    vfio_user_mig_assert_locked(&s->m->lock);
    while (ret == 0 && !done) {
        g_autoptr(VFIOUserMigPiece) piece = g_steal_pointer(&next);

        ret = from->ops->read(from, piece, errp);
        if (ret < 0) {
            break;
        }
        done = !piece->size;
        next = g_new0(VFIOUserMigPiece, 1);
        if (!done) {
            ret = from->ops->begin_read(from, next, errp);
        }
        if (ret == 0) {
            ret = write_piece(s, piece, errp);
        }
        if (ret == 0 && !done) {
            ret = check_deadline(end, errp);
        }
    }
    drop_read(s, next);
    return end_writes(s, ret, errp);
}

/*
 * Whether the VM is elsewhere, or in a file.  A stopped device with migration
 * v1 would have to run before its state can be read again, and may write to
 * memory that is shared with the destination.
 */
static bool has_left(void)
{
    return runstate_check(RUN_STATE_FINISH_MIGRATE) ||
           runstate_check(RUN_STATE_POSTMIGRATE);
}

bool vfio_user_migration_switch_begin(VFIOUserMigSwitch *s,
                                      VFIOUserMigration *m,
                                      VFIOUserDevice *udev,
                                      int (*region_fd)(void *opaque,
                                                       unsigned nr),
                                      void *opaque, Error **errp)
{
    assert(bql_locked());
    if (!m) {
        error_setg(errp, "the server does not support migration, so the state"
                   " of its device cannot be moved");
        return false;
    }
    if (vfio_user_migration_is_busy(m) || migration_is_running()) {
        error_setg(errp, "the VM is being migrated");
        return false;
    }
    if (has_left()) {
        error_setg(errp, "the VM has been migrated");
        return false;
    }
    m->switching = true;
    vfio_user_migration_hold(m);
    *s = (VFIOUserMigSwitch) { .m = m };
    s->to.udev = udev;
    s->to.ops = m->d.ops;
    s->to.region.info = m->d.region.info;
    if (m->d.region.window) {
        vfio_user_mig_open_window(&s->to,
                                  region_fd(opaque, m->d.region.info->index));
    }
    return true;
}

/* Closes the window of a device that is not used any more. */
static void forget(const VFIOUserMigSwitch *s, VFIOUserMigDevice *d)
{
    if (d->region.window != s->m->d.region.window) {
        vfio_user_mig_close_window(d);
    }
}

void vfio_user_migration_switch_end(VFIOUserMigSwitch *s)
{
    forget(s, &s->to);
    forget(s, &s->from);
    s->m->switching = false;
    vfio_user_migration_release(s->m);
}

/* Returns 1, 0 if nothing can be moved ahead, or -errno with @errp set. */
static int enter_pre_copy(VFIOUserMigration *m, Error **errp)
{
    int ret;

    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    ret = vfio_user_migration_check(m, errp);
    if (ret < 0 || !(m->flags & VFIO_USER_MIG_HAS_PRE_COPY) ||
        m->d.state != VFIO_USER_MIG_RUNNING) {
        return ret;
    }
    ret = vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_PRE_COPY, errp);
    vfio_user_migration_mirror_locked(m);
    return ret < 0 ? ret : 1;
}

int vfio_user_migration_switch_ahead(VFIOUserMigSwitch *s, Error **errp)
{
    VFIOUserMigration *m = s->m;
    int ret;

    if (vfio_user_mig_ask_state(&s->to, errp) < 0) {
        return -EIO;
    }
    ret = vfio_user_mig_set_state(&s->to, VFIO_USER_MIG_RESUMING, errp);
    if (ret == 0) {
        ret = enter_pre_copy(m, errp);
    }
    return ret > 0 ? move_data_ahead(s, errp) : ret;
}

/* Whether what was moved ahead is void: the VM was stopped or reset. */
static bool is_void_locked(VFIOUserMigSwitch *s)
{
    vfio_user_mig_assert_locked(&s->m->lock);
    return s->bytes && s->m->d.state != VFIO_USER_MIG_PRE_COPY;
}

int vfio_user_migration_switch_move(VFIOUserMigSwitch *s, Error **errp)
{
    VFIOUserMigration *m = s->m;
    int64_t end = move_deadline(s, VFIO_USER_BUDGET_MIG_DATA - RETURN_RESERVE);
    int ret;

    assert(bql_locked());
    /* a stream may have arrived since the switch began */
    if (vfio_user_migration_is_loading(m)) {
        error_setg(errp, "the device is being loaded");
        return -EBUSY;
    }
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    if (is_void_locked(s)) {
        return set_void(errp);
    }
    ret = vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_STOP_COPY, errp);
    if (ret == 0) {
        ret = move_data_locked(s, end, errp);
    }
    trace_vfio_user_mig_switch(m->name, s->bytes, ret);
    s->from = m->d;
    if (ret == 0) {
        m->d = s->to;
        m->d.udev = s->from.udev;
    }
    vfio_user_migration_mirror_locked(m);
    return ret;
}

int vfio_user_migration_switch_finish(VFIOUserMigSwitch *s, Error **errp)
{
    VFIOUserMigration *m = s->m;
    int ret;

    assert(bql_locked());
    VFIO_USER_MIG_LOCK_GUARD(&m->lock);
    ret = vfio_user_mig_set_state(&m->d, m->d.ops->loaded, errp);
    if (ret == 0 && vfio_user_devices_run()) {
        ret = vfio_user_mig_set_state(&m->d, VFIO_USER_MIG_RUNNING, errp);
    }
    m->vm_running = vfio_user_devices_run();
    vfio_user_migration_mirror_locked(m);
    return ret;
}

void vfio_user_migration_switch_undo(VFIOUserMigSwitch *s)
{
    VFIOUserMigration *m = s->m;

    assert(bql_locked());
    if (s->from.ops) {
        m->d = s->from;
    }
    if (!vfio_user_migration_is_loading(m)) {
        vfio_user_migration_follow(m);
    }
}
