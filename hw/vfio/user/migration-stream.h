/*
 * vfio-user migration: what a device looks like in QEMU's migration stream
 *
 * A magic number, then records, each with a head of fixed size that says what
 * follows:
 *
 *   HELLO          who the device is; in the section of the set-up phase
 *   RESTART        what was sent so far is void
 *   DATA           bytes of the server; first generation: of a section of
 *                  hw/vfio/migration.c, cut anywhere
 *   CONFIG         what QEMU itself knows of the device
 *   END            nothing else follows; totals
 *   SECTION_END    the section of QEMU's stream ends here
 *
 * A head counts the bytes before it and carries a sum over all of them and
 * its own payload, so that a record that is changed, lost or of another
 * device is noticed before any of it gets to the server.  The sum finds
 * accidents; it is no signature.
 *
 * Pure: reads and writes memory only, any thread may call.  All integers
 * big-endian, as in the rest of QEMU's stream.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_STREAM_H
#define HW_VFIO_USER_MIGRATION_STREAM_H

#include "qemu/units.h"
#include "qapi/error.h"

/* What a stream begins with. */
#define VFIO_USER_MIG_MAGIC 0x7666696f75736572ULL       /* "vfiouser" */
#define VFIO_USER_MIG_VERSION 1

/* Bytes of payload of one record, at most. */
#define VFIO_USER_MIG_MAX_RECORD (1 * MiB)
#define VFIO_USER_MIG_HEAD_SIZE 24
#define VFIO_USER_MIG_HELLO_SIZE 20

typedef enum VFIOUserMigRecord {
    VFIO_USER_MIG_HELLO = 1,
    VFIO_USER_MIG_RESTART = 2,
    VFIO_USER_MIG_DATA = 3,
    VFIO_USER_MIG_CONFIG = 4,
    VFIO_USER_MIG_END = 5,
    VFIO_USER_MIG_SECTION_END = 6,
    VFIO_USER_MIG_RECORDS
} VFIOUserMigRecord;

/* What has gone by of a stream, in either direction. */
typedef struct VFIOUserMigSum {
    uint64_t bytes;             /* of payload */
    uint64_t sum;
} VFIOUserMigSum;

typedef struct VFIOUserMigHead {
    VFIOUserMigRecord record;
    uint32_t size;              /* of the payload, bytes */
    VFIOUserMigSum sum;         /* before the payload, and with it */
} VFIOUserMigHead;

/* Who a device is; two that differ do not load each other's state. */
typedef struct VFIOUserMigIdentity {
    uint16_t generation;        /* of the server: 1 or 2 */
    uint16_t vendor, device, sub_vendor, sub_device;
    uint32_t class_revision;    /* class code and revision, as in the config */
    uint32_t config_size;
} VFIOUserMigIdentity;

/**
 * vfio_user_mig_sum_add:
 *
 * Adds a payload.  Any change of one aligned word, or of several unless by
 * a chance of 2^-64, leads to another sum.
 */
void vfio_user_mig_sum_add(VFIOUserMigSum *sum, const void *bytes,
                           size_t size);

/**
 * vfio_user_mig_put_head:
 * @sum: of the stream; @payload is added to it
 * @size: of @payload, at most VFIO_USER_MIG_MAX_RECORD
 * @to: VFIO_USER_MIG_HEAD_SIZE bytes
 */
void vfio_user_mig_put_head(VFIOUserMigSum *sum, VFIOUserMigRecord record,
                            const void *payload, size_t size, uint8_t *to);

/**
 * vfio_user_mig_get_head:
 * @sum: of the stream so far
 * @from: VFIO_USER_MIG_HEAD_SIZE bytes, not trusted
 *
 * Returns true with @head filled: a known record whose size is within its
 * bounds, and nothing is missing before it.
 */
bool vfio_user_mig_get_head(const VFIOUserMigSum *sum, const uint8_t *from,
                            VFIOUserMigHead *head, Error **errp);

/**
 * vfio_user_mig_check:
 * @sum: of the stream; @payload is added to it
 * @payload: @head->size bytes, not trusted
 *
 * Returns true where the payload is what the head was made for.
 */
bool vfio_user_mig_check(VFIOUserMigSum *sum, const VFIOUserMigHead *head,
                         const void *payload, Error **errp);

/**
 * vfio_user_mig_put_hello:
 * @to: VFIO_USER_MIG_HELLO_SIZE bytes
 */
void vfio_user_mig_put_hello(const VFIOUserMigIdentity *who, uint8_t *to);

/**
 * vfio_user_mig_check_hello:
 * @mine: the device that is to load the state
 * @from: VFIO_USER_MIG_HELLO_SIZE bytes, not trusted
 *
 * Returns true where such a device's state can be loaded, else false with
 * what is different in @errp.
 */
bool vfio_user_mig_check_hello(const VFIOUserMigIdentity *mine,
                               const uint8_t *from, Error **errp);

/**
 * vfio_user_mig_check_magic:
 * @magic: the first eight bytes of a stream
 *
 * Returns true where it is ours.
 */
bool vfio_user_mig_check_magic(uint64_t magic, Error **errp);

#endif /* HW_VFIO_USER_MIGRATION_STREAM_H */
