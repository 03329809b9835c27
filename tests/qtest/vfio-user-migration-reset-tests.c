/*
 * qtest of the vfio-user client: migration and deferred resets
 *
 * If a VM is reset while it is stopped, the device is reset when it runs
 * again.  This must not destroy state loaded in the meantime, and saved state
 * must be that after the reset.  When a migration begins again, a reset
 * discards the data loaded so far, if the server offers one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-sleep.h"
#include "vfio-user-tests.h"

#define SEED 1618
/* More than QEMU's stream buffers. */
#define SENT (256 * KiB)
#define STATE AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0)
#define DATA AT_OFFSET(VFIO_USER_MIGRATION1_REGION, VFIO_USER_MIGRATION1_DATA)

static void mig_reset_stop_vm(VFIOUserMigVM *vm)
{
    qtest_qmp_assert_success(vm->qts, "{'execute': 'stop'}");
}

static void mig_reset_continue_vm(VFIOUserMigVM *vm)
{
    qtest_qmp_assert_success(vm->qts, "{'execute': 'cont'}");
}

static void mig_reset_system_reset(VFIOUserMigVM *vm)
{
    qtest_qmp_assert_success(vm->qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(vm->qts, "RESET");
}

/* Resets a paused VM, which sends nothing to the server. */
static void reset_paused(VFIOUserMigVM *vm)
{
    mig_reset_system_reset(vm);
    g_assert_cmpuint(vfio_user_server_saw(vm->server[0],
                                          VFIO_USER_DEVICE_RESET), ==, 0);
}

/* Snapshots */

/* Creates an image with a job and waits for it. */
static void create_image(VFIOUserMigVM *vm, const char *options)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    QDict *response =
        qtest_qmp(vm->qts, "{'execute': 'blockdev-create', 'arguments':"
                  " {'job-id': 'create', 'options': %p}}",
                  qobject_from_json(options, &error_abort));
    bool done = false;

    g_assert(qdict_haskey(response, "return"));
    qobject_unref(response);
    while (!done) {
        QDict *job;

        response = qtest_qmp(vm->qts, "{'execute': 'query-jobs'}");
        job = qobject_to(QDict, qlist_peek(qdict_get_qlist(response,
                                                           "return")));
        g_assert_false(qdict_haskey(job, "error"));
        done = !strcmp(qdict_get_str(job, "status"), "concluded");
        qobject_unref(response);
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
    qtest_qmp_assert_success(vm->qts, "{'execute': 'job-dismiss',"
                             " 'arguments': {'id': 'create'}}");
}

/* Adds an unused disk for snapshots. */
static void add_disk(VFIOUserMigVM *vm)
{
    g_autofree char *name = g_build_filename(vm->dir, "file", NULL);
    g_autofree char *file = g_strdup_printf("{\"driver\": \"file\","
                                            " \"filename\": \"%s\","
                                            " \"size\": 0}", name);
    g_autofree char *qcow2 =
        g_strdup_printf("{\"driver\": \"qcow2\", \"size\": 65536, \"file\":"
                        " {\"driver\": \"file\", \"filename\": \"%s\"}}",
                        name);

    create_image(vm, file);
    create_image(vm, qcow2);
    qtest_qmp_assert_success(vm->qts, "{'execute': 'blockdev-add',"
                             " 'arguments': {'driver': 'qcow2',"
                             " 'node-name': 'disk', 'file': {"
                             " 'driver': 'file', 'filename': %s}}}", name);
}

static void run_hmp(VFIOUserMigVM *vm, const char *command)
{
    g_autofree char *answer = qtest_hmp(vm->qts, "%s", command);

    g_assert_cmpstr(answer, ==, "");
}

/* loadvm restores the VM and its device. */
static void test_loadvm(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_source(model, SEED);

    add_disk(vm);
    run_hmp(vm, "savevm one");
    for (unsigned i = 0; i < 2; i++) {
        vfio_user_mig_vm_fill(vm, SEED + 1);
        run_hmp(vm, "loadvm one");
        vfio_user_mig_wait_running(vm);
        vfio_user_mig_vm_check(vm, SEED);
    }
    mig_reset_stop_vm(vm);
    mig_reset_continue_vm(vm);
    vfio_user_mig_vm_check(vm, SEED);
}

/* Capabilities of a migration over a socket change nothing. */
static void test_loadvm_ack(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_source(model, SEED);

    vfio_user_mig_capability(vm, "return-path");
    vfio_user_mig_capability(vm, "switchover-ack");
    add_disk(vm);
    run_hmp(vm, "savevm one");
    vfio_user_mig_vm_fill(vm, SEED + 1);
    run_hmp(vm, "loadvm one");
    vfio_user_mig_wait_running(vm);
    vfio_user_mig_vm_check(vm, SEED);
}

/* A reset in S3 stops the VM, and QEMU does not notify devices. */
static void test_loadvm_asleep(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_source(model, SEED);

    add_disk(vm);
    run_hmp(vm, "savevm one");
    vfio_user_sleep(vm->qts);
    mig_reset_system_reset(vm);
    run_hmp(vm, "loadvm one");
    mig_reset_continue_vm(vm);
    g_assert_true(vfio_user_server_runs(vm->server[0]));
    vfio_user_mig_vm_check(vm, SEED);
}

/* The same for a VM that stays paused. */
static void test_loadvm_paused(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_source(model, SEED);

    add_disk(vm);
    run_hmp(vm, "savevm one");
    vfio_user_mig_vm_fill(vm, SEED + 1);
    mig_reset_stop_vm(vm);
    run_hmp(vm, "loadvm one");
    mig_reset_continue_vm(vm);
    vfio_user_mig_vm_check(vm, SEED);
}

/* savevm after a reset of the paused VM. */
static void test_savevm(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_source(model, SEED);

    add_disk(vm);
    vfio_user_server_forget(vm->server[0]);
    mig_reset_stop_vm(vm);
    reset_paused(vm);
    run_hmp(vm, "savevm one");
    g_assert_cmpuint(vfio_user_server_saw(vm->server[0],
                                          VFIO_USER_DEVICE_RESET), ==, 1);
    mig_reset_continue_vm(vm);
    g_assert_cmpuint(vfio_user_server_saw(vm->server[0],
                                          VFIO_USER_DEVICE_RESET), ==, 1);
}

/* Migration to another VM */

/* Checks that the device was only read after the reset. */
static void check_reset_first(VFIOUserServer *s)
{
    const VFIOUserWhen stream = ON(VFIO_USER_MIG_DATA_READ);
    const VFIOUserWhen region = ON(VFIO_USER_REGION_READ, DATA);
    g_autoptr(GArray) log = vfio_user_server_log(s);
    bool was_reset = false, was_read = false;

    for (unsigned i = 0; i < log->len; i++) {
        VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);
        uint16_t command = seen->header.command;

        was_reset |= command == VFIO_USER_DEVICE_RESET;
        if (vfio_user_when_holds(&stream, command, seen->payload,
                                 seen->length) ||
            vfio_user_when_holds(&region, command, seen->payload,
                                 seen->length)) {
            g_assert_true(was_reset);
            was_read = true;
        }
    }
    g_assert_true(was_read);
}

