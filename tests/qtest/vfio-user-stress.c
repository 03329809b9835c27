/*
 * Stress test of the vfio-user client
 *
 * Processors access all regions, configuration space and the registers of a
 * network card that does DMA to a device's memory.  Meanwhile the guest and
 * the monitor plug and unplug devices, the VM is reset, stopped and migrated,
 * and servers stop answering, continue, hang up and come back, or are replaced,
 * all at random.  QEMU must survive, its monitor must answer within the
 * budgets, and nothing may leak.
 *
 * Options on the command line, or in the environment variable
 * VFIO_USER_STRESS:
 *
 *   seed=N             seed printed by an earlier run
 *   seconds=N          duration for each machine, default 30
 *   only=NAME,...      run only these actions, or without=NAME,... all others
 *   verbose            print each action, not only the last ones on failure
 *   debug              wait for a debugger if the monitor does not answer
 *
 * A seed repeats the actions; the timing of the processors is not
 * reproducible.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>

#include "qemu/cutils.h"
#include "qobject/qdict.h"
#include "vfio-user-stress-vm.h"

#define SECONDS 30
#define RECONNECT_MS 20         /* of every second device */
#define LAST 40                 /* actions printed on failure */

/* Size of the state: enough for several reads each in PRE_COPY and STOP_COPY */
#define STATE 300000
#define STATE_PRE_COPY 250000

typedef struct Action Action;

typedef struct Stress {
    uint32_t seed;
    unsigned seconds;
    bool verbose;
    bool debug;
    const char *only;
    const char *without;
    GRand *rand;
    VFIOUserStressVM *vm;
    bool migrates;
    int sink;                   /* our end of a blocked migration stream */
    unsigned actions;
    char *last[LAST];
} Stress;

struct Action {
    const char *name;
    unsigned weight;
    void (*run)(Stress *s);
};

static Stress stress = { .seconds = SECONDS, .sink = -1 };
static unsigned counts[32];

static unsigned below(Stress *s, unsigned n)
{
    return g_rand_int_range(s->rand, 0, n);
}

static VFIOUserStressDevice *any_device(Stress *s)
{
    return &s->vm->dev[below(s, VFIO_USER_STRESS_DEVICES)];
}

/* Devices */

static const VFIOUserModelMigration1 chunks = { 64 * KiB, 4 * KiB };
static VFIOUserModel models[5];

static void make_models(void)
{
    VFIOUserModel *model = models;
    const VFIOUserMigrationModel pre_copy = {
        .flags = VFIO_USER_MODEL_STOP_COPY | VFIO_USER_MODEL_PRE_COPY,
        .filling = STATE,
        .pre_copy = STATE_PRE_COPY,
    };

    *model = vfio_user_model;
    model->migration = pre_copy;
    model++;

    *model = models[0];
    model->personality = vfio_user_personality("libvfio-user-2026");
    model++;

    /* part of a region is mapped, so writes are not posted */
    *model = models[0];
    model->migration.flags = VFIO_USER_MODEL_STOP_COPY;
    model->region[2].flags |= VFIO_REGION_INFO_FLAG_MMAP;
    model->region[2].nr_areas = 1;
    model->region[2].areas[0].offset = 4 * KiB;
    model->region[2].areas[0].size = 8 * KiB;
    model++;

    *model = vfio_user_model_migration1(&chunks);
    model++;

    *model = models[0];
    model->twin = true;
}

static void plug(Stress *s)
{
    unsigned device = below(s, VFIO_USER_STRESS_DEVICES);
    const VFIOUserModel *model = &models[below(s, ARRAY_SIZE(models))];

    /*
     * During migration, QEMU refuses to plug and waits for RCU, which a
     * blocked migration stream holds up.
     */
    if (!s->migrates) {
        vfio_user_stress_vm_plug(s->vm, device, model,
                                 below(s, 2) ? RECONNECT_MS : 0);
    }
}

