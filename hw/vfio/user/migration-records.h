/*
 * vfio-user migration: records in QEMU's migration stream
 *
 * Writes the records of migration-stream.h to a QEMUFile and reads them.  Does
 * not interpret payloads.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_RECORDS_H
#define HW_VFIO_USER_MIGRATION_RECORDS_H

#include "hw/vfio/user/migration-stream.h"

/**
 * vfio_user_mig_put:
 * @position: in the device's stream; advanced past the record
 * @size: of @payload, bytes, within the bounds of @record
 *
 * Returns 0 or the error of @f.
 */
int vfio_user_mig_put(QEMUFile *f, uint64_t *position,
                      VFIOUserMigRecord record, const void *payload,
                      size_t size);

/**
 * vfio_user_mig_get:
 * @position: in the device's stream; advanced past the record
 *
 * Reads the head of a record.  Returns true with @head filled if the head is
 * valid and was written for this position, else false with @errp set.  The
 * caller must read the payload next.
 */
bool vfio_user_mig_get(QEMUFile *f, uint64_t *position, VFIOUserMigHead *head,
                       Error **errp);

/**
 * vfio_user_mig_get_payload:
 * @size: bytes to read, the whole payload of a record or the next part of it
 *
 * Returns true with the bytes in @buffer, else false with @errp set.
 */
bool vfio_user_mig_get_payload(QEMUFile *f, void *buffer, size_t size,
                               Error **errp);

/**
 * vfio_user_mig_begin_put:
 * @position: set to the position of the next record
 *
 * Writes the beginning of a stream and the HELLO record.  Returns 0 or the
 * error of @f.
 */
int vfio_user_mig_begin_put(QEMUFile *f, uint64_t *position,
                            const VFIOUserMigIdentity *who);

/**
 * vfio_user_mig_begin_get:
 * @position: set to the position of the next record
 *
 * Reads the beginning of a stream.  Returns true if this QEMU can read the
 * stream, else false with @errp set.
 */
bool vfio_user_mig_begin_get(QEMUFile *f, uint64_t *position, Error **errp);

#endif /* HW_VFIO_USER_MIGRATION_RECORDS_H */
