/*
 * qtest of the vfio-user client: dirty pages with a vIOMMU
 *
 * The server writes to IOVAs while the VM migrates, and the guest changes its
 * IOMMU tables meanwhile.  The destination must have each page that an IOVA
 * was mapped to at the time of the write.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-pair.h"
#include "vfio-user-tests.h"
#include "vfio-user-vtd.h"

#define ARGS "-machine q35 -device intel-iommu,caching-mode=on"
#define SLOT 4

#define RAM 0x1000000ull        /* guest memory that is mapped */
#define RAM_HUGE 0x1800000ull
#define FILL (32 * MiB)         /* other memory, slow to send */
#define FILL_SIZE (16 * MiB)

#define PAGES 40                /* mapped from the start, shuffled */
#define LATE 50                 /* is mapped during migration */
#define GONE 3                  /* is unmapped */
#define CLEARED 7               /* is unmapped, not yet invalidated */
#define MOVED 11                /* is remapped */
#define READ_ONLY 45

#define UNTRACKED "does not track"
#define START_LOGGING \
    (VFIO_DEVICE_FEATURE_SET | VFIO_USER_FEATURE_DMA_LOGGING_START)
#define REPORT(...) \
    ON(VFIO_USER_DEVICE_FEATURE, \
       AT_FEATURE(VFIO_DEVICE_FEATURE_GET | \
                  VFIO_USER_FEATURE_DMA_LOGGING_REPORT), __VA_ARGS__)
#define SEE_REPORT(server, ...) \
    vfio_user_server_wait(server, (VFIOUserWhen) REPORT(__VA_ARGS__))

typedef struct Case {
    const char *name;
    bool v2;                    /* migration v2, else v1 */
    uint64_t pgsize;            /* of dirty bitmap; 0: no tracking */
} Case;

static const Case cases[] = {
    { "/vfio-user/dirty-iommu/record", false, 4 * KiB },
    { "/vfio-user/dirty-iommu/no-record", false, 0 },
    { "/vfio-user/logging-iommu/record", true, 4 * KiB },
    { "/vfio-user/logging-iommu/no-record", true, 0 },
    /* one bit covers several maps of different memory */
    { "/vfio-user/logging-iommu/large-pages", true, 64 * KiB },
};

static uint64_t iova_of(unsigned page)
{
    return IOVA + page * PAGE;
}

static uint64_t ram_of(unsigned page)
{
    return RAM + (100 - page) * PAGE;
}

static uint64_t value_of(uint64_t at)
{
    return at * 0x9e3779b97f4a7c15ull | 1;
}

static void dirty_iommu_map_page(QTestState *qts, unsigned page, uint64_t how)
{
    vtd_set(qts, iova_of(page), how ? ram_of(page) : 0, how);
    vtd_invalidate_pages(qts, iova_of(page), 0);
}

/* Maps pages, and after them a huge page. */
static void dirty_iommu_map_all(QTestState *qts)
{
    vtd_init(qts, 0, SLOT << 3);
    for (unsigned i = 0; i < PAGES; i++) {
        vtd_set(qts, iova_of(i), ram_of(i), READ | WRITE);
    }
    vtd_set(qts, iova_of(READ_ONLY), ram_of(READ_ONLY), READ);
    vtd_set_huge(qts, IOVA + HUGE_PAGE, RAM_HUGE, READ | WRITE);
    vtd_command(qts, GCMD_TRANSLATE);
}

/* Writes to @iova the value that identifies @ram. */
static bool write_at(VFIOUserServer *server, uint64_t iova, uint64_t ram)
{
    const uint64_t value = value_of(ram);

    return vfio_user_server_write(server, iova + 16, &value, sizeof(value));
}

static void dirty_iommu_check_arrived(VFIOUserPair *pair, uint64_t ram)
{
    g_test_message("memory at 0x%" PRIx64, ram);
    g_assert_cmphex(qtest_readq(pair->qts[VFIO_USER_DESTINATION], ram + 16),
                    ==, value_of(ram));
}

static void dirty_iommu_start_slowly(VFIOUserPair *pair)
{
    qtest_memset(pair->qts[VFIO_USER_SOURCE], FILL, 0x5a, FILL_SIZE);
    vfio_user_pair_set(pair, "max-bandwidth", 2 * MiB);
    vfio_user_pair_set(pair, "downtime-limit", 0);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait_sent(pair, 2 * MiB);
}

static void dirty_iommu_finish_fast(VFIOUserPair *pair)
{
    vfio_user_pair_set(pair, "max-bandwidth", 4 * GiB);
    vfio_user_pair_set(pair, "downtime-limit", 2000);
    vfio_user_pair_wait(pair, "completed");
    vfio_user_pair_check_status(pair, VFIO_USER_DESTINATION, "running");
}

