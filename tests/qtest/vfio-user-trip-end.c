/*
 * Test rig: checks at the end of a migration
 *
 * Exactly one VM must run, or be continuable if the user has stopped it, and
 * its memory and device must hold what was written.  If no VM is left or a
 * server was lost, the QEMU concerned must print an error.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "vfio-user-trip.h"

#define FROM VFIO_USER_SOURCE
#define TO VFIO_USER_DESTINATION
#define NO_OWNER 2

#define IDLE_US 1000            /* between two queries */
/* time for writes of a device without a pause */
#define LONG_MS 10000

static gint64 soon(void)
{
    return g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
}

static void pass(gint64 deadline)
{
    g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    g_usleep(IDLE_US);
}

/* The end of the migration */

/*
 * Returns the final status, or NULL if the migration has not ended or QEMU has
 * exited.
 */
static char *last_status(VFIOUserTrip *t, VFIOUserSide side)
{
    static const char *const ends[] = { "completed", "failed", "cancelled",
                                        NULL };
    g_autofree char *status = vfio_user_trip_status(t, side);

    if (!g_strcmp0(status, "pre-switchover")) {
        vfio_user_mortal_order(t->vm[side], "{'execute': 'migrate-continue',"
                               " 'arguments': {'state': 'pre-switchover'}}");
    }
    return status && g_strv_contains(ends, status) ? g_steal_pointer(&status) :
                                                     NULL;
}

static char *wait_end(VFIOUserTrip *t, VFIOUserSide side)
{
    gint64 deadline = soon();
    char *status;

    while (!(status = last_status(t, side)) &&
           vfio_user_mortal_lives(t->vm[side])) {
        pass(deadline);
    }
    return status;
}

/*
 * Waits until the destination exits after an error, unless exit-on-error is
 * off.
 */
static void wait_gone(VFIOUserTrip *t, const char *status)
{
    gint64 deadline = soon();

    while (!t->plan->stays && !g_strcmp0(status, "failed") &&
           vfio_user_mortal_lives(t->vm[TO])) {
        pass(deadline);
    }
}

/* Returns the side that has the VM, or NO_OWNER. */
static unsigned find_owner(VFIOUserTrip *t)
{
    g_autofree char *from = wait_end(t, FROM);
    g_autofree char *to = wait_end(t, TO);

    wait_gone(t, to);
    g_test_message("source %s, destination %s", from ?: "ended",
                   to ?: "ended");
    if (!g_strcmp0(to, "completed") && vfio_user_mortal_lives(t->vm[TO])) {
        return TO;
    }
    return from && strcmp(from, "completed") ? FROM : NO_OWNER;
}

/* A migration that nothing ends must complete. */
static void check_owner(VFIOUserTrip *t, unsigned owner)
{
    if (!t->plan->action->may_end &&
        !(t->plan->phase->is & VFIO_USER_TRIP_CANCELS)) {
        g_assert_cmpuint(owner, ==, TO);
    }
}

/* VM state */

static bool vm_is(VFIOUserTrip *t, VFIOUserSide side, const char *wanted)
{
    g_autofree char *status = vfio_user_mortal_ask(t->vm[side], "query-status",
                                                   "status");

    return !g_strcmp0(status, wanted);
}

/* Reverses what the user or the guest did: continues or wakes up the VM. */
static void turn_on(VFIOUserTrip *t, VFIOUserSide owner)
{
    if (t->stopped) {
        t->stopped = false;
        g_assert_true(vfio_user_mortal_do(t->vm[owner], "{'execute': 'cont'}"));
    }
    if (t->asleep && vm_is(t, owner, "suspended")) {
        t->asleep = false;
        g_assert_true(vfio_user_mortal_do(t->vm[owner],
                                          "{'execute': 'system_wakeup'}"));
    }
}

/* Checks that only the owner's VM runs. */
static void check_runs(VFIOUserTrip *t, VFIOUserSide owner)
{
    gint64 deadline = soon();

    while (!vm_is(t, owner, "running")) {
        turn_on(t, owner);
        pass(deadline);
    }
    g_assert_false(vm_is(t, !owner, "running"));
    g_assert_false(vm_is(t, !owner, "suspended"));
}

/* Error messages */

/* Returns the messages of a QEMU and the reason that query-migrate reports. */
static char *why_of(VFIOUserTrip *t, VFIOUserSide side)
{
    g_autofree char *said = vfio_user_mortal_said(t->vm[side]);
    g_autofree char *desc = vfio_user_mortal_ask(t->vm[side], "query-migrate",
                                                 "error-desc");

    return g_strconcat(said, desc, NULL);
}

/*
 * Whether the server has disconnected, or QEMU has disconnected from it, and it
 * does not come back.
 */
static bool trip_is_lost(VFIOUserTrip *t, VFIOUserSide side)
{
    return !t->plan->returns &&
           (t->hang_ups[side] ||
            (t->plan->action->may_lose &&
             !vfio_user_server_has_client(t->server[side])));
}

