/*
 * vfio-user migration: states of a device and the arcs between them
 *
 * See the header.  Specification: "Device states" in the text on servers later
 * than 0.9.1; the arcs are those that a server must take.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vfio/user/migration-arcs.h"

static const struct {
    VFIOUserMigState from, to;
} arcs[] = {
    { VFIO_USER_MIG_RUNNING, VFIO_USER_MIG_PRE_COPY },
    { VFIO_USER_MIG_PRE_COPY, VFIO_USER_MIG_STOP_COPY },
    { VFIO_USER_MIG_PRE_COPY, VFIO_USER_MIG_RUNNING },
    { VFIO_USER_MIG_RUNNING, VFIO_USER_MIG_STOP },
    { VFIO_USER_MIG_STOP, VFIO_USER_MIG_RUNNING },
    { VFIO_USER_MIG_STOP, VFIO_USER_MIG_STOP_COPY },
    { VFIO_USER_MIG_STOP_COPY, VFIO_USER_MIG_STOP },
    { VFIO_USER_MIG_STOP, VFIO_USER_MIG_RESUMING },
    { VFIO_USER_MIG_RESUMING, VFIO_USER_MIG_STOP },
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

VFIOUserMigState vfio_user_mig_next(VFIOUserMigState from, VFIOUserMigState to)
{
    uint32_t reached = 0;       /* bit per state from which @to is reached */

    if (from == VFIO_USER_MIG_ERROR || from >= VFIO_USER_MIG_STATES ||
        to >= VFIO_USER_MIG_STATES ||
        (from == VFIO_USER_MIG_STOP_COPY && to == VFIO_USER_MIG_PRE_COPY)) {
        return VFIO_USER_MIG_ERROR;
    }
    if (from == to) {
        return to;
    }
    reached = 1u << to;
    /* backwards from @to; no way has more arcs than there are states */
    for (unsigned n = 1; n < VFIO_USER_MIG_STATES; n++) {
        uint32_t found = 0;

        for (size_t i = 0; i < ARRAY_SIZE(arcs); i++) {
            if (!(reached & (1u << arcs[i].to)) ||
                (arcs[i].to != to && saves(arcs[i].to))) {
                continue;
            }
            if (arcs[i].from == from) {
                return arcs[i].to;
            }
            found |= 1u << arcs[i].from;
        }
        reached |= found;
    }
    return VFIO_USER_MIG_ERROR;
}
