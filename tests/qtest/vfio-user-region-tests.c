/*
 * qtest of the vfio-user client: regions
 *
 * Checks which guest accesses are messages and which go to shared memory, for
 * all kinds of regions, and servers with an invalid region description or
 * file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-slow-file.h"
#include "vfio-user-tests.h"

#define RW (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE)
#define MAPPED (RW | VFIO_REGION_INFO_FLAG_MMAP)
#define PAGE 0x1000

/* Address of BARs that are larger than the rig's. */
#define HIGH (1ULL << 40)

/* The default model with one region replaced. */
static const VFIOUserModel *model_with(unsigned nr, VFIOUserModelRegion region)
{
    static VFIOUserModel model;

    model = vfio_user_model;
    model.region[nr] = region;
    return &model;
}
#define MODEL_WITH(nr, ...) model_with(nr, (VFIOUserModelRegion) __VA_ARGS__)

static VFIOUserRig *region_plug(const char *args, const VFIOUserModel *model)
{
    VFIOUserRig *rig = vfio_user_rig_begin(args, model, NULL);

    vfio_user_rig_plug(rig, 0);
    return rig;
}

/* Returns the number of messages that have reached the server. */
static unsigned region_count_messages(VFIOUserRig *rig)
{
    g_autoptr(GArray) log = NULL;

    /* all earlier messages have arrived when this read returns */
    qpci_config_readb(rig->dev, PCI_LATENCY_TIMER);
    log = vfio_user_server_log(rig->server);
    return log->len - 1;
}

/* Reads and writes at offset @at of a region mapped at @address. */
static void check_access(VFIOUserRig *rig, unsigned nr, uint64_t address,
                         uint64_t at, bool by_message)
{
    const uint32_t value = 0x12345678 + at, other = 0x9abcdef0 ^ at;
    uint32_t is;

    vfio_user_server_poke(rig->server, nr, at, &value, sizeof(value));
    vfio_user_server_forget(rig->server);
    g_assert_cmphex(qtest_readl(rig->qts, address + at), ==, value);
    qtest_writel(rig->qts, address + at, other);
    g_assert_cmpuint(region_count_messages(rig), ==, by_message ? 2 : 0);
    vfio_user_server_peek(rig->server, nr, at, &is, sizeof(is));
    g_assert_cmphex(is, ==, other);
    if (by_message) {
        vfio_user_server_see(rig->server, VFIO_USER_REGION_READ,
                             AT_OFFSET(nr, at));
        vfio_user_server_see(rig->server, VFIO_USER_REGION_WRITE,
                             AT_OFFSET(nr, at));
    }
}

static void region_check_bar(VFIOUserRig *rig, unsigned nr, uint64_t at,
                             bool by_message)
{
    check_access(rig, nr, rig->bar[nr].addr, at, by_message);
}

/* Whether QEMU has mapped a file of the server. */
static bool maps_a_file(VFIOUserRig *rig)
{
    g_autofree char *path =
        g_strdup_printf("/proc/%d/maps", vfio_user_server_client(rig->server));
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return strstr(text, "vfio-user-region");
}

/* Mapping */

static void test_whole(void)
{
    g_autoptr(VFIOUserRig) rig =
        region_plug(VFIO_USER_RIG_RAM, MODEL_WITH(0, { 4 * PAGE, MAPPED }));

    region_check_bar(rig, 0, 0, false);
    region_check_bar(rig, 0, 4 * PAGE - 4, false);
    region_check_bar(rig, 2, 0, true);
    g_assert_true(maps_a_file(rig));
    vfio_user_rig_unplug(rig);
    vfio_user_rig_wait(rig, !maps_a_file(rig));
}

static void test_offset(void)
{
    g_autoptr(VFIOUserRig) rig =
        region_plug(VFIO_USER_RIG_RAM,
                    MODEL_WITH(0, { 4 * PAGE, MAPPED, .offset = 3 * PAGE }));

    region_check_bar(rig, 0, 0, false);
    region_check_bar(rig, 0, 4 * PAGE - 4, false);
}

