/*
 * vfio-user migration: what a device in PRE_COPY may still have to say
 *
 * Servers give what they have and never say how much that is, so it is guessed
 * from what they gave.  Pure: asks nobody, any thread may call.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_BACKLOG_H
#define HW_VFIO_USER_MIGRATION_BACKLOG_H

/* What is pending while nobody knows how much; bytes. */
#define VFIO_USER_MIG_UNKNOWN (1 * MiB)

typedef struct VFIOUserMigBacklog {
    bool ended;                 /* it had nothing more, once */
    bool endless;               /* it is not listened to for longer */
    uint64_t since;             /* bytes since it last had nothing more */
    uint64_t turn;              /* bytes of the last turn */
} VFIOUserMigBacklog;

/**
 * vfio_user_mig_backlog_turn:
 * @bytes: that the server gave in a turn, a few reads after one another
 * @ended: the last of them was short
 * @limit: bytes without an end that are too many
 *
 * Returns whether the limit was passed, once.
 */
bool vfio_user_mig_backlog_turn(VFIOUserMigBacklog *b, uint64_t bytes,
                                bool ended, uint64_t limit);

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
