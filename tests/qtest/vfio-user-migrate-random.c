/*
 * Random test of migration
 *
 * Each migration targets a phase, which its servers hold; all phases take
 * turns.  The action at that phase, the capabilities and the kind of memory
 * are random, and so is what happens to the servers before and after the
 * migration.  Actions include killing each of the four processes.  In the end,
 * exactly one VM must run with its memory and device intact, or there must be
 * an error message.
 *
 * Options on the command line and in the environment variable
 * VFIO_USER_RANDOM:
 *
 *   seed=N             seed printed by an earlier run
 *   count=N            number of migrations, default 200
 *   only=N             run only the Nth migration
 *   phase=NAME         run only this phase, of migration v1 and v2
 *   action=NAME        run only this action
 *   verbose            always print QEMU's messages, not only on failure
 *
 * A seed repeats the migrations, and a migration does not depend on the
 * others.  The timing of the device's writes is not reproducible.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qemu/cutils.h"
#include "vfio-user-trip.h"

#define COUNT 200

typedef struct Random {
    uint32_t seed;
    unsigned count;
    unsigned only;              /* UINT_MAX: all */
    const char *phase;
    const char *action;
    bool verbose;
    char *now;                  /* description of the current migration */
    VFIOUserTrip *trip;
} Random;

static Random options = { .count = COUNT, .only = UINT_MAX };
static unsigned counts[32];
static unsigned switches, refusals, returns;

/* Selection */

static bool matches(const char *wanted, const char *name)
{
    return !wanted || g_str_equal(wanted, name);
}

static const VFIOUserTripPhase *choose_phase(unsigned number)
{
    return &vfio_user_trip_phases[number % vfio_user_trip_nr_phases];
}

static const VFIOUserTripAction *choose_action(GRand *rand,
                                               const VFIOUserTripPhase *phase)
{
    const VFIOUserTripAction *action;

    do {
        unsigned i = g_rand_int_range(rand, 0, vfio_user_trip_nr_actions);

        action = &vfio_user_trip_actions[i];
    } while (action->not_if & phase->is || action->only_if & ~phase->is);
    return action;
}

#define BIT_OF(name) (1u << VFIO_USER_TRIP_ ## name)

/* Random, but with their dependencies and without conflicts */
static unsigned choose_capabilities(GRand *rand, unsigned needed, bool shared)
{
    unsigned bits = g_rand_int(rand) & g_rand_int(rand);

    bits &= (1u << VFIO_USER_TRIP_CAPABILITIES) - 1;
    bits |= needed;
    if (bits & BIT_OF(SWITCHOVER_ACK) || g_rand_boolean(rand)) {
        bits |= BIT_OF(RETURN_PATH);
    }
    if (shared) {
        bits &= ~BIT_OF(POSTCOPY);
    }
    if (bits & BIT_OF(POSTCOPY)) {
        bits &= ~BIT_OF(MULTIFD);
    }
    if (bits & BIT_OF(MULTIFD)) {
        bits &= ~BIT_OF(XBZRLE);
    }
    return bits;
}

/*
 * Without PRE_COPY a device is saved after the pause before the switchover,
 * where no phase waits for it.
 */
static bool may_lack_pre_copy(const VFIOUserTripPlan *plan)
{
    return plan->phase->version == 2 &&
           !(plan->phase->is & VFIO_USER_TRIP_PRE_COPY) &&
           !(plan->capabilities & BIT_OF(PAUSE));
}

#define EVENT_ONE_IN 4

static VFIOUserTripEvent choose_event(GRand *rand)
{
    unsigned event = g_rand_int_range(rand, 1, VFIO_USER_TRIP_EVENTS);

    return g_rand_int_range(rand, 0, EVENT_ONE_IN) ? VFIO_USER_TRIP_NOTHING :
                                                     event;
}

/* A paused VM, as the destination's, must know the device that it compares. */
static bool needs_return(const VFIOUserTripPlan *plan)
{
    return plan->action->comes_back ||
           plan->before[VFIO_USER_SOURCE] == VFIO_USER_TRIP_LOSS ||
           plan->before[VFIO_USER_DESTINATION] != VFIO_USER_TRIP_NOTHING ||
           plan->after == VFIO_USER_TRIP_LOSS;
}

/*
 * A switch of the destination keeps its monitor busy.  A device that is stopped
 * when its server comes back takes another path to RESUMING, on which the
 * destination's phases are not found.
 */
static bool may_happen_first(const VFIOUserTripPlan *plan)
{
    return plan->before[VFIO_USER_DESTINATION] == VFIO_USER_TRIP_SWITCH ?
           !plan->action->asks : plan->phase->side == VFIO_USER_SOURCE;
}

static void choose_events(VFIOUserTripPlan *plan, GRand *rand)
{
    for (unsigned i = 0; i < 2; i++) {
        plan->before[i] = choose_event(rand);
    }
    if (!may_happen_first(plan)) {
        plan->before[VFIO_USER_DESTINATION] = VFIO_USER_TRIP_NOTHING;
    }
    plan->after = choose_event(rand);
    plan->returns = g_rand_boolean(rand) || needs_return(plan);
}

static VFIOUserTripPlan choose_plan(Random *r, unsigned number)
{
    const guint32 seeds[] = { r->seed, number };
    GRand *rand = g_rand_new_with_seed_array(seeds, ARRAY_SIZE(seeds));
    VFIOUserTripPlan plan = { .phase = choose_phase(number) };

    plan.action = choose_action(rand, plan.phase);
    plan.shared = !(plan.action->needs & BIT_OF(POSTCOPY)) &&
                  (g_rand_boolean(rand) ||
                   plan.phase->is & VFIO_USER_TRIP_SHARED);
    plan.capabilities = choose_capabilities(rand, plan.action->needs,
                                            plan.shared);
    plan.no_pre_copy = g_rand_boolean(rand) && may_lack_pre_copy(&plan);
    plan.stays = g_rand_boolean(rand);
    choose_events(&plan, rand);
    plan.seed = g_rand_int(rand);
    g_rand_free(rand);
    return plan;
}

