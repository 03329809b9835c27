/*
 * qtest of the vfio-user client: a device that runs while it is saved
 *
 * The VM is stopped and continued, or the guest is reset or woken, during a
 * migration.  With migration v1, a server may track dirty pages only while its
 * device is saving.  Device writes in between must arrive nevertheless.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>

#include "hw/pci/pci.h"
#include "libqos/pci-pc.h"
#include "qobject/qdict.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-pair.h"
#include "vfio-user-sleep.h"
#include "vfio-user-tests.h"

/* Memory that is sent slowly at first. */
#define AREA (8 * MiB)
#define AREA_SIZE (16 * MiB)
#define SENT MiB

#define WRITTEN 0x600df00d

#define STATE AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0)

static const VFIOUserModelMigration1 migration1 = {
    64 * KiB, 4 * KiB, .records_saving = true
};

#define MIGRATION_V2                                                   \
    .flags = VFIO_USER_MODEL_STOP_COPY | VFIO_USER_MODEL_PRE_COPY,     \
    .filling = 13001,                                                  \
    .pre_copy = 10000

static const VFIOUserMigrationModel migration2 = {
    MIGRATION_V2, .record = { 4 * KiB },
};

static const VFIOUserMigrationModel untracked = { MIGRATION_V2 };

/* A command that makes the device run; the server's reply is held. */
typedef struct Order {
    const char *command;
    VFIOUserRule rules[2];      /* the last is empty */
} Order;

static const Order cont1 = {
    "cont", { { ON(VFIO_USER_REGION_WRITE, STATE, .nth = 1), DO_HOLD } }
};

static const Order cont2 = {
    "cont", { { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_RUNNING),
                   .nth = 1), DO_HOLD } }
};

static const Order reset = {
    "system_reset", { { ON(VFIO_USER_DEVICE_RESET, .nth = 1), DO_HOLD } }
};

static const Order wakeup = {
    "system_wakeup", { { ON(VFIO_USER_DEVICE_RESET, .nth = 1), DO_HOLD } }
};

typedef struct Server {
    const char *name;
    const VFIOUserMigrationModel *v2;           /* NULL: migration v1 */
    const Order *cont;
} Server;

static const Server servers[] = {
    { "1", NULL, &cont1 },
    { "2", &migration2, &cont2 },
    { "2-unrecorded", &untracked, &cont2 },
};

static const VFIOUserModel *window_model_of(const Server *s)
{
    static VFIOUserModel model;

    model = vfio_user_model;
    if (s->v2) {
        model.migration = *s->v2;
    } else {
        model = vfio_user_model_migration1(&migration1);
    }
    return &model;
}

static VFIOUserPair *window_new_pair(const Server *s)
{
    return vfio_user_pair_new(true, window_model_of(s), window_model_of(s));
}

/* Migrates until some of the memory was sent. */
static void window_start_slowly(VFIOUserPair *pair)
{
    qtest_memset(pair->qts[VFIO_USER_SOURCE], AREA, 0x5a, AREA_SIZE);
    vfio_user_pair_set(pair, "max-bandwidth", MiB);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait_sent(pair, SENT);
}

static VFIOUserPair *window_begin(const Server *s, bool paused)
{
    VFIOUserPair *pair = window_new_pair(s);

    if (paused) {
        qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                                 "{'execute': 'stop'}");
    }
    window_start_slowly(pair);
    return pair;
}

static void write_to(VFIOUserPair *pair, uint64_t address)
{
    const uint32_t value = WRITTEN;

    g_assert_true(vfio_user_server_write(pair->server[VFIO_USER_SOURCE],
                                         address, &value, sizeof(value)));
}

static void hold_order(VFIOUserPair *pair, const Order *order)
{
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];

    vfio_user_server_set_rules(server, order->rules);
    vfio_user_server_forget(server);
}

/*
 * Waits for the held message, lets the device write to @address, and releases
 * it.
 */
static void write_held(VFIOUserPair *pair, const Order *order, uint64_t address)
{
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];

    vfio_user_server_wait(server, order->rules[0].when);
    write_to(pair, address);
    vfio_user_server_release(server);
}

static void send_order(VFIOUserPair *pair, const Order *order, uint64_t address)
{
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];
    QDict *response;

    hold_order(pair, order);
    qtest_qmp_send(qts, "{'execute': %s}", order->command);
    write_held(pair, order, address);
    response = qtest_qmp_receive(qts);
    g_assert_true(qdict_haskey(response, "return"));
    qobject_unref(response);
}

static void wait_arrival(VFIOUserPair *pair)
{
    vfio_user_pair_set(pair, "max-bandwidth", GiB);
    vfio_user_pair_wait(pair, "completed");
    qtest_qmp_eventwait(pair->qts[VFIO_USER_DESTINATION], "RESUME");
}

static void check_written(VFIOUserPair *pair, uint64_t address)
{
    g_assert_cmphex(qtest_readl(pair->qts[VFIO_USER_DESTINATION], address), ==,
                    WRITTEN);
}

static void window_finish(VFIOUserPair *pair)
{
    wait_arrival(pair);
    check_written(pair, AREA);
    vfio_user_pair_free(pair);
}

