/*
 * qtest of the vfio-user client: dirty tracking of device writes
 *
 * Device writes to memory arrive whatever happens to the VM during migration.
 * The tests hold servers so that dirty tracking would start too late, or would
 * cover a replaced map.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include <sys/un.h>

#include "hw/pci/pci.h"
#include "libqos/pci-pc.h"
#include "qobject/qdict.h"
#include "vfio-user-pair.h"
#include "vfio-user-tests.h"
#include "vfio-user-vtd.h"

/* Memory that is sent slowly at first. */
#define AREA (8 * MiB)
#define AREA_SIZE (16 * MiB)

#define WRITTEN 0x600df00d

#define STATE AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0)
#define PAGES(what, ...) \
    ON(VFIO_USER_DIRTY_PAGES, \
       AT_FEATURE(VFIO_IOMMU_DIRTY_PAGES_FLAG_ ## what), __VA_ARGS__)
#define LOGGING(deed, what, ...) \
    ON(VFIO_USER_DEVICE_FEATURE, \
       AT_FEATURE(VFIO_DEVICE_FEATURE_ ## deed | \
                  VFIO_USER_FEATURE_DMA_LOGGING_ ## what), __VA_ARGS__)

/* Held servers must not time out. */
#define PATIENCE "-global vfio-user-pci.x-timeout-ms=60000"

/*
 * Bitmaps of 256 KiB of memory each: QEMU sends 64 requests before it waits
 * for the first reply.
 */
#define FEW 8
#define VERSION "{\"capabilities\":{\"max_msg_fds\":8,\"migration\":" \
                "{\"pgsize\":4096,\"max_bitmap_size\":8}}}"

typedef struct Version {
    const char *name;
    VFIOUserModelMigration1 migration1; /* chunk 0: migration v2 */
    VFIOUserRule hold_start[2]; /* the last is empty */
    VFIOUserRule hold_bits[2];
    VFIOUserWhen stops;         /* the message that stops the device */
} Version;

static const Version versions[] = {
    {
        "1", { 64 * KiB, 4 * KiB, .max_bitmap = FEW },
        { { PAGES(START), DO_HOLD } },
        { { PAGES(GET_BITMAP, .nth = 1), DO_HOLD } },
        ON(VFIO_USER_REGION_WRITE, STATE),
    }, {
        "2", { },
        { { LOGGING(SET, START), DO_HOLD } },
        { { LOGGING(GET, REPORT, .nth = 1), DO_HOLD } },
        ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_STOP)),
    },
};

static VFIOUserModel record_model_of(const Version *g)
{
    VFIOUserModel model = vfio_user_model;

    if (g->migration1.chunk) {
        model = vfio_user_model_migration1(&g->migration1);
    } else {
        model.migration = (VFIOUserMigrationModel) {
            .flags = VFIO_USER_MODEL_STOP_COPY | VFIO_USER_MODEL_PRE_COPY,
            .filling = 13001,
            .pre_copy = 10000,
            .record = { 4 * KiB, FEW },
        };
    }
    model.version = VERSION;
    return model;
}

static void send_cmd(VFIOUserPair *pair, VFIOUserSide side, const char *command)
{
    qtest_qmp_assert_success(pair->qts[side], "{'execute': %s}", command);
}

static void write_value_at(VFIOUserServer *server, uint64_t address)
{
    const uint32_t value = WRITTEN;

    g_assert_true(vfio_user_server_write(server, address, &value,
                                         sizeof(value)));
}

/* Fills memory that takes long to send */
static void record_fill(VFIOUserPair *pair)
{
    qtest_memset(pair->qts[VFIO_USER_SOURCE], AREA, 0x5a, AREA_SIZE);
    vfio_user_pair_set(pair, "max-bandwidth", MiB);
    vfio_user_pair_set(pair, "downtime-limit", 0);
}

static void record_finish(VFIOUserPair *pair, uint64_t address)
{
    vfio_user_pair_set(pair, "max-bandwidth", 4 * GiB);
    vfio_user_pair_set(pair, "downtime-limit", 2000);
    vfio_user_pair_wait(pair, "completed");
    vfio_user_pair_wait_loaded(pair);
    g_assert_cmphex(qtest_readl(pair->qts[VFIO_USER_DESTINATION], address),
                    ==, WRITTEN);
    vfio_user_pair_free(pair);
}

/* Two devices */

#define OTHER 5                 /* slot of the second device */

static char *other_args(VFIOUserServer *server)
{
    return g_strdup_printf(PATIENCE " -device vfio-user-pci,id=other,addr=%u,"
                           "socket=%s", OTHER, vfio_user_server_path(server));
}

static void enable_other(QTestState *qts)
{
    QPCIBus *bus = qpci_new_pc(qts, NULL);

    bus->config_writew(bus, QPCI_DEVFN(OTHER, 0), PCI_COMMAND,
                       PCI_COMMAND_MASTER);
    qpci_free_pc(bus);
}

/* @other: servers of the second device, by side */
static VFIOUserPair *new_two(const VFIOUserModel *model,
                             VFIOUserServer *other[2])
{
    g_autofree char *args = NULL;
    VFIOUserPair *pair;

    for (unsigned i = 0; i < 2; i++) {
        other[i] = vfio_user_server_new(model, NULL);
    }
    args = other_args(other[VFIO_USER_SOURCE]);
    pair = vfio_user_pair_new_with(args, model, NULL);
    enable_other(pair->qts[VFIO_USER_SOURCE]);
    g_free(pair->args);
    pair->args = other_args(other[VFIO_USER_DESTINATION]);
    vfio_user_pair_add(pair, model, pair->uri);
    return pair;
}

/* Stops the VM while QEMU waits for @other's server, which is held. */
static void stop_before_tracking(VFIOUserPair *pair, VFIOUserServer *other,
                                 const Version *g)
{
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];
    QDict *response;

    vfio_user_server_wait(other, g->hold_start[0].when);
    vfio_user_server_forget(server);
    qtest_qmp_send(qts, "{'execute': 'stop'}");
    vfio_user_server_wait(server, g->stops);
    g_assert_cmpuint(vfio_user_server_count(server, g->hold_start[0].when),
                     ==, 0);
    vfio_user_server_release(other);
    response = qtest_qmp_receive(qts);
    g_assert_true(qdict_haskey(response, "return"));
    qobject_unref(response);
}

/*
 * The VM is stopped while one device starts dirty tracking: the other device
 * must start it when the VM continues.
 */
static void test_stop_cont(const void *opaque)
{
    const Version *g = opaque;
    VFIOUserModel model = record_model_of(g);
    VFIOUserServer *other[2];
    VFIOUserPair *pair = new_two(&model, other);

    record_fill(pair);
    vfio_user_server_set_rules(other[VFIO_USER_SOURCE], g->hold_start);
    vfio_user_pair_start(pair);
    stop_before_tracking(pair, other[VFIO_USER_SOURCE], g);
    vfio_user_pair_wait_sent(pair, MiB);
    send_cmd(pair, VFIO_USER_SOURCE, "cont");
    vfio_user_pair_wait_sent(pair, 2 * MiB);
    write_value_at(pair->server[VFIO_USER_SOURCE], AREA);
    record_finish(pair, AREA);
    for (unsigned i = 0; i < 2; i++) {
        vfio_user_server_free(other[i]);
    }
}

/*
 * QEMU tracks dirty pages already when the device is added, and does not start
 * that again for the migration.
 */
static void test_plugged(const void *opaque)
{
    const Version *g = opaque;
    VFIOUserModel model = record_model_of(g);
    VFIOUserPair *pair = vfio_user_pair_new_with(PATIENCE, &model, NULL);
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];
    VFIOUserServer *other[2];

    for (unsigned i = 0; i < 2; i++) {
        other[i] = vfio_user_server_new(&model, NULL);
    }
    qtest_qmp_assert_success(qts, "{'execute': 'calc-dirty-rate', 'arguments':"
                             " {'calc-time': 60, 'mode': 'dirty-bitmap'}}");
    qtest_qmp_device_add(qts, "vfio-user-pci", "other", "{'addr': %s,"
                         " 'socket': %s}", stringify(OTHER),
                         vfio_user_server_path(other[VFIO_USER_SOURCE]));
    enable_other(qts);
    g_free(pair->args);
    pair->args = other_args(other[VFIO_USER_DESTINATION]);
    vfio_user_pair_add(pair, &model, pair->uri);
    record_fill(pair);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait_sent(pair, MiB);
    write_value_at(other[VFIO_USER_SOURCE], AREA);
    record_finish(pair, AREA);
    for (unsigned i = 0; i < 2; i++) {
        vfio_user_server_free(other[i]);
    }
}