static void check_areas(bool fd_per_area)
{
    g_autoptr(VFIOUserRig) rig =
        region_plug(VFIO_USER_RIG_RAM, MODEL_WITH(2, {
            16 * PAGE, MAPPED, 3,
            { { PAGE, PAGE }, { 8 * PAGE, 8 * PAGE }, { 4 * PAGE, PAGE } },
            .offset = PAGE, .fd_per_area = fd_per_area,
        }));

    region_check_bar(rig, 2, 0, true);
    region_check_bar(rig, 2, PAGE - 4, true);
    region_check_bar(rig, 2, PAGE, false);
    region_check_bar(rig, 2, 2 * PAGE - 4, false);
    region_check_bar(rig, 2, 2 * PAGE, true);
    region_check_bar(rig, 2, 4 * PAGE, false);
    region_check_bar(rig, 2, 5 * PAGE, true);
    region_check_bar(rig, 2, 8 * PAGE, false);
    region_check_bar(rig, 2, 16 * PAGE - 4, false);
}

static void test_areas(void)
{
    check_areas(false);
}

/* libvfio-user sends one descriptor for each area. */
static void test_areas_with_fds(void)
{
    check_areas(true);
}

/* Empty areas are ignored, whatever their offset. */
static void test_areas_empty(void)
{
    g_autoptr(VFIOUserRig) rig =
        region_plug(VFIO_USER_RIG_RAM, MODEL_WITH(2, {
            16 * PAGE, MAPPED, 4,
            { { PAGE, PAGE }, { 0, 0 }, { 4 * PAGE, PAGE },
              { 99 * PAGE + 1, 0 } },
        }));

    region_check_bar(rig, 2, 0, true);
    region_check_bar(rig, 2, PAGE, false);
    region_check_bar(rig, 2, 2 * PAGE, true);
    region_check_bar(rig, 2, 4 * PAGE, false);
    region_check_bar(rig, 2, 5 * PAGE, true);
}

/* Like the sample "server" of libvfio-user. */
static void test_no_power_of_two(void)
{
    g_autoptr(VFIOUserRig) rig =
        region_plug(VFIO_USER_RIG_RAM, MODEL_WITH(0, {
            3 * PAGE, MAPPED, 2, { { 0, PAGE }, { 2 * PAGE, PAGE } },
        }));

    region_check_bar(rig, 0, 0, false);
    region_check_bar(rig, 0, PAGE, true);
    region_check_bar(rig, 0, 3 * PAGE - 4, false);
    vfio_user_server_forget(rig->server);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 3 * PAGE), ==,
                    UINT32_MAX);
    qpci_io_writel(rig->dev, rig->bar[0], 3 * PAGE, 0);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 4 * PAGE - 4), ==,
                    UINT32_MAX);
    g_assert_cmpuint(region_count_messages(rig), ==, 0);
}

static void test_no_power_of_two_whole(void)
{
    g_autoptr(VFIOUserRig) rig =
        region_plug(VFIO_USER_RIG_RAM, MODEL_WITH(0, { 3 * PAGE, MAPPED }));

    region_check_bar(rig, 0, 3 * PAGE - 4, false);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 3 * PAGE), ==,
                    UINT32_MAX);
}

static void test_switched_off(void)
{
    g_autoptr(VFIOUserRig) rig =
        region_plug(VFIO_USER_RIG_RAM "-global vfio-user-pci.x-no-mmap=on ",
                    MODEL_WITH(0, { 4 * PAGE, MAPPED }));

    region_check_bar(rig, 0, 0, true);
    g_assert_false(maps_a_file(rig));
}

/*
 * Regions that are not both readable and writable are not mapped: guest reads
 * might have side effects, and a ROM must not be written.
 */
static void test_not_both_ways(void)
{
    static const uint32_t flags[] = {
        VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE, 0,
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(flags); i++) {
        g_autoptr(VFIOUserRig) rig =
            region_plug(VFIO_USER_RIG_RAM, MODEL_WITH(0, {
                PAGE, flags[i] | VFIO_REGION_INFO_FLAG_MMAP,
            }));

        g_assert_false(maps_a_file(rig));
        region_check_bar(rig, 0, 0, true);
    }
}