static void plug_nic(Stress *s)
{
    if (!s->migrates) {
        vfio_user_stress_vm_plug_nic(s->vm);
    }
}

/* Requests an unplug, and the guest ejects the device. */
static void unplug(Stress *s)
{
    VFIOUserStressDevice *dev = any_device(s);

    if (dev->server) {
        vfio_user_stress_vm_ask(s->vm, dev->id);
        vfio_user_stress_vm_eject(s->vm, dev - s->vm->dev);
    }
}

/* Requests an unplug, to which the guest may respond late. */
static void ask(Stress *s)
{
    vfio_user_stress_vm_ask(s->vm, any_device(s)->id);
}

/* The guest ejects a device, whether requested or not. */
static void eject(Stress *s)
{
    if (!s->migrates) {
        vfio_user_stress_vm_eject(s->vm, below(s, VFIO_USER_STRESS_DEVICES));
    }
}

static void eject_migrating(Stress *s)
{
    if (s->migrates) {
        vfio_user_stress_vm_eject(s->vm, below(s, VFIO_USER_STRESS_DEVICES));
    }
}

static void eject_nic(Stress *s)
{
    vfio_user_stress_vm_eject_nic(s->vm);
}

/* Moves all BARs back to the windows. */
static void set_up(Stress *s)
{
    vfio_user_stress_vm_set_up(s->vm);
}

/* The VM */

static void reset(Stress *s)
{
    vfio_user_stress_vm_do(s->vm, "{'execute': 'system_reset'}");
    vfio_user_stress_vm_pass(s->vm, below(s, 50));
    vfio_user_stress_vm_set_up(s->vm);
}

static void stop(Stress *s)
{
    vfio_user_stress_vm_do(s->vm, "{'execute': 'stop'}");
    vfio_user_stress_vm_pass(s->vm, below(s, 50));
    vfio_user_stress_vm_do(s->vm, "{'execute': 'cont'}");
}

/* Reads configuration space from the main loop. */
static void info(Stress *s)
{
    vfio_user_stress_vm_do(s->vm, "{'execute': 'query-pci'}");
    vfio_user_stress_vm_do(s->vm, "{'execute': 'human-monitor-command',"
                           "'arguments': {'command-line': 'info mtree'}}");
}

/* Servers */

/* Stops a server, as SIGSTOP does */
static void hold(Stress *s)
{
    static const VFIOUserRule stalls[] = {
        { ON(VFIO_USER_ANY), DO_STALL },
        { }
    };
    VFIOUserStressDevice *dev = any_device(s);

    if (dev->server) {
        vfio_user_server_set_rules(dev->server, stalls);
        dev->held = true;
    }
}

/* Withholds some answers, so that they arrive in another order */
static void hold_some(Stress *s)
{
    static const VFIOUserRule reads[] = {
        { ON(VFIO_USER_REGION_READ), DO_HOLD },
        { }
    };
    static const VFIOUserRule interrupts[] = {
        { ON(VFIO_USER_DEVICE_SET_IRQS), DO_HOLD },
        { }
    };
    static const VFIOUserRule features[] = {
        { ON(VFIO_USER_DEVICE_FEATURE), DO_HOLD },
        { ON(VFIO_USER_MIG_DATA_READ), DO_HOLD },
        { }
    };
    static const VFIOUserRule *const rules[] = { reads, interrupts, features };
    VFIOUserStressDevice *dev = any_device(s);

    if (dev->server) {
        vfio_user_server_set_rules(dev->server,
                                   rules[below(s, ARRAY_SIZE(rules))]);
        dev->held = true;
    }
}

static void release(Stress *s)
{
    for (unsigned i = 0; i < VFIO_USER_STRESS_DEVICES; i++) {
        VFIOUserStressDevice *dev = &s->vm->dev[i];

        if (dev->server && dev->held) {
            vfio_user_server_set_rules(dev->server, NULL);
            vfio_user_server_release(dev->server);
            dev->held = false;
        }
    }
}

