/*
 * qtest of the vfio-user client: interrupts
 *
 * Which eventfds the server gets and when, and whether its signals reach the
 * guest.
 *
 * Under qtest, interrupts are set up from the main loop, which waits for the
 * server; a vCPU would not wait.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/resource.h>

#include "hw/pci/pci.h"
#include "vfio-user-irq.h"
#include "vfio-user-tests.h"

#define INTX VFIO_PCI_INTX_IRQ_INDEX
#define MSI VFIO_PCI_MSI_IRQ_INDEX
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX

#define ARM (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)
#define DISABLE (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER)
#define UNMASK (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK)

static VFIOUserModel model_with_max_fds(unsigned max_msg_fds)
{
    VFIOUserModel model = vfio_user_model;

    /* not freed; one per test */
    model.version = g_strdup_printf("{\"capabilities\":{\"max_msg_fds\":%u}}",
                                    max_msg_fds);
    return model;
}

/* Vectors are enabled late and in mixed order. */
static void check_late(const VFIOUserModel *model, unsigned disables)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(model, NULL, 0);

    qpci_msix_enable(rig->dev);
    vfio_user_server_forget(rig->server);
    vfio_user_irq_use(rig, 3);
    g_assert_true(vfio_user_irq_armed(rig, MSIX, 3));
    g_assert_false(vfio_user_irq_armed(rig, MSIX, 1));
    g_assert_false(vfio_user_irq_armed(rig, MSIX, 2));
    vfio_user_irq_check(rig, 3);

    vfio_user_irq_use(rig, 1);
    g_assert_true(vfio_user_irq_armed(rig, MSIX, 1));
    g_assert_false(vfio_user_irq_armed(rig, MSIX, 2));
    vfio_user_irq_check(rig, 1);

    vfio_user_irq_use(rig, 7);
    g_assert_false(vfio_user_irq_armed(rig, MSIX, 2));
    vfio_user_irq_check(rig, 7);
    vfio_user_irq_check(rig, 3);
    vfio_user_irq_check(rig, 1);
    vfio_user_irq_use(rig, 0);
    vfio_user_irq_check(rig, 0);
    g_assert_cmpuint(vfio_user_irq_sets(rig, MSIX, DISABLE).messages, ==,
                     disables);

    vfio_user_server_forget(rig->server);
    qpci_msix_disable(rig->dev);
    g_assert_cmpuint(vfio_user_irq_sets(rig, MSIX, DISABLE).messages, ==, 1);
    g_assert_false(vfio_user_irq_armed(rig, MSIX, 7));
    g_assert_true(vfio_user_irq_armed(rig, INTX, 0));
}

/* With VFIO_IRQ_INFO_NORESIZE, adding a vector first disables all of them. */
static void test_msix_late_as_a_set(void)
{
    check_late(NULL, 2);
}

/* Without it, no interrupt is lost while a vector is added. */
static void test_msix_late(void)
{
    VFIOUserModel model = vfio_user_model;

    model.irq[MSIX].flags = VFIO_IRQ_INFO_EVENTFD;
    check_late(&model, 0);
}

/* Servers that do not set VFIO_IRQ_INFO_EVENTFD: QEMU uses eventfds anyway */

static void test_flagless_personality(const void *personality)
{
    VFIOUserModel model = vfio_user_model;

    model.personality = personality;
    check_late(&model, 0);
}

static void test_flagless_intx(void)
{
    const VFIOUserModel model =
        vfio_user_irq_model(INTX, 1, VFIO_IRQ_INFO_MASKABLE);
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(&model, NULL, 0);

    g_assert_cmphex(qpci_config_readb(rig->dev, PCI_INTERRUPT_PIN), ==, 1);
    vfio_user_irq_route_intx(rig);
    vfio_user_irq_check_intx(rig);
}

static void test_flagless_msi(void)
{
    const VFIOUserModel model =
        vfio_user_irq_model(MSI, VFIO_USER_MODEL_MSI_VECTORS, 0);
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(&model, NULL, 0);

    vfio_user_irq_enable_msi(rig, true);
    vfio_user_server_trigger(rig->server, MSI, 3);
    vfio_user_rig_wait(rig, qtest_readl(rig->qts, VFIO_USER_IRQ_RAM) ==
                            0x4563);
    vfio_user_irq_enable_msi(rig, false);
}