/* MSI-X: QEMU's table overlays the mapping. */

#define VECTOR 3

static void check_msix(const VFIOUserModel *model, uint64_t table,
                       uint64_t beside)
{
    g_autoptr(VFIOUserRig) rig = region_plug(VFIO_USER_RIG_RAM, model);
    const uint64_t entry = table + VECTOR * PCI_MSIX_ENTRY_SIZE;
    const uint32_t zero = 0;
    QPCIBar bar = qpci_iomap(rig->dev, 4, NULL);
    uint32_t is;

    vfio_user_server_poke(rig->server, 4, entry, &zero, sizeof(zero));
    vfio_user_server_forget(rig->server);
    qpci_io_writel(rig->dev, bar, entry, 0xfee00000);
    g_assert_cmphex(qpci_io_readl(rig->dev, bar, entry), ==, 0xfee00000);
    g_assert_cmpuint(region_count_messages(rig), ==, 0);
    vfio_user_server_peek(rig->server, 4, entry, &is, sizeof(is));
    g_assert_cmphex(is, ==, 0);
    check_access(rig, 4, bar.addr, beside, false);
}

static VFIOUserModel msix_model(uint32_t table, VFIOUserModelRegion region)
{
    VFIOUserModel model = vfio_user_model;

    model.region[4] = region;
    pci_set_long(model.config + VFIO_USER_MODEL_MSIX + PCI_MSIX_TABLE,
                 table | 4);
    pci_set_long(model.config + VFIO_USER_MODEL_MSIX + PCI_MSIX_PBA,
                 3 * PAGE | 4);
    return model;
}

static void test_msix(void)
{
    static const VFIOUserModelRegion whole = { 4 * PAGE, MAPPED };
    static const VFIOUserModelRegion area = {
        4 * PAGE, MAPPED, 1, { { 0, 4 * PAGE } },
    };
    unsigned at;

    for (at = 0; at < 3; at++) {
        VFIOUserModel model = msix_model(at * PAGE, whole);

        check_msix(&model, at * PAGE, (at + 1) % 3 * PAGE);
        model = msix_model(at * PAGE, area);
        check_msix(&model, at * PAGE, (at + 1) % 3 * PAGE);
    }
}

/* INTx and disconnects disable and enable mappings */

static unsigned memory_changes(VFIOUserRig *rig)
{
    return vfio_user_server_saw(rig->server, VFIO_USER_DMA_MAP) +
           vfio_user_server_saw(rig->server, VFIO_USER_DMA_UNMAP);
}

#define INTX_MMAP_NS (1100 * 1000000LL)

static void test_intx(void)
{
    g_autoptr(VFIOUserRig) rig =
        region_plug(VFIO_USER_RIG_RAM, MODEL_WITH(0, { PAGE, MAPPED }));

    vfio_user_server_forget(rig->server);
    vfio_user_server_trigger(rig->server, VFIO_PCI_INTX_IRQ_INDEX, 0);
    /* the next access to the device shows the interrupt and acknowledges it */
    vfio_user_rig_wait(rig, (qtest_readl(rig->qts, rig->bar[0].addr),
                             vfio_user_server_saw(rig->server,
                                                  VFIO_USER_REGION_READ)));
    vfio_user_server_see(rig->server, VFIO_USER_DEVICE_SET_IRQS,
                         AT(VFIO_PCI_INTX_IRQ_INDEX));
    /* this sends no map or unmap */
    g_assert_cmpuint(memory_changes(rig), ==, 0);
    region_check_bar(rig, 0, 0, true);

    /* after some time without interrupts */
    qtest_clock_step(rig->qts, INTX_MMAP_NS);
    g_assert_cmpuint(memory_changes(rig), ==, 0);
    region_check_bar(rig, 0, 0, false);
}

static void region_check_gone(VFIOUserRig *rig)
{
    vfio_user_rig_wait(rig, qpci_io_readl(rig->dev, rig->bar[0], 0x10) ==
                            UINT32_MAX);
    qpci_io_writel(rig->dev, rig->bar[0], 0x10, 0);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x10), ==,
                    UINT32_MAX);
    vfio_user_rig_ping(rig);
}

