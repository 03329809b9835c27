/*
 * qtest of the vfio-user client: server faults in dirty page tracking
 *
 * Each row is a fault of the source's server in one message.  If the server
 * does not report dirty pages, QEMU treats all its memory as dirty: the
 * destination has the right memory, and QEMU warns once.  If the server
 * disconnects, or does not answer in time after the VM has stopped, the
 * migration fails and the VM continues without the device.  While the VM runs,
 * QEMU does not block on the server: if it does not answer then, the migration
 * fails and the device stays.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "libqos/pci-pc.h"
#include "vfio-user-tests.h"
#include "vfio-user-writer.h"

#define DELAY_MS (VFIO_USER_PAIR_TIMEOUT_MS / 10)

#define SAYS "; the server does not track dirty pages"

typedef enum Outcome {
    ARRIVES,                    /* migrates without tracking, with a warning */
    FAILS,                      /* migration fails, device dead, VM runs */
    STAYS,                      /* migration fails, device still works */
} Outcome;

typedef struct Row {
    const char *name;
    VFIOUserRule rule;
    Outcome outcome;
    const char *message;        /* expected message of the source */
} Row;

#define PAGES(what) \
    ON(VFIO_USER_DIRTY_PAGES, \
       AT_FEATURE(VFIO_IOMMU_DIRTY_PAGES_FLAG_ ## what))
#define FEATURE(deed, feature, ...) \
    ON(VFIO_USER_DEVICE_FEATURE, \
       AT_FEATURE(VFIO_DEVICE_FEATURE_ ## deed | \
                  VFIO_USER_FEATURE_DMA_LOGGING_ ## feature), __VA_ARGS__)
#define START(...) FEATURE(SET, START, __VA_ARGS__)
#define REPORT(...) FEATURE(GET, REPORT, __VA_ARGS__)

static const Row v1_rows[] = {
    { "start-refused", { PAGES(START), DO_FAIL, EBUSY }, ARRIVES,
      "replied with an error: Device or resource busy" },
    { "start-never-answered", { PAGES(START), DO_DROP }, STAYS,
      "DIRTY_PAGES: no reply within" },
    { "start-long", { PAGES(START), DO_LENGTH, 4096 }, FAILS,
      "connection lost" },
    { "start-dies", { PAGES(START), DO_CUT, 0 }, FAILS,
      "connection lost" },
    { "bitmap-refused", { PAGES(GET_BITMAP), DO_FAIL, EIO }, ARRIVES,
      "replied with an error: Input/output error" },
    { "bitmap-never-answered", { PAGES(GET_BITMAP), DO_DROP }, STAYS,
      "DIRTY_PAGES: no reply within" },
    { "bitmap-short", { PAGES(GET_BITMAP), DO_LENGTH, 40 }, ARRIVES,
      "a reply of 40 bytes" },
    { "bitmap-shorter", { PAGES(GET_BITMAP), DO_LENGTH, 8 }, ARRIVES,
      "a reply of 8 bytes" },
    { "bitmap-long", { PAGES(GET_BITMAP), DO_LENGTH, 1 * MiB }, FAILS,
      "connection lost" },
    { "bitmap-of-another-range",
      { PAGES(GET_BITMAP), DO_PATCH, 8, BYTES(0, 0, 0, 0, 1) }, ARRIVES,
      "of another range or page size" },
    { "bitmap-dies", { PAGES(GET_BITMAP), DO_CUT, 20 }, FAILS,
      "connection lost" },
};

static const Row v2_rows[] = {
    { "start-refused", { START(), DO_FAIL, EBUSY }, ARRIVES,
      "replied with an error: Device or resource busy" },
    { "start-never-answered", { START(), DO_DROP }, STAYS,
      "DEVICE_FEATURE: no reply within" },
    { "start-short", { START(), DO_LENGTH, 8 }, ARRIVES,
      "DMA_LOGGING_START: a reply of 8 bytes" },
    { "start-empty", { START(), DO_LENGTH, 0 }, FAILS, "connection lost" },
    { "start-long", { START(), DO_LENGTH, 4096 }, FAILS, "connection lost" },
    { "start-no-page-size", { START(), DO_PATCH, 8, BYTES(0, 0) }, ARRIVES,
      "invalid dirty page size 0x0" },
    { "start-odd-page-size", { START(), DO_PATCH, 8, BYTES(0, 0x30) }, ARRIVES,
      "invalid dirty page size 0x3000" },
    { "start-huge-page-size",
      { START(), DO_PATCH, 8, BYTES(0, 0, 0, 0, 0, 0, 0, 0x80) }, ARRIVES,
      "invalid dirty page size 0x8000000000000000" },
    { "start-dies", { START(), DO_CUT, 0 }, FAILS, "connection lost" },
    { "report-refused", { REPORT(), DO_FAIL, EIO }, ARRIVES,
      "replied with an error: Input/output error" },
    { "report-never-answered", { REPORT(), DO_DROP }, STAYS,
      "DEVICE_FEATURE: no reply within" },
    { "report-short", { REPORT(), DO_LENGTH, 32 }, ARRIVES,
      "a reply of 32 bytes" },
    { "report-shorter", { REPORT(), DO_LENGTH, 8 }, ARRIVES,
      "a reply of 8 bytes" },
    { "report-long", { REPORT(), DO_LENGTH, 1 * MiB }, FAILS,
      "connection lost" },
    { "report-of-another-range",
      { REPORT(), DO_PATCH, 8, BYTES(0, 0, 0, 0, 1) }, ARRIVES,
      "of another range or page size" },
    { "report-of-another-page-size",
      { REPORT(), DO_PATCH, 24, BYTES(0, 0x20) }, ARRIVES,
      "of another range or page size" },
    { "report-dies", { REPORT(), DO_CUT, 20 }, FAILS,
      "connection lost" },
};

/*
 * Checks that the VM runs, and that the device reads as all ones if it is
 * dead.
 */
static void check_pair_source(VFIOUserPair *pair, const char *status, bool dead)
{
    QPCIBus *bus = qpci_new_pc(pair->qts[VFIO_USER_SOURCE], NULL);

    vfio_user_pair_check_status(pair, VFIO_USER_SOURCE, status);
    g_assert_cmpint(bus->config_readl(bus, QPCI_DEVFN(4, 0), 0) == UINT32_MAX,
                    ==, dead);
    qpci_free_pc(bus);
}

static void dirty_fault_check_row(const Row *row, const VFIOUserModel *model)
{
    const VFIOUserRule rules[] = { row->rule, { } };
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, model, model);
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];
    VFIOUserWriter w = { .server = server };

    vfio_user_server_set_rules(server, rules);
    if (row->outcome != ARRIVES) {
        /* long enough for QEMU to sync dirty pages while the VM runs */
        qtest_memset(pair->qts[VFIO_USER_SOURCE], 8 * MiB, 0x5a, 16 * MiB);
        vfio_user_pair_set(pair, "max-bandwidth", 32 * MiB);
        vfio_user_pair_start(pair);
        vfio_user_pair_wait(pair, "failed");
        check_pair_source(pair, "running", row->outcome == FAILS);
        vfio_user_pair_destination_fails(pair);
    } else {
        vfio_user_writer_migrate(&w, pair, false);
    }
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE, SAYS), ==,
                     row->outcome == ARRIVES);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE, row->message),
                     >, 0);
}

