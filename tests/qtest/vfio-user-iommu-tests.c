/*
 * qtest of the vfio-user client: a vIOMMU
 *
 * The test acts as the intel-iommu driver and checks the DMA_MAP and DMA_UNMAP
 * messages.  The server requires an unmap to match a map and rejects
 * overlapping maps; such an error would disable the device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "qemu/thread.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"
#include "vfio-user-vtd.h"

#define IOMMU "-nodefaults -m 64 -device intel-iommu,caching-mode=on " \
              VFIO_USER_RIG_Q35_PORT
#define MACHINE_PRIVATE "-machine q35 " IOMMU
#define MACHINE "-machine q35,memory-backend=ram " IOMMU \
                "-object memory-backend-memfd,id=ram,size=64M,share=on "
#define TIMEOUT_MS 600

#define RAM 0x1000000ull        /* guest memory that is mapped */

/* Maps @n pages in reverse order, so that neighbors cannot be merged. */
static void iommu_set_many(VFIOUserRig *rig, unsigned n)
{
    g_autofree uint64_t *entries = g_new(uint64_t, n);
    unsigned i;

    g_assert_cmpuint(n, <=, LAST_LEVELS * 512);
    for (i = 0; i < n; i++) {
        entries[i] = (RAM + (n - i) * PAGE) | READ | WRITE;
    }
    qtest_memwrite(rig->qts, LEVEL_1(0), entries, n * sizeof(*entries));
}

static VFIOUserRig *iommu_begin(const char *args, const VFIOUserModel *model)
{
    VFIOUserRig *rig = vfio_user_rig_begin(args, model, NULL);

    vtd_init(rig->qts, VFIO_USER_RIG_Q35_BUS, 0);
    return rig;
}

/* Plugs a device with translation enabled and empty tables. */
static VFIOUserRig *iommu_translated(const char *args, unsigned timeout_ms)
{
    VFIOUserRig *rig = iommu_begin(args, NULL);

    vfio_user_rig_plug(rig, timeout_ms);
    vtd_command(rig->qts, GCMD_TRANSLATE);
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, 0);
    vfio_user_server_forget(rig->server);
    return rig;
}

/* Checks of the server's view */

/* Checks that @size bytes at @iova are mapped to guest memory at @at. */
static void check_mapped(VFIOUserRig *rig, uint64_t iova, uint64_t at,
                         uint64_t size)
{
    uint64_t value = 0x0123456789abcdef ^ (iova + at), is;
    VFIOUserMap map;

    qtest_writeq(rig->qts, at + size - 8, value);
    qpci_config_writew(rig->dev, PCI_COMMAND, PCI_COMMAND_MEMORY);
    g_assert_cmpint(vfio_user_server_dma_read(rig->server, iova + size - 8,
                                              &is, 8), ==, EFAULT);
    qpci_device_enable(rig->dev);
    g_assert_cmpint(vfio_user_server_dma_read(rig->server, iova + size - 8,
                                              &is, 8), ==, 0);
    g_assert_cmphex(is, ==, value);
    g_assert_true(vfio_user_server_map(rig->server, iova, &map));
    if (map.memory && map.address + map.size >= iova + size) {
        g_assert_cmpmem(map.memory + (iova + size - 8 - map.address), 8,
                        &value, 8);
    }
}

static void check_unmapped(VFIOUserRig *rig, uint64_t iova)
{
    VFIOUserMap map;
    uint8_t byte;

    g_assert_false(vfio_user_server_map(rig->server, iova, &map));
    g_assert_cmpint(vfio_user_server_dma_read(rig->server, iova, &byte, 1),
                    ==, EFAULT);
}

static void check_messages(VFIOUserRig *rig, unsigned maps, unsigned unmaps)
{
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_DMA_MAP),
                     ==, maps);
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_DMA_UNMAP),
                     ==, unmaps);
    vfio_user_server_forget(rig->server);
}

static void iommu_check_alive(VFIOUserRig *rig)
{
    qpci_io_writel(rig->dev, rig->bar[0], 0x20, 0x600d);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x20), ==, 0x600d);
}

static void iommu_check_broken(VFIOUserRig *rig)
{
    vfio_user_rig_ping(rig);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x20), ==,
                    UINT32_MAX);
}

/* On the command line */

#define SLOT 4
#define SWAPPED "-machine q35,memory-backend=ram -nodefaults -m 64 "           \
                "-object memory-backend-memfd,id=ram,size=64M,share=on "       \
                "-device vfio-user-pci,addr=4,socket=%s "                      \
                "-device intel-iommu,caching-mode=on"

