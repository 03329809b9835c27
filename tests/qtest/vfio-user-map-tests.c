/*
 * qtest of the vfio-user client: large numbers of DMA maps
 *
 * The guest decides on the number of maps, and the server on the time for
 * each.  The cost per map must not grow with their number, and the main loop
 * must not wait for the server longer than one operation may take.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-rig.h"
#include "vfio-user-tests.h"
#include "vfio-user-vtd.h"

#define MACHINE "-machine q35 -nodefaults -m 64 " \
                "-device intel-iommu,caching-mode=on " VFIO_USER_RIG_Q35_PORT
#define TIMEOUT_MS 2000
#define MOST_MS (TIMEOUT_MS * 6 / 10)

#define RAM 0x1000000ull        /* guest memory that is mapped */
#define TABLE_PAGES 512

/* All calls in flight are answered in time, but not all MANY of them. */
#define MANY 2000
#define SLOTS 255
#define EACH_MS 4
#define ANSWERED (TIMEOUT_MS * 2 / EACH_MS + SLOTS)
QEMU_BUILD_BUG_ON(ANSWERED >= MANY);

static const VFIOUserRule slow_maps[] = {
    { ON(VFIO_USER_DMA_MAP), DO_DELAY, EACH_MS },
    { }
};

static const VFIOUserRule slow_unmaps[] = {
    { ON(VFIO_USER_DMA_UNMAP), DO_DELAY, EACH_MS },
    { }
};

static const VFIOUserRule very_slow_maps[] = {
    { ON(VFIO_USER_DMA_MAP), DO_DELAY, MOST_MS },
    { }
};

/* The guest's tables */

/* Maps @n pages with permissions @how; 0 clears them. */
static void map_set_many(VFIOUserRig *rig, unsigned n, uint64_t how)
{
    g_autofree uint64_t *entries = g_new(uint64_t, n);

    for (unsigned i = 0; i < n; i++) {
        entries[i] = how ? (RAM + i % 2 * PAGE) | how : 0;
    }
    for (unsigned i = 0; i < DIV_ROUND_UP(n, TABLE_PAGES); i++) {
        qtest_writeq(rig->qts, LEVEL_2 + (IOVA / HUGE_PAGE + i) * 8,
                     LEVEL_1(i) | READ | WRITE);
    }
    qtest_memwrite(rig->qts, LEVEL_1(0), entries, n * sizeof(*entries));
}

/*
 * Plugs a device that supports migration, with translation enabled and empty
 * tables.
 */
static VFIOUserRig *map_translated(void)
{
    static VFIOUserModel model;
    VFIOUserRig *rig;

    model = vfio_user_model;
    model.migration.flags = VFIO_USER_MODEL_STOP_COPY;
    rig = vfio_user_rig_begin(MACHINE, &model, NULL);
    vtd_init(rig->qts, VFIO_USER_RIG_Q35_BUS, 0);
    vfio_user_rig_plug(rig, TIMEOUT_MS);
    vtd_command(rig->qts, GCMD_TRANSLATE);
    vfio_user_server_forget(rig->server);
    return rig;
}

static void map_stop_vm(VFIOUserRig *rig)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': 'stop'}");
}

static void map_continue_vm(VFIOUserRig *rig)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': 'cont'}");
}

static unsigned saw_maps(VFIOUserRig *rig)
{
    return vfio_user_server_saw(rig->server, VFIO_USER_DMA_MAP);
}

static void map_check_alive(VFIOUserRig *rig)
{
    qpci_io_writel(rig->dev, rig->bar[0], 0x20, 0x600d);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x20), ==, 0x600d);
}

/* Checks that the device died after at most ANSWERED of @n messages. */
static void map_check_broken(VFIOUserRig *rig, unsigned n)
{
    vfio_user_server_wait_client(rig->server, false);
    vfio_user_rig_ping(rig);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x20), ==,
                    UINT32_MAX);
    g_test_message("%u messages", n);
    g_assert_cmpuint(n, <=, ANSWERED);
}

/* Timing */

/*
 * Returns QEMU's CPU time, us; wall clock time would include other processes.
 */
static gint64 time_of_qemu(VFIOUserRig *rig)
{
    struct timespec now;
    clockid_t clock;

    g_assert_cmpint(clock_getcpuclockid(vfio_user_server_client(rig->server),
                                        &clock), ==, 0);
    g_assert_cmpint(clock_gettime(clock, &now), ==, 0);
    return now.tv_sec * G_TIME_SPAN_SECOND + now.tv_nsec / 1000;
}

/* Maps and unmaps @n pages; returns the CPU time, us. */
static gint64 time_many(VFIOUserRig *rig, unsigned n)
{
    gint64 took = -time_of_qemu(rig);

    map_set_many(rig, n, READ | WRITE);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    map_set_many(rig, n, 0);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    took += time_of_qemu(rig);
    g_test_message("%u maps took %" PRIi64 " us", n, took);
    return took;
}

/*
 * While the device is stopped, changes are deferred.  The time per change does
 * not grow with their number, and changes that cancel out are not sent.
 */