static void test_flagless_signals(void)
{
    VFIOUserModel model = vfio_user_model;
    g_autoptr(VFIOUserRig) rig = NULL;

    model.irq[VFIO_PCI_ERR_IRQ_INDEX].flags = 0;
    model.irq[VFIO_PCI_REQ_IRQ_INDEX].flags = 0;
    rig = vfio_user_irq_plugged(&model, NULL, 0);
    g_assert_true(vfio_user_irq_armed(rig, VFIO_PCI_ERR_IRQ_INDEX, 0));
    g_assert_true(vfio_user_irq_armed(rig, VFIO_PCI_REQ_IRQ_INDEX, 0));
}

static void irq_check_chunks(unsigned max_msg_fds, unsigned messages)
{
    const VFIOUserModel model = model_with_max_fds(max_msg_fds);
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(&model, NULL, 0);
    QPCIBar bar = qpci_iomap(rig->dev, 4, NULL);
    VFIOUserIRQSets sets;
    unsigned i;

    for (i = 0; i < VFIO_USER_MODEL_MSIX_VECTORS; i++) {
        vfio_user_irq_write(rig, bar, i, false);
    }
    vfio_user_server_forget(rig->server);
    qpci_msix_enable(rig->dev);
    sets = vfio_user_irq_sets(rig, MSIX, ARM);
    g_assert_cmpuint(sets.messages, ==, messages);
    g_assert_cmpuint(sets.fds, ==, VFIO_USER_MODEL_MSIX_VECTORS);
    g_assert_cmpuint(sets.most_fds, ==,
                     MIN(max_msg_fds, VFIO_USER_MODEL_MSIX_VECTORS));
    for (i = 0; i < VFIO_USER_MODEL_MSIX_VECTORS; i++) {
        vfio_user_irq_check(rig, i);
    }
    qpci_msix_disable(rig->dev);
    g_free((char *)model.version);
}

static void test_msix_chunks_of_1(void)
{
    irq_check_chunks(1, 8);
}

static void test_msix_chunks_of_3(void)
{
    irq_check_chunks(3, 3);
}

static void test_msix_in_one(void)
{
    irq_check_chunks(16, 1);
}

/* Vectors that are not in use have no descriptor. */
static void test_msix_gaps(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);
    QPCIBar bar = qpci_iomap(rig->dev, 4, NULL);
    unsigned i;

    for (i = 0; i < VFIO_USER_MODEL_MSIX_VECTORS; i++) {
        vfio_user_irq_write(rig, bar, i, i == 0 || i == 3 || i == 4 || i == 7);
    }
    qpci_msix_enable(rig->dev);
    for (i = 0; i < VFIO_USER_MODEL_MSIX_VECTORS; i++) {
        bool used = !(i == 0 || i == 3 || i == 4 || i == 7);

        g_assert_cmpint(vfio_user_irq_armed(rig, MSIX, i), ==, used);
        if (used) {
            vfio_user_irq_check(rig, i);
        }
    }
    qpci_msix_disable(rig->dev);
}

#define MANY 2048

static void test_msix_2048(void)
{
    VFIOUserModel model = model_with_max_fds(16);
    struct rlimit limit;
    unsigned i;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    if (limit.rlim_cur < 3 * MANY) {
        g_test_skip("too few descriptors a process");
        g_free((char *)model.version);
        return;
    }
    model.region[4].size = 64 * KiB;
    model.irq[MSIX].count = MANY;
    model.irq[MSIX].flags = VFIO_IRQ_INFO_EVENTFD;
    model.config[VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS] = 0xff;
    model.config[VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS + 1] = 0x07;
    model.config[VFIO_USER_MODEL_MSIX + PCI_MSIX_PBA + 1] = 0x80;
    model.config[VFIO_USER_MODEL_MSIX + PCI_MSIX_PBA] = 4;

    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(&model, NULL, 0);
    QPCIBar bar = qpci_iomap(rig->dev, 4, NULL);

    for (i = 0; i < MANY; i++) {
        vfio_user_irq_write(rig, bar, i, i == MANY - 1);
    }
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, MANY - 1);
    vfio_user_irq_check(rig, 0);
    vfio_user_irq_check(rig, MANY / 2);
    vfio_user_irq_check(rig, MANY - 1);
    qpci_msix_disable(rig->dev);
    g_assert_false(vfio_user_irq_armed(rig, MSIX, MANY - 1));
    g_free((char *)model.version);
}