/* It translates for a device that comes before it as well. */
static void test_swapped(void)
{
    g_autoptr(VFIOUserServer) server = vfio_user_server_new(NULL, NULL);
    QTestState *qts = qtest_initf(SWAPPED, vfio_user_server_path(server));
    VFIOUserMap map;

    vtd_init(qts, 0, SLOT << 3);
    vtd_set(qts, IOVA, RAM, READ | WRITE);
    vtd_command(qts, GCMD_TRANSLATE);
    g_assert_true(vfio_user_server_map(server, IOVA, &map));
    g_assert_cmphex(map.size, ==, PAGE);
    g_assert_false(vfio_user_server_map(server, RAM, &map));
    g_assert_cmpuint(vfio_user_server_maps(server), ==, 1);
    qtest_quit(qts);
    vfio_user_server_wait_client(server, false);
}

/* Maps and unmaps */

static void test_pages(gconstpointer args)
{
    g_autoptr(VFIOUserRig) rig = iommu_translated(args, 0);
    const uint64_t iova = IOVA + 3 * PAGE;
    uint64_t bytes = 1;
    VFIOUserMap map;

    vtd_set(rig->qts, iova, RAM, READ | WRITE);
    vtd_invalidate_pages(rig->qts, iova, 0);
    g_assert_true(vfio_user_server_map(rig->server, iova, &map));
    g_assert_cmphex(map.address, ==, iova);
    g_assert_cmphex(map.size, ==, PAGE);
    g_assert_cmphex(map.flags, ==,
                    VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITEABLE);
    check_messages(rig, 1, 0);
    check_mapped(rig, iova, RAM, PAGE);
    check_unmapped(rig, iova + PAGE);
    check_unmapped(rig, RAM);

    /* a read-only page follows: a read may cross into it, a write may not */
    vtd_set(rig->qts, iova + PAGE, RAM + 7 * PAGE, READ);
    vtd_invalidate_pages(rig->qts, iova + PAGE, 0);
    g_assert_true(vfio_user_server_map(rig->server, iova + PAGE, &map));
    g_assert_cmphex(map.flags, ==, VFIO_USER_DMA_READABLE);
    check_mapped(rig, iova + PAGE, RAM + 7 * PAGE, PAGE);
    qtest_writel(rig->qts, RAM + PAGE - 4, 0x11111111);
    qtest_writel(rig->qts, RAM + 7 * PAGE, 0x22222222);
    g_assert_cmpint(vfio_user_server_dma_write(rig->server, iova + PAGE - 4,
                                               &bytes, 8), ==, EPERM);
    g_assert_cmpint(vfio_user_server_dma_read(rig->server, iova + PAGE - 4,
                                              &bytes, 8), ==, 0);
    g_assert_cmphex(bytes, ==, 0x2222222211111111);

    vtd_set(rig->qts, iova, 0, 0);
    vtd_invalidate_pages(rig->qts, iova, 0);
    check_unmapped(rig, iova);
    check_mapped(rig, iova + PAGE, RAM + 7 * PAGE, PAGE);
    iommu_check_alive(rig);
}

/* Invalidates ranges that contain no map, one map, and many maps. */
static void test_ranges(void)
{
    g_autoptr(VFIOUserRig) rig = iommu_translated(MACHINE, 0);
    const unsigned n = 40;

    vtd_invalidate_pages(rig->qts, IOVA, 9);
    vtd_invalidate(rig->qts, IOTLB_DOMAIN(DOMAIN));
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    check_messages(rig, 0, 0);

    iommu_set_many(rig, n);
    vtd_invalidate(rig->qts, IOTLB_DOMAIN(DOMAIN));
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, n);
    check_messages(rig, n, 0);

    /* existing maps are not sent again */
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    vtd_invalidate_pages(rig->qts, IOVA, 9);
    check_messages(rig, 0, 0);

    vtd_set(rig->qts, IOVA + 5 * PAGE, 0, 0);
    vtd_invalidate_pages(rig->qts, IOVA, 9);
    check_messages(rig, 0, 1);
    check_unmapped(rig, IOVA + 5 * PAGE);
    check_mapped(rig, IOVA + 6 * PAGE, RAM + (n - 6) * PAGE, PAGE);

    qtest_memset(rig->qts, LEVEL_1(0), 0, PAGE);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    check_messages(rig, 0, n - 1);
    iommu_check_alive(rig);
}