static void hang_up(Stress *s)
{
    VFIOUserStressDevice *dev = any_device(s);

    if (dev->server) {
        vfio_user_server_hang_up(dev->server);
    }
}

/* Another server takes over; both are alive, but the old one may be held. */
static void switch_server(Stress *s)
{
    vfio_user_stress_vm_switch(s->vm, below(s, VFIO_USER_STRESS_DEVICES));
}

/* Signals any armed interrupt */
static void interrupt(Stress *s)
{
    VFIOUserStressDevice *dev = any_device(s);
    uint32_t index = below(s, VFIO_PCI_MSIX_IRQ_INDEX + 1);
    uint64_t one = 1;
    int fd;

    fd = dev->server ? vfio_user_server_eventfd(dev->server, index, 0) : -1;
    if (fd >= 0) {
        g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
        close(fd);
    }
}

/* Migration */

static void hand_over_sink(Stress *s)
{
    int fds[2];
    QDict *response;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                    ==, 0);
    response = qtest_qmp_fds(s->vm->qts, &fds[1], 1, "{'execute': 'getfd',"
                             "'arguments': {'fdname': 'sink'}}");
    g_assert(qdict_haskey(response, "return"));
    qobject_unref(response);
    close(fds[1]);
    g_assert_cmpint(s->sink, <, 0);
    s->sink = fds[0];
}

static void start_migration(Stress *s, const char *uri, bool pauses,
                            unsigned bandwidth, unsigned downtime_ms)
{
    vfio_user_stress_vm_do(s->vm, "{'execute': 'migrate-set-capabilities',"
                           "'arguments': {'capabilities': [{'capability':"
                           "'pause-before-switchover', 'state': %i}]}}",
                           pauses);
    vfio_user_stress_vm_do(s->vm, "{'execute': 'migrate-set-parameters',"
                           "'arguments': {'max-bandwidth': %u,"
                           "'downtime-limit': %u}}", bandwidth, downtime_ms);
    s->migrates = vfio_user_stress_vm_do(s->vm, "{'execute': 'migrate',"
                                         "'arguments': {'uri': %s}}", uri);
}

static void migrate(Stress *s)
{
    if (!s->migrates) {
        /* slow migrations remain in PRE_COPY for a while */
        start_migration(s, "exec:cat >/dev/null", false,
                        1 << (18 + below(s, 10)), 1 + below(s, 300));
    }
}

/*
 * Migrates to a destination that does not read.  Pauses before switchover,
 * because QEMU would wait for the destination with the BQL held, with any
 * device.
 */
static void migrate_unread(Stress *s)
{
    if (!s->migrates) {
        hand_over_sink(s);
        start_migration(s, "fd:sink", true, 256 * KiB, 1);
    }
}

static void cancel(Stress *s)
{
    vfio_user_stress_vm_do(s->vm, "{'execute': 'migrate_cancel'}");
}

/* The destination disconnects. */
static void drop_sink(Stress *s)
{
    if (s->sink >= 0) {
        close(s->sink);
        s->sink = -1;
        /* left over from a refused migration */
        vfio_user_stress_vm_do(s->vm, "{'execute': 'closefd',"
                               "'arguments': {'fdname': 'sink'}}");
    }
}

/* Detects the end of a migration and continues the VM. */
static void look_at_migration(Stress *s)
{
    static const char *const ends[] = { "none", "completed", "failed",
                                        "cancelled", NULL };
    g_autofree char *status = NULL;

    if (!s->migrates) {
        drop_sink(s);
        return;
    }
    status = vfio_user_stress_vm_status(s->vm, "query-migrate");
    if (g_str_equal(status, "pre-switchover")) {
        cancel(s);
    } else if (g_strv_contains(ends, status)) {
        s->migrates = false;
        drop_sink(s);
        vfio_user_stress_vm_do(s->vm, "{'execute': 'cont'}");
    }
}