/* Masks and pending bits */

/*
 * While a masked vector is pending, the guest reads QEMU's pending bits, and
 * otherwise the server's.
 */
static void check_pending(const VFIOUserModel *model, unsigned region,
                          uint64_t offset)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(model, NULL, 0);
    const uint32_t servers = 0x5a000000;
    QPCIBar bar;

    vfio_user_server_poke(rig->server, region, offset, &servers, 4);
    qpci_msix_enable(rig->dev);
    bar = rig->dev->msix_pba_bar;
    vfio_user_irq_use(rig, 2);
    vfio_user_irq_use(rig, 5);
    vfio_user_server_forget(rig->server);
    g_assert_cmphex(qpci_io_readl(rig->dev, bar, offset), ==, servers);
    vfio_user_server_see(rig->server, VFIO_USER_REGION_READ,
                         AT_OFFSET(region, offset));

    vfio_user_irq_mask(rig, 2, true);
    qtest_writel(rig->qts, VFIO_USER_IRQ_RAM + 8, 0);
    vfio_user_server_trigger(rig->server, MSIX, 2);
    vfio_user_rig_wait(rig, qpci_io_readl(rig->dev, bar, offset) == 1 << 2);
    vfio_user_server_forget(rig->server);
    g_assert_cmphex(qpci_io_readl(rig->dev, bar, offset), ==, 1 << 2);
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_REGION_READ),
                     ==, 0);
    vfio_user_irq_check(rig, 5);
    g_assert_false(vfio_user_irq_arrived(rig, 2));

    vfio_user_irq_mask(rig, 2, false);
    vfio_user_rig_wait(rig, vfio_user_irq_arrived(rig, 2));
    g_assert_cmphex(qpci_io_readl(rig->dev, bar, offset), ==, servers);
    qpci_msix_disable(rig->dev);
}

static void test_pending(void)
{
    check_pending(NULL, 4, 0x800);
}

static void test_pending_elsewhere(void)
{
    VFIOUserModel model = vfio_user_model;

    model.config[VFIO_USER_MODEL_MSIX + PCI_MSIX_PBA] = 2;
    model.config[VFIO_USER_MODEL_MSIX + PCI_MSIX_PBA + 1] = 0x90;
    check_pending(&model, 2, 0x9000);
}

static void test_function_mask(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);
    const uint8_t flags = VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS;
    uint16_t value;

    qpci_msix_enable(rig->dev);
    value = qpci_config_readw(rig->dev, flags);
    vfio_user_irq_use(rig, 1);
    vfio_user_irq_use(rig, 2);
    qpci_config_writew(rig->dev, flags, value | PCI_MSIX_FLAGS_MASKALL);
    qtest_writel(rig->qts, VFIO_USER_IRQ_RAM + 4, 0);
    qtest_writel(rig->qts, VFIO_USER_IRQ_RAM + 8, 0);
    vfio_user_server_trigger(rig->server, MSIX, 1);
    vfio_user_server_trigger(rig->server, MSIX, 2);
    vfio_user_rig_wait(rig, qpci_io_readl(rig->dev, rig->dev->msix_pba_bar,
                                          0x800) == 0x6);
    g_assert_false(vfio_user_irq_arrived(rig, 1));
    g_assert_false(vfio_user_irq_arrived(rig, 2));
    qpci_config_writew(rig->dev, flags, value);
    vfio_user_rig_wait(rig, vfio_user_irq_arrived(rig, 1) &&
                            vfio_user_irq_arrived(rig, 2));
    qpci_msix_disable(rig->dev);
}

/* A guest must not enable both MSI and MSI-X; the last one enabled is used. */
static void test_both(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);

    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 0);
    vfio_user_irq_enable_msi(rig, true);
    vfio_user_rig_wait(rig, !vfio_user_irq_armed(rig, MSIX, 0));
    qpci_msix_disable(rig->dev);
    vfio_user_rig_wait(rig, vfio_user_irq_armed(rig, MSI, 0));

    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 0);
    vfio_user_rig_wait(rig, !vfio_user_irq_armed(rig, MSI, 0));
    vfio_user_irq_enable_msi(rig, true);
    vfio_user_irq_enable_msi(rig, false);
    vfio_user_rig_wait(rig, vfio_user_irq_armed(rig, MSIX, 0));
    vfio_user_irq_check(rig, 0);
    qpci_msix_disable(rig->dev);
}

