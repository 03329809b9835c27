/*
 * vfio-user migration: format of a device's part of QEMU's migration stream
 *
 * A magic number and versions, followed by records.  Each record has a head of
 * fixed size and a payload:
 *
 *   HELLO          identity of the device; in the section of the set-up phase
 *   RESTART        the data sent so far is void
 *   PART           data of the server; the rest of the chunk follows
 *   DATA           data of the server, up to the end of a chunk
 *   CONFIG         QEMU's own state of the device
 *   END            end of the device's stream
 *   SECTION_END    end of the section of QEMU's stream
 *   OPTIONAL       any type that this QEMU does not know and may skip
 *
 * A chunk is the data that the server returned at once.  With v1 it must be
 * written at once, too.
 *
 * The head contains the number of bytes of the stream up to the end of its
 * record.  A record that is lost, repeated, of the wrong length or of another
 * device is thus detected before any of it is sent to the server.  The types
 * are words of four letters, and changing one byte never turns one into
 * another.  Types that begin with "Op" may be skipped if unknown; other unknown
 * types are errors.  Payloads have no checksum, like the rest of QEMU's stream.
 *
 * docs/devel/vfio-user-client.rst lists the changes of each version.
 *
 * Pure: reads and writes memory only, any thread may call.  All integers are
 * big-endian, as in the rest of QEMU's stream.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_STREAM_H
#define HW_VFIO_USER_MIGRATION_STREAM_H

#include "qemu/units.h"
#include "qapi/error.h"

/*
 * Beginning of a stream: magic number (8 bytes), version of the writer or 0 (2
 * bytes), lowest version that can read the stream (2 bytes).  A reader of
 * version 2 expects the number 2 in the last 4 bytes, so the writer's version
 * stays 0 as long as version 2 can read the stream.
 */
#define VFIO_USER_MIG_MAGIC 0x7666696f75736572ULL       /* "vfiouser" */
#define VFIO_USER_MIG_BEGINNING_SIZE 12

/*
 * The version of this QEMU, and the oldest version that it reads.  The latter
 * can also read what this QEMU writes.
 */
#define VFIO_USER_MIG_VERSION 3
#define VFIO_USER_MIG_OLDEST 2

/* Most bytes of payload in one record. */
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
    VFIO_USER_MIG_OPTIONAL,     /* only read, never written */
    VFIO_USER_MIG_RECORDS
} VFIOUserMigRecord;

typedef struct VFIOUserMigHead {
    VFIOUserMigRecord record;
    uint32_t size;              /* of the payload, bytes */
} VFIOUserMigHead;

/* Identity of a device; devices that differ cannot load each other's state. */
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
 * Returns true if this QEMU can read the stream, else false with @errp set.
 */
bool vfio_user_mig_check_beginning(const uint8_t *from, Error **errp);

/**
 * vfio_user_mig_put_head:
 * @position: bytes of the stream so far; the record's bytes are added
 * @size: of the payload, within the bounds of @record
 * @to: VFIO_USER_MIG_HEAD_SIZE bytes
 */
void vfio_user_mig_put_head(uint64_t *position, VFIOUserMigRecord record,
                            uint32_t size, uint8_t *to);

/**
 * vfio_user_mig_get_head:
 * @position: bytes of the stream so far; the record's bytes are added
 * @from: VFIO_USER_MIG_HEAD_SIZE bytes, not trusted
 *
 * Returns true with @head filled if the type is known or optional, the size is
 * within its bounds and no bytes are missing before the record; else false with
 * @errp set.
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
 * @mine: the device that loads the state
 * @from: VFIO_USER_MIG_HELLO_SIZE bytes, not trusted
 *
 * Returns true if @mine can load the state, else false with the differences in
 * @errp.
 */
bool vfio_user_mig_check_hello(const VFIOUserMigIdentity *mine,
                               const uint8_t *from, Error **errp);

#endif /* HW_VFIO_USER_MIGRATION_STREAM_H */
