/*
 * qtest of the vfio-user client: errors that are reported to a driver
 *
 * The device is behind a root port, which gets a message about an error of the
 * device when its server is back.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "hw/pci/pcie_regs.h"
#include "vfio-user-loss.h"
#include "vfio-user-errors.h"
#include "vfio-user-tests.h"

#define Q35 "-machine q35 -nodefaults -m 64 " VFIO_USER_RIG_Q35_PORT
#define CONFIG VFIO_PCI_CONFIG_REGION_INDEX

#define EXPRESS 0x80            /* offset in the server's device */
#define LINK_CAPABILITIES 0x12  /* width 1, speed 2 */
#define SERIAL_NUMBER 0x5eed5eed

/* Configuration space as memory, by which qtest reaches all 4 KiB */
#define ECAM 0xb0000000u
#define PORT (ECAM + (VFIO_USER_RIG_SLOT << 15))
#define DEVICE (ECAM + (VFIO_USER_RIG_Q35_BUS << 20))
#define Q35_PCIEXBAR 0x60

/* Extended capabilities of the server's device; a row ends with ID 0. */
typedef struct Layout {
    const char *name;
    struct {
        uint16_t id;
        uint16_t offset;
    } cap[4];
    uint16_t aer;               /* where the guest finds it; 0: nowhere */
} Layout;

static const Layout layouts[] = {
    { "none", { }, 0x100 },
    { "own", { { PCI_EXT_CAP_ID_ERR, 0x100 }, { PCI_EXT_CAP_ID_DSN, 0x140 } },
      0x100 },
    { "own-short", { { PCI_EXT_CAP_ID_ERR, 0x100 },
                     { PCI_EXT_CAP_ID_DSN, 0x12c } }, 0x100 },
    { "own-behind", { { PCI_EXT_CAP_ID_DSN, 0x100 },
                      { PCI_EXT_CAP_ID_ERR, 0x200 },
                      { PCI_EXT_CAP_ID_LTR, 0x180 } }, 0x200 },
    { "own-last", { { PCI_EXT_CAP_ID_DSN, 0x100 },
                    { PCI_EXT_CAP_ID_ERR, 0xfb8 } }, 0xfb8 },
    { "others", { { PCI_EXT_CAP_ID_DSN, 0x100 } }, 0xfb8 },
    { "no-room", { { PCI_EXT_CAP_ID_DSN, 0x100 },
                   { PCI_EXT_CAP_ID_LTR, 0xff8 } } },
    { "own-no-room", { { PCI_EXT_CAP_ID_DSN, 0x100 },
                       { PCI_EXT_CAP_ID_ERR, 0xfd4 } } },
    { "own-overlapped", { { PCI_EXT_CAP_ID_ERR, 0x100 },
                          { PCI_EXT_CAP_ID_DSN, 0x120 } } },
};

static VFIOUserModel express_model(void)
{
    VFIOUserModel model = vfio_user_model;
    uint8_t *config = model.config;

    model.region[CONFIG].size = PCIE_CONFIG_SPACE_SIZE;
    config[VFIO_USER_MODEL_MSIX + PCI_CAP_LIST_NEXT] = EXPRESS;
    config[EXPRESS] = PCI_CAP_ID_EXP;
    config[EXPRESS + PCI_EXP_FLAGS] = 2;
    pci_set_long(config + EXPRESS + PCI_EXP_LNKCAP, LINK_CAPABILITIES);
    return model;
}

static void write_layout(VFIOUserServer *server, const Layout *layout)
{
    static const uint8_t zeros[PCIE_CONFIG_SPACE_SIZE - PCI_CONFIG_SPACE_SIZE];
    const uint32_t serial = cpu_to_le32(SERIAL_NUMBER);

    vfio_user_server_poke(server, CONFIG, PCI_CONFIG_SPACE_SIZE, zeros,
                          sizeof(zeros));
    for (size_t i = 0; i < 3 && layout->cap[i].id; i++) {
        uint16_t at = layout->cap[i].offset;
        uint32_t header = cpu_to_le32(PCI_EXT_CAP(layout->cap[i].id, 1,
                                                  layout->cap[i + 1].offset));

        vfio_user_server_poke(server, CONFIG, at, &header, sizeof(header));
        if (layout->cap[i].id == PCI_EXT_CAP_ID_DSN) {
            vfio_user_server_poke(server, CONFIG, at + 4, &serial,
                                  sizeof(serial));
        }
    }
}