/*
 * A QEMU that has lost its server must name it in an error, unless QEMU was
 * ended by something else.
 */
static void check_lost_server(VFIOUserTrip *t, VFIOUserSide side)
{
    const char *path = vfio_user_server_path(t->server[side]);
    gint64 deadline = soon();

    while (trip_is_lost(t, side) && vfio_user_mortal_lives(t->vm[side])) {
        g_autofree char *why = why_of(t, side);

        if (strstr(why, path)) {
            return;
        }
        pass(deadline);
    }
}

/* Some QEMU must print a reason, unless the user killed the one with the VM. */
static void check_no_owner(VFIOUserTrip *t)
{
    g_autofree char *from = why_of(t, FROM);
    g_autofree char *to = why_of(t, TO);

    g_assert_true(*to || t->vm[TO]->killed ||
                  (*from && !t->vm[FROM]->killed));
}

/* Memory and device */

static void check_memory(VFIOUserTrip *t, VFIOUserMortal *vm)
{
    g_autofree char *path = g_build_filename(vm->dir, "memory", NULL);
    g_autofree char *is = NULL;
    uint64_t want = VFIO_USER_TRIP_GUEST_SIZE + t->writer.size;
    gsize size;

    g_assert_true(vfio_user_mortal_do(vm, "{'execute': 'pmemsave',"
                                      " 'arguments': {'val': %ld, 'size': %"
                                      PRIu64 ", 'filename': %s}}",
                                      VFIO_USER_TRIP_GUEST, want, path));
    g_assert_true(g_file_get_contents(path, &is, &size, NULL));
    g_unlink(path);
    g_assert_cmpuint(size, ==, want);
    g_assert_true(!memcmp(is, t->memory, VFIO_USER_TRIP_GUEST_SIZE));
    g_assert_cmpuint(vfio_user_writer_wrong(&t->writer, (uint8_t *)is +
                                            VFIO_USER_TRIP_GUEST_SIZE), ==, 0);
}

/* Checks that the device can write to memory, that is, that it runs. */
static void trip_check_writes(VFIOUserTrip *t, VFIOUserSide owner)
{
    VFIOUserServer *server = t->server[owner];
    uint32_t word = g_rand_int(t->rand);
    uint64_t at = VFIO_USER_TRIP_GUEST;

    stl_he_p(t->memory, word);
    if (t->plan->shared) {
        g_assert_true(vfio_user_server_write(server, at, &word, sizeof(word)));
    } else {
        g_assert_cmpint(vfio_user_server_write_message(server, at, &word,
                                                       sizeof(word)), ==, 0);
    }
    g_assert_cmphex(qtest_readl(t->vm[owner]->qts, at), ==, word);
}

static void trip_check_device(VFIOUserTrip *t, VFIOUserSide owner)
{
    if (trip_is_lost(t, owner) || t->ejected) {
        return;
    }
    if (t->was_reset) {
        vfio_user_trip_set_up(t, owner);
    }
    /* a loss resets the device, and is allowed to lose no more than that */
    if (t->forgot && owner == FROM) {
        vfio_user_trip_fill(t, owner);
    }
    vfio_user_trip_check_fill(t, owner);
    trip_check_writes(t, owner);
}

/* QEMU's thread pool keeps one idle thread for 10 s. */
#define POOL 1

/* Waits until the resources of a migration are freed. */
static void check_no_leak(VFIOUserTrip *t, VFIOUserSide owner, const char *what,
                          unsigned before)
{
    gint64 deadline = soon();

    while (vfio_user_mortal_count(t->vm[owner], what) > before) {
        pass(deadline);
    }
}

static void trip_check_vm(VFIOUserTrip *t, VFIOUserSide owner)
{
    check_runs(t, owner);
    check_memory(t, t->vm[owner]);
    trip_check_device(t, owner);
    if (t->plan->after && !trip_is_lost(t, owner) && !t->ejected) {
        vfio_user_trip_after(t, owner);
        check_memory(t, t->vm[owner]);
        trip_check_device(t, owner);
    }
    check_no_leak(t, owner, "fd", t->fds[owner]);
    check_no_leak(t, owner, "task", t->threads[owner] + POOL);
}

void vfio_user_trip_end(VFIOUserTrip *t)
{
    unsigned owner;

    vfio_user_trip_set(t, "max-bandwidth", 4 * GiB);
    vfio_user_trip_set(t, "downtime-limit", LONG_MS);
    owner = find_owner(t);
    check_owner(t, owner);
    vfio_user_trip_settle_servers(t);
    vfio_user_writer_stop(&t->writer);
    if (owner == NO_OWNER) {
        check_no_owner(t);
    } else {
        trip_check_vm(t, owner);
    }
    check_lost_server(t, FROM);
    check_lost_server(t, TO);
    vfio_user_writer_clear(&t->writer);
}
