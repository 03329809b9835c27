/*
 * qtest of the vfio-user client: servers that are lost and come back
 *
 * The scripted server accepts one client after another.  As the specification
 * requires, it forgets maps and interrupts when it loses a client; a reset
 * clears its registers.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_regs.h"
#include "vfio-user-guest.h"
#include "vfio-user-irq.h"
#include "vfio-user-said.h"
#include "vfio-user-tests.h"

#define RECONNECT "-global vfio-user-pci.reconnect-ms=50 "
#define REGISTER 0x10
#define VALUE 0x5eed5eed

/* Interrupts, in the order of irq indexes */
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX

static bool reads(VFIOUserRig *rig, uint32_t value)
{
    return qpci_io_readl(rig->dev, rig->bar[0], REGISTER) == value;
}

/* Lets the server lose its client, and waits until the device is back. */
static void lose_and_return(VFIOUserRig *rig)
{
    const uint32_t value = VALUE;

    vfio_user_server_forget(rig->server);
    vfio_user_server_hang_up(rig->server);
    vfio_user_server_see(rig->server, VFIO_USER_DEVICE_RESET);
    vfio_user_server_poke(rig->server, 0, REGISTER, &value, sizeof(value));
    vfio_user_rig_wait(rig, reads(rig, VALUE));
}

static void test_reconnect_idle(void)
{
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_plugged(VFIO_USER_RIG_SHARED RECONNECT, 0);
    unsigned maps = vfio_user_server_maps(rig->server);

    g_assert_cmpuint(maps, >, 0);
    for (int i = 0; i < 3; i++) {
        lose_and_return(rig);
        g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, maps);
    }
}

static void test_reconnect_interrupts(void)
{
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_plugged(VFIO_USER_RIG_SHARED RECONNECT, 0);

    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 3);
    vfio_user_irq_use(rig, 5);
    vfio_user_irq_check(rig, 3);
    lose_and_return(rig);
    g_assert_false(vfio_user_irq_armed(rig, MSIX, 4));
    vfio_user_irq_check(rig, 5);
    vfio_user_irq_check(rig, 3);
    vfio_user_irq_use(rig, 7);
    vfio_user_irq_check(rig, 7);
    qpci_msix_disable(rig->dev);
}

/* libvfio-user stores the eventfd of ERR and REQ as that of vector 0. */
static void test_reconnect_signals(void)
{
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_plugged(VFIO_USER_RIG_SHARED RECONNECT, 0);
    const VFIOUserRule hold_req[] = {
        { ON(VFIO_USER_DEVICE_SET_IRQS, AT(VFIO_PCI_REQ_IRQ_INDEX)), DO_HOLD },
        { }
    };

    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 3);
    vfio_user_server_forget(rig->server);
    vfio_user_server_set_rules(rig->server, hold_req);
    vfio_user_server_hang_up(rig->server);
    vfio_user_server_see(rig->server, VFIO_USER_DEVICE_SET_IRQS,
                         AT(VFIO_PCI_REQ_IRQ_INDEX));
    g_assert_false(vfio_user_irq_armed(rig, MSIX, 3));
    vfio_user_server_set_rules(rig->server, NULL);
    vfio_user_server_release(rig->server);
    vfio_user_rig_wait(rig, vfio_user_irq_armed(rig, MSIX, 3));
    vfio_user_irq_check(rig, 3);
    qpci_msix_disable(rig->dev);
}

static uint32_t server_config(VFIOUserRig *rig, unsigned offset, unsigned size)
{
    uint32_t value = 0;

    vfio_user_server_peek(rig->server, VFIO_PCI_CONFIG_REGION_INDEX, offset,
                          &value, size);
    return value;
}

/* What the guest has set, whoever shows it to the guest */
static void test_reconnect_config(void)
{
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_plugged(VFIO_USER_RIG_SHARED RECONNECT, 0);
    uint32_t bar = server_config(rig, PCI_BASE_ADDRESS_0, 4);
    uint16_t command = server_config(rig, PCI_COMMAND, 2);

    g_assert_cmphex(command & PCI_COMMAND_MASTER, !=, 0);
    qpci_config_writeb(rig->dev, PCI_INTERRUPT_LINE, 0x2b);
    qpci_config_writeb(rig->dev, PCI_CACHE_LINE_SIZE, 0x10);
    lose_and_return(rig);
    g_assert_cmphex(server_config(rig, PCI_BASE_ADDRESS_0, 4), ==, bar);
    g_assert_cmphex(server_config(rig, PCI_COMMAND, 2), ==, command);
    g_assert_cmphex(server_config(rig, PCI_INTERRUPT_LINE, 1), ==, 0x2b);
    g_assert_cmphex(server_config(rig, PCI_CACHE_LINE_SIZE, 1), ==, 0x10);
}

/* In a gap that is young, configuration space reads as QEMU knows it. */
static void check_config_in_gap(const char *options, bool known)
{
    static const VFIOUserRule hold[] = { { ON(VFIO_USER_VERSION), DO_HOLD },
                                         { } };
    g_autofree char *args = g_strconcat(VFIO_USER_RIG_SHARED RECONNECT,
                                        options, NULL);
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(args, 0);
    uint16_t status = qpci_config_readw(rig->dev, PCI_STATUS);

    g_assert_cmphex(status, !=, 0xffff);
    vfio_user_server_forget(rig->server);
    vfio_user_server_set_rules(rig->server, hold);
    vfio_user_server_hang_up(rig->server);
    vfio_user_server_see(rig->server, VFIO_USER_VERSION);
    g_assert_cmphex(qpci_config_readw(rig->dev, PCI_STATUS), ==,
                    known ? status : 0xffff);
    vfio_user_server_set_rules(rig->server, NULL);
    vfio_user_server_release(rig->server);
    vfio_user_rig_wait(rig, reads(rig, 0));
    g_assert_cmphex(qpci_config_readw(rig->dev, PCI_STATUS), ==, status);
}