/* Checks that the VM has migrated and is paused as before. */
static void mig_reset_check_arrived(VFIOUserMigVM *from, VFIOUserMigVM *to)
{
    vfio_user_mig_wait(from, "completed");
    vfio_user_mig_wait(to, "completed");
    g_assert_false(vfio_user_server_runs(to->server[0]));
    vfio_user_server_forget(to->server[0]);
    mig_reset_continue_vm(to);
    g_assert_true(vfio_user_server_runs(to->server[0]));
    g_assert_cmpuint(vfio_user_server_saw(to->server[0],
                                          VFIO_USER_DEVICE_RESET), ==, 0);
}

static void test_reset_before(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    mig_reset_stop_vm(from);
    reset_paused(from);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    mig_reset_check_arrived(from, to);
    check_reset_first(from->server[0]);
}

/* Starts a migration that takes until the bandwidth is raised. */
static void mig_reset_start_slowly(VFIOUserMigVM *vm, const char *uri)
{
    qtest_memset(vm->qts, 8 * MiB, 0x5a, 16 * MiB);
    vfio_user_mig_set(vm, "max-bandwidth", 1 * MiB);
    vfio_user_mig_start(vm, uri);
    vfio_user_mig_wait(vm, "active");
}

/* Resets while memory is sent. */
static void test_reset_meanwhile(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    mig_reset_stop_vm(from);
    vfio_user_mig_listen(to, uri);
    mig_reset_start_slowly(from, uri);
    reset_paused(from);
    vfio_user_mig_set(from, "max-bandwidth", 1 * GiB);
    mig_reset_check_arrived(from, to);
    check_reset_first(from->server[0]);
}

