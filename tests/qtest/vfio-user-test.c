/*
 * qtest of the vfio-user client
 *
 * Basic tests with a well-behaved server: register accesses, interrupts,
 * resets and unplugging.  The other vfio-user-*-tests.c files test the rest.
 *
 * Under qtest, register accesses come from the main loop.  Tests with a guest
 * check that the monitor answers while a vCPU waits.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "qemu/rcu.h"
#include "qobject/qdict.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define RAM 0x200000            /* RAM address that nothing else uses */
#define TIMEOUT_MS 600

/* Registers */

static void test_config(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    uint16_t command;
    uint8_t latency = 0x55;

    /* reads come from the server, except for emulated registers */
    vfio_user_server_poke(rig->server, VFIO_PCI_CONFIG_REGION_INDEX,
                          PCI_LATENCY_TIMER, &latency, 1);
    g_assert_cmphex(qpci_config_readb(rig->dev, PCI_LATENCY_TIMER), ==, 0x55);

    /* writes reach the server: plugging has enabled the device */
    vfio_user_server_peek(rig->server, VFIO_PCI_CONFIG_REGION_INDEX,
                          PCI_COMMAND, &command, 2);
    g_assert_cmphex(command, ==, PCI_COMMAND_IO | PCI_COMMAND_MEMORY |
                                 PCI_COMMAND_MASTER);
    qpci_config_writeb(rig->dev, PCI_LATENCY_TIMER, 0xaa);
    g_assert_cmphex(qpci_config_readb(rig->dev, PCI_LATENCY_TIMER), ==, 0xaa);
    vfio_user_server_peek(rig->server, VFIO_PCI_CONFIG_REGION_INDEX,
                          PCI_LATENCY_TIMER, &latency, 1);
    g_assert_cmphex(latency, ==, 0xaa);
}

static const VFIOUserRegionRW *head_of(const VFIOUserSeen *seen)
{
    return (const VFIOUserRegionRW *)seen->payload;
}

/* Checks that one access is one message of the same size. */
static void basic_check_bar(VFIOUserRig *rig, unsigned nr, unsigned size)
{
    uint64_t value = 0x8877665544332211, pattern = 0xf1e2d3c4b5a69788;
    const uint64_t at = 8 * size;
    QPCIBar bar = rig->bar[nr];
    VFIOUserSeen seen;
    uint64_t is = 0;

    vfio_user_server_forget(rig->server);
    vfio_user_server_poke(rig->server, nr, at, &value, size);
    switch (size) {
    case 1:
        is = qpci_io_readb(rig->dev, bar, at);
        qpci_io_writeb(rig->dev, bar, at, pattern);
        break;
    case 2:
        is = qpci_io_readw(rig->dev, bar, at);
        qpci_io_writew(rig->dev, bar, at, pattern);
        break;
    case 4:
        is = qpci_io_readl(rig->dev, bar, at);
        qpci_io_writel(rig->dev, bar, at, pattern);
        break;
    case 8:
        is = qpci_io_readq(rig->dev, bar, at);
        qpci_io_writeq(rig->dev, bar, at, pattern);
        break;
    }
    g_assert_cmpmem(&is, size, &value, size);
    seen = vfio_user_server_see(rig->server, VFIO_USER_REGION_READ,
                                AT_OFFSET(nr, at));
    g_assert_cmpuint(head_of(&seen)->count, ==, size);
    seen = vfio_user_server_see(rig->server, VFIO_USER_REGION_WRITE,
                                AT_OFFSET(nr, at));
    g_assert_cmpuint(head_of(&seen)->count, ==, size);
    g_assert_cmpmem(seen.payload + sizeof(VFIOUserRegionRW),
                    seen.length - sizeof(VFIOUserRegionRW), &pattern, size);
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_REGION_READ),
                     ==, 1);
    g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                          VFIO_USER_REGION_WRITE), ==, 1);
}

