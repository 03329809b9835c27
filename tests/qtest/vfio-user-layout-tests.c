/*
 * qtest of the vfio-user client: memory changes while a device is stopped
 *
 * A server accepts no DMA maps while migration has its device stopped, which
 * it is whenever the VM is paused; libvfio-user replies with an error.  QEMU
 * sends them when the device runs again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qobject/qdict.h"
#include "vfio-user-pair.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define DIMM 0x100000000ull     /* address chosen by the machine */
#define DIMM_SIZE (128 * MiB)
#define VALUE 0x0123456789abcdefull

/* Registers of the machine's memory hotplug */
#define SLOT_SELECT 0xa00
#define SLOT_CONTROL 0xa14
#define SLOT_EJECT 8

static const VFIOUserModelMigration1 migration1 = { 64 * KiB, 4 * KiB };

static VFIOUserModel layout_model_of(const void *v2)
{
    VFIOUserModel model = v2 ? vfio_user_model :
                          vfio_user_model_migration1(&migration1);

    if (v2) {
        model.migration = (VFIOUserMigrationModel) {
            .flags = VFIO_USER_MODEL_STOP_COPY | VFIO_USER_MODEL_PRE_COPY,
            .record = { 4 * KiB },
        };
    }
    model.personality = vfio_user_rig_model()->personality;
    return model;
}

static void layout_command(QTestState *qts, const char *name)
{
    qtest_qmp_assert_success(qts, "{'execute': %s}", name);
}

static void layout_plug_memory(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments': {"
                             "'qom-type': 'memory-backend-memfd', 'id': 'm',"
                             "'size': %ld, 'share': true}}", DIMM_SIZE);
    qtest_qmp_assert_success(qts, "{'execute': 'device_add', 'arguments': {"
                             "'driver': 'pc-dimm', 'id': 'd',"
                             "'memdev': 'm'}}");
}

static void layout_unplug_memory(QTestState *qts)
{
    qtest_qmp_device_del_send(qts, "d");
    qtest_outl(qts, SLOT_SELECT, 0);
    qtest_outb(qts, SLOT_CONTROL, SLOT_EJECT);
    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
    qtest_qmp_assert_success(qts, "{'execute': 'object-del', 'arguments': {"
                             "'id': 'm'}}");
}

/* Checks that the guest reads what the server wrote to the memory. */
static void check_shared(VFIOUserServer *server, QTestState *qts)
{
    const uint64_t value = VALUE;

    g_assert_true(vfio_user_server_write(server, DIMM + 4096, &value, 8));
    g_assert_cmphex(qtest_readq(qts, DIMM + 4096), ==, VALUE);
}

static void layout_check_alive(VFIOUserPair *pair, VFIOUserSide side)
{
    g_assert_cmpuint(vfio_user_pair_said(pair, side, "connection lost"), ==,
                     0);
}

static void test_paused(const void *v2)
{
    VFIOUserModel model = layout_model_of(v2);
    g_autoptr(VFIOUserPair) pair =
        vfio_user_pair_new_with("-m 64,slots=2,maxmem=1G", &model, NULL);
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];
    unsigned maps = vfio_user_server_maps(server);
    VFIOUserMap map;

    layout_command(qts, "stop");
    vfio_user_server_forget(server);
    layout_plug_memory(qts);
    g_assert_cmpuint(vfio_user_server_saw(server, VFIO_USER_DMA_MAP), ==, 0);
    layout_command(qts, "cont");
    layout_check_alive(pair, VFIO_USER_SOURCE);
    g_assert_true(vfio_user_server_map(server, DIMM, &map));
    g_assert_cmphex(map.size, ==, DIMM_SIZE);
    check_shared(server, qts);

    /*
     * memory that is unplugged and plugged while stopped is sent only as the
     * final unmap
     */
    layout_command(qts, "stop");
    vfio_user_server_forget(server);
    layout_unplug_memory(qts);
    layout_plug_memory(qts);
    layout_unplug_memory(qts);
    g_assert_cmpuint(vfio_user_server_maps(server), >, maps);
    layout_command(qts, "cont");
    layout_check_alive(pair, VFIO_USER_SOURCE);
    g_assert_cmpuint(vfio_user_server_maps(server), ==, maps);
    g_assert_cmpuint(vfio_user_server_saw(server, VFIO_USER_DMA_MAP), ==, 0);
    g_assert_cmpuint(vfio_user_server_saw(server, VFIO_USER_DMA_UNMAP), ==, 1);
}

/*
 * Migrates a paused VM after memory was plugged, and then continues it at the
 * source.
 */
