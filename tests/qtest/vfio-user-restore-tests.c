/*
 * qtest of the vfio-user client: configuration space after a reset
 *
 * The guest resets the function and continues with the configuration it had
 * programmed.  The server's registers are back at their defaults, so QEMU has
 * to restore them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "vfio-user-irq.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define CONFIG VFIO_PCI_CONFIG_REGION_INDEX
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX

/* Offsets of the capabilities in addition to those of vfio_user_model. */
#define PM 0x70
#define EXPRESS 0x80
#define AF 0xc0

#define BAR_0 AT_OFFSET(CONFIG, PCI_BASE_ADDRESS_0)
#define ROM_AT 0xd0000000
#define TIMEOUT_MS 600
#define DEVCTL (PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_READRQ_512B)

typedef struct Config {
    uint8_t bytes[PCI_CONFIG_SPACE_SIZE];
} Config;

static VFIOUserModel model_with_resets(void)
{
    VFIOUserModel model = vfio_user_model;
    uint8_t *config = model.config;

    config[VFIO_USER_MODEL_MSIX + PCI_CAP_LIST_NEXT] = PM;
    config[PM] = PCI_CAP_ID_PM;
    config[PM + PCI_CAP_LIST_NEXT] = EXPRESS;
    config[PM + PCI_PM_PMC] = 3;
    config[EXPRESS] = PCI_CAP_ID_EXP;
    config[EXPRESS + PCI_CAP_LIST_NEXT] = AF;
    config[EXPRESS + PCI_EXP_FLAGS] = 2;
    pci_set_long(config + EXPRESS + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_FLR);
    config[AF] = PCI_CAP_ID_AF;
    config[AF + PCI_AF_LENGTH] = PCI_CAP_AF_SIZEOF;
    config[AF + PCI_AF_CAP] = PCI_AF_CAP_TP | PCI_AF_CAP_FLR;
    return model;
}

/*
 * The same with the habits of x-vfio-user-server, which resets configuration
 * space with the function.
 */
static VFIOUserModel model_like_qemu(void)
{
    VFIOUserModel model = model_with_resets();

    model.personality = vfio_user_personality("x-vfio-user-server");
    return model;
}

/* A reset of the function by a write to its configuration space. */
typedef struct Reset {
    const char *name;
    uint8_t at;
    uint8_t size;               /* 1 or 2 */
    uint16_t before;            /* written first, unless 0 */
    uint16_t value;
    enum { BY_SERVER, BY_RULE, NONE } deed;
} Reset;

static const Reset resets[] = {
    { "express", EXPRESS + PCI_EXP_DEVCTL, 2, 0,
      DEVCTL | PCI_EXP_DEVCTL_BCR_FLR },
    { "express-byte", EXPRESS + PCI_EXP_DEVCTL + 1, 1, 0,
      (DEVCTL | PCI_EXP_DEVCTL_BCR_FLR) >> 8 },
    { "advanced-features", AF + PCI_AF_CTRL, 1, 0, PCI_AF_CTRL_FLR },
    { "power", PM + PCI_PM_CTRL, 2, 3, 0, BY_RULE },
    { "power-without-reset", PM + PCI_PM_CTRL, 2,
      3 | PCI_PM_CTRL_NO_SOFT_RESET, PCI_PM_CTRL_NO_SOFT_RESET, NONE },
};

static void write_reset(VFIOUserRig *rig, const Reset *reset, uint16_t value)
{
    if (reset->size == 1) {
        qpci_config_writeb(rig->dev, reset->at, value);
    } else {
        qpci_config_writew(rig->dev, reset->at, value);
    }
}