static void test_death(void)
{
    g_autoptr(VFIOUserRig) rig =
        region_plug(VFIO_USER_RIG_RAM, MODEL_WITH(0, { PAGE, MAPPED }));
    const uint32_t value = 0x1234;

    vfio_user_server_poke(rig->server, 0, 0x10, &value, sizeof(value));
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x10), ==, value);
    vfio_user_server_hang_up(rig->server);
    region_check_gone(rig);
}

/* The timer that enables mappings again finds no server. */
static void test_death_in_intx(void)
{
    g_autoptr(VFIOUserRig) rig =
        region_plug(VFIO_USER_RIG_RAM, MODEL_WITH(0, { PAGE, MAPPED }));

    vfio_user_server_trigger(rig->server, VFIO_PCI_INTX_IRQ_INDEX, 0);
    vfio_user_rig_wait(rig, (qtest_readl(rig->qts, rig->bar[0].addr),
                             vfio_user_server_saw(rig->server,
                                                  VFIO_USER_REGION_READ)));
    vfio_user_server_hang_up(rig->server);
    region_check_gone(rig);
    qtest_clock_step(rig->qts, 2 * INTX_MMAP_NS);
    region_check_gone(rig);
}

/* DMA to registers */

static void test_dma(void)
{
    g_autoptr(VFIOUserRig) rig =
        region_plug(VFIO_USER_RIG_SHARED, MODEL_WITH(0, { PAGE, MAPPED }));
    uint64_t at = rig->bar[0].addr;
    unsigned maps = vfio_user_server_maps(rig->server);
    uint32_t value = 0;

    g_assert_cmpint(vfio_user_server_dma_read(rig->server, at, &value, 4),
                    !=, 0);
    g_assert_cmpint(vfio_user_server_dma_write(rig->server, at, &value, 4),
                    !=, 0);
    g_assert_cmpint(vfio_user_server_dma_read(rig->server, 0x200000, &value,
                                              4), ==, 0);

    /* move the BAR away and back */
    vfio_user_server_forget(rig->server);
    qpci_config_writew(rig->dev, PCI_COMMAND, 0);
    qpci_device_enable(rig->dev);
    g_assert_cmpuint(memory_changes(rig), ==, 0);
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, maps);
    region_check_bar(rig, 0, 0, false);
}

/* Sizes and types of BARs */

static void test_wide(void)
{
    const uint64_t size = 8ULL * GiB;
    VFIOUserModel model = *MODEL_WITH(2, {
        size, MAPPED, 2, { { 0, PAGE }, { size - PAGE, PAGE } },
    });
    const unsigned bar2 = PCI_BASE_ADDRESS_2, bar3 = PCI_BASE_ADDRESS_3;
    VFIOUserRig *rig;

    pci_set_long(model.config + bar2, PCI_BASE_ADDRESS_MEM_TYPE_64 |
                                      PCI_BASE_ADDRESS_MEM_PREFETCH);
    rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, &model, NULL);
    g_assert_null(vfio_user_rig_try_plug(rig, 0));
    g_assert_nonnull(rig->dev);
    qpci_device_enable(rig->dev);

    qpci_config_writel(rig->dev, bar2, UINT32_MAX);
    qpci_config_writel(rig->dev, bar3, UINT32_MAX);
    g_assert_cmphex(qpci_config_readl(rig->dev, bar2), ==,
                    PCI_BASE_ADDRESS_MEM_TYPE_64 |
                    PCI_BASE_ADDRESS_MEM_PREFETCH);
    g_assert_cmphex(qpci_config_readl(rig->dev, bar3), ==,
                    (uint32_t)-(size >> 32));
    qpci_config_writel(rig->dev, bar2, 0);
    qpci_config_writel(rig->dev, bar3, HIGH >> 32);

    check_access(rig, 2, HIGH, 0, false);
    check_access(rig, 2, HIGH, PAGE, true);
    check_access(rig, 2, HIGH, 4ULL * GiB + 0x10, true);
    check_access(rig, 2, HIGH, size - PAGE - 4, true);
    check_access(rig, 2, HIGH, size - 4, false);
    vfio_user_rig_end(rig);
}

