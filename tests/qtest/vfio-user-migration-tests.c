/*
 * qtest of the vfio-user client: migration v2
 *
 * Migration with well-behaved servers and with models of libvfio-user.  The
 * guest must read from its device at the destination what it wrote at the
 * source.  A server that would lose a byte refuses the loaded data.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 4711

/* A kind of server, without and with PRE_COPY. */
typedef struct Server {
    const char *name;           /* NULL: the default */
    const VFIOUserModel *const *stop_copy, *const *pre_copy;
} Server;

static const Server servers[] = {
    { NULL, &vfio_user_mig_stop_copy, &vfio_user_mig_pre_copy },
    { "libvfio-user-2026", &vfio_user_mig_stop_copy_2026,
      &vfio_user_mig_pre_copy_2026 },
};

static const VFIOUserModel *stop_copy_of(const void *opaque)
{
    const Server *server = opaque;

    return *server->stop_copy;
}

static const VFIOUserModel *pre_copy_of(const void *opaque)
{
    const Server *server = opaque;

    return *server->pre_copy;
}

/* Checks the states that the client set, in order. */
static void check_states(VFIOUserServer *s, const uint32_t *states,
                         unsigned count)
{
    g_autoptr(GArray) log = vfio_user_server_log(s);
    unsigned i, n = 0;

    for (i = 0; i < log->len; i++) {
        VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);
        const VFIOUserDeviceFeature *head = (void *)seen->payload;

        if (seen->header.command == VFIO_USER_DEVICE_FEATURE &&
            head->flags == (VFIO_DEVICE_FEATURE_SET |
                            VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE)) {
            g_assert_cmpuint(n, <, count);
            g_assert_cmpuint(*(const uint32_t *)(head + 1), ==, states[n]);
            n++;
        }
    }
    g_assert_cmpuint(n, ==, count);
}

#define CHECK_STATES(s, ...) \
    check_states(s, (const uint32_t[]) { __VA_ARGS__ }, \
                 ARRAY_SIZE(((const uint32_t[]) { __VA_ARGS__ })))

static void check_move(const VFIOUserModel *model)
{
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);

    vfio_user_server_forget(to->server[0]);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    g_assert_cmpint(vfio_user_mig_bytes(from), ==,
                    vfio_user_mig_state_size(model));
    if (model->migration.flags & VFIO_USER_MODEL_PRE_COPY) {
        CHECK_STATES(from->server[0], VFIO_USER_MIG_PRE_COPY,
                     VFIO_USER_MIG_STOP_COPY, VFIO_USER_MIG_STOP);
    } else {
        CHECK_STATES(from->server[0], VFIO_USER_MIG_STOP,
                     VFIO_USER_MIG_STOP_COPY, VFIO_USER_MIG_STOP);
    }
    CHECK_STATES(to->server[0], VFIO_USER_MIG_STOP, VFIO_USER_MIG_RESUMING,
                 VFIO_USER_MIG_STOP, VFIO_USER_MIG_RUNNING);
}

static void test_stop_copy(const void *opaque)
{
    check_move(stop_copy_of(opaque));
}

static void test_pre_copy(const void *opaque)
{
    check_move(pre_copy_of(opaque));
}

/* Returns the number of state reads until @vm stopped. */
static unsigned reads_while_running(VFIOUserMigVM *vm)
{
    g_autoptr(GArray) log = vfio_user_server_log(vm->server[0]);
    const VFIOUserWhen stop = {
        VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_STOP_COPY)
    };
    unsigned i, reads = 0;

    for (i = 0; i < log->len; i++) {
        VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);

        if (vfio_user_when_holds(&stop, seen->header.command, seen->payload,
                                 seen->length)) {
            return reads;
        }
        reads += seen->header.command == VFIO_USER_MIG_DATA_READ;
    }
    g_assert_not_reached();
}

/*
 * The VM does not stop before the pre-copy data ends, even if the limits allow
 * it.  A short read is not the end.
 */
