/*
 * qtest of the vfio-user client: lifetime of a device
 *
 * Hot plug and unplug under load, several devices, bridges, all kinds of
 * resets, and options of the command line.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "libqos/fw_cfg.h"
#include "qobject/qdict.h"
#include "vfio-user-irq.h"
#include "vfio-user-tests.h"

#define RAM 0x300000            /* not used by the interrupt helpers */
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX
#define INTX VFIO_PCI_INTX_IRQ_INDEX

/* Plug and unplug under load */

#define TIMES 20

/* Each register write makes the server read memory by message. */
static const VFIOUserRule busy[] = {
    { ON(VFIO_USER_REGION_WRITE, AT(0)), DO_ASK_ALSO, VFIO_USER_DMA_READ,
      STRUCT(VFIOUserDMARW, RAM, 64 * KiB) },
    { ON(VFIO_USER_REGION_WRITE, AT(0)), DO_ASK_ALSO, VFIO_USER_DMA_READ,
      STRUCT(VFIOUserDMARW, RAM, 8) },
    { }
};

typedef struct Signaller {
    QemuThread thread;
    int fd[2];
    bool stop;
} Signaller;

static void *signal_thread(void *opaque)
{
    Signaller *signaller = opaque;
    const uint64_t one = 1;

    while (!qatomic_read(&signaller->stop)) {
        g_assert_cmpint(write(signaller->fd[0], &one, 8), ==, 8);
        g_assert_cmpint(write(signaller->fd[1], &one, 8), ==, 8);
        g_usleep(50);           /* leave the processor to others */
    }
    return NULL;
}

static void work_and_unplug(VFIOUserRig *rig)
{
    Signaller signaller = { .stop = false };
    unsigned i;

    vfio_user_rig_plug(rig, 0);
    qpci_msix_enable(rig->dev);
    for (i = 0; i < VFIO_USER_MODEL_MSIX_VECTORS; i++) {
        vfio_user_irq_use(rig, i);
    }
    for (i = 0; i < 2; i++) {
        signaller.fd[i] = vfio_user_server_eventfd(rig->server, MSIX, i);
    }
    qemu_thread_create(&signaller.thread, "signaller", signal_thread,
                       &signaller, QEMU_THREAD_JOINABLE);

    vfio_user_server_set_rules(rig->server, busy);
    for (i = 0; i < 50; i++) {
        qpci_io_writel(rig->dev, rig->bar[0], 4 * i, i);
    }
    vfio_user_irq_check(rig, 5);
    for (i = 0; i < 50; i++) {
        qpci_io_writel(rig->dev, rig->bar[0], 4 * i, i);
    }
    /* most of these requests are still pending */
    vfio_user_rig_unplug(rig);
    vfio_user_server_wait_client(rig->server, false);
    vfio_user_server_set_rules(rig->server, NULL);

    qatomic_set(&signaller.stop, true);
    qemu_thread_join(&signaller.thread);
    close(signaller.fd[0]);
    close(signaller.fd[1]);
    vfio_user_rig_ping(rig);
}

/* Returns QEMU's objects, devices and memory regions. */
static char *inventory(VFIOUserRig *rig)
{
    g_autofree char *objects = qtest_hmp(rig->qts, "info qom-tree");
    g_autofree char *memory = qtest_hmp(rig->qts, "info mtree -o");
    g_autofree char *devices = qtest_hmp(rig->qts, "info qtree");

    return g_strconcat(objects, memory, devices, NULL);
}

static bool has_inventory(VFIOUserRig *rig, const char *wanted)
{
    g_autofree char *is = inventory(rig);

    return !strcmp(is, wanted);
}

/* vfio_user_rig_end() checks for leaked descriptors and threads. */
static void test_plug_at_work(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     NULL);
    g_autofree char *before = inventory(rig);
    unsigned i;

    for (i = 0; i < TIMES; i++) {
        work_and_unplug(rig);
    }
    /* resources of a device are freed some time after it is gone */
    vfio_user_rig_wait(rig, has_inventory(rig, before));
}

/* Resets */

static void life_system_reset(VFIOUserRig *rig)
{
    QDict *response = qtest_qmp(rig->qts, "{'execute': 'system_reset'}");

    g_assert(qdict_haskey(response, "return"));
    qobject_unref(response);
    qtest_qmp_eventwait(rig->qts, "RESET");
}