/* Returns the bytes of QEMU's private memory. */
static uint64_t own_memory(VFIOUserRig *rig)
{
    g_autofree char *path =
        g_strdup_printf("/proc/%d/status", qtest_pid(rig->qts));
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return g_ascii_strtoull(strstr(text, "VmData:") + strlen("VmData:"), NULL,
                            10) * KiB;
}

/* A BAR that is a whole, sparse file. */
static void check_large(uint64_t size, bool by_message)
{
    VFIOUserModel model = *MODEL_WITH(2, { size, MAPPED });
    g_autoptr(VFIOUserRig) rig = NULL;
    const uint64_t at = MAX(size, HIGH);
    uint64_t before;
    gint64 begun;

    pci_set_long(model.config + PCI_BASE_ADDRESS_2,
                 PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
    rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, &model, NULL);
    before = own_memory(rig);
    begun = g_get_monotonic_time();
    g_assert_null(vfio_user_rig_try_plug(rig, 0));
    qpci_device_enable(rig->dev);
    qpci_config_writel(rig->dev, PCI_BASE_ADDRESS_3, at >> 32);
    g_test_message("a BAR of 0x%" PRIx64 " bytes: %" PRId64 " ms, %" PRId64
                   " KiB", size, (g_get_monotonic_time() - begun) / 1000,
                   (int64_t)(own_memory(rig) - before) / 1024);
    g_assert_cmpint(maps_a_file(rig), ==, !by_message);
    check_access(rig, 2, at, 0, by_message);
    check_access(rig, 2, at, size - 4, by_message);
}

static void test_largest(void)
{
    check_large(64 * GiB, false);
}

static void test_too_large(void)
{
    check_large(128 * GiB, true);
    check_large(32 * TiB, true);
}

/* BARs of different types in any order: 64 bits, ports, 32 bits, 64 bits. */
static void test_order(void)
{
    VFIOUserModel model = vfio_user_model;
    static const unsigned nrs[] = { 0, 3, 4 };
    VFIOUserRig *rig;
    unsigned i;

    memset(model.region, 0, 6 * sizeof(model.region[0]));
    model.region[0] = (VFIOUserModelRegion) { 2 * PAGE, MAPPED };
    model.region[2] = (VFIOUserModelRegion) { 16, RW };
    model.region[3] = (VFIOUserModelRegion) { PAGE, RW };
    model.region[4] = (VFIOUserModelRegion) { 4 * PAGE, MAPPED };
    memset(model.config + PCI_BASE_ADDRESS_0, 0, 24);
    model.config[PCI_BASE_ADDRESS_0] = PCI_BASE_ADDRESS_MEM_TYPE_64;
    model.config[PCI_BASE_ADDRESS_2] = PCI_BASE_ADDRESS_SPACE_IO;
    model.config[PCI_BASE_ADDRESS_3] = PCI_BASE_ADDRESS_MEM_PREFETCH;
    model.config[PCI_BASE_ADDRESS_4] = PCI_BASE_ADDRESS_MEM_TYPE_64 |
                                       PCI_BASE_ADDRESS_MEM_PREFETCH;

    rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, &model, NULL);
    g_assert_null(vfio_user_rig_try_plug(rig, 0));
    qpci_device_enable(rig->dev);
    for (i = 0; i < ARRAY_SIZE(nrs); i++) {
        QPCIBar bar = qpci_iomap(rig->dev, nrs[i], NULL);

        /* outside the page of the MSI-X table */
        check_access(rig, nrs[i], bar.addr,
                     nrs[i] == 3 ? PAGE - 4 : 2 * PAGE - 4, nrs[i] == 3);
    }
    rig->bar[2] = qpci_iomap(rig->dev, 2, NULL);
    g_assert_cmphex(qpci_io_readb(rig->dev, rig->bar[2], 15), ==, 0);
    vfio_user_server_see(rig->server, VFIO_USER_REGION_READ,
                         AT_OFFSET(2, 15));
    vfio_user_rig_end(rig);
}

