/*
 * qtest of the vfio-user client: option ROM
 *
 * By message, from the server, from a file, or not at all; and run by firmware.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define ROM_FILE_SIZE 4096

static VFIOUserModel model_with_rom(uint64_t size)
{
    VFIOUserModel model = vfio_user_model;

    model.region[VFIO_PCI_ROM_REGION_INDEX].size = size;
    return model;
}

static VFIOUserRig *plug_model(const char *args, const VFIOUserModel *model)
{
    VFIOUserRig *rig = vfio_user_rig_begin(args, model, NULL);

    vfio_user_rig_plug(rig, 0);
    return rig;
}

#define ROM_AT 0xd0000000

static uint32_t rom_mask(VFIOUserRig *rig)
{
    qpci_config_writel(rig->dev, PCI_ROM_ADDRESS, 0xfffffffe);
    return qpci_config_readl(rig->dev, PCI_ROM_ADDRESS);
}

static void show_rom(VFIOUserRig *rig)
{
    qpci_config_writel(rig->dev, PCI_ROM_ADDRESS,
                       ROM_AT | PCI_ROM_ADDRESS_ENABLE);
}

static void test_rom_disabled(void)
{
    g_autoptr(VFIOUserRig) rig =
        plug_model(VFIO_USER_RIG_RAM "-global vfio-user-pci.rombar=0 ", NULL);

    g_assert_cmphex(rom_mask(rig), ==, 0);
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_REGION_READ,
                                          AT(VFIO_PCI_ROM_REGION_INDEX)),
                     ==, 0);
}

static void test_rom_file(void)
{
    g_autofree char *args = NULL;
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("vfio-user-rom-XXXXXX", &path, NULL);
    uint8_t bytes[ROM_FILE_SIZE];
    VFIOUserRig *rig;

    memset(bytes, 0x77, sizeof(bytes));
    g_assert_cmpint(write(fd, bytes, sizeof(bytes)), ==, sizeof(bytes));
    close(fd);
    args = g_strdup_printf(VFIO_USER_RIG_RAM
                           "-global vfio-user-pci.romfile=%s ", path);
    rig = plug_model(args, NULL);
    g_assert_cmphex(rom_mask(rig), ==, (uint32_t)-ROM_FILE_SIZE);
    show_rom(rig);
    g_assert_cmphex(qtest_readl(rig->qts, ROM_AT), ==, 0x77777777);
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_REGION_READ,
                                          AT(VFIO_PCI_ROM_REGION_INDEX)),
                     ==, 0);
    vfio_user_rig_end(rig);
    unlink(path);
}

/* Read once, as a whole, with the first look at it. */
static void test_rom_read_once(void)
{
    const VFIOUserModel model = model_with_rom(64 * KiB);
    g_autoptr(VFIOUserRig) rig =
        plug_model(VFIO_USER_RIG_RAM, &model);
    const uint32_t value = 0x0badcafe;

    g_assert_cmphex(rom_mask(rig), ==, (uint32_t)-(64 * KiB));
    vfio_user_server_poke(rig->server, VFIO_PCI_ROM_REGION_INDEX,
                          64 * KiB - 4, &value, sizeof(value));
    show_rom(rig);
    vfio_user_server_forget(rig->server);
    g_assert_cmphex(qtest_readl(rig->qts, ROM_AT), ==, 0);
    g_assert_cmphex(qtest_readl(rig->qts, ROM_AT + 64 * KiB - 4), ==, value);
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_REGION_READ,
                                          AT(VFIO_PCI_ROM_REGION_INDEX)),
                     ==, 1);
}

/* A ROM that firmware finds and calls, and that leaves a mark in RAM. */

#define MARK_AT 0x4f0           /* for communication between applications */
#define MARK    0xcafe

static const uint8_t rom_code[512] = {
    0x55, 0xaa, 1,                              /* of 512 bytes */
    0x1e,                                       /* pushw %ds */
    0x31, 0xc0,                                 /* xorw %ax, %ax */
    0x8e, 0xd8,                                 /* movw %ax, %ds */
    0xc7, 0x06, 0xf0, 0x04, 0xfe, 0xca,         /* movw $MARK, MARK_AT */
    0x1f,                                       /* popw %ds */
    0xcb,                                       /* lretw */
    [0x18] = 0x20,                              /* where this stands: */
    [0x20] = 'P', 'C', 'I', 'R', 0x34, 0x12, 0xed, 0xfe, 0, 0, 0x18, 0, 0,
             0, 0, 0xff, 1, 0, 0, 0, 0, 0x80,
};

static void test_rom_boot(void)
{
    g_autoptr(VFIOUserServer) server = vfio_user_server_new(NULL, NULL);
    uint8_t bytes[sizeof(rom_code)];
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    QTestState *qts;
    unsigned i;

    memcpy(bytes, rom_code, sizeof(bytes));
    for (i = 0; i < sizeof(bytes) - 1; i++) {
        bytes[sizeof(bytes) - 1] -= bytes[i];   /* their sum is 0 */
    }
    vfio_user_server_poke(server, VFIO_PCI_ROM_REGION_INDEX, 0, bytes,
                          sizeof(bytes));
    qts = qtest_initf(VFIO_USER_RIG_RAM "-accel tcg "
                      "-device vfio-user-pci,socket=%s",
                      vfio_user_server_path(server));
    while (qtest_readw(qts, MARK_AT) != MARK) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
    qtest_quit(qts);
}

void vfio_user_add_rom_tests(void)
{
    qtest_add_func("/vfio-user/rom/read-once", test_rom_read_once);
    qtest_add_func("/vfio-user/rom/disabled", test_rom_disabled);
    qtest_add_func("/vfio-user/rom/file", test_rom_file);
    qtest_add_func("/vfio-user/rom/boot", test_rom_boot);
}
