/*
 * vfio-user migration v2
 *
 * The messages of servers later than 0.9.1: DEVICE_FEATURE for what they can do
 * and for the device's state, MIG_DATA_READ and MIG_DATA_WRITE for its data.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qapi/error.h"
#include "hw/vfio/user/migration-device.h"
#include "hw/vfio/user/migration-stream.h"

/* Bytes that a read asks for, at least, where replies are padded. */
#define MIN_READ (64 * KiB)

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

static int probe(VFIOUserMigDevice *d, VFIODevice *vbasedev, uint64_t *flags,
                 Error **errp)
{
    Error *err = NULL;
    Feature f = { };
    int ret;

    if (d->udev->no_device_feature) {
        return 0;
    }
    ret = feature(d->udev, &f, VFIO_DEVICE_FEATURE_PROBE |
                  VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION,
                  &err);
    if (ret == -ETIMEDOUT || ret == -EPROTO || ret == -ECONNRESET) {
        error_propagate(errp, err);
        return ret;
    } else if (ret < 0) {
        error_free(err);
        return 0;
    }
    ret = feature(d->udev, &f, VFIO_DEVICE_FEATURE_GET |
                  VFIO_DEVICE_FEATURE_MIGRATION, errp);
    if (ret < 0) {
        return ret;
    }
    *flags = f.flags;
    if (!(f.flags & VFIO_USER_MIG_HAS_STOP_COPY)) {
        error_setg(errp, "vfio-user %s: DEVICE_FEATURE: the server has"
                   " migration without the state STOP_COPY (flags 0x%" PRIx64
                   ")", name_of(d), *flags);
        return -ENOTSUP;
    }
    return 1;
}

static int get_state(VFIOUserMigDevice *d, VFIOUserMigState *state,
                     Error **errp)
{
    Feature f = { };
    int ret = feature(d->udev, &f, VFIO_DEVICE_FEATURE_GET |
                      VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, errp);

    if (ret < 0) {
        return ret;
    }
    if (f.device_state >= VFIO_USER_MIG_STATES) {
        error_setg(errp, "vfio-user %s: DEVICE_FEATURE: the device reports the"
                   " unknown state %u", name_of(d), f.device_state);
        return -EPROTO;
    }
    *state = f.device_state;
    return 0;
}

static int set_state(VFIOUserMigDevice *d, VFIOUserMigState to, Error **errp)
{
    Feature f = { .device_state = to };

    return feature(d->udev, &f, VFIO_DEVICE_FEATURE_SET |
                   VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, errp);
}

/* Bytes that the next read asks for. */
static uint32_t read_size(const VFIOUserMigDevice *d)
{
    uint32_t most = MIN(d->udev->caps.max_data_xfer_size,
                        VFIO_USER_MIG_MAX_RECORD);

    return d->ask ? MIN(d->ask, most) : most;
}

/*
 * A reply of libvfio-user is as long as was asked for, however little is in
 * it.  Such a server is asked for not much more than it gave, and for more
 * again once it has filled a reply.
 */
static void adapt_size(VFIOUserMigDevice *d, uint32_t asked, uint32_t got,
                       bool padded)
{
    if (padded || (d->ask && got == asked)) {
        d->ask = MAX(2 * got, MIN_READ);
    }
}

static int begin_read(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                      Error **errp)
{
    uint32_t size = read_size(d);
    const VFIOUserMigData msg = { .argsz = sizeof(msg) + size, .size = size };
    int ret;

    piece->call = (VFIOUserCall) {
        .command = VFIO_USER_MIG_DATA_READ,
        .head = &msg,
        .head_size = sizeof(msg),
        .reply_max = sizeof(msg) + size,
    };
    ret = vfio_user_proxy_begin(d->udev->proxy, &piece->call, errp);
    piece->begun = ret == 0;
    return ret;
}

static int finish_read(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                       Error **errp)
{
    VFIOUserCall *call = &piece->call;
    uint32_t size = call->reply_max - sizeof(VFIOUserMigData);
    VFIOUserMigData msg;
    int ret;

    piece->begun = false;
    /* the stream took its time, which is not the server's */
    vfio_user_proxy_renew(d->udev->proxy, call);
    ret = vfio_user_proxy_finish(d->udev->proxy, call, errp);
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
    piece->data = call->reply + sizeof(msg);
    piece->size = msg.size;
    piece->is_short = msg.size && msg.size < size;
    adapt_size(d, size, msg.size, call->reply_size > sizeof(msg) + msg.size);
    return 0;
}

static int data_read(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                     Error **errp)
{
    int ret = piece->begun ? 0 : begin_read(d, piece, errp);

    return ret < 0 ? ret : finish_read(d, piece, errp);
}

static int data_write(VFIOUserMigDevice *d, const uint8_t *data, size_t size,
                      bool more, Error **errp)
{
    uint32_t some = MIN(size, vfio_user_caps_max_request(&d->udev->caps));
    VFIOUserMigData msg = { .argsz = sizeof(msg) + some, .size = some };
    int ret = vfio_user_mig_write(&d->writes, d->udev->proxy,
                                  VFIO_USER_MIG_DATA_WRITE, &msg, sizeof(msg),
                                  data, some, errp);

    return ret < 0 ? ret : some;
}

/* Specification: DEVICE_FEATURE and MIG_DATA of servers later than 0.9.1. */
const VFIOUserMigrationOps vfio_user_mig_v2 = {
    .version = 2,
    .arcs = &vfio_user_mig_v2_arcs,
    .loaded = VFIO_USER_MIG_STOP,
    .probe = probe,
    .get_state = get_state,
    .set_state = set_state,
    .begin_read = begin_read,
    .read = data_read,
    .write = data_write,
};
