/*
 * Test rig: servers that are lost and come back, or that are replaced
 *
 * A server that is lost comes back only if the device has reconnect-ms, which
 * the plan says.  A server is replaced by a spare one, which has the same
 * device; or QEMU says why not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qobject/qdict.h"
#include "vfio-user-trip.h"

#define FROM VFIO_USER_SOURCE
#define TO VFIO_USER_DESTINATION

#define STATE_BAR 2
#define STATE_SIZE (64 * KiB)
#define FEW 16                  /* pieces, to see that the device writes */

/* The next connection stays at its first message. */
static const VFIOUserRule stay_away[] = {
    { ON(VFIO_USER_VERSION), DO_HOLD },
    { }
};

/* A spare server stays at this when it has been compared. */
static const VFIOUserRule stay_compared[][2] = {
    { { ON(VFIO_USER_REGION_WRITE,
           AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0)), DO_HOLD } },
    { { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_RESUMING)), DO_HOLD } },
};

static void servers_pass(gint64 deadline)
{
    g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    g_usleep(1000);
}

static gint64 servers_deadline(void)
{
    return g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
}

/* Loss and return */

static unsigned said_count(VFIOUserTrip *t, VFIOUserSide side,
                           const char *text)
{
    g_autofree char *said = vfio_user_mortal_said(t->vm[side]);
    unsigned n = 0;

    for (const char *at = said; (at = strstr(at, text)); at++) {
        n++;
    }
    return n;
}

static unsigned count_returns(VFIOUserTrip *t, VFIOUserSide side)
{
    return said_count(t, side, "connected again");
}

/*
 * The source's server forgets its state, as a new process does: that state must
 * not arrive.  The destination's does not: if the VM arrives, so must the state
 * that was loaded, unless it was lost after that.
 */
static void forget_state(VFIOUserTrip *t, VFIOUserSide side)
{
    g_autofree char *zeros = g_malloc0(STATE_SIZE);

    if (side == FROM) {
        vfio_user_server_poke(t->server[side], STATE_BAR, 0, zeros,
                              STATE_SIZE);
        t->forgot = true;
    }
}

/*
 * A device that was reset does nothing by itself, so its engine stops before
 * there can be another connection.
 */
void vfio_user_trip_leave(VFIOUserTrip *t, VFIOUserSide side)
{
    VFIOUserServer *server = t->server[side];

    t->away[side] = true;
    t->hang_ups[side]++;
    vfio_user_server_set_rules(server, stay_away);
    vfio_user_server_forget(server);
    vfio_user_server_hang_up(server);
    if (t->plan->returns) {
        forget_state(t, side);
    }
    if (t->writer.server == server) {
        vfio_user_writer_stop(&t->writer);
    }
}

static void come_back(VFIOUserTrip *t, VFIOUserSide side)
{
    t->away[side] = false;
    vfio_user_server_set_rules(t->server[side], NULL);
    vfio_user_server_release(t->server[side]);
}

void vfio_user_trip_lose(VFIOUserTrip *t, VFIOUserSide side)
{
    vfio_user_trip_leave(t, side);
    come_back(t, side);
}

/* Whether each loss was reported, and has ended. */
static bool is_back(VFIOUserTrip *t, VFIOUserSide side)
{
    unsigned losses = said_count(t, side, "connection lost");

    return losses >= t->hang_ups[side] && count_returns(t, side) >= losses;
}

/* Does not wait if QEMU exits, or if the server does not come back. */
static void wait_back(VFIOUserTrip *t, VFIOUserSide side)
{
    gint64 deadline = servers_deadline();

    if (!t->plan->returns || (t->ejected && side == FROM)) {
        return;
    }
    while (vfio_user_mortal_lives(t->vm[side]) && !is_back(t, side)) {
        servers_pass(deadline);
    }
}

unsigned vfio_user_trip_returns(VFIOUserTrip *t)
{
    return count_returns(t, FROM) + count_returns(t, TO);
}

/* Replacement */

void vfio_user_trip_switch(VFIOUserTrip *t, VFIOUserSide side)
{
    vfio_user_mortal_begin(t->vm[side], "{'execute': 'x-vfio-user-switch',"
                           " 'arguments': {'id': 'dut', 'socket':"
                           " {'type': 'unix', 'path': %s}}}",
                           vfio_user_server_path(t->spare[side]));
    t->switching[side] = true;
}

static void use_spare(VFIOUserTrip *t, VFIOUserSide side)
{
    VFIOUserServer *last = t->server[side];

    t->server[side] = t->spare[side];
    t->spare[side] = last;
    if (t->writer.server == last) {
        vfio_user_writer_use(&t->writer, t->server[side]);
    }
    vfio_user_server_wait_client(last, false);
    t->switches++;
}

