/*
 * vfio-user migration: states of a device and the arcs between them
 *
 * See the header.  Specification: for v1 the table of valid transitions in
 * "VFIO Device Migration Info"; for v2 "Device states" in the specification
 * after 0.9.1, the arcs that a server must support.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vfio/user/migration-arcs.h"

#define MAX_ARCS 9

struct VFIOUserMigArcs {
    bool leads_through_saving;  /* paths may lead through a saving state */
    unsigned n;
    struct {
        VFIOUserMigState from, to;
    } arc[MAX_ARCS];
};

const VFIOUserMigArcs vfio_user_mig_v1_arcs = {
    .leads_through_saving = true,
    .n = 9,
    .arc = {
        { VFIO_USER_MIG_STOP, VFIO_USER_MIG_RUNNING },
        { VFIO_USER_MIG_RUNNING, VFIO_USER_MIG_STOP },
        { VFIO_USER_MIG_RUNNING, VFIO_USER_MIG_STOP_COPY },
        { VFIO_USER_MIG_RUNNING, VFIO_USER_MIG_PRE_COPY },
        { VFIO_USER_MIG_RUNNING, VFIO_USER_MIG_RESUMING },
        { VFIO_USER_MIG_STOP_COPY, VFIO_USER_MIG_STOP },
        { VFIO_USER_MIG_STOP_COPY, VFIO_USER_MIG_RUNNING },
        { VFIO_USER_MIG_PRE_COPY, VFIO_USER_MIG_STOP_COPY },
        { VFIO_USER_MIG_RESUMING, VFIO_USER_MIG_RUNNING },
    },
};

const VFIOUserMigArcs vfio_user_mig_v2_arcs = {
    .n = 9,
    .arc = {
        { VFIO_USER_MIG_RUNNING, VFIO_USER_MIG_PRE_COPY },
        { VFIO_USER_MIG_PRE_COPY, VFIO_USER_MIG_STOP_COPY },
        { VFIO_USER_MIG_PRE_COPY, VFIO_USER_MIG_RUNNING },
        { VFIO_USER_MIG_RUNNING, VFIO_USER_MIG_STOP },
        { VFIO_USER_MIG_STOP, VFIO_USER_MIG_RUNNING },
        { VFIO_USER_MIG_STOP, VFIO_USER_MIG_STOP_COPY },
        { VFIO_USER_MIG_STOP_COPY, VFIO_USER_MIG_STOP },
        { VFIO_USER_MIG_STOP, VFIO_USER_MIG_RESUMING },
        { VFIO_USER_MIG_RESUMING, VFIO_USER_MIG_STOP },
    },
};

static const char *const names[VFIO_USER_MIG_STATES] = {
    [VFIO_USER_MIG_ERROR] = "ERROR",
    [VFIO_USER_MIG_STOP] = "STOP",
    [VFIO_USER_MIG_RUNNING] = "RUNNING",
    [VFIO_USER_MIG_STOP_COPY] = "STOP_COPY",
    [VFIO_USER_MIG_RESUMING] = "RESUMING",
    [VFIO_USER_MIG_RUNNING_P2P] = "RUNNING_P2P",
    [VFIO_USER_MIG_PRE_COPY] = "PRE_COPY",
    [VFIO_USER_MIG_PRE_COPY_P2P] = "PRE_COPY_P2P",
};

const char *vfio_user_mig_state_name(uint32_t state)
{
    return state < ARRAY_SIZE(names) ? names[state] : "no state";
}

static bool saves(VFIOUserMigState state)
{
    return state == VFIO_USER_MIG_STOP_COPY || state == VFIO_USER_MIG_PRE_COPY;
}

static bool has_path(VFIOUserMigState from, VFIOUserMigState to)
{
    return from != VFIO_USER_MIG_ERROR && from < VFIO_USER_MIG_STATES &&
           to < VFIO_USER_MIG_STATES &&
           !(from == VFIO_USER_MIG_STOP_COPY && to == VFIO_USER_MIG_PRE_COPY);
}

VFIOUserMigState vfio_user_mig_next(const VFIOUserMigArcs *arcs,
                                    VFIOUserMigState from,
                                    VFIOUserMigState to)
{
    uint32_t reached;           /* bitmap of states that have a path to @to */

    if (!has_path(from, to)) {
        return VFIO_USER_MIG_ERROR;
    }
    if (from == to) {
        return to;
    }
    reached = 1u << to;
    /* search backwards from @to; no path has more arcs than there are states */
    for (unsigned n = 1; n < VFIO_USER_MIG_STATES; n++) {
        uint32_t found = 0;

        for (unsigned i = 0; i < arcs->n; i++) {
            VFIOUserMigState end = arcs->arc[i].to;

            if (!(reached & (1u << end)) ||
                (end != to && saves(end) && !arcs->leads_through_saving)) {
                continue;
            }
            if (arcs->arc[i].from == from) {
                return end;
            }
            found |= 1u << arcs->arc[i].from;
        }
        reached |= found;
    }
    return VFIO_USER_MIG_ERROR;
}
