/*
 * qtest of the vfio-user client: what happens to a VM in a gap
 *
 * The server is lost, and the next one does not answer yet.  The VM is reset,
 * stopped, continued, changes its memory or loses its device; then the server
 * goes on, and must know the VM as it is now.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "vfio-user-errors.h"
#include "vfio-user-irq.h"
#include "vfio-user-loss.h"
#include "vfio-user-said.h"
#include "vfio-user-tests.h"
#include "vfio-user-vtd.h"

#define ARGS VFIO_USER_RIG_SHARED VFIO_USER_LOSS_RECONNECT
#define MSIX_INDEX VFIO_PCI_MSIX_IRQ_INDEX
#define CONFIG_SPACE VFIO_PCI_CONFIG_REGION_INDEX

static uint32_t server_config(VFIOUserRig *rig, unsigned offset, unsigned size)
{
    uint32_t value = 0;

    vfio_user_server_peek(rig->server, CONFIG_SPACE, offset, &value, size);
    return value;
}

/* Accesses in the gap, from the main loop: they never wait */

static void test_registers(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, NULL, 0);
    const uint32_t value = 0x1234;
    uint32_t is;

    vfio_user_loss_open_gap(rig);
    vfio_user_loss_check_gone(rig);
    g_assert_cmpuint(vfio_user_loss_dropped_writes(rig), ==, 0);
    vfio_user_server_poke(rig->server, 0, 0x20, &value, sizeof(value));
    for (unsigned i = 1; i <= 10; i++) {
        qpci_io_writel(rig->dev, rig->bar[0], 0x20, 0x5678);
        g_assert_cmpuint(vfio_user_loss_dropped_writes(rig), ==, i);
    }
    vfio_user_server_peek(rig->server, 0, 0x20, &is, sizeof(is));
    g_assert_cmphex(is, ==, value);
    vfio_user_loss_let_go(rig, NULL);
    vfio_user_loss_wait_return(rig, 1);
    qpci_io_writel(rig->dev, rig->bar[0], 0x20, 0x9abc);
    vfio_user_loss_check_works(rig);
    vfio_user_server_peek(rig->server, 0, 0x20, &is, sizeof(is));
    g_assert_cmphex(is, ==, 0x9abc);
    g_assert_cmpuint(vfio_user_loss_dropped_writes(rig), ==, 10);
    g_assert_cmpuint(vfio_user_errors_lines(), ==, 2);
}

/*
 * Emulated registers are read from QEMU's copy.  A setting of the gap is
 * replayed.
 */
static void test_config(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, NULL, 0);
    uint32_t bar = qpci_config_readl(rig->dev, PCI_BASE_ADDRESS_0);

    vfio_user_loss_open_gap(rig);
    g_assert_cmphex(qpci_config_readl(rig->dev, PCI_BASE_ADDRESS_0), ==, bar);
    qpci_config_writeb(rig->dev, PCI_INTERRUPT_LINE, 0x2b);
    qpci_config_writel(rig->dev, PCI_BASE_ADDRESS_0, bar + 0x10000);
    vfio_user_loss_let_go(rig, NULL);
    vfio_user_loss_wait_return(rig, 1);
    g_assert_cmphex(server_config(rig, PCI_BASE_ADDRESS_0, 4), ==,
                    bar + 0x10000);
    g_assert_cmphex(server_config(rig, PCI_INTERRUPT_LINE, 1), ==, 0x2b);
}

/* Interrupts that are set up, masked or given up in the gap */
static void test_interrupts(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, NULL, 0);

    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 1);
    vfio_user_loss_open_gap(rig);
    vfio_user_irq_use(rig, 4);
    vfio_user_irq_mask(rig, 1, true);
    vfio_user_loss_let_go(rig, NULL);
    vfio_user_loss_wait_return(rig, 1);
    vfio_user_irq_check(rig, 4);
    vfio_user_irq_mask(rig, 1, false);
    vfio_user_irq_check(rig, 1);
    vfio_user_loss_open_gap(rig);
    qpci_msix_disable(rig->dev);
    vfio_user_loss_let_go(rig, NULL);
    vfio_user_loss_wait_return(rig, 2);
    g_assert_false(vfio_user_irq_armed(rig, MSIX_INDEX, 4));
    g_assert_cmphex(server_config(rig, VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS,
                                  2) & PCI_MSIX_FLAGS_ENABLE, ==, 0);
}

