/*
 * qtest of the vfio-user client: time budgets of operations
 *
 * A server delays an operation: each reply is in time but all of them together
 * are not, or there is no reply.  QEMU's main loop waits for the server once,
 * no longer than the budget of the operation, and not again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "vfio-user-irq.h"
#include "vfio-user-tests.h"

#define CONFIG VFIO_PCI_CONFIG_REGION_INDEX
#define ROM VFIO_PCI_ROM_REGION_INDEX
#define AT_DEVICE 0xf8          /* offset in config space, not emulated */
#define ROM_AT 0xd0000000

#define TIMEOUT_MS 400
#define NEARLY_MS (TIMEOUT_MS * 3 / 4)
/* Allowance for a busy machine and for the test itself */
#define SLACK_MS 4000
/* If each of these accesses waited, they would take ten times the slack. */
#define AGAIN 100

/* Used together, these shorten the reply to a read to one byte. */
static const uint32_t one = 1;
#define COUNT_ONE(when) \
    { when, DO_PATCH, offsetof(VFIOUserRegionRW, count), { &one, sizeof(one) } }
#define LENGTH_ONE(when) { when, DO_LENGTH, sizeof(VFIOUserRegionRW) + 1 }

typedef void Operation(VFIOUserRig *rig);

static void read_config(VFIOUserRig *rig)
{
    g_assert_cmphex(qpci_config_readl(rig->dev, AT_DEVICE), ==, UINT32_MAX);
}

static void write_config(VFIOUserRig *rig)
{
    qpci_config_writel(rig->dev, AT_DEVICE, 1);
}

static void read_register(VFIOUserRig *rig)
{
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0), ==, UINT32_MAX);
}

/* Reads all in one access, as DMA of another device or pmemsave does. */
static void read_registers(VFIOUserRig *rig)
{
    uint8_t bytes[512];

    qtest_memread(rig->qts, rig->bar[0].addr, bytes, sizeof(bytes));
    g_assert_cmphex(bytes[sizeof(bytes) - 1], ==, UINT8_MAX);
}

static void budget_read_rom(VFIOUserRig *rig)
{
    qpci_config_writel(rig->dev, PCI_ROM_ADDRESS,
                       ROM_AT | PCI_ROM_ADDRESS_ENABLE);
    g_assert_cmphex(qtest_readl(rig->qts, ROM_AT), ==, UINT32_MAX);
}

static void budget_reset(VFIOUserRig *rig)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(rig->qts, "RESET");
}

/* Runs in the main loop, which waits for the replies. */
static void enable_msix(VFIOUserRig *rig)
{
    qpci_msix_enable(rig->dev);
    for (int i = 0; i < VFIO_USER_MODEL_MSIX_VECTORS; i++) {
        vfio_user_irq_use(rig, i);
    }
}

typedef struct Row {
    const char *name;
    Operation *run;
    unsigned factor;            /* budget in timeouts */
    VFIOUserRule rules[4];      /* the last is empty */
} Row;

#define READ_CONFIG ON(VFIO_USER_REGION_READ, AT_OFFSET(CONFIG, AT_DEVICE))
#define READS_CONFIG ON(VFIO_USER_REGION_READ, AT(CONFIG))
#define READ_ROM ON(VFIO_USER_REGION_READ, AT(ROM))
#define USED_UP "the operation used up its time of "

static const Row rows[] = {
    { "config-read-never", read_config, 1, { { READ_CONFIG, DO_DROP } } },
    { "config-read-bytes", read_config, 1, {
        { READS_CONFIG, DO_DELAY, NEARLY_MS }, COUNT_ONE(READS_CONFIG),
        LENGTH_ONE(READS_CONFIG) } },
    { "config-write-never", write_config, 1, {
        { ON(VFIO_USER_REGION_WRITE, AT(CONFIG)), DO_DROP } } },
    { "register-read-never", read_register, 1, {
        { ON(VFIO_USER_REGION_READ, AT(0)), DO_DROP } } },
    { "registers-slow", read_registers, 1, {
        { ON(VFIO_USER_REGION_READ, AT(0)), DO_DELAY, NEARLY_MS } } },
    { "rom-bytes", budget_read_rom, 1, {
        { READ_ROM, DO_DELAY, NEARLY_MS }, COUNT_ONE(READ_ROM),
        LENGTH_ONE(READ_ROM) } },
    { "rom-never", budget_read_rom, 1, { { READ_ROM, DO_DROP } } },
    { "reset-never", budget_reset, 6, {
        { ON(VFIO_USER_DEVICE_RESET), DO_DROP } } },
    { "reset-slow", budget_reset, 6, {
        { ON(VFIO_USER_ANY), DO_DELAY, NEARLY_MS } } },
    { "interrupts-never", enable_msix, 1, {
        { ON(VFIO_USER_DEVICE_SET_IRQS), DO_DROP } } },
};