/* Legacy VGA ranges of a server are ignored. */
static void test_vga(void)
{
    VFIOUserModel model = *MODEL_WITH(VFIO_PCI_VGA_REGION_INDEX,
                                      { 0xc0000, RW });
    VFIOUserRig *rig;

    pci_set_word(model.config + PCI_CLASS_DEVICE, PCI_CLASS_DISPLAY_VGA);
    rig = region_plug(VFIO_USER_RIG_RAM, &model);
    vfio_user_server_forget(rig->server);
    qtest_writel(rig->qts, 0xa0000, 0x5a5a5a5a);
    qtest_outb(rig->qts, 0x3c0, 0x5a);
    qtest_outb(rig->qts, 0x3b4, 0x5a);
    g_assert_cmpuint(region_count_messages(rig), ==, 0);
    region_check_bar(rig, 0, 0, true);
    vfio_user_rig_end(rig);
}

/* Invalid descriptions */

typedef struct BadInfo {
    const char *name;
    bool refused;               /* else accessed by message */
    uint32_t at;                /* offset in the region info */
    VFIOUserData data;          /* data to write there */
    VFIOUserRule rule;          /* if no data: modifies the reply */
} BadInfo;

/* Offsets in the region info with two areas. */
#define CAP 32
#define AREA(i) (CAP + 16 + 16 * (i))
#define LE32(v) BYTES((v) & 0xff, (v) >> 8 & 0xff, (v) >> 16 & 0xff, (v) >> 24)
#define LE64(v) STRUCT(uint64_t, v)
#define INFO(name) offsetof(VFIOUserRegionInfo, name)
/* The second query, which has room for the areas. */
#define DESCRIPTION ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(2), .nth = 2)

static const BadInfo bad_infos[] = {
    { "area-outside", false, AREA(0), LE64(16 * PAGE) },
    { "area-across-end", false, AREA(1), LE64(15 * PAGE) },
    { "area-far-outside", false, AREA(0), LE64(-(uint64_t)PAGE) },
    { "area-unaligned", false, AREA(0), LE64(PAGE + 16) },
    { "area-of-8-exbibytes", false, AREA(0) + 8, LE64(1ULL << 63) },
    { "area-of-half-a-page", false, AREA(0) + 8, LE64(PAGE / 2) },
    { "areas-overlap", false, AREA(1), LE64(0) },
    { "no-areas", false, CAP + 8, LE32(0) },
    { "offset-unaligned", false, INFO(offset), LE64(8) },
    { "offset-behind-file", false, INFO(offset), LE64(PAGE * 16) },
    { "offset-at-end-of-offsets", false, INFO(offset),
      LE64(0x7ffffffffffff000) },
    { "size-0-with-mmap", false, INFO(size), LE64(0) },

    { "4-gi-areas", true, CAP + 8, LE32(UINT32_MAX) },
    { "3-areas", true, CAP + 8, LE32(3) },
    { "capability-loops", true, CAP, BYTES(77, 0, 1, 0, CAP) },
    { "capability-next-outside", true, CAP + 4, LE32(0xfffffff8) },
    { "capability-unaligned", true, INFO(cap_offset), LE32(CAP + 2) },
    { "capability-outside", true, INFO(cap_offset), LE32(0x1000) },
    { "answers-for-another", true, INFO(index), LE32(1) },
    { "argsz-short", true, INFO(argsz), LE32(31) },
    { "argsz-long", true, INFO(argsz), LE32(PAGE) },
    { "offset-of-8-exbibytes", true, INFO(offset), LE64(1ULL << 63) },
    { "cut", true, .rule = { DESCRIPTION, DO_LENGTH, AREA(1) } },
    { "without-areas", true, .rule = { DESCRIPTION, DO_LENGTH, CAP } },
};