/* Programs the device as firmware and a driver do. */
static void program_device(VFIOUserRig *rig)
{
    QPCIDevice *dev = rig->dev;

    qpci_config_writeb(dev, PCI_CACHE_LINE_SIZE, 0x10);
    qpci_config_writeb(dev, PCI_LATENCY_TIMER, 0x40);
    qpci_config_writeb(dev, PCI_INTERRUPT_LINE, 11);
    qpci_config_writel(dev, PCI_ROM_ADDRESS, ROM_AT | PCI_ROM_ADDRESS_ENABLE);
    qpci_config_writew(dev, EXPRESS + PCI_EXP_DEVCTL, DEVCTL);
    qpci_config_writew(dev, EXPRESS + PCI_EXP_LNKCTL, PCI_EXP_LNKCTL_CCC);
    qpci_config_writew(dev, EXPRESS + PCI_EXP_DEVCTL2,
                       PCI_EXP_DEVCTL2_LTR_EN);
    qpci_config_writel(dev, VFIO_USER_MODEL_MSI + PCI_MSI_ADDRESS_LO,
                       VFIO_USER_IRQ_RAM);
    qpci_config_writew(dev, VFIO_USER_MODEL_MSI + PCI_MSI_DATA_64, 0x4560);
    qpci_msix_enable(dev);
    vfio_user_irq_use(rig, 2);
}

static Config server_config(VFIOUserRig *rig)
{
    Config config;

    vfio_user_server_peek(rig->server, CONFIG, 0, config.bytes,
                          sizeof(config.bytes));
    return config;
}

static void check_config(VFIOUserRig *rig, const Config *wanted)
{
    Config is = server_config(rig);

    for (unsigned i = 0; i < sizeof(is.bytes); i++) {
        if (is.bytes[i] != wanted->bytes[i]) {
            g_error("the server has 0x%02x at 0x%02x of its configuration"
                    " space where the guest wrote 0x%02x", is.bytes[i], i,
                    wanted->bytes[i]);
        }
    }
}

static void restore_check_works(VFIOUserRig *rig)
{
    const uint32_t value = 0x600d;

    qpci_io_writel(rig->dev, rig->bar[0], 0x10, value);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x10), ==, value);
    vfio_user_irq_check(rig, 2);
}

static unsigned writes(VFIOUserRig *rig)
{
    return vfio_user_server_saw(rig->server, VFIO_USER_REGION_WRITE,
                                AT(CONFIG));
}

static VFIOUserRig *plug_programmed(const VFIOUserModel *model)
{
    VFIOUserRig *rig = vfio_user_irq_plugged(model, NULL, 0);

    program_device(rig);
    restore_check_works(rig);
    return rig;
}

/* Resets twice, because restored registers have to be restored again. */
static void test_restored(const void *opaque)
{
    const Reset *reset = opaque;
    const VFIOUserModel model = model_like_qemu();
    const VFIOUserRule rules[] = {
        { ON(VFIO_USER_REGION_WRITE, AT_OFFSET(CONFIG, reset->at), .nth = 1),
          DO_CONFIG, 0, { model.config, sizeof(model.config) } },
        { }
    };
    g_autoptr(VFIOUserRig) rig = plug_programmed(&model);
    const Config before = server_config(rig);

    for (unsigned i = 0; i < 2; i++) {
        if (reset->before) {
            write_reset(rig, reset, reset->before);
        }
        vfio_user_server_set_rules(rig->server,
                                   reset->deed == BY_RULE ? rules : NULL);
        vfio_user_server_forget(rig->server);
        write_reset(rig, reset, reset->value);
        if (reset->deed == NONE) {
            g_assert_cmpuint(writes(rig), ==, 1);
        } else {
            g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                                  VFIO_USER_REGION_WRITE,
                                                  BAR_0), ==, 1);
            check_config(rig, &before);
            restore_check_works(rig);
        }
    }
    vfio_user_server_set_rules(rig->server, NULL);
    qpci_msix_disable(rig->dev);
    vfio_user_rig_ping(rig);
}

/*
 * BARs are restored before the command register, which enables decoding and
 * DMA.
 */
