/*
 * qtest of the vfio-user client: interrupts of faulty servers
 *
 * Servers that have fewer interrupts than they report, refuse them, or signal
 * without end, and servers that signal ERR and REQ.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/resource.h>
#include <sys/uio.h>

#include "hw/pci/pci.h"
#include "vfio-user-irq.h"
#include "vfio-user-tests.h"

#define SHORT_MS 600

#define INTX VFIO_PCI_INTX_IRQ_INDEX
#define MSI VFIO_PCI_MSI_IRQ_INDEX
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX
#define ERR VFIO_PCI_ERR_IRQ_INDEX
#define REQ VFIO_PCI_REQ_IRQ_INDEX

#define ARM (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)
#define DISABLE (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER)
#define UNMASK (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK)

static void check_no_intx(const VFIOUserModel *model)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(model, NULL, 0);

    g_assert_cmpuint(vfio_user_irq_sets(rig, INTX, ARM).messages, ==, 0);
    g_assert_cmphex(qpci_config_readb(rig->dev, PCI_INTERRUPT_PIN), ==, 0);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 1);
    vfio_user_irq_check(rig, 1);
    qpci_msix_disable(rig->dev);
    vfio_user_rig_ping(rig);
}

static void test_count_intx_0(void)
{
    const VFIOUserModel model =
        vfio_user_irq_model(INTX, 0, VFIO_IRQ_INFO_EVENTFD);

    check_no_intx(&model);
}

/* Checks that the existing vectors work. */
static void check_msix_count(uint32_t count)
{
    const VFIOUserModel model =
        vfio_user_irq_model(MSIX, count, VFIO_IRQ_INFO_EVENTFD);
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(&model, NULL, 0);
    QPCIBar bar = qpci_iomap(rig->dev, 4, NULL);
    unsigned i;

    for (i = 0; i < VFIO_USER_MODEL_MSIX_VECTORS; i++) {
        vfio_user_irq_write(rig, bar, i, i == VFIO_USER_MODEL_MSIX_VECTORS - 1);
    }
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, VFIO_USER_MODEL_MSIX_VECTORS - 1);
    for (i = 0; i < MIN(count, VFIO_USER_MODEL_MSIX_VECTORS); i++) {
        vfio_user_irq_check(rig, i);
    }
    vfio_user_server_forget(rig->server);
    qpci_msix_disable(rig->dev);
    /* an index without interrupts is not disabled */
    g_assert_cmpuint(vfio_user_irq_sets(rig, MSIX, DISABLE).messages, ==,
                     !!count);
    vfio_user_rig_ping(rig);
}

static void test_count_msix_0(void)
{
    check_msix_count(0);
}

static void test_count_msix_3(void)
{
    check_msix_count(3);
}

static void test_count_msix_20(void)
{
    check_msix_count(20);
}

static const VFIOUserRule no_irq_info[] = {
    { ON(VFIO_USER_DEVICE_GET_IRQ_INFO), DO_FAIL, ENOTSUP },
    { }
};

static const VFIOUserRule wrong_irq_info[] = {
    { ON(VFIO_USER_DEVICE_GET_IRQ_INFO, AT(INTX)), DO_PATCH,
      offsetof(VFIOUserIRQInfo, count), STRUCT(uint32_t, UINT32_MAX) },
    { ON(VFIO_USER_DEVICE_GET_IRQ_INFO, AT(MSI)), DO_PATCH,
      offsetof(VFIOUserIRQInfo, index), STRUCT(uint32_t, INTX) },
    { ON(VFIO_USER_DEVICE_GET_IRQ_INFO, AT(MSIX)), DO_PATCH,
      offsetof(VFIOUserIRQInfo, count), STRUCT(uint32_t, 2049) },
    { ON(VFIO_USER_DEVICE_GET_IRQ_INFO, AT(ERR)), DO_PATCH,
      offsetof(VFIOUserIRQInfo, index), STRUCT(uint32_t, UINT32_MAX) },
    { }
};

/* In this case, QEMU uses the counts in config space. */
static void check_config_counts(const VFIOUserRule *rules)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, rules, 0);

    vfio_user_irq_route_intx(rig);
    vfio_user_irq_check_intx(rig);
    vfio_user_server_forget(rig->server);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 6);
    vfio_user_irq_check(rig, 6);
    g_assert_cmpuint(vfio_user_irq_sets(rig, MSIX, UNMASK).messages, ==, 0);
    qpci_msix_disable(rig->dev);
}

static void test_no_irq_info(void)
{
    check_config_counts(no_irq_info);
}

static void test_wrong_irq_info(void)
{
    check_config_counts(wrong_irq_info);
}

