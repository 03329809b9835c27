/*
 * vfio-user migration: records in QEMU's migration stream
 *
 * Writes the records of migration-stream.h to a QEMUFile and reads them from
 * one.  What is in them is others' to know.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_RECORDS_H
#define HW_VFIO_USER_MIGRATION_RECORDS_H

#include "hw/vfio/user/migration-stream.h"

/**
 * vfio_user_mig_put:
 * @position: in the device's stream, is moved on
 * @size: of @payload, bytes, within the bounds of @record
 *
 * Returns 0 or the error of @f.
 */
int vfio_user_mig_put(QEMUFile *f, uint64_t *position,
                      VFIOUserMigRecord record, const void *payload,
                      size_t size);

/**
 * vfio_user_mig_get:
 * @position: in the device's stream, is moved on
 *
 * Returns true with @head filled where the next record is one that was made to
 * be there, else false with @errp set.  Its payload is to be got next.
 */
bool vfio_user_mig_get(QEMUFile *f, uint64_t *position, VFIOUserMigHead *head,
                       Error **errp);

/**
 * vfio_user_mig_get_payload:
 * @size: bytes of the payload of a record, or the next of them
 *
 * Returns true with them in @buffer, else false with @errp set.
 */
bool vfio_user_mig_get_payload(QEMUFile *f, void *buffer, size_t size,
                               Error **errp);

/**
 * vfio_user_mig_begin_put:
 * @position: set to that of the next record
 *
 * Begins a stream and says who the device is.  Returns 0 or the error of @f.
 */
int vfio_user_mig_begin_put(QEMUFile *f, uint64_t *position,
                            const VFIOUserMigIdentity *who);

/**
 * vfio_user_mig_begin_get:
 * @position: set to that of the next record
 *
 * Returns true where a stream begins that can be read, else false with @errp
 * set.
 */
bool vfio_user_mig_begin_get(QEMUFile *f, uint64_t *position, Error **errp);

#endif /* HW_VFIO_USER_MIGRATION_RECORDS_H */
