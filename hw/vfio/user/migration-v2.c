/*
 * vfio-user migration v2
 *
 * The messages of servers later than 0.9.1: DEVICE_FEATURE for their
 * capabilities and for the device's state, MIG_DATA_READ and MIG_DATA_WRITE for
 * its data.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qapi/error.h"
#include "hw/vfio/user/migration-device.h"
#include "hw/vfio/user/migration-stream.h"

/* Fewest bytes to request in a read if replies are padded. */
#define MIN_READ (64 * KiB)

/* DEVICE_FEATURE with the data of MIGRATION or MIG_DEVICE_STATE. */
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

static const char *v2_name(VFIOUserMigDevice *d)
{
    return vfio_user_proxy_name(d->udev->proxy);
}

static int v2_feature(VFIOUserDevice *udev, Feature *f, uint32_t flags,
                      Error **errp)
{
    /* a PROBE needs no data but has the same size: see proxy-stray.c */
    f->head.argsz = sizeof(*f);
    f->head.flags = flags;
    return vfio_user_device_feature(udev, (void *)f, errp);
}

static int v2_probe(VFIOUserMigDevice *d, VFIODevice *vbasedev, uint64_t *flags,
                    Error **errp)
{
    Error *err = NULL;
    Feature f = { };
    int ret;

    if (d->udev->no_device_feature) {
        return 0;
    }
    ret = v2_feature(d->udev, &f, VFIO_DEVICE_FEATURE_PROBE |
                     VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION,
                     &err);
    if (ret == -ETIMEDOUT || ret == -EPROTO || ret == -ECONNRESET) {
        error_propagate(errp, err);
        return ret;
    } else if (ret < 0) {
        error_free(err);
        return 0;
    }
    ret = v2_feature(d->udev, &f, VFIO_DEVICE_FEATURE_GET |
                     VFIO_DEVICE_FEATURE_MIGRATION, errp);
    if (ret < 0) {
        return ret;
    }
    *flags = f.flags;
    if (!(f.flags & VFIO_USER_MIG_HAS_STOP_COPY)) {
        error_setg(errp, "vfio-user %s: DEVICE_FEATURE: the server does not"
                   " support the migration state STOP_COPY (flags 0x%" PRIx64
                   ")", v2_name(d), *flags);
        return -ENOTSUP;
    }
    return 1;
}

static int v2_get_state(VFIOUserMigDevice *d, VFIOUserMigState *state,
                        Error **errp)
{
    Feature f = { };
    int ret = v2_feature(d->udev, &f, VFIO_DEVICE_FEATURE_GET |
                         VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, errp);

    if (ret < 0) {
        return ret;
    }
    if (f.device_state >= VFIO_USER_MIG_STATES) {
        error_setg(errp, "vfio-user %s: DEVICE_FEATURE: the device reports the"
                   " unknown state %u", v2_name(d), f.device_state);
        return -EPROTO;
    }
    *state = f.device_state;
    return 0;
}

static int v2_set_state(VFIOUserMigDevice *d, VFIOUserMigState to, Error **errp)
{
    Feature f = { .device_state = to };

    return v2_feature(d->udev, &f, VFIO_DEVICE_FEATURE_SET |
                      VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, errp);
}

/* Bytes to request in the next read. */
static uint32_t read_size(const VFIOUserMigDevice *d)
{
    uint32_t most = MIN(d->udev->caps.max_data_xfer_size,
                        VFIO_USER_MIG_MAX_RECORD);

    return d->ask ? MIN(d->ask, most) : most;
}

/*
 * libvfio-user pads its replies to the requested size.  Request not much more
 * from such a server than it returned, and more again when it fills a reply.
 */
static void adapt_size(VFIOUserMigDevice *d, uint32_t asked, uint32_t got,
                       bool padded)
{
    if (padded || (d->ask && got == asked)) {
        d->ask = MAX(2 * got, MIN_READ);
    }
}

static int v2_begin_read(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
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

static int v2_finish_read(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                          Error **errp)
{
    VFIOUserCall *call = &piece->call;
    uint32_t size = call->reply_max - sizeof(VFIOUserMigData);
    VFIOUserMigData msg;
    int ret;

    piece->begun = false;
    /* do not charge the server for the time that the stream took */
    vfio_user_proxy_renew(d->udev->proxy, call);
    ret = vfio_user_proxy_finish(d->udev->proxy, call, errp);
    if (ret < 0) {
        return ret;
    }
    memcpy(&msg, call->reply, sizeof(msg));
    /* libvfio-user pads its replies to the requested size */
    if (msg.size > size || call->reply_size < sizeof(msg) + msg.size) {
        error_setg(errp, "vfio-user %s: MIG_DATA_READ: requested %u bytes, the"
                   " server reports %u and sent %zu", v2_name(d), size,
                   msg.size, call->reply_size - sizeof(msg));
        return -EPROTO;
    }
    piece->data = call->reply + sizeof(msg);
    piece->size = msg.size;
    piece->is_short = msg.size && msg.size < size;
    adapt_size(d, size, msg.size, call->reply_size > sizeof(msg) + msg.size);
    return 0;
}

static int v2_read(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                   Error **errp)
{
    int ret = piece->begun ? 0 : v2_begin_read(d, piece, errp);

    return ret < 0 ? ret : v2_finish_read(d, piece, errp);
}

static int v2_write(VFIOUserMigDevice *d, const uint8_t *data, size_t size,
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
    .probe = v2_probe,
    .get_state = v2_get_state,
    .set_state = v2_set_state,
    .begin_read = v2_begin_read,
    .read = v2_read,
    .write = v2_write,
};