/* A map that is replaced */

#define ARGS "-machine q35 -device intel-iommu,caching-mode=on " PATIENCE
#define SLOT 4

/* An address that is requested late, after many others. */
#define MOVED (IOVA + (LAST_LEVELS - 1) * HUGE_PAGE)
#define BEFORE (4 * MiB)
#define AFTER (5 * MiB)

static void map_moved(QTestState *qts, uint64_t to)
{
    vtd_set(qts, MOVED, to, READ | WRITE);
    vtd_invalidate_pages(qts, MOVED, 0);
}

static void record_map_all(QTestState *qts)
{
    vtd_init(qts, 0, SLOT << 3);
    for (unsigned i = 0; i < LAST_LEVELS - 1; i++) {
        vtd_set_huge(qts, IOVA + i * HUGE_PAGE, AREA, READ | WRITE);
    }
    vtd_set(qts, MOVED, BEFORE, READ | WRITE);
    vtd_command(qts, GCMD_TRANSLATE);
}

/* Replaces the map while QEMU waits for the bits of another one. */
static void test_map_replaced(const void *opaque)
{
    const Version *g = opaque;
    VFIOUserModel model = record_model_of(g);
    VFIOUserPair *pair = vfio_user_pair_new_with(ARGS, &model, &model);
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];
    VFIOUserWhen ahead = g->hold_bits[0].when;

    record_map_all(qts);
    record_fill(pair);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait_sent(pair, MiB);
    vfio_user_server_set_rules(server, g->hold_bits);
    vfio_user_server_forget(server);
    vfio_user_pair_set(pair, "max-bandwidth", 4 * GiB);
    ahead.nth = 64;
    vfio_user_server_wait(server, ahead);
    map_moved(qts, AFTER);
    write_value_at(server, MOVED);
    vfio_user_server_release(server);
    record_finish(pair, AFTER);
}

