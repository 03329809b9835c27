/*
 * vfio-pci with a simulated VFIO kernel driver
 *
 * Checks the kernel calls of QEMU one by one: the io_ops and the container's
 * ops must not lose, duplicate or change any.  See vfio-kernel.h for the log
 * format.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci_regs.h"
#include "qobject/qdict.h"
#include "vfio-kernel.h"

#define NAME            VFIO_KERNEL_NAME
#define MSI             0x50
#define MSIX            0x70
#define DOORBELL        0xf0
#define RAM             0x200000
#define DEADLINE_US     (30 * G_USEC_PER_SEC)

#define assert_count(calls, prefix, n) \
    g_assert_cmpuint(vfio_kernel_count(calls, prefix), ==, (n))

/*
 * Compares the calls since the last check with @expected, one per line.  Reads
 * of config space are ignored, because QEMU caches most of it.
 */
static void assert_calls(VFIOKernel *k, const char *expected)
{
    g_auto(GStrv) calls = vfio_kernel_calls(k);
    g_autoptr(GString) got = g_string_new(NULL);

    for (char **call = calls; *call; call++) {
        if (**call && !g_str_has_prefix(*call, "read 7 ")) {
            g_string_append_printf(got, "%s\n", *call);
        }
    }
    g_assert_cmpstr(got->str, ==, expected);
}

static void skip_calls(VFIOKernel *k)
{
    g_strfreev(vfio_kernel_calls(k));
}

/*
 * Returns a VM with the device plugged and enabled, and all log lines
 * consumed.
 */
static VFIOKernel *start_plugged(void)
{
    VFIOKernel *k = vfio_kernel_start(NULL);

    vfio_kernel_plug(k);
    k->dev = qpci_device_find(&k->bus.bus, QPCI_DEVFN(VFIO_KERNEL_SLOT, 0));
    g_assert_nonnull(k->dev);
    qpci_device_enable(k->dev);
    skip_calls(k);
    return k;
}

/* Maps BAR @nr and skips the calls that this causes. */
static QPCIBar map_bar(VFIOKernel *k, int nr)
{
    QPCIBar bar = qpci_iomap(k->dev, nr, NULL);

    skip_calls(k);
    return bar;
}

/*
 * Waits until @value is in guest memory at the address that test_msix() uses
 * for messages.
 */