/* Runs @run @times times and returns how long that took, ms. */
static unsigned budget_time_it(VFIOUserRig *rig, Operation *run, unsigned times)
{
    gint64 begun = g_get_monotonic_time();

    while (times--) {
        run(rig);
    }
    vfio_user_rig_ping(rig);
    return (g_get_monotonic_time() - begun) / G_TIME_SPAN_MILLISECOND;
}

static void test_row(const void *opaque)
{
    static const VFIOUserRule never[] = {
        { ON(VFIO_USER_ANY), DO_DROP },
        { }
    };
    const Row *row = opaque;
    VFIOUserModel model = vfio_user_model;
    unsigned first, again;
    VFIOUserRig *rig;

    model.region[ROM].size = 64 * KiB;
    rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, &model, NULL);
    vfio_user_rig_plug(rig, TIMEOUT_MS);
    vfio_user_server_set_rules(rig->server, row->rules);
    first = budget_time_it(rig, row->run, 1);
    vfio_user_server_set_rules(rig->server, never);
    vfio_user_server_wait_client(rig->server, false);
    again = budget_time_it(rig, read_config, AGAIN);
    g_test_message("query-status waited %u ms, and %u ms for %u accesses"
                   " afterwards", first, again, AGAIN);
    g_assert_cmpuint(first, <, row->factor * TIMEOUT_MS + SLACK_MS);
    g_assert_cmpuint(again, <, SLACK_MS);
    vfio_user_rig_end(rig);
}

/* Realize as a whole has a budget of two timeouts. */
static void test_realize(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_ANY), DO_DELAY, TIMEOUT_MS / 7 },
        { }
    };
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     rules);
    gint64 begun = g_get_monotonic_time();
    g_autofree char *message = vfio_user_rig_try_plug(rig, TIMEOUT_MS);
    unsigned took = (g_get_monotonic_time() - begun) /
                    G_TIME_SPAN_MILLISECOND;

    g_assert_nonnull(message);
    g_test_message("%u ms: %s", took, message);
    g_assert_nonnull(strstr(message, USED_UP));
    g_assert_cmpuint(took, <, 2 * TIMEOUT_MS + SLACK_MS);
    vfio_user_server_wait_client(rig->server, false);
}

/*
 * A read that the server answers one byte at a time completes if it is fast
 * enough.
 */
static void test_bytes(void)
{
    static const VFIOUserRule rules[] = {
        COUNT_ONE(READS_CONFIG),
        LENGTH_ONE(READS_CONFIG),
        { }
    };
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     rules);
    const uint32_t value = 0x11223344;

    vfio_user_rig_plug(rig, 0);
    vfio_user_server_poke(rig->server, CONFIG, AT_DEVICE, &value,
                          sizeof(value));
    g_assert_cmphex(qpci_config_readl(rig->dev, AT_DEVICE), ==, value);
}

/*
 * A burst of more writes than the server can process, like DMA of another
 * device.
 */
static void test_burst(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    g_autofree uint8_t *bytes = g_malloc(64 * KiB);
    g_autofree uint8_t *is = g_malloc(64 * KiB);

    for (int i = 0; i < 64 * KiB; i++) {
        bytes[i] = i * 7 + i / 256;
    }
    for (int i = 0; i < 4; i++) {
        bytes[0] = i;
        qtest_memwrite(rig->qts, rig->bar[2].addr, bytes, 64 * KiB);
    }
    qtest_memread(rig->qts, rig->bar[2].addr, is, 64 * KiB);
    g_assert_cmpmem(bytes, 64 * KiB, is, 64 * KiB);
    vfio_user_server_peek(rig->server, 2, 0, is, 64 * KiB);
    g_assert_cmpmem(bytes, 64 * KiB, is, 64 * KiB);
}

void vfio_user_add_budget_tests(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/budget/%s",
                                                rows[i].name);

        qtest_add_data_func(path, &rows[i], test_row);
    }
    qtest_add_func("/vfio-user/budget/realize", test_realize);
    qtest_add_func("/vfio-user/budget/bytes", test_bytes);
    qtest_add_func("/vfio-user/budget/burst", test_burst);
}
