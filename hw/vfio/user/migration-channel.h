/*
 * vfio-user migration: a channel that is made of records
 *
 * What is written to the channel goes into QEMU's migration stream as records
 * DATA, and what they hold is read from it.  So a QEMUFile over it has the
 * bytes of one section of somebody else's, kept from being changed on their
 * way.  Carries no descriptors, and nobody can watch it.
 *
 * Threads: whoever writes or reads the stream, one at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_CHANNEL_H
#define HW_VFIO_USER_MIGRATION_CHANNEL_H

#include "io/channel.h"
#include "qom/object.h"
#include "hw/vfio/user/migration-stream.h"

#define TYPE_VFIO_USER_MIG_CHANNEL "vfio-user-migration-channel"
OBJECT_DECLARE_SIMPLE_TYPE(VFIOUserMigChannel, VFIO_USER_MIG_CHANNEL)

struct VFIOUserMigChannel {
    QIOChannel parent_obj;

    QEMUFile *f;                /* QEMU's stream */
    VFIOUserMigSum *sum;        /* of it, in this direction */

    /* writing: called after each record, may be NULL */
    void (*put)(void *opaque);
    void *opaque;

    /* reading */
    uint8_t *buffer;            /* VFIO_USER_MIG_MAX_RECORD bytes, lent */
    size_t at, size;            /* of what is in it */
    bool ended;                 /* SECTION_END has been read */
};

/* Into a section of @f. */
VFIOUserMigChannel *vfio_user_mig_channel_new(QEMUFile *f,
                                              VFIOUserMigSum *sum);

/**
 * vfio_user_mig_channel_fill:
 *
 * Reads the next record if nothing is left of the last one.  At the end of the
 * section there is none.
 *
 * Returns true, or false with @errp set: the stream is broken.
 */
bool vfio_user_mig_channel_fill(VFIOUserMigChannel *channel, Error **errp);

#endif /* HW_VFIO_USER_MIGRATION_CHANNEL_H */