/* The test */

static const Action actions[] = {
    { "plug", 30, plug },
    { "plug-nic", 5, plug_nic },
    { "unplug", 10, unplug },
    { "ask", 3, ask },
    { "eject", 3, eject },
    { "eject-migrating", 2, eject_migrating },
    { "eject-nic", 3, eject_nic },
    { "set-up", 10, set_up },
    { "reset", 4, reset },
    { "stop", 4, stop },
    { "info", 4, info },
    { "hold", 3, hold },
    { "hold-some", 5, hold_some },
    { "release", 20, release },
    { "hang-up", 4, hang_up },
    { "switch", 6, switch_server },
    { "interrupt", 20, interrupt },
    { "migrate", 8, migrate },
    { "migrate-unread", 4, migrate_unread },
    { "cancel", 6, cancel },
    { "drop", 2, drop_sink },
};
QEMU_BUILD_BUG_ON(ARRAY_SIZE(actions) > ARRAY_SIZE(counts));

static bool is_listed(const char *list, const char *name)
{
    g_auto(GStrv) names = g_strsplit(list, ",", -1);

    return g_strv_contains((const char *const *)names, name);
}

static bool is_on(Stress *s, const char *name)
{
    return (!s->only || is_listed(s->only, name)) &&
           (!s->without || !is_listed(s->without, name));
}

static const Action *choose(Stress *s)
{
    unsigned sum = 0, at;

    for (unsigned i = 0; i < ARRAY_SIZE(actions); i++) {
        sum += is_on(s, actions[i].name) ? actions[i].weight : 0;
    }
    g_assert_cmpuint(sum, >, 0);
    at = below(s, sum);
    for (const Action *action = actions; ; action++) {
        if (is_on(s, action->name)) {
            if (at < action->weight) {
                return action;
            }
            at -= action->weight;
        }
    }
}

static void note(Stress *s, const Action *action)
{
    char **slot = &s->last[s->actions % LAST];

    counts[action - actions]++;
    g_free(*slot);
    *slot = g_strdup_printf("%u %s%s", s->actions++, action->name,
                            s->migrates ? ", migrating" : "");
    if (s->verbose) {
        g_test_message("%s", *slot);
    }
}

static void print_last(void *opaque)
{
    Stress *s = opaque;

    fprintf(stderr, "# seed=%u; the last actions:\n", s->seed);
    for (unsigned i = 0; i < LAST; i++) {
        const char *text = s->last[(s->actions + i) % LAST];

        if (text) {
            fprintf(stderr, "# %s\n", text);
        }
    }
}

/* Ends all activity and unplugs everything. */
static void wind_down(Stress *s)
{
    gint64 deadline = g_get_monotonic_time() + 60 * G_TIME_SPAN_SECOND;

    release(s);
    cancel(s);
    look_at_migration(s);
    while (s->migrates) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        vfio_user_stress_vm_pass(s->vm, 10);
        look_at_migration(s);
    }
    vfio_user_stress_vm_empty(s->vm);
}

/*
 * Uses everything once, which creates the objects that QEMU creates once and
 * keeps.
 */
static void warm_up(Stress *s)
{
    for (unsigned i = 0; i < VFIO_USER_STRESS_DEVICES; i++) {
        vfio_user_stress_vm_plug(s->vm, i, &models[0], RECONNECT_MS);
    }
    vfio_user_stress_vm_plug_nic(s->vm);
    if (is_on(s, "migrate")) {
        migrate(s);
    }
    vfio_user_stress_vm_pass(s->vm, 500);
    wind_down(s);
}