static void test_migrated(const void *v2)
{
    VFIOUserModel model = layout_model_of(v2);
    g_autoptr(VFIOUserPair) pair =
        vfio_user_pair_new_with("-m 64,slots=2,maxmem=1G", &model, NULL);
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];

    g_free(pair->uri);
    pair->uri = g_strdup("exec:cat >/dev/null");
    layout_command(qts, "stop");
    layout_plug_memory(qts);
    qtest_writeq(qts, DIMM, VALUE);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "completed");
    layout_check_alive(pair, VFIO_USER_SOURCE);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE,
                                         "does not track"), ==, 0);
    layout_command(qts, "cont");
    layout_check_alive(pair, VFIO_USER_SOURCE);
    check_shared(server, qts);

    /* unplug memory after another migration */
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "completed");
    layout_unplug_memory(qts);
    layout_command(qts, "cont");
    layout_check_alive(pair, VFIO_USER_SOURCE);
    g_assert_true(vfio_user_server_runs(server));
}

/* If the server then fails a map, the device dies and the VM keeps running. */
static void test_fault(const void *data)
{
    const VFIOUserRule rules[] = { *(const VFIOUserRule *)data, { } };
    VFIOUserModel model = layout_model_of(rules);
    g_autoptr(VFIOUserPair) pair =
        vfio_user_pair_new_with("-m 64,slots=2,maxmem=1G", &model, NULL);
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];

    vfio_user_server_set_rules(pair->server[VFIO_USER_SOURCE], rules);
    layout_command(qts, "stop");
    layout_plug_memory(qts);
    layout_check_alive(pair, VFIO_USER_SOURCE);
    layout_command(qts, "cont");
    vfio_user_pair_check_status(pair, VFIO_USER_SOURCE, "running");
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE,
                                         "connection lost: DMA_MAP"), ==, 1);
    qtest_writeq(qts, DIMM, VALUE);
    g_assert_cmphex(qtest_readq(qts, DIMM), ==, VALUE);
    layout_command(qts, "stop");
    layout_unplug_memory(qts);
    layout_command(qts, "cont");
}

static const VFIOUserRule faults[] = {
    { ON(VFIO_USER_DMA_MAP), DO_FAIL, EINVAL },
    { ON(VFIO_USER_DMA_MAP), DO_DROP },
};

/*
 * Resets remove and add ranges of the chipset any number of times.  The device
 * is only reset once, before the VM runs.
 */
static void test_reset(const void *v2)
{
    VFIOUserModel model = layout_model_of(v2);
    g_autoptr(VFIOUserPair) pair =
        vfio_user_pair_new_with("-m 64,slots=2,maxmem=1G", &model, NULL);
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];
    unsigned maps = vfio_user_server_maps(server);
    int fd;

    layout_command(qts, "stop");
    layout_plug_memory(qts);
    vfio_user_server_forget(server);
    for (unsigned i = 0; i < 20; i++) {
        layout_command(qts, "system_reset");
        qtest_qmp_eventwait(qts, "RESET");
    }
    layout_command(qts, "cont");
    layout_check_alive(pair, VFIO_USER_SOURCE);
    check_shared(server, qts);
    g_assert_cmpuint(vfio_user_server_maps(server), ==, maps + 1);
    g_assert_cmpuint(vfio_user_server_saw(server, VFIO_USER_DEVICE_RESET), ==,
                     1);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE, "failed"),
                     ==, 0);
    fd = vfio_user_server_eventfd(server, VFIO_PCI_INTX_IRQ_INDEX, 0);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
}

/* Adds a test for migration v1 and one for v2. */
static void add(const char *name, void (*test)(const void *))
{
    static const bool v2 = true;
    g_autofree char *path = g_strdup_printf("/vfio-user/layout/%s", name);
    g_autofree char *path2 = g_strdup_printf("%s-second", path);

    vfio_user_rig_add_data(path, NULL, test, VFIO_USER_NEEDS_MAPS |
                                             VFIO_USER_NEEDS_MIGRATION1);
    vfio_user_rig_add_data(path2, &v2, test, VFIO_USER_NEEDS_MAPS |
                                                 VFIO_USER_NEEDS_MIGRATION2);
}

void vfio_user_add_layout_tests(void)
{
    add("paused", test_paused);
    add("migrated", test_migrated);
    add("reset", test_reset);
    vfio_user_rig_add_data("/vfio-user/layout/refused", &faults[0], test_fault,
                           VFIO_USER_NEEDS_MIGRATION2);
    vfio_user_rig_add_data("/vfio-user/layout/never-answered", &faults[1],
                           test_fault, VFIO_USER_NEEDS_MIGRATION2);
}
