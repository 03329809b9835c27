/*
 * vfio-user migration: how much a device in PRE_COPY may still have to send
 *
 * Servers never announce how much state they have, so it is estimated from
 * what they sent.  An empty read is an end, for now.  A short read is not an
 * end: either the server limits the size of a reply and has more, or it sent
 * all it had and the running device produces a little until the next read.
 * Reading goes on, up to a number of short reads, to tell the two apart.
 *
 * Pure: asks nobody, any thread may call.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_BACKLOG_H
#define HW_VFIO_USER_MIGRATION_BACKLOG_H

/* What is pending while nobody knows how much; bytes. */
#define VFIO_USER_MIG_UNKNOWN (1 * MiB)

/* Short reads without an end after which they count as one. */
#define VFIO_USER_MIG_SHORT_READS 4096

/* A few reads after one another. */
typedef struct VFIOUserMigTurn {
    uint64_t bytes;             /* that the server gave */
    unsigned short_reads;       /* that brought fewer than asked for, not 0 */
    bool ended;                 /* the last one brought nothing */
} VFIOUserMigTurn;

typedef struct VFIOUserMigBacklog {
    bool ended;                 /* it had nothing more, once */
    bool endless;               /* it is not listened to for longer */
    bool more;                  /* the last turn came to no end */
    uint64_t since;             /* bytes since it last had nothing more */
    unsigned short_reads;       /* likewise */
    uint64_t turn;              /* bytes of the last turn */
} VFIOUserMigBacklog;

/**
 * vfio_user_mig_backlog_turn:
 * @turn: what a turn of reads brought
 * @limit: bytes without an end that are too many
 *
 * Returns whether the limit was passed, once.
 */
bool vfio_user_mig_backlog_turn(VFIOUserMigBacklog *b,
                                const VFIOUserMigTurn *turn, uint64_t limit);

/**
 * vfio_user_mig_backlog_pending:
 * @threshold: bytes from which QEMU lets the VM run on
 *
 * Returns bytes: at least @threshold until PRE_COPY was at its end once, for
 * what it still has would have to wait for the VM to stop; later as many as in
 * the last turn, since a device that works brings about as many again; and none
 * where no end is in sight.
 */
uint64_t vfio_user_mig_backlog_pending(const VFIOUserMigBacklog *b,
                                       uint64_t threshold);

#endif /* HW_VFIO_USER_MIGRATION_BACKLOG_H */
