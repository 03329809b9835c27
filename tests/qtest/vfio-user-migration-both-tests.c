/*
 * qtest of the vfio-user client: migration v1 and v2
 *
 * Migration works the same for the user with servers of v1 and v2: each test
 * here runs with both.  The last tests check that migration between v1 and v2
 * fails.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib-unix.h>
#include <sys/socket.h>

#include "hw/pci/pci.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 90210

/* Checks that the whole device was read at least once. */
static void check_bytes(VFIOUserMigVM *from, const VFIOUserModel *model)
{
    g_assert_cmpint(vfio_user_mig_bytes(from), >=,
                    vfio_user_mig_state_size(model));
}

/* Transports */

static void test_unix(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);

    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    check_bytes(from, model);
}

static void test_tcp(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = NULL;

    vfio_user_mig_listen(to, "tcp:127.0.0.1:0");
    uri = vfio_user_mig_address(to);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
    check_bytes(from, model);
}

static void test_fd(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    int ends[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
    vfio_user_mig_give(from, ends[0]);
    vfio_user_mig_give(to, ends[1]);
    vfio_user_mig_listen(to, "fd:given");
    vfio_user_mig_start(from, "fd:given");
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
    check_bytes(from, model);
}

/* Saves to a file, ends the source and its server, and restores with others. */
static void test_file(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autofree char *out = g_strdup_printf("exec:cat > %s/file", to->dir);
    g_autofree char *in = g_strdup_printf("exec:cat %s/file", to->dir);

    memcpy(to->bar, from->bar, sizeof(to->bar));
    vfio_user_mig_start(from, out);
    vfio_user_mig_wait(from, "completed");
    check_bytes(from, model);
    g_clear_pointer(&from, vfio_user_mig_vm_free);
    vfio_user_mig_listen(to, in);
    vfio_user_mig_wait_running(to);
    vfio_user_mig_vm_check(to, SEED);
}

/* Migrating back */

static void test_back_again(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) one = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) two = vfio_user_mig_destination(model);
    g_autoptr(VFIOUserMigVM) three = NULL;

    vfio_user_mig_move(one, two);
    vfio_user_mig_vm_check(two, SEED);
    vfio_user_mig_vm_fill(two, SEED + 1);

    /* back to the first server, with a new QEMU */
    vfio_user_mig_vm_quit(one);
    three = vfio_user_mig_vm_take_over(one);
    vfio_user_mig_move(two, three);
    vfio_user_mig_vm_check(three, SEED + 1);
}

/* Several devices */

static void test_two_devices(const void *opaque)
{
    const VFIOUserModel *const models[] = { vfio_user_mig_model_of(opaque),
                                            vfio_user_mig_model_of(opaque) };
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_vm_run(models, 2, 0);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_vm_new(models, 2, NULL, 0);

    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    g_assert_cmpint(vfio_user_mig_bytes(from), >=,
                    2 * vfio_user_mig_state_size(models[0]));
}

/* One device with migration v1 and one with v2 in a VM, in either order. */
static void check_v1_and_v2_devices(const VFIOUserModel *const *models)
{
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_vm_run(models, 2, 0);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_vm_new(models, 2, NULL, 0);

    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    g_assert_cmpint(vfio_user_mig_bytes(from), >=,
                    vfio_user_mig_state_size(models[0]) +
                    vfio_user_mig_state_size(models[1]));
}

static void test_v1_and_v2_devices(void)
{
    const VFIOUserModel *const models[] = { vfio_user_mig_region,
                                            vfio_user_mig_pre_copy,
                                            vfio_user_mig_region };

    check_v1_and_v2_devices(models);
    check_v1_and_v2_devices(models + 1);
}

/* Options for emulated devices, as far as this QEMU has them. */
static char *emulated_devices(void)
{
    static const struct {
        const char *name, *args;
    } devices[] = {
        { "virtio-balloon-pci", "addr=7" },
        { "secondary-vga", "addr=8" },
        { "edu", "addr=9" },
        { "e1000", "addr=10,romfile=" },
        { "pci-testdev", "addr=11" },
    };
    GString *line = g_string_new("");

    for (unsigned i = 0; i < ARRAY_SIZE(devices); i++) {
        if (qtest_has_device(devices[i].name)) {
            g_string_append_printf(line, "-device %s,%s ", devices[i].name,
                                   devices[i].args);
        }
    }
    return g_string_free(line, false);
}