/* Whether a refusal names its reason: a state of the VM, or a server. */
static bool is_named(VFIOUserTrip *t, VFIOUserSide side, const char *why)
{
    static const char *const reasons[] = {
        "the VM is being migrated", "the VM has been migrated",
        "the device is being loaded",
        "stopped, continued or reset meanwhile", "the VM is paused",
        "is not a vfio-user device", "the device was unplugged",
        "the present server was lost",
    };
    bool named = strstr(why, vfio_user_server_path(t->server[side])) ||
                 strstr(why, vfio_user_server_path(t->spare[side]));

    for (unsigned i = 0; i < ARRAY_SIZE(reasons); i++) {
        named |= strstr(why, reasons[i]) != NULL;
    }
    return named;
}

/* Returns whether the server was replaced. */
static bool switch_end(VFIOUserTrip *t, VFIOUserSide side)
{
    QDict *response = vfio_user_mortal_finish(t->vm[side]);
    bool taken = response && qdict_haskey(response, "return");
    const char *why;

    t->switching[side] = false;
    if (taken) {
        use_spare(t, side);
    } else if (response) {
        why = qdict_get_str(qdict_get_qdict(response, "error"), "desc");
        g_test_message("no switch: %s", why);
        g_assert_true(is_named(t, side, why));
        t->refusals++;
    }
    qobject_unref(response);
    return taken;
}

void vfio_user_trip_settle_servers(VFIOUserTrip *t)
{
    for (unsigned i = 0; i < 2; i++) {
        if (t->away[i]) {
            come_back(t, i);
        }
        wait_back(t, i);
        if (t->switching[i]) {
            switch_end(t, i);
        }
    }
}

/* Switches as soon as no migration is in the way. */
static void switch_at_last(VFIOUserTrip *t, VFIOUserSide side)
{
    gint64 deadline = servers_deadline();

    for (;;) {
        vfio_user_trip_switch(t, side);
        if (switch_end(t, side)) {
            return;
        }
        servers_pass(deadline);
    }
}

/* Before the migration */

/* In a gap, a migration is refused with a reason. */
static void lose_before(VFIOUserTrip *t)
{
    QDict *response, *error;

    vfio_user_trip_leave(t, FROM);
    vfio_user_server_see(t->server[FROM], VFIO_USER_VERSION);
    response = vfio_user_mortal_qmp(t->vm[FROM], "{'execute': 'migrate',"
                                    " 'arguments': {'uri': 'unix:/nowhere'}}");
    error = qdict_get_qdict(response, "error");
    g_assert_nonnull(error);
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"),
                            "a device without a server cannot be saved"));
    qobject_unref(response);
    come_back(t, FROM);
    wait_back(t, FROM);
    vfio_user_trip_fill(t, FROM);
    vfio_user_writer_go_on(&t->writer);
}

void vfio_user_trip_before(VFIOUserTrip *t)
{
    if (t->plan->before[FROM] == VFIO_USER_TRIP_LOSS) {
        lose_before(t);
    } else if (t->plan->before[FROM] == VFIO_USER_TRIP_SWITCH) {
        switch_at_last(t, FROM);
    }
    if (t->plan->before[TO] == VFIO_USER_TRIP_LOSS) {
        vfio_user_trip_lose(t, TO);
        wait_back(t, TO);
    }
}

void vfio_user_trip_before_arrival(VFIOUserTrip *t)
{
    const VFIOUserRule *hold = stay_compared[t->plan->phase->version - 1];

    if (t->plan->before[TO] == VFIO_USER_TRIP_SWITCH) {
        vfio_user_server_set_rules(t->spare[TO], hold);
        vfio_user_trip_switch(t, TO);
        vfio_user_server_wait(t->spare[TO], hold->when);
    }
}

/* After the migration */

/* Waits until the device has written to memory once more. */
static void wait_written(VFIOUserTrip *t)
{
    uint64_t end = vfio_user_writer_written(&t->writer) + FEW;
    gint64 deadline = servers_deadline();

    while (vfio_user_writer_written(&t->writer) < end) {
        servers_pass(deadline);
    }
}

void vfio_user_trip_after(VFIOUserTrip *t, VFIOUserSide owner)
{
    vfio_user_writer_use(&t->writer, t->server[owner]);
    vfio_user_writer_go_on(&t->writer);
    wait_written(t);
    if (t->plan->after == VFIO_USER_TRIP_SWITCH) {
        switch_at_last(t, owner);
    } else {
        vfio_user_trip_lose(t, owner);
        wait_back(t, owner);
        vfio_user_writer_go_on(&t->writer);
    }
    wait_written(t);
    vfio_user_writer_stop(&t->writer);
}