static void wait_for_message(VFIOKernel *k, uint32_t value)
{
    int64_t end = g_get_monotonic_time() + DEADLINE_US;

    while (qtest_readl(k->qts, RAM) != value) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/* Tests */

static void test_realize(void)
{
    VFIOKernel *k = vfio_kernel_start(NULL);
    g_auto(GStrv) calls = NULL;

    vfio_kernel_plug(k);
    calls = vfio_kernel_calls(k);
    assert_count(calls, "open /dev/vfio/7", 1);
    assert_count(calls, "open /dev/vfio/vfio", 1);
    assert_count(calls, "GROUP_GET_STATUS", 1);
    assert_count(calls, "GET_API_VERSION", 1);
    assert_count(calls, "SET_CONTAINER", 1);
    assert_count(calls, "SET_IOMMU 3", 1);
    assert_count(calls, "IOMMU_GET_INFO", 1);
    assert_count(calls, "MAP_DMA 0x100000 0x7f00000 3", 1);
    assert_count(calls, "UNMAP_DMA", 0);
    assert_count(calls, "GET_DEVICE_FD " NAME, 1);
    assert_count(calls, "GET_INFO", 1);
    assert_count(calls, "GET_IRQ_INFO 2", 1);
    assert_count(calls, "GET_IRQ_INFO 3", 1);
    assert_count(calls, "GET_IRQ_INFO 4", 1);
    assert_count(calls, "GET_IRQ_INFO", 3);
    assert_count(calls, "read 7 0x0 256", 1);
    assert_count(calls, "mmap 2 0x1000 0x1000", 1);
    assert_count(calls, "mmap", 1);
    assert_count(calls, "SET_IRQS err trigger 0+1 fd", 1);
    assert_count(calls, "SET_IRQS req trigger 0+1 fd", 1);
    /* by realize and by the reset after it */
    assert_count(calls, "SET_IRQS intx trigger 0+1 fd", 2);
    assert_count(calls, "SET_IRQS intx trigger 0+0 none", 1);
    assert_count(calls, "SET_IRQS", 5);
    assert_count(calls, "RESET", 1);
    assert_count(calls, "close", 0);
    vfio_kernel_stop(k);
}

/*
 * Each region's info is queried once, and config space is read as a whole
 * once.
 */
static void test_asks_once(void)
{
    VFIOKernel *k = vfio_kernel_start(NULL);
    g_auto(GStrv) calls = NULL;

    vfio_kernel_plug(k);
    calls = vfio_kernel_calls(k);
    for (int i = 0; i < 6; i++) {
        g_autofree char *line = g_strdup_printf("GET_REGION_INFO %d", i);

        /* BAR 2 needs a second call with a larger buffer */
        assert_count(calls, line, i == 2 ? 2 : 1);
    }
    /* region 6 is not queried: its size comes from the ROM BAR */
    assert_count(calls, "GET_REGION_INFO 6", 0);
    assert_count(calls, "GET_REGION_INFO 7", 1);
    assert_count(calls, "GET_REGION_INFO", 8);
    assert_count(calls, "read 7 0x0 256", 1);
    assert_count(calls, "read 7 0x30 4", 2);    /* ROM sizing */
    for (int i = PCI_BASE_ADDRESS_0; i <= PCI_BASE_ADDRESS_5; i += 4) {
        g_autofree char *line = g_strdup_printf("read 7 0x%x 4", i);

        g_assert_cmpuint(vfio_kernel_count(calls, line), <=, 1);
    }
    assert_count(calls, "read 7 0x44 2", 1);    /* power state, at reset */
    assert_count(calls, "read 7 0x4 2", 1);     /* PCI command, at reset */
    vfio_kernel_stop(k);
}

static void test_bars(void)
{
    VFIOKernel *k = start_plugged();
    QPCIBar bar;

    bar = map_bar(k, 0);
    qpci_io_writel(k->dev, bar, 0x24, 0x12345678);
    g_assert_cmphex(qpci_io_readl(k->dev, bar, 0x24), ==, 0x12345678);
    qpci_io_writew(k->dev, bar, 0x26, 0xabcd);
    qpci_io_writeb(k->dev, bar, 0x25, 0xef);
    g_assert_cmphex(qpci_io_readw(k->dev, bar, 0x24), ==, 0xef78);
    g_assert_cmphex(qpci_io_readb(k->dev, bar, 0x27), ==, 0xab);
    g_assert_cmphex(qpci_io_readq(k->dev, bar, 0x20), ==,
                    0xabcdef7800000000);
    assert_calls(k, "write 0 0x24 4 0x12345678\n"
                    "read 0 0x24 4\n"
                    "write 0 0x26 2 0xabcd\n"
                    "write 0 0x25 1 0xef\n"
                    "read 0 0x24 2\n"
                    "read 0 0x27 1\n"
                    "read 0 0x20 8\n");

    bar = map_bar(k, 1);
    qpci_io_writew(k->dev, bar, 0x10, 0x55aa);
    g_assert_cmphex(qpci_io_readw(k->dev, bar, 0x10), ==, 0x55aa);
    assert_calls(k, "write 1 0x10 2 0x55aa\n"
                    "read 1 0x10 2\n");

    /* Accesses to the second page, which is mapped, make no calls. */
    bar = map_bar(k, 2);
    qpci_io_writel(k->dev, bar, 0x0ffc, 1);
    qpci_io_writel(k->dev, bar, 0x1000, 2);
    qpci_io_writel(k->dev, bar, 0x2000, 3);
    g_assert_cmphex(qpci_io_readl(k->dev, bar, 0x1000), ==, 2);
    assert_calls(k, "write 2 0xffc 4 0x1\n"
                    "write 2 0x2000 4 0x3\n");
    vfio_kernel_stop(k);
}

static void test_intx(void)
{
    VFIOKernel *k = start_plugged();
    QPCIBar bar = map_bar(k, 0);
    int64_t end = g_get_monotonic_time() + DEADLINE_US;

    /*
     * While an interrupt is pending, QEMU treats an access to the device as
     * EOI.
     */
    qpci_io_writel(k->dev, bar, DOORBELL, 0);
    assert_calls(k, "write 0 0xf0 4 0x0\n");
    for (;;) {
        g_auto(GStrv) calls = NULL;

        qpci_io_readl(k->dev, bar, 0);
        calls = vfio_kernel_calls(k);
        assert_count(calls, "read 0 0x0 4", 1);
        if (vfio_kernel_count(calls, "SET_IRQS")) {
            assert_count(calls, "SET_IRQS intx unmask 0+1 none", 1);
            break;
        }
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    qpci_io_readl(k->dev, bar, 0);
    assert_calls(k, "read 0 0x0 4\n");
    vfio_kernel_stop(k);
}

static void test_msi(void)
{
    VFIOKernel *k = start_plugged();
    QPCIBar bar = map_bar(k, 0);

    qpci_config_writel(k->dev, MSI + PCI_MSI_ADDRESS_LO, RAM);
    qpci_config_writel(k->dev, MSI + PCI_MSI_ADDRESS_HI, 0);
    qpci_config_writew(k->dev, MSI + PCI_MSI_DATA_64, 0x5678);
    skip_calls(k);
    /* The guest enables four vectors, but the host has only one. */
    qpci_config_writew(k->dev, MSI + PCI_MSI_FLAGS,
                       PCI_MSI_FLAGS_ENABLE | 2 << 4);
    assert_calls(k, "write 7 0x52 2 0x21\n"
                    "SET_IRQS intx trigger 0+0 none\n"
                    "SET_IRQS msi trigger 0+4 fd\n"
                    "SET_IRQS msi trigger 0+1 fd\n");
    qpci_io_writel(k->dev, bar, DOORBELL, 1 << 8);
    wait_for_message(k, 0x5678);
    skip_calls(k);
    qpci_config_writew(k->dev, MSI + PCI_MSI_FLAGS, 0);
    assert_calls(k, "write 7 0x52 2 0x0\n"
                    "SET_IRQS msi trigger 0+0 none\n"
                    "SET_IRQS intx trigger 0+1 fd\n");
    vfio_kernel_stop(k);
}

static void test_msix(void)
{
    VFIOKernel *k = start_plugged();
    QPCIBar bar = map_bar(k, 0);
    QPCIBar table = map_bar(k, 4);
    uint64_t entry = PCI_MSIX_ENTRY_SIZE;

    qpci_config_writew(k->dev, MSIX + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
    /* no vector is in use yet: MSI-X is enabled without eventfds */
    assert_calls(k, "write 7 0x72 2 0x8000\n"
                    "SET_IRQS intx trigger 0+0 none\n"
                    "SET_IRQS msix trigger 0+1 no-fd\n");

    qpci_io_writel(k->dev, table, entry + PCI_MSIX_ENTRY_LOWER_ADDR, RAM);
    qpci_io_writel(k->dev, table, entry + PCI_MSIX_ENTRY_UPPER_ADDR, 0);
    qpci_io_writel(k->dev, table, entry + PCI_MSIX_ENTRY_DATA, 0xc0ffee);
    qpci_io_writel(k->dev, table, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
    assert_calls(k, "SET_IRQS msix trigger 1+1 fd\n");

    qpci_io_writel(k->dev, bar, DOORBELL, 2 << 8 | 1);
    wait_for_message(k, 0xc0ffee);
    skip_calls(k);

    /* Vectors are added in any order without disabling the others. */
    qpci_io_writel(k->dev, table, PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
    assert_calls(k, "SET_IRQS msix trigger 0+1 fd\n");

    qpci_config_writew(k->dev, MSIX + PCI_MSIX_FLAGS, 0);
    assert_calls(k, "write 7 0x72 2 0x0\n"
                    "SET_IRQS msix trigger 0+0 none\n"
                    "SET_IRQS intx trigger 0+1 fd\n");
    vfio_kernel_stop(k);
}

static void test_reset(void)
{
    VFIOKernel *k = start_plugged();

    qobject_unref(qtest_qmp(k->qts, "{'execute': 'system_reset'}"));
    qtest_qmp_eventwait(k->qts, "RESET");
    assert_calls(k, "SET_IRQS intx trigger 0+0 none\n"
                    "write 7 0x4 2 0x0\n"
                    "RESET\n"
                    "SET_IRQS intx trigger 0+1 fd\n"
                    "write 7 0x10 4 0x0\n"
                    "write 7 0x14 4 0x0\n"
                    "write 7 0x18 4 0x0\n"
                    "write 7 0x1c 4 0x0\n"
                    "write 7 0x20 4 0x0\n"
                    "write 7 0x24 4 0x0\n");
    vfio_kernel_stop(k);
}

static void test_unplug(void)
{
    VFIOKernel *k = vfio_kernel_start(NULL);
    g_auto(GStrv) calls = NULL;
    g_autofree char *log = NULL;

    vfio_kernel_plug(k);
    qpci_unplug_acpi_device_test(k->qts, VFIO_KERNEL_ID, VFIO_KERNEL_SLOT);
    calls = vfio_kernel_wait_for_end(k);
    assert_count(calls, "SET_IRQS req trigger 0+1 no-fd", 1);
    assert_count(calls, "SET_IRQS err trigger 0+1 no-fd", 1);
    assert_count(calls, "SET_IRQS intx trigger 0+0 none", 2);
    assert_count(calls, "SET_IRQS", 8);
    g_assert_cmpuint(vfio_kernel_count(calls, "MAP_DMA"), >, 0);
    assert_count(calls, "UNMAP_DMA", vfio_kernel_count(calls, "MAP_DMA"));
    assert_count(calls, "close", 3);
    assert_count(calls, "close device", 1);
    log = g_strjoinv("\n", calls);
    g_assert_true(g_str_has_suffix(log, "\nUNSET_CONTAINER\n"
                                        "close container\n"
                                        "close group\n"));

    /* A new container is created when the device is plugged again. */
    vfio_kernel_plug(k);
    vfio_kernel_stop(k);
}

static void test_failure(const void *opaque)
{
    const char *const *row = opaque;
    VFIOKernel *k = vfio_kernel_start(row[0]);
    g_auto(GStrv) calls = NULL;
    const char *message;
    QDict *rsp;

    rsp = qtest_qmp(k->qts, "{'execute': 'device_add', 'arguments': {"
                    "'driver': 'vfio-pci', 'id': %s, 'sysfsdev': %s}}",
                    VFIO_KERNEL_ID, k->sysfs);
    g_assert_true(qdict_haskey(rsp, "error"));
    message = qdict_get_str(qdict_get_qdict(rsp, "error"), "desc");
    if (!g_pattern_match_simple(row[1], message)) {
        g_assert_cmpstr(message, ==, row[1]);
    }
    qobject_unref(rsp);

    /* Every container that was opened is closed again. */
    calls = vfio_kernel_wait_for_end(k);
    assert_count(calls, "close container",
                 vfio_kernel_count(calls, "open /dev/vfio/vfio"));
    assert_count(calls, "close device",
                 vfio_kernel_count(calls, "GET_DEVICE_FD"));
    vfio_kernel_stop(k);
}

/* A failing call, and the resulting error message */
static const char *const failures[][2] = {
    { "SET_CONTAINER",
      "vfio " NAME ": failed to setup container for group 7: Failed to set"
      " group container: Device or resource busy" },
    { "MAP_DMA 0x100000",
      "vfio " NAME ": failed to setup container for group 7: memory listener"
      " initialization failed: Region pc.ram: vfio_container_dma_map(*,"
      " 0x100000, 0x7f00000, *) = -16 (Device or resource busy)" },
    { "GET_INFO",
      "vfio " NAME ": error getting device info: Device or resource busy" },
    { "SET_IRQS intx",
      "vfio " NAME ": Failed to set up TRIGGER eventfd signaling for interrupt"
      " INTX-0: VFIO_DEVICE_SET_IRQS failure: Device or resource busy" },
    { "GET_REGION_INFO 1",
      "vfio " NAME ": failed to get region 1 info: Device or resource busy" },
    { "GET_REGION_INFO 7",
      "vfio " NAME ": failed to get config info: Device or resource busy" },
    { "read 7 0x0 256",
      "vfio " NAME ": failed to read device config space:"
      " Device or resource busy" },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vfio/kernel/realize", test_realize);
    qtest_add_func("/vfio/kernel/asks-once", test_asks_once);
    qtest_add_func("/vfio/kernel/bars", test_bars);
    qtest_add_func("/vfio/kernel/intx", test_intx);
    qtest_add_func("/vfio/kernel/msi", test_msi);
    qtest_add_func("/vfio/kernel/msix", test_msix);
    qtest_add_func("/vfio/kernel/reset", test_reset);
    qtest_add_func("/vfio/kernel/unplug", test_unplug);
    for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
        g_autofree char *path = g_strdup_printf("/vfio/kernel/failure/%s",
                                                failures[i][0]);
        qtest_add_data_func(path, failures[i], test_failure);
    }
    return g_test_run();
}