static VFIOUserModel dirty_iommu_model_of(const Case *c)
{
    static VFIOUserModelMigration1 migration1;
    VFIOUserModel model = vfio_user_model;

    if (c->v2) {
        model.migration = (VFIOUserMigrationModel) {
            .flags = VFIO_USER_MODEL_STOP_COPY | VFIO_USER_MODEL_PRE_COPY,
            .record = { c->pgsize },
        };
    } else {
        migration1 = (VFIOUserModelMigration1) { 64 * KiB, c->pgsize };
        model = vfio_user_model_migration1(&migration1);
    }
    return model;
}

/* The guest changes the maps after the server has written through them. */
static void change_maps(QTestState *qts, VFIOUserServer *server)
{
    uint64_t odd = IOVA + HUGE_PAGE + 100 * PAGE;

    dirty_iommu_map_page(qts, GONE, 0);
    g_assert_false(write_at(server, iova_of(GONE), 0));

    dirty_iommu_map_page(qts, LATE, READ | WRITE);
    g_assert_true(write_at(server, iova_of(LATE), ram_of(LATE)));

    vtd_set(qts, iova_of(MOVED), ram_of(60), READ | WRITE);
    vtd_invalidate_pages(qts, iova_of(MOVED), 0);
    g_assert_true(write_at(server, iova_of(MOVED), ram_of(60)));

    /* the huge page is split, and one of its pages is remapped */
    g_assert_true(write_at(server, odd, RAM_HUGE + 100 * PAGE));
    for (unsigned i = 0; i < 512; i++) {
        vtd_set(qts, IOVA + HUGE_PAGE + i * PAGE, RAM_HUGE + i * PAGE,
                READ | WRITE);
    }
    vtd_set(qts, odd, ram_of(61), READ | WRITE);
    vtd_set_huge(qts, IOVA + HUGE_PAGE, 0, 0);
    vtd_invalidate_pages(qts, odd, 0);
    g_assert_true(write_at(server, odd, ram_of(61)));
    g_assert_true(write_at(server, odd + PAGE, RAM_HUGE + 101 * PAGE));

    vtd_set(qts, iova_of(CLEARED), 0, 0);
    g_assert_true(write_at(server, iova_of(CLEARED), ram_of(CLEARED)));
}

static void test_case(const void *opaque)
{
    const Case *c = opaque;
    VFIOUserModel model = dirty_iommu_model_of(c);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new_with(ARGS, &model,
                                                           &model);
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];
    VFIOUserMap map;

    dirty_iommu_map_all(qts);
    g_assert_cmpuint(vfio_user_server_maps(server), ==, PAGES + 2);
    dirty_iommu_start_slowly(pair);
    for (unsigned i = 0; i < PAGES; i++) {
        g_assert_true(write_at(server, iova_of(i), ram_of(i)));
    }
    g_assert_false(write_at(server, iova_of(READ_ONLY), 0));
    change_maps(qts, server);
    dirty_iommu_finish_fast(pair);

    for (unsigned i = 0; i < PAGES; i++) {
        dirty_iommu_check_arrived(pair, ram_of(i));
    }
    dirty_iommu_check_arrived(pair, ram_of(LATE));
    dirty_iommu_check_arrived(pair, ram_of(60));
    dirty_iommu_check_arrived(pair, ram_of(61));
    dirty_iommu_check_arrived(pair, RAM_HUGE + 100 * PAGE);
    dirty_iommu_check_arrived(pair, RAM_HUGE + 101 * PAGE);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE, UNTRACKED),
                     ==, !c->pgsize);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE,
                                         "connection lost"), ==, 0);

    /* the destination's server has the new maps */
    server = pair->server[VFIO_USER_DESTINATION];
    g_assert_true(vfio_user_server_map(server, iova_of(LATE), &map));
    g_assert_true(write_at(server, iova_of(LATE), ram_of(LATE)));
    g_assert_false(vfio_user_server_map(server, iova_of(GONE), &map));
}

/*
 * Memory that the server may write but did not is sent once with tracking, or
 * else twice.
 */
typedef struct Amount {
    const char *name;
    Case c;
    uint64_t how;               /* permissions of the map */
    bool twice;
} Amount;

static const Amount amounts[] = {
    { "/vfio-user/dirty-amount/record",
      { .pgsize = 4 * KiB }, READ | WRITE, false },
    { "/vfio-user/dirty-amount/no-record", { }, READ | WRITE, true },
    { "/vfio-user/dirty-amount/read-only", { }, READ, false },
    { "/vfio-user/logging-amount/record",
      { .v2 = true, .pgsize = 4 * KiB }, READ | WRITE, false },
    { "/vfio-user/logging-amount/no-record",
      { .v2 = true }, READ | WRITE, true },
    { "/vfio-user/logging-amount/read-only",
      { .v2 = true }, READ, false },
};

#define AMOUNT (LAST_LEVELS * HUGE_PAGE)