/* MSI-X is enabled only in the gap. */
static void test_interrupts_begin(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, NULL, 0);

    vfio_user_loss_open_gap(rig);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 2);
    vfio_user_loss_let_go(rig, NULL);
    vfio_user_loss_wait_return(rig, 1);
    g_assert_cmphex(server_config(rig, VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS,
                                  2) & PCI_MSIX_FLAGS_ENABLE, !=, 0);
    vfio_user_irq_check(rig, 2);
    qpci_msix_disable(rig->dev);
}

/* What the VM does while a server is at each step of its examination */

static const VFIOUserRule hold_reset[] = {
    { ON(VFIO_USER_DEVICE_RESET), DO_HOLD },
    { }
};
static const VFIOUserRule hold_info[] = {
    { ON(VFIO_USER_DEVICE_GET_INFO), DO_HOLD },
    { }
};
static const VFIOUserRule refuse_all[] = {
    { ON(VFIO_USER_CONNECT), DO_CUT },
    { }
};
static const VFIOUserRule differ[] = {
    { ON(VFIO_USER_CONNECT), DO_CONFIG, PCI_REVISION_ID, BYTES(0x77) },
    { }
};

typedef struct Step {
    const char *name;
    const VFIOUserRule *rules;
    uint16_t command;           /* that arrives before the VM does something */
    bool rejected;
} Step;

static const Step gap_steps[] = {
    { "at-version", vfio_user_loss_hold, VFIO_USER_VERSION },
    { "at-device-info", hold_info, VFIO_USER_DEVICE_GET_INFO },
    { "at-reset", hold_reset, VFIO_USER_DEVICE_RESET },
    { "without-server", refuse_all },
    { "rejected", differ, 0, true },
};

static void reach(VFIOUserRig *rig, const Step *step)
{
    vfio_user_loss_happen(rig, step->rules);
    if (step->command) {
        vfio_user_server_wait(rig->server,
                              (VFIOUserWhen) { .command = step->command });
    }
    vfio_user_loss_wait(rig, vfio_user_loss_losses() == 1);
    vfio_user_loss_wait(rig, vfio_user_loss_rejections() == step->rejected);
}

static void leave(VFIOUserRig *rig, const Step *step)
{
    vfio_user_loss_let_go(rig, NULL);
    if (!step->rejected) {
        vfio_user_loss_wait_return(rig, 1);
    }
}

static void test_unplug(const void *opaque)
{
    const Step *step = opaque;
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, NULL, 0);

    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 3);
    reach(rig, step);
    vfio_user_rig_unplug(rig);
    vfio_user_server_set_rules(rig->server, NULL);
    vfio_user_server_release(rig->server);
    vfio_user_server_wait_client(rig->server, false);
    g_assert_cmpuint(vfio_user_loss_returns(), ==, 0);
    g_assert_cmpuint(vfio_user_loss_losses(), ==, 1);
    vfio_user_rig_plug(rig, 0);
    if (!step->rejected) {
        vfio_user_loss_check_works(rig);
    }
}

/* Settings of before a reset are not replayed. */
static void test_reset(const void *opaque)
{
    const Step *step = opaque;
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, NULL, 0);

    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 3);
    qpci_config_writeb(rig->dev, PCI_INTERRUPT_LINE, 0x2b);
    reach(rig, step);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(rig->qts, "RESET");
    leave(rig, step);
    if (!step->rejected) {
        g_assert_cmphex(server_config(rig, PCI_COMMAND, 2), ==, 0);
        g_assert_cmphex(server_config(rig, PCI_BASE_ADDRESS_0, 4), ==, 0);
        g_assert_cmphex(server_config(rig, PCI_INTERRUPT_LINE, 1), ==, 0);
        g_assert_cmphex(server_config(rig, VFIO_USER_MODEL_MSIX +
                                      PCI_MSIX_FLAGS, 2) &
                        PCI_MSIX_FLAGS_ENABLE, ==, 0);
        g_assert_false(vfio_user_irq_armed(rig, MSIX_INDEX, 3));
    }
    vfio_user_rig_ping(rig);
}