static void check_intx_repeats(const VFIOUserModel *model,
                               const VFIOUserRule *rules)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(model, NULL, 0);
    unsigned i;

    vfio_user_irq_route_intx(rig);
    vfio_user_server_set_rules(rig->server, rules);
    vfio_user_server_forget(rig->server);
    for (i = 0; i < 5; i++) {
        vfio_user_irq_check_intx(rig);
    }
    /* the last UNMASK may still be in flight */
    vfio_user_rig_wait(rig,
                       vfio_user_irq_sets(rig, INTX, UNMASK).messages == 5);
    g_assert_cmpuint(vfio_user_irq_sets(rig, INTX, UNMASK).no_reply, ==, 5);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0), ==, 0);
}

/*
 * The model automasks INTx: each interrupt needs an UNMASK before the next
 * one.
 */
static void test_intx_masks_itself(void)
{
    check_intx_repeats(NULL, NULL);
}

static void test_intx_without_mask(void)
{
    VFIOUserModel model = vfio_user_model;

    model.irq[INTX].flags = VFIO_IRQ_INFO_EVENTFD;
    check_intx_repeats(&model, NULL);
}

/* An error reply to a message with No_reply set is ignored. */
static void test_intx_unmask_refused(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_SET_IRQS, AT(INTX), .nth = 2), DO_FAIL, EINVAL },
        { ON(VFIO_USER_DEVICE_SET_IRQS, AT(INTX), .nth = 2), DO_ANYWAY },
        { ON(VFIO_USER_DEVICE_SET_IRQS, AT(INTX), .nth = 1), DO_ANYWAY },
        { }
    };

    check_intx_repeats(NULL, rules);
}

/* A device that still requests service signals again after it is unmasked. */
static void test_intx_level(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);

    vfio_user_irq_route_intx(rig);
    vfio_user_server_trigger(rig->server, INTX, 0);
    vfio_user_rig_wait(rig, qtest_get_irq(rig->qts, VFIO_USER_IRQ_PIN));
    qpci_io_readl(rig->dev, rig->bar[1], 0);
    vfio_user_server_trigger(rig->server, INTX, 0);
    vfio_user_rig_wait(rig, qtest_get_irq(rig->qts, VFIO_USER_IRQ_PIN));
    qpci_io_readl(rig->dev, rig->bar[0], 0);
    g_assert_false(qtest_get_irq(rig->qts, VFIO_USER_IRQ_PIN));
    vfio_user_irq_check_intx(rig);
}

/*
 * The x-vfio-user-server of QEMU signals INTx when the device raises the pin,
 * but not when the client unmasks it.  The pin level in its configuration
 * space is right.
 */
static void test_intx_stays_up(void)
{
    VFIOUserModel model = vfio_user_model;
    g_autoptr(VFIOUserRig) rig = NULL;
    unsigned i;

    model.personality = vfio_user_personality("x-vfio-user-server");
    rig = vfio_user_irq_plugged(&model, NULL, 0);
    vfio_user_irq_route_intx(rig);
    vfio_user_server_trigger(rig->server, INTX, 0);
    for (i = 0; i < 3; i++) {
        vfio_user_rig_wait(rig, qtest_get_irq(rig->qts, VFIO_USER_IRQ_PIN));
        qpci_io_readl(rig->dev, rig->bar[0], 0);
    }
    vfio_user_rig_wait(rig, qtest_get_irq(rig->qts, VFIO_USER_IRQ_PIN));
    vfio_user_server_lower(rig->server);
    qpci_io_readl(rig->dev, rig->bar[0], 0);
    vfio_user_rig_ping(rig);
    g_assert_false(qtest_get_irq(rig->qts, VFIO_USER_IRQ_PIN));
    vfio_user_irq_check_intx(rig);
}

/* Servers with masks of their own */

