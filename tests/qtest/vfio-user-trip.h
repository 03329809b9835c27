/*
 * Test rig: one migration that an action disturbs
 *
 * A VM with a device that writes to its memory migrates from one QEMU to
 * another.  The servers hold the migration at a phase, an action is performed,
 * and the migration completes or fails.  In the end, one VM must run with its
 * memory and device intact, or there must be an error message.
 *
 * vfio-user-trip-phases.c has the phases, vfio-user-trip-actions.c the
 * actions, vfio-user-trip-servers.c what happens to servers, also before and
 * after the migration, and vfio-user-trip-end.c the checks at the end.  Test
 * thread only.
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
    bool may_end;               /* may end the migration, with a message */
    bool may_lose;              /* may lose the device, with a message */
    bool comes_back;            /* requires a server that comes back */
    bool asks;                  /* waits for the destination's monitor */
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

/* What happens to a server before or after the migration */
typedef enum VFIOUserTripEvent {
    VFIO_USER_TRIP_NOTHING,
    VFIO_USER_TRIP_LOSS,        /* it is lost, and comes back */
    VFIO_USER_TRIP_SWITCH,      /* another one replaces it */
    VFIO_USER_TRIP_EVENTS
} VFIOUserTripEvent;

typedef struct VFIOUserTripPlan {
    const VFIOUserTripPhase *phase;
    const VFIOUserTripAction *action;
    unsigned capabilities;      /* a bit each */
    bool shared;                /* the servers share memory */
    bool no_pre_copy;           /* server lacks PRE_COPY */
    bool stays;                 /* destination keeps running on failure */
    bool returns;               /* a server that was lost comes back */
    VFIOUserTripEvent before[2];        /* to the server of this side */
    VFIOUserTripEvent after;    /* to the server of the side that has the VM */
    uint32_t seed;              /* seed of the guest's writes */
} VFIOUserTripPlan;

struct VFIOUserTrip {
    const VFIOUserTripPlan *plan;
    GRand *rand;
    VFIOUserMortal *vm[2];
    VFIOUserServer *server[2];
    VFIOUserServer *spare[2];   /* may replace it, or was replaced */
    unsigned hang_ups[2];       /* of the server */
    bool away[2];               /* the server hung up and stays away */
    bool forgot;                /* the source's server lost its state */
    bool switching[2];          /* the server is being replaced */
    unsigned switches;          /* servers that were replaced */
    unsigned refusals;          /* and that were not */
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
void vfio_user_trip_fill(VFIOUserTrip *t, VFIOUserSide side);
void vfio_user_trip_work(VFIOUserTrip *t);

/* Fails the test unless the device's memory holds what the guest wrote last. */
void vfio_user_trip_check_fill(VFIOUserTrip *t, VFIOUserSide side);

/* The server is lost; it comes back if the plan says so. */
void vfio_user_trip_lose(VFIOUserTrip *t, VFIOUserSide side);

/* The same, but it stays away until vfio_user_trip_settle_servers(). */
void vfio_user_trip_leave(VFIOUserTrip *t, VFIOUserSide side);

/* How often a server has come back, on both sides. */
unsigned vfio_user_trip_returns(VFIOUserTrip *t);

/* Orders QEMU to replace the server by the spare one. */
void vfio_user_trip_switch(VFIOUserTrip *t, VFIOUserSide side);

/*
 * Lets all servers come back that do, and waits until they have, until every
 * loss was reported, and until no server is being replaced; a refusal must name
 * its reason.
 */
void vfio_user_trip_settle_servers(VFIOUserTrip *t);

/*
 * What the plan has before the migration, before its stream arrives, and after
 * it.  The writer is stopped after the last.
 */
void vfio_user_trip_before(VFIOUserTrip *t);
void vfio_user_trip_before_arrival(VFIOUserTrip *t);
void vfio_user_trip_after(VFIOUserTrip *t, VFIOUserSide owner);

/* Sets a migration parameter of the source. */
void vfio_user_trip_set(VFIOUserTrip *t, const char *name, int64_t value);

/*
 * Returns the migration status on a side, or NULL if there is none or QEMU has
 * exited.
 */
char *vfio_user_trip_status(VFIOUserTrip *t, VFIOUserSide side);

#endif /* TESTS_QTEST_VFIO_USER_TRIP_H */