/*
 * Waits until the source's server, to which nothing was sent before, enters
 * PRE_COPY.
 */
static void wait_pre_copy(VFIOUserServer *s, const VFIOUserModel *model)
{
    if (model->migration1) {
        vfio_user_server_see(s, VFIO_USER_REGION_WRITE, STATE);
    } else {
        vfio_user_server_see(s, VFIO_USER_DEVICE_FEATURE,
                             AT(VFIO_USER_MIG_PRE_COPY));
    }
}

static void wait_loading(VFIOUserServer *s, const VFIOUserModel *model)
{
    if (model->migration1) {
        vfio_user_server_see(s, VFIO_USER_REGION_WRITE, DATA);
    } else {
        vfio_user_server_see(s, VFIO_USER_MIG_DATA_WRITE);
    }
}

/* Stopped and reset in PRE_COPY: the data sent before is discarded. */
static void test_reset_in_pre_copy(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_mig_listen(to, uri);
    mig_reset_start_slowly(from, uri);
    wait_pre_copy(from->server[0], model);
    mig_reset_stop_vm(from);
    reset_paused(from);
    vfio_user_mig_set(from, "max-bandwidth", 1 * GiB);
    vfio_user_server_see(to->server[0], VFIO_USER_DEVICE_RESET, .nth = 2);
    mig_reset_check_arrived(from, to);
    g_assert_cmpuint(vfio_user_server_saw(from->server[0],
                                          VFIO_USER_DEVICE_RESET), ==, 1);
}

/*
 * The destination is reset while its device is loaded: the loaded state wins.
 */
static void test_reset_loading(const void *opaque)
{
    VFIOUserModel model = *vfio_user_mig_model_of(opaque);
    VFIOUserMigVM *from, *to;
    g_autofree char *uri = NULL;

    model.migration.pre_copy = MAX(model.migration.pre_copy, SENT);
    model.migration.filling = MAX(model.migration.filling, SENT);
    from = vfio_user_mig_source(&model, SEED);
    to = vfio_user_mig_destination(&model);
    uri = vfio_user_mig_uri(to);
    vfio_user_mig_capability(from, "pause-before-switchover");
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(from, "pre-switchover");
    wait_loading(to->server[0], &model);
    vfio_user_server_forget(to->server[0]);
    mig_reset_system_reset(to);
    g_assert_cmpuint(vfio_user_server_saw(to->server[0],
                                          VFIO_USER_DEVICE_RESET), ==, 0);
    qtest_qmp_assert_success(from->qts, "{'execute': 'migrate-continue',"
                             " 'arguments': {'state': 'pre-switchover'}}");
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

/* The same before any data, while the server enters RESUMING. */
static void test_reset_resuming(const void *opaque)
{
    static const VFIOUserRule hold[] = {
        { ON(VFIO_USER_REGION_WRITE, STATE, .nth = 1), DO_HOLD },
        { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_RESUMING), .nth = 1),
          DO_HOLD },
        { }
    };
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);
    VFIOUserServer *server = to->server[0];

    vfio_user_server_set_rules(server, hold);
    vfio_user_server_forget(server);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_server_wait(server, hold[model->migration1 ? 0 : 1].when);
    reset_paused(to);
    vfio_user_server_release(server);
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
}