/* Sets up the device again, as firmware and driver do after a reset. */
static void enable_again(VFIOUserRig *rig)
{
    unsigned i;

    qpci_free_pc(rig->bus);
    g_free(rig->dev);
    rig->bus = qpci_new_pc(rig->qts, NULL);
    rig->dev = qpci_device_find(rig->bus, QPCI_DEVFN(4, 0));
    for (i = 0; i < 3; i++) {
        rig->bar[i] = qpci_iomap(rig->dev, i, NULL);
    }
    qpci_device_enable(rig->dev);
}

/*
 * A reset clears everything that the guest set up, and the device can be set
 * up again.
 */
static void test_reset_10_times(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);
    const uint8_t flags = VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS;
    unsigned i;

    for (i = 0; i < 10; i++) {
        vfio_user_irq_route_intx(rig);
        vfio_user_irq_check_intx(rig);
        qpci_msix_enable(rig->dev);
        vfio_user_irq_use(rig, 1);
        vfio_user_irq_use(rig, 7);
        vfio_user_irq_check(rig, 7);
        if (i % 2) {
            /* in flight during the reset */
            vfio_user_server_trigger(rig->server, MSIX, 1);
        }
        vfio_user_server_forget(rig->server);
        life_system_reset(rig);

        g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                              VFIO_USER_DEVICE_RESET), ==, 1);
        g_assert_cmphex(qpci_config_readw(rig->dev, flags) &
                        PCI_MSIX_FLAGS_ENABLE, ==, 0);
        g_assert_false(vfio_user_irq_armed(rig, MSIX, 1));
        g_assert_false(vfio_user_irq_armed(rig, MSIX, 7));
        g_assert_true(vfio_user_irq_armed(rig, INTX, 0));
        enable_again(rig);
    }
    vfio_user_rig_ping(rig);
}

/* A reset deasserts INTx. */
static void test_reset_asserted(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);

    vfio_user_irq_route_intx(rig);
    vfio_user_server_trigger(rig->server, INTX, 0);
    vfio_user_rig_wait(rig, qtest_get_irq(rig->qts, VFIO_USER_IRQ_PIN));
    life_system_reset(rig);
    g_assert_false(qtest_get_irq(rig->qts, VFIO_USER_IRQ_PIN));
    enable_again(rig);
    vfio_user_irq_route_intx(rig);
    vfio_user_irq_check_intx(rig);
}

/* Machines with several devices */

#define MANY 4

typedef struct Machine {
    QTestState *qts;
    QPCIBus *bus;
    VFIOUserServer *server[MANY];
    QPCIDevice *dev[MANY];
    QPCIBar bar[MANY];          /* BAR 0 of each device */
    uint64_t window[MANY];      /* memory window of its bridge, or 0 */
} Machine;

#define SHORT_MS 600

/* @args: QEMU options, with %s for the socket of each server */
static Machine *machine_new(const char *args)
{
    g_auto(GStrv) parts = g_strsplit(args, "%s", -1);
    g_autoptr(GString) line = g_string_new(parts[0]);
    Machine *m = g_new0(Machine, 1);
    unsigned i;

    for (i = 0; parts[i + 1]; i++) {
        g_assert_cmpuint(i, <, MANY);
        m->server[i] = vfio_user_server_new(vfio_user_rig_model(), NULL);
        g_string_append_printf(line, "%s%s",
                               vfio_user_server_path(m->server[i]),
                               parts[i + 1]);
    }
    m->qts = qtest_init(line->str);
    m->bus = qpci_new_pc(m->qts, NULL);
    return m;
}

static void machine_free(Machine *m)
{
    unsigned i;

    for (i = 0; i < MANY; i++) {
        g_free(m->dev[i]);
    }
    qpci_free_pc(m->bus);
    qtest_quit(m->qts);
    for (i = 0; i < MANY && m->server[i]; i++) {
        vfio_user_server_free(m->server[i]);
    }
    g_free(m);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Machine, machine_free)

/* @devfn: bus number in bits 8 to 15 */
static void machine_find(Machine *m, unsigned i, unsigned devfn)
{
    m->dev[i] = qpci_device_find(m->bus, devfn);
    g_assert_nonnull(m->dev[i]);
    m->bar[i] = qpci_iomap(m->dev[i], 0, NULL);
    qpci_device_enable(m->dev[i]);
}

/* Writes through mapped memory or, if the server has none, by message. */
static void device_writes(VFIOUserServer *server, uint64_t at, uint32_t value)
{
    if (!vfio_user_server_write(server, at, &value, sizeof(value))) {
        g_assert_cmpint(vfio_user_server_dma_write(server, at, &value,
                                                   sizeof(value)), ==, 0);
    }
}