/*
 * The state of emulated devices arrives as well, before and after the
 * server's.
 */
static void test_beside_ordinary(const void *opaque)
{
    const uint64_t where = 0xf0000000;  /* not used by the rig */
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autofree char *others = emulated_devices();
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_vm_run_beside(model, others);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_vm_new_beside(model, others);
    QPCIBus *bus = qpci_new_pc(from->qts, NULL);
    QPCIDevice *vga = qpci_device_find(bus, QPCI_DEVFN(8, 0));

    if (vga) {
        qpci_config_writel(vga, PCI_BASE_ADDRESS_0, where);
        qpci_device_enable(vga);
        qtest_writel(from->qts, where, 0xc0ffee);
    }
    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    check_bytes(from, model);
    if (vga) {
        g_assert_cmphex(qtest_readl(to->qts, where), ==, 0xc0ffee);
    }
    g_free(vga);
    qpci_free_pc(bus);
}

/* Checks whether the server's device runs; only possible with migration v1. */
static void both_check_works(VFIOUserMigVM *vm, const VFIOUserModel *model,
                             bool works)
{
    if (model->migration1) {
        g_assert_cmpint(vfio_user_server_runs(vm->server[0]), ==, works);
    }
}

/* Cancelling */

#define STATE 0                 /* register device_state */
#define SIZE 24                 /* register data_size */
#define CHUNK VFIO_USER_MIGRATION1_DATA
#define REGION(offset) AT_OFFSET(VFIO_USER_MIGRATION1_REGION, offset)

/*
 * A held reply holds the migration.  Migration v1 reads all data in PIECES
 * pieces while the VM runs, and again when it has stopped.
 */
#define PIECES VFIO_USER_MIG_REGION_PIECES

typedef struct Cancel {
    const char *name;
    const VFIOUserModel *const *model;
    const VFIOUserModel *const *library;        /* on libvfio-user */
    VFIOUserRule rule;
    VFIOUserWhen phase;         /* message that shows the phase */
} Cancel;

/* A row for one server. */
typedef struct CancelCase {
    const Cancel *row;
    const VFIOUserModel *model;
} CancelCase;

static const Cancel cancels[] = {
    { "cancel-in-setup", &vfio_user_mig_region,
      &vfio_user_mig_region_2022,
      { ON(VFIO_USER_REGION_WRITE, REGION(STATE), .nth = 1), DO_HOLD },
      ON(VFIO_USER_REGION_WRITE, REGION(STATE)) },
    { "cancel-in-pre-copy", &vfio_user_mig_region,
      &vfio_user_mig_region_2022,
      { ON(VFIO_USER_REGION_READ, REGION(CHUNK), .nth = 2), DO_HOLD },
      ON(VFIO_USER_REGION_READ, REGION(CHUNK), .nth = 2) },
    { "cancel-in-setup", &vfio_user_mig_pre_copy,
      &vfio_user_mig_pre_copy_2026,
      { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_PRE_COPY)), DO_HOLD },
      ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_PRE_COPY)) },
    { "cancel-in-pre-copy", &vfio_user_mig_pre_copy,
      &vfio_user_mig_pre_copy_2026,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 2), DO_HOLD },
      ON(VFIO_USER_MIG_DATA_READ, .nth = 2) },
};

/*
 * Checks that the VM and its device run and that the next migration succeeds.
 */
static void check_after_cancel(VFIOUserMigVM *from, const VFIOUserModel *model)
{
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);

    vfio_user_mig_wait_running(from);
    vfio_user_mig_vm_check(from, SEED);
    both_check_works(from, model, true);
    vfio_user_mig_vm_fill(from, SEED + 1);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED + 1);
    check_bytes(from, model);
}

