/*
 * Test rig: actions during a migration
 *
 * If a phase blocks the monitor, the response to a command arrives after the
 * phase.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-sleep.h"
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

static void action_stop(VFIOUserTrip *t)
{
    t->stopped = true;
    order(t, "stop");
}

static void stop_cont(VFIOUserTrip *t)
{
    order(t, "stop");
    order(t, "cont");
}

/* The device keeps running until the guest is woken, which resets it. */
static void go_to_sleep(VFIOUserTrip *t)
{
    t->asleep = true;
    t->was_reset = true;
    vfio_user_sleep(t->vm[VFIO_USER_SOURCE]->qts);
}

static void action_reset(VFIOUserTrip *t)
{
    t->was_reset = true;
    order(t, "system_reset");
}

/* Only waits for the big QEMU lock. */
static void action_cancel(VFIOUserTrip *t)
{
    order(t, "migrate_cancel");
    if (!(t->plan->phase->is & VFIO_USER_TRIP_WAITS)) {
        vfio_user_mortal_settle(t->vm[VFIO_USER_SOURCE]);
    }
}

static void postcopy(VFIOUserTrip *t)
{
    order(t, "migrate-start-postcopy");
}

/* QEMU refuses the next two actions, but not an ejection by the guest. */

static void action_plug(VFIOUserTrip *t)
{
    vfio_user_mortal_order(t->vm[VFIO_USER_SOURCE], "{'execute': 'device_add',"
                           " 'arguments': {'driver': 'vfio-user-pci',"
                           " 'socket': '/nowhere'}}");
}

static void action_unplug(VFIOUserTrip *t)
{
    vfio_user_mortal_order(t->vm[VFIO_USER_SOURCE], "{'execute': 'device_del',"
                           " 'arguments': {'id': 'dut'}}");
}

static void action_eject(VFIOUserTrip *t)
{
    t->ejected = true;
    qtest_outl(t->vm[VFIO_USER_SOURCE]->qts, PCIHP_EJECT, EJECT_SLOT);
}

/* A server that does not answer until QEMU gives up */

static bool has_given_up(VFIOUserTrip *t, VFIOUserSide side)
{
    g_autofree char *status = vfio_user_trip_status(t, side);

    return !vfio_user_mortal_lives(t->vm[side]) ||
           !vfio_user_server_has_client(t->server[side]) ||
           !g_strcmp0(status, "failed") || !g_strcmp0(status, "cancelled");
}

static void stall(VFIOUserTrip *t)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;

    while (!has_given_up(t, t->plan->phase->side)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
}

/* Disconnects and kills */

static void action_hang_up(VFIOUserTrip *t, VFIOUserSide side)
{
    t->hung_up[side] = true;
    vfio_user_server_hang_up(t->server[side]);
}

static void hang_up_source(VFIOUserTrip *t)
{
    action_hang_up(t, VFIO_USER_SOURCE);
}

static void hang_up_destination(VFIOUserTrip *t)
{
    action_hang_up(t, VFIO_USER_DESTINATION);
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
    { "stop", action_stop },
    { "stop-cont", stop_cont, LATER | VFIO_USER_TRIP_FAST, .takes_time = true },
    { "reset", action_reset },
    { "sleep", go_to_sleep, LATER },
    { "cancel", action_cancel },
    { "postcopy", postcopy,
      LATER | VFIO_USER_TRIP_FAST | VFIO_USER_TRIP_SHARED, .takes_time = true,
      .needs = 1 << VFIO_USER_TRIP_POSTCOPY },
    { "plug", action_plug },
    { "unplug", action_unplug },
    /* An ejection waits for the answer that is held. */
    { "eject", action_eject, LATER, .timeout_ms = 2000 },
    { "stall", stall, .only_if = VFIO_USER_TRIP_HOLDS, .may_lose = true,
      .timeout_ms = 500 },
    { "hang-up-source", hang_up_source },
    { "hang-up-destination", hang_up_destination },
    { "kill-source", kill_source },
    { "kill-destination", kill_destination },
};
const unsigned vfio_user_trip_nr_actions = ARRAY_SIZE(vfio_user_trip_actions);