/* Checks register accesses, DMA and interrupts of one device. */
static void life_check_device(Machine *m, unsigned i)
{
    VFIOUserRig rig = { .qts = m->qts, .server = m->server[i],
                        .dev = m->dev[i] };
    uint32_t value = 0x1000 + i, is;

    qpci_io_writel(m->dev[i], m->bar[i], 0x20, value);
    g_assert_cmphex(qpci_io_readl(m->dev[i], m->bar[i], 0x20), ==, value);
    vfio_user_server_peek(m->server[i], 0, 0x20, &is, 4);
    g_assert_cmphex(is, ==, value);

    device_writes(m->server[i], RAM + 64 * i, value);
    g_assert_cmphex(qtest_readl(m->qts, RAM + 64 * i), ==, value);

    if (m->window[i]) {
        m->bus->mmio_alloc_ptr = m->window[i] + 8 * MiB;
    }
    qpci_msix_enable(m->dev[i]);
    vfio_user_irq_use(&rig, 3);
    vfio_user_irq_check(&rig, 3);
    qpci_msix_disable(m->dev[i]);
}

static void test_several(void)
{
    g_autoptr(Machine) m = machine_new(
        VFIO_USER_RIG_RAM
        "-device vfio-user-pci,addr=4.0,multifunction=on,socket=%s "
        "-device vfio-user-pci,addr=4.1,socket=%s "
        "-device vfio-user-pci,addr=5,socket=%s "
        "-device vfio-user-pci,addr=6,socket=%s");
    static const unsigned devfns[MANY] = {
        QPCI_DEVFN(4, 0), QPCI_DEVFN(4, 1), QPCI_DEVFN(5, 0), QPCI_DEVFN(6, 0)
    };
    unsigned i;

    for (i = 0; i < MANY; i++) {
        machine_find(m, i, devfns[i]);
    }
    g_assert_cmphex(qpci_config_readb(m->dev[0], PCI_HEADER_TYPE), ==,
                    PCI_HEADER_TYPE_MULTI_FUNCTION);
    g_assert_cmphex(qpci_config_readb(m->dev[2], PCI_HEADER_TYPE), ==, 0);
    for (i = 0; i < 3 * MANY; i++) {
        life_check_device(m, i % MANY);
    }
}

static const VFIOUserRule stalls[] = {
    { ON(VFIO_USER_REGION_WRITE, .nth = 1), DO_STALL },
    { }
};

/* A stuck or dead server does not affect another server's device. */
static void test_several_one_stuck(void)
{
    g_autoptr(Machine) m = machine_new(
        VFIO_USER_RIG_RAM
        "-device vfio-user-pci,addr=4,x-timeout-ms=600,socket=%s "
        "-device vfio-user-pci,addr=5,socket=%s");

    machine_find(m, 0, QPCI_DEVFN(4, 0));
    machine_find(m, 1, QPCI_DEVFN(5, 0));
    life_check_device(m, 0);
    life_check_device(m, 1);

    vfio_user_server_set_rules(m->server[0], stalls);
    qpci_io_writel(m->dev[0], m->bar[0], 0x10, 1);
    vfio_user_server_see(m->server[0], VFIO_USER_REGION_WRITE);
    qpci_io_writel(m->dev[0], m->bar[0], 0x10, 2);
    life_check_device(m, 1);
    g_assert_cmphex(qpci_io_readl(m->dev[0], m->bar[0], 0x10), ==,
                    UINT32_MAX);
    life_check_device(m, 1);
    vfio_user_server_release(m->server[0]);
    /* QEMU drops the server, so the main loop does not wait again */
    vfio_user_server_wait_client(m->server[0], false);
    g_assert_cmphex(qpci_io_readl(m->dev[0], m->bar[0], 0x10), ==,
                    UINT32_MAX);
    life_check_device(m, 1);
}

/* Bridges */

#define Q35_SHARED \
    "-machine q35,memory-backend=ram -nodefaults -m 64 " \
    "-object memory-backend-memfd,id=ram,size=64M,share=on "

#define WINDOW 0xd0000000       /* memory windows, 16 MiB per bus */

