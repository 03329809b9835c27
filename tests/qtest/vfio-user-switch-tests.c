/*
 * qtest of the vfio-user client: a server that is replaced by another
 *
 * Both servers are scripted, with the same device and migration.  The tests
 * look at the second server as the guest does, and at what it was told.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/sockets.h"
#include "qobject/qdict.h"
#include "vfio-user-irq.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define DUT "dut"
#define RESET_PORT 0xcf9        /* of the PIIX */
#define RESET_SYSTEM 2
#define RESET_CPU 4
#define REGISTER 0x10
#define VALUE 0x5eed5eed
/* QEMU has asked for everything that is compared */
#define KNOWN "-global vfio-user-pci.reconnect-ms=50 "
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX

static void begin_switch(VFIOUserRig *rig, VFIOUserServer *to)
{
    qtest_qmp_send(rig->qts, "{'execute': 'x-vfio-user-switch',"
                   "'arguments': { 'id': %s, 'socket': { 'type': 'unix',"
                   "'path': %s } } }", DUT, vfio_user_server_path(to));
}

static QDict *do_switch(VFIOUserRig *rig, VFIOUserServer *to)
{
    begin_switch(rig, to);
    return qtest_qmp_receive(rig->qts);
}

static void check_no_switch(QDict *response, const char *why)
{
    QDict *error = qdict_get_qdict(response, "error");

    g_assert_nonnull(error);
    g_test_message("%s", qdict_get_str(error, "desc"));
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), why));
    qobject_unref(response);
}

/* Replaces the rig's server by @to; returns the old one. */
static VFIOUserServer *check_switch(VFIOUserRig *rig, VFIOUserServer *to)
{
    VFIOUserServer *from = rig->server;
    QDict *response = do_switch(rig, to);
    QDict *info;

    if (qdict_haskey(response, "error")) {
        g_error("%s", qdict_get_str(qdict_get_qdict(response, "error"),
                                    "desc"));
    }
    info = qdict_get_qdict(response, "return");
    g_test_message("the guest paused for %" PRId64 " ms",
                   qdict_get_int(info, "pause"));
    qobject_unref(response);
    vfio_user_server_wait_client(from, false);
    rig->server = to;
    return from;
}

/* The BAR whose contents are the state of the device */
static unsigned state_bar(const VFIOUserModel *model)
{
    return model->migration1 ? 2 : 0;
}

static void test_switch(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model, NULL);
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_begin(VFIO_USER_RIG_SHARED, model, NULL);
    QPCIBar bar;
    unsigned maps;

    vfio_user_rig_plug(rig, 0);
    bar = rig->bar[state_bar(model)];
    maps = vfio_user_server_maps(rig->server);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 3);
    for (int i = 0; i < 4; i++) {
        qpci_io_writel(rig->dev, bar, REGISTER, VALUE + i);
        other = check_switch(rig, g_steal_pointer(&other));
        g_assert_cmphex(qpci_io_readl(rig->dev, bar, REGISTER), ==, VALUE + i);
        g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, maps);
        g_assert_true(vfio_user_server_runs(rig->server));
        vfio_user_irq_check(rig, 3);
    }
    qpci_msix_disable(rig->dev);
}

/* A new server that fails: the device stays where it is. */

typedef struct Fault {
    const char *name;
    VFIOUserRule rules[2];
    const char *expected;       /* part of the error; NULL: any */
} Fault;

#define SET_STATE(state) ON(VFIO_USER_DEVICE_FEATURE, AT(state))

/* Failures before and after the files of mapped BARs were exchanged */
static const VFIOUserRule refuse_map[] = {
    { ON(VFIO_USER_DMA_MAP), DO_FAIL, ENOMEM },
    { }
};
static const VFIOUserRule refuse_running[] = {
    { SET_STATE(VFIO_USER_MIG_RUNNING), DO_FAIL, EBUSY },
    { }
};

