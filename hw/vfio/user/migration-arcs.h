/*
 * vfio-user migration: states of a device and the arcs between them
 *
 * The state machine of servers later than 0.9.1 as a table, and which arc to
 * take next on the way from one state to another.  Pure: sends nothing, keeps
 * no state, any thread may call.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_ARCS_H
#define HW_VFIO_USER_MIGRATION_ARCS_H

/* device_state of the feature MIG_DEVICE_STATE */
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

/**
 * vfio_user_mig_state_name:
 * @state: need not be a state
 */
const char *vfio_user_mig_state_name(uint32_t state);

/**
 * vfio_user_mig_next:
 * @from: state of the device
 * @to: state that is wanted
 *
 * The end of the first arc on the shortest way, none of whose inner nodes is a
 * state that saves.  @to itself where @from is @to already.
 *
 * Returns VFIO_USER_MIG_ERROR where there is no way: from or to ERROR and
 * states that are not used, and from STOP_COPY to PRE_COPY.
 */
VFIOUserMigState vfio_user_mig_next(VFIOUserMigState from,
                                    VFIOUserMigState to);

#endif /* HW_VFIO_USER_MIGRATION_ARCS_H */