static void test_cancel(const void *opaque)
{
    const CancelCase *c = opaque;
    const Cancel *row = c->row;
    const VFIOUserRule rules[] = { row->rule, { } };
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(c->model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(c->model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_mig_downtime(from, 0);
    vfio_user_server_set_rules(from->server[0], rules);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_server_wait(from->server[0], row->phase);
    vfio_user_mig_cancel(from);
    vfio_user_server_release(from->server[0]);
    vfio_user_mig_wait(from, "cancelled");
    g_free(vfio_user_mig_ended(to));
    vfio_user_server_set_rules(from->server[0], NULL);
    check_after_cancel(from, c->model);
}

/*
 * Everything was sent and the destination waits for its server.  The
 * destination now decides which side runs the VM; the monitor cannot cancel.
 */

/* Migrates until @rules holds the destination: [0] for v1, [1] for v2. */
static void start_and_send(VFIOUserMigVM *from, VFIOUserMigVM *to,
                           const VFIOUserModel *model,
                           const VFIOUserRule rules[2])
{
    const VFIOUserRule *rule = &rules[model->migration1 ? 0 : 1];
    const VFIOUserRule hold[] = { *rule, { } };
    g_autofree char *uri = vfio_user_mig_uri(to);
    QDict *response;

    vfio_user_mig_capability(from, "return-path");
    vfio_user_mig_capability(to, "return-path");
    vfio_user_mig_downtime(from, 0);
    vfio_user_server_set_rules(to->server[0], hold);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_server_wait(to->server[0], rule->when);
    vfio_user_mig_wait(from, "device");
    response = qtest_qmp(from->qts, "{'execute': 'migrate_cancel'}");
    g_assert_true(qdict_haskey(response, "error"));
    qobject_unref(response);
    vfio_user_mig_wait(from, "device");
}

static void test_cancel_when_sent(const void *opaque)
{
    static const VFIOUserRule runs[] = {
        { ON(VFIO_USER_REGION_WRITE, REGION(STATE), .nth = 2), DO_HOLD },
        { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_RUNNING)), DO_HOLD },
    };
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);

    start_and_send(from, to, model, runs);
    vfio_user_server_release(to->server[0]);
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
}

static void test_fail_when_sent(const void *opaque)
{
    static const VFIOUserRule loads[] = {
        { ON(VFIO_USER_REGION_WRITE, REGION(CHUNK), .nth = PIECES + 3),
          DO_HOLD },
        { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_STOP), .nth = 2),
          DO_HOLD },
    };
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);

    start_and_send(from, to, model, loads);
    vfio_user_server_hang_up(to->server[0]);
    vfio_user_mig_wait(from, "failed");
    g_free(vfio_user_mig_ended(to));
    check_after_cancel(from, model);
}

/*
 * The monitor blocks while the device is saved; migrate_cancel comes too late.
 */
static void test_cancel_in_completion(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_STOP_COPY)), DO_HOLD },
        { ON(VFIO_USER_REGION_WRITE, REGION(STATE), .nth = 2), DO_HOLD },
        { }
    };
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_mig_listen(to, uri);
    vfio_user_server_set_rules(from->server[0], rules);
    vfio_user_mig_start(from, uri);
    if (model->migration1) {
        vfio_user_server_wait(from->server[0], rules[1].when);
    } else {
        vfio_user_server_wait(from->server[0], rules[0].when);
    }
    qtest_qmp_send(from->qts, "{'execute': 'migrate_cancel'}");
    vfio_user_server_release(from->server[0]);
    qobject_unref(qtest_qmp_receive(from->qts));
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
}

/*
 * The VM and its device are stopped; the data of the stopped device is not
 * saved yet.
 */
static void test_cancel_when_stopped(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_mig_capability(from, "pause-before-switchover");
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(from, "pre-switchover");
    both_check_works(from, model, false);
    vfio_user_mig_cancel(from);
    vfio_user_mig_wait(from, "cancelled");
    vfio_user_mig_wait_running(from);
    vfio_user_mig_vm_check(from, SEED);
    both_check_works(from, model, true);
    g_free(vfio_user_mig_ended(to));
}

/*
 * Migration to a faulty destination fails, and directly afterwards one to a
 * good destination succeeds.  Uses the return path, which is created anew each
 * time.
 */
