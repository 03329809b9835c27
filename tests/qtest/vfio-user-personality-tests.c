/*
 * qtest of the vfio-user client: habits of released servers
 *
 * Warnings about a server's habits, the properties that avoid them, and the
 * resulting limits for the guest.  Other tests check, for each personality,
 * that the device works nevertheless.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "hw/pci/pci.h"
#include "vfio-user-irq.h"
#include "vfio-user-tests.h"
#include "vfio-user-vtd.h"

#define UNDRAINED "then parsed its payload as a command"
#define NO_PROBES ",x-no-region-io-fds=on,x-no-device-feature=on"

/*
 * Starts a QEMU with a device of the rust-vmm crate, and another device
 * without a server, which makes QEMU exit.  Returns QEMU's messages.
 */
static char *start_with(VFIOUserServer *server, const char *properties)
{
    g_autofree char *args = g_strdup_printf(
        "-machine pc -nodefaults -device vfio-user-pci,socket=%s%s -device"
        " vfio-user-pci,socket=/nowhere", vfio_user_server_path(server),
        properties);
    char *out;

    g_assert_cmpint(vfio_user_rig_run(args, &out), ==, 1);
    g_assert_nonnull(strstr(out, "/nowhere"));
    vfio_user_server_wait_client(server, false);
    return out;
}

static VFIOUserServer *undrained_server(void)
{
    static VFIOUserModel model;

    model = vfio_user_model;
    model.personality = vfio_user_personality("rust-vmm");
    return vfio_user_server_new(&model, NULL);
}

/* There is one warning, and the server stays synchronized after each probe. */
static void test_undrained(void)
{
    g_autoptr(VFIOUserServer) server = undrained_server();
    g_autofree char *out = start_with(server, "");
    g_auto(GStrv) parts = g_strsplit(out, UNDRAINED, -1);
    VFIOUserSeen seen = vfio_user_server_see(server, VFIO_USER_DEVICE_FEATURE);

    g_assert_cmpuint(g_strv_length(parts) - 1, ==, 1);
    g_assert_nonnull(strstr(out, "x-no-region-io-fds=on"));
    g_assert_cmpuint(seen.header.size, ==, 2 * sizeof(VFIOUserHeader));
}

/* The warning names the other probe if that is refused first. */
static void test_undrained_feature(void)
{
    g_autoptr(VFIOUserServer) server = undrained_server();
    g_autofree char *out = start_with(server, ",x-no-region-io-fds=on");

    g_assert_nonnull(strstr(out, UNDRAINED));
    g_assert_nonnull(strstr(out, "x-no-device-feature=on"));
    g_assert_cmpuint(vfio_user_server_saw(server,
                                          VFIO_USER_DEVICE_GET_REGION_IO_FDS),
                     ==, 0);
}

static void test_no_probes(void)
{
    g_autoptr(VFIOUserServer) server = undrained_server();
    g_autofree char *out = start_with(server, NO_PROBES);

    g_assert_null(strstr(out, UNDRAINED));
    g_assert_cmpuint(vfio_user_server_saw(server,
                                          VFIO_USER_DEVICE_GET_REGION_IO_FDS),
                     ==, 0);
    g_assert_cmpuint(vfio_user_server_saw(server, VFIO_USER_DEVICE_FEATURE),
                     ==, 0);
}

/* Limits */

#define TRANSLATED "-machine q35,memory-backend=ram -nodefaults -m 64 " \
                   "-device intel-iommu,caching-mode=on " \
                   "-object memory-backend-memfd,id=ram,size=64M,share=on " \
                   VFIO_USER_RIG_Q35_PORT
#define RAM 0x1000000ull        /* not used by the interrupt helpers */

static VFIOUserModel personality_model_of(const char *name)
{
    VFIOUserModel model = vfio_user_model;

    model.personality = vfio_user_personality(name);
    return model;
}

static void check_registers(VFIOUserRig *rig)
{
    qpci_io_writel(rig->dev, rig->bar[0], 0x20, 0x600d);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x20), ==, 0x600d);
}

static void personality_check_works(VFIOUserRig *rig)
{
    check_registers(rig);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 3);
    vfio_user_irq_check(rig, 3);
    qpci_msix_disable(rig->dev);
}

static bool says(const char *path, const char *text)
{
    g_autofree char *said = NULL;

    g_assert_true(g_file_get_contents(path, &said, NULL, NULL));
    return strstr(said, text);
}