/* A page is remapped without an invalidation in between. */
static void test_changed(void)
{
    g_autoptr(VFIOUserRig) rig = iommu_translated(MACHINE, 0);

    vtd_set(rig->qts, IOVA, RAM, READ | WRITE);
    vtd_invalidate_pages(rig->qts, IOVA, 0);
    vtd_set(rig->qts, IOVA, RAM + PAGE, READ | WRITE);
    vtd_invalidate_pages(rig->qts, IOVA, 0);
    check_mapped(rig, IOVA, RAM + PAGE, PAGE);
    check_messages(rig, 2, 1);

    vtd_set(rig->qts, IOVA, RAM + PAGE, READ);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    g_assert_cmpint(vfio_user_server_dma_write(rig->server, IOVA, "x", 1), ==,
                    EPERM);
    iommu_check_alive(rig);
}

/*
 * A huge page is split and one of its pages is remapped.  QEMU unmaps only
 * that page and loses track of the other pages.
 */
static void test_huge(void)
{
    g_autoptr(VFIOUserRig) rig = iommu_translated(MACHINE, 0);
    const uint64_t odd = IOVA + 100 * PAGE;
    VFIOUserMap map;
    unsigned i;

    vtd_set_huge(rig->qts, IOVA, RAM, READ | WRITE);
    vtd_invalidate(rig->qts, IOTLB_DOMAIN(DOMAIN));
    g_assert_true(vfio_user_server_map(rig->server, IOVA, &map));
    g_assert_cmphex(map.size, ==, HUGE_PAGE);
    check_messages(rig, 1, 0);
    check_mapped(rig, IOVA, RAM, HUGE_PAGE);

    for (i = 0; i < 512; i++) {
        vtd_set(rig->qts, IOVA + i * PAGE, RAM + i * PAGE, READ | WRITE);
    }
    vtd_set(rig->qts, odd, RAM + HUGE_PAGE, READ | WRITE);
    vtd_set_huge(rig->qts, IOVA, 0, 0);
    vtd_invalidate_pages(rig->qts, odd, 0);
    check_messages(rig, 3, 1);
    check_mapped(rig, IOVA, RAM, 100 * PAGE);
    check_mapped(rig, odd, RAM + HUGE_PAGE, PAGE);
    check_mapped(rig, odd + PAGE, RAM + 101 * PAGE, 411 * PAGE);

    /* a global invalidation leaves unchanged maps alone */
    vtd_set(rig->qts, odd + PAGE, RAM + HUGE_PAGE + PAGE, READ | WRITE);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    check_messages(rig, 2, 1);
    check_mapped(rig, odd + PAGE, RAM + HUGE_PAGE + PAGE, PAGE);
    check_mapped(rig, odd + 2 * PAGE, RAM + 102 * PAGE, 410 * PAGE);

    /* the huge page replaces all remaining small pages */
    vtd_set_huge(rig->qts, IOVA, RAM, READ | WRITE);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, 1);
    check_mapped(rig, IOVA, RAM, HUGE_PAGE);
    iommu_check_alive(rig);
}

/* Switches between untranslated and translated addresses. */
static void test_switch(void)
{
    g_autoptr(VFIOUserRig) rig = iommu_begin(MACHINE, NULL);
    const unsigned n = 30;
    unsigned plain, i;

    vfio_user_rig_plug(rig, 0);
    plain = vfio_user_server_maps(rig->server);
    check_mapped(rig, RAM, RAM, PAGE);
    iommu_set_many(rig, n);
    for (i = 0; i < 3; i++) {
        vtd_command(rig->qts, GCMD_TRANSLATE);
        g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, n);
        check_mapped(rig, IOVA, RAM + n * PAGE, PAGE);
        check_unmapped(rig, RAM);

        qtest_writeq(rig->qts, VTD_CCMD, CCMD_GLOBAL);
        g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, n);

        vtd_command(rig->qts, 0);
        g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, plain);
        check_mapped(rig, RAM, RAM, PAGE);
        check_unmapped(rig, IOVA);
    }
    iommu_check_alive(rig);
}

static void test_reset(void)
{
    g_autoptr(VFIOUserRig) rig = iommu_translated(MACHINE, 0);
    QDict *response;

    iommu_set_many(rig, 9);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    check_messages(rig, 9, 0);
    response = qtest_qmp(rig->qts, "{'execute': 'system_reset'}");
    qobject_unref(response);
    qtest_qmp_eventwait(rig->qts, "RESET");
    check_unmapped(rig, IOVA);
    vfio_user_rig_enable(rig);
    check_unmapped(rig, IOVA);
    check_mapped(rig, RAM, RAM, PAGE);
    vfio_user_rig_ping(rig);
}