static void test_again_after_failure(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_REGION_WRITE, REGION(STATE)), DO_FAIL, EIO },
        { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_RESUMING)), DO_FAIL,
          EIO },
        { }
    };
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);

    vfio_user_mig_capability(from, "return-path");
    for (unsigned i = 0; i < 3; i++) {
        g_autoptr(VFIOUserMigVM) unable = vfio_user_mig_destination(model);
        g_autofree char *uri = vfio_user_mig_uri(unable);

        vfio_user_server_set_rules(unable->server[0], rules);
        vfio_user_mig_listen(unable, uri);
        vfio_user_mig_start(from, uri);
        vfio_user_mig_wait(from, "failed");
        vfio_user_mig_wait_running(from);
        g_free(vfio_user_mig_ended(unable));
    }
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    check_bytes(from, model);
}

/* From v1 to v2 and back */

typedef struct Mix {
    const char *name;
    const VFIOUserModel *const *from, *const *to;
} Mix;

static const Mix mixes[] = {
    { "old-to-new", &vfio_user_mig_region, &vfio_user_mig_stop_copy },
    { "new-to-old", &vfio_user_mig_stop_copy, &vfio_user_mig_region },
    { "new-with-pre-copy-to-old", &vfio_user_mig_pre_copy,
      &vfio_user_mig_region },
    { "libvfio-user-2022-to-2026", &vfio_user_mig_region_2022,
      &vfio_user_mig_pre_copy_2026 },
    { "libvfio-user-2026-to-2022", &vfio_user_mig_pre_copy_2026,
      &vfio_user_mig_region_2022 },
};

/*
 * The destination fails slowly, with a reason, and the source never stops its
 * VM although all data fits into the socket buffers.
 */