static VFIOUserRig *aer_begin(const Layout *layout)
{
    static VFIOUserModel model;
    g_autofree char *args =
        vfio_user_errors_args(Q35 VFIO_USER_LOSS_RECONNECT);
    VFIOUserRig *rig;

    model = express_model();
    rig = vfio_user_rig_begin(args, &model, NULL);
    rig->aer = true;
    write_layout(rig->server, layout);
    return rig;
}

static VFIOUserRig *aer_plugged(const Layout *layout)
{
    VFIOUserRig *rig = aer_begin(layout);

    vfio_user_rig_plug(rig, 0);
    vfio_user_errors_forget();
    qtest_outl(rig->qts, 0xcf8, 0x80000000 | Q35_PCIEXBAR);
    qtest_outl(rig->qts, 0xcfc, ECAM | 1);
    return rig;
}

static uint16_t find_capability(VFIOUserRig *rig, uint64_t function,
                                uint16_t id)
{
    unsigned most = PCIE_CONFIG_SPACE_SIZE / 8;
    uint16_t at = PCI_CONFIG_SPACE_SIZE;

    while (at) {
        uint32_t header = qtest_readl(rig->qts, function + at);

        if (PCI_EXT_CAP_ID(header) == id) {
            return at;
        }
        at = PCI_EXT_CAP_NEXT(header);
        g_assert_cmpuint(--most, >, 0);
    }
    return 0;
}

/* As the driver of a port and that of the device do. */
static void enable_errors(VFIOUserRig *rig)
{
    uint16_t aer = find_capability(rig, PORT, PCI_EXT_CAP_ID_ERR);
    uint8_t express = qtest_readb(rig->qts, PORT + PCI_CAPABILITY_LIST);

    while (qtest_readb(rig->qts, PORT + express) != PCI_CAP_ID_EXP) {
        express = qtest_readb(rig->qts, PORT + express + PCI_CAP_LIST_NEXT);
    }
    qtest_writew(rig->qts, PORT + PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_SERR);
    qtest_writew(rig->qts, PORT + express + PCI_EXP_DEVCTL,
                 PCI_EXP_DEVCTL_FERE);
    qtest_writel(rig->qts, PORT + aer + PCI_ERR_ROOT_COMMAND,
                 PCI_ERR_ROOT_CMD_FATAL_EN);
    qtest_writew(rig->qts, DEVICE + EXPRESS + PCI_EXP_DEVCTL,
                 PCI_EXP_DEVCTL_FERE);
}

/* Returns and clears what the port was told. */
static uint32_t take_root_status(VFIOUserRig *rig)
{
    uint16_t aer = find_capability(rig, PORT, PCI_EXT_CAP_ID_ERR);
    uint32_t status = qtest_readl(rig->qts, PORT + aer + PCI_ERR_ROOT_STATUS);

    if (status & PCI_ERR_ROOT_UNCOR_RCV) {
        g_assert_cmphex(qtest_readw(rig->qts, PORT + aer +
                                    PCI_ERR_ROOT_ERR_SRC + 2), ==,
                        VFIO_USER_RIG_Q35_BUS << 8);
    }
    qtest_writel(rig->qts, PORT + aer + PCI_ERR_ROOT_STATUS, status);
    return status & (PCI_ERR_ROOT_UNCOR_RCV | PCI_ERR_ROOT_FATAL_RCV);
}

static void lose_and_return(VFIOUserRig *rig, unsigned nth)
{
    vfio_user_loss_happen(rig, NULL);
    vfio_user_loss_wait_return(rig, nth);
}