static void test_order(void)
{
    const VFIOUserModel model = model_like_qemu();
    g_autoptr(VFIOUserRig) rig = plug_programmed(&model);
    g_autoptr(GArray) log = NULL;
    bool commanded = false;

    vfio_user_server_forget(rig->server);
    qpci_config_writeb(rig->dev, AF + PCI_AF_CTRL, PCI_AF_CTRL_FLR);
    log = vfio_user_server_log(rig->server);
    for (unsigned i = 0; i < log->len; i++) {
        const VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);
        const VFIOUserRegionRW *rw = (const void *)seen->payload;

        if (seen->header.command == VFIO_USER_REGION_WRITE) {
            g_assert_cmpuint(rw->region, ==, CONFIG);
            g_assert_false(commanded && rw->offset >= PCI_BASE_ADDRESS_0 &&
                           rw->offset <= PCI_BASE_ADDRESS_5);
            commanded |= rw->offset == PCI_COMMAND;
        }
    }
    g_assert_true(commanded);
    qpci_msix_disable(rig->dev);
}

/* A device that keeps its registers gets no writes except the guest's. */
static void test_kept(void)
{
    const VFIOUserModel model = model_with_resets();
    g_autoptr(VFIOUserRig) rig = plug_programmed(&model);

    vfio_user_server_forget(rig->server);
    qpci_config_writeb(rig->dev, AF + PCI_AF_CTRL, PCI_AF_CTRL_FLR);
    g_assert_cmpuint(writes(rig), ==, 1);
    restore_check_works(rig);
    qpci_msix_disable(rig->dev);
}

/* A device that QEMU resets while the guest uses it */

#define GET_STATE \
    AT_FEATURE(VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE)
#define STATE_AT sizeof(VFIOUserDeviceFeature)

/* The device does not run again and is in the state ERROR until it is reset. */
static const VFIOUserRule is_in_error[] = {
    { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_RUNNING), .nth = 1),
      DO_FAIL, EIO },
    { ON(VFIO_USER_DEVICE_FEATURE, GET_STATE, .nth = 1), DO_PATCH, STATE_AT,
      STRUCT(uint32_t, VFIO_USER_MIG_ERROR) },
    { ON(VFIO_USER_DEVICE_FEATURE, GET_STATE, .nth = 2), DO_PATCH, STATE_AT,
      STRUCT(uint32_t, VFIO_USER_MIG_ERROR) },
    { }
};

static void send_command(VFIOUserRig *rig, const char *command)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': %s}", command);
}

/* QEMU restores the state that it keeps: BARs, command, MSI and MSI-X. */
static void test_error_state(void)
{
    const uint8_t msix = VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS;
    VFIOUserModel model = model_with_resets();
    g_autoptr(VFIOUserRig) rig = NULL;
    Config before, after;

    model.migration = vfio_user_mig_stop_copy->migration;
    rig = plug_programmed(&model);
    before = server_config(rig);
    send_command(rig, "stop");
    vfio_user_server_set_rules(rig->server, is_in_error);
    vfio_user_server_forget(rig->server);
    send_command(rig, "cont");
    g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                          VFIO_USER_DEVICE_RESET), ==, 1);
    /* the last register that QEMU restores and that the model resets */
    vfio_user_rig_wait(rig, !memcmp(server_config(rig).bytes + msix,
                                    before.bytes + msix, 2));
    after = server_config(rig);
    g_assert_cmpmem(after.bytes + PCI_BASE_ADDRESS_0, 6 * 4,
                    before.bytes + PCI_BASE_ADDRESS_0, 6 * 4);
    g_assert_cmpmem(after.bytes + PCI_COMMAND, 2,
                    before.bytes + PCI_COMMAND, 2);
    g_assert_cmpmem(after.bytes + VFIO_USER_MODEL_MSI, PM - VFIO_USER_MODEL_MSI,
                    before.bytes + VFIO_USER_MODEL_MSI,
                    PM - VFIO_USER_MODEL_MSI);
    restore_check_works(rig);
    vfio_user_server_set_rules(rig->server, NULL);
    qpci_msix_disable(rig->dev);
}

/* Reset of the VM, after which the guest has programmed nothing */

/*
 * Uses a server like libvfio-user, which resets the device but not these
 * registers.
 * @paused: the reset is deferred until the VM runs
 */