/* Sets up bus @nr behind the bridge at @devfn, as firmware does. */
static QPCIDevice *open_bridge(Machine *m, unsigned devfn, unsigned nr)
{
    QPCIDevice *bridge = qpci_device_find(m->bus, devfn);
    uint16_t window = (WINDOW + nr * 16 * MiB) >> 16;

    g_assert_nonnull(bridge);
    qpci_config_writeb(bridge, PCI_SECONDARY_BUS, nr);
    qpci_config_writeb(bridge, PCI_SUBORDINATE_BUS, nr);
    qpci_config_writew(bridge, PCI_MEMORY_BASE, window);
    qpci_config_writew(bridge, PCI_MEMORY_LIMIT, window + 0xf0);
    qpci_config_writew(bridge, PCI_COMMAND, PCI_COMMAND_MEMORY |
                                            PCI_COMMAND_MASTER);
    return bridge;
}

static void find_behind_bridge(Machine *m, unsigned i, unsigned nr)
{
    m->window[i] = WINDOW + nr * 16 * MiB;
    m->bus->mmio_alloc_ptr = m->window[i];
    machine_find(m, i, nr << 8);
}

static void life_reset_bus(QPCIDevice *bridge)
{
    uint16_t control = qpci_config_readw(bridge, PCI_BRIDGE_CONTROL);

    qpci_config_writew(bridge, PCI_BRIDGE_CONTROL,
                       control | PCI_BRIDGE_CTL_BUS_RESET);
    qpci_config_writew(bridge, PCI_BRIDGE_CONTROL, control);
}

/*
 * Devices behind a root port and a bridge work, and a bus reset affects only
 * its own bus.
 */
static void test_behind_bridges(void)
{
    g_autoptr(Machine) m = machine_new(
        Q35_SHARED
        "-device pcie-root-port,id=rp,chassis=1,addr=3 "
        "-device pci-bridge,id=br,chassis_nr=2,addr=4 "
        "-device vfio-user-pci,bus=rp,socket=%s "
        "-device vfio-user-pci,bus=br,addr=0,socket=%s");
    QPCIDevice *port = open_bridge(m, QPCI_DEVFN(3, 0), 1);
    QPCIDevice *bridge = open_bridge(m, QPCI_DEVFN(4, 0), 2);

    find_behind_bridge(m, 0, 1);
    find_behind_bridge(m, 1, 2);
    life_check_device(m, 0);
    life_check_device(m, 1);

    vfio_user_server_forget(m->server[0]);
    vfio_user_server_forget(m->server[1]);
    life_reset_bus(bridge);
    g_assert_cmpuint(vfio_user_server_saw(m->server[0],
                                          VFIO_USER_DEVICE_RESET), ==, 0);
    g_assert_cmpuint(vfio_user_server_saw(m->server[1],
                                          VFIO_USER_DEVICE_RESET), ==, 1);
    life_reset_bus(port);
    g_assert_cmpuint(vfio_user_server_saw(m->server[0],
                                          VFIO_USER_DEVICE_RESET), ==, 1);
    g_assert_cmpuint(vfio_user_server_saw(m->server[1],
                                          VFIO_USER_DEVICE_RESET), ==, 1);

    g_free(m->dev[0]);
    g_free(m->dev[1]);
    find_behind_bridge(m, 0, 1);
    find_behind_bridge(m, 1, 2);
    life_check_device(m, 0);
    life_check_device(m, 1);
    g_free(port);
    g_free(bridge);
}

static void slot_power(QPCIDevice *port, bool on)
{
    uint8_t cap = qpci_find_capability(port, PCI_CAP_ID_EXP, 0);

    qpci_config_writew(port, cap + PCI_EXP_SLTCTL,
                       on ? PCI_EXP_SLTCTL_PWR_IND_ON :
                            PCI_EXP_SLTCTL_PWR_IND_OFF |
                            PCI_EXP_SLTCTL_PWR_OFF);
}

/* Plugs into and unplugs from a PCI Express slot with native hotplug. */
static void test_plug_express(void)
{
    g_autoptr(Machine) m = machine_new(
        Q35_SHARED
        "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off "
        "-device pcie-root-port,id=rp,chassis=1,addr=3");
    QPCIDevice *port = open_bridge(m, QPCI_DEVFN(3, 0), 1);
    unsigned i;

    m->server[0] = vfio_user_server_new(vfio_user_rig_model(), NULL);
    for (i = 0; i < 3; i++) {
        qtest_qmp_device_add(m->qts, "vfio-user-pci", "dut",
                             "{'bus': 'rp', 'socket': %s}",
                             vfio_user_server_path(m->server[0]));
        slot_power(port, true);
        find_behind_bridge(m, 0, 1);
        life_check_device(m, 0);
        g_clear_pointer(&m->dev[0], g_free);

        qtest_qmp_device_del_send(m->qts, "dut");
        slot_power(port, false);
        qtest_qmp_eventwait(m->qts, "DEVICE_DELETED");
        vfio_user_server_wait_client(m->server[0], false);
    }
    g_free(port);
}

