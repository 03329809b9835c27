/*
 * qtest of the vfio-user client: the order of messages to a server that is back
 *
 * One row for each kind of device: what the client asks and sets, and in which
 * order.  Messages of the same kind that follow each other are written once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "vfio-user-irq.h"
#include "vfio-user-loss.h"
#include "vfio-user-tests.h"

#define ARGS VFIO_USER_RIG_SHARED VFIO_USER_LOSS_RECONNECT

/*
 * The kinds, one letter each:
 *
 * V version, I device info, R region info, Q interrupt info, c read of
 * configuration space, F device feature, X reset, M map, C write of
 * configuration space, S interrupts, D region's eventfds, ? others
 */
static char kind_of(const VFIOUserSeen *seen)
{
    const VFIOUserRegionRW *rw = (const void *)seen->payload;

    switch (seen->header.command) {
    case VFIO_USER_VERSION:
        return 'V';
    case VFIO_USER_DEVICE_GET_INFO:
        return 'I';
    case VFIO_USER_DEVICE_GET_REGION_INFO:
        return 'R';
    case VFIO_USER_DEVICE_GET_IRQ_INFO:
        return 'Q';
    case VFIO_USER_REGION_READ:
        return rw->region == VFIO_PCI_CONFIG_REGION_INDEX ? 'c' : '?';
    case VFIO_USER_DEVICE_FEATURE:
        return 'F';
    case VFIO_USER_DEVICE_RESET:
        return 'X';
    case VFIO_USER_DMA_MAP:
        return 'M';
    case VFIO_USER_REGION_WRITE:
        return rw->region == VFIO_PCI_CONFIG_REGION_INDEX ? 'C' : '?';
    case VFIO_USER_DEVICE_SET_IRQS:
        return 'S';
    case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
        return 'D';
    default:
        return '?';
    }
}

static char *story(const GArray *log)
{
    GString *story = g_string_new("");

    for (unsigned i = 0; i < log->len; i++) {
        char kind = kind_of(&g_array_index(log, VFIOUserSeen, i));

        if (!story->len || story->str[story->len - 1] != kind) {
            g_string_append_c(story, kind);
        }
    }
    return g_string_free(story, false);
}

typedef enum Interrupts {
    NO_INTERRUPTS,
    INTX,
    MSI,
    MSIX,
} Interrupts;

typedef struct Row {
    const char *name;
    Interrupts interrupts;
    uint64_t migration;         /* flags of migration v2 */
    bool twin;
    bool cannot_reset;
    const char *story;
} Row;

/*
 * First what is compared, then a reset, memory, configuration space,
 * interrupts, the eventfds of regions, migration, and the interrupts of QEMU
 * itself.
 */
static const Row rows[] = {
    { "idle", .story = "VIRQcFXMcCSD" },
    { "intx", INTX, .story = "VIRQcFXMcCSD" },
    { "msi", MSI, .story = "VIRQcFXMcCSD" },
    { "msix", MSIX, .story = "VIRQcFXMcCSD" },
    { "migration", MSIX, VFIO_USER_MODEL_STOP_COPY,
      .story = "VIRQcFXMcCSDF" },
    { "twin", MSIX, .twin = true, .story = "VIRQcFXMcCSD" },
    { "cannot-reset", MSIX, .cannot_reset = true, .story = "VIRQcFMcCSD" },
};

static void make_model(VFIOUserModel *model, const Row *row)
{
    *model = vfio_user_model;
    model->migration.flags = row->migration;
    model->twin = row->twin;
    if (row->twin) {
        model->version = "{\"capabilities\":{\"max_msg_fds\":8,"
                         "\"twin_socket\":{\"supported\":true,"
                         "\"fd_index\":0}}}";
    }
    if (row->cannot_reset) {
        model->flags &= ~VFIO_DEVICE_FLAGS_RESET;
    }
}

static void enable_interrupts(VFIOUserRig *rig, Interrupts interrupts)
{
    switch (interrupts) {
    case NO_INTERRUPTS:
        break;
    case INTX:
        vfio_user_irq_route_intx(rig);
        break;
    case MSI:
        vfio_user_irq_enable_msi(rig, true);
        break;
    case MSIX:
        qpci_msix_enable(rig->dev);
        vfio_user_irq_use(rig, 3);
        break;
    }
}

static void check_interrupts(VFIOUserRig *rig, Interrupts interrupts)
{
    switch (interrupts) {
    case NO_INTERRUPTS:
        break;
    case INTX:
        vfio_user_irq_check_intx(rig);
        break;
    case MSI:
        qtest_writel(rig->qts, VFIO_USER_IRQ_RAM, 0);
        vfio_user_server_trigger(rig->server, VFIO_PCI_MSI_IRQ_INDEX, 2);
        vfio_user_rig_wait(rig, qtest_readl(rig->qts, VFIO_USER_IRQ_RAM) ==
                                0x4562);
        break;
    case MSIX:
        vfio_user_irq_check(rig, 3);
        break;
    }
}

/* All maps come before interrupts.  Returns how many have a descriptor. */
static unsigned check_maps(const GArray *log)
{
    bool interrupts = false;
    unsigned n = 0;

    for (unsigned i = 0; i < log->len; i++) {
        const VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);

        interrupts |= seen->header.command == VFIO_USER_DEVICE_SET_IRQS;
        if (seen->header.command == VFIO_USER_DMA_MAP) {
            g_assert_false(interrupts);
            n += seen->nfds;
        }
    }
    return n;
}

/* RAM below and above the hole for VGA, at least */
#define MAPS_WITH_MEMORY 2

static void test_order(const void *opaque)
{
    const Row *row = opaque;
    VFIOUserModel model;
    g_autoptr(VFIOUserRig) rig = NULL;
    g_autoptr(GArray) log = NULL;
    g_autofree char *is = NULL;

    make_model(&model, row);
    rig = vfio_user_loss_begin(ARGS, &model, 0);
    enable_interrupts(rig, row->interrupts);
    vfio_user_loss_happen(rig, NULL);
    vfio_user_loss_wait_return(rig, 1);
    log = vfio_user_server_log(rig->server);
    is = story(log);
    g_assert_cmpstr(is, ==, row->story);
    g_assert_cmpuint(check_maps(log), >=, MAPS_WITH_MEMORY);
    check_interrupts(rig, row->interrupts);
    if (row->interrupts == MSI) {
        vfio_user_irq_enable_msi(rig, false);
    }
    vfio_user_loss_check_works(rig);
}

/*
 * Maps are pipelined: the second arrives although the first is not answered
 * yet.
 */
static void test_pipelined(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DMA_MAP, .nth = 1), DO_HOLD },
        { }
    };
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, NULL, 0);
    unsigned maps = vfio_user_server_maps(rig->server);

    g_assert_cmpuint(maps, >, 1);
    vfio_user_loss_happen(rig, rules);
    vfio_user_server_wait(rig->server, (VFIOUserWhen) {
        .command = VFIO_USER_DMA_MAP, .nth = maps
    });
    g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                          VFIO_USER_DEVICE_SET_IRQS), ==, 0);
    vfio_user_server_release(rig->server);
    vfio_user_loss_wait_return(rig, 1);
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, maps);
}

void vfio_user_add_reconnect_order_tests(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/reconnect-order/%s",
                                                rows[i].name);

        qtest_add_data_func(path, &rows[i], test_order);
    }
    qtest_add_func("/vfio-user/reconnect-order/pipelined", test_pipelined);
}
