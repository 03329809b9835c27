/*
 * qtest of the vfio-user client: migration of busy devices
 *
 * Servers whose pre-copy data grows over time, combined with a DMA engine that
 * writes to memory.  QEMU decides by its limits when the VM stops, even if the
 * data never ends, and query-migrate counts the bytes read from servers.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qemu/atomic.h"
#include "qobject/qdict.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 2718

#define AREA (16 * MiB)         /* guest memory of the engine */
#define AREA_PAGES 2048
#define PAGE 4096

/* Duration of a slow call: longer than the monitor waits, ms. */
#define HELD_MS 150

typedef struct Engine {
    VFIOUserServer *server;
    bool stop;
    unsigned pages;             /* pages written so far */
    GThread *thread;
} Engine;

/* Writes by message, as fast as QEMU replies. */
static gpointer pace_work(gpointer opaque)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    Engine *e = opaque;

    while (!qatomic_read(&e->stop)) {
        uint32_t word = g_rand_int(rand);
        uint64_t at = AREA + word % AREA_PAGES * PAGE;

        if (vfio_user_server_write_message(e->server, at, &word,
                                           sizeof(word))) {
            break;              /* the device is stopped */
        }
        qatomic_inc(&e->pages);
    }
    return NULL;
}

static void engine_start(Engine *e, VFIOUserServer *server)
{
    *e = (Engine) { .server = server };
    e->thread = g_thread_new("engine", pace_work, e);
}

static void engine_stop(Engine *e)
{
    qatomic_set(&e->stop, true);
    g_thread_join(e->thread);
    g_assert_cmpuint(e->pages, >, 0);
}

static VFIOUserModel growing_model(const void *opaque, uint64_t rate)
{
    VFIOUserModel model = *vfio_user_mig_model_of(opaque);

    model.migration.grows = rate;
    return model;
}

/* A device and an engine that are busy all the time. */
static void test_growing(const void *opaque)
{
    VFIOUserModel growing = growing_model(opaque, 512 * KiB);
    const VFIOUserModel *model = &growing;
    VFIOUserMigVM *from = vfio_user_mig_vm_run(&model, 1, 0);
    VFIOUserMigVM *to = vfio_user_mig_vm_new(&model, 1, NULL, 0);
    Engine engine;

    vfio_user_mig_vm_fill(from, SEED);
    engine_start(&engine, from->server[0]);
    vfio_user_mig_move(from, to);
    engine_stop(&engine);
    vfio_user_mig_vm_check(to, SEED);
    g_assert_cmpint(vfio_user_mig_bytes(from), >,
                    vfio_user_mig_state_size(model));
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

/*
 * A device that has a little more data at each read, but never none: QEMU
 * stops the VM nevertheless, without a warning.
 */
static void test_trickling(const void *opaque)
{
    VFIOUserModel trickling = growing_model(opaque, MiB);
    const VFIOUserModel *model = &trickling;
    VFIOUserMigVM *from, *to;
    g_autofree char *said = NULL;

    trickling.version = vfio_user_model.version;
    from = vfio_user_mig_vm_run(&model, 1, 0);
    to = vfio_user_mig_vm_new(&model, 1, NULL, 0);
    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    said = vfio_user_mig_said(from);
    g_assert_null(strstr(said, "did not converge"));
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

/* Starts to migrate a VM whose device's pre-copy data never ends. */
static VFIOUserMigVM *endless_vm(const void *opaque)
{
    static VFIOUserModel endless;
    const VFIOUserModel *models[] = { &endless,
                                      vfio_user_mig_model_of(opaque) };
    VFIOUserMigVM *vm;

    endless = growing_model(opaque, VFIO_USER_MODEL_ENDLESS);
    endless.version = vfio_user_model.version;
    vm = vfio_user_mig_vm_run(models, 2, 0);
    vfio_user_mig_vm_fill(vm, SEED);
    vfio_user_mig_set(vm, "max-bandwidth", 16 * GiB);
    vfio_user_mig_start(vm, "exec:cat > /dev/null");
    vfio_user_server_see(vm->server[0], VFIO_USER_MIG_DATA_READ, .nth = 3);
    return vm;
}

/* QEMU stops the VM with a warning.  The second device is read as usual. */
static void test_endless(const void *opaque)
{
    g_autoptr(VFIOUserMigVM) vm = endless_vm(opaque);
    g_autofree char *said = NULL;

    vfio_user_mig_wait(vm, "completed");
    said = vfio_user_mig_said(vm);
    g_assert_nonnull(strstr(said, "saving the running device did not"
                            " converge"));
    g_assert_cmpint(vfio_user_mig_bytes(vm), >, 4 * 64 * MiB);
}

static void test_endless_cancelled(const void *opaque)
{
    g_autoptr(VFIOUserMigVM) vm = endless_vm(opaque);

    vfio_user_mig_cancel(vm);
    vfio_user_mig_wait(vm, "cancelled");
    vfio_user_mig_wait_running(vm);
    vfio_user_server_see(vm->server[0], VFIO_USER_DEVICE_FEATURE,
                         AT(VFIO_USER_MIG_RUNNING));
    vfio_user_mig_vm_check(vm, SEED);
}

static void test_endless_stopped(const void *opaque)
{
    g_autoptr(VFIOUserMigVM) vm = endless_vm(opaque);
    g_autofree char *said = NULL;

    qtest_qmp_assert_success(vm->qts, "{'execute': 'stop'}");
    vfio_user_mig_wait(vm, "completed");
    said = vfio_user_mig_said(vm);
    g_assert_null(strstr(said, "did not converge"));
}

/* During migration, query-migrate counts what was read so far. */
static void test_counted(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_MIG_DATA_READ, .nth = 3), DO_HOLD },
        { }
    };
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_vm_run(&model, 1, 0);

    vfio_user_server_set_rules(vm->server[0], rules);
    vfio_user_mig_start(vm, "exec:cat > /dev/null");
    vfio_user_server_see(vm->server[0], VFIO_USER_MIG_DATA_READ, .nth = 3);
    vfio_user_mig_wait(vm, "active");
    /*
     * Two of three reads were answered, both with the maximum size.  The third
     * may have started before the second was counted.
     */
    while (vfio_user_mig_bytes(vm) < 2 * vfio_user_mig_most_read(model)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
    g_assert_cmpint(vfio_user_mig_bytes(vm), ==,
                    2 * vfio_user_mig_most_read(model));
    vfio_user_server_release(vm->server[0]);
    vfio_user_mig_wait(vm, "completed");
    g_assert_cmpint(vfio_user_mig_bytes(vm), ==,
                    vfio_user_mig_state_size(model));
}