static void test_pre_copy_first(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_MIG_DATA_READ, .nth = 1), DO_HOLD },
        { }
    };
    VFIOUserModel model = *pre_copy_of(opaque);
    uint32_t most = vfio_user_mig_most_read(&model);
    VFIOUserMigVM *from;

    /* more than one batch of reads */
    model.migration.pre_copy = 50 * most + 1;
    model.migration.filling = 70 * most + 1;
    from = vfio_user_mig_source(&model, SEED);
    vfio_user_mig_set(from, "downtime-limit", 2000000);
    vfio_user_server_set_rules(from->server[0], rules);
    vfio_user_mig_start(from, "exec:cat > /dev/null");
    /* QEMU has measured the bandwidth by then, and the limits allow a stop */
    vfio_user_server_wait(from->server[0], rules[0].when);
    vfio_user_mig_wait_time(from, 300);
    vfio_user_server_release(from->server[0]);
    vfio_user_mig_wait(from, "completed");
    g_assert_cmpuint(reads_while_running(from), >,
                     model.migration.pre_copy / most);
    g_assert_cmpint(vfio_user_mig_bytes(from), ==,
                    vfio_user_mig_state_size(&model));
    vfio_user_mig_vm_free(from);
}

/* A device stops and runs together with its VM. */
static void test_stop_cont(const void *opaque)
{
    g_autoptr(VFIOUserMigVM) vm =
        vfio_user_mig_source(stop_copy_of(opaque), SEED);

    qtest_qmp_assert_success(vm->qts, "{'execute': 'stop'}");
    CHECK_STATES(vm->server[0], VFIO_USER_MIG_STOP);
    qtest_qmp_assert_success(vm->qts, "{'execute': 'cont'}");
    CHECK_STATES(vm->server[0], VFIO_USER_MIG_STOP, VFIO_USER_MIG_RUNNING);
    vfio_user_mig_vm_check(vm, SEED);
}

/* Several devices */

static void test_two_devices(const void *opaque)
{
    const VFIOUserModel *models[] = {
        pre_copy_of(opaque), stop_copy_of(opaque)
    };
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_vm_run(models, 2, 0);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_vm_new(models, 2, NULL, 0);

    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    g_assert_cmpint(vfio_user_mig_bytes(from), ==,
                    vfio_user_mig_state_size(models[0]) +
                    vfio_user_mig_state_size(models[1]));
}

/*
 * An emulated device is loaded after the vfio-user device.  This maps its
 * memory for the server, whose device must not have stopped yet.
 */
static void test_beside_others(const void *opaque)
{
    static const char other[] = "-device secondary-vga,addr=8";
    const VFIOUserModel *model = pre_copy_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_vm_run_beside(model, other);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_vm_new_beside(model, other);
    QPCIBus *bus = qpci_new_pc(from->qts, NULL);
    QPCIDevice *dev = qpci_device_find(bus, QPCI_DEVFN(8, 0));
    /* not used by the BARs of the rig */
    const uint32_t where = 0xf0000000;
    VFIOUserMap map;

    qpci_config_writel(dev, PCI_BASE_ADDRESS_0, where);
    qpci_device_enable(dev);
    g_assert_true(vfio_user_server_map(from->server[0], where, &map));
    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    g_assert_true(vfio_user_server_map(to->server[0], where, &map));
    g_free(dev);
    qpci_free_pc(bus);
}

/* If the server's state never ends, the migration fails. */
static void test_endless(const void *opaque)
{
    VFIOUserModel endless = *stop_copy_of(opaque);
    g_autofree char *said = NULL;
    VFIOUserMigVM *from;

    endless.migration.filling = 1 * TiB;
    from = vfio_user_mig_source(&endless, SEED);
    vfio_user_mig_start(from, "exec:cat > /dev/null");
    vfio_user_mig_wait(from, "failed");
    vfio_user_mig_wait_running(from);
    said = vfio_user_mig_why(from);
    g_assert_nonnull(strstr(said, "its state data did not end"));
    vfio_user_mig_check_why(from, "saving", 0);
    vfio_user_mig_vm_check(from, SEED);
    vfio_user_mig_vm_free(from);
}

