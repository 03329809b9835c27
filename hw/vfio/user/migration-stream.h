/*
 * vfio-user migration: what a device looks like in QEMU's migration stream
 *
 * A magic number and versions, then records, each with a head of fixed size
 * that says what follows:
 *
 *   HELLO          who the device is; in the section of the set-up phase
 *   RESTART        what was sent so far is void
 *   PART           bytes of the server; the rest of its chunk comes next
 *   DATA           bytes of the server, to the end of a chunk
 *   CONFIG         what QEMU itself knows of the device
 *   END            nothing else follows
 *   SECTION_END    the section of QEMU's stream ends here
 *   OPTIONAL       any kind that this QEMU does not know and need not
 *
 * A chunk is what the server gave at once, and what v1 wants to get at once.
 *
 * A head has the number of bytes of the stream up to the end of its record, so
 * that a record that is lost, said twice, of another length or of another
 * device is noticed before any of it gets to the server.  The kinds are words
 * of four letters: no change of one byte makes one from another.  Those that
 * begin with "Op" may be skipped by who does not know them, all others may not.
 * Payload is as safe as the rest of QEMU's stream, which does not check its
 * bytes either.
 *
 * What each version has brought is in docs/devel/vfio-user.rst.
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

/*
 * What a stream begins with: 8 bytes; 2 with the version of who wrote it, or 0;
 * 2 with the lowest version of who can read it.  Version 2 wants 4 bytes with
 * the number 2: as long as it can read what is written, no writer is said.
 */
#define VFIO_USER_MIG_MAGIC 0x7666696f75736572ULL       /* "vfiouser" */
#define VFIO_USER_MIG_BEGINNING_SIZE 12

/* This QEMU's; the oldest that it reads, which can also read what it writes. */
#define VFIO_USER_MIG_VERSION 3
#define VFIO_USER_MIG_OLDEST 2

/* Bytes of payload of one record, at most. */
#define VFIO_USER_MIG_MAX_RECORD (1 * MiB)
#define VFIO_USER_MIG_HEAD_SIZE 16
#define VFIO_USER_MIG_HELLO_SIZE 20

typedef enum VFIOUserMigRecord {
    VFIO_USER_MIG_HELLO,
    VFIO_USER_MIG_RESTART,
    VFIO_USER_MIG_PART,
    VFIO_USER_MIG_DATA,
    VFIO_USER_MIG_CONFIG,
    VFIO_USER_MIG_END,
    VFIO_USER_MIG_SECTION_END,
    VFIO_USER_MIG_OPTIONAL,     /* is read, not written */
    VFIO_USER_MIG_RECORDS
} VFIOUserMigRecord;

typedef struct VFIOUserMigHead {
    VFIOUserMigRecord record;
    uint32_t size;              /* of the payload, bytes */
} VFIOUserMigHead;

/* Who a device is; two that differ do not load each other's state. */
typedef struct VFIOUserMigIdentity {
    uint32_t version;           /* of migration: 1 or 2 */
    uint16_t vendor, device, sub_vendor, sub_device;
    uint32_t class_revision;    /* class code and revision, as in the config */
    uint32_t config_size;
} VFIOUserMigIdentity;

/* For messages and traces. */
const char *vfio_user_mig_record_name(VFIOUserMigRecord record);

/**
 * vfio_user_mig_put_beginning:
 * @to: VFIO_USER_MIG_BEGINNING_SIZE bytes
 */
void vfio_user_mig_put_beginning(uint8_t *to);

/**
 * vfio_user_mig_check_beginning:
 * @from: VFIO_USER_MIG_BEGINNING_SIZE bytes, not trusted
 *
 * Returns true where a stream begins that this QEMU can read, else false with
 * @errp set.
 */
bool vfio_user_mig_check_beginning(const uint8_t *from, Error **errp);

/**
 * vfio_user_mig_put_head:
 * @position: bytes of the stream so far; those of the record are added
 * @size: of its payload, within the bounds of @record
 * @to: VFIO_USER_MIG_HEAD_SIZE bytes
 */
void vfio_user_mig_put_head(uint64_t *position, VFIOUserMigRecord record,
                            uint32_t size, uint8_t *to);

/**
 * vfio_user_mig_get_head:
 * @position: bytes of the stream so far; those of the record are added
 * @from: VFIO_USER_MIG_HEAD_SIZE bytes, not trusted
 *
 * Returns true with @head filled: a record that is known or optional, whose
 * size is within its bounds, and nothing is missing before it.
 */
bool vfio_user_mig_get_head(uint64_t *position, const uint8_t *from,
                            VFIOUserMigHead *head, Error **errp);

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

#endif /* HW_VFIO_USER_MIGRATION_STREAM_H */
