/*
 * vfio-user migration: a channel that is made of records
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/vfio/user/migration-channel.h"
#include "hw/vfio/user/migration-records.h"

VFIOUserMigChannel *vfio_user_mig_channel_new(QEMUFile *f,
                                              VFIOUserMigSum *sum)
{
    VFIOUserMigChannel *channel =
        VFIO_USER_MIG_CHANNEL(object_new(TYPE_VFIO_USER_MIG_CHANNEL));

    channel->f = f;
    channel->sum = sum;
    return channel;
}

static int put(VFIOUserMigChannel *channel, const struct iovec *iov)
{
    int ret = 0;

    for (size_t at = 0; at < iov->iov_len && ret == 0; ) {
        size_t size = MIN(iov->iov_len - at, VFIO_USER_MIG_MAX_RECORD);

        ret = vfio_user_mig_put(channel->f, channel->sum, VFIO_USER_MIG_DATA,
                                iov->iov_base + at, size);
        at += size;
        if (channel->put) {
            channel->put(channel->opaque);
        }
    }
    return ret;
}

static ssize_t channel_writev(QIOChannel *ioc, const struct iovec *iov,
                              size_t niov, int *fds, size_t nfds, int flags,
                              Error **errp)
{
    VFIOUserMigChannel *channel = VFIO_USER_MIG_CHANNEL(ioc);
    ssize_t done = 0;

    for (size_t i = 0; i < niov; i++) {
        int ret = put(channel, &iov[i]);

        if (ret < 0) {
            error_setg_errno(errp, -ret, "the stream cannot be written");
            return -1;
        }
        done += iov[i].iov_len;
    }
    return done;
}

bool vfio_user_mig_channel_fill(VFIOUserMigChannel *channel, Error **errp)
{
    VFIOUserMigHead head;

    if (channel->at < channel->size || channel->ended) {
        return true;
    }
    if (!vfio_user_mig_get(channel->f, channel->sum, &head, channel->buffer,
                           errp)) {
        return false;
    }
    if (head.record != VFIO_USER_MIG_DATA &&
        head.record != VFIO_USER_MIG_SECTION_END) {
        error_setg(errp, "the stream has a record of the kind %u where the"
                   " first generation has none", head.record);
        return false;
    }
    channel->ended = head.record == VFIO_USER_MIG_SECTION_END;
    channel->at = 0;
    channel->size = head.size;
    return true;
}

static ssize_t channel_readv(QIOChannel *ioc, const struct iovec *iov,
                             size_t niov, int **fds, size_t *nfds,
                             Error **errp)
{
    VFIOUserMigChannel *channel = VFIO_USER_MIG_CHANNEL(ioc);
    ssize_t done = 0;

    if (!vfio_user_mig_channel_fill(channel, errp)) {
        return -1;
    }
    for (size_t i = 0; i < niov; i++) {
        size_t size = MIN(iov[i].iov_len, channel->size - channel->at);

        memcpy(iov[i].iov_base, channel->buffer + channel->at, size);
        channel->at += size;
        done += size;
    }
    return done;
}

static int channel_set_blocking(QIOChannel *ioc, bool enabled, Error **errp)
{
    return 0;
}

static int channel_close(QIOChannel *ioc, Error **errp)
{
    return 0;
}

static void channel_class_init(ObjectClass *klass, void *data)
{
    QIOChannelClass *ioc_klass = QIO_CHANNEL_CLASS(klass);

    ioc_klass->io_writev = channel_writev;
    ioc_klass->io_readv = channel_readv;
    ioc_klass->io_set_blocking = channel_set_blocking;
    ioc_klass->io_close = channel_close;
}

static const TypeInfo channel_info = {
    .parent = TYPE_QIO_CHANNEL,
    .name = TYPE_VFIO_USER_MIG_CHANNEL,
    .instance_size = sizeof(VFIOUserMigChannel),
    .class_init = channel_class_init,
};

static void channel_register_types(void)
{
    type_register_static(&channel_info);
}

type_init(channel_register_types);