/* Waits until the resources of devices are freed. */
static void check_left(Stress *s, const char *what, unsigned before)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    unsigned now;

    while ((now = vfio_user_stress_vm_count(s->vm, what)) > before &&
           g_get_monotonic_time() < deadline) {
        vfio_user_stress_vm_pass(s->vm, 100);
    }
    g_test_message("/proc/QEMU/%s: %u, was %u", what, now, before);
    g_assert_cmpuint(now, <=, before);
}

static void print_results(Stress *s)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (unsigned i = 0; i < ARRAY_SIZE(actions); i++) {
        if (counts[i]) {
            g_string_append_printf(text, " %s %u", actions[i].name,
                                   counts[i]);
        }
    }
    g_test_message("actions:%s", text->str);
    for (unsigned i = 0; i < VFIO_USER_STRESS_CPUS; i++) {
        g_test_message("processor %u: %u orders", i,
                       s->vm->guest->cpu[i].done);
    }
    g_test_message("the monitor took up to %" PRIi64 " ms (%s), may take %"
                   PRIi64 " ms", s->vm->slowest / 1000, s->vm->slowest_was,
                   vfio_user_stress_vm_limit() / 1000);
}

static void test_stress(const void *machine)
{
    Stress *s = &stress;
    unsigned fds, threads;
    gint64 end;

    memset(counts, 0, sizeof(counts));
    g_test_message("seed=%u seconds=%u", s->seed, s->seconds);
    make_models();
    s->rand = g_rand_new_with_seed(s->seed);
    s->vm = vfio_user_stress_vm_new(machine, s->seed, s->debug);
    qtest_add_abrt_handler(print_last, s);
    warm_up(s);
    fds = vfio_user_stress_vm_count(s->vm, "fd");
    threads = vfio_user_stress_vm_count(s->vm, "task");
    end = g_get_monotonic_time() + s->seconds * G_TIME_SPAN_SECOND;
    while (g_get_monotonic_time() < end) {
        const Action *action = choose(s);

        note(s, action);
        action->run(s);
        look_at_migration(s);
        vfio_user_stress_vm_tidy(s->vm);
        vfio_user_stress_vm_pass(s->vm, below(s, 30));
    }
    wind_down(s);
    print_results(s);
    check_left(s, "fd", fds);
    check_left(s, "task", threads);
    qtest_remove_abrt_handler(s);
    vfio_user_stress_vm_free(s->vm);
    g_rand_free(s->rand);
}

static unsigned stress_parse_number(const char *text)
{
    unsigned value;

    if (qemu_strtoui(text, NULL, 0, &value) < 0) {
        fprintf(stderr, "'%s' is not a number\n", text);
        exit(1);
    }
    return value;
}

static void stress_parse_option(Stress *s, const char *word)
{
    const char *value;

    if (g_str_equal(word, "verbose")) {
        s->verbose = true;
    } else if (g_str_equal(word, "debug")) {
        s->debug = true;
    } else if (strstart(word, "seed=", &value)) {
        s->seed = stress_parse_number(value);
    } else if (strstart(word, "seconds=", &value)) {
        s->seconds = stress_parse_number(value);
    } else if (strstart(word, "only=", &value)) {
        s->only = g_strdup(value);
    } else if (strstart(word, "without=", &value)) {
        s->without = g_strdup(value);
    } else if (*word) {
        fprintf(stderr, "unknown option '%s'\n", word);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    g_auto(GStrv) words = g_strsplit(getenv("VFIO_USER_STRESS") ?: "", " ",
                                     -1);

    g_test_init(&argc, &argv, NULL);
    stress.seed = g_random_int();
    for (int i = 0; words[i]; i++) {
        stress_parse_option(&stress, words[i]);
    }
    for (int i = 1; i < argc; i++) {
        stress_parse_option(&stress, argv[i]);
    }
    if (qtest_has_accel("tcg")) {
        qtest_add_data_func("/vfio-user/stress/pc", "pc", test_stress);
        qtest_add_data_func("/vfio-user/stress/q35", "q35", test_stress);
    }
    return g_test_run();
}
