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
 * @sum: of the stream; @payload is added to it
 * @size: of @payload, bytes, within the bounds of @record
 *
 * Returns 0 or the error of @f.
 */
int vfio_user_mig_put(QEMUFile *f, VFIOUserMigSum *sum,
                      VFIOUserMigRecord record, const void *payload,
                      size_t size);

/**
 * vfio_user_mig_get:
 * @sum: of the stream; the payload is added to it
 * @buffer: VFIO_USER_MIG_MAX_RECORD bytes, gets the payload
 *
 * Returns true with @head filled where the next record is one that was made to
 * be there, else false with @errp set.
 */
bool vfio_user_mig_get(QEMUFile *f, VFIOUserMigSum *sum, VFIOUserMigHead *head,
                       void *buffer, Error **errp);

/* Begins a stream: the magic number, and who the device is. */
int vfio_user_mig_put_beginning(QEMUFile *f, VFIOUserMigSum *sum,
                                const VFIOUserMigIdentity *who);

#endif /* HW_VFIO_USER_MIGRATION_RECORDS_H */