/* Maps a page that cannot be merged with others. */
static void personality_map_page(VFIOUserRig *rig, unsigned i)
{
    vtd_set(rig->qts, IOVA + i * PAGE, RAM + 2 * i * PAGE, READ | WRITE);
    vtd_invalidate_pages(rig->qts, IOVA + i * PAGE, 0);
}

/* One map too many disables the device and nothing else. */
static void check_most_maps(VFIOUserRig *rig, unsigned most, const char *said)
{
    vtd_init(rig->qts, VFIO_USER_RIG_Q35_BUS, 0);
    vfio_user_rig_plug(rig, 0);
    vtd_command(rig->qts, GCMD_TRANSLATE);
    for (unsigned i = 0; i < most; i++) {
        personality_map_page(rig, i);
    }
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, most);
    check_registers(rig);
    g_assert_false(says(said, "connection lost"));

    personality_map_page(rig, most);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x20), ==,
                    UINT32_MAX);
    g_assert_true(says(said, "connection lost: DMA_MAP"));
    personality_map_page(rig, most + 1);
    vfio_user_rig_ping(rig);
}

static void test_most_maps(const void *name)
{
    const VFIOUserModel model = personality_model_of(name);
    g_autofree char *said = NULL;
    g_autofree char *args = NULL;
    int fd = g_file_open_tmp("vfio-user-said-XXXXXX", &said, NULL);
    VFIOUserRig *rig;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    args = g_strdup_printf(TRANSLATED "2>%s", said);
    rig = vfio_user_rig_begin(args, &model, NULL);
    check_most_maps(rig, model.personality->most_maps, said);
    vfio_user_rig_end(rig);
    vfio_user_rig_quit();
    g_unlink(said);
}

/*
 * Shared memory that is not aligned as the server requires is accessed by
 * message.
 */
static void test_unaligned(void)
{
    const VFIOUserModel model = personality_model_of("spdk");
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_SHARED,
                                                     &model, NULL);
    const uint64_t value = 0x0123456789abcdef;
    uint64_t is;
    VFIOUserMap map;

    vfio_user_rig_plug(rig, 0);
    g_assert_true(vfio_user_server_map(rig->server, RAM, &map));
    g_assert_null(map.memory);
    qtest_writeq(rig->qts, RAM, value);
    g_assert_cmpint(vfio_user_server_dma_read(rig->server, RAM, &is,
                                              sizeof(is)), ==, 0);
    g_assert_cmphex(is, ==, value);
    personality_check_works(rig);
}

/* Memory that is not shared is announced but never accessed. */
static void test_no_messages(void)
{
    const VFIOUserModel model = personality_model_of("x-vfio-user-server");
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(&model, NULL, 0);
    const uint64_t value = 0x0123456789abcdef;
    VFIOUserMap map;

    g_assert_true(vfio_user_server_map(rig->server, RAM, &map));
    g_assert_null(map.memory);
    g_assert_false(vfio_user_server_asks(rig->server));
    g_assert_false(vfio_user_server_write(rig->server, RAM, &value,
                                          sizeof(value)));
    personality_check_works(rig);
}

/* The guest gets no MSI if the server lacks it, and can continue. */
static void test_no_msi_beside(void)
{
    const VFIOUserModel model = personality_model_of("x-vfio-user-server");
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(&model, NULL, 0);

    personality_check_works(rig);
    vfio_user_server_forget(rig->server);
    vfio_user_irq_enable_msi(rig, true);
    g_assert_false(vfio_user_irq_armed(rig, VFIO_PCI_MSI_IRQ_INDEX, 0));
    check_registers(rig);
    vfio_user_irq_enable_msi(rig, false);
    personality_check_works(rig);
}

void vfio_user_add_personality_tests(void)
{
    for (const VFIOUserPersonality *p = vfio_user_personalities; p->name;
         p++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/limit/most-maps/%s", p->name);

        if (p->most_maps) {
            qtest_add_data_func(path, p->name, test_most_maps);
        }
    }
    qtest_add_func("/vfio-user/limit/unaligned", test_unaligned);
    qtest_add_func("/vfio-user/limit/no-messages", test_no_messages);
    qtest_add_func("/vfio-user/limit/no-msi-beside", test_no_msi_beside);
    qtest_add_func("/vfio-user/undrained/warning", test_undrained);
    qtest_add_func("/vfio-user/undrained/feature", test_undrained_feature);
    qtest_add_func("/vfio-user/undrained/no-probes", test_no_probes);
}
