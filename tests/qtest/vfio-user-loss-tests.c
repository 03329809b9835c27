/*
 * qtest of the vfio-user client: what users learn of a lost server
 *
 * The QMP event, and how the device is removed afterwards.  What the guest sees
 * is in vfio-user-death-tests.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qobject/qdict.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define TIMEOUT_MS 600
#define LOSS "VFIO_USER_DISCONNECTED"
#define ANONYMOUS "/machine/peripheral-anon/device[0]"

/* The events of a VM, from loss_begin() on. */
static struct {
    unsigned losses;
    unsigned deleted;
    QDict *loss;                /* data of the last one; or NULL */
} seen;

static bool see_event(QTestState *qts, const char *name, QDict *event,
                      void *opaque)
{
    if (g_str_equal(name, LOSS)) {
        seen.losses++;
        qobject_unref(seen.loss);
        seen.loss = qdict_get_qdict(event, "data");
        qobject_ref(seen.loss);
    }
    seen.deleted += g_str_equal(name, "DEVICE_DELETED");
    return true;
}

static void loss_begin(QTestState *qts)
{
    qobject_unref(seen.loss);
    memset(&seen, 0, sizeof(seen));
    qtest_qmp_set_event_callback(qts, see_event, NULL);
}

/* Waits for the first event, and checks that it names @id and @reason. */
static void check_loss(VFIOUserRig *rig, const char *id, const char *path,
                       const char *reason)
{
    vfio_user_rig_wait(rig, seen.losses);
    g_assert_cmpuint(seen.losses, ==, 1);
    g_test_message("%s", qdict_get_str(seen.loss, "reason"));
    g_assert_cmpstr(qdict_get_try_str(seen.loss, "id"), ==, id);
    g_assert_cmpstr(qdict_get_str(seen.loss, "qom-path"), ==, path);
    g_assert_nonnull(strstr(qdict_get_str(seen.loss, "reason"), reason));
    g_assert_false(qdict_get_bool(seen.loss, "reconnects"));
}

#define check_loss_of_dut(rig, reason) \
    check_loss(rig, "dut", "/machine/peripheral/dut", reason)

/* Unplugs the device, without missing an event. */
static void loss_unplug(VFIOUserRig *rig)
{
    qtest_qmp_device_del_send(rig->qts, "dut");
    qtest_qmp_assert_success(rig->qts, "{'execute': 'system_reset'}");
    vfio_user_rig_wait(rig, seen.deleted);
    g_clear_pointer(&rig->dev, g_free);
    g_clear_pointer(&rig->bus, qpci_free_pc);
}

/* Does all that could report the loss again. */
static void loss_end(VFIOUserRig *rig)
{
    qpci_io_readl(rig->dev, rig->bar[0], 0x10);
    qpci_io_writel(rig->dev, rig->bar[0], 0x10, 1);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'system_reset'}");
    qtest_qmp_assert_success(rig->qts, "{'execute': 'stop'}");
    qtest_qmp_assert_success(rig->qts, "{'execute': 'cont'}");
    loss_unplug(rig);
    vfio_user_rig_ping(rig);
    g_assert_cmpuint(seen.losses, ==, 1);
    qtest_qmp_set_event_callback(rig->qts, NULL, NULL);
}

static void test_loss_closed(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);

    loss_begin(rig->qts);
    vfio_user_server_hang_up(rig->server);
    check_loss_of_dut(rig, "the server closed the connection");
    loss_end(rig);
}

typedef struct LossRow {
    const char *path;
    VFIOUserRule rules[2];
    const char *reason;
} LossRow;

static const LossRow loss_rows[] = {
    { "violation", { { ON(VFIO_USER_REGION_READ), DO_SIZE, 4 } },
      "protocol violation: " },
    { "timeout", { { ON(VFIO_USER_REGION_READ), DO_DROP } },
      "REGION_READ: no reply within " },
};

static void test_loss_row(const void *opaque)
{
    const LossRow *row = opaque;
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM,
                                                       TIMEOUT_MS);

    loss_begin(rig->qts);
    vfio_user_server_set_rules(rig->server, row->rules);
    qpci_io_readl(rig->dev, rig->bar[0], 0x10);
    check_loss_of_dut(rig, row->reason);
    loss_end(rig);
}

/* Both connections are lost then. */
static void test_loss_twin(void)
{
    VFIOUserModel model = vfio_user_model;
    VFIOUserRig *rig;

    model.version = "{\"capabilities\":{\"max_msg_fds\":8,\"twin_socket\":"
                    "{\"supported\":true,\"fd_index\":0}}}";
    model.twin = true;
    rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, &model, NULL);
    vfio_user_rig_plug(rig, 0);
    loss_begin(rig->qts);
    vfio_user_server_hang_up_twin(rig->server);
    check_loss_of_dut(rig, "twin socket: the server closed the connection");
    loss_end(rig);
    vfio_user_rig_end(rig);
}