/* Servers that refuse eventfds */

typedef struct Refusal {
    const char *name;
    uint32_t index;
    unsigned timeout_ms;
    VFIOUserRule rules[2];
} Refusal;

#define REFUSE(i, ...) { { ON(VFIO_USER_DEVICE_SET_IRQS, AT(i)), __VA_ARGS__ } }

static const Refusal refusals[] = {
    { "msi-einval", MSI, 0, REFUSE(MSI, DO_FAIL, EINVAL) },
    { "msi-eagain", MSI, 0, REFUSE(MSI, DO_FAIL, EAGAIN) },
    { "msi-never", MSI, SHORT_MS, REFUSE(MSI, DO_DROP) },
    { "msix-einval", MSIX, 0, REFUSE(MSIX, DO_FAIL, EINVAL) },
    { "msix-errno-0", MSIX, 0, REFUSE(MSIX, DO_FAIL, 0) },
    { "msix-never", MSIX, SHORT_MS, REFUSE(MSIX, DO_DROP) },
    { "msix-ends", MSIX, 0, REFUSE(MSIX, DO_CUT, 5) },
    { "error-einval", ERR, 0, REFUSE(ERR, DO_FAIL, EINVAL) },
    { "request-einval", REQ, 0, REFUSE(REQ, DO_FAIL, EINVAL) },
};

static void test_refused(const void *opaque)
{
    const Refusal *refusal = opaque;
    bool is_msi = refusal->index == MSI || refusal->index == MSIX;
    g_autoptr(VFIOUserRig) rig =
        vfio_user_irq_plugged(NULL, is_msi ? NULL : refusal->rules,
                              refusal->timeout_ms);

    if (is_msi) {
        vfio_user_server_set_rules(rig->server, refusal->rules);
    }
    if (refusal->index == MSI) {
        vfio_user_irq_enable_msi(rig, true);
        vfio_user_irq_enable_msi(rig, false);
    } else if (refusal->index == MSIX) {
        qpci_msix_enable(rig->dev);
        vfio_user_irq_use(rig, 2);
        vfio_user_irq_mask(rig, 2, true);
        qpci_msix_disable(rig->dev);
    }
    vfio_user_rig_ping(rig);
    if (is_msi && refusal->timeout_ms) {
        /* QEMU blocked with the BQL held, so it drops this server */
        vfio_user_server_wait_client(rig->server, false);
    } else if (refusal->rules[0].deed != DO_CUT) {
        vfio_user_irq_route_intx(rig);
        vfio_user_irq_check_intx(rig);
    }
}

/* QEMU does not wait a second time for a server that does not answer. */
static void test_never_at_plug(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_SET_IRQS, AT(ERR)), DO_DROP },
        { }
    };
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     rules);
    g_autofree char *message = vfio_user_rig_try_plug(rig, SHORT_MS);

    g_assert_nonnull(strstr(message, "DEVICE_SET_IRQS: no reply within"));
    vfio_user_server_wait_client(rig->server, false);
}

/* Descriptor limit */

/* Returns the file of QEMU's descriptor 0, which must not change. */
static char *standard_input(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd/0", pid);

    return g_file_read_link(path, NULL);
}

static unsigned count_fds(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", pid);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

/* Vectors that get no eventfd do not work; everything else does. */
static void test_out_of_descriptors(void)
{
    const VFIOUserModel model = vfio_user_irq_model(
        MSIX, VFIO_USER_MODEL_MSIX_VECTORS, VFIO_IRQ_INFO_EVENTFD);
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(&model, NULL, 0);
    pid_t pid = vfio_user_server_client(rig->server);
    g_autofree char *input = standard_input(pid);
    g_autofree char *input_after = NULL;
    struct rlimit old, few;
    unsigned i;

    vfio_user_rig_ping(rig);
    g_assert_cmpint(prlimit(pid, RLIMIT_NOFILE, NULL, &old), ==, 0);
    few = old;
    few.rlim_cur = count_fds(pid) + 2;
    g_assert_cmpint(prlimit(pid, RLIMIT_NOFILE, &few, NULL), ==, 0);
    qpci_msix_enable(rig->dev);
    for (i = 0; i < VFIO_USER_MODEL_MSIX_VECTORS; i++) {
        vfio_user_irq_use(rig, i);
    }
    vfio_user_irq_check(rig, 0);
    g_assert_false(vfio_user_irq_armed(rig, MSIX, i - 1));
    qpci_msix_disable(rig->dev);
    vfio_user_irq_enable_msi(rig, true);
    vfio_user_irq_enable_msi(rig, false);
    vfio_user_rig_ping(rig);

    input_after = standard_input(pid);
    g_assert_cmpstr(input_after, ==, input);
    g_assert_cmpint(prlimit(pid, RLIMIT_NOFILE, &old, NULL), ==, 0);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_check(rig, VFIO_USER_MODEL_MSIX_VECTORS - 1);
    qpci_msix_disable(rig->dev);
}

/* ERR and REQ */

/*
 * ERR disables the device, and the VM keeps running (checked by
 * vfio_user_rig_ping()).
 */
static void test_error_signalled(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);

    qpci_io_writel(rig->dev, rig->bar[0], 0x10, 0x1234);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x10), ==, 0x1234);
    vfio_user_server_trigger(rig->server, ERR, 0);
    vfio_user_rig_wait(rig, qpci_io_readl(rig->dev, rig->bar[0], 0x10) ==
                            UINT32_MAX);
    vfio_user_rig_ping(rig);
}