static void check_unmasked(VFIOUserRig *rig, uint32_t index, uint32_t count,
                           unsigned messages)
{
    VFIOUserIRQSets sets;

    vfio_user_rig_wait(rig, vfio_user_irq_sets(rig, index, UNMASK).messages >=
                            messages);
    sets = vfio_user_irq_sets(rig, index, UNMASK);
    g_assert_cmpuint(sets.messages, ==, messages);
    g_assert_cmpuint(sets.no_reply, ==, messages);
    g_assert_cmpuint(sets.last.start, ==, 0);
    g_assert_cmpuint(sets.last.count, ==, count);
    g_assert_cmpuint(sets.fds, ==, 0);
}

static void check_unmask(const VFIOUserModel *model, unsigned msix_messages)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(model, NULL, 0);
    unsigned i;

    for (i = 0; i < 3; i++) {
        vfio_user_server_forget(rig->server);
        qpci_msix_enable(rig->dev);
        vfio_user_irq_use(rig, 2);
        vfio_user_irq_use(rig, 6);
        vfio_user_irq_check(rig, 6);
        check_unmasked(rig, MSIX, VFIO_USER_MODEL_MSIX_VECTORS,
                       msix_messages);
        vfio_user_irq_mask(rig, 2, true);
        vfio_user_irq_mask(rig, 6, true);
        qpci_msix_disable(rig->dev);

        vfio_user_irq_enable_msi(rig, true);
        check_unmasked(rig, MSI, VFIO_USER_MODEL_MSI_VECTORS, 1);
        qtest_writel(rig->qts, VFIO_USER_IRQ_RAM, 0);
        vfio_user_server_trigger(rig->server, MSI, 3);
        vfio_user_rig_wait(rig, qtest_readl(rig->qts, VFIO_USER_IRQ_RAM) ==
                                0x4563);
        vfio_user_irq_enable_msi(rig, false);
    }
}

/* One UNMASK of all vectors is sent each time the guest enables them ... */
static void test_unmask(void)
{
    const VFIOUserModel model = vfio_user_irq_model(
        MSIX, VFIO_USER_MODEL_MSIX_VECTORS, VFIO_IRQ_INFO_EVENTFD);

    check_unmask(&model, 1);
}

/* ... and each time the set is armed again, here for vectors 2 and 6. */
static void test_unmask_as_a_set(void)
{
    check_unmask(NULL, 2);
}

/*
 * UNMASK is limited to the vectors that the server has, not those in config
 * space.
 */
static void test_unmask_fewer(void)
{
    const VFIOUserModel model =
        vfio_user_irq_model(MSIX, 3, VFIO_IRQ_INFO_EVENTFD);
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(&model, NULL, 0);

    vfio_user_server_forget(rig->server);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 1);
    check_unmasked(rig, MSIX, 3, 1);
    qpci_msix_disable(rig->dev);
}

#define AF 0xa0                 /* offset of the capability */

/* ... and again when the guest resets the function while they are enabled. */
static void test_unmask_after_reset(void)
{
    VFIOUserModel model = vfio_user_model;
    g_autoptr(VFIOUserRig) rig = NULL;

    model.irq[MSIX].flags = VFIO_IRQ_INFO_EVENTFD;
    model.config[VFIO_USER_MODEL_MSIX + PCI_CAP_LIST_NEXT] = AF;
    model.config[AF] = PCI_CAP_ID_AF;
    model.config[AF + PCI_AF_LENGTH] = PCI_CAP_AF_SIZEOF;
    model.config[AF + PCI_AF_CAP] = PCI_AF_CAP_TP | PCI_AF_CAP_FLR;
    rig = vfio_user_irq_plugged(&model, NULL, 0);

    qpci_config_writeb(rig->dev, AF + PCI_AF_CTRL, PCI_AF_CTRL_FLR);
    g_assert_cmpuint(vfio_user_irq_sets(rig, MSIX, UNMASK).messages, ==, 0);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 2);
    check_unmasked(rig, MSIX, VFIO_USER_MODEL_MSIX_VECTORS, 1);
    qpci_config_writeb(rig->dev, AF + PCI_AF_CTRL, 0);
    qpci_config_writeb(rig->dev, AF + PCI_AF_CTRL, PCI_AF_CTRL_FLR);
    check_unmasked(rig, MSIX, VFIO_USER_MODEL_MSIX_VECTORS, 2);
    vfio_user_irq_check(rig, 2);
}