/* A reset after loading resets the device. */
static void test_reset_loaded(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    mig_reset_stop_vm(from);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(from, "completed");
    vfio_user_mig_wait(to, "completed");
    vfio_user_server_forget(to->server[0]);
    reset_paused(to);
    qtest_qmp_assert_success(to->qts, "{'execute': 'cont'}");
    vfio_user_server_see(to->server[0], VFIO_USER_DEVICE_RESET);
}

/* If the server's state never ends, savevm fails and the VM keeps running. */
static void test_savevm_endless(void)
{
    static const VFIOUserPersonality trickles = { .most_read = 1 };
    VFIOUserModel endless = *vfio_user_mig_stop_copy;
    g_autofree char *answer = NULL;
    VFIOUserMigVM *vm;

    endless.personality = &trickles;
    endless.migration.filling = 1 * TiB;
    vm = vfio_user_mig_source(&endless, SEED);
    add_disk(vm);
    answer = qtest_hmp(vm->qts, "savevm one");
    g_assert_nonnull(strstr(answer, "its state data did not end"));
    vfio_user_mig_wait_running(vm);
    vfio_user_mig_vm_check(vm, SEED);
    vfio_user_mig_vm_free(vm);
}

/* Returns the error of a snapshot job. */
static char *job_error(VFIOUserMigVM *vm)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    char *error = NULL;
    bool done = false;

    while (!done) {
        QDict *response = qtest_qmp(vm->qts, "{'execute': 'query-jobs'}");
        QList *jobs = qdict_get_qlist(response, "return");
        QDict *job = qobject_to(QDict, qlist_peek(jobs));

        done = g_str_equal(qdict_get_str(job, "status"), "concluded");
        if (done) {
            error = g_strdup(qdict_get_str(job, "error"));
        }
        qobject_unref(response);
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
    g_test_message("%s", error);
    return error;
}

/* A VM with a lost device is not saved, and keeps running. */
static void test_savevm_lost(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_source(model, SEED);
    const char *path = vfio_user_server_path(vm->server[0]);
    g_autofree char *why =
        g_strdup_printf("vfio-user %s (device dut0): a device without a server"
                        " cannot be saved, unplug it: the server closed the"
                        " connection", path);
    g_autofree char *answer = NULL;
    g_autofree char *error = NULL;

    add_disk(vm);
    /* the server has read all, or the kernel would reset the connection */
    vfio_user_mig_vm_check(vm, SEED);
    vfio_user_server_hang_up(vm->server[0]);
    qtest_qmp_eventwait(vm->qts, "VFIO_USER_DISCONNECTED");
    answer = qtest_hmp(vm->qts, "savevm one");
    g_assert_nonnull(strstr(answer, why));
    vfio_user_mig_wait_running(vm);
    qtest_qmp_assert_success(vm->qts, "{'execute': 'snapshot-save',"
                             " 'arguments': {'job-id': 'save', 'tag': 'one',"
                             " 'vmstate': 'disk', 'devices': ['disk']}}");
    error = job_error(vm);
    g_assert_cmpstr(error, ==, why);
    vfio_user_mig_wait_running(vm);
}

/* The source begins again */

/* The VM is stopped and continued after the destination has begun to load. */
static void mig_reset_begin_again(VFIOUserMigVM *from, VFIOUserMigVM *to)
{
    mig_reset_stop_vm(from);
    mig_reset_continue_vm(from);
    vfio_user_mig_set(from, "max-bandwidth", 1 * GiB);
    vfio_user_mig_downtime(from, 2000);
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
}

/* Checks that the server was told a second time to load. */
static void check_loaded_again(VFIOUserServer *s, const VFIOUserModel *model)
{
    if (model->migration1) {
        /* RESUMING, RUNNING, STOP, RUNNING, RESUMING */
        vfio_user_server_see(s, VFIO_USER_REGION_WRITE, STATE, .nth = 5);
    } else {
        vfio_user_server_see(s, VFIO_USER_DEVICE_FEATURE,
                             AT(VFIO_USER_MIG_RESUMING), .nth = 2);
    }
}

