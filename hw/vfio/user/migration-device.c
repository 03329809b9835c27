/*
 * vfio-user migration: a server's device as it is moved through its states
 *
 * A change that the server refuses is followed by the question where the
 * device is now.  One that it does not answer is not: that would be the next
 * wait for the same server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "hw/vfio/user/migration-device.h"
#include "trace.h"

/* DEVICE_FEATURE with what MIGRATION and MIG_DEVICE_STATE carry. */
typedef struct Feature {
    VFIOUserDeviceFeature head;
    union {
        uint64_t flags;
        struct {
            uint32_t device_state;
            uint32_t data_fd;
        };
    };
} Feature;
QEMU_BUILD_BUG_ON(sizeof(Feature) != 16);

static const char *name_of(VFIOUserMigDevice *d)
{
    return vfio_user_proxy_name(d->udev->proxy);
}

static int feature(VFIOUserDevice *udev, Feature *f, uint32_t flags,
                   Error **errp)
{
    /* a PROBE has no data, and is as long all the same: see proxy-stray.c */
    f->head.argsz = sizeof(*f);
    f->head.flags = flags;
    return vfio_user_device_feature(udev, (void *)f, errp);
}

int vfio_user_mig_probe(VFIOUserDevice *udev, uint64_t *flags, Error **errp)
{
    Error *err = NULL;
    Feature f = { };
    int ret;

    if (udev->no_device_feature) {
        return 0;
    }
    ret = feature(udev, &f, VFIO_DEVICE_FEATURE_PROBE |
                  VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION,
                  &err);
    if (ret == -ETIMEDOUT || ret == -EPROTO || ret == -ECONNRESET) {
        error_propagate(errp, err);
        return ret;
    } else if (ret < 0) {
        error_free(err);
        return 0;
    }
    ret = feature(udev, &f, VFIO_DEVICE_FEATURE_GET |
                  VFIO_DEVICE_FEATURE_MIGRATION, errp);
    if (ret < 0) {
        return ret;
    }
    *flags = f.flags;
    if (!(f.flags & VFIO_USER_MIG_HAS_STOP_COPY)) {
        error_setg(errp, "vfio-user %s: DEVICE_FEATURE: the server has"
                   " migration without the state STOP_COPY (flags 0x%" PRIx64
                   ")", vfio_user_proxy_name(udev->proxy), *flags);
        return -ENOTSUP;
    }
    return 1;
}

int vfio_user_mig_ask_state(VFIOUserMigDevice *d, Error **errp)
{
    Feature f = { };
    int ret = feature(d->udev, &f, VFIO_DEVICE_FEATURE_GET |
                      VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, errp);

    d->state = VFIO_USER_MIG_ERROR;
    if (ret < 0) {
        return ret;
    }
    if (f.device_state >= VFIO_USER_MIG_STATES) {
        error_setg(errp, "vfio-user %s: DEVICE_FEATURE: the server says that"
                   " the device is in state %u, which is none", name_of(d),
                   f.device_state);
        return -EPROTO;
    }
    d->state = f.device_state;
    d->uncertain = false;
    return 0;
}

static int take_arc(VFIOUserMigDevice *d, VFIOUserMigState to, Error **errp)
{
    ERRP_GUARD();
    Feature f = { .device_state = to };
    int ret = feature(d->udev, &f, VFIO_DEVICE_FEATURE_SET |
                      VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, errp);

    const char *from = d->uncertain ? "unknown" :
                                      vfio_user_mig_state_name(d->state);

    d->told = to;
    trace_vfio_user_mig_arc(name_of(d), from, vfio_user_mig_state_name(to),
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

static int leave_error(VFIOUserMigDevice *d, Error **errp)
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
    warn_report("vfio-user %s: the device was in its error state and has been"
                " reset; the guest's driver may have to be loaded again",
                name_of(d));
    return vfio_user_mig_ask_state(d, errp);
}

int vfio_user_mig_set_state(VFIOUserMigDevice *d, VFIOUserMigState to,
                            Error **errp)
{
    Error *err = NULL;
    int ret = 0;

    /* in order on the socket: this comes after the change that timed out */
    if (d->uncertain) {
        ret = d->told == to ? 0 : take_arc(d, to, &err);
        if (ret == 0 || ret == -ETIMEDOUT) {
            error_propagate(errp, err);
            return ret;
        }
        error_free(err);
        d->state = VFIO_USER_MIG_ERROR;
    }
    if (d->state == VFIO_USER_MIG_ERROR) {
        ret = leave_error(d, errp);
    }
    while (ret == 0 && d->state != to) {
        VFIOUserMigState next = vfio_user_mig_next(d->state, to);

        if (next == VFIO_USER_MIG_ERROR) {
            error_setg(errp, "vfio-user %s: the device is in state %s, from"
                       " which no way leads to %s", name_of(d),
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

int vfio_user_mig_read(VFIOUserMigDevice *d, VFIOUserCall *call, uint32_t size,
                       const uint8_t **data, Error **errp)
{
    VFIOUserMigData msg = { .argsz = sizeof(msg) + size, .size = size };
    int ret;

    *call = (VFIOUserCall) {
        .command = VFIO_USER_MIG_DATA_READ,
        .head = &msg,
        .head_size = sizeof(msg),
        .reply_max = sizeof(msg) + size,
    };
    ret = vfio_user_proxy_call(d->udev->proxy, call, errp);
    if (ret < 0) {
        return ret;
    }
    memcpy(&msg, call->reply, sizeof(msg));
    /* libvfio-user's replies are as long as they might have become */
    if (msg.size > size || call->reply_size < sizeof(msg) + msg.size) {
        error_setg(errp, "vfio-user %s: MIG_DATA_READ: asked for %u bytes, the"
                   " server says %u and sent %zu", name_of(d), size, msg.size,
                   call->reply_size - sizeof(msg));
        return -EPROTO;
    }
    *data = call->reply + sizeof(msg);
    return msg.size;
}

int vfio_user_mig_write(VFIOUserMigDevice *d, const void *data, size_t size,
                        Error **errp)
{
    uint32_t some = MIN(size, vfio_user_caps_max_request(&d->udev->caps));
    VFIOUserMigData msg = { .argsz = sizeof(msg) + some, .size = some };
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_MIG_DATA_WRITE,
        .head = &msg,
        .head_size = sizeof(msg),
        .data = data,
        .data_size = some,
    };
    int ret = vfio_user_proxy_call(d->udev->proxy, &call, errp);

    return ret < 0 ? ret : some;
}