static void test_amount(const void *opaque)
{
    const Amount *a = opaque;
    VFIOUserModel model = dirty_iommu_model_of(&a->c);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new_with(ARGS, &model,
                                                           &model);
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];
    uint64_t sent;

    vtd_init(qts, 0, SLOT << 3);
    for (unsigned i = 0; i < LAST_LEVELS; i++) {
        vtd_set_huge(qts, IOVA + i * HUGE_PAGE, RAM + i * HUGE_PAGE, a->how);
    }
    vtd_command(qts, GCMD_TRANSLATE);
    qtest_memset(qts, RAM, 0x5a, AMOUNT);
    /* almost nothing remains to be sent when the VM stops */
    vfio_user_pair_set(pair, "max-bandwidth", 32 * MiB);
    vfio_user_pair_set(pair, "downtime-limit", 1);
    vfio_user_pair_migrate(pair);
    sent = vfio_user_pair_sent(pair);
    g_test_message("%" PRIu64 " bytes sent", sent);
    g_assert_cmpuint(sent, >=, AMOUNT);
    g_assert_cmpint(sent > AMOUNT + AMOUNT / 2, ==, a->twice);
}

/*
 * More ranges than fit into a message that libvfio-user can read: the ranges
 * sent also cover the gaps between them, and one request covers several maps.
 * If the server refuses such a request, QEMU requests each map separately.
 */
#define MANY (LAST_LEVELS * 256)

static void test_many_ranges(const void *refused)
{
    static const VFIOUserRule refuse[] = {
        { REPORT(.nth = 1), DO_FAIL, ENOTSUP }, { }
    };
    const Case c = { .v2 = true, .pgsize = 4 * KiB };
    const VFIOUserWhen start =
        ON(VFIO_USER_DEVICE_FEATURE, AT_FEATURE(START_LOGGING));
    struct QEMU_PACKED {
        VFIOUserDeviceFeature feature;
        VFIOUserLoggingReport report;
    } first;
    VFIOUserModel model = dirty_iommu_model_of(&c);
    g_autoptr(VFIOUserPair) pair = NULL;
    VFIOUserServer *server;
    VFIOUserSeen seen;
    QTestState *qts;

    model.personality = vfio_user_personality("libvfio-user-2026");
    pair = vfio_user_pair_new_with(ARGS, &model, &model);
    qts = pair->qts[VFIO_USER_SOURCE];
    server = pair->server[VFIO_USER_SOURCE];
    vtd_init(qts, 0, SLOT << 3);
    for (unsigned i = 0; i < LAST_LEVELS * 512; i += 2) {
        vtd_set(qts, iova_of(i), RAM, READ | WRITE);
    }
    vtd_command(qts, GCMD_TRANSLATE);
    g_assert_cmpuint(vfio_user_server_maps(server), ==, MANY);
    if (refused) {
        vfio_user_server_set_rules(server, refuse);
    }
    dirty_iommu_start_slowly(pair);
    g_assert_cmpuint(vfio_user_server_wait(server, start).length, <,
                     33 * KiB);
    g_assert_true(write_at(server, iova_of(LAST_LEVELS * 512 - 2), RAM));
    dirty_iommu_finish_fast(pair);
    seen = SEE_REPORT(server);
    memcpy(&first, seen.payload, sizeof(first));
    g_assert_cmpuint(first.report.length, >, PAGE);
    if (refused) {
        /* more requests than ranges */
        SEE_REPORT(server, .nth = MANY * 3 / 4);
    }
    dirty_iommu_check_arrived(pair, RAM);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE, UNTRACKED),
                     ==, 0);
}

/* One bitmap request is only answered after the others have arrived. */
static void test_concurrent_requests(const void *opaque)
{
    const Case *c = opaque;
    const VFIOUserRule hold_pages[] = {
        { ON(VFIO_USER_DIRTY_PAGES, .nth = 2), DO_HOLD }, { }
    }, hold_report[] = {
        { REPORT(.nth = 1), DO_HOLD }, { }
    };
    VFIOUserModel model = dirty_iommu_model_of(c);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new_with(ARGS, &model,
                                                           &model);
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];

    dirty_iommu_map_all(pair->qts[VFIO_USER_SOURCE]);
    vfio_user_server_set_rules(server, c->v2 ? hold_report : hold_pages);
    vfio_user_pair_start(pair);
    if (c->v2) {
        SEE_REPORT(server, .nth = 2);
    } else {
        vfio_user_server_see(server, VFIO_USER_DIRTY_PAGES,
                             .nth = 1 + PAGES + 1);
    }
    vfio_user_server_release(server);
    dirty_iommu_finish_fast(pair);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE, UNTRACKED),
                     ==, 0);
}

void vfio_user_add_dirty_iommu_tests(void)
{
    qtest_add_data_func("/vfio-user/logging-iommu/many-ranges", NULL,
                        test_many_ranges);
    qtest_add_data_func("/vfio-user/logging-iommu/many-ranges-refused", ARGS,
                        test_many_ranges);
    qtest_add_data_func("/vfio-user/dirty-iommu/at-once", &cases[0],
                        test_concurrent_requests);
    qtest_add_data_func("/vfio-user/logging-iommu/at-once", &cases[2],
                        test_concurrent_requests);
    for (size_t i = 0; i < ARRAY_SIZE(amounts); i++) {
        qtest_add_data_func(amounts[i].name, &amounts[i], test_amount);
    }
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        qtest_add_data_func(cases[i].name, &cases[i], test_case);
    }
}