/* The VM is stopped and continued in the gap. */
static void test_stop_and_cont(const void *opaque)
{
    const Step *step = opaque;
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, NULL, 0);

    reach(rig, step);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'stop'}");
    qtest_qmp_assert_success(rig->qts, "{'execute': 'cont'}");
    leave(rig, step);
    if (!step->rejected) {
        vfio_user_loss_check_works(rig);
        g_assert_true(vfio_user_server_runs(rig->server));
    }
    vfio_user_rig_ping(rig);
}

/* The VM is stopped in the gap, and continued after it. */
static void check_stopped(const VFIOUserModel *model, bool stops)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, model, 0);

    vfio_user_loss_open_gap(rig);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'stop'}");
    vfio_user_loss_let_go(rig, NULL);
    vfio_user_loss_wait_return(rig, 1);
    g_assert_true(vfio_user_server_runs(rig->server) == !stops);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'cont'}");
    vfio_user_loss_check_works(rig);
    g_assert_true(vfio_user_server_runs(rig->server));
    g_assert_cmpuint(vfio_user_loss_losses(), ==, 1);
}

static void test_stopped(void)
{
    check_stopped(NULL, false);
}

static void test_stopped_device(void)
{
    VFIOUserModel model = vfio_user_model;

    model.migration.flags = VFIO_USER_MODEL_STOP_COPY;
    check_stopped(&model, true);
}

/* The server is lost while the VM is stopped. */
static void test_lost_while_stopped(void)
{
    VFIOUserModel model = vfio_user_model;
    g_autoptr(VFIOUserRig) rig = NULL;

    model.migration.flags = VFIO_USER_MODEL_STOP_COPY;
    rig = vfio_user_loss_begin(ARGS, &model, 0);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'stop'}");
    g_assert_false(vfio_user_server_runs(rig->server));
    vfio_user_loss_open_gap(rig);
    vfio_user_loss_let_go(rig, NULL);
    vfio_user_loss_wait_return(rig, 1);
    g_assert_false(vfio_user_server_runs(rig->server));
    vfio_user_loss_open_gap(rig);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'cont'}");
    vfio_user_loss_let_go(rig, NULL);
    vfio_user_loss_wait_return(rig, 2);
    g_assert_true(vfio_user_server_runs(rig->server));
    vfio_user_loss_check_works(rig);
}

/* Memory that changes in the gap */

#define PAM0 0x59               /* of the host bridge: protects 0xf0000 */

static void protect(VFIOUserRig *rig, uint8_t how)
{
    QPCIDevice *host = qpci_device_find(rig->bus, QPCI_DEVFN(0, 0));

    qpci_config_writeb(host, PAM0, how);
    g_free(host);
}

/* Writable memory at 0xf0000 appears in the gap, and disappears in the next. */
static void test_memory(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, NULL, 0);
    VFIOUserMap map;
    unsigned maps;

    protect(rig, 0x30);
    maps = vfio_user_server_maps(rig->server);
    g_assert_true(vfio_user_server_map(rig->server, 0xf1000, &map));
    g_assert_cmphex(map.flags & VFIO_USER_DMA_WRITEABLE, !=, 0);
    protect(rig, 0);
    for (unsigned i = 1; i <= 2; i++) {
        bool there = i == 1;

        vfio_user_loss_open_gap(rig);
        protect(rig, there ? 0x30 : 0);
        vfio_user_loss_let_go(rig, NULL);
        vfio_user_loss_wait_return(rig, i);
        map.flags = 0;
        vfio_user_server_map(rig->server, 0xf1000, &map);
        g_assert_true(!(map.flags & VFIO_USER_DMA_WRITEABLE) == !there);
        if (there) {
            g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, maps);
        }
    }
    vfio_user_loss_check_works(rig);
}

#define DIMM 0x100000000ull