static void test_bad_info(const void *opaque)
{
    static const VFIOUserModelRegion region = {
        16 * PAGE, MAPPED, 2, { { 0, 2 * PAGE }, { 8 * PAGE, 2 * PAGE } },
    };
    const BadInfo *bad = opaque;
    VFIOUserRule rules[] = {
        bad->data.size ? (VFIOUserRule) { DESCRIPTION, DO_PATCH, bad->at,
                                          bad->data } : bad->rule,
        { }
    };
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_begin(VFIO_USER_RIG_RAM, model_with(2, region), rules);
    g_autofree char *message = vfio_user_rig_try_plug(rig, 0);

    if (bad->refused) {
        g_assert_nonnull(message);
        g_test_message("%s", message);
        g_assert_nonnull(strstr(message, vfio_user_server_path(rig->server)));
        g_assert_nonnull(strstr(message, "region 2: "));
        g_assert_null(strchr(message, '\n'));
    } else {
        g_assert_cmpstr(message, ==, NULL);
        g_assert_false(maps_a_file(rig));
        qpci_device_enable(rig->dev);
        rig->bar[0] = qpci_iomap(rig->dev, 0, NULL);
        region_check_bar(rig, 0, 0, true);
    }
    vfio_user_rig_ping(rig);
}

static const VFIOUserRule no_file[] = {
    { ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(0)), DO_PATCH,
      INFO(flags), LE32(MAPPED) },
    { }
};
static const VFIOUserRule other_file[] = {
    { ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(0)), DO_PATCH,
      INFO(flags), LE32(MAPPED) },
    { ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(0)), DO_FDS, 3 },
    { }
};
static const VFIOUserRule short_file[] = {
    { ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(0)), DO_PATCH,
      INFO(size), LE64(4 * PAGE) },
    { }
};

/* A file whose fstat() and close() block: QEMU does not wait. */
static void test_never_answers(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     NULL);
    VFIOUserFuse *fuse = vfio_user_fuse_new(qtest_pid(rig->qts));

    if (fuse) {
        const VFIOUserRule rules[] = {
            no_file[0],
            { ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(0)), DO_PASS,
              vfio_user_fuse_fd(fuse) },
            { }
        };

        vfio_user_server_set_rules(rig->server, rules);
        vfio_user_rig_plug(rig, 0);
        g_assert_false(maps_a_file(rig));
        region_check_bar(rig, 0, 0, true);
        vfio_user_fuse_wait(fuse);
        vfio_user_rig_unplug(rig);
        vfio_user_fuse_free(fuse);
    } else {
        g_test_skip("FUSE cannot be mounted here");
    }
}

/*
 * Checks that there is one warning per region not mapped, and that the device
 * exists.
 */
static void check_warning(const VFIOUserModel *model,
                          const VFIOUserRule *rules, const char *why)
{
    g_autoptr(VFIOUserServer) server = vfio_user_server_new(model, rules);
    g_autofree char *wanted =
        g_strdup_printf("warning: vfio-user %s: region 0 is accessed by"
                        " message, not mapped: %s\n",
                        vfio_user_server_path(server), why);
    g_autofree char *args =
        g_strdup_printf(VFIO_USER_RIG_SHARED "-device vfio-user-pci,socket=%s "
                        "-device vfio-user-pci,socket=/nowhere",
                        vfio_user_server_path(server));
    g_autofree char *text = NULL;
    const char *line;

    g_assert_cmpint(vfio_user_rig_run(args, &text), ==, 1);
    line = strstr(text, "warning: ");
    g_assert_nonnull(line);
    g_assert_true(g_str_has_prefix(line, wanted));
    g_assert_null(strstr(line + 1, "warning: "));
    g_assert_cmpuint(vfio_user_rig_lines(text), ==, 1);
}

/*
 * hw/vfio queries kernel features of mapped regions, with the command that
 * servers know for migration and dirty pages.  The server must only get the
 * known queries.
 */
static void test_features(void)
{
    VFIOUserModel model = *vfio_user_mig_stop_copy;
    g_autoptr(VFIOUserRig) rig = NULL;
    g_autoptr(GArray) log = NULL;
    unsigned i, features = 0;

    model.region[0] = (VFIOUserModelRegion) { 4 * PAGE, MAPPED };
    model.region[2] = (VFIOUserModelRegion) { 4 * PAGE, MAPPED };
    rig = region_plug(VFIO_USER_RIG_RAM, &model);
    log = vfio_user_server_log(rig->server);
    for (i = 0; i < log->len; i++) {
        VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);
        VFIOUserDeviceFeature asked;

        if (seen->header.command == VFIO_USER_DEVICE_FEATURE) {
            memcpy(&asked, seen->payload, sizeof(asked));
            switch (asked.flags & VFIO_DEVICE_FEATURE_MASK) {
            case VFIO_DEVICE_FEATURE_MIGRATION:
            case VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
            case VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
                features++;
                break;
            default:
                g_error("the server was asked for 0x%x", asked.flags);
            }
        }
    }
    g_assert_cmpuint(features, >, 0);
    check_access(rig, 0, rig->bar[0].addr, PAGE, false);
    check_access(rig, 2, rig->bar[2].addr, PAGE, false);
}

