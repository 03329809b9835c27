/*
 * Test rig: one migration that an action disturbs
 *
 * A VM with a device that writes to its memory migrates from one QEMU to
 * another.  The servers hold the migration at a phase, an action is performed,
 * and the migration completes or fails.  In the end, one VM must run with its
 * memory and device intact, or there must be an error message.
 *
 * vfio-user-trip-phases.c has the phases, vfio-user-trip-actions.c the
 * actions, and vfio-user-trip-end.c the checks at the end.  Test thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_TRIP_H
#define TESTS_QTEST_VFIO_USER_TRIP_H

#include "vfio-user-mortal.h"
#include "vfio-user-writer.h"

/* Area that the guest writes, directly below that of the device. */
#define VFIO_USER_TRIP_GUEST_SIZE MiB
#define VFIO_USER_TRIP_GUEST (VFIO_USER_WRITER_AREA - VFIO_USER_TRIP_GUEST_SIZE)

/* Properties of a held phase */
typedef enum VFIOUserTripIs {
    VFIO_USER_TRIP_SLOW = 1 << 0,       /* memory is being sent */
    VFIO_USER_TRIP_WAITS = 1 << 1,      /* the source's monitor may block */
    VFIO_USER_TRIP_STOPS = 1 << 2,      /* the VM is stopped, or stops */
    VFIO_USER_TRIP_PAUSED = 1 << 3,     /* after pre-switchover */
    VFIO_USER_TRIP_CANCELS = 1 << 4,    /* the migration is cancelled */
    VFIO_USER_TRIP_SHARED = 1 << 5,     /* requires shared memory */
    VFIO_USER_TRIP_FAST = 1 << 6,       /* reached when memory is sent fast */
    VFIO_USER_TRIP_PRE_COPY = 1 << 7,   /* requires PRE_COPY of the server */
    VFIO_USER_TRIP_HOLDS = 1 << 8,      /* a server withholds an answer */
} VFIOUserTripIs;

typedef struct VFIOUserTripPhase {
    unsigned version;           /* migration v1 or v2 */
    const char *name;
    VFIOUserSide side;          /* server that holds it */
    VFIOUserWhen when;          /* message whose answer is held */
    unsigned is;                /* VFIOUserTripIs */
    VFIOUserWhen gate;          /* "when" only counts after this */
} VFIOUserTripPhase;

typedef struct VFIOUserTrip VFIOUserTrip;

typedef struct VFIOUserTripAction {
    const char *name;
    void (*run)(VFIOUserTrip *t);
    unsigned not_if;            /* VFIOUserTripIs */
    unsigned only_if;
    bool takes_time;            /* migration must not end meanwhile */
    bool may_lose;              /* may lose the device, with a message */
    unsigned timeout_ms;        /* x-timeout-ms; 0: no answer is late */
    unsigned needs;             /* capabilities, a bit each */
} VFIOUserTripAction;

/* Capabilities that can be combined and that work with any server. */
typedef enum VFIOUserTripCapability {
    VFIO_USER_TRIP_RETURN_PATH,
    VFIO_USER_TRIP_SWITCHOVER_ACK,      /* requires RETURN_PATH */
    VFIO_USER_TRIP_PAUSE,
    VFIO_USER_TRIP_MULTIFD,
    VFIO_USER_TRIP_XBZRLE,
    VFIO_USER_TRIP_AUTO_CONVERGE,
    VFIO_USER_TRIP_LATE_BLOCK,
    VFIO_USER_TRIP_POSTCOPY,            /* private memory; not on all hosts */
    VFIO_USER_TRIP_CAPABILITIES
} VFIOUserTripCapability;

typedef struct VFIOUserTripPlan {
    const VFIOUserTripPhase *phase;
    const VFIOUserTripAction *action;
    unsigned capabilities;      /* a bit each */
    bool shared;                /* the servers share memory */
    bool no_pre_copy;           /* server lacks PRE_COPY */
    bool stays;                 /* destination keeps running on failure */
    uint32_t seed;              /* seed of the guest's writes */
} VFIOUserTripPlan;

struct VFIOUserTrip {
    const VFIOUserTripPlan *plan;
    GRand *rand;
    VFIOUserMortal *vm[2];
    VFIOUserServer *server[2];
    bool hung_up[2];            /* the server hung up */
    bool stopped;               /* stopped by the user */
    bool was_reset;
    bool ejected;
    bool asleep;                /* the guest is suspended */
    uint32_t fill;              /* seed of the device's memory */
    uint8_t *memory;            /* a copy of what the guest wrote */
    VFIOUserWriter writer;
    VFIOUserRule hold[2];
    unsigned fds[2], threads[2]; /* at the start */
};

extern const VFIOUserTripPhase vfio_user_trip_phases[];
extern const unsigned vfio_user_trip_nr_phases;
extern const VFIOUserTripAction vfio_user_trip_actions[];
extern const unsigned vfio_user_trip_nr_actions;

const char *vfio_user_trip_capability(VFIOUserTripCapability capability);

/* Starts both QEMUs; the VM runs. */
VFIOUserTrip *vfio_user_trip_new(const VFIOUserTripPlan *plan);
void vfio_user_trip_free(VFIOUserTrip *t);

/* Prints the messages of both QEMUs. */
void vfio_user_trip_say(VFIOUserTrip *t);

/* Migrates until the phase is reached. */
void vfio_user_trip_reach(VFIOUserTrip *t);

/* Lets the servers answer again. */
void vfio_user_trip_release(VFIOUserTrip *t);

/* Waits until the migration ends and checks the result. */
void vfio_user_trip_end(VFIOUserTrip *t);

/* The guest's work on its memory and the device's; QEMU must be running */
void vfio_user_trip_set_up(VFIOUserTrip *t, VFIOUserSide side);
void vfio_user_trip_work(VFIOUserTrip *t);

/* Fails the test unless the device's memory holds what the guest wrote last. */
void vfio_user_trip_check_fill(VFIOUserTrip *t, VFIOUserSide side);

/* Sets a migration parameter of the source. */
void vfio_user_trip_set(VFIOUserTrip *t, const char *name, int64_t value);

/*
 * Returns the migration status on a side, or NULL if there is none or QEMU has
 * exited.
 */
char *vfio_user_trip_status(VFIOUserTrip *t, VFIOUserSide side);

#endif /* TESTS_QTEST_VFIO_USER_TRIP_H */