/* A reset completes an unplug request that the guest has not handled. */
static void check_reset_unplugs(const char *args)
{
    g_autoptr(Machine) m = machine_new(args);

    for (unsigned i = 0; i < 2; i++) {
        qtest_qmp_device_del_send(m->qts, "dut");
        qtest_qmp_assert_success(m->qts, "{'execute': 'system_reset'}");
        qtest_qmp_eventwait(m->qts, "DEVICE_DELETED");
        vfio_user_server_wait_client(m->server[0], false);
        qtest_qmp_device_add(m->qts, "vfio-user-pci", "dut",
                             "{'bus': %s, 'addr': %s, 'socket': %s}",
                             strstr(args, "q35") ? "rootport" : "pci.0",
                             strstr(args, "q35") ? "0" : "4",
                             vfio_user_server_path(m->server[0]));
    }
}

static void test_reset_unplugs(void)
{
    check_reset_unplugs(VFIO_USER_RIG_RAM
                        "-device vfio-user-pci,id=dut,addr=4,socket=%s");
}

static void test_reset_unplugs_express(void)
{
    check_reset_unplugs("-machine q35 -nodefaults -m 64 "
                        VFIO_USER_RIG_Q35_PORT
                        "-device vfio-user-pci,id=dut,bus=rootport,socket=%s");
}

/* Command line options */

static void test_bootindex(void)
{
    g_autoptr(Machine) m = machine_new(
        VFIO_USER_RIG_RAM
        "-device vfio-user-pci,addr=4,bootindex=2,socket=%s "
        "-device vfio-user-pci,addr=5,bootindex=1,socket=%s "
        "-device vfio-user-pci,addr=6,socket=%s");
    QFWCFG *fw_cfg = pc_fw_cfg_init(m->qts);
    char order[200] = "";
    const char *at5, *at4;

    qfw_cfg_get_file(fw_cfg, "bootorder", order, sizeof(order) - 1);
    g_test_message("%s", order);
    at5 = strstr(order, "@5");
    at4 = strstr(order, "@4");
    g_assert(at5 && at4 && at5 < at4);
    g_assert_null(strstr(order, "@6"));
    pc_fw_cfg_uninit(fw_cfg);
}

static void test_ids(void)
{
    g_autoptr(Machine) m = machine_new(
        VFIO_USER_RIG_RAM
        "-device vfio-user-pci,addr=4,x-pci-vendor-id=0x8086,"
        "x-pci-device-id=0x10d3,x-pci-sub-vendor-id=0x1af4,"
        "x-pci-sub-device-id=0x1100,socket=%s "
        "-device vfio-user-pci,addr=5,x-pci-device-id=0xbeef,socket=%s");

    machine_find(m, 0, QPCI_DEVFN(4, 0));
    machine_find(m, 1, QPCI_DEVFN(5, 0));
    g_assert_cmphex(qpci_config_readl(m->dev[0], PCI_VENDOR_ID), ==,
                    0x10d38086);
    g_assert_cmphex(qpci_config_readl(m->dev[0], PCI_SUBSYSTEM_VENDOR_ID), ==,
                    0x11001af4);
    g_assert_cmphex(qpci_config_readl(m->dev[1], PCI_VENDOR_ID), ==,
                    0xbeef0000 | VFIO_USER_MODEL_VENDOR);
    life_check_device(m, 0);
}

static void check_id_refused(const char *property)
{
    g_autoptr(VFIOUserServer) server = vfio_user_server_new(NULL, NULL);
    const char *path = vfio_user_server_path(server);
    g_autofree char *text = NULL;
    g_autofree char *args =
        g_strdup_printf(VFIO_USER_RIG_RAM "-device vfio-user-pci,socket=%s,%s",
                        path, property);

    g_assert_cmpint(vfio_user_rig_run(args, &text), ==, 1);
    g_assert_cmpuint(vfio_user_rig_lines(text), ==, 1);
    g_assert_nonnull(strstr(text, path));
}

static void test_ids_refused(void)
{
    check_id_refused("x-pci-vendor-id=0xffff");
    check_id_refused("x-pci-device-id=0x10000");
    check_id_refused("x-pci-sub-vendor-id=0x12345");
    check_id_refused("x-pci-sub-device-id=0xfffffffe");
}

