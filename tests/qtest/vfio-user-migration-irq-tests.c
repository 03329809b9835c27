/*
 * qtest of the vfio-user client: interrupts during migration
 *
 * A device signals for the last time while it stops, when QEMU's main loop
 * does not run any more.  The guest gets this interrupt at the destination and
 * can acknowledge it there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib-unix.h>

#include "hw/pci/pci.h"
#include "libqos/pci-pc.h"
#include "vfio-user-irq.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-pair.h"
#include "vfio-user-tests.h"

#define MESSAGE 0x4560
#define CAP VFIO_USER_MODEL_MSI

static const VFIOUserModelMigration1 pages = { 16 * KiB, 4 * KiB };

typedef struct Guest {
    VFIOUserModel model[2];
    VFIOUserPair *pair;
    QPCIBus *bus;
    QPCIDevice *dev;
} Guest;

/* Starts with a device of migration v1 or v2 that signals when it stops. */
static void mig_irq_begin(Guest *g, bool v2, uint32_t index)
{
    g->model[0] = v2 ? *vfio_user_mig_stop_copy :
                           vfio_user_model_migration1(&pages);
    g->model[0].personality = vfio_user_rig_model()->personality;
    g->model[1] = g->model[0];
    g->model[0].signals_at_stop = true;
    g->model[0].signal = index;
    g->pair = vfio_user_pair_new(true, &g->model[0], &g->model[1]);
    g->bus = qpci_new_pc(g->pair->qts[VFIO_USER_SOURCE], NULL);
    g->dev = qpci_device_find(g->bus, QPCI_DEVFN(4, 0));
    g_assert_nonnull(g->dev);
    qpci_device_enable(g->dev);
}

static void mig_irq_end(Guest *g)
{
    g_free(g->dev);
    qpci_free_pc(g->bus);
    vfio_user_pair_free(g->pair);
}

static void test_msi(const void *v2)
{
    Guest g;

    mig_irq_begin(&g, v2, VFIO_PCI_MSI_IRQ_INDEX);
    qpci_config_writel(g.dev, CAP + PCI_MSI_ADDRESS_LO, VFIO_USER_IRQ_RAM);
    qpci_config_writew(g.dev, CAP + PCI_MSI_DATA_64, MESSAGE);
    qpci_config_writew(g.dev, CAP + PCI_MSI_FLAGS,
                       PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_ENABLE);
    vfio_user_pair_migrate(g.pair);
    g_assert_cmphex(qtest_readl(g.pair->qts[VFIO_USER_DESTINATION],
                                VFIO_USER_IRQ_RAM), ==, MESSAGE);
    mig_irq_end(&g);
}

/* Whether the slave PIC has the pin pending */
static bool is_pending(QTestState *qts)
{
    qtest_outb(qts, 0xa0, 0x0a);
    return qtest_inb(qts, 0xa0) & 1 << (VFIO_USER_IRQ_PIN - 8);
}

static void wait_for_intx(QTestState *qts)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;

    while (!qtest_get_irq(qts, VFIO_USER_IRQ_PIN)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        qtest_qmp_assert_success(qts, "{'execute': 'query-status'}");
    }
}

static void test_intx(const void *v2)
{
    Guest g;
    QTestState *there;
    QPCIDevice *piix3;
    QPCIBar bar;

    mig_irq_begin(&g, v2, VFIO_PCI_INTX_IRQ_INDEX);
    there = g.pair->qts[VFIO_USER_DESTINATION];
    bar = qpci_iomap(g.dev, 0, NULL);
    piix3 = qpci_device_find(g.bus, QPCI_DEVFN(1, 0));
    for (unsigned pin = 0; pin < 4; pin++) {
        qpci_config_writeb(piix3, 0x60 + pin, VFIO_USER_IRQ_PIN);
    }
    g_free(piix3);
    qtest_irq_intercept_in(there, "ioapic");
    vfio_user_pair_migrate(g.pair);
    g_assert_true(is_pending(there));
    /*
     * the next interrupt can only arrive after the driver acknowledges this
     * one
     */
    qtest_readl(there, bar.addr);
    g_assert_false(qtest_get_irq(there, VFIO_USER_IRQ_PIN));
    vfio_user_server_trigger(g.pair->server[VFIO_USER_DESTINATION],
                             VFIO_PCI_INTX_IRQ_INDEX, 0);
    wait_for_intx(there);
    qtest_readl(there, bar.addr);
    g_assert_false(qtest_get_irq(there, VFIO_USER_IRQ_PIN));
    mig_irq_end(&g);
}

/*
 * The server shares the open file of its eventfd, including the file flags.
 * QEMU makes received descriptors blocking.
 */
static void test_blocking(void)
{
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_source(vfio_user_mig_stop_copy,
                                                       0);
    int fd = vfio_user_server_eventfd(vm->server[0], VFIO_PCI_INTX_IRQ_INDEX,
                                      0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_true(g_unix_set_fd_nonblocking(fd, false, NULL));
    qtest_qmp_assert_success(vm->qts, "{'execute': 'stop'}");
    qtest_qmp_assert_success(vm->qts, "{'execute': 'cont'}");
    vfio_user_mig_wait_running(vm);
    close(fd);
}

void vfio_user_add_migration_irq_tests(void)
{
    void *v2 = GINT_TO_POINTER(true);

    qtest_add_func("/vfio-user/migration-irq/blocking", test_blocking);
    vfio_user_rig_add_data("/vfio-user/migration-irq/first-msi", NULL,
                           test_msi, VFIO_USER_NEEDS_MIGRATION1);
    vfio_user_rig_add_data("/vfio-user/migration-irq/first-intx", NULL,
                           test_intx, VFIO_USER_NEEDS_MIGRATION1);
    vfio_user_rig_add_data("/vfio-user/migration-irq/second-msi", v2,
                           test_msi, VFIO_USER_NEEDS_MIGRATION2);
    vfio_user_rig_add_data("/vfio-user/migration-irq/second-intx", v2,
                           test_intx, VFIO_USER_NEEDS_MIGRATION2);
}