/* A server that has nothing to map causes no warning. */
static void test_no_warning(void)
{
    g_autoptr(VFIOUserServer) server =
        vfio_user_server_new(MODEL_WITH(0, {
            4 * PAGE, MAPPED, 2, { { PAGE, 0 }, { 0, 0 } },
        }), NULL);
    g_autofree char *args =
        g_strdup_printf(VFIO_USER_RIG_SHARED "-device vfio-user-pci,socket=%s "
                        "-device vfio-user-pci,socket=/nowhere",
                        vfio_user_server_path(server));
    g_autofree char *text = NULL;

    g_assert_cmpint(vfio_user_rig_run(args, &text), ==, 1);
    g_assert_null(strstr(text, "warning: "));
}

static void test_warnings(void)
{
    check_warning(NULL, no_file, "the server sent no descriptor");
    check_warning(NULL, other_file, "its descriptor is neither a memfd nor a"
                  " file of tmpfs or hugetlbfs");
    check_warning(MODEL_WITH(0, { 2 * PAGE, MAPPED }), short_file,
                  "the area of 0x4000 bytes at 0x0 is not inside the file");
    check_warning(MODEL_WITH(0, { 256, MAPPED }), NULL,
                  "the area of 0x100 bytes at 0x0 does not consist of whole"
                  " pages");
    check_warning(MODEL_WITH(0, { PAGE, MAPPED & ~RW }), NULL,
                  "it is not readable and writable");
}

void vfio_user_add_region_tests(void)
{
    unsigned i;

    qtest_add_func("/vfio-user/region/whole", test_whole);
    qtest_add_func("/vfio-user/region/offset", test_offset);
    qtest_add_func("/vfio-user/region/areas", test_areas);
    qtest_add_func("/vfio-user/region/areas-empty", test_areas_empty);
    qtest_add_func("/vfio-user/region/areas-with-fds", test_areas_with_fds);
    qtest_add_func("/vfio-user/region/no-power-of-two", test_no_power_of_two);
    qtest_add_func("/vfio-user/region/no-power-of-two-whole",
                   test_no_power_of_two_whole);
    qtest_add_func("/vfio-user/region/not-both-ways", test_not_both_ways);
    qtest_add_func("/vfio-user/region/msix", test_msix);
    qtest_add_func("/vfio-user/region/intx", test_intx);
    qtest_add_func("/vfio-user/region/death", test_death);
    qtest_add_func("/vfio-user/region/death-in-intx", test_death_in_intx);
    qtest_add_func("/vfio-user/region/wide", test_wide);
    qtest_add_func("/vfio-user/region/largest", test_largest);
    qtest_add_func("/vfio-user/region/too-large", test_too_large);
    qtest_add_func("/vfio-user/region/never-answers", test_never_answers);
    qtest_add_func("/vfio-user/region/order", test_order);
    qtest_add_func("/vfio-user/region/vga", test_vga);
    for (i = 0; i < ARRAY_SIZE(bad_infos); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/region/lies/%s",
                                                bad_infos[i].name);

        qtest_add_data_func(path, &bad_infos[i], test_bad_info);
    }
    qtest_add_func("/vfio-user/region/features", test_features);
    qtest_add_func("/vfio-user/region/no-warning", test_no_warning);
    qtest_add_func("/vfio-user/region/warnings", test_warnings);
    /* these need a VM with other options */
    qtest_add_func("/vfio-user/region/dma", test_dma);
    qtest_add_func("/vfio-user/region/switched-off", test_switched_off);
}