static void test_cont(const void *opaque)
{
    const Server *s = opaque;
    VFIOUserPair *pair = window_begin(s, false);

    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'stop'}");
    send_order(pair, s->cont, AREA);
    window_finish(pair);
}

/* A paused VM is migrated and continued meanwhile. */
static void test_cont_paused(const void *opaque)
{
    VFIOUserPair *pair = window_begin(opaque, true);

    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'cont'}");
    write_to(pair, AREA);
    window_finish(pair);
}

static void test_reset(const void *opaque)
{
    VFIOUserPair *pair = window_begin(opaque, false);

    send_order(pair, &reset, AREA);
    window_finish(pair);
}

/*
 * Finishes the migration of a paused VM, for which the device runs once more.
 */
static void finish_paused(VFIOUserPair *pair, const Order *order)
{
    write_held(pair, order, AREA);
    vfio_user_pair_wait(pair, "completed");
    vfio_user_pair_wait_loaded(pair);
    qtest_qmp_assert_success(pair->qts[VFIO_USER_DESTINATION],
                             "{'execute': 'cont'}");
    window_finish(pair);
}

static void test_reset_paused(const void *opaque)
{
    VFIOUserPair *pair = window_new_pair(opaque);
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];

    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    qtest_system_reset(qts);
    hold_order(pair, &reset);
    vfio_user_pair_start(pair);
    finish_paused(pair, &reset);
}

/* The device is reset when most of the memory was sent. */
static void test_reset_late(const void *opaque)
{
    VFIOUserPair *pair = window_begin(opaque, true);

    hold_order(pair, &reset);
    qtest_system_reset(pair->qts[VFIO_USER_SOURCE]);
    vfio_user_pair_set(pair, "max-bandwidth", GiB);
    finish_paused(pair, &reset);
}

/*
 * The device keeps running while the guest sleeps; a wakeup resets it
 * immediately.
 */
static void test_woken(const void *opaque)
{
    VFIOUserPair *pair = window_new_pair(opaque);
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];

    vfio_user_sleep(qts);
    window_start_slowly(pair);
    g_assert_true(vfio_user_server_runs(server));
    send_order(pair, &wakeup, AREA);
    qtest_qmp_eventwait(qts, "WAKEUP");
    window_finish(pair);
}

/*
 * With migration v1, the path from STOP to a saving state is through RUNNING.
 */
static void test_paused(const void *opaque)
{
    VFIOUserPair *pair = window_new_pair(opaque);

    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'stop'}");
    hold_order(pair, &cont1);
    vfio_user_pair_start(pair);
    finish_paused(pair, &cont1);
}

/* Migrates until all memory was sent, the VM being stopped. */
static void send_memory(VFIOUserPair *pair)
{
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'migrate-set-capabilities',"
                             "'arguments': {'capabilities': [{'capability':"
                             "'pause-before-switchover', 'state': true}]}}");
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "pre-switchover");
}

static void switch_over(VFIOUserPair *pair)
{
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'migrate-continue', 'arguments':"
                             "{'state': 'pre-switchover'}}");
    vfio_user_pair_wait(pair, "completed");
    vfio_user_pair_wait_loaded(pair);
}

/*
 * The device of a VM that was never started is stopped before the memory is
 * sent for the last time.
 */
static void test_not_started(const void *opaque)
{
    const Server *s = opaque;
    VFIOUserPair *pair = vfio_user_pair_new_with("-S", window_model_of(s),
                                                 window_model_of(s));

    write_to(pair, AREA);
    send_memory(pair);
    g_assert_false(vfio_user_server_runs(pair->server[VFIO_USER_SOURCE]));
    switch_over(pair);
    qtest_qmp_assert_success(pair->qts[VFIO_USER_DESTINATION],
                             "{'execute': 'cont'}");
    window_finish(pair);
}

/* Memory that the guest unmaps while the VM is paused */

/* The largest block of memory is sent first. */
#define CARD "-object memory-backend-memfd,id=card,size=128M,share=on" \
             " -device ivshmem-plain,id=slot5,memdev=card,master=on,addr=5"
#define CARD_BAR 2
#define CARD_AT 0xe0000000
#define CARD_PAGE (CARD_AT + 5 * MiB)

static void set_card(VFIOUserPair *pair, VFIOUserSide side, bool on)
{
    QPCIBus *bus = qpci_new_pc(pair->qts[side], NULL);
    int devfn = QPCI_DEVFN(5, 0);

    bus->config_writel(bus, devfn, PCI_BASE_ADDRESS_0 + 4 * CARD_BAR, CARD_AT);
    bus->config_writew(bus, devfn, PCI_COMMAND, on ? PCI_COMMAND_MEMORY : 0);
    qpci_free_pc(bus);
}

/*
 * The server receives the unmap when the device runs again, and may use the
 * memory until then.
 */