/* Leaving PRE_COPY early */

/* Calls @disturb in PRE_COPY; the migration restarts PRE_COPY and succeeds. */
static void check_restart(const void *opaque,
                          void (*disturb)(VFIOUserMigVM *vm))
{
    const VFIOUserModel *model = pre_copy_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_mig_set(from, "max-bandwidth", 100);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_server_see(from->server[0], VFIO_USER_DEVICE_FEATURE,
                         AT(VFIO_USER_MIG_PRE_COPY));
    disturb(from);
    vfio_user_mig_set(from, "max-bandwidth", 1 * GiB);
    vfio_user_mig_arrive(from, to);
    vfio_user_server_see(from->server[0], VFIO_USER_DEVICE_FEATURE,
                         AT(VFIO_USER_MIG_PRE_COPY), .nth = 2);
    vfio_user_server_see(to->server[0], VFIO_USER_DEVICE_RESET, .nth = 2);
    vfio_user_mig_vm_check(to, SEED);
}

static void stop_and_cont(VFIOUserMigVM *vm)
{
    qtest_qmp_assert_success(vm->qts, "{'execute': 'stop'}");
    qtest_qmp_assert_success(vm->qts, "{'execute': 'cont'}");
}

static void test_stopped_in_pre_copy(const void *opaque)
{
    check_restart(opaque, stop_and_cont);
}

/* Resets and enables the device again, as firmware does. */
static void v2_system_reset(VFIOUserMigVM *vm)
{
    QPCIBus *bus = qpci_new_pc(vm->qts, NULL);
    QPCIDevice *dev = qpci_device_find(bus, QPCI_DEVFN(4, 0));

    qtest_qmp_assert_success(vm->qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(vm->qts, "RESET");
    vm->bar[0] = qpci_iomap(dev, 0, NULL).addr;
    qpci_device_enable(dev);
    g_free(dev);
    qpci_free_pc(bus);
    vfio_user_mig_vm_fill(vm, SEED);
}

static void test_reset_in_pre_copy(const void *opaque)
{
    check_restart(opaque, v2_system_reset);
}

/* The data already loaded at the destination is discarded as well. */
static void test_reset_after_data(const void *opaque)
{
    VFIOUserModel growing = *pre_copy_of(opaque);
    VFIOUserMigVM *from, *to;
    g_autofree char *uri = NULL;

    growing.migration.grows = 4 * MiB;
    from = vfio_user_mig_source(&growing, SEED);
    to = vfio_user_mig_destination(&growing);
    uri = vfio_user_mig_uri(to);
    /* slower than the data grows, so it never ends */
    vfio_user_mig_set(from, "max-bandwidth", 1 * MiB);
    vfio_user_mig_downtime(from, 0);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_server_see(to->server[0], VFIO_USER_MIG_DATA_WRITE, .nth = 3);
    v2_system_reset(from);
    vfio_user_server_see(from->server[0], VFIO_USER_DEVICE_FEATURE,
                         AT(VFIO_USER_MIG_PRE_COPY), .nth = 2);
    vfio_user_mig_set(from, "max-bandwidth", 1 * GiB);
    vfio_user_mig_downtime(from, 2000);
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

/* A VM with a dead device does not begin to migrate, until it is unplugged. */
static void test_dead_device(const void *opaque)
{
    g_autoptr(VFIOUserMigVM) from =
        vfio_user_mig_source(stop_copy_of(opaque), SEED);

    /* the server has read all, or the kernel would reset the connection */
    vfio_user_mig_vm_check(from, SEED);
    vfio_user_server_hang_up(from->server[0]);
    qtest_qmp_eventwait(from->qts, "VFIO_USER_DISCONNECTED");
    g_assert_cmphex(qtest_readl(from->qts, from->bar[0]), ==, UINT32_MAX);
    vfio_user_mig_refused(from, "(device dut0)");
    vfio_user_mig_refused(from, "the server closed the connection");
    vfio_user_mig_wait_running(from);

    qtest_qmp_device_del_send(from->qts, "dut0");
    qtest_qmp_assert_success(from->qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(from->qts, "DEVICE_DELETED");
    vfio_user_mig_start(from, "exec:cat > /dev/null");
    vfio_user_mig_wait(from, "completed");
}

/* QEMU waits only once for a server that stops answering. */
static void test_stuck_server(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_STOP)), DO_STALL },
        { }
    };
    const VFIOUserModel *model = stop_copy_of(opaque);
    g_autoptr(VFIOUserMigVM) from =
        vfio_user_mig_vm_run(&model, 1, VFIO_USER_MIG_TIMEOUT_MS);

    vfio_user_server_forget(from->server[0]);
    vfio_user_server_set_rules(from->server[0], rules);
    vfio_user_mig_start(from, "exec:cat > /dev/null");
    vfio_user_mig_wait(from, "failed");
    vfio_user_mig_wait_running(from);
    g_assert_cmphex(qtest_readl(from->qts, from->bar[0]), ==, UINT32_MAX);
    vfio_user_server_release(from->server[0]);
    vfio_user_server_wait_client(from->server[0], false);
    CHECK_STATES(from->server[0], VFIO_USER_MIG_STOP, VFIO_USER_MIG_STOP_COPY);
    g_assert_cmpuint(vfio_user_server_saw(from->server[0],
                                          VFIO_USER_DEVICE_FEATURE), ==, 2);
}

