/*
 * qtest of the vfio-user client: migration v1
 *
 * The state of a device is migrated through the migration region of version
 * 0.9.1.  Other files test dirty pages, server faults and modified streams.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "qobject/qdict.h"
#include "qemu/bswap.h"
#include "vfio-user-pair.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define STATE (64 * KiB)        /* size of BAR 2 */
#define MIGRATION VFIO_USER_MIGRATION1_REGION
#define DATA VFIO_USER_MIGRATION1_DATA

#define REG_STATE 0
#define REG_PENDING 8
#define REG_OFFSET 16
#define REG_SIZE 24

/* Two chunk sizes, because neither side knows the chunk size of the other. */
static const VFIOUserModelMigration1 large = { 16 * KiB, 4 * KiB };
static const VFIOUserModelMigration1 small = { 4 * KiB, 4 * KiB };

static void fill_state(VFIOUserServer *s, uint8_t seed)
{
    uint8_t state[STATE];

    for (size_t i = 0; i < STATE; i++) {
        state[i] = seed + i * 7 + i / 256;
    }
    vfio_user_server_poke(s, VFIO_PCI_BAR2_REGION_INDEX, 0, state, STATE);
}

static void check_same_state(VFIOUserPair *pair)
{
    uint8_t was[STATE], is[STATE];

    vfio_user_server_peek(pair->server[VFIO_USER_SOURCE],
                          VFIO_PCI_BAR2_REGION_INDEX, 0, was, STATE);
    vfio_user_server_peek(pair->server[VFIO_USER_DESTINATION],
                          VFIO_PCI_BAR2_REGION_INDEX, 0, is, STATE);
    g_assert_cmpmem(is, STATE, was, STATE);
}

static void map_data_area(VFIOUserModel *model)
{
    VFIOUserModelRegion *region = &model->region[MIGRATION];

    region->flags |= VFIO_REGION_INFO_FLAG_MMAP;
    region->nr_areas = 1;
    region->areas[0].offset = DATA;
    region->areas[0].size = region->size - DATA;
}

static void test_state(const void *opaque)
{
    VFIOUserModel source = vfio_user_model_migration1(opaque ? &small : &large);
    VFIOUserModel destination = vfio_user_model_migration1(opaque ? &large :
                                                                    &small);
    g_autoptr(VFIOUserPair) pair = NULL;
    unsigned i;

    if (opaque) {
        map_data_area(&source);
        map_data_area(&destination);
    }
    pair = vfio_user_pair_new(true, &source, &destination);
    fill_state(pair->server[VFIO_USER_SOURCE], 3);
    vfio_user_pair_migrate(pair);
    check_same_state(pair);
    g_assert_false(vfio_user_server_runs(pair->server[VFIO_USER_SOURCE]));
    g_assert_true(vfio_user_server_runs(pair->server[VFIO_USER_DESTINATION]));
    for (i = 0; i < 2; i++) {
        unsigned reads = vfio_user_server_saw(pair->server[i],
                                              VFIO_USER_REGION_READ,
                                              AT_OFFSET(MIGRATION, DATA));
        unsigned writes = vfio_user_server_saw(pair->server[i],
                                               VFIO_USER_REGION_WRITE,
                                               AT_OFFSET(MIGRATION, DATA));

        g_assert_cmpint(reads + writes > 0, ==, !opaque);
    }
}

/* No message is longer than what libvfio-user receives with one recv(). */
static void test_long_data(void)
{
    const VFIOUserModelMigration1 long_data = { 128 * KiB, 4 * KiB };
    VFIOUserModel model = vfio_user_model_migration1(&long_data);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &model, &model);
    g_autoptr(GArray) log = NULL;
    unsigned i, longest = 0;

    fill_state(pair->server[VFIO_USER_SOURCE], 6);
    vfio_user_pair_migrate(pair);
    check_same_state(pair);
    log = vfio_user_server_log(pair->server[VFIO_USER_DESTINATION]);
    for (i = 0; i < log->len; i++) {
        VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);

        longest = MAX(longest, seen->header.size);
    }
    g_assert_cmpuint(longest, >, 32 * KiB);
    g_assert_cmpuint(longest, <, 36 * KiB);
}