static void test_reconnect_config_in_gap(void)
{
    check_config_in_gap("-global vfio-user-pci.reconnect-wait-ms=60000 ", true);
    check_config_in_gap("-global vfio-user-pci.reconnect-wait-ms=0 ", false);
}

/* A guest's read in a gap */

#define WAIT_MS 60000
#define WAIT "-global vfio-user-pci.reconnect-wait-ms=60000 "

static const VFIOUserRule hold_version[] = {
    { ON(VFIO_USER_VERSION), DO_HOLD },
    { }
};

/* A processor reads a register of a server that is gone. */
static void begin_gap(VFIOUserGuest *guest)
{
    VFIOUserRig *rig = guest->rig;
    const VFIOUserGuestOrder order = {
        .command = VFIO_USER_GUEST_READ,
        .address = rig->bar[0].addr + REGISTER,
    };

    vfio_user_server_forget(rig->server);
    vfio_user_server_set_rules(rig->server, hold_version);
    vfio_user_server_hang_up(rig->server);
    vfio_user_server_see(rig->server, VFIO_USER_VERSION);
    vfio_user_guest_order(rig->qts, 0, order);
}

static uint32_t guest_value(VFIOUserRig *rig)
{
    return qtest_readl(rig->qts, VFIO_USER_GUEST_CPU(0, order.value));
}

static bool guest_is_done(VFIOUserRig *rig)
{
    return qtest_readl(rig->qts, VFIO_USER_GUEST_CPU(0, done)) == 1;
}

static void test_reconnect_read_waits(void)
{
    const uint32_t value = VALUE;
    VFIOUserGuest guest;

    vfio_user_guest_begin(&guest, "-accel tcg " RECONNECT WAIT, 1, NULL, NULL);
    begin_gap(&guest);
    for (int i = 0; i < 20; i++) {
        vfio_user_rig_ping(guest.rig);
        g_assert_false(guest_is_done(guest.rig));
    }
    /* answers VERSION; the reset clears the register */
    vfio_user_server_set_rules(guest.rig->server,
                               (VFIOUserRule[]) {
                                   { ON(VFIO_USER_DEVICE_RESET), DO_HOLD }, { }
                               });
    vfio_user_server_release(guest.rig->server);
    vfio_user_server_see(guest.rig->server, VFIO_USER_DEVICE_RESET);
    vfio_user_server_poke(guest.rig->server, 0, REGISTER, &value,
                          sizeof(value));
    vfio_user_server_set_rules(guest.rig->server, NULL);
    vfio_user_server_release(guest.rig->server);
    vfio_user_rig_wait(guest.rig, guest_is_done(guest.rig));
    g_assert_cmphex(guest_value(guest.rig), ==, VALUE);
    vfio_user_guest_end(&guest);
}

/* What ends the wait of a processor; the gap stays open. */
static void check_wait_ends(const char *command)
{
    VFIOUserGuest guest;
    gint64 begun;

    vfio_user_guest_begin(&guest, "-accel tcg " RECONNECT WAIT, 1, NULL, NULL);
    begin_gap(&guest);
    vfio_user_rig_ping(guest.rig);
    begun = g_get_monotonic_time();
    qtest_qmp_assert_success(guest.rig->qts, "{'execute': %s}", command);
    g_test_message("%s took %" PRId64 " ms", command,
                   (g_get_monotonic_time() - begun) / 1000);
    g_assert_cmpint(g_get_monotonic_time() - begun, <, WAIT_MS * 1000 / 10);
    qtest_qmp_assert_success(guest.rig->qts, "{'execute': 'cont'}");
    if (g_str_equal(command, "stop")) {
        vfio_user_rig_wait(guest.rig, guest_is_done(guest.rig));
        g_assert_cmphex(guest_value(guest.rig), ==, UINT32_MAX);
    }
    vfio_user_server_set_rules(guest.rig->server, NULL);
    vfio_user_server_release(guest.rig->server);
    vfio_user_guest_end(&guest);
}

static void test_reconnect_wait_ends(const void *command)
{
    check_wait_ends(command);
}

void vfio_user_add_reconnect_tests(void)
{
    vfio_user_rig_add("/vfio-user/reconnect/idle", test_reconnect_idle, 0);
    qtest_add_func("/vfio-user/reconnect/interrupts",
                   test_reconnect_interrupts);
    qtest_add_func("/vfio-user/reconnect/signals", test_reconnect_signals);
    qtest_add_func("/vfio-user/reconnect/config", test_reconnect_config);
    qtest_add_func("/vfio-user/reconnect/config-in-gap",
                   test_reconnect_config_in_gap);
    if (qtest_has_accel("tcg")) {
        qtest_add_func("/vfio-user/reconnect/read-waits",
                       test_reconnect_read_waits);
        qtest_add_data_func("/vfio-user/reconnect/wait-ends/stop", "stop",
                            test_reconnect_wait_ends);
        qtest_add_data_func("/vfio-user/reconnect/wait-ends/reset",
                            "system_reset", test_reconnect_wait_ends);
    }
}
