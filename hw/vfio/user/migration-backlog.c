/*
 * vfio-user migration: how much a device in PRE_COPY may still have to send
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "hw/vfio/user/migration-backlog.h"

bool vfio_user_mig_backlog_turn(VFIOUserMigBacklog *b,
                                const VFIOUserMigTurn *turn, uint64_t limit)
{
    bool was_endless = b->endless;
    bool trickles;

    b->turn = turn->bytes;
    b->since += turn->bytes;
    b->short_reads += turn->short_reads;
    trickles = b->short_reads >= VFIO_USER_MIG_SHORT_READS;
    b->ended |= turn->ended || trickles;
    if (turn->ended) {
        b->since = b->short_reads = 0;
    } else if (b->since > limit) {
        b->endless = true;
    }
    b->more = !turn->ended && !trickles && !b->endless;
    return b->endless && !was_endless;
}

uint64_t vfio_user_mig_backlog_pending(const VFIOUserMigBacklog *b,
                                       uint64_t threshold)
{
    if (b->endless) {
        return 0;
    }
    return b->ended ? b->turn : MAX(threshold, VFIO_USER_MIG_UNKNOWN);
}