static void test_bars(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    unsigned size;

    for (size = 1; size <= 4; size *= 2) {
        basic_check_bar(rig, 0, size);
        basic_check_bar(rig, 1, size);
        basic_check_bar(rig, 2, size);
    }
    basic_check_bar(rig, 0, 8);
    basic_check_bar(rig, 2, 8);
}

static void test_rom(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    const uint32_t where = 0xd0000000, value = 0x0badcafe;

    vfio_user_server_poke(rig->server, VFIO_PCI_ROM_REGION_INDEX, 0x100,
                          &value, sizeof(value));
    qpci_config_writel(rig->dev, PCI_ROM_ADDRESS, 0xfffffffe);
    g_assert_cmphex(qpci_config_readl(rig->dev, PCI_ROM_ADDRESS), ==,
                    (uint32_t)~(2 * KiB - 1));
    qpci_config_writel(rig->dev, PCI_ROM_ADDRESS,
                       where | PCI_ROM_ADDRESS_ENABLE);
    g_assert_cmphex(qtest_readl(rig->qts, where + 0x100), ==, value);
}

static void test_posted_writes(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    g_autoptr(GArray) log = NULL;
    unsigned i;

    vfio_user_server_forget(rig->server);
    for (i = 0; i < 16; i++) {
        qpci_io_writel(rig->dev, rig->bar[0], 0x40, i);
    }
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x40), ==, 15);

    log = vfio_user_server_log(rig->server);
    g_assert_cmpuint(log->len, ==, 17);
    for (i = 0; i < 16; i++) {
        VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);

        g_assert_cmpuint(seen->header.command, ==, VFIO_USER_REGION_WRITE);
        g_assert_true(seen->header.flags & VFIO_USER_NO_REPLY);
        g_assert_cmpuint(seen->payload[sizeof(VFIOUserRegionRW)], ==, i);
    }
    g_assert_cmpuint(g_array_index(log, VFIOUserSeen, 16).header.command, ==,
                     VFIO_USER_REGION_READ);
}

/* Interrupts */

/* Routes the pins of all slots to @irq and intercepts it. */
static void route_intx(VFIOUserRig *rig, uint8_t irq)
{
    QPCIDevice *piix3 = qpci_device_find(rig->bus, QPCI_DEVFN(1, 0));
    unsigned pin;

    for (pin = 0; pin < 4; pin++) {
        qpci_config_writeb(piix3, 0x60 + pin, irq);
    }
    g_free(piix3);
    qtest_irq_intercept_in(rig->qts, "ioapic");
}

static void test_intx(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    const uint8_t irq = 10;
    unsigned i;

    route_intx(rig, irq);
    g_assert_false(qtest_get_irq(rig->qts, irq));
    for (i = 0; i < 3; i++) {
        vfio_user_server_forget(rig->server);
        vfio_user_server_trigger(rig->server, VFIO_PCI_INTX_IRQ_INDEX, 0);
        vfio_user_rig_wait(rig, qtest_get_irq(rig->qts, irq));

        /* an access of the driver deasserts it */
        qpci_io_readl(rig->dev, rig->bar[0], 0);
        g_assert_false(qtest_get_irq(rig->qts, irq));
        vfio_user_server_see(rig->server, VFIO_USER_DEVICE_SET_IRQS,
                             AT(VFIO_PCI_INTX_IRQ_INDEX));
    }
}

