/*
 * Test rig: what may happen while a VM migrates
 *
 * A command whose answer the phase keeps waiting is answered after it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-trip.h"

#define PCIHP_EJECT 0xae08
#define EJECT_SLOT (1 << 4)

static void order(VFIOUserTrip *t, const char *command)
{
    vfio_user_mortal_order(t->vm[VFIO_USER_SOURCE], "{'execute': %s}",
                           command);
}

static void nothing(VFIOUserTrip *t)
{
}

/* The user and the guest */

static void stop(VFIOUserTrip *t)
{
    t->stopped = true;
    order(t, "stop");
}

static void stop_cont(VFIOUserTrip *t)
{
    order(t, "stop");
    order(t, "cont");
}

static void reset(VFIOUserTrip *t)
{
    t->was_reset = true;
    order(t, "system_reset");
}

/* Waits for nothing but the big QEMU lock. */
static void cancel(VFIOUserTrip *t)
{
    order(t, "migrate_cancel");
    if (!(t->plan->phase->is & VFIO_USER_TRIP_WAITS)) {
        vfio_user_mortal_settle(t->vm[VFIO_USER_SOURCE]);
    }
}

/* The following two are refused, the guest's ejection is not. */

static void plug(VFIOUserTrip *t)
{
    vfio_user_mortal_order(t->vm[VFIO_USER_SOURCE], "{'execute': 'device_add',"
                           " 'arguments': {'driver': 'vfio-user-pci',"
                           " 'socket': '/nowhere'}}");
}

static void unplug(VFIOUserTrip *t)
{
    vfio_user_mortal_order(t->vm[VFIO_USER_SOURCE], "{'execute': 'device_del',"
                           " 'arguments': {'id': 'dut'}}");
}

static void eject(VFIOUserTrip *t)
{
    t->ejected = true;
    qtest_outl(t->vm[VFIO_USER_SOURCE]->qts, PCIHP_EJECT, EJECT_SLOT);
}

/* Deaths */

static void hang_up(VFIOUserTrip *t, VFIOUserSide side)
{
    t->hung_up[side] = true;
    vfio_user_server_hang_up(t->server[side]);
}

static void hang_up_source(VFIOUserTrip *t)
{
    hang_up(t, VFIO_USER_SOURCE);
}

static void hang_up_destination(VFIOUserTrip *t)
{
    hang_up(t, VFIO_USER_DESTINATION);
}

static void kill_source(VFIOUserTrip *t)
{
    vfio_user_mortal_kill(t->vm[VFIO_USER_SOURCE]);
}

static void kill_destination(VFIOUserTrip *t)
{
    vfio_user_mortal_kill(t->vm[VFIO_USER_DESTINATION]);
}

#define LATER (VFIO_USER_TRIP_WAITS | VFIO_USER_TRIP_STOPS)

const VFIOUserTripAction vfio_user_trip_actions[] = {
    { "nothing", nothing },
    { "stop", stop },
    { "stop-cont", stop_cont, LATER | VFIO_USER_TRIP_FAST, true },
    { "reset", reset },
    { "cancel", cancel },
    { "plug", plug },
    { "unplug", unplug },
    { "eject", eject, LATER },
    { "hang-up-source", hang_up_source },
    { "hang-up-destination", hang_up_destination },
    { "kill-source", kill_source },
    { "kill-destination", kill_destination },
};
const unsigned vfio_user_trip_nr_actions = ARRAY_SIZE(vfio_user_trip_actions);