/* Output */

static void describe_events(GString *text, const VFIOUserTripPlan *plan)
{
    static const char *const names[] = {
        [VFIO_USER_TRIP_LOSS] = "loss",
        [VFIO_USER_TRIP_SWITCH] = "switch",
    };
    static const char *const sides[] = { "source", "destination" };

    for (unsigned i = 0; i < 2; i++) {
        if (plan->before[i]) {
            g_string_append_printf(text, ", %s of the %s first",
                                   names[plan->before[i]], sides[i]);
        }
    }
    if (plan->after) {
        g_string_append_printf(text, ", %s afterwards", names[plan->after]);
    }
}

static char *describe(Random *r, unsigned number, const VFIOUserTripPlan *plan)
{
    GString *text = g_string_new(NULL);

    g_string_printf(text, "seed=%u only=%u: v%u, %s, %s, %s memory%s%s%s",
                    r->seed, number, plan->phase->version, plan->phase->name,
                    plan->action->name, plan->shared ? "shared" : "unshared",
                    plan->stays ? ", destination stays" : "",
                    plan->no_pre_copy ? ", no PRE_COPY" : "",
                    plan->returns ? ", reconnects" : "");
    describe_events(text, plan);
    for (unsigned i = 0; i < VFIO_USER_TRIP_CAPABILITIES; i++) {
        if (plan->capabilities >> i & 1) {
            g_string_append_printf(text, ", %s", vfio_user_trip_capability(i));
        }
    }
    return g_string_free(text, false);
}

/* Prints the failure.  Does not use the monitors, which may be stuck. */
static void print_failure(void *opaque)
{
    Random *r = opaque;

    if (r->trip) {
        vfio_user_trip_say(r->trip);
    }
    fprintf(stderr, "# failed: %s\n", r->now);
}

static void print_counts(void)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (unsigned i = 0; i < vfio_user_trip_nr_actions; i++) {
        g_string_append_printf(text, " %s %u", vfio_user_trip_actions[i].name,
                               counts[i]);
    }
    g_test_message("actions:%s", text->str);
    g_test_message("servers: %u replaced, %u not, %u came back", switches,
                   refusals, returns);
}

/* Execution */

static void run_migration(Random *r, const VFIOUserTripPlan *plan)
{
    const unsigned busy = VFIO_USER_TRIP_WAITS | VFIO_USER_TRIP_STOPS;

    r->trip = vfio_user_trip_new(plan);
    vfio_user_trip_reach(r->trip);
    if (!(plan->phase->is & busy)) {
        vfio_user_trip_work(r->trip);
    }
    vfio_user_writer_walk(&r->trip->writer);
    plan->action->run(r->trip);
    vfio_user_trip_release(r->trip);
    vfio_user_trip_end(r->trip);
    if (r->verbose) {
        vfio_user_trip_say(r->trip);
    }
    switches += r->trip->switches;
    refusals += r->trip->refusals;
    returns += vfio_user_trip_returns(r->trip);
    g_clear_pointer(&r->trip, vfio_user_trip_free);
}

static void run_one(Random *r, unsigned number)
{
    VFIOUserTripPlan plan = choose_plan(r, number);

    if (!matches(r->phase, plan.phase->name) ||
        !matches(r->action, plan.action->name)) {
        return;
    }
    g_free(r->now);
    r->now = describe(r, number, &plan);
    g_test_message("%s", r->now);
    run_migration(r, &plan);
    counts[plan.action - vfio_user_trip_actions]++;
}

static void test_random(void)
{
    Random *r = &options;

    g_test_message("seed=%u count=%u", r->seed, r->count);
    qtest_add_abrt_handler(print_failure, r);
    for (unsigned i = 0; i < r->count; i++) {
        if (r->only == UINT_MAX || r->only == i) {
            run_one(r, i);
        }
    }
    qtest_remove_abrt_handler(r);
    print_counts();
}

static unsigned random_parse_number(const char *text)
{
    unsigned value;

    if (qemu_strtoui(text, NULL, 0, &value) < 0) {
        fprintf(stderr, "'%s' is not a number\n", text);
        exit(1);
    }
    return value;
}

static void random_parse_option(Random *r, const char *word)
{
    const char *value;

    if (g_str_equal(word, "verbose")) {
        r->verbose = true;
    } else if (strstart(word, "seed=", &value)) {
        r->seed = random_parse_number(value);
    } else if (strstart(word, "count=", &value)) {
        r->count = random_parse_number(value);
    } else if (strstart(word, "only=", &value)) {
        r->only = random_parse_number(value);
    } else if (strstart(word, "phase=", &value)) {
        r->phase = g_strdup(value);
    } else if (strstart(word, "action=", &value)) {
        r->action = g_strdup(value);
    } else if (*word) {
        fprintf(stderr, "unknown option '%s'\n", word);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    g_auto(GStrv) words = g_strsplit(getenv("VFIO_USER_RANDOM") ?: "", " ",
                                     -1);

    g_test_init(&argc, &argv, NULL);
    options.seed = g_random_int();
    for (int i = 1; i < argc; i++) {
        random_parse_option(&options, argv[i]);
    }
    for (int i = 0; words[i]; i++) {
        random_parse_option(&options, words[i]);
    }
    qtest_add_func("/vfio-user/migrate-random", test_random);
    return g_test_run();
}