static void test_msi(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    const uint8_t cap = qpci_find_capability(rig->dev, PCI_CAP_ID_MSI, 0);
    unsigned i;

    qpci_config_writel(rig->dev, cap + PCI_MSI_ADDRESS_LO, RAM);
    qpci_config_writel(rig->dev, cap + PCI_MSI_ADDRESS_HI, 0);
    qpci_config_writew(rig->dev, cap + PCI_MSI_DATA_64, 0x4560);
    qpci_config_writew(rig->dev, cap + PCI_MSI_FLAGS,
                       PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_ENABLE |
                       VFIO_USER_MODEL_MSI_VECTORS_LOG << 4);
    for (i = 0; i < VFIO_USER_MODEL_MSI_VECTORS; i++) {
        qtest_writel(rig->qts, RAM, 0);
        vfio_user_server_trigger(rig->server, VFIO_PCI_MSI_IRQ_INDEX, i);
        vfio_user_rig_wait(rig, qtest_readl(rig->qts, RAM) == 0x4560 + i);
    }
    qpci_config_writew(rig->dev, cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_64BIT);
}

static void test_msix(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    unsigned i;

    g_assert_cmpuint(qpci_msix_table_size(rig->dev), ==,
                     VFIO_USER_MODEL_MSIX_VECTORS);
    qpci_msix_enable(rig->dev);
    for (i = 0; i < VFIO_USER_MODEL_MSIX_VECTORS; i++) {
        uint64_t entry = rig->dev->msix_table_off + i * PCI_MSIX_ENTRY_SIZE;
        QPCIBar table = rig->dev->msix_table_bar;

        qpci_io_writel(rig->dev, table, entry + PCI_MSIX_ENTRY_LOWER_ADDR,
                       RAM + 4 * i);
        qpci_io_writel(rig->dev, table, entry + PCI_MSIX_ENTRY_UPPER_ADDR, 0);
        qpci_io_writel(rig->dev, table, entry + PCI_MSIX_ENTRY_DATA,
                       0xabc0 + i);
        qpci_io_writel(rig->dev, table, entry + PCI_MSIX_ENTRY_VECTOR_CTRL,
                       0);
        qtest_writel(rig->qts, RAM + 4 * i, 0);
    }
    for (i = 0; i < VFIO_USER_MODEL_MSIX_VECTORS; i++) {
        vfio_user_server_trigger(rig->server, VFIO_PCI_MSIX_IRQ_INDEX, i);
        vfio_user_rig_wait(rig, qtest_readl(rig->qts, RAM + 4 * i) ==
                                0xabc0 + i);
    }
    qpci_msix_disable(rig->dev);
}

/* Reset */

static void basic_reset(VFIOUserRig *rig)
{
    QDict *response;

    vfio_user_server_forget(rig->server);
    response = qtest_qmp(rig->qts, "{'execute': 'system_reset'}");
    g_assert(qdict_haskey(response, "return"));
    qobject_unref(response);
    qtest_qmp_eventwait(rig->qts, "RESET");
    vfio_user_server_see(rig->server, VFIO_USER_DEVICE_RESET);
}

static void test_reset(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);

    basic_reset(rig);
    g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                          VFIO_USER_DEVICE_RESET), ==, 1);
    g_assert_cmphex(qpci_config_readw(rig->dev, PCI_COMMAND), ==, 0);
    vfio_user_rig_ping(rig);
}

static void test_reset_fails(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_RESET), DO_FAIL, EIO },
        { }
    };
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);

    vfio_user_server_set_rules(rig->server, rules);
    basic_reset(rig);
    vfio_user_rig_ping(rig);
}

static void test_reset_never_answered(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_RESET), DO_DROP },
        { }
    };
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM,
                                                       TIMEOUT_MS);

    /* QEMU blocked with the BQL held, so it drops this server */
    vfio_user_server_set_rules(rig->server, rules);
    basic_reset(rig);
    vfio_user_server_wait_client(rig->server, false);
    vfio_user_rig_ping(rig);
}

/* Hotplug */

static void test_plug_again(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     NULL);
    unsigned i;

    for (i = 0; i < 5; i++) {
        vfio_user_rig_plug(rig, 0);
        g_assert_cmpuint(vfio_user_server_maps(rig->server), >, 0);
        vfio_user_rig_unplug(rig);
        vfio_user_server_wait_client(rig->server, false);
    }
}