static void check_system_reset(const VFIOUserModel *model, bool paused)
{
    g_autoptr(VFIOUserRig) rig = plug_programmed(model);
    const Config before = server_config(rig);
    const VFIOUserRule keeps[] = {
        { ON(VFIO_USER_DEVICE_RESET), DO_CONFIG, 0,
          { before.bytes, sizeof(before.bytes) } },
        { }
    };
    const uint8_t flags = VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS;
    Config after;

    vfio_user_server_forget(rig->server);
    if (paused) {
        send_command(rig, "stop");
    }
    vfio_user_server_set_rules(rig->server, keeps);
    send_command(rig, "system_reset");
    qtest_qmp_eventwait(rig->qts, "RESET");
    g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                          VFIO_USER_DEVICE_RESET), ==, !paused);
    if (paused) {
        send_command(rig, "cont");
    }
    g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                          VFIO_USER_DEVICE_RESET), ==, 1);
    after = server_config(rig);
    g_assert_cmphex(pci_get_word(after.bytes + flags), ==,
                    pci_get_word(model->config + flags));
    g_assert_cmphex(pci_get_long(after.bytes + PCI_ROM_ADDRESS), ==, 0);
    vfio_user_server_set_rules(rig->server, NULL);
}

static void test_system_reset(void)
{
    const VFIOUserModel model = model_with_resets();

    check_system_reset(&model, false);
}

/* QEMU waits for only one of its writes. */
static void test_system_reset_never_answered(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_REGION_WRITE, AT(CONFIG)), DO_DROP },
        { }
    };
    const VFIOUserModel model = model_with_resets();
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(&model, NULL,
                                                       TIMEOUT_MS);

    program_device(rig);
    vfio_user_server_set_rules(rig->server, rules);
    vfio_user_server_forget(rig->server);
    send_command(rig, "system_reset");
    qtest_qmp_eventwait(rig->qts, "RESET");
    vfio_user_server_wait_client(rig->server, false);
    g_assert_cmpuint(writes(rig), ==, 1);
    vfio_user_rig_ping(rig);
}

static void test_system_reset_paused(void)
{
    VFIOUserModel model = model_with_resets();

    model.migration = vfio_user_mig_stop_copy->migration;
    check_system_reset(&model, true);
}

/* Bus reset by the bridge in front of the device */

#define BEHIND_PORT "-machine q35 -nodefaults -m 64 " VFIO_USER_RIG_Q35_PORT

static void restore_reset_bus(VFIOUserRig *rig)
{
    QPCIDevice *port = qpci_device_find(rig->bus,
                                        QPCI_DEVFN(VFIO_USER_RIG_SLOT, 0));
    uint16_t control = qpci_config_readw(port, PCI_BRIDGE_CONTROL);

    qpci_config_writew(port, PCI_BRIDGE_CONTROL,
                       control | PCI_BRIDGE_CTL_BUS_RESET);
    qpci_config_writew(port, PCI_BRIDGE_CONTROL, control);
    g_free(port);
}

/* The MSI message is emulated by QEMU and not used by servers. */
static bool is_msi_message(unsigned at)
{
    return at >= VFIO_USER_MODEL_MSI + PCI_MSI_ADDRESS_LO &&
           at < VFIO_USER_MODEL_MSI + PCI_MSI_DATA_64 + 2;
}

/* Checks that the guest reads what the server has. */
static void check_same_config(VFIOUserRig *rig)
{
    const Config is = server_config(rig);

    for (unsigned i = 0; i < sizeof(is.bytes); i++) {
        uint8_t read = qpci_config_readb(rig->dev, i);

        if (read != is.bytes[i] && !is_msi_message(i)) {
            g_error("the guest reads 0x%02x at 0x%02x of configuration space"
                    " where the server has 0x%02x", read, i, is.bytes[i]);
        }
    }
}

/* @keeps: the server does not reset its configuration space */
static void check_bus_reset(bool keeps)
{
    const VFIOUserModel model = model_with_resets();
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(BEHIND_PORT, &model,
                                                     NULL);
    VFIOUserRule rules[] = { { ON(VFIO_USER_DEVICE_RESET), DO_CONFIG }, { } };
    Config before;

    vfio_user_rig_plug(rig, 0);
    program_device(rig);
    restore_check_works(rig);
    before = server_config(rig);
    /* a reset clears the command first, whatever the server does */
    pci_set_word(before.bytes + PCI_COMMAND, 0);
    rules[0].data = (VFIOUserData) { before.bytes, sizeof(before.bytes) };
    vfio_user_server_set_rules(rig->server, keeps ? rules : NULL);
    vfio_user_server_forget(rig->server);
    restore_reset_bus(rig);
    g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                          VFIO_USER_DEVICE_RESET), ==, 1);
    check_same_config(rig);
    g_assert_cmphex(qpci_config_readw(rig->dev, PCI_COMMAND), ==, 0);
    vfio_user_server_set_rules(rig->server, NULL);
}