/* Memory is plugged in the gap. */
static void test_memory_hotplug(void)
{
    g_autoptr(VFIOUserServer) server = vfio_user_server_new(NULL, NULL);
    g_autoptr(VFIOUserSaid) said = vfio_user_said_new(
        "-machine pc,memory-backend=ram -nodefaults -m 64,slots=2,maxmem=1G "
        "-object memory-backend-memfd,id=ram,size=64M,share=on "
        "-object memory-backend-memfd,id=more,size=64M,share=on "
        VFIO_USER_LOSS_RECONNECT "-device vfio-user-pci,addr=4,socket=%s",
        vfio_user_server_path(server));
    VFIOUserRig rig = { .qts = said->qts, .server = server };
    const uint32_t value = 0x900d;
    VFIOUserMap map;

    vfio_user_loss_open_gap(&rig);
    qtest_qmp_assert_success(said->qts, "{'execute': 'device_add',"
                             " 'arguments': {'driver': 'pc-dimm',"
                             " 'memdev': 'more', 'id': 'dimm'}}");
    g_assert_false(vfio_user_server_map(server, DIMM, &map));
    vfio_user_loss_let_go(&rig, NULL);
    vfio_user_loss_wait(&rig, vfio_user_said_count(said, "connected again"));
    g_assert_true(vfio_user_server_map(server, DIMM, &map));
    g_assert_cmpuint(map.size, ==, 64 * MiB);
    qtest_writel(said->qts, DIMM + 64 * MiB - 4, value);
    g_assert_cmpmem(map.memory + DIMM - map.address + 64 * MiB - 4, 4, &value,
                    4);
    g_assert_cmpuint(vfio_user_said_count(said, "connection lost"), ==, 1);
}

#define IOMMU_ARGS "-machine q35,memory-backend=ram -nodefaults -m 64 " \
                   "-device intel-iommu,caching-mode=on " \
                   VFIO_USER_RIG_Q35_PORT \
                   "-object memory-backend-memfd,id=ram,size=64M,share=on " \
                   VFIO_USER_LOSS_RECONNECT
#define RAM 0x1000000ull        /* guest memory that is mapped */

/* In the gap, the guest unmaps one page and maps another. */
static void test_iommu(void)
{
    g_autofree char *args = vfio_user_errors_args(IOMMU_ARGS);
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(args, NULL, NULL);
    VFIOUserMap map;

    vtd_init(rig->qts, VFIO_USER_RIG_Q35_BUS, 0);
    vfio_user_rig_plug(rig, 0);
    vfio_user_errors_forget();
    vtd_command(rig->qts, GCMD_TRANSLATE);
    vtd_set(rig->qts, IOVA, RAM, READ | WRITE);
    vtd_invalidate(rig->qts, IOTLB_DOMAIN(DOMAIN));
    g_assert_true(vfio_user_server_map(rig->server, IOVA, &map));
    vfio_user_loss_open_gap(rig);
    vtd_set(rig->qts, IOVA, 0, 0);
    vtd_set(rig->qts, IOVA + 5 * PAGE, RAM + PAGE, READ | WRITE);
    vtd_invalidate(rig->qts, IOTLB_DOMAIN(DOMAIN));
    vfio_user_loss_let_go(rig, NULL);
    vfio_user_loss_wait_return(rig, 1);
    g_assert_false(vfio_user_server_map(rig->server, IOVA, &map));
    g_assert_true(vfio_user_server_map(rig->server, IOVA + 5 * PAGE, &map));
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, 1);
    vtd_set(rig->qts, IOVA + 5 * PAGE, 0, 0);
    vtd_invalidate(rig->qts, IOTLB_DOMAIN(DOMAIN));
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, 0);
    /* the next test finds a VM without translation */
    vtd_command(rig->qts, 0);
    vfio_user_loss_check_works(rig);
    g_assert_cmpuint(vfio_user_errors_lines(), ==, 2);
}

/* Servers that die again and again */

#define DEATHS 20