static void test_v1(const void *row)
{
    static const VFIOUserModelMigration1 migration = { 64 * KiB, 4 * KiB };
    const VFIOUserModel model = vfio_user_model_migration1(&migration);

    dirty_fault_check_row(row, &model);
}

static void test_v2(const void *row)
{
    VFIOUserModel model = vfio_user_model;

    model.migration = (VFIOUserMigrationModel) {
        .flags = VFIO_USER_MODEL_STOP_COPY, .record = { 4 * KiB },
    };
    dirty_fault_check_row(row, &model);
}

/*
 * The server returns the bits of 64 pages at a time, each reply in time.  With
 * the VM stopped, the monitor does not wait for all of them.
 */
static void check_pieces(const VFIOUserModel *model, VFIOUserWhen when)
{
    const VFIOUserRule rules[] = { { when, DO_DELAY, DELAY_MS }, { } };
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, model, model);
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];

    vfio_user_server_set_rules(server, rules);
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'stop'}");
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "failed");
    check_pair_source(pair, "paused", true);
    vfio_user_pair_destination_fails(pair);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE,
                                         "the operation used up its time"), >,
                     0);
    /* one budget per sync, and one for the start message */
    g_assert_cmpuint(vfio_user_server_count(server, when), <=,
                     2 * VFIO_USER_PAIR_TIMEOUT_MS / DELAY_MS + 2);
}

static void test_v1_pieces(void)
{
    static const VFIOUserModelMigration1 migration = {
        64 * KiB, 4 * KiB, .max_bitmap = 8,
    };
    VFIOUserModel model = vfio_user_model_migration1(&migration);

    model.version = "{\"capabilities\":{\"max_msg_fds\":8,\"migration\":{"
                    "\"pgsize\":4096,\"max_bitmap_size\":8}}}";
    check_pieces(&model, (VFIOUserWhen) PAGES(GET_BITMAP));
}

static void test_v2_pieces(void)
{
    VFIOUserModel model = vfio_user_model;

    model.version = "{\"capabilities\":{\"max_msg_fds\":8,\"migration\":{"
                    "\"pgsize\":4096,\"max_bitmap_size\":8}}}";
    model.migration = (VFIOUserMigrationModel) {
        .flags = VFIO_USER_MODEL_STOP_COPY, .record = { 4 * KiB, 8 },
    };
    check_pieces(&model, (VFIOUserWhen) REPORT());
}

void vfio_user_add_dirty_fault_tests(void)
{
    qtest_add_func("/vfio-user/dirty-fault/pieces", test_v1_pieces);
    qtest_add_func("/vfio-user/logging-fault/pieces", test_v2_pieces);
    for (size_t i = 0; i < ARRAY_SIZE(v1_rows); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/dirty-fault/%s",
                                                v1_rows[i].name);

        qtest_add_data_func(path, &v1_rows[i], test_v1);
    }
    for (size_t i = 0; i < ARRAY_SIZE(v2_rows); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/logging-fault/%s",
                                                v2_rows[i].name);

        qtest_add_data_func(path, &v2_rows[i], test_v2);
    }
}