static const Fault faults[] = {
    { "version-cut", { { ON(VFIO_USER_VERSION), DO_CUT, 7 } } },
    { "version-refused", { { ON(VFIO_USER_VERSION), DO_FAIL, ENXIO } } },
    { "other-region", {
        { ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(0)), DO_PATCH, 16,
          BYTES(0, 0x20) } }, "region 0: its size is 0x2000, was 0x1000" },
    { "other-interrupts", {
        { ON(VFIO_USER_DEVICE_GET_IRQ_INFO, AT(MSIX)), DO_PATCH, 12,
          BYTES(9) } }, "interrupt index 2: its count is 0x9, was 0x8" },
    { "data-refused", { { ON(VFIO_USER_MIG_DATA_WRITE), DO_FAIL, EIO } },
      "Input/output error" },
    { "data-cut", { { ON(VFIO_USER_MIG_DATA_WRITE, .nth = 2), DO_CUT, 3 } } },
    { "resuming-refused", {
        { SET_STATE(VFIO_USER_MIG_RESUMING), DO_FAIL, EBUSY } } },
    { "in-error", {
        { ON(VFIO_USER_DEVICE_FEATURE,
             AT_FEATURE(VFIO_DEVICE_FEATURE_GET |
                        VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE)), DO_PATCH, 8,
          BYTES(VFIO_USER_MIG_ERROR) } } },
    { "running-refused", {
        { SET_STATE(VFIO_USER_MIG_RUNNING), DO_FAIL, EBUSY } } },
    { "running-cut", { { SET_STATE(VFIO_USER_MIG_RUNNING), DO_CUT, 1 } } },
    { "map-refused", { { ON(VFIO_USER_DMA_MAP, .nth = 2), DO_FAIL, ENOMEM } } },
    { "map-cut", { { ON(VFIO_USER_DMA_MAP, .nth = 1), DO_CUT, 0 } } },
    { "interrupt-cut", { { ON(VFIO_USER_DEVICE_SET_IRQS), DO_CUT, 0 } } },
};

static void test_switch_fault(const void *opaque)
{
    const Fault *fault = opaque;
    const VFIOUserModel *model = vfio_user_mig_pre_copy;
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model, fault->rules);
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_begin(VFIO_USER_RIG_SHARED KNOWN, model, NULL);

    vfio_user_rig_plug(rig, 0);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 3);
    qpci_io_writel(rig->dev, rig->bar[0], REGISTER, VALUE);
    check_no_switch(do_switch(rig, other), fault->expected ?: "");
    vfio_user_server_wait_client(other, false);

    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], REGISTER), ==, VALUE);
    g_assert_true(vfio_user_server_runs(rig->server));
    vfio_user_irq_check(rig, 3);
    /* and it can still be replaced */
    vfio_user_server_set_rules(other, NULL);
    other = check_switch(rig, g_steal_pointer(&other));
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], REGISTER), ==, VALUE);
    vfio_user_irq_check(rig, 3);
    qpci_msix_disable(rig->dev);
}

/* Neither server is left: the old one has gone, and the new one refuses. */
static void test_switch_none(void)
{
    static const VFIOUserRule refuse[] = {
        { SET_STATE(VFIO_USER_MIG_RUNNING), DO_FAIL, EBUSY },
        { SET_STATE(VFIO_USER_MIG_RUNNING), DO_HOLD },
        { }
    };
    const VFIOUserModel *model = vfio_user_mig_pre_copy;
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model, refuse);
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_begin(VFIO_USER_RIG_SHARED KNOWN, model, NULL);
    const uint32_t value = VALUE;

    vfio_user_rig_plug(rig, 0);
    begin_switch(rig, other);
    vfio_user_server_wait(other, refuse[0].when);
    vfio_user_server_forget(rig->server);
    vfio_user_server_hang_up(rig->server);
    vfio_user_server_release(other);
    check_no_switch(qtest_qmp_receive(rig->qts), "");
    /* as after any other loss, the server of the device comes back */
    vfio_user_server_see(rig->server, VFIO_USER_DEVICE_RESET);
    vfio_user_server_poke(rig->server, 0, REGISTER, &value, sizeof(value));
    vfio_user_rig_wait(rig, qpci_io_readl(rig->dev, rig->bar[0], REGISTER) ==
                            VALUE);
}

/* The state of a paused VM moves, too; the device runs with the VM. */
static void test_switch_paused(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model, NULL);
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_begin(VFIO_USER_RIG_SHARED KNOWN, model, NULL);
    QPCIBar bar;

    vfio_user_rig_plug(rig, 0);
    bar = rig->bar[state_bar(model)];
    qpci_io_writel(rig->dev, bar, REGISTER, VALUE);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'stop'}");
    other = check_switch(rig, g_steal_pointer(&other));
    g_assert_false(vfio_user_server_runs(rig->server));
    qtest_qmp_assert_success(rig->qts, "{'execute': 'cont'}");
    g_assert_true(vfio_user_server_runs(rig->server));
    g_assert_cmphex(qpci_io_readl(rig->dev, bar, REGISTER), ==, VALUE);
}