/* One line for each loss, and one for each return */
static void test_again(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, NULL, 0);
    unsigned maps = vfio_user_server_maps(rig->server);

    for (unsigned i = 1; i <= DEATHS; i++) {
        vfio_user_loss_happen(rig, NULL);
        vfio_user_loss_wait_return(rig, i);
        g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, maps);
    }
    vfio_user_loss_check_works(rig);
    g_assert_cmpuint(vfio_user_loss_losses(), ==, DEATHS);
    g_assert_cmpuint(vfio_user_loss_returns(), ==, DEATHS);
    g_assert_cmpuint(vfio_user_errors_lines(), ==, 2 * DEATHS);
}

#define SLOW_ARGS VFIO_USER_RIG_SHARED "-global vfio-user-pci.reconnect-ms=80 "
#define DIALS 12

/*
 * The delay before an attempt doubles from 10 to 80 ms.  A server that comes
 * back and dies at once does not make the client dial faster.
 */
static void check_delays(const VFIOUserRule *rules)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(SLOW_ARGS, NULL, 0);
    gint64 begun = g_get_monotonic_time();

    vfio_user_loss_happen(rig, rules);
    vfio_user_loss_wait_return(rig, 1);
    g_assert_cmpint(g_get_monotonic_time() - begun, >=,
                    (10 + 20 + 40 + (DIALS - 3) * 80) * 1000);
    g_assert_cmpuint(vfio_user_loss_losses(), ==, 1);
    vfio_user_loss_check_works(rig);
}

static void test_delays(void)
{
    VFIOUserRule rules[DIALS] = { };

    for (unsigned i = 0; i < DIALS - 1; i++) {
        rules[i] = (VFIOUserRule) {
            ON(VFIO_USER_VERSION, .nth = i + 1), DO_CUT
        };
    }
    check_delays(rules);
}

/* The same for servers that live until the guest may use them */
static void test_delays_of_returns(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(SLOW_ARGS, NULL, 0);
    gint64 begun = g_get_monotonic_time();

    for (unsigned i = 1; i <= DIALS; i++) {
        vfio_user_loss_happen(rig, NULL);
        vfio_user_loss_wait_return(rig, i);
    }
    /* a host that is busy may take longer than a server has to stay */
    g_assert_cmpint(g_get_monotonic_time() - begun, >=, 10 * DIALS * 1000);
    g_assert_cmpuint(vfio_user_loss_losses(), ==, DIALS);
}

static void add_steps(const char *name, void (*test)(const void *))
{
    for (size_t i = 0; i < ARRAY_SIZE(gap_steps); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/reconnect-gap/%s/%s", name,
                            gap_steps[i].name);

        qtest_add_data_func(path, &gap_steps[i], test);
    }
}

void vfio_user_add_reconnect_gap_tests(void)
{
    qtest_add_func("/vfio-user/reconnect-gap/registers", test_registers);
    qtest_add_func("/vfio-user/reconnect-gap/config", test_config);
    qtest_add_func("/vfio-user/reconnect-gap/interrupts", test_interrupts);
    qtest_add_func("/vfio-user/reconnect-gap/interrupts-begin",
                   test_interrupts_begin);
    add_steps("unplug", test_unplug);
    add_steps("reset", test_reset);
    add_steps("stop-and-cont", test_stop_and_cont);
    qtest_add_func("/vfio-user/reconnect-gap/stopped", test_stopped);
    qtest_add_func("/vfio-user/reconnect-gap/stopped-device",
                   test_stopped_device);
    qtest_add_func("/vfio-user/reconnect-gap/lost-while-stopped",
                   test_lost_while_stopped);
    qtest_add_func("/vfio-user/reconnect-gap/memory", test_memory);
    qtest_add_func("/vfio-user/reconnect-gap/memory-hotplug",
                   test_memory_hotplug);
    qtest_add_func("/vfio-user/reconnect-gap/iommu", test_iommu);
    qtest_add_func("/vfio-user/reconnect-gap/again", test_again);
    qtest_add_func("/vfio-user/reconnect-gap/delays", test_delays);
    qtest_add_func("/vfio-user/reconnect-gap/delays-of-returns",
                   test_delays_of_returns);
}
