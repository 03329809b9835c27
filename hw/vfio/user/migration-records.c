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

/* Payloads of this size or larger are sent without a copy. */
#define LONG_PAYLOAD (32 * KiB)

int vfio_user_mig_put(QEMUFile *f, uint64_t *position,
                      VFIOUserMigRecord record, const void *payload,
                      size_t size)
{
    uint8_t head[VFIO_USER_MIG_HEAD_SIZE];

    vfio_user_mig_put_head(position, record, size, head);
    qemu_put_buffer(f, head, sizeof(head));
    if (size < LONG_PAYLOAD) {
        qemu_put_buffer(f, payload, size);
    } else {
        qemu_put_buffer_async(f, payload, size, false);
        qemu_fflush(f);         /* the caller may reuse the payload now */
    }
    return qemu_file_get_error(f);
}

int vfio_user_mig_begin_put(QEMUFile *f, uint64_t *position,
                            const VFIOUserMigIdentity *who)
{
    uint8_t beginning[VFIO_USER_MIG_BEGINNING_SIZE];
    uint8_t hello[VFIO_USER_MIG_HELLO_SIZE];

    vfio_user_mig_put_beginning(beginning);
    qemu_put_buffer(f, beginning, sizeof(beginning));
    *position = sizeof(beginning);
    vfio_user_mig_put_hello(who, hello);
    return vfio_user_mig_put(f, position, VFIO_USER_MIG_HELLO, hello,
                             sizeof(hello));
}

/* At the end of the stream, QEMUFile returns too few bytes or zeros. */
bool vfio_user_mig_get_payload(QEMUFile *f, void *buffer, size_t size,
                               Error **errp)
{
    size_t got = qemu_get_buffer(f, buffer, size);
    int ret = qemu_file_get_error(f);

    if (got != size || ret < 0) {
        error_setg(errp, "the stream ends in the middle of the device's state"
                   " (%s): the source failed and reported the reason, or the"
                   " connection to it was lost",
                   ret < 0 ? strerror(-ret) : "end of file");
        return false;
    }
    return true;
}

bool vfio_user_mig_get(QEMUFile *f, uint64_t *position, VFIOUserMigHead *head,
                       Error **errp)
{
    uint8_t bytes[VFIO_USER_MIG_HEAD_SIZE];

    return vfio_user_mig_get_payload(f, bytes, sizeof(bytes), errp) &&
           vfio_user_mig_get_head(position, bytes, head, errp);
}

bool vfio_user_mig_begin_get(QEMUFile *f, uint64_t *position, Error **errp)
{
    uint8_t bytes[VFIO_USER_MIG_BEGINNING_SIZE];

    *position = sizeof(bytes);
    return vfio_user_mig_get_payload(f, bytes, sizeof(bytes), errp) &&
           vfio_user_mig_check_beginning(bytes, errp);
}
