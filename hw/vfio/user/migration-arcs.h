/*
 * vfio-user migration: states of a device and the arcs between them
 *
 * The state machines of migration v1 and v2 as two tables, and a function that
 * finds the next arc between two states.  Pure: sends nothing, keeps no state,
 * any thread may call.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_ARCS_H
#define HW_VFIO_USER_MIGRATION_ARCS_H

/* The states of both versions, with the numbers of v2's MIG_DEVICE_STATE */
typedef enum VFIOUserMigState {
    VFIO_USER_MIG_ERROR = 0,
    VFIO_USER_MIG_STOP = 1,
    VFIO_USER_MIG_RUNNING = 2,
    VFIO_USER_MIG_STOP_COPY = 3,
    VFIO_USER_MIG_RESUMING = 4,
    VFIO_USER_MIG_RUNNING_P2P = 5,      /* unused */
    VFIO_USER_MIG_PRE_COPY = 6,
    VFIO_USER_MIG_PRE_COPY_P2P = 7,     /* unused */
    VFIO_USER_MIG_STATES
} VFIOUserMigState;

/* The arcs that a server must support. */
typedef struct VFIOUserMigArcs VFIOUserMigArcs;

extern const VFIOUserMigArcs vfio_user_mig_v1_arcs;
extern const VFIOUserMigArcs vfio_user_mig_v2_arcs;

/**
 * vfio_user_mig_state_name:
 * @state: may be invalid
 */
const char *vfio_user_mig_state_name(uint32_t state);

/**
 * vfio_user_mig_next:
 * @from: state of the device
 * @to: requested state
 *
 * Returns the end of the first arc on the shortest path, or @to if @from equals
 * @to.  With v2 no path leads through STOP_COPY or PRE_COPY; with v1 that is
 * allowed, because it is the only way to leave PRE_COPY.
 *
 * Returns VFIO_USER_MIG_ERROR if there is no path: from and to ERROR and unused
 * states, and from STOP_COPY to PRE_COPY.
 */
VFIOUserMigState vfio_user_mig_next(const VFIOUserMigArcs *arcs,
                                    VFIOUserMigState from,
                                    VFIOUserMigState to);

#endif /* HW_VFIO_USER_MIGRATION_ARCS_H */
