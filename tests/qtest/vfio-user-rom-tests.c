/*
 * qtest of the vfio-user client: option ROM
 *
 * Tests an option ROM read by message from the server, one from a file, and
 * none, and its execution by firmware.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "vfio-user-option-rom-image.h"
#include "vfio-user-option-rom.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define ROM_FILE_SIZE 4096

static VFIOUserModel model_with_rom(uint64_t size)
{
    VFIOUserModel model = vfio_user_model;

    model.region[VFIO_PCI_ROM_REGION_INDEX].size = size;
    return model;
}

static VFIOUserRig *rom_plug(const char *args, const VFIOUserModel *model)
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

static void enable_rom(VFIOUserRig *rig)
{
    qpci_config_writel(rig->dev, PCI_ROM_ADDRESS,
                       ROM_AT | PCI_ROM_ADDRESS_ENABLE);
}

static void test_rom_disabled(void)
{
    g_autoptr(VFIOUserRig) rig =
        rom_plug(VFIO_USER_RIG_RAM "-global vfio-user-pci.rombar=0 ", NULL);

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
    rig = rom_plug(args, NULL);
    g_assert_cmphex(rom_mask(rig), ==, (uint32_t)-ROM_FILE_SIZE);
    enable_rom(rig);
    g_assert_cmphex(qtest_readl(rig->qts, ROM_AT), ==, 0x77777777);
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_REGION_READ,
                                          AT(VFIO_PCI_ROM_REGION_INDEX)),
                     ==, 0);
    vfio_user_rig_end(rig);
    unlink(path);
}

/* The ROM is read once, completely, at the first access. */
static void test_rom_read_once(void)
{
    const VFIOUserModel model = model_with_rom(64 * KiB);
    g_autoptr(VFIOUserRig) rig =
        rom_plug(VFIO_USER_RIG_RAM, &model);
    const uint32_t value = 0x0badcafe;

    g_assert_cmphex(rom_mask(rig), ==, (uint32_t)-(64 * KiB));
    vfio_user_server_poke(rig->server, VFIO_PCI_ROM_REGION_INDEX,
                          64 * KiB - 4, &value, sizeof(value));
    enable_rom(rig);
    vfio_user_server_forget(rig->server);
    g_assert_cmphex(qtest_readl(rig->qts, ROM_AT), ==, 0);
    g_assert_cmphex(qtest_readl(rig->qts, ROM_AT + 64 * KiB - 4), ==, value);
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_REGION_READ,
                                          AT(VFIO_PCI_ROM_REGION_INDEX)),
                     ==, 1);
}

/* Servers whose ROM BAR is read-only: QEMU uses the size of the region */

typedef struct Fixed {
    const char *name;
    uint64_t size;              /* size of the region */
    uint32_t bar;               /* constant value of the BAR */
    uint32_t mask;              /* BAR mask seen by the guest; 0: no ROM */
} Fixed;

static const Fixed fixed_roms[] = {
    { "2-kib", 2 * KiB, 0, (uint32_t)-(2 * KiB) },
    { "64-kib", 64 * KiB, 0, (uint32_t)-(64 * KiB) },
    { "3-bytes", 3, 0, (uint32_t)-(2 * KiB) },
    { "2564-bytes", 2564, 0, (uint32_t)-(4 * KiB) },
    { "16-mib", 16 * MiB, 0, (uint32_t)-(16 * MiB) },
    { "more-than-16-mib", 16 * MiB + 4, 0, 0 },
    { "none", 0, 0, 0 },
    { "with-address", 64 * KiB, 0xfebc0000, (uint32_t)-(64 * KiB) },
    { "with-crooked-address", 64 * KiB, 0xfeb41000, (uint32_t)-(64 * KiB) },
    { "none-with-address", 0, 0xfebc0000, 0 },
};

static void check_fixed(const char *more, const Fixed *row, uint32_t mask,
                        bool read)
{
    static const VFIOUserPersonality personality = {
        .name = "fixed", .fixed_rom = true,
    };
    g_autofree char *errors = NULL;
    g_autofree char *args = NULL;
    g_autofree char *said = NULL;
    VFIOUserModel model = model_with_rom(row->size);
    int fd = g_file_open_tmp("vfio-user-rom-XXXXXX", &errors, NULL);
    VFIOUserRig *rig;

    close(fd);
    model.personality = &personality;
    pci_set_long(model.config + PCI_ROM_ADDRESS, row->bar);
    args = g_strdup_printf(VFIO_USER_RIG_RAM "%s 2>%s", more, errors);
    rig = rom_plug(args, &model);
    g_assert_cmphex(rom_mask(rig), ==, mask);
    if (mask && read) {
        const uint8_t value = 0x5a;

        vfio_user_server_poke(rig->server, VFIO_PCI_ROM_REGION_INDEX, 2,
                              &value, sizeof(value));
        enable_rom(rig);
        g_assert_cmphex(qtest_readb(rig->qts, ROM_AT + 2), ==, value);
        g_assert_cmphex(qtest_readb(rig->qts, ROM_AT + ~mask), ==,
                        ~mask < row->size ? 0 : 0xff);
    }
    vfio_user_rig_end(rig);
    vfio_user_rig_quit();
    g_assert_true(g_file_get_contents(errors, &said, NULL, NULL));
    unlink(errors);
    g_test_message("%s", said);
    /* no error although the server refuses the ROM's address */
    g_assert_null(strstr(said, "cannot write"));
    g_assert_cmpint(!!strstr(said, "option ROM not shown"), ==,
                    row->size && !mask);
}

static void test_rom_fixed(const void *opaque)
{
    const Fixed *row = opaque;

    check_fixed("", row, row->mask, true);
}

static void test_rom_fixed_disabled(void)
{
    static const Fixed row = { "", 0, 0, 0 };

    check_fixed("-global vfio-user-pci.rombar=0", &row, 0, false);
}

/* A ROM that firmware finds and calls, and that writes a mark to RAM. */

static char *read_option_rom(void)
{
    GError *err = NULL;
    char *bytes;
    gsize size;

    g_file_get_contents(VFIO_USER_OPTION_ROM_IMAGE, &bytes, &size, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(size, ==, VFIO_USER_OPTION_ROM_SIZE);
    for (unsigned i = 0; i < size - 1; i++) {
        bytes[size - 1] -= bytes[i];    /* make the sum of all bytes 0 */
    }
    return bytes;
}

static void test_rom_boot(void)
{
    g_autoptr(VFIOUserServer) server = vfio_user_server_new(NULL, NULL);
    g_autofree char *rom = read_option_rom();
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    QTestState *qts;

    vfio_user_server_poke(server, VFIO_PCI_ROM_REGION_INDEX, 0, rom,
                          VFIO_USER_OPTION_ROM_SIZE);
    qts = qtest_initf(VFIO_USER_RIG_RAM "-accel tcg "
                      "-device vfio-user-pci,socket=%s",
                      vfio_user_server_path(server));
    while (qtest_readw(qts, VFIO_USER_OPTION_ROM_MARK_AT) !=
           VFIO_USER_OPTION_ROM_MARK) {
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
    qtest_add_func("/vfio-user/rom/fixed/disabled", test_rom_fixed_disabled);
    for (size_t i = 0; i < ARRAY_SIZE(fixed_roms); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/rom/fixed/%s",
                                                fixed_roms[i].name);

        qtest_add_data_func(path, &fixed_roms[i], test_rom_fixed);
    }
}