/*
 * The server writes to memory that was already sent, without dirty tracking:
 * QEMU sends all memory again when the VM stops, with a warning.
 */
static void test_untracked_memory(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_MIG_DATA_READ, .nth = 1), DO_HOLD },
        { }
    };
    const uint64_t where = 0x300000;
    const VFIOUserModel *model = pre_copy_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_vm_run_shared(model);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_vm_new_shared(model);
    g_autofree char *uri = vfio_user_mig_uri(to);
    g_autofree char *said = NULL;
    VFIOUserMap map;
    char text[10];

    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_server_set_rules(from->server[0], rules);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    /* memory has been sent by then */
    vfio_user_server_wait(from->server[0], rules[0].when);
    g_assert_true(vfio_user_server_map(from->server[0], where, &map));
    g_assert_nonnull(map.memory);
    memcpy(map.memory + (where - map.address), "unheard of", 10);
    vfio_user_server_release(from->server[0]);
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
    qtest_memread(to->qts, where, text, sizeof(text));
    g_assert_cmpmem(text, sizeof(text), "unheard of", 10);
    said = vfio_user_mig_said(from);
    g_assert_nonnull(strstr(said, "does not track dirty pages"));
}

static const struct {
    const char *name;
    void (*test)(const void *opaque);
} tests[] = {
    { "stop-copy", test_stop_copy },
    { "pre-copy", test_pre_copy },
    { "pre-copy-first", test_pre_copy_first },
    { "stop-cont", test_stop_cont },
    { "beside-others", test_beside_others },
    { "dead-device", test_dead_device },
    { "stuck-server", test_stuck_server },
    { "untracked-memory", test_untracked_memory },
    { "two-devices", test_two_devices },
    { "endless", test_endless },
    { "stopped-in-pre-copy", test_stopped_in_pre_copy },
    { "reset-in-pre-copy", test_reset_in_pre_copy },
    { "reset-after-data", test_reset_after_data },
};

void vfio_user_add_migration_tests(void)
{
    for (unsigned s = 0; s < ARRAY_SIZE(servers); s++) {
        for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
            g_autofree char *path =
                g_strdup_printf("/vfio-user/migration/%s%s%s",
                                servers[s].name ?: "",
                                servers[s].name ? "/" : "", tests[i].name);

            qtest_add_data_func(path, &servers[s], tests[i].test);
        }
    }
}
