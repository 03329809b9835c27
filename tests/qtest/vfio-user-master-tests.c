/*
 * qtest of the vfio-user client: bus mastering
 *
 * A server may access guest memory by message only while bus mastering is
 * enabled.  A change takes effect as soon as the server can know of it.  QEMU
 * warns about unshared memory when the guest first enables bus mastering.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "libqos/pci-pc.h"
#include "qobject/qdict.h"
#include "vfio-user-pair.h"
#include "vfio-user-rig.h"
#include "vfio-user-said.h"
#include "vfio-user-tests.h"

#define RAM 0x200000            /* RAM address that nothing else uses */
#define VALUE 0x1122334455667788ull
#define OFF (PCI_COMMAND_IO | PCI_COMMAND_MEMORY)
#define ON_TOO (OFF | PCI_COMMAND_MASTER)

static void check_served(VFIOUserServer *server, QTestState *qts)
{
    uint64_t is, value = ~VALUE;

    qtest_writeq(qts, RAM, VALUE);
    g_assert_cmpint(vfio_user_server_dma_read(server, RAM, &is, 8), ==, 0);
    g_assert_cmphex(is, ==, VALUE);
    g_assert_cmpint(vfio_user_server_dma_write(server, RAM, &value, 8), ==, 0);
    g_assert_cmphex(qtest_readq(qts, RAM), ==, value);
}

static void check_denied(VFIOUserServer *server, QTestState *qts)
{
    uint64_t is = 0, value = ~VALUE;

    qtest_writeq(qts, RAM, VALUE);
    g_assert_cmpint(vfio_user_server_dma_read(server, RAM, &is, 8), ==,
                    EFAULT);
    g_assert_cmpint(vfio_user_server_dma_write(server, RAM, &value, 8), ==,
                    EFAULT);
    g_assert_cmphex(qtest_readq(qts, RAM), ==, VALUE);
}

static void test_off(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     NULL);
    g_autofree char *message = vfio_user_rig_try_plug(rig, 0);

    g_assert_cmpstr(message, ==, NULL);
    check_denied(rig->server, rig->qts);
    for (unsigned i = 0; i < 3; i++) {
        qpci_config_writew(rig->dev, PCI_COMMAND, OFF);
        check_denied(rig->server, rig->qts);
        qpci_config_writew(rig->dev, PCI_COMMAND, ON_TOO);
        check_served(rig->server, rig->qts);
    }
    /* with other access sizes */
    qpci_config_writeb(rig->dev, PCI_COMMAND, OFF);
    check_denied(rig->server, rig->qts);
    qpci_config_writel(rig->dev, PCI_COMMAND, ON_TOO);
    check_served(rig->server, rig->qts);
    qpci_config_writeb(rig->dev, PCI_COMMAND + 1, 0);
    check_served(rig->server, rig->qts);
}

static const VFIOUserRule ask_in_write[] = {
    { ON(VFIO_USER_REGION_WRITE,
         AT_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND)), DO_ASK,
      VFIO_USER_DMA_READ, STRUCT(VFIOUserDMARW, RAM, 8) },
    { }
};

/* A server may send requests before it replies to the write. */
static void test_in_write(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     NULL);
    g_autofree char *message = vfio_user_rig_try_plug(rig, 0);
    VFIOUserSeen seen;

    g_assert_cmpstr(message, ==, NULL);
    vfio_user_server_set_rules(rig->server, ask_in_write);
    qpci_config_writew(rig->dev, PCI_COMMAND, OFF);
    seen = vfio_user_server_see(rig->server, VFIO_USER_DMA_READ);
    g_assert_cmphex(seen.header.flags, ==,
                    VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR);
    g_assert_cmpuint(seen.header.error, ==, EFAULT);

    vfio_user_server_forget(rig->server);
    qpci_config_writew(rig->dev, PCI_COMMAND, ON_TOO);
    seen = vfio_user_server_see(rig->server, VFIO_USER_DMA_READ);
    g_assert_cmphex(seen.header.flags, ==, VFIO_USER_TYPE_REPLY);
    vfio_user_server_set_rules(rig->server, NULL);
}

static void test_reset(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);

    check_served(rig->server, rig->qts);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(rig->qts, "RESET");
    check_denied(rig->server, rig->qts);
}

static void write_command(QTestState *qts, unsigned slot, uint16_t value)
{
    QPCIBus *bus = qpci_new_pc(qts, NULL);

    bus->config_writew(bus, QPCI_DEVFN(slot, 0), PCI_COMMAND, value);
    qpci_free_pc(bus);
}