static void test_bus_reset(void)
{
    check_bus_reset(false);
}

static void test_bus_reset_kept(void)
{
    check_bus_reset(true);
}

/* Faults during the restore */

typedef struct Fault {
    const char *name;
    bool dies;
    VFIOUserRule rule;
} Fault;

static const Fault faults[] = {
    { "read-refused", false,
      { ON(VFIO_USER_REGION_READ, AT_OFFSET(CONFIG, 0)), DO_FAIL, EIO } },
    { "read-short", false,
      { ON(VFIO_USER_REGION_READ, AT_OFFSET(CONFIG, 0)), DO_LENGTH, 20 } },
    { "read-ends", true,
      { ON(VFIO_USER_REGION_READ, AT_OFFSET(CONFIG, 0), .nth = 2),
        DO_CUT, 0 } },
    { "write-refused", false,
      { ON(VFIO_USER_REGION_WRITE, AT_OFFSET(CONFIG, PCI_BASE_ADDRESS_0)),
        DO_FAIL, EINVAL } },
    { "write-ends", true,
      { ON(VFIO_USER_REGION_WRITE, AT_OFFSET(CONFIG, PCI_BASE_ADDRESS_0)),
        DO_CUT, 0 } },
    { "write-never-answered", true,
      { ON(VFIO_USER_REGION_WRITE, AT_OFFSET(CONFIG, PCI_BASE_ADDRESS_0)),
        DO_DROP } },
};

static void test_fault(const void *opaque)
{
    const Fault *fault = opaque;
    const VFIOUserModel model = model_like_qemu();
    const VFIOUserRule rules[] = { fault->rule, { } };
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(&model, NULL,
                                                       TIMEOUT_MS);
    Config before, after;

    program_device(rig);
    before = server_config(rig);
    vfio_user_server_set_rules(rig->server, rules);
    vfio_user_server_forget(rig->server);
    qpci_config_writeb(rig->dev, AF + PCI_AF_CTRL, PCI_AF_CTRL_FLR);
    if (fault->dies) {
        vfio_user_server_wait_client(rig->server, false);
        g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                              VFIO_USER_REGION_WRITE,
                                              AT_OFFSET(CONFIG, PCI_COMMAND)),
                         ==, 0);
    } else {
        /* the other registers are restored */
        after = server_config(rig);
        g_assert_cmpmem(after.bytes + PCI_COMMAND, 2,
                        before.bytes + PCI_COMMAND, 2);
    }
    vfio_user_server_set_rules(rig->server, NULL);
    vfio_user_rig_ping(rig);
    qpci_msix_disable(rig->dev);
}

void vfio_user_add_restore_tests(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(resets); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/restore/by/%s",
                                                resets[i].name);

        qtest_add_data_func(path, &resets[i], test_restored);
    }
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/restore/fault/%s",
                                                faults[i].name);

        qtest_add_data_func(path, &faults[i], test_fault);
    }
    qtest_add_func("/vfio-user/restore/bus-reset", test_bus_reset);
    qtest_add_func("/vfio-user/restore/bus-reset-kept", test_bus_reset_kept);
    qtest_add_func("/vfio-user/restore/order", test_order);
    qtest_add_func("/vfio-user/restore/kept", test_kept);
    qtest_add_func("/vfio-user/restore/error-state", test_error_state);
    qtest_add_func("/vfio-user/restore/system-reset", test_system_reset);
    qtest_add_func("/vfio-user/restore/system-reset-never-answered",
                   test_system_reset_never_answered);
    qtest_add_func("/vfio-user/restore/system-reset-paused",
                   test_system_reset_paused);
}
