/*
 * Test rig: the phases of a migration
 *
 * A held answer of a server holds a migration at a phase.  This file says
 * which answer that is, for each phase of migration v1 and v2, and how to
 * reach it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>

#include "qobject/qdict.h"
#include "vfio-user-trip.h"

#define SLOW VFIO_USER_TRIP_SLOW
#define WAITS VFIO_USER_TRIP_WAITS
#define STOPS VFIO_USER_TRIP_STOPS
#define PAUSED VFIO_USER_TRIP_PAUSED
#define SHARED VFIO_USER_TRIP_SHARED
#define FAST VFIO_USER_TRIP_FAST
#define CANCELS VFIO_USER_TRIP_CANCELS
#define PRE_COPY VFIO_USER_TRIP_PRE_COPY
#define HOLDS VFIO_USER_TRIP_HOLDS

#define SLOW_RATE (2 * MiB)
#define SLOW_SENT (512 * KiB)   /* bytes sent when the phase starts */
#define FAST_RATE (4 * GiB)

#define FROM VFIO_USER_SOURCE
#define TO VFIO_USER_DESTINATION

/* The nth matching message */
#define STATE(n) \
    ON(VFIO_USER_REGION_WRITE, AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0), \
       .nth = (n))
#define DATA1(deed, n) \
    ON(VFIO_USER_REGION_ ## deed, \
       AT_OFFSET(VFIO_USER_MIGRATION1_REGION, VFIO_USER_MIGRATION1_DATA), \
       .nth = (n))