/* In a VM started with -S, the device exists, and works after cont. */
static void test_starts_stopped(void)
{
    g_autoptr(Machine) m = machine_new(
        VFIO_USER_RIG_RAM "-S -device vfio-user-pci,addr=4,socket=%s");
    uint32_t value = 0x77;

    machine_find(m, 0, QPCI_DEVFN(4, 0));
    g_assert_cmpint(vfio_user_server_dma_write(m->server[0], RAM, &value, 4),
                    ==, 0);
    qtest_qmp_assert_success(m->qts, "{'execute': 'cont'}");
    life_check_device(m, 0);
    qtest_qmp_assert_success(m->qts, "{'execute': 'stop'}");
    qtest_qmp_assert_success(m->qts, "{'execute': 'cont'}");
    life_check_device(m, 0);
}

/* A migration blocker names the device. */
static void test_does_not_migrate(void)
{
    g_autoptr(Machine) m = machine_new(
        VFIO_USER_RIG_RAM "-device vfio-user-pci,addr=4,socket=%s");
    const char *path = vfio_user_server_path(m->server[0]);
    g_autofree char *saved = NULL;
    QDict *response;

    machine_find(m, 0, QPCI_DEVFN(4, 0));
    response = qtest_qmp(m->qts, "{'execute': 'migrate', 'arguments': {"
                         "'uri': 'exec:cat > /dev/null'}}");
    g_assert(qdict_haskey(response, "error"));
    g_assert_nonnull(strstr(qdict_get_str(qdict_get_qdict(response, "error"),
                                          "desc"), path));
    qobject_unref(response);
    saved = qtest_hmp(m->qts, "savevm there");
    g_assert_nonnull(strstr(saved, path));
    life_check_device(m, 0);
}

/* "-device vfio-user-pci,help" lists the documented properties. */
static void test_help(void)
{
    static const char *const properties[] = {
        "addr=", "bootindex=", "multifunction=", "socket=", "x-req=",
        "x-timeout-ms=", "x-msg-timeout=", "x-no-kvm-intx=", "x-no-kvm-msi=",
        "x-no-kvm-msix=", "x-no-region-io-fds=", "x-no-device-feature=",
        "x-pci-vendor-id=", "x-pci-device-id=", "x-pci-sub-vendor-id=",
        "x-pci-sub-device-id=",
    };
    g_autofree char *line = g_strdup_printf("%s -device vfio-user-pci,help",
                                            getenv("QTEST_QEMU_BINARY"));
    g_autofree char *text = NULL;
    unsigned i;

    g_assert_true(g_spawn_command_line_sync(line, &text, NULL, NULL, NULL));
    for (i = 0; i < ARRAY_SIZE(properties); i++) {
        g_autofree char *start = g_strdup_printf("\n  %s", properties[i]);

        g_assert_nonnull(strstr(text, start));
    }
}

void vfio_user_add_life_tests(void)
{
    vfio_user_rig_add("/vfio-user/life/plug-at-work", test_plug_at_work,
                      VFIO_USER_NEEDS_MESSAGES);
    vfio_user_rig_add("/vfio-user/life/plug-express", test_plug_express,
                      0);
    vfio_user_rig_add("/vfio-user/life/reset/10-times", test_reset_10_times,
                      0);
    vfio_user_rig_add("/vfio-user/life/reset/asserted", test_reset_asserted,
                      0);
    vfio_user_rig_add("/vfio-user/life/reset/unplugs", test_reset_unplugs, 0);
    vfio_user_rig_add("/vfio-user/life/reset/unplugs-express",
                      test_reset_unplugs_express, 0);
    qtest_add_func("/vfio-user/life/several/work", test_several);
    qtest_add_func("/vfio-user/life/several/one-stuck",
                   test_several_one_stuck);
    vfio_user_rig_add("/vfio-user/life/behind-bridges", test_behind_bridges,
                      0);
    qtest_add_func("/vfio-user/life/bootindex", test_bootindex);
    qtest_add_func("/vfio-user/life/ids/shown", test_ids);
    qtest_add_func("/vfio-user/life/ids/refused", test_ids_refused);
    qtest_add_func("/vfio-user/life/starts-stopped", test_starts_stopped);
    qtest_add_func("/vfio-user/life/does-not-migrate", test_does_not_migrate);
    qtest_add_func("/vfio-user/life/help", test_help);
}