/* The device of a paused VM does not run because a switch fails. */
static void test_switch_paused_fault(void)
{
    const VFIOUserModel *model = vfio_user_mig_pre_copy;
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model, refuse_map);
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_begin(VFIO_USER_RIG_SHARED KNOWN, model, NULL);

    vfio_user_rig_plug(rig, 0);
    qpci_io_writel(rig->dev, rig->bar[0], REGISTER, VALUE);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'stop'}");
    vfio_user_server_forget(rig->server);
    check_no_switch(do_switch(rig, other), "");
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_DEVICE_FEATURE,
                                          AT(VFIO_USER_MIG_RUNNING)), ==, 0);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'cont'}");
    g_assert_true(vfio_user_server_runs(rig->server));
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], REGISTER), ==, VALUE);
}

/*
 * The new server's device may run although the switch has failed: QEMU hangs up
 * before the old one runs again.
 */
static void test_switch_one_runs(void)
{
    static const VFIOUserRule hold[] = {
        { SET_STATE(VFIO_USER_MIG_RUNNING), DO_HOLD },
        { }
    };
    const VFIOUserModel *model = vfio_user_mig_pre_copy;
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model,
                                                           refuse_running);
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_begin(VFIO_USER_RIG_SHARED, model, NULL);

    vfio_user_rig_plug(rig, 0);
    qpci_io_writel(rig->dev, rig->bar[0], REGISTER, VALUE);
    vfio_user_server_set_rules(rig->server, hold);
    begin_switch(rig, other);
    vfio_user_server_wait(rig->server, hold->when);
    vfio_user_server_wait_client(other, false);
    vfio_user_server_release(rig->server);
    check_no_switch(qtest_qmp_receive(rig->qts), "");
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], REGISTER), ==, VALUE);
}

/* A server that answers in time keeps its device, however long it takes. */
#define SLOW_MS 500

static void test_switch_slow(void)
{
    static const VFIOUserPersonality small_reads = { .most_read = 4 * KiB };
    static const VFIOUserRule late[] = {
        { ON(VFIO_USER_MIG_DATA_READ), DO_DELAY, SLOW_MS / 5 },
        { }
    };
    VFIOUserModel model = *vfio_user_mig_stop_copy;
    g_autoptr(VFIOUserServer) other = NULL;
    g_autoptr(VFIOUserRig) rig = NULL;

    model.personality = &small_reads;
    model.migration.filling = 300000;
    other = vfio_user_server_new(&model, NULL);
    rig = vfio_user_rig_begin(VFIO_USER_RIG_SHARED, &model, NULL);
    vfio_user_rig_plug(rig, SLOW_MS);
    qpci_io_writel(rig->dev, rig->bar[0], REGISTER, VALUE);
    vfio_user_server_set_rules(rig->server, late);
    check_no_switch(do_switch(rig, other), "takes too long");
    g_assert_true(vfio_user_server_runs(rig->server));
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], REGISTER), ==, VALUE);
}

/*
 * The VM is reset while the new server loads: what it got is void.  The reset
 * does not wait for the new server.
 */
static void test_switch_reset(void)
{
    static const VFIOUserRule hold[] = {
        { ON(VFIO_USER_MIG_DATA_WRITE), DO_HOLD },
        { }
    };
    const VFIOUserModel *model = vfio_user_mig_pre_copy;
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model, hold);
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_begin(VFIO_USER_RIG_SHARED, model, NULL);

    vfio_user_rig_plug(rig, 0);
    begin_switch(rig, other);
    vfio_user_server_see(other, VFIO_USER_MIG_DATA_WRITE);
    vfio_user_server_forget(rig->server);
    qtest_outb(rig->qts, RESET_PORT, RESET_CPU | RESET_SYSTEM);
    vfio_user_server_see(rig->server, VFIO_USER_DEVICE_RESET);
    vfio_user_server_set_rules(other, NULL);
    vfio_user_server_release(other);
    check_no_switch(qtest_qmp_receive(rig->qts), "reset meanwhile");
    vfio_user_server_wait_client(other, false);
    /* the reset has cleared the BARs */
    rig->bar[0] = qpci_iomap(rig->dev, 0, NULL);
    vfio_user_rig_enable(rig);
    qpci_io_writel(rig->dev, rig->bar[0], REGISTER, VALUE);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], REGISTER), ==, VALUE);
    g_assert_true(vfio_user_server_runs(rig->server));
}