#define PCIHP_DOWN 0xae04       /* slots to eject */
#define PCIHP_EJECT 0xae08
#define SLOT 4

/* Ejects the device as a guest does on request. */
static void irq_fault_eject(VFIOUserRig *rig)
{
    qtest_outl(rig->qts, PCIHP_EJECT, 1 << SLOT);
    qtest_qmp_eventwait(rig->qts, "DEVICE_DELETED");
    g_clear_pointer(&rig->dev, g_free);
    g_clear_pointer(&rig->bus, qpci_free_pc);
}

static void test_unplug_requested(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);

    g_assert_cmphex(qtest_inl(rig->qts, PCIHP_DOWN), ==, 0);
    vfio_user_server_trigger(rig->server, REQ, 0);
    vfio_user_rig_wait(rig, qtest_inl(rig->qts, PCIHP_DOWN) == 1 << SLOT);
    irq_fault_eject(rig);
}

static void test_unplug_not_possible(void)
{
    g_autoptr(VFIOUserServer) server = vfio_user_server_new(NULL, NULL);
    QTestState *qts =
        qtest_initf(VFIO_USER_RIG_RAM
                    "-global PIIX4_PM.acpi-root-pci-hotplug=off "
                    "-device vfio-user-pci,addr=4,socket=%s",
                    vfio_user_server_path(server));
    VFIOUserRig rig = { .qts = qts, .server = server };
    unsigned i;

    for (i = 0; i < 100; i++) {
        vfio_user_server_trigger(server, REQ, 0);
        vfio_user_rig_ping(&rig);
    }
    qtest_quit(qts);
}

static void test_unplug_disabled(void)
{
    g_autoptr(VFIOUserServer) server = vfio_user_server_new(NULL, NULL);
    QTestState *qts =
        qtest_initf(VFIO_USER_RIG_RAM
                    "-device vfio-user-pci,addr=4,x-req=off,socket=%s",
                    vfio_user_server_path(server));
    VFIOUserRig rig = { .qts = qts, .server = server };

    g_assert_false(vfio_user_irq_armed(&rig, REQ, 0));
    g_assert_true(vfio_user_irq_armed(&rig, ERR, 0));
    qtest_quit(qts);
}

static const VFIOUserRule has_3_indexes[] = {
    { ON(VFIO_USER_DEVICE_GET_INFO), DO_PATCH,
      offsetof(VFIOUserDeviceInfo, num_irqs), STRUCT(uint32_t, 3) },
    { }
};

/* QEMU does not query indices that the server does not have. */
static void test_signals_missing(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, has_3_indexes, 0);

    g_assert_false(vfio_user_irq_armed(rig, ERR, 0));
    g_assert_false(vfio_user_irq_armed(rig, REQ, 0));
    g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                          VFIO_USER_DEVICE_GET_IRQ_INFO,
                                          AT(ERR)), ==, 0);
    vfio_user_rig_ping(rig);
}

/* Servers that signal without end */

typedef struct Flood {
    QemuThread thread;
    int fd;
    bool stop;
} Flood;

static void *flood_thread(void *opaque)
{
    Flood *flood = opaque;
    const uint64_t one = 1;

    while (!qatomic_read(&flood->stop)) {
        g_assert_cmpint(write(flood->fd, &one, sizeof(one)), ==, sizeof(one));
    }
    return NULL;
}

static void flood_begin(Flood *flood, VFIOUserRig *rig, uint32_t index)
{
    flood->fd = vfio_user_server_eventfd(rig->server, index, 0);
    flood->stop = false;
    g_assert_cmpint(flood->fd, >=, 0);
    qemu_thread_create(&flood->thread, "flood", flood_thread, flood,
                       QEMU_THREAD_JOINABLE);
}

static void flood_end(Flood *flood)
{
    qatomic_set(&flood->stop, true);
    qemu_thread_join(&flood->thread);
    close(flood->fd);
}

