/*
 * vfio-user migration: state and data of the server's device
 *
 * After a state change that the server rejects, the device's state is read from
 * the server.  After a change that timed out it is not: that would be another
 * wait for the same server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "hw/vfio/user/migration-device.h"
#include "trace.h"

static const char *device_name(VFIOUserMigDevice *d)
{
    return vfio_user_proxy_name(d->udev->proxy);
}

bool vfio_user_mig_find(VFIOUserMigDevice *d, VFIODevice *vbasedev,
                        uint64_t *flags, Error **why_not)
{
    static const VFIOUserMigrationOps *const versions[] = {
        &vfio_user_mig_v2, &vfio_user_mig_v1,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(versions); i++) {
        Error *err = NULL;

        d->ops = versions[i];
        if (d->ops->probe(d, vbasedev, flags, &err) > 0 &&
            vfio_user_mig_ask_state(d, &err) == 0) {
            trace_vfio_user_mig_found(device_name(d), d->ops->version, *flags);
            error_free(*why_not);
            *why_not = NULL;
            return true;
        }
        vfio_user_mig_close_window(d);
        /* keep the first reason, which is about the newest version */
        error_propagate(why_not, err);
    }
    return false;
}

void vfio_user_mig_open_window(VFIOUserMigDevice *d, int fd)
{
    vfio_user_mig_close_window(d);
    d->region.window = vfio_user_mig_window_new(fd, d->region.info->offset,
                                                d->region.info->size);
}

void vfio_user_mig_close_window(VFIOUserMigDevice *d)
{
    vfio_user_mig_window_free(d->region.window);
    d->region.window = NULL;
}

static void open_again(VFIOUserMigDevice *d, VFIODevice *vbasedev)
{
    vfio_user_mig_open_window(d,
                              vfio_device_get_region_fd(vbasedev,
                                                    d->region.info->index));
}

void vfio_user_mig_renew_window(VFIOUserMigDevice *d, VFIODevice *vbasedev)
{
    if (d->region.window &&
        vfio_user_mig_window_was_short(d->region.window)) {
        open_again(d, vbasedev);
    }
}

void vfio_user_mig_resume(VFIOUserMigDevice *d, VFIODevice *vbasedev)
{
    d->state = VFIO_USER_MIG_RUNNING;
    d->uncertain = false;
    d->ask = 0;
    if (d->region.window) {
        /* the file of another server */
        open_again(d, vbasedev);
    }
}

void vfio_user_mig_piece_free(VFIOUserMigPiece *piece)
{
    assert(!piece->begun);
    vfio_user_call_clear(&piece->call);
    g_free(piece->bytes);
    g_free(piece);
}

int vfio_user_mig_ask_state(VFIOUserMigDevice *d, Error **errp)
{
    VFIOUserMigState state;
    int ret = d->ops->get_state(d, &state, errp);

    d->state = VFIO_USER_MIG_ERROR;
    if (ret == 0) {
        d->state = state;
        d->uncertain = false;
    }
    return ret;
}

static int take_arc(VFIOUserMigDevice *d, VFIOUserMigState to, Error **errp)
{
    ERRP_GUARD();
    int ret = d->ops->set_state(d, to, errp);
    const char *from = d->uncertain ? "unknown" :
                                      vfio_user_mig_state_name(d->state);

    d->told = to;
    trace_vfio_user_mig_arc(device_name(d), from, vfio_user_mig_state_name(to),
                            ret);
    if (ret < 0) {
        error_prepend(errp, "migration state %s to %s: ", from,
                      vfio_user_mig_state_name(to));
        d->uncertain = ret == -ETIMEDOUT;
        return ret;
    }
    d->state = to;
    d->uncertain = false;
    return 0;
}

static int leave_error(VFIOUserMigDevice *d, VFIOUserMigState to, Error **errp)
{
    int ret = vfio_user_mig_ask_state(d, errp);

    if (ret < 0 || d->state != VFIO_USER_MIG_ERROR) {
        return ret;
    }
    ret = vfio_user_device_reset(d->udev, errp);
    if (ret < 0) {
        return ret;
    }
    d->udev->ops->was_reset(d->udev);
    /* a device that is loaded next loses nothing */
    if (to != VFIO_USER_MIG_RESUMING) {
        warn_report("vfio-user %s: the device was in its error state and has"
                    " been reset; the guest's driver may have to be loaded"
                    " again", device_name(d));
    }
    return vfio_user_mig_ask_state(d, errp);
}

int vfio_user_mig_set_state(VFIOUserMigDevice *d, VFIOUserMigState to,
                            Error **errp)
{
    Error *err = NULL;
    int ret = 0;

    /* the server processes this after the change that timed out */
    if (d->uncertain) {
        ret = d->told == to ? vfio_user_mig_ask_state(d, &err)
                            : take_arc(d, to, &err);
        if (ret == -ETIMEDOUT) {
            error_propagate(errp, err);
            return ret;
        }
        if (ret < 0) {
            error_free(err);
            d->state = VFIO_USER_MIG_ERROR;
        }
    }
    if (d->state == VFIO_USER_MIG_ERROR) {
        ret = leave_error(d, to, errp);
    }
    while (ret == 0 && d->state != to) {
        VFIOUserMigState next = vfio_user_mig_next(d->ops->arcs, d->state,
                                                   to);

        if (next == VFIO_USER_MIG_ERROR) {
            error_setg(errp, "vfio-user %s: the device cannot change from"
                       " migration state %s to %s", device_name(d),
                       vfio_user_mig_state_name(d->state),
                       vfio_user_mig_state_name(to));
            return -EINVAL;
        }
        ret = take_arc(d, next, errp);
        if (ret < 0 && !d->uncertain) {
            vfio_user_mig_ask_state(d, NULL);
        }
    }
    return ret;
}
