/*
 * qtest of the vfio-user client: what the monitor shows of devices
 *
 * x-query-vfio-user, "info vfio-user", the read-only properties, and "info
 * qtree".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define TIMEOUT_MS 600
#define DUT "/machine/peripheral/dut"

static const char *const query_properties[] = {
    "state", "reason", "migration-version", "capabilities", "counters",
};

/* The query */

static QList *query(QTestState *qts)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'x-query-vfio-user'}");
    QList *list = qdict_get_qlist(response, "return");

    qobject_ref(list);
    qobject_unref(response);
    return list;
}

/* Returns what the query says of a device; NULL if it does not mention it. */
static QDict *query_device(QTestState *qts, const char *path)
{
    QList *list = query(qts);
    QDict *found = NULL;
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(list, entry) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(info, "qom-path"), path)) {
            g_assert_null(found);
            found = info;
            qobject_ref(found);
        }
    }
    qobject_unref(list);
    return found;
}

static size_t query_size(QTestState *qts)
{
    QList *list = query(qts);
    size_t n = qlist_size(list);

    qobject_unref(list);
    return n;
}

static int64_t query_counter(QTestState *qts, const char *path,
                             const char *name)
{
    QDict *info = query_device(qts, path);
    int64_t value = qdict_get_int(qdict_get_qdict(info, "counters"), name);

    qobject_unref(info);
    return value;
}

/* Whether the state is @state, with a reason that contains @reason, or none */
static bool is_in_state(QTestState *qts, const char *path, const char *state,
                        const char *reason)
{
    QDict *info = query_device(qts, path);
    const char *why = qdict_get_try_str(info, "reason");
    bool is = g_str_equal(qdict_get_str(info, "state"), state) &&
              (reason ? why && strstr(why, reason) : !why);

    qobject_unref(info);
    return is;
}

static void check_info(QTestState *qts, const char *text)
{
    g_autofree char *info = qtest_hmp(qts, "info vfio-user");

    g_test_message("%s", info);
    g_assert_nonnull(strstr(info, text));
}

static void test_query_none(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     NULL);

    g_assert_cmpuint(query_size(rig->qts), ==, 0);
    check_info(rig->qts, "No vfio-user devices");
}

/* A device that could not be realized is not shown. */
static void test_query_refused(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_GET_REGION_INFO), DO_CUT },
        { }
    };
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     rules);
    g_autofree char *error = vfio_user_rig_try_plug(rig, 0);

    g_assert_nonnull(error);
    g_assert_cmpuint(query_size(rig->qts), ==, 0);
}

static void check_capabilities(QDict *c)
{
    g_assert_cmpstr(qdict_get_str(c, "version"), ==, "0.1");
    g_assert_cmpint(qdict_get_int(c, "max-msg-fds"), ==, 5);
    g_assert_cmpint(qdict_get_int(c, "max-data-xfer-size"), ==, 65536);
    g_assert_cmpint(qdict_get_int(c, "max-dma-maps"), ==, 77);
    g_assert_cmpint(qdict_get_int(c, "pgsizes"), ==, 4096);
    g_assert_true(qdict_get_bool(c, "write-multiple"));
    g_assert_false(qdict_get_bool(c, "twin-socket"));
    g_assert_cmpint(qdict_get_int(c, "migration-pgsize"), ==, 4096);
    g_assert_cmpint(qdict_get_int(c, "max-bitmap-size"), ==, 1000);
}

static void test_query_one(void)
{
    VFIOUserModel model = vfio_user_model;
    const char *path;
    VFIOUserRig *rig;
    QDict *info;

    model.version = "{\"capabilities\":{\"max_msg_fds\":5,"
                    "\"max_data_xfer_size\":65536,\"max_dma_maps\":77,"
                    "\"write_multiple\":true,\"migration\":"
                    "{\"pgsize\":4096,\"max_bitmap_size\":1000}}}";
    rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, &model, NULL);
    path = vfio_user_server_path(rig->server);
    vfio_user_rig_plug(rig, 0);
    g_assert_cmpuint(query_size(rig->qts), ==, 1);
    info = query_device(rig->qts, DUT);
    g_assert_cmpstr(qdict_get_str(info, "id"), ==, "dut");
    g_assert_cmpstr(qdict_get_str(info, "socket"), ==, path);
    g_assert_cmpstr(qdict_get_str(info, "state"), ==, "up");
    g_assert_false(qdict_haskey(info, "reason"));
    g_assert_cmpint(qdict_get_int(info, "migration-version"), ==, 0);
    check_capabilities(qdict_get_qdict(info, "capabilities"));
    qobject_unref(info);
    check_info(rig->qts, "dev: " DUT ", id \"dut\"\r\n");
    check_info(rig->qts, path);
    check_info(rig->qts, "\r\n  state: up\r\n");
    check_info(rig->qts, "\r\n  max-dma-maps: 77\r\n");
    vfio_user_rig_unplug(rig);
    g_assert_cmpuint(query_size(rig->qts), ==, 0);
    vfio_user_rig_end(rig);
}