int main(int argc, char **argv)
{
    int ret;

    /*
     * libqtest forks to start QEMU.  Without this, the child would start the
     * RCU thread first, which needs the allocator, and another thread may have
     * held its lock during the fork.
     */
    rcu_disable_atfork();
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vfio-user/config", test_config);
    qtest_add_func("/vfio-user/bars", test_bars);
    qtest_add_func("/vfio-user/rom", test_rom);
    qtest_add_func("/vfio-user/posted-writes", test_posted_writes);
    qtest_add_func("/vfio-user/intx", test_intx);
    qtest_add_func("/vfio-user/msi", test_msi);
    qtest_add_func("/vfio-user/msix", test_msix);
    qtest_add_func("/vfio-user/reset/done", test_reset);
    qtest_add_func("/vfio-user/reset/fails", test_reset_fails);
    qtest_add_func("/vfio-user/reset/never-answered",
                   test_reset_never_answered);
    vfio_user_rig_add("/vfio-user/plug-again", test_plug_again, 0);
    vfio_user_add_boot_tests();
    vfio_user_add_budget_tests();
    vfio_user_add_dma_tests();
    vfio_user_add_iommu_tests();
    vfio_user_add_map_tests();
    vfio_user_add_memory_tests();
    vfio_user_add_death_tests();
    vfio_user_add_reconnect_tests();
    vfio_user_add_reconnect_aer_tests();
    vfio_user_add_reconnect_compare_tests();
    vfio_user_add_reconnect_fault_tests();
    vfio_user_add_reconnect_gap_tests();
    vfio_user_add_reconnect_migration_tests();
    vfio_user_add_reconnect_order_tests();
    vfio_user_add_reconnect_vcpu_tests();
    vfio_user_add_switch_migration_tests();
    vfio_user_add_switch_tests();
    vfio_user_add_dirty_size_tests();
    vfio_user_add_dirty_tests();
    vfio_user_add_dirty_iommu_tests();
    vfio_user_add_dirty_fault_tests();
    vfio_user_add_layout_tests();
    vfio_user_add_library_tests();
    vfio_user_add_migration1_tests();
    vfio_user_add_migration_window_tests();
    vfio_user_add_migration1_fault_tests();
    vfio_user_add_engine_tests();
    vfio_user_add_fault_tests();
    vfio_user_add_region_tests();
    vfio_user_add_restore_tests();
    vfio_user_add_mapping_tests();
    vfio_user_add_order_tests();
    vfio_user_add_rom_tests();
    vfio_user_add_migration_both_tests();
    vfio_user_add_migration_eject_tests();
    vfio_user_add_migration_fault_tests();
    vfio_user_add_migration_fuzz_tests();
    vfio_user_add_migration_late_tests();
    vfio_user_add_migration_lock_tests();
    vfio_user_add_migration_matrix_tests();
    vfio_user_add_migration_mode_tests();
    vfio_user_add_migration_offer_tests();
    vfio_user_add_migration_devices_tests();
    vfio_user_add_migration_pace_tests();
    vfio_user_add_migration_record_tests();
    vfio_user_add_migration_reset_tests();
    vfio_user_add_migration_irq_tests();
    vfio_user_add_migration_stream_tests();
    vfio_user_add_migration_tests();
    vfio_user_add_socket_tests();
    vfio_user_add_master_tests();
    vfio_user_add_personality_tests();
    vfio_user_add_report_tests();
    vfio_user_add_twin_tests();
    vfio_user_add_ioeventfd_tests();
    vfio_user_add_interrupt_tests();
    vfio_user_add_interrupt_fault_tests();
    vfio_user_add_kvm_tests();
    vfio_user_add_vcpu_tests();
    vfio_user_add_life_tests();
    vfio_user_add_lock_tests();
    vfio_user_add_loss_tests();
    vfio_user_add_query_tests();
    ret = g_test_run();
    vfio_user_rig_quit();
    return ret;
}