/*
 * A chunk read in many messages is written at the destination in a different
 * number of messages, as one chunk.
 */
static void test_chunks(void)
{
    VFIOUserModel source = vfio_user_model_migration1(&large);
    VFIOUserModel destination = vfio_user_model_migration1(&large);
    g_autoptr(VFIOUserPair) pair = NULL;
    unsigned chunks;

    source.version = "{\"capabilities\":{\"max_msg_fds\":8,"
                     "\"max_data_xfer_size\":5000,"
                     "\"migration\":{\"pgsize\":4096}}}";
    destination.version = "{\"capabilities\":{\"max_msg_fds\":8,"
                          "\"max_data_xfer_size\":3000,"
                          "\"migration\":{\"pgsize\":4096}}}";
    pair = vfio_user_pair_new(true, &source, &destination);
    fill_state(pair->server[VFIO_USER_SOURCE], 8);
    vfio_user_pair_migrate(pair);
    check_same_state(pair);
    chunks = vfio_user_server_saw(pair->server[VFIO_USER_SOURCE],
                                  VFIO_USER_REGION_READ,
                                  AT_OFFSET(MIGRATION, REG_SIZE));
    g_assert_cmpuint(chunks, >=, STATE / large.chunk);
    g_assert_cmpuint(vfio_user_server_saw(pair->server[VFIO_USER_SOURCE],
                                          VFIO_USER_REGION_READ,
                                          AT_OFFSET(MIGRATION, DATA + 5000)),
                     >=, STATE / large.chunk);
    g_assert_cmpuint(vfio_user_server_saw(pair->server[VFIO_USER_DESTINATION],
                                          VFIO_USER_REGION_WRITE,
                                          AT_OFFSET(MIGRATION, REG_SIZE)),
                     ==, chunks);
}

/* A server truncates the file that it shares, and makes it whole again. */
static void test_cut_file(void)
{
    VFIOUserModel model = vfio_user_model_migration1(&large);
    g_autoptr(VFIOUserPair) pair = NULL;

    map_data_area(&model);
    pair = vfio_user_pair_new(true, &model, &model);
    vfio_user_server_truncate(pair->server[VFIO_USER_SOURCE], MIGRATION, DATA);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "failed");
    vfio_user_pair_check_status(pair, VFIO_USER_SOURCE, "running");
    vfio_user_pair_destination_fails(pair);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE,
                                         "the file is too short"), >, 0);

    vfio_user_server_truncate(pair->server[VFIO_USER_SOURCE], MIGRATION,
                              model.region[MIGRATION].size);
    g_free(pair->uri);
    pair->uri = g_strdup("exec:cat >/dev/null");
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "completed");
}

static QDict *v1_query(VFIOUserPair *pair)
{
    QDict *response = qtest_qmp(pair->qts[VFIO_USER_SOURCE],
                                "{'execute': 'query-migrate'}");
    QDict *ret = qdict_get_qdict(response, "return");

    g_assert_nonnull(ret);
    qobject_ref(ret);
    qobject_unref(response);
    return ret;
}

static void test_file(void)
{
    VFIOUserModel model = vfio_user_model_migration1(&large);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &model, NULL);
    g_autofree char *path = g_build_filename(pair->dir, "saved", NULL);
    g_autofree char *from = g_strdup_printf("exec:cat %s", path);
    QDict *info;

    g_free(pair->uri);
    pair->uri = g_strdup_printf("exec:cat >%s", path);
    fill_state(pair->server[VFIO_USER_SOURCE], 4);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "completed");

    info = v1_query(pair);
    g_assert_cmpint(qdict_get_int(qdict_get_qdict(info, "vfio"),
                                  "transferred"), >=, STATE);
    qobject_unref(info);

    vfio_user_pair_add(pair, &model, from);
    vfio_user_pair_check_status(pair, VFIO_USER_DESTINATION, "running");
    check_same_state(pair);
    g_unlink(path);
}