/* Each device has its own state. */
static void test_query_two(void)
{
    static const char *const paths[] = {
        "/machine/peripheral/a", "/machine/peripheral-anon/device[0]",
    };
    g_autoptr(VFIOUserServer) a = vfio_user_server_new(NULL, NULL);
    g_autoptr(VFIOUserServer) b = vfio_user_server_new(NULL, NULL);
    QTestState *qts = qtest_initf(
        VFIO_USER_RIG_RAM "-device vfio-user-pci,id=a,addr=4,socket=%s"
        " -device vfio-user-pci,addr=5,socket=%s", vfio_user_server_path(a),
        vfio_user_server_path(b));
    QDict *info;

    g_assert_cmpuint(query_size(qts), ==, 2);
    g_assert_true(is_in_state(qts, paths[0], "up", NULL));
    g_assert_true(is_in_state(qts, paths[1], "up", NULL));
    info = query_device(qts, paths[1]);
    g_assert_false(qdict_haskey(info, "id"));
    g_assert_cmpstr(qdict_get_str(info, "socket"), ==,
                    vfio_user_server_path(b));
    qobject_unref(info);

    vfio_user_server_hang_up(b);
    qtest_qmp_eventwait(qts, "VFIO_USER_DISCONNECTED");
    g_assert_cmpuint(query_size(qts), ==, 2);
    g_assert_true(is_in_state(qts, paths[0], "up", NULL));
    g_assert_true(is_in_state(qts, paths[1], "lost",
                              "the server closed the connection"));
    g_assert_cmpint(query_counter(qts, paths[0], "losses"), ==, 0);
    g_assert_cmpint(query_counter(qts, paths[1], "losses"), ==, 1);
    check_info(qts, "\r\n  state: up\r\n");
    check_info(qts, "\r\n  state: lost: the server closed the connection\r\n");
    qtest_quit(qts);
}

static void check_version(const VFIOUserModel *model, int64_t version,
                          const char *text)
{
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_vm_run(&model, 1, 0);
    QDict *info = query_device(vm->qts, "/machine/peripheral/dut0");

    g_assert_cmpint(qdict_get_int(info, "migration-version"), ==, version);
    qobject_unref(info);
    check_info(vm->qts, text);
}

static void test_query_migration_version(void)
{
    check_version(&vfio_user_model, 0, "\r\n  migration: not supported\r\n");
    check_version(vfio_user_mig_region, 1, "\r\n  migration: v1\r\n");
    check_version(vfio_user_mig_pre_copy, 2, "\r\n  migration: v2\r\n");
}

/* The counters */

static void test_query_counters(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    const size_t message = sizeof(VFIOUserHeader) + sizeof(VFIOUserRegionRW);
    uint64_t value = 0;
    QDict *before = query_device(rig->qts, DUT);
    QDict *was = qdict_get_qdict(before, "counters");
    QDict *after, *is;

#define GREW(name) (qdict_get_int(is, name) - qdict_get_int(was, name))
    /* first, since what is sent is counted after the server has got it */
    g_assert_cmpint(vfio_user_server_dma_read(rig->server, 0x200000, &value,
                                              sizeof(value)), ==, 0);
    qpci_io_writel(rig->dev, rig->bar[0], 0x10, 1);
    qpci_io_readl(rig->dev, rig->bar[0], 0x10);
    qpci_io_readl(rig->dev, rig->bar[0], 0x10);
    after = query_device(rig->qts, DUT);
    is = qdict_get_qdict(after, "counters");
    g_assert_cmpint(GREW("calls"), ==, 2);
    g_assert_cmpint(GREW("posts"), ==, 1);
    g_assert_cmpint(GREW("requests"), ==, 1);
    g_assert_cmpint(GREW("bytes-sent"), ==,
                    3 * message + 4 + sizeof(VFIOUserHeader) +
                    sizeof(VFIOUserDMARW) + sizeof(value));
    g_assert_cmpint(GREW("bytes-received"), ==,
                    2 * (message + 4) + sizeof(VFIOUserHeader) +
                    sizeof(VFIOUserDMARW));
    g_assert_cmpint(qdict_get_int(is, "timeouts"), ==, 0);
    g_assert_cmpint(qdict_get_int(is, "losses"), ==, 0);
#undef GREW
    qobject_unref(before);
    qobject_unref(after);
}