static void test_time(void)
{
    g_autoptr(VFIOUserRig) rig = map_translated();
    const unsigned n = 15000;
    gint64 few, many;

    map_stop_vm(rig);
    few = time_many(rig, n);
    many = time_many(rig, 4 * n);
    g_assert_cmpint(many, <, 10 * few);
    map_continue_vm(rig);
    map_check_alive(rig);
    g_assert_cmpuint(saw_maps(rig), ==, 0);
}

/* Deferred maps are sent in order, without those already removed. */
static void test_postponed(void)
{
    g_autoptr(VFIOUserRig) rig = map_translated();
    VFIOUserMap map;

    map_set_many(rig, 4, READ | WRITE);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    g_assert_cmpuint(saw_maps(rig), ==, 4);
    map_stop_vm(rig);
    vfio_user_server_forget(rig->server);

    /*
     * one page is unmapped, one remapped, and one is mapped, unmapped and
     * mapped again
     */
    vtd_set(rig->qts, IOVA, 0, 0);
    vtd_set(rig->qts, IOVA + PAGE, RAM + 8 * PAGE, READ);
    vtd_set(rig->qts, IOVA + 9 * PAGE, RAM, READ | WRITE);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    vtd_set(rig->qts, IOVA + 9 * PAGE, 0, 0);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    vtd_set(rig->qts, IOVA + 9 * PAGE, RAM, READ);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    g_assert_cmpuint(saw_maps(rig), ==, 0);

    map_continue_vm(rig);
    g_assert_cmpuint(saw_maps(rig), ==, 2);
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_DMA_UNMAP),
                     ==, 2);
    g_assert_false(vfio_user_server_map(rig->server, IOVA, &map));
    g_assert_true(vfio_user_server_map(rig->server, IOVA + PAGE, &map));
    g_assert_cmphex(map.flags, ==, VFIO_USER_DMA_READABLE);
    g_assert_true(vfio_user_server_map(rig->server, IOVA + 9 * PAGE, &map));
    g_assert_cmphex(map.flags, ==, VFIO_USER_DMA_READABLE);
    map_check_alive(rig);
}

/* Slow servers */

/* One invalidation creates many maps, each of which is awaited. */
static void test_singly(void)
{
    g_autoptr(VFIOUserRig) rig = map_translated();

    map_set_many(rig, 30, READ | WRITE);
    vfio_user_server_set_rules(rig->server, very_slow_maps);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    map_check_broken(rig, saw_maps(rig));
    g_assert_cmpuint(saw_maps(rig), <=, 2);
}

/* Many invalidations create one map each: each may take that long */
static void test_one_by_one(void)
{
    g_autoptr(VFIOUserRig) rig = map_translated();

    vfio_user_server_set_rules(rig->server, very_slow_maps);
    for (unsigned i = 1; i <= 3; i++) {
        map_set_many(rig, i, READ | WRITE);
        vtd_invalidate(rig->qts, IOTLB_GLOBAL);
        vfio_user_rig_ping(rig);
        g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, i);
    }
    map_check_alive(rig);
}

/* In a transaction, more messages follow than there are slots. */
static void test_transaction(void)
{
    g_autoptr(VFIOUserRig) rig = map_translated();

    vtd_command(rig->qts, 0);
    map_set_many(rig, MANY, READ | WRITE);
    vfio_user_server_set_rules(rig->server, slow_maps);
    vfio_user_server_forget(rig->server);
    vtd_command(rig->qts, GCMD_TRANSLATE);
    map_check_broken(rig, saw_maps(rig));
}

/* The same with maps deferred until the VM runs. */
static void test_start(void)
{
    g_autoptr(VFIOUserRig) rig = map_translated();

    map_stop_vm(rig);
    map_set_many(rig, MANY, READ | WRITE);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    vfio_user_server_set_rules(rig->server, slow_maps);
    map_continue_vm(rig);
    map_check_broken(rig, saw_maps(rig));
}

/* Unplugging does not wait for a server that is slow to unmap. */
static void test_unplug(void)
{
    g_autoptr(VFIOUserRig) rig = map_translated();
    unsigned n;

    for (unsigned i = 1; i <= 20; i++) {
        map_set_many(rig, i * MANY / 20, READ | WRITE);
        vtd_invalidate(rig->qts, IOTLB_GLOBAL);
        vfio_user_rig_ping(rig);
    }
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, MANY);
    vfio_user_server_set_rules(rig->server, slow_unmaps);
    vfio_user_rig_unplug(rig);
    vfio_user_server_wait_client(rig->server, false);
    n = vfio_user_server_saw(rig->server, VFIO_USER_DMA_UNMAP);
    g_assert_cmpuint(n, <=, ANSWERED);
    vfio_user_rig_ping(rig);
}

void vfio_user_add_map_tests(void)
{
    qtest_add_func("/vfio-user/map/time", test_time);
    qtest_add_func("/vfio-user/map/postponed", test_postponed);
    qtest_add_func("/vfio-user/map/singly", test_singly);
    qtest_add_func("/vfio-user/map/one-by-one", test_one_by_one);
    qtest_add_func("/vfio-user/map/transaction", test_transaction);
    qtest_add_func("/vfio-user/map/start", test_start);
    qtest_add_func("/vfio-user/map/unplug", test_unplug);
}