/* Bus mastering is migrated. */
static void test_migrated(const void *on)
{
    VFIOUserModel model = vfio_user_model;
    g_autoptr(VFIOUserPair) pair = NULL;

    model.migration = (VFIOUserMigrationModel) {
        .flags = VFIO_USER_MODEL_STOP_COPY,
    };
    pair = vfio_user_pair_new(true, &model, &model);
    write_command(pair->qts[VFIO_USER_SOURCE], 4, on ? ON_TOO : OFF);
    vfio_user_pair_migrate(pair);
    (on ? check_served : check_denied)(pair->server[VFIO_USER_DESTINATION],
                                       pair->qts[VFIO_USER_DESTINATION]);
}

/* Warning about unshared memory */

#define ADVICE "-object memory-backend-memfd,id=ram,size=SIZE,share=on"
#define PRIVATE "is not shared: servers that need shared memory will not work"

/*
 * Devices without bus mastering cause no warning; the others cause one in
 * total.
 */
static void check_advice(const char *machine, unsigned times)
{
    g_autoptr(VFIOUserServer) a = vfio_user_server_new(NULL, NULL);
    g_autoptr(VFIOUserServer) b = vfio_user_server_new(NULL, NULL);
    g_autoptr(VFIOUserSaid) said =
        vfio_user_said_new("%s -device vfio-user-pci,addr=4,socket=%s"
                           " -device vfio-user-pci,addr=5,socket=%s", machine,
                           vfio_user_server_path(a), vfio_user_server_path(b));

    write_command(said->qts, 4, OFF);
    write_command(said->qts, 5, OFF);
    g_assert_cmpuint(vfio_user_said_count(said, ADVICE), ==, 0);
    write_command(said->qts, 4, ON_TOO);
    g_assert_cmpuint(vfio_user_said_count(said, ADVICE), ==, times);
    g_assert_cmpuint(vfio_user_said_count(said, PRIVATE), ==, times);
    write_command(said->qts, 5, ON_TOO);
    write_command(said->qts, 4, OFF);
    write_command(said->qts, 4, ON_TOO);
    g_assert_cmpuint(vfio_user_said_count(said, ADVICE), ==, times);
}

static void test_advice(void)
{
    check_advice(VFIO_USER_RIG_RAM, 1);
}

static void test_no_advice(void)
{
    check_advice(VFIO_USER_RIG_SHARED, 0);
}

/* Memory that is plugged later. */
static void test_advice_later(void)
{
    g_autoptr(VFIOUserServer) server = vfio_user_server_new(NULL, NULL);
    g_autoptr(VFIOUserSaid) said =
        vfio_user_said_new("-machine pc,memory-backend=ram -nodefaults"
                           " -m 64,slots=2,maxmem=1G -object"
                           " memory-backend-memfd,id=ram,size=64M,share=on"
                           " -object memory-backend-ram,id=late,size=128M"
                           " -device vfio-user-pci,addr=4,socket=%s",
                           vfio_user_server_path(server));

    write_command(said->qts, 4, ON_TOO);
    g_assert_cmpuint(vfio_user_said_count(said, ADVICE), ==, 0);
    qtest_qmp_assert_success(said->qts, "{'execute': 'device_add',"
                             " 'arguments': {'driver': 'pc-dimm', 'id': 'd',"
                             " 'memdev': 'late'}}");
    g_assert_cmpuint(vfio_user_said_count(said, ADVICE), ==, 1);
}

/* The destination warns, too. */
static void test_advice_migrated(void)
{
    VFIOUserModel model = vfio_user_model;
    g_autoptr(VFIOUserPair) pair = NULL;

    model.migration = (VFIOUserMigrationModel) {
        .flags = VFIO_USER_MODEL_STOP_COPY,
    };
    pair = vfio_user_pair_new(false, &model, &model);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_DESTINATION, ADVICE),
                     ==, 0);
    vfio_user_pair_migrate(pair);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_DESTINATION, ADVICE),
                     ==, 1);
}

void vfio_user_add_master_tests(void)
{
    static const bool on = true;

    qtest_add_func("/vfio-user/master/off", test_off);
    qtest_add_func("/vfio-user/master/in-write", test_in_write);
    qtest_add_func("/vfio-user/master/reset", test_reset);
    qtest_add_func("/vfio-user/master/advice", test_advice);
    qtest_add_func("/vfio-user/master/no-advice", test_no_advice);
    qtest_add_func("/vfio-user/master/advice-later", test_advice_later);
    qtest_add_func("/vfio-user/master/advice-migrated", test_advice_migrated);
    qtest_add_data_func("/vfio-user/master/migrated-off", NULL, test_migrated);
    qtest_add_data_func("/vfio-user/master/migrated-on", &on, test_migrated);
}
