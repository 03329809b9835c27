/*
 * qtest of the vfio-user client: rate-limited errors
 *
 * However often a guest repeats an action that its server rejects, QEMU prints
 * only a few lines and the number of the other errors, and loses none.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "libqos/pci-pc.h"
#include "vfio-user-said.h"
#include "vfio-user-server.h"
#include "vfio-user-tests.h"

#define TIMES 2000
#define LINES 100               /* maximum, on a very slow machine */
#define MORE " more errors"

static const VFIOUserRule rejects[] = {
    { ON(VFIO_USER_REGION_READ, AT(0)), DO_FAIL, EINVAL },
    { ON(VFIO_USER_REGION_READ,
         AT_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX, PCI_LATENCY_TIMER)),
      DO_FAIL, EPERM },
    { ON(VFIO_USER_REGION_WRITE,
         AT_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX, PCI_LATENCY_TIMER)),
      DO_FAIL, EIO },
    { ON(VFIO_USER_DEVICE_SET_IRQS, AT(VFIO_PCI_MSIX_IRQ_INDEX)),
      DO_FAIL, EINVAL },
    { }
};

typedef struct Guest {
    VFIOUserServer *server;
    VFIOUserSaid *said;
    QPCIBus *bus;
    QPCIDevice *dev;
    QPCIBar bar;
} Guest;

static void report_begin(Guest *g)
{
    g->server = vfio_user_server_new(NULL, NULL);
    g->said = vfio_user_said_new("-machine pc -nodefaults -m 64 -device"
                                 " vfio-user-pci,id=dut,addr=4,socket=%s",
                                 vfio_user_server_path(g->server));
    g->bus = qpci_new_pc(g->said->qts, NULL);
    g->dev = qpci_device_find(g->bus, QPCI_DEVFN(4, 0));
    g_assert_nonnull(g->dev);
    g->bar = qpci_iomap(g->dev, 0, NULL);
    qpci_device_enable(g->dev);
    vfio_user_server_set_rules(g->server, rejects);
}

static void report_end(Guest *g)
{
    g_free(g->dev);
    qpci_free_pc(g->bus);
    vfio_user_said_free(g->said);
    vfio_user_server_wait_client(g->server, false);
    vfio_user_server_free(g->server);
}

static void report_unplug(Guest *g)
{
    qpci_unplug_acpi_device_test(g->said->qts, "dut", 4);
    vfio_user_server_wait_client(g->server, false);
}

/*
 * Returns the number of errors printed or counted; fails the test if there are
 * too many lines.
 */
static unsigned reported(Guest *g)
{
    g_autofree char *text = vfio_user_said_text(g->said);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    unsigned n = 0;

    g_assert_cmpuint(g_strv_length(lines), <=, LINES);
    for (unsigned i = 0; lines[i]; i++) {
        const char *more = strstr(lines[i], MORE);

        n += strstr(lines[i], "REGION_READ: the server replied") ||
             strstr(lines[i], "DEVICE_SET_IRQS: the server replied") ||
             strstr(lines[i], "of configuration space at 0xd: ");
        if (more) {
            while (g_ascii_isdigit(more[-1])) {
                more--;
            }
            n += g_ascii_strtoull(more, NULL, 10);
        }
    }
    return n;
}

/* The number is printed even if no later error occurs. */
static void test_reads(void)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    Guest g;

    report_begin(&g);
    for (unsigned i = 0; i < TIMES; i++) {
        g_assert_cmphex(qpci_io_readl(g.dev, g.bar, 0x40), ==, UINT32_MAX);
    }
    while (reported(&g) < TIMES) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        qtest_clock_step(g.said->qts, 1);
    }
    g_assert_cmpuint(reported(&g), ==, TIMES);
    /* the text describes the error */
    g_assert_cmpuint(vfio_user_said_count(g.said, "REGION_READ: the server"
                     " replied with an error: Invalid argument (region 0,"
                     " offset 0x40, 4 bytes)"), >, 0);
    report_end(&g);
}

static void test_config(void)
{
    Guest g;

    report_begin(&g);
    for (unsigned i = 0; i < TIMES; i++) {
        g_assert_cmphex(qpci_config_readb(g.dev, PCI_LATENCY_TIMER), ==, 0xff);
        qpci_config_writeb(g.dev, PCI_LATENCY_TIMER, i);
    }
    report_unplug(&g);
    g_assert_cmpuint(reported(&g), ==, 2 * TIMES);
    report_end(&g);
}

/* QEMU does not print a line for each interrupt that the server refuses. */
static void test_interrupts(void)
{
    Guest g;

    report_begin(&g);
    for (unsigned i = 0; i < TIMES / 10; i++) {
        qpci_msix_enable(g.dev);
        qpci_msix_disable(g.dev);
    }
    report_unplug(&g);
    g_assert_cmpuint(reported(&g), >=, TIMES / 10);
    report_end(&g);
}

void vfio_user_add_report_tests(void)
{
    qtest_add_func("/vfio-user/report/interrupts", test_interrupts);
    qtest_add_func("/vfio-user/report/reads", test_reads);
    qtest_add_func("/vfio-user/report/config", test_config);
}