/* A mapped BAR is that of the server that is used, also after a failure. */
static void test_switch_mapped(const void *opaque)
{
    VFIOUserModel model = *vfio_user_mig_pre_copy;
    g_autoptr(VFIOUserServer) other = NULL;
    g_autoptr(VFIOUserRig) rig = NULL;
    uint32_t is;

    model.region[2].flags |= VFIO_REGION_INFO_FLAG_MMAP;
    other = vfio_user_server_new(&model, opaque);
    rig = vfio_user_rig_begin(VFIO_USER_RIG_SHARED, &model, NULL);
    vfio_user_rig_plug(rig, 0);
    check_no_switch(do_switch(rig, other), "");
    qpci_io_writel(rig->dev, rig->bar[2], REGISTER, VALUE);
    vfio_user_server_peek(rig->server, 2, REGISTER, &is, sizeof(is));
    g_assert_cmphex(is, ==, VALUE);
    vfio_user_server_set_rules(other, NULL);
    other = check_switch(rig, g_steal_pointer(&other));
    qpci_io_writel(rig->dev, rig->bar[2], REGISTER, VALUE + 1);
    vfio_user_server_peek(rig->server, 2, REGISTER, &is, sizeof(is));
    g_assert_cmphex(is, ==, VALUE + 1);
    vfio_user_server_peek(other, 2, REGISTER, &is, sizeof(is));
    g_assert_cmphex(is, ==, VALUE);
}

/* Without migration there is nothing to move the state with. */
static void test_switch_impossible(void)
{
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(NULL, NULL);
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_SHARED, 0);

    check_no_switch(do_switch(rig, other), "does not support migration");
}

/* The descriptor of a connection that was passed to QEMU */
static void test_switch_fd(void)
{
    const VFIOUserModel *model = vfio_user_mig_pre_copy;
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model, NULL);
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_begin(VFIO_USER_RIG_SHARED, model, NULL);
    int fd = unix_connect(vfio_user_server_path(other), &error_abort);

    vfio_user_rig_plug(rig, 0);
    qtest_qmp_fds_assert_success(rig->qts, &fd, 1, "{'execute': 'getfd',"
                                 " 'arguments': {'fdname': 'new'}}");
    close(fd);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'x-vfio-user-switch',"
                             " 'arguments': {'id': %s, 'socket':"
                             " {'type': 'fd', 'str': 'new'}}}", DUT);
    vfio_user_server_wait_client(rig->server, false);
    g_assert_true(vfio_user_server_runs(other));
}

/* A descriptor is gone after a loss. */
static void test_switch_fd_reconnects(void)
{
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_begin(VFIO_USER_RIG_SHARED KNOWN, vfio_user_mig_pre_copy,
                            NULL);

    vfio_user_rig_plug(rig, 0);
    check_no_switch(qtest_qmp(rig->qts, "{'execute': 'x-vfio-user-switch',"
                              " 'arguments': {'id': %s, 'socket':"
                              " {'type': 'fd', 'str': 'new'}}}", DUT),
                    "not a file descriptor");
}

void vfio_user_add_switch_tests(void)
{
    static const struct {
        const char *name;
        const void *model;
    } models[] = {
        { "stop-copy", &vfio_user_mig_stop_copy },
        { "pre-copy", &vfio_user_mig_pre_copy },
        { "pre-copy-2026", &vfio_user_mig_pre_copy_2026 },
        { "region", &vfio_user_mig_region },
        { "region-2022", &vfio_user_mig_region_2022 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        g_autofree char *runs = g_strdup_printf("/vfio-user/switch/%s",
                                                models[i].name);
        g_autofree char *paused = g_strdup_printf("/vfio-user/switch/%s/paused",
                                                  models[i].name);

        qtest_add_data_func(runs, models[i].model, test_switch);
        qtest_add_data_func(paused, models[i].model, test_switch_paused);
    }
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/switch/fault/%s",
                                                faults[i].name);

        qtest_add_data_func(path, &faults[i], test_switch_fault);
    }
    qtest_add_func("/vfio-user/switch/impossible", test_switch_impossible);
    qtest_add_func("/vfio-user/switch/fd", test_switch_fd);
    qtest_add_func("/vfio-user/switch/fd-reconnects",
                   test_switch_fd_reconnects);
    qtest_add_func("/vfio-user/switch/one-runs", test_switch_one_runs);
    qtest_add_func("/vfio-user/switch/paused-fault", test_switch_paused_fault);
    qtest_add_func("/vfio-user/switch/slow", test_switch_slow);
    qtest_add_func("/vfio-user/switch/reset", test_switch_reset);
    qtest_add_func("/vfio-user/switch/none", test_switch_none);
    qtest_add_data_func("/vfio-user/switch/mapped/before", refuse_map,
                        test_switch_mapped);
    qtest_add_data_func("/vfio-user/switch/mapped/after", refuse_running,
                        test_switch_mapped);
}
