/*
 * Test rig: one migration in which something happens
 *
 * A VM with a device that writes to its memory, on the way from one QEMU to
 * another.  The servers hold the migration at a phase, an action happens, and
 * the migration ends as it will: then one VM runs, with the memory and the
 * device that it had, or there is a message.
 *
 * The phases are in vfio-user-trip-phases.c, what may happen there is in
 * vfio-user-trip-actions.c, what must be true in the end in
 * vfio-user-trip-end.c.  The test's thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_TRIP_H
#define TESTS_QTEST_VFIO_USER_TRIP_H

#include "vfio-user-mortal.h"
#include "vfio-user-writer.h"

/* What the guest writes, in front of what the device writes. */
#define VFIO_USER_TRIP_GUEST_SIZE MiB
#define VFIO_USER_TRIP_GUEST (VFIO_USER_WRITER_AREA - VFIO_USER_TRIP_GUEST_SIZE)

/* What is true while a phase is held */
typedef enum VFIOUserTripIs {
    VFIO_USER_TRIP_SLOW = 1 << 0,       /* memory is being sent */
    VFIO_USER_TRIP_WAITS = 1 << 1,      /* the source's monitor may wait */
    VFIO_USER_TRIP_STOPS = 1 << 2,      /* the VM is stopped, or stops */
    VFIO_USER_TRIP_PAUSED = 1 << 3,     /* it is past pre-switchover */
    VFIO_USER_TRIP_CANCELS = 1 << 4,    /* was cancelled */
    VFIO_USER_TRIP_SHARED = 1 << 5,     /* only if memory is shared */
    VFIO_USER_TRIP_FAST = 1 << 6,       /* comes with the rest of memory */
    VFIO_USER_TRIP_PRE_COPY = 1 << 7,   /* only if the server has that state */
    VFIO_USER_TRIP_HOLDS = 1 << 8,      /* a server does not answer */
} VFIOUserTripIs;

typedef struct VFIOUserTripPhase {
    unsigned version;           /* of migration */
    const char *name;
    VFIOUserSide side;          /* whose server holds it */
    VFIOUserWhen when;          /* that is answered later */
    unsigned is;                /* VFIOUserTripIs */
    VFIOUserWhen gate;          /* after which "when" is looked for */
} VFIOUserTripPhase;

typedef struct VFIOUserTrip VFIOUserTrip;

typedef struct VFIOUserTripAction {
    const char *name;
    void (*run)(VFIOUserTrip *t);
    unsigned not_if;            /* VFIOUserTripIs */
    unsigned only_if;
    bool takes_time;            /* the migration is not to end before it has */
    bool may_lose;              /* the device, with a message */
    unsigned needs;             /* capabilities, a bit each */
} VFIOUserTripAction;

/* Capabilities that work together and with any server. */
typedef enum VFIOUserTripCapability {
    VFIO_USER_TRIP_RETURN_PATH,
    VFIO_USER_TRIP_SWITCHOVER_ACK,      /* needs the one above */
    VFIO_USER_TRIP_PAUSE,
    VFIO_USER_TRIP_MULTIFD,
    VFIO_USER_TRIP_XBZRLE,
    VFIO_USER_TRIP_AUTO_CONVERGE,
    VFIO_USER_TRIP_LATE_BLOCK,
    VFIO_USER_TRIP_POSTCOPY,            /* unshared memory; not all hosts */
    VFIO_USER_TRIP_CAPABILITIES
} VFIOUserTripCapability;

typedef struct VFIOUserTripPlan {
    const VFIOUserTripPhase *phase;
    const VFIOUserTripAction *action;
    unsigned capabilities;      /* a bit each */
    bool shared;                /* memory, with the servers */
    bool no_pre_copy;           /* of the server, migration v2 */
    bool stays;                 /* the destination, if it fails */
    uint32_t seed;              /* of what the guest writes */
} VFIOUserTripPlan;

struct VFIOUserTrip {
    const VFIOUserTripPlan *plan;
    GRand *rand;
    VFIOUserMortal *vm[2];
    VFIOUserServer *server[2];
    bool hung_up[2];            /* the servers */
    bool stopped;               /* by the user */
    bool was_reset;
    bool ejected;
    bool asleep;                /* the guest */
    uint32_t fill;              /* of the device's memory */
    uint8_t *memory;            /* a copy of what the guest wrote */
    VFIOUserWriter writer;
    VFIOUserRule hold[2];
    unsigned fds[2], threads[2]; /* at first */
};

extern const VFIOUserTripPhase vfio_user_trip_phases[];
extern const unsigned vfio_user_trip_nr_phases;
extern const VFIOUserTripAction vfio_user_trip_actions[];
extern const unsigned vfio_user_trip_nr_actions;

const char *vfio_user_trip_capability(VFIOUserTripCapability capability);

/* Starts both QEMUs; the VM runs. */
VFIOUserTrip *vfio_user_trip_new(const VFIOUserTripPlan *plan);
void vfio_user_trip_free(VFIOUserTrip *t);

/* Prints what the QEMUs have said. */
void vfio_user_trip_say(VFIOUserTrip *t);

/* Migrates until the phase. */
void vfio_user_trip_reach(VFIOUserTrip *t);

/* The servers answer again. */
void vfio_user_trip_release(VFIOUserTrip *t);

/* Waits for the end, and looks at it. */
void vfio_user_trip_end(VFIOUserTrip *t);

/* The guest, in a QEMU that lives: memory, the device's and its own */
void vfio_user_trip_set_up(VFIOUserTrip *t, VFIOUserSide side);
void vfio_user_trip_work(VFIOUserTrip *t);

/* Fails the test unless the device's memory is what the guest wrote last. */
void vfio_user_trip_check_fill(VFIOUserTrip *t, VFIOUserSide side);

/* Sets a parameter of the source. */
void vfio_user_trip_set(VFIOUserTrip *t, const char *name, int64_t value);

/* The status of a migration on a side; NULL: none, or QEMU has ended. */
char *vfio_user_trip_status(VFIOUserTrip *t, VFIOUserSide side);

#endif /* TESTS_QTEST_VFIO_USER_TRIP_H */