/* A paused VM */

/*
 * With migration v1, the device runs on its way to a saving state, and may
 * finish there what it has started.
 */
static void migrate_paused(VFIOUserPair *pair, const VFIOUserRule *rules)
{
    send_cmd(pair, VFIO_USER_SOURCE, "stop");
    vfio_user_server_set_rules(pair->server[VFIO_USER_SOURCE], rules);
    vfio_user_server_forget(pair->server[VFIO_USER_SOURCE]);
    vfio_user_pair_start(pair);
}

static void test_paused(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_REGION_WRITE, STATE, .nth = 1), DO_HOLD }, { }
    };
    VFIOUserModel model = record_model_of(&versions[0]);
    VFIOUserPair *pair = vfio_user_pair_new(true, &model, &model);
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];

    migrate_paused(pair, rules);
    vfio_user_server_wait(server, rules[0].when);
    write_value_at(server, AREA);
    vfio_user_server_release(server);
    record_finish(pair, AREA);
}

/* The same with DMA_WRITE, sent before the server replies that it runs. */
static void test_paused_by_message(void)
{
    static const struct QEMU_PACKED {
        VFIOUserDMARW where;
        uint32_t value;
    } write = { { AREA, sizeof(write.value) }, WRITTEN };
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_REGION_WRITE, STATE, .nth = 1), DO_ASK_ALSO,
          VFIO_USER_DMA_WRITE, { &write, sizeof(write) } },
        { }
    };
    VFIOUserModel model = record_model_of(&versions[0]);
    VFIOUserPair *pair = vfio_user_pair_new(false, &model, &model);

    migrate_paused(pair, rules);
    record_finish(pair, AREA);
}

/* The setup may find the migration cancelled, and must not wait either. */

/* Listens but never reads */
static int listen_at(VFIOUserPair *pair)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_strlcpy(address.sun_path, pair->uri + strlen("unix:"),
              sizeof(address.sun_path));
    g_assert_cmpint(bind(fd, (void *)&address, sizeof(address)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    return fd;
}

static void test_cancel(const void *opaque)
{
    const Version *g = opaque;
    VFIOUserModel model = record_model_of(g);
    VFIOUserPair *pair = vfio_user_pair_new(true, &model, NULL);
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];
    int fd = listen_at(pair);

    vfio_user_server_set_rules(server, g->hold_start);
    qtest_qmp_send(qts, "{'execute': 'migrate', 'arguments':"
                   " {'uri': %s}}", pair->uri);
    qtest_qmp_send(qts, "{'execute': 'migrate_cancel'}");
    for (unsigned i = 0; i < 2; i++) {
        QDict *response = qtest_qmp_receive(qts);

        g_assert_true(qdict_haskey(response, "return"));
        qobject_unref(response);
    }
    vfio_user_pair_wait(pair, "cancelled");
    vfio_user_server_set_rules(server, NULL);
    vfio_user_server_release(server);
    vfio_user_pair_check_status(pair, VFIO_USER_SOURCE, "running");
    g_assert_true(vfio_user_server_runs(server));
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE,
                                         "connection lost"), ==, 0);
    close(fd);
    vfio_user_pair_free(pair);
}

static void add(const Version *g, const char *name,
                void (*test)(const void *opaque))
{
    g_autofree char *path = g_strdup_printf("/vfio-user/migration-record/%s/%s",
                                            g->name, name);

    qtest_add_data_func(path, g, test);
}

void vfio_user_add_migration_record_tests(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(versions); i++) {
        add(&versions[i], "stop-cont", test_stop_cont);
        add(&versions[i], "map-replaced", test_map_replaced);
        add(&versions[i], "cancel-at-once", test_cancel);
    }
    add(&versions[0], "plugged", test_plugged);
    qtest_add_func("/vfio-user/migration-record/1/paused", test_paused);
    qtest_add_func("/vfio-user/migration-record/1/paused-by-message",
                   test_paused_by_message);
}
