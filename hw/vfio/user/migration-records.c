/*
 * vfio-user migration: records in QEMU's migration stream
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/units.h"
#include "migration/qemu-file.h"
#include "hw/vfio/user/migration-records.h"

/* From here on a payload goes out from where it is, without a copy. */
#define LONG_PAYLOAD (32 * KiB)

int vfio_user_mig_put(QEMUFile *f, VFIOUserMigSum *sum,
                      VFIOUserMigRecord record, const void *payload,
                      size_t size)
{
    uint8_t head[VFIO_USER_MIG_HEAD_SIZE];

    vfio_user_mig_put_head(sum, record, payload, size, head);
    qemu_put_buffer(f, head, sizeof(head));
    if (size < LONG_PAYLOAD) {
        qemu_put_buffer(f, payload, size);
    } else {
        qemu_put_buffer_async(f, payload, size, false);
        qemu_fflush(f);         /* the payload is its owner's again */
    }
    return qemu_file_get_error(f);
}

int vfio_user_mig_put_beginning(QEMUFile *f, VFIOUserMigSum *sum,
                                const VFIOUserMigIdentity *who)
{
    uint8_t hello[VFIO_USER_MIG_HELLO_SIZE];

    qemu_put_be64(f, VFIO_USER_MIG_MAGIC);
    vfio_user_mig_put_hello(who, hello);
    return vfio_user_mig_put(f, sum, VFIO_USER_MIG_HELLO, hello,
                             sizeof(hello));
}

/* The end of the stream shows as short, and as zeros. */
static bool get(QEMUFile *f, void *to, size_t size, Error **errp)
{
    size_t got = qemu_get_buffer(f, to, size);
    int ret = qemu_file_get_error(f);

    if (got != size || ret < 0) {
        error_setg(errp, "the stream ends in the middle of the device's state"
                   " (%s)", ret < 0 ? strerror(-ret) : "end of file");
        return false;
    }
    return true;
}

bool vfio_user_mig_get(QEMUFile *f, VFIOUserMigSum *sum, VFIOUserMigHead *head,
                       void *buffer, Error **errp)
{
    uint8_t bytes[VFIO_USER_MIG_HEAD_SIZE];

    return get(f, bytes, sizeof(bytes), errp) &&
           vfio_user_mig_get_head(sum, bytes, head, errp) &&
           get(f, buffer, head->size, errp) &&
           vfio_user_mig_check(sum, head, buffer, errp);
}