/* Plugs and unplugs with filled tables. */
static void test_plug(void)
{
    g_autoptr(VFIOUserRig) rig = iommu_begin(MACHINE, NULL);
    const unsigned n = 12;
    unsigned i;

    iommu_set_many(rig, n);
    vtd_command(rig->qts, GCMD_TRANSLATE);
    for (i = 0; i < 3; i++) {
        vfio_user_rig_plug(rig, 0);
        g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, n);
        check_mapped(rig, IOVA, RAM + n * PAGE, PAGE);
        iommu_check_alive(rig);
        vfio_user_server_forget(rig->server);
        vfio_user_rig_unplug(rig);
        vfio_user_server_wait_client(rig->server, false);
        check_messages(rig, 0, n);
    }
}

/* Faults */

typedef struct Fault {
    const char *name;
    VFIOUserRule rule;
    bool unmap;
} Fault;

static const Fault faults[] = {
    { "map-refused", { ON(VFIO_USER_DMA_MAP), DO_FAIL, ENOMEM } },
    { "map-never-answered", { ON(VFIO_USER_DMA_MAP), DO_DROP } },
    { "map-answered-too-long", { ON(VFIO_USER_DMA_MAP), DO_LENGTH, 8 } },
    { "unmap-refused", { ON(VFIO_USER_DMA_UNMAP), DO_FAIL, ENOENT }, true },
    { "unmap-never-answered", { ON(VFIO_USER_DMA_UNMAP), DO_DROP }, true },
    { "unmap-answered-short", { ON(VFIO_USER_DMA_UNMAP), DO_LENGTH, 4 },
      true },
    { "death-at-map", { ON(VFIO_USER_DMA_MAP), DO_CUT, 3 } },
};

/* The server fails during a map or unmap: only its device dies. */
static void test_fault(gconstpointer data)
{
    const Fault *fault = data;
    const VFIOUserRule rules[] = { fault->rule, { } };
    g_autoptr(VFIOUserRig) rig = iommu_translated(MACHINE,
                                                  TIMEOUT_MS);

    iommu_set_many(rig, 3);
    if (fault->unmap) {
        vtd_invalidate(rig->qts, IOTLB_GLOBAL);
        qtest_memset(rig->qts, LEVEL_1(0), 0, PAGE);
    }
    vfio_user_server_set_rules(rig->server, rules);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    iommu_check_broken(rig);

    /* the guest keeps changing its tables */
    iommu_set_many(rig, 5);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    vtd_set(rig->qts, IOVA, 0, 0);
    vtd_invalidate_pages(rig->qts, IOVA, 0);
    vtd_command(rig->qts, 0);
    vtd_command(rig->qts, GCMD_TRANSLATE);
    iommu_check_broken(rig);
}

/* Many concurrent calls, and limits */
#define MANY 1500
#define SLOTS 255               /* calls in flight, maximum of the client */
static VFIOUserRig *full(const VFIOUserModel *model)
{
    VFIOUserRig *rig = iommu_begin(MACHINE, model);

    iommu_set_many(rig, MANY);
    vtd_command(rig->qts, GCMD_TRANSLATE);
    return rig;
}

static void test_many(void)
{
    g_autoptr(VFIOUserRig) rig = full(NULL);

    vfio_user_rig_plug(rig, 0);
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, MANY);
    check_messages(rig, MANY, 0);
    check_mapped(rig, IOVA + (MANY - 1) * PAGE, RAM + PAGE, PAGE);
    vtd_command(rig->qts, 0);
    check_unmapped(rig, IOVA);
    iommu_check_alive(rig);
}

static void *release_when_full(void *opaque)
{
    VFIOUserServer *s = opaque;

    vfio_user_server_see(s, VFIO_USER_DMA_MAP, .nth = SLOTS);
    g_assert_cmpuint(vfio_user_server_saw(s, VFIO_USER_DMA_MAP), ==, SLOTS);
    vfio_user_server_set_rules(s, NULL);
    vfio_user_server_release(s);
    return NULL;
}

/* The server only answers when the client has no free slot. */
static void test_many_held(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DMA_MAP), DO_HOLD },
        { }
    };
    g_autoptr(VFIOUserRig) rig = full(NULL);
    QemuThread thread;

    vfio_user_server_set_rules(rig->server, rules);
    qemu_thread_create(&thread, "release", release_when_full, rig->server,
                       QEMU_THREAD_JOINABLE);
    vfio_user_rig_plug(rig, 0);
    qemu_thread_join(&thread);
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, MANY);
    iommu_check_alive(rig);
}