/* All other capabilities are there, and the server's registers are. */
static void check_layout(VFIOUserRig *rig, const Layout *layout)
{
    g_assert_cmphex(find_capability(rig, DEVICE, PCI_EXT_CAP_ID_ERR), ==,
                    layout->aer);
    for (size_t i = 0; i < 3 && layout->cap[i].id; i++) {
        uint16_t at = layout->cap[i].offset;

        g_assert_cmphex(find_capability(rig, DEVICE, layout->cap[i].id), ==,
                        at);
        if (layout->cap[i].id == PCI_EXT_CAP_ID_DSN) {
            g_assert_cmphex(qtest_readl(rig->qts, DEVICE + at + 4), ==,
                            SERIAL_NUMBER);
        }
    }
    g_assert_cmphex(qtest_readl(rig->qts, DEVICE + EXPRESS + PCI_EXP_LNKCAP) &
                    (PCI_EXP_LNKCAP_SLS | PCI_EXP_LNKCAP_MLW), ==,
                    LINK_CAPABILITIES);
}

static void test_told(const void *opaque)
{
    const uint32_t fatal = PCI_ERR_ROOT_UNCOR_RCV | PCI_ERR_ROOT_FATAL_RCV;
    const Layout *layout = opaque;
    g_autoptr(VFIOUserRig) rig = aer_plugged(layout);
    const uint64_t status = DEVICE + layout->aer + PCI_ERR_UNCOR_STATUS;
    const VFIOUserWhen written = ON(VFIO_USER_REGION_WRITE,
                                    AT_OFFSET(CONFIG, layout->aer + 4));

    check_layout(rig, layout);
    enable_errors(rig);
    for (unsigned i = 1; i <= 3; i++) {
        g_assert_cmphex(take_root_status(rig), ==, 0);
        g_assert_cmphex(qtest_readl(rig->qts, status), ==, 0);
        lose_and_return(rig, i);
        g_assert_cmphex(take_root_status(rig), ==, fatal);
        g_assert_cmphex(qtest_readl(rig->qts, status), ==, PCI_ERR_UNC_INTN);
        qtest_writel(rig->qts, status, PCI_ERR_UNC_INTN);
        check_layout(rig, layout);
    }
    g_assert_cmpuint(vfio_user_server_count(rig->server, written), ==, 0);
}

static void test_no_room(const void *opaque)
{
    g_autoptr(VFIOUserRig) rig = aer_begin(opaque);
    g_autofree char *message = vfio_user_rig_try_plug(rig, 0);

    g_assert_nonnull(message);
    g_assert_nonnull(strstr(message, "reconnect-aer: the device has no room"));
}

/* A guest that does not enable errors gets none; nor does it without AER. */
static void test_not_enabled(void)
{
    g_autoptr(VFIOUserRig) rig = aer_plugged(&layouts[0]);

    lose_and_return(rig, 1);
    g_assert_cmphex(take_root_status(rig), ==, 0);
    enable_errors(rig);
    lose_and_return(rig, 2);
    g_assert_cmphex(take_root_status(rig), !=, 0);
}

static void check_refused(const char *args, const VFIOUserModel *model,
                          const char *why)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(args, model, NULL);
    g_autofree char *message = NULL;

    rig->aer = true;
    message = vfio_user_rig_try_plug(rig, 0);
    g_assert_nonnull(message);
    g_assert_nonnull(strstr(message, why));
}

static void test_not_express(void)
{
    check_refused(Q35 VFIO_USER_LOSS_RECONNECT, NULL,
                  "reconnect-aer needs a device that has the PCI Express");
}

static void test_no_reconnect(void)
{
    const VFIOUserModel model = express_model();

    check_refused(Q35, &model, "reconnect-aer needs reconnect-ms");
}

static void test_no_port(void)
{
    const VFIOUserModel model = express_model();

    check_refused(VFIO_USER_RIG_RAM VFIO_USER_LOSS_RECONNECT, &model,
                  "reconnect-aer needs a");
}

void vfio_user_add_reconnect_aer_tests(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/reconnect-aer/layout/%s",
                            layouts[i].name);

        qtest_add_data_func(path, &layouts[i],
                            layouts[i].aer ? test_told : test_no_room);
    }
    qtest_add_func("/vfio-user/reconnect-aer/not-enabled", test_not_enabled);
    qtest_add_func("/vfio-user/reconnect-aer/not-express", test_not_express);
    qtest_add_func("/vfio-user/reconnect-aer/no-reconnect", test_no_reconnect);
    qtest_add_func("/vfio-user/reconnect-aer/no-port", test_no_port);
}