/*
 * A slow server while the device is loaded: the monitor answers between two
 * calls although the whole stream is available.
 */
static void test_slow_load(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_MIG_DATA_WRITE), DO_DELAY, HELD_MS },
        { }
    };
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_vm_run(&model, 1, 0);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_vm_new(&model, 1, rules, 0);
    g_autofree char *file = g_build_filename(from->dir, "file", NULL);
    g_autofree char *out = g_strdup_printf("exec:cat > %s", file);
    g_autofree char *in = g_strdup_printf("exec:cat %s", file);
    QDict *answer;

    vfio_user_mig_start(from, out);
    vfio_user_mig_wait(from, "completed");
    vfio_user_mig_vm_quit(from);
    vfio_user_mig_listen(to, in);
    vfio_user_server_see(to->server[0], VFIO_USER_MIG_DATA_WRITE);
    answer = qtest_qmp(to->qts, "{'execute': 'query-status'}");
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(answer, "return"), "status"),
                    ==, "inmigrate");
    qobject_unref(answer);
    vfio_user_mig_wait_running(to);
}

static const struct {
    const char *name;
    void (*test)(const void *opaque);
} tests[] = {
    { "growing", test_growing },
    { "trickling", test_trickling },
    { "endless", test_endless },
    { "endless-cancelled", test_endless_cancelled },
    { "endless-stopped", test_endless_stopped },
    { "counted", test_counted },
    { "slow-load", test_slow_load },
};

void vfio_user_add_migration_pace_tests(void)
{
    static const VFIOUserModel *const *const servers[] = {
        &vfio_user_mig_pre_copy, &vfio_user_mig_pre_copy_2026,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(servers) * ARRAY_SIZE(tests); i++) {
        const VFIOUserModel *const *model = servers[i / ARRAY_SIZE(tests)];
        const VFIOUserPersonality *p = (*model)->personality;
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration-pace/%s%s%s",
                            p ? p->name : "", p ? "/" : "",
                            tests[i % ARRAY_SIZE(tests)].name);

        qtest_add_data_func(path, model, tests[i % ARRAY_SIZE(tests)].test);
    }
}
