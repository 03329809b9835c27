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

static void hang_up_source(VFIOUserTrip *t)
{
    vfio_user_trip_lose(t, VFIO_USER_SOURCE);
}

static void hang_up_destination(VFIOUserTrip *t)
{
    vfio_user_trip_lose(t, VFIO_USER_DESTINATION);
}

/* The server comes back after the migration has ended. */
static void leave_source(VFIOUserTrip *t)
{
    vfio_user_trip_leave(t, VFIO_USER_SOURCE);
}

static void leave_destination(VFIOUserTrip *t)
{
    vfio_user_trip_leave(t, VFIO_USER_DESTINATION);
}

static void kill_source(VFIOUserTrip *t)
{
    vfio_user_mortal_kill(t->vm[VFIO_USER_SOURCE]);
}

static void kill_destination(VFIOUserTrip *t)
{
    vfio_user_mortal_kill(t->vm[VFIO_USER_DESTINATION]);
}

/* Replaces a server, or QEMU says why not. */

static void switch_source(VFIOUserTrip *t)
{
    vfio_user_trip_switch(t, VFIO_USER_SOURCE);
}

static void switch_destination(VFIOUserTrip *t)
{
    vfio_user_trip_switch(t, VFIO_USER_DESTINATION);
}

#define LATER (VFIO_USER_TRIP_WAITS | VFIO_USER_TRIP_STOPS)

const VFIOUserTripAction vfio_user_trip_actions[] = {
    { "nothing", nothing },
    { "stop", action_stop },
    { "stop-cont", stop_cont, LATER | VFIO_USER_TRIP_FAST, .takes_time = true },
    { "reset", action_reset },
    { "sleep", go_to_sleep, LATER },
    { "cancel", action_cancel, .may_end = true },
    { "postcopy", postcopy,
      LATER | VFIO_USER_TRIP_FAST | VFIO_USER_TRIP_SHARED, .takes_time = true,
      .needs = 1 << VFIO_USER_TRIP_POSTCOPY },
    { "plug", action_plug },
    { "unplug", action_unplug },
    /* An ejection waits for the answer that is held. */
    { "eject", action_eject, LATER, .may_end = true, .timeout_ms = 2000 },
    { "stall", stall, .only_if = VFIO_USER_TRIP_HOLDS, .may_end = true,
      .may_lose = true, .asks = true, .timeout_ms = 500 },
    { "hang-up-source", hang_up_source, .may_end = true },
    { "hang-up-destination", hang_up_destination, .may_end = true },
    { "leave-source", leave_source, .may_end = true, .comes_back = true },
    { "leave-destination", leave_destination, .may_end = true,
      .comes_back = true },
    { "switch-source", switch_source },
    { "switch-destination", switch_destination, .asks = true },
    { "kill-source", kill_source, .may_end = true },
    { "kill-destination", kill_destination, .may_end = true },
};
const unsigned vfio_user_trip_nr_actions = ARRAY_SIZE(vfio_user_trip_actions);
