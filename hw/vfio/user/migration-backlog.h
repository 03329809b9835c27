/*
 * vfio-user migration: how much a device in PRE_COPY may still have to send
 *
 * Servers with migration v2 do not announce how much state they have, so it is
 * estimated from what they sent.  An empty read is a (preliminary) end.  A
 * short read is not an end: either the server limits the size of its replies
 * and has more, or it sent everything and the running device produces a little
 * more until the next read.  QEMU continues to read, up to a number of short
 * reads, to distinguish the two cases.
 *
 * Pure: sends nothing, any thread may call.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_BACKLOG_H
#define HW_VFIO_USER_MIGRATION_BACKLOG_H

/* Bytes reported as pending while the real number is unknown. */
#define VFIO_USER_MIG_UNKNOWN (1 * MiB)

/* This many short reads since the last empty read count as an end. */
#define VFIO_USER_MIG_SHORT_READS 4096

/* A series of consecutive reads. */
typedef struct VFIOUserMigTurn {
    uint64_t bytes;             /* total of the reads */
    unsigned short_reads;       /* reads that returned less than requested */
    bool ended;                 /* the last read returned nothing */
} VFIOUserMigTurn;

typedef struct VFIOUserMigBacklog {
    bool ended;                 /* an end was seen at least once */
    bool endless;               /* the limit was exceeded: ignore the rest */
    bool more;                  /* the last turn did not reach an end */
    uint64_t since;             /* bytes since the last empty read */
    unsigned short_reads;       /* short reads since the last empty read */
    uint64_t turn;              /* bytes of the last turn */
} VFIOUserMigBacklog;

/**
 * vfio_user_mig_backlog_turn:
 * @turn: the reads of one turn
 * @limit: most bytes without an end
 *
 * Accounts for a turn.  Returns true once, when the limit is exceeded.
 */
bool vfio_user_mig_backlog_turn(VFIOUserMigBacklog *b,
                                const VFIOUserMigTurn *turn, uint64_t limit);

/**
 * vfio_user_mig_backlog_pending:
 * @threshold: QEMU does not stop the VM while this many bytes are pending
 *
 * Returns the number of bytes pending.  Before the first end in PRE_COPY this
 * is at least @threshold, because the rest would be sent while the VM is
 * stopped.  Later it is the size of the last turn, because a busy device
 * produces about the same amount again.  It is 0 once the limit was exceeded.
 */
uint64_t vfio_user_mig_backlog_pending(const VFIOUserMigBacklog *b,
                                       uint64_t threshold);

#endif /* HW_VFIO_USER_MIGRATION_BACKLOG_H */
