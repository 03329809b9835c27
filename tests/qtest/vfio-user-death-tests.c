/*
 * qtest of the vfio-user client: servers that disconnect or stop answering
 *
 * In all cases, the VM keeps running, and a device without a server reads as
 * all ones.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qobject/qdict.h"
#include "hw/pci/pci_regs.h"
#include "vfio-user-rig.h"
#include "vfio-user-said.h"
#include "vfio-user-tests.h"

#define TIMEOUT_MS 600
#define PM 0x70                 /* free offset in vfio_user_model */

static void death_check_dead(VFIOUserRig *rig)
{
    vfio_user_rig_ping(rig);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x10), ==,
                    UINT32_MAX);
    qpci_io_writel(rig->dev, rig->bar[0], 0x10, 0);
    g_assert_cmphex(qpci_io_readb(rig->dev, rig->bar[0], 0x10), ==,
                    UINT8_MAX);
    vfio_user_rig_ping(rig);
}

static void test_death_idle(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);

    vfio_user_server_hang_up(rig->server);
    death_check_dead(rig);
}

/*
 * Closes the socket with unread data: the kernel resets the connection and
 * discards what the client has not read.
 */
static void test_death_with_bytes_unread(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_REGION_WRITE), DO_STALL },
        { }
    };
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    unsigned i;

    vfio_user_server_set_rules(rig->server, rules);
    for (i = 0; i < 10; i++) {
        qpci_io_writel(rig->dev, rig->bar[0], 0x10, i);
    }
    vfio_user_server_see(rig->server, VFIO_USER_REGION_WRITE);
    vfio_user_server_hang_up(rig->server);
    death_check_dead(rig);
}

static void test_death_and_reset(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    QDict *response;

    vfio_user_server_hang_up(rig->server);
    response = qtest_qmp(rig->qts, "{'execute': 'system_reset'}");
    qobject_unref(response);
    qtest_qmp_eventwait(rig->qts, "RESET");
    vfio_user_rig_ping(rig);
}

/*
 * A dead device reads as all ones, including its power management capability.
 */
static void test_death_and_power(void)
{
    VFIOUserModel model = vfio_user_model;
    g_autoptr(VFIOUserServer) server = NULL;
    g_autoptr(VFIOUserSaid) said = NULL;
    g_autofree char *text = NULL;
    QPCIBus *bus;
    QPCIDevice *dev;
    QDict *response;

    model.config[VFIO_USER_MODEL_MSIX + PCI_CAP_LIST_NEXT] = PM;
    model.config[PM] = PCI_CAP_ID_PM;
    model.config[PM + PCI_PM_PMC] = 3;
    server = vfio_user_server_new(&model, NULL);
    said = vfio_user_said_new(VFIO_USER_RIG_RAM
                              "-device vfio-user-pci,addr=4,socket=%s",
                              vfio_user_server_path(server));
    bus = qpci_new_pc(said->qts, NULL);
    dev = qpci_device_find(bus, QPCI_DEVFN(4, 0));
    g_assert_nonnull(dev);
    vfio_user_server_hang_up(server);
    g_assert_cmphex(qpci_config_readw(dev, PM + PCI_PM_CTRL), ==, UINT16_MAX);
    response = qtest_qmp(said->qts, "{'execute': 'system_reset'}");
    qobject_unref(response);
    qtest_qmp_eventwait(said->qts, "RESET");
    text = vfio_user_said_text(said);
    /* the only message is about the lost connection */
    g_assert_cmpuint(vfio_user_rig_lines(text), ==, 1);
    g_assert_nonnull(strstr(text, vfio_user_server_path(server)));
    g_free(dev);
    qpci_free_pc(bus);
}

static void test_death_with_interrupts(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);

    qpci_msix_enable(rig->dev);
    vfio_user_server_hang_up(rig->server);
    qpci_msix_disable(rig->dev);
    death_check_dead(rig);
}

/* Changes memory while the server is gone or refuses maps. */
static void check_remap(VFIOUserRig *rig)
{
    QPCIDevice *host = qpci_device_find(rig->bus, QPCI_DEVFN(0, 0));

    qpci_config_writeb(host, 0x59, 0x30);
    qpci_config_writeb(host, 0x59, 0);
    g_free(host);
    vfio_user_rig_ping(rig);
}

static void test_death_and_maps(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);

    vfio_user_server_hang_up(rig->server);
    check_remap(rig);
    death_check_dead(rig);
}

static void test_maps_refused(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DMA_MAP), DO_FAIL, ENOMEM },
        { }
    };
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);

    vfio_user_server_set_rules(rig->server, rules);
    check_remap(rig);
}

/* QEMU waits only once for a server that does not read. */
static void test_stall(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_REGION_WRITE, .nth = 1), DO_STALL },
        { }
    };
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM,
                                                       TIMEOUT_MS);

    vfio_user_server_set_rules(rig->server, rules);
    qpci_io_writel(rig->dev, rig->bar[0], 0x10, 1);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x10), ==,
                    UINT32_MAX);
    vfio_user_rig_ping(rig);
    vfio_user_server_release(rig->server);
    vfio_user_server_wait_client(rig->server, false);
    death_check_dead(rig);
}

void vfio_user_add_death_tests(void)
{
    qtest_add_func("/vfio-user/death/idle", test_death_idle);
    qtest_add_func("/vfio-user/death/with-bytes-unread",
                   test_death_with_bytes_unread);
    qtest_add_func("/vfio-user/death/and-reset", test_death_and_reset);
    qtest_add_func("/vfio-user/death/and-power", test_death_and_power);
    qtest_add_func("/vfio-user/death/with-interrupts",
                   test_death_with_interrupts);
    qtest_add_func("/vfio-user/death/and-maps", test_death_and_maps);
    qtest_add_func("/vfio-user/death/maps-refused", test_maps_refused);
    qtest_add_func("/vfio-user/death/stall", test_stall);
}