/*
 * The rules apply to the third SET_IRQS of the index, which is UNMASK: it
 * follows disable and arm.
 */
static void check_unmask_fault(const VFIOUserRule *rules, bool dies)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_irq_plugged(NULL, NULL, 0);

    vfio_user_server_set_rules(rig->server, rules);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 0);
    if (dies) {
        vfio_user_server_wait_client(rig->server, false);
        vfio_user_rig_wait(rig, qpci_io_readl(rig->dev, rig->bar[0], 0) ==
                                UINT32_MAX);
    } else {
        vfio_user_irq_check(rig, 0);
    }
    qpci_msix_disable(rig->dev);
    vfio_user_rig_ping(rig);
}

static void test_unmask_refused(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_SET_IRQS, AT(MSIX), .nth = 3), DO_FAIL, EINVAL },
        { ON(VFIO_USER_DEVICE_SET_IRQS, AT(MSIX), .nth = 3), DO_ANYWAY },
        { }
    };

    check_unmask_fault(rules, false);
}

static void test_unmask_kills(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_SET_IRQS, AT(MSIX), .nth = 3), DO_CUT, 0 },
        { }
    };

    check_unmask_fault(rules, true);
}

void vfio_user_add_interrupt_tests(void)
{
    const VFIOUserPersonality *p;

    for (p = vfio_user_personalities; p->name; p++) {
        if (p->flagless_msix) {
            g_autofree char *path =
                g_strdup_printf("/vfio-user/interrupt/flagless/%s", p->name);

            qtest_add_data_func(path, p, test_flagless_personality);
        }
    }
    qtest_add_func("/vfio-user/interrupt/flagless/intx", test_flagless_intx);
    qtest_add_func("/vfio-user/interrupt/flagless/msi", test_flagless_msi);
    qtest_add_func("/vfio-user/interrupt/flagless/signals",
                   test_flagless_signals);
    qtest_add_func("/vfio-user/interrupt/intx/masks-itself",
                   test_intx_masks_itself);
    qtest_add_func("/vfio-user/interrupt/intx/without-mask",
                   test_intx_without_mask);
    qtest_add_func("/vfio-user/interrupt/intx/unmask-refused",
                   test_intx_unmask_refused);
    qtest_add_func("/vfio-user/interrupt/intx/level", test_intx_level);
    qtest_add_func("/vfio-user/interrupt/intx/stays-up", test_intx_stays_up);
    qtest_add_func("/vfio-user/interrupt/unmask/sent", test_unmask);
    qtest_add_func("/vfio-user/interrupt/unmask/after-reset",
                   test_unmask_after_reset);
    qtest_add_func("/vfio-user/interrupt/unmask/sent-for-a-set",
                   test_unmask_as_a_set);
    qtest_add_func("/vfio-user/interrupt/unmask/fewer", test_unmask_fewer);
    qtest_add_func("/vfio-user/interrupt/unmask/refused", test_unmask_refused);
    qtest_add_func("/vfio-user/interrupt/unmask/kills", test_unmask_kills);
    qtest_add_func("/vfio-user/interrupt/msix/late", test_msix_late);
    qtest_add_func("/vfio-user/interrupt/msix/late-as-a-set",
                   test_msix_late_as_a_set);
    qtest_add_func("/vfio-user/interrupt/msix/chunks-of-1",
                   test_msix_chunks_of_1);
    qtest_add_func("/vfio-user/interrupt/msix/chunks-of-3",
                   test_msix_chunks_of_3);
    qtest_add_func("/vfio-user/interrupt/msix/in-one", test_msix_in_one);
    qtest_add_func("/vfio-user/interrupt/msix/gaps", test_msix_gaps);
    qtest_add_func("/vfio-user/interrupt/msix/2048", test_msix_2048);
    qtest_add_func("/vfio-user/interrupt/pending/beside-table", test_pending);
    qtest_add_func("/vfio-user/interrupt/pending/elsewhere",
                   test_pending_elsewhere);
    qtest_add_func("/vfio-user/interrupt/both", test_both);
    qtest_add_func("/vfio-user/interrupt/function-mask", test_function_mask);
}