/* A device without an ID is known, and removed, by its path. */
static void test_loss_anonymous(void)
{
    g_autoptr(VFIOUserServer) server = vfio_user_server_new(NULL, NULL);
    VFIOUserRig rig = {
        .qts = qtest_initf(VFIO_USER_RIG_RAM
                           "-device vfio-user-pci,addr=4,socket=%s",
                           vfio_user_server_path(server)),
    };

    loss_begin(rig.qts);
    vfio_user_server_hang_up(server);
    check_loss(&rig, NULL, ANONYMOUS, "the server closed the connection");
    qtest_qmp_device_del_send(rig.qts, ANONYMOUS);
    qtest_qmp_assert_success(rig.qts, "{'execute': 'system_reset'}");
    vfio_user_rig_wait(&rig, seen.deleted);
    qtest_quit(rig.qts);
}

/* The error of device_add is enough. */
static void test_loss_in_realize(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_GET_REGION_INFO), DO_CUT },
        { }
    };
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     rules);
    g_autofree char *error = NULL;

    loss_begin(rig->qts);
    error = vfio_user_rig_try_plug(rig, 0);
    g_assert_nonnull(strstr(error, "the server closed the connection"));
    vfio_user_rig_ping(rig);
    vfio_user_rig_ping(rig);
    g_assert_cmpuint(seen.losses, ==, 0);
    qtest_qmp_set_event_callback(rig->qts, NULL, NULL);
}

/* An unplug closes the connection, which is no loss. */
static void test_loss_none(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);

    loss_begin(rig->qts);
    loss_unplug(rig);
    vfio_user_server_wait_client(rig->server, false);
    vfio_user_rig_ping(rig);
    g_assert_cmpuint(seen.losses, ==, 0);
    qtest_qmp_set_event_callback(rig->qts, NULL, NULL);
}

/* Removing a lost device */

/* The guest ejects the device; another one takes its place. */
static void check_replaced(const char *args)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(args, 0);

    for (unsigned i = 0; i < 2; i++) {
        vfio_user_server_hang_up(rig->server);
        g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x10), ==,
                        UINT32_MAX);
        vfio_user_rig_unplug(rig);
        vfio_user_rig_plug(rig, 0);
        qpci_io_writel(rig->dev, rig->bar[0], 0x10, i);
        g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x10), ==, i);
    }
}

static void test_loss_replaced(void)
{
    check_replaced(VFIO_USER_RIG_RAM);
}

static void test_loss_replaced_express(void)
{
    check_replaced("-machine q35 -nodefaults -m 64 " VFIO_USER_RIG_Q35_PORT);
}

/* A guest that does not answer: the device stays until the next reset. */
static void check_mute_guest(const char *args)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(args, 0);

    loss_begin(rig->qts);
    vfio_user_server_hang_up(rig->server);
    check_loss_of_dut(rig, "");
    qtest_qmp_device_del_send(rig->qts, "dut");
    vfio_user_rig_ping(rig);
    g_assert_cmpuint(seen.deleted, ==, 0);

    qtest_qmp_assert_success(rig->qts, "{'execute': 'system_reset'}");
    vfio_user_rig_wait(rig, seen.deleted);
    g_assert_cmpuint(seen.losses, ==, 1);
    g_clear_pointer(&rig->dev, g_free);
    g_clear_pointer(&rig->bus, qpci_free_pc);
    qtest_qmp_set_event_callback(rig->qts, NULL, NULL);
}

static void test_loss_mute_guest(void)
{
    check_mute_guest(VFIO_USER_RIG_RAM);
}

static void test_loss_mute_guest_express(void)
{
    check_mute_guest("-machine q35 -nodefaults -m 64 " VFIO_USER_RIG_Q35_PORT);
}

void vfio_user_add_loss_tests(void)
{
    qtest_add_func("/vfio-user/loss/closed", test_loss_closed);
    for (unsigned i = 0; i < ARRAY_SIZE(loss_rows); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/loss/%s",
                                                loss_rows[i].path);

        qtest_add_data_func(path, &loss_rows[i], test_loss_row);
    }
    qtest_add_func("/vfio-user/loss/twin", test_loss_twin);
    qtest_add_func("/vfio-user/loss/anonymous", test_loss_anonymous);
    qtest_add_func("/vfio-user/loss/in-realize", test_loss_in_realize);
    qtest_add_func("/vfio-user/loss/none", test_loss_none);
    qtest_add_func("/vfio-user/loss/replaced", test_loss_replaced);
    qtest_add_func("/vfio-user/loss/replaced-express",
                   test_loss_replaced_express);
    qtest_add_func("/vfio-user/loss/mute-guest", test_loss_mute_guest);
    qtest_add_func("/vfio-user/loss/mute-guest-express",
                   test_loss_mute_guest_express);
}