/* A server that does not offer DEVICE_RESET discards the data without it. */
static void test_again_resetless(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_RESET), DO_FAIL, ENOTTY },
        { }
    };
    VFIOUserModel model = *vfio_user_mig_model_of(opaque);
    VFIOUserMigVM *from, *to;
    g_autofree char *uri = NULL;

    model.flags &= ~VFIO_DEVICE_FLAGS_RESET;
    from = vfio_user_mig_source(&model, SEED);
    to = vfio_user_mig_destination(&model);
    uri = vfio_user_mig_uri(to);
    vfio_user_server_set_rules(to->server[0], rules);
    vfio_user_mig_listen(to, uri);
    mig_reset_start_slowly(from, uri);
    wait_pre_copy(from->server[0], &model);
    mig_reset_begin_again(from, to);
    check_loaded_again(to->server[0], &model);
    g_assert_cmpuint(vfio_user_server_saw(to->server[0],
                                          VFIO_USER_DEVICE_RESET), ==, 0);
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

/*
 * A server that keeps the data through a reset finds it incomplete and goes to
 * ERROR.  The destination leaves ERROR and loads the data again.
 */
static void test_again_incomplete(const void *opaque)
{
    static const VFIOUserPersonality keeps = {
        .keeps_state = true, .keeps_data = true
    };
    VFIOUserModel model = *vfio_user_mig_model_of(opaque);
    VFIOUserMigVM *from, *to;
    g_autofree char *uri = NULL, *said = NULL;

    model.personality = &keeps;
    model.migration.grows = 4 * MiB;
    from = vfio_user_mig_source(&model, SEED);
    to = vfio_user_mig_destination(&model);
    uri = vfio_user_mig_uri(to);
    /* slower than the data grows, so it never ends */
    vfio_user_mig_set(from, "max-bandwidth", 1 * MiB);
    vfio_user_mig_downtime(from, 0);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_server_see(to->server[0], VFIO_USER_MIG_DATA_WRITE, .nth = 3);
    mig_reset_begin_again(from, to);
    check_loaded_again(to->server[0], &model);
    /* at the start, to begin again, and to leave ERROR, which is no news */
    g_assert_cmpuint(vfio_user_server_saw(to->server[0],
                                          VFIO_USER_DEVICE_RESET), ==, 3);
    said = vfio_user_mig_said(to);
    g_assert_null(strstr(said, "has been reset"));
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

static void add(const char *name, const VFIOUserModel *const *model,
                void (*test)(const void *opaque))
{
    const VFIOUserPersonality *p = (*model)->personality;
    g_autofree char *path =
        g_strdup_printf("/vfio-user/migration-reset/%s/%s",
                        p ? p->name : (*model)->migration1 ? "1" : "2", name);

    qtest_add_data_func(path, model, test);
}

void vfio_user_add_migration_reset_tests(void)
{
    static const VFIOUserModel *const *const servers[] = {
        &vfio_user_mig_region, &vfio_user_mig_pre_copy,
        &vfio_user_mig_region_2022, &vfio_user_mig_pre_copy_2026,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(servers); i++) {
        add("loadvm", servers[i], test_loadvm);
        add("loadvm-ack", servers[i], test_loadvm_ack);
        add("loadvm-asleep", servers[i], test_loadvm_asleep);
        add("loadvm-paused", servers[i], test_loadvm_paused);
        add("savevm", servers[i], test_savevm);
        add("savevm-lost", servers[i], test_savevm_lost);
        add("before", servers[i], test_reset_before);
        add("meanwhile", servers[i], test_reset_meanwhile);
        add("in-pre-copy", servers[i], test_reset_in_pre_copy);
        add("loading", servers[i], test_reset_loading);
        add("resuming", servers[i], test_reset_resuming);
        add("loaded", servers[i], test_reset_loaded);
        add("again-resetless", servers[i], test_again_resetless);
    }
    add("again-incomplete", &vfio_user_mig_pre_copy, test_again_incomplete);
    qtest_add_func("/vfio-user/migration-reset/savevm-endless",
                   test_savevm_endless);
}