static void check_not_plugged(VFIOUserRig *rig, unsigned timeout_ms,
                              const char *because)
{
    g_autofree char *message = vfio_user_rig_try_plug(rig, timeout_ms);

    g_assert_nonnull(message);
    g_test_message("%s", message);
    g_assert_nonnull(strstr(message, because));
    g_assert_null(strchr(message, '\n'));
    vfio_user_rig_ping(rig);
}

/* This takes one timeout, not one for each call that waits for a slot. */
static void test_many_never_answered(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DMA_MAP), DO_DROP },
        { }
    };
    g_autoptr(VFIOUserRig) rig = full(NULL);
    gint64 begun = g_get_monotonic_time();

    vfio_user_server_set_rules(rig->server, rules);
    check_not_plugged(rig, TIMEOUT_MS, "DMA_MAP: no ");
    g_assert_cmpint(g_get_monotonic_time() - begun, <,
                    20 * TIMEOUT_MS * 1000);
}

static void test_max_maps(void)
{
    VFIOUserModel model = vfio_user_model;
    g_autoptr(VFIOUserRig) rig = NULL;

    model.version = "{\"capabilities\":{\"max_dma_maps\":100,"
                    "\"max_msg_fds\":8}}";
    rig = full(&model);
    check_not_plugged(rig, 0, "at most 100 DMA maps");
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_DMA_MAP), ==,
                     100);

    /* exactly the maximum works, one more does not */
    qtest_memset(rig->qts, LEVEL_1(0), 0, LAST_LEVELS * PAGE);
    iommu_set_many(rig, 100);
    vfio_user_rig_plug(rig, 0);
    check_mapped(rig, IOVA, RAM + 100 * PAGE, PAGE);
    vtd_set(rig->qts, IOVA + 50 * PAGE, 0, 0);
    vtd_set(rig->qts, IOVA + 200 * PAGE, RAM, READ);
    vtd_invalidate_pages(rig->qts, IOVA, 9);
    iommu_check_alive(rig);
    vtd_set(rig->qts, IOVA + 201 * PAGE, RAM, READ);
    vtd_invalidate_pages(rig->qts, IOVA, 9);
    iommu_check_broken(rig);
}

/*
 * A server with huge pages only: those are mapped, and a small page is
 * rejected.
 */
static void test_page_sizes(void)
{
    VFIOUserModel model = vfio_user_model;
    g_autoptr(VFIOUserRig) rig = NULL;

    model.version = "{\"capabilities\":{\"pgsizes\":2097152,"
                    "\"max_msg_fds\":8}}";
    rig = iommu_begin(MACHINE, &model);
    vtd_command(rig->qts, GCMD_TRANSLATE);
    vtd_set_huge(rig->qts, IOVA, RAM, READ | WRITE);
    vfio_user_rig_plug(rig, 0);
    check_mapped(rig, IOVA, RAM, HUGE_PAGE);
    vtd_set(rig->qts, IOVA + HUGE_PAGE, RAM, READ);
    vtd_invalidate(rig->qts, IOTLB_GLOBAL);
    iommu_check_broken(rig);
}

void vfio_user_add_iommu_tests(void)
{
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(faults); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/iommu/fault/%s",
                                                faults[i].name);

        qtest_add_data_func(path, &faults[i], test_fault);
    }
    qtest_add_data_func("/vfio-user/iommu/pages-shared", MACHINE, test_pages);
    qtest_add_func("/vfio-user/iommu/swapped", test_swapped);
    qtest_add_func("/vfio-user/iommu/ranges", test_ranges);
    qtest_add_func("/vfio-user/iommu/changed", test_changed);
    qtest_add_func("/vfio-user/iommu/huge", test_huge);
    qtest_add_func("/vfio-user/iommu/switch", test_switch);
    qtest_add_func("/vfio-user/iommu/reset", test_reset);
    qtest_add_func("/vfio-user/iommu/plug", test_plug);
    qtest_add_func("/vfio-user/iommu/many", test_many);
    qtest_add_func("/vfio-user/iommu/many-held", test_many_held);
    qtest_add_func("/vfio-user/iommu/many-never-answered",
                   test_many_never_answered);
    qtest_add_func("/vfio-user/iommu/max-maps", test_max_maps);
    qtest_add_func("/vfio-user/iommu/page-sizes", test_page_sizes);
    qtest_add_data_func("/vfio-user/iommu/pages", MACHINE_PRIVATE, test_pages);
}
