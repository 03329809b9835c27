/*
 * qtest of the vfio-user client: a device that runs on while it is saved
 *
 * The VM is stopped and continued, or the guest is reset, in the middle of a
 * migration.  With migration v1 a server may keep its record of dirty pages
 * only while its device saves: what the device writes in between must arrive.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qobject/qdict.h"
#include "vfio-user-pair.h"
#include "vfio-user-tests.h"

/* What is sent at first, slowly, of the memory. */
#define AREA (8 * MiB)
#define AREA_SIZE (16 * MiB)
#define SENT MiB

#define WRITTEN 0x600df00d

#define STATE AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0)

static const VFIOUserModelMigration1 migration1 = {
    64 * KiB, 4 * KiB, .records_saving = true
};

static const VFIOUserMigrationModel migration2 = {
    .flags = VFIO_USER_MODEL_STOP_COPY | VFIO_USER_MODEL_PRE_COPY,
    .filling = 13001,
    .pre_copy = 10000,
    .record = { 4 * KiB },
};

/* The device runs, and its server has not said so yet. */
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

static VFIOUserPair *new_pair(bool first)
{
    static VFIOUserModel model;

    model = vfio_user_model;
    if (first) {
        model = vfio_user_model_migration1(&migration1);
    } else {
        model.migration = migration2;
    }
    return vfio_user_pair_new(true, &model, &model);
}

/* Migrates until some of the memory was sent. */
static VFIOUserPair *begin(bool first, bool paused)
{
    VFIOUserPair *pair = new_pair(first);

    qtest_memset(pair->qts[VFIO_USER_SOURCE], AREA, 0x5a, AREA_SIZE);
    if (paused) {
        qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                                 "{'execute': 'stop'}");
    }
    vfio_user_pair_set(pair, "max-bandwidth", MiB);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait_sent(pair, SENT);
    return pair;
}

static void write_now(VFIOUserPair *pair)
{
    const uint32_t value = WRITTEN;

    g_assert_true(vfio_user_server_write(pair->server[VFIO_USER_SOURCE], AREA,
                                         &value, sizeof(value)));
}

/* An order in the middle of which the device writes. */
static void give(VFIOUserPair *pair, const Order *order)
{
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];
    QDict *response;

    vfio_user_server_set_rules(server, order->rules);
    vfio_user_server_forget(server);
    qtest_qmp_send(qts, "{'execute': %s}", order->command);
    vfio_user_server_wait(server, order->rules[0].when);
    write_now(pair);
    vfio_user_server_release(server);
    response = qtest_qmp_receive(qts);
    g_assert_true(qdict_haskey(response, "return"));
    qobject_unref(response);
}

static void finish(VFIOUserPair *pair)
{
    vfio_user_pair_set(pair, "max-bandwidth", GiB);
    vfio_user_pair_wait(pair, "completed");
    qtest_qmp_eventwait(pair->qts[VFIO_USER_DESTINATION], "RESUME");
    g_assert_cmphex(qtest_readl(pair->qts[VFIO_USER_DESTINATION], AREA), ==,
                    WRITTEN);
    vfio_user_pair_free(pair);
}

static void test_cont(const void *opaque)
{
    VFIOUserPair *pair = begin(opaque, false);

    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'stop'}");
    give(pair, opaque ? &cont1 : &cont2);
    finish(pair);
}

/* The migration of a paused VM, which is continued. */
static void test_cont_paused(const void *opaque)
{
    VFIOUserPair *pair = begin(opaque, true);

    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'cont'}");
    write_now(pair);
    finish(pair);
}

static void test_reset(const void *opaque)
{
    VFIOUserPair *pair = begin(opaque, false);

    give(pair, &reset);
    finish(pair);
}

/* A paused VM is saved, for which the device runs once more. */
static void save_paused(VFIOUserPair *pair, const Order *order)
{
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];

    vfio_user_server_set_rules(server, order->rules);
    vfio_user_server_forget(server);
    vfio_user_pair_start(pair);
    vfio_user_server_wait(server, order->rules[0].when);
    write_now(pair);
    vfio_user_server_release(server);
    vfio_user_pair_wait(pair, "completed");
    vfio_user_pair_wait_loaded(pair);
    qtest_qmp_assert_success(pair->qts[VFIO_USER_DESTINATION],
                             "{'execute': 'cont'}");
    finish(pair);
}

static void test_reset_paused(const void *opaque)
{
    VFIOUserPair *pair = new_pair(opaque);
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];

    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    qtest_system_reset(qts);
    save_paused(pair, &reset);
}

/* With migration v1 the way from STOP to a state that saves is by RUNNING. */
static void test_paused(void)
{
    VFIOUserPair *pair = new_pair(true);

    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'stop'}");
    save_paused(pair, &cont1);
}

void vfio_user_add_migration_window_tests(void)
{
    static const bool first = true;
    static const struct {
        const char *name;
        void (*test)(const void *opaque);
    } tests[] = {
        { "cont", test_cont },
        { "cont-paused", test_cont_paused },
        { "reset", test_reset },
        { "reset-paused", test_reset_paused },
    };

    qtest_add_func("/vfio-user/migration-window/1/paused", test_paused);
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(tests); i++) {
        const void *data = i % 2 ? NULL : &first;
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration-window/%u/%s", i % 2 + 1,
                            tests[i / 2].name);

        qtest_add_data_func(path, data, tests[i / 2].test);
    }
}