static void test_unmapped_late(const void *opaque)
{
    const Server *s = opaque;
    VFIOUserPair *pair = vfio_user_pair_new_with(CARD, window_model_of(s),
                                                 window_model_of(s));

    set_card(pair, VFIO_USER_SOURCE, true);
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'stop'}");
    set_card(pair, VFIO_USER_SOURCE, false);
    window_start_slowly(pair);
    send_order(pair, s->cont, CARD_PAGE);
    wait_arrival(pair);
    set_card(pair, VFIO_USER_DESTINATION, true);
    check_written(pair, CARD_PAGE);
    vfio_user_pair_free(pair);
}

/* Likewise, if the device runs only for a reset before it is saved. */
static void test_unmapped_reset(const void *opaque)
{
    const Server *s = opaque;
    VFIOUserPair *pair = vfio_user_pair_new_with(CARD, window_model_of(s),
                                                 window_model_of(s));
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];

    set_card(pair, VFIO_USER_SOURCE, true);
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    set_card(pair, VFIO_USER_SOURCE, false);
    window_start_slowly(pair);
    hold_order(pair, &reset);
    qtest_system_reset(qts);
    vfio_user_pair_set(pair, "max-bandwidth", GiB);
    write_held(pair, &reset, CARD_PAGE);
    vfio_user_pair_wait(pair, "completed");
    vfio_user_pair_wait_loaded(pair);
    set_card(pair, VFIO_USER_DESTINATION, true);
    check_written(pair, CARD_PAGE);
    vfio_user_pair_free(pair);
}

/*
 * Likewise, if the memory is gone by then.  The unmap that is sent late must
 * not free it: QEMU holds a lock meanwhile that this takes.
 */
static void test_unplugged_reset(const void *opaque)
{
    const Server *s = opaque;
    VFIOUserPair *pair = vfio_user_pair_new_with(CARD, window_model_of(s),
                                                 NULL);
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];
    QDict *response;

    set_card(pair, VFIO_USER_SOURCE, true);
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    qtest_qmp_device_del_send(qts, "slot5");
    qtest_system_reset_nowait(qts);
    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
    qtest_qmp_assert_success(qts, "{'execute': 'object-del',"
                             "'arguments': {'id': 'card'}}");
    /* this fails, and waits for what RCU has to free */
    response = qtest_qmp(qts, "{'execute': 'device_add',"
                         "'arguments': {'driver': 'pci-testdev',"
                         "'addr': '4'}}");
    g_assert_true(qdict_haskey(response, "error"));
    qobject_unref(response);
    g_free(g_steal_pointer(&pair->args));
    vfio_user_pair_add(pair, window_model_of(s), pair->uri);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "completed");
    vfio_user_pair_wait_loaded(pair);
    vfio_user_pair_free(pair);
}

#define GET_STATE \
    AT_FEATURE(VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE)

static const VFIOUserRule breaks[] = {
    { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_STOP), .nth = 1),
      DO_FAIL, EIO },
    { ON(VFIO_USER_DEVICE_FEATURE, GET_STATE, .nth = 1), DO_PATCH,
      sizeof(VFIOUserDeviceFeature), STRUCT(uint32_t, VFIO_USER_MIG_ERROR) },
    { ON(VFIO_USER_DEVICE_FEATURE, GET_STATE, .nth = 2), DO_PATCH,
      sizeof(VFIOUserDeviceFeature), STRUCT(uint32_t, VFIO_USER_MIG_ERROR) },
    { }
};

/*
 * A device in ERROR is reset, after which it runs, before the memory is sent
 * for the last time.
 */
static void test_broken(const void *opaque)
{
    VFIOUserPair *pair = window_new_pair(opaque);
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];

    vfio_user_server_set_rules(server, breaks);
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'stop'}");
    vfio_user_server_forget(server);
    send_memory(pair);
    g_assert_cmpuint(vfio_user_server_saw(server, VFIO_USER_DEVICE_RESET), ==,
                     1);
    switch_over(pair);
    g_assert_cmpuint(vfio_user_server_saw(server, VFIO_USER_DEVICE_RESET), ==,
                     1);
    vfio_user_pair_free(pair);
}

static void add(const Server *s, const char *name,
                void (*test)(const void *opaque))
{
    g_autofree char *path = g_strdup_printf("/vfio-user/migration-window/%s/%s",
                                            s->name, name);

    qtest_add_data_func(path, s, test);
}

void vfio_user_add_migration_window_tests(void)
{
    add(&servers[0], "paused", test_paused);
    for (unsigned i = 0; i < ARRAY_SIZE(servers); i++) {
        add(&servers[i], "cont", test_cont);
        add(&servers[i], "cont-paused", test_cont_paused);
        add(&servers[i], "reset", test_reset);
        add(&servers[i], "reset-paused", test_reset_paused);
        add(&servers[i], "reset-late", test_reset_late);
        add(&servers[i], "woken", test_woken);
        add(&servers[i], "not-started", test_not_started);
        add(&servers[i], "unmapped-late", test_unmapped_late);
        add(&servers[i], "unmapped-reset", test_unmapped_reset);
        add(&servers[i], "unplugged-reset", test_unplugged_reset);
        if (servers[i].v2) {
            add(&servers[i], "broken", test_broken);
        }
    }
}