#define PAGES(what, n) \
    ON(VFIO_USER_DIRTY_PAGES, \
       AT_FEATURE(VFIO_IOMMU_DIRTY_PAGES_FLAG_ ## what), .nth = (n))

#define BECOMES(state, n) \
    ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_ ## state), .nth = (n))
#define DATA2(deed, n) ON(VFIO_USER_MIG_DATA_ ## deed, .nth = (n))
#define LOGGING(deed, what, n) \
    ON(VFIO_USER_DEVICE_FEATURE, \
       AT_FEATURE(VFIO_DEVICE_FEATURE_ ## deed | \
                  VFIO_USER_FEATURE_DMA_LOGGING_ ## what), .nth = (n))

const VFIOUserTripPhase vfio_user_trip_phases[] = {
    { 1, "record", FROM, PAGES(START, 1), HOLDS | SHARED },
    { 1, "pre-copy", FROM, STATE(1), HOLDS },
    { 1, "data", FROM, DATA1(READ, 2), HOLDS | FAST },
    { 1, "memory", FROM, .is = SLOW },
    { 1, "look", FROM, PAGES(GET_BITMAP, 2), HOLDS | SHARED | FAST },
    { 1, "stop-copy", FROM, STATE(2), HOLDS | WAITS | STOPS },
    { 1, "last-data", FROM, DATA1(READ, 2), HOLDS | WAITS | STOPS | PAUSED,
      STATE(2) },
    { 1, "saved", FROM, STATE(3), HOLDS | WAITS | STOPS | PAUSED },
    { 1, "resuming", TO, STATE(1), HOLDS | WAITS },
    { 1, "load", TO, DATA1(WRITE, 2), HOLDS | WAITS },
    { 1, "run", TO, STATE(2), HOLDS | STOPS | PAUSED },
    { 1, "back", FROM, STATE(1), HOLDS | SLOW | WAITS | CANCELS },

    { 2, "record", FROM, LOGGING(SET, START, 1), HOLDS | SHARED },
    { 2, "pre-copy", FROM, BECOMES(PRE_COPY, 1), HOLDS | PRE_COPY },
    { 2, "data", FROM, DATA2(READ, 2), HOLDS | FAST | PRE_COPY },
    { 2, "memory", FROM, .is = SLOW },
    { 2, "look", FROM, LOGGING(GET, REPORT, 2), HOLDS | SHARED | FAST },
    { 2, "stop-copy", FROM, BECOMES(STOP_COPY, 1), HOLDS | WAITS | STOPS },
    { 2, "last-data", FROM, DATA2(READ, 2), HOLDS | WAITS | STOPS | PAUSED,
      BECOMES(STOP_COPY, 1) },
    { 2, "saved", FROM, BECOMES(STOP, 1),
      HOLDS | WAITS | STOPS | PAUSED | PRE_COPY },
    { 2, "resuming", TO, BECOMES(RESUMING, 1), HOLDS | WAITS },
    { 2, "load", TO, DATA2(WRITE, 2), HOLDS | WAITS },
    { 2, "loaded", TO, BECOMES(STOP, 2), HOLDS | STOPS | PAUSED },
    { 2, "run", TO, BECOMES(RUNNING, 1), HOLDS | STOPS | PAUSED },
    { 2, "back", FROM, BECOMES(RUNNING, 1),
      HOLDS | SLOW | WAITS | CANCELS | PRE_COPY },
};
const unsigned vfio_user_trip_nr_phases = ARRAY_SIZE(vfio_user_trip_phases);

/* Holds the answer to this message from now on */
static void phase_hold(VFIOUserTrip *t, VFIOUserWhen when)
{
    VFIOUserServer *server = t->server[t->plan->phase->side];

    t->hold[0] = (VFIOUserRule) { when, DO_HOLD };
    vfio_user_server_set_rules(server, t->hold);
    vfio_user_server_forget(server);
}

static void phase_start_migration(VFIOUserTrip *t, bool slowly)
{
    g_autofree char *uri = g_strdup_printf("unix:%s/socket", t->vm[TO]->dir);

    vfio_user_trip_set(t, "max-bandwidth", slowly ? SLOW_RATE : FAST_RATE);
    g_assert_true(vfio_user_mortal_do(t->vm[TO], "{'execute':"
                                      " 'migrate-incoming', 'arguments':"
                                      " {'uri': %s, 'exit-on-error': %i}}",
                                      uri, !t->plan->stays));
    vfio_user_trip_before_arrival(t);
    g_assert_true(vfio_user_mortal_do(t->vm[FROM], "{'execute': 'migrate',"
                                      " 'arguments': {'uri': %s}}", uri));
}

static uint64_t phase_sent(VFIOUserTrip *t)
{
    QDict *response = vfio_user_mortal_qmp(t->vm[FROM],
                                           "{'execute': 'query-migrate'}");
    QDict *ram = qdict_get_qdict(qdict_get_qdict(response, "return"), "ram");
    uint64_t size = ram ? qdict_get_int(ram, "transferred") : 0;

    qobject_unref(response);
    return size;
}

static void wait_sent(VFIOUserTrip *t)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;

    while (phase_sent(t) < SLOW_SENT) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
}

static void phase_continue(VFIOUserTrip *t)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    g_autofree char *status = NULL;

    do {
        g_free(status);
        status = vfio_user_trip_status(t, FROM);
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    } while (g_strcmp0(status, "pre-switchover"));
    vfio_user_mortal_order(t->vm[FROM], "{'execute': 'migrate-continue',"
                           " 'arguments': {'state': 'pre-switchover'}}");
}

static void phase_cancel(VFIOUserTrip *t)
{
    wait_sent(t);
    phase_hold(t, t->plan->phase->when);
    vfio_user_mortal_order(t->vm[FROM], "{'execute': 'migrate_cancel'}");
}

void vfio_user_trip_reach(VFIOUserTrip *t)
{
    const VFIOUserTripPhase *p = t->plan->phase;
    VFIOUserServer *server = t->server[p->side];

    if (!(p->is & SLOW)) {
        phase_hold(t, p->gate.command ? p->gate : p->when);
    }
    phase_start_migration(t, p->is & SLOW || t->plan->action->takes_time);
    if (p->is & CANCELS) {
        phase_cancel(t);
    } else if (p->is & SLOW) {
        wait_sent(t);
    }
    if (p->gate.command) {
        vfio_user_server_wait(server, p->gate);
        phase_hold(t, p->when);
        vfio_user_server_release(server);
    }
    if (p->is & PAUSED && t->plan->capabilities & 1 << VFIO_USER_TRIP_PAUSE) {
        phase_continue(t);
    }
    if (p->when.command) {
        vfio_user_server_wait(server, p->when);
    }
}

void vfio_user_trip_release(VFIOUserTrip *t)
{
    for (unsigned i = 0; i < 2; i++) {
        vfio_user_server_set_rules(t->spare[i], NULL);
        vfio_user_server_release(t->spare[i]);
        if (!t->away[i]) {
            vfio_user_server_set_rules(t->server[i], NULL);
            vfio_user_server_release(t->server[i]);
        }
    }
}