static void test_mix(const void *opaque)
{
    const Mix *mix = opaque;
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(*mix->from, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(*mix->to);
    pid_t pid = vfio_user_server_client(to->server[0]);
    g_autofree char *said = NULL;
    g_autofree char *uri = NULL;

    vfio_user_mig_capability(from, "return-path");
    vfio_user_mig_capability(from, "switchover-ack");
    vfio_user_mig_capability(to, "return-path");
    vfio_user_mig_capability(to, "switchover-ack");
    vfio_user_mig_listen(to, "tcp:127.0.0.1:0");
    uri = vfio_user_mig_address(to);
    g_assert_cmpint(kill(pid, SIGSTOP), ==, 0);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait_time(from, 500);
    g_assert_cmpint(kill(pid, SIGCONT), ==, 0);
    said = vfio_user_mig_ended(to);
    g_assert_nonnull(strstr(said, "use servers with the same version"));
    g_assert_nonnull(strstr(said, vfio_user_server_path(to->server[0])));
    vfio_user_mig_wait(from, "failed");
    vfio_user_mig_wait_running(from);
    g_assert_null(qtest_qmp_event_ref(from->qts, "STOP"));
    vfio_user_mig_vm_check(from, SEED);
    both_check_works(from, *mix->from, true);
    vfio_user_mig_vm_fill(from, SEED + 1);
    vfio_user_mig_vm_check(from, SEED + 1);
}

/* The same without a return path, with more data than fits. */
static void test_mix_one_way(const void *opaque)
{
    const Mix *mix = opaque;
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(*mix->from, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(*mix->to);
    g_autofree char *uri = vfio_user_mig_uri(to);
    g_autofree char *said = NULL;

    qtest_memset(from->qts, 8 * MiB, 0x5a, 32 * MiB);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    said = vfio_user_mig_ended(to);
    g_assert_nonnull(strstr(said, "use servers with the same version"));
    vfio_user_mig_wait(from, "failed");
    vfio_user_mig_wait_running(from);
    g_assert_null(qtest_qmp_event_ref(from->qts, "STOP"));
    vfio_user_mig_vm_check(from, SEED);
}

static const struct {
    const char *name;
    void (*test)(const void *opaque);
} tests[] = {
    { "unix", test_unix },
    { "tcp", test_tcp },
    { "fd", test_fd },
    { "file", test_file },
    { "back-again", test_back_again },
    { "two-devices", test_two_devices },
    { "beside-ordinary", test_beside_ordinary },
    { "cancel-when-stopped", test_cancel_when_stopped },
    { "cancel-when-sent", test_cancel_when_sent },
    { "cancel-in-completion", test_cancel_in_completion },
    { "fail-when-sent", test_fail_when_sent },
    { "again-after-failure", test_again_after_failure },
};

static void add(const char *name, const void *data,
                void (*test)(const void *opaque))
{
    g_autofree char *path =
        g_strdup_printf("/vfio-user/migration-both/%s", name);

    qtest_add_data_func(path, data, test);
}

static const char *server_of(const VFIOUserModel *model)
{
    return model->personality ? model->personality->name :
           model->migration1 ? "1" : "2";
}

static void add_cancel(CancelCase *c, const Cancel *row,
                       const VFIOUserModel *model)
{
    g_autofree char *name = g_strdup_printf("%s/%s", server_of(model),
                                            row->name);

    *c = (CancelCase) { row, model };
    add(name, c, test_cancel);
}

static void add_cancels(void)
{
    static CancelCase cases[2 * ARRAY_SIZE(cancels)];

    for (unsigned i = 0; i < ARRAY_SIZE(cancels); i++) {
        add_cancel(&cases[2 * i], &cancels[i], *cancels[i].model);
        add_cancel(&cases[2 * i + 1], &cancels[i], *cancels[i].library);
    }
}

/*
 * The first write to the destination's server is only answered after the
 * second one has arrived.
 */
static void test_concurrent_writes(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    const VFIOUserRule first[] = {
        { ON(VFIO_USER_REGION_WRITE, REGION(CHUNK), .nth = 1), DO_HOLD },
        { ON(VFIO_USER_MIG_DATA_WRITE, .nth = 1), DO_HOLD },
        { }
    };
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_server_set_rules(to->server[0], first);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    if (model->migration1) {
        vfio_user_server_see(to->server[0], VFIO_USER_REGION_WRITE,
                             REGION(SIZE), .nth = 1);
    } else {
        vfio_user_server_see(to->server[0], VFIO_USER_MIG_DATA_WRITE,
                             .nth = 2);
    }
    vfio_user_server_release(to->server[0]);
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
}

/*
 * While the stream is blocked, the next piece of the state is read.  A cancel
 * then drops both pieces.
 */
static void test_reads_ahead(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    const VFIOUserWhen data_read = ON(VFIO_USER_MIG_DATA_READ);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    char buffer[512];
    int fds[2];

    g_assert_cmpuint(vfio_user_mig_most_read(model), >, 64 * KiB);
    g_assert_true(g_unix_open_pipe(fds, FD_CLOEXEC, NULL));
    vfio_user_mig_give(from, fds[1]);
    vfio_user_mig_start(from, "fd:given");
    while (!vfio_user_server_count(from->server[0], data_read)) {
        g_assert_cmpint(read(fds[0], buffer, sizeof(buffer)), >, 0);
    }
    vfio_user_server_see(from->server[0], VFIO_USER_MIG_DATA_READ, .nth = 2);
    vfio_user_mig_cancel(from);
    close(fds[0]);
    vfio_user_mig_wait(from, "cancelled");
    check_after_cancel(from, model);
}

void vfio_user_add_migration_both_tests(void)
{
    static const VFIOUserModel *const *const servers[] = {
        &vfio_user_mig_region, &vfio_user_mig_pre_copy,
        &vfio_user_mig_region_2022, &vfio_user_mig_pre_copy_2026
    };

    for (unsigned s = 0; s < ARRAY_SIZE(servers); s++) {
        for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
            g_autofree char *name = g_strdup_printf("%s/%s",
                                                    server_of(*servers[s]),
                                                    tests[i].name);

            add(name, servers[s], tests[i].test);
        }
    }
    add_cancels();
    add("1/writes-at-once", &vfio_user_mig_region, test_concurrent_writes);
    add("2/writes-at-once", &vfio_user_mig_pre_copy, test_concurrent_writes);
    add("libvfio-user-2026/reads-ahead", &vfio_user_mig_pre_copy_2026,
        test_reads_ahead);
    for (unsigned i = 0; i < ARRAY_SIZE(mixes); i++) {
        g_autofree char *name = g_strdup_printf("%s-one-way", mixes[i].name);

        add(mixes[i].name, &mixes[i], test_mix);
        add(name, &mixes[i], test_mix_one_way);
    }
    qtest_add_func("/vfio-user/migration-both/devices-of-both",
                   test_v1_and_v2_devices);
}