/* A paused VM migrates and stays paused until it is continued. */
static void test_paused(void)
{
    VFIOUserModel model = vfio_user_model_migration1(&large);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &model, &model);

    fill_state(pair->server[VFIO_USER_SOURCE], 5);
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'stop'}");
    g_assert_false(vfio_user_server_runs(pair->server[VFIO_USER_SOURCE]));
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "completed");
    vfio_user_pair_check_status(pair, VFIO_USER_DESTINATION, "paused");
    check_same_state(pair);
    g_assert_false(vfio_user_server_runs(pair->server[VFIO_USER_DESTINATION]));
    qtest_qmp_assert_success(pair->qts[VFIO_USER_DESTINATION],
                             "{'execute': 'cont'}");
    g_assert_true(vfio_user_server_runs(pair->server[VFIO_USER_DESTINATION]));
}

/* Fills memory so that the migration takes long enough to be cancelled. */
static void v1_fill_memory(VFIOUserPair *pair)
{
    qtest_memset(pair->qts[VFIO_USER_SOURCE], 8 * MiB, 0x5a, 32 * MiB);
}

static void v1_start_slowly(VFIOUserPair *pair)
{
    v1_fill_memory(pair);
    vfio_user_pair_set(pair, "max-bandwidth", 1 * MiB);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "active");
    vfio_user_server_see(pair->server[VFIO_USER_SOURCE],
                         VFIO_USER_REGION_READ,
                         AT_OFFSET(MIGRATION, REG_PENDING));
}

static void v1_check_works(VFIOUserPair *pair)
{
    vfio_user_pair_check_status(pair, VFIO_USER_SOURCE, "running");
    g_assert_true(vfio_user_server_runs(pair->server[VFIO_USER_SOURCE]));
}

static void test_cancel(void)
{
    VFIOUserModel model = vfio_user_model_migration1(&large);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &model, &model);

    fill_state(pair->server[VFIO_USER_SOURCE], 6);
    v1_start_slowly(pair);
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'migrate_cancel'}");
    vfio_user_pair_wait(pair, "cancelled");
    v1_check_works(pair);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE, "Failed"),
                     ==, 0);
    vfio_user_pair_destination_fails(pair);
    vfio_user_server_wait_client(pair->server[VFIO_USER_DESTINATION], false);
    vfio_user_server_free(pair->server[VFIO_USER_DESTINATION]);

    /* and immediately migrate again */
    vfio_user_pair_add(pair, &model, pair->uri);
    vfio_user_pair_set(pair, "max-bandwidth", 4 * GiB);
    vfio_user_pair_migrate(pair);
    check_same_state(pair);
}

static void test_refused(void)
{
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, NULL, NULL);
    QDict *response = qtest_qmp(pair->qts[VFIO_USER_SOURCE], "{'execute':"
                                " 'migrate', 'arguments': {'uri': %s}}",
                                pair->uri);
    const char *text = qdict_get_str(qdict_get_qdict(response, "error"),
                                     "desc");

    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, vfio_user_server_path(
                                      pair->server[VFIO_USER_SOURCE])));
    g_assert_nonnull(strstr(text, "doesn't support migration"));
    qobject_unref(response);
}

void vfio_user_add_migration1_tests(void)
{
    qtest_add_data_func("/vfio-user/migration1/state", NULL, test_state);
    qtest_add_data_func("/vfio-user/migration1/state-mapped", "", test_state);
    qtest_add_func("/vfio-user/migration1/cut-file", test_cut_file);
    qtest_add_func("/vfio-user/migration1/long-data", test_long_data);
    qtest_add_func("/vfio-user/migration1/chunks", test_chunks);
    qtest_add_func("/vfio-user/migration1/file", test_file);
    qtest_add_func("/vfio-user/migration1/paused", test_paused);
    qtest_add_func("/vfio-user/migration1/cancel", test_cancel);
    qtest_add_func("/vfio-user/migration1/refused", test_refused);
}