static void test_query_timeouts(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_REGION_READ), DO_DROP },
        { }
    };
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM,
                                                       TIMEOUT_MS);

    vfio_user_server_set_rules(rig->server, rules);
    qpci_io_readl(rig->dev, rig->bar[0], 0x10);
    qtest_qmp_eventwait(rig->qts, "VFIO_USER_DISCONNECTED");
    g_assert_cmpint(query_counter(rig->qts, DUT, "timeouts"), ==, 1);
    g_assert_cmpint(query_counter(rig->qts, DUT, "losses"), ==, 1);
}

/* Properties */

static QObject *get_property(QTestState *qts, const char *name)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'qom-get', 'arguments':"
                                " {'path': '" DUT "', 'property': %s}}", name);
    QObject *value = qdict_get(response, "return");

    g_assert_nonnull(value);
    qobject_ref(value);
    qobject_unref(response);
    return value;
}

/* Whether the property is the member of the query's reply, or empty */
static bool is_member(QTestState *qts, const char *name)
{
    QDict *info = query_device(qts, DUT);
    QObject *value = get_property(qts, name);
    QString *none = qstring_from_str("");
    bool is = qobject_is_equal(value, qdict_get(info, name) ?: QOBJECT(none));

    qobject_unref(none);
    qobject_unref(value);
    qobject_unref(info);
    return is;
}

/* The receive thread may wake up, and count that, between the two. */
static void check_properties(VFIOUserRig *rig)
{
    for (size_t i = 0; i < ARRAY_SIZE(query_properties); i++) {
        vfio_user_rig_wait(rig, is_member(rig->qts, query_properties[i]));
    }
}

static void test_query_properties(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);

    check_properties(rig);
    vfio_user_server_hang_up(rig->server);
    qtest_qmp_eventwait(rig->qts, "VFIO_USER_DISCONNECTED");
    check_properties(rig);
}

static void check_fails(QDict *error, const char *text)
{
    const char *desc = qdict_get_str(error, "desc");

    g_test_message("%s", desc);
    g_assert_nonnull(strstr(desc, text));
    qobject_unref(error);
}

/* They can be neither set nor given on the command line. */
static void test_query_properties_fixed(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    g_autofree char *line = g_strdup_printf("%s -device vfio-user-pci,help",
                                            getenv("QTEST_QEMU_BINARY"));
    g_autofree char *help = NULL;

    g_assert_true(g_spawn_command_line_sync(line, &help, NULL, NULL, NULL));
    for (size_t i = 0; i < ARRAY_SIZE(query_properties); i++) {
        const char *name = query_properties[i];
        g_autofree char *option = g_strdup_printf("\n  %s=", name);
        g_autofree char *json =
            g_strdup_printf("{'execute': 'device_add', 'arguments':"
                            " {'driver': 'vfio-user-pci', 'addr': '5',"
                            " 'socket': %%s, '%s': 'up'}}", name);

        check_fails(qtest_qmp_assert_failure_ref(rig->qts,
            "{'execute': 'qom-set', 'arguments': {'path': '" DUT "',"
            " 'property': %s, 'value': 'up'}}", name), "not writable");
        check_fails(qtest_qmp_assert_failure_ref(rig->qts, json,
            vfio_user_server_path(rig->server)), "not found");
        g_assert_null(strstr(help, option));
    }
}

/* As other properties that users set */
static void test_query_qtree(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    g_autofree char *line =
        g_strdup_printf(" socket = \"%s\"",
                        vfio_user_server_path(rig->server));
    g_autofree char *tree = qtest_hmp(rig->qts, "info qtree");

    g_assert_nonnull(strstr(tree, line));
    check_fails(qtest_qmp_assert_failure_ref(rig->qts,
        "{'execute': 'qom-set', 'arguments': {'path': '" DUT "',"
        " 'property': 'socket', 'value': '/nowhere'}}"),
        "after it was realized");
}

void vfio_user_add_query_tests(void)
{
    qtest_add_func("/vfio-user/query/none", test_query_none);
    qtest_add_func("/vfio-user/query/refused", test_query_refused);
    qtest_add_func("/vfio-user/query/one", test_query_one);
    qtest_add_func("/vfio-user/query/two", test_query_two);
    qtest_add_func("/vfio-user/query/migration-version",
                   test_query_migration_version);
    qtest_add_func("/vfio-user/query/counters", test_query_counters);
    qtest_add_func("/vfio-user/query/timeouts", test_query_timeouts);
    qtest_add_func("/vfio-user/query/properties", test_query_properties);
    qtest_add_func("/vfio-user/query/properties-fixed",
                   test_query_properties_fixed);
    qtest_add_func("/vfio-user/query/qtree", test_query_qtree);
}