static void check_flood(VFIOUserRig *rig, uint32_t index)
{
    Flood flood;
    unsigned i;

    flood_begin(&flood, rig, index);
    for (i = 0; i < 200; i++) {
        vfio_user_rig_ping(rig);
        qpci_io_readl(rig->dev, rig->bar[0], 0x10);
    }
    flood_end(&flood);
}

static void test_flood(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);

    check_flood(rig, INTX);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 0);
    check_flood(rig, MSIX);
    qpci_msix_disable(rig->dev);
    check_flood(rig, ERR);
}

static void test_flood_of_requests(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);
    Flood flood;

    flood_begin(&flood, rig, REQ);
    vfio_user_rig_wait(rig, qtest_inl(rig->qts, PCIHP_DOWN) == 1 << SLOT);
    irq_fault_eject(rig);
    vfio_user_rig_ping(rig);
    flood_end(&flood);
}

/* Servers that read back their signals */

static void irq_fault_stop_and_continue(VFIOUserRig *rig)
{
    qtest_qmp_assert_success(rig->qts, "{'execute': 'stop'}");
    qtest_qmp_assert_success(rig->qts, "{'execute': 'cont'}");
}

/*
 * QEMU's main loop wakes up and finds no signal.  The server has made its end
 * blocking, and shares the file, so a read in QEMU could block.
 */
static void check_read_back(VFIOUserRig *rig, uint32_t index)
{
    int fd = vfio_user_server_eventfd(rig->server, index, 0);
    uint64_t count = 1;
    struct iovec iov = { &count, sizeof(count) };
    unsigned i, j;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), ==,
                    0);
    for (i = 0; i < 20; i++) {
        for (j = 0; j < 500; j++) {
            count = 1;
            g_assert_cmpint(write(fd, &count, sizeof(count)), ==,
                            sizeof(count));
            g_assert(preadv2(fd, &iov, 1, -1, RWF_NOWAIT) > 0 ||
                     errno == EAGAIN);
        }
        vfio_user_rig_ping(rig);
        irq_fault_stop_and_continue(rig);
    }
    close(fd);
}

static void test_read_back(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);

    check_read_back(rig, INTX);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 0);
    check_read_back(rig, MSIX);
    vfio_user_irq_check(rig, 0);
    qpci_msix_disable(rig->dev);
    check_read_back(rig, ERR);
}

static void test_request_read_back(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);

    check_read_back(rig, REQ);
    vfio_user_server_trigger(rig->server, REQ, 0);
    vfio_user_rig_wait(rig, qtest_inl(rig->qts, PCIHP_DOWN) == 1 << SLOT);
    irq_fault_eject(rig);
}

void vfio_user_add_interrupt_fault_tests(void)
{
    size_t i;

    qtest_add_func("/vfio-user/interrupt/count/intx-0", test_count_intx_0);
    qtest_add_func("/vfio-user/interrupt/count/msix-0", test_count_msix_0);
    qtest_add_func("/vfio-user/interrupt/count/msix-3", test_count_msix_3);
    qtest_add_func("/vfio-user/interrupt/count/msix-20", test_count_msix_20);
    qtest_add_func("/vfio-user/interrupt/count/untold", test_no_irq_info);
    qtest_add_func("/vfio-user/interrupt/count/lies", test_wrong_irq_info);
    qtest_add_func("/vfio-user/interrupt/never-at-plug", test_never_at_plug);
    qtest_add_func("/vfio-user/interrupt/error", test_error_signalled);
    qtest_add_func("/vfio-user/interrupt/unplug/requested",
                   test_unplug_requested);
    qtest_add_func("/vfio-user/interrupt/unplug/not-possible",
                   test_unplug_not_possible);
    qtest_add_func("/vfio-user/interrupt/unplug/not-wanted",
                   test_unplug_disabled);
    qtest_add_func("/vfio-user/interrupt/signals-missing",
                   test_signals_missing);
    qtest_add_func("/vfio-user/interrupt/flood/interrupts", test_flood);
    qtest_add_func("/vfio-user/interrupt/flood/requests",
                   test_flood_of_requests);
    qtest_add_func("/vfio-user/interrupt/taken-back/interrupts",
                   test_read_back);
    qtest_add_func("/vfio-user/interrupt/taken-back/request",
                   test_request_read_back);
    qtest_add_func("/vfio-user/interrupt/out-of-descriptors",
                   test_out_of_descriptors);
    for (i = 0; i < ARRAY_SIZE(refusals); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/interrupt/refused/%s",
                            refusals[i].name);

        qtest_add_data_func(path, &refusals[i], test_refused);
    }
}
