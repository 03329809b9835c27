/*
 * qtest of the vfio-user client: features that need KVM
 *
 * The bare guest counts interrupts or writes to doorbells while QEMU's main
 * loop is blocked, so that QEMU cannot take part.
 *
 * Skipped if there is no KVM or it cannot run the guest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "vfio-user-guest.h"
#include "vfio-user-irq.h"
#include "vfio-user-tests.h"

#define INTX VFIO_PCI_INTX_IRQ_INDEX
#define MSI VFIO_PCI_MSI_IRQ_INDEX
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX

#define UNMASK (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK)

#define MSI_COUNT VFIO_USER_GUEST_WORD(msi)
#define INTX_COUNT VFIO_USER_GUEST_WORD(intx)

#define WRITES VFIO_USER_GUEST_CPU(0, done)

#define MSI_ADDRESS 0xfee00000
#define MSI_DATA VFIO_USER_GUEST_MSI_VECTOR

/* Returns false and skips the test if KVM cannot run the guest. */
static bool kvm_guest_begin(VFIOUserGuest *guest, const VFIOUserRule *rules)
{
    if (!qtest_has_accel("kvm") || access("/dev/kvm", R_OK | W_OK) < 0) {
        g_test_skip("no KVM");
        return false;
    }
    vfio_user_guest_begin(guest, "-accel kvm", 1, NULL, rules);
    if (!vfio_user_guest_becomes(guest, VFIO_USER_GUEST_CPU(0, boots), 1,
                                 vfio_user_guest_soon())) {
        g_test_skip("KVM does not run the guest");
        vfio_user_guest_end(guest);
        return false;
    }
    return true;
}

/* The same; the guest only counts interrupts. */
static bool counting_guest_begin(VFIOUserGuest *guest)
{
    if (!kvm_guest_begin(guest, NULL)) {
        return false;
    }
    vfio_user_guest_order(guest->rig->qts, 0, (VFIOUserGuestOrder) {
        .command = VFIO_USER_GUEST_INTERRUPTS,
    });
    vfio_user_guest_check(guest, VFIO_USER_GUEST_WORD(taking), true);
    return true;
}

/* Blocks QEMU's main loop in a register read that the server answers later */

static const VFIOUserRule holds_reads[] = {
    { ON(VFIO_USER_REGION_READ, AT(0)), DO_HOLD },
    { }
};

static void main_loop_hold(VFIOUserRig *rig)
{
    g_autofree char *command = g_strdup_printf("xp /1wx 0x%" PRIx64,
                                               rig->bar[0].addr);

    vfio_user_server_set_rules(rig->server, holds_reads);
    vfio_user_server_forget(rig->server);
    qtest_qmp_send(rig->qts, "{'execute': 'human-monitor-command',"
                   "'arguments': {'command-line': %s}}", command);
    vfio_user_server_see(rig->server, VFIO_USER_REGION_READ);
}

static void main_loop_release(VFIOUserRig *rig)
{
    vfio_user_server_set_rules(rig->server, NULL);
    vfio_user_server_release(rig->server);
    qobject_unref(qtest_qmp_receive(rig->qts));
}

/*
 * Checks two interrupts while the main loop is blocked and one while it runs,
 * counting from @count.
 */
static void check_taken_by_kvm(VFIOUserGuest *guest, uint32_t index,
                               uint32_t vector, uint32_t count)
{
    VFIOUserRig *rig = guest->rig;

    main_loop_hold(rig);
    vfio_user_server_trigger(rig->server, index, vector);
    vfio_user_guest_check(guest, MSI_COUNT, count + 1);
    vfio_user_server_trigger(rig->server, index, vector);
    vfio_user_guest_check(guest, MSI_COUNT, count + 2);
    main_loop_release(rig);
    vfio_user_server_trigger(rig->server, index, vector);
    vfio_user_guest_check(guest, MSI_COUNT, count + 3);
}

static void write_entry(QPCIDevice *dev, unsigned vector, uint32_t masked)
{
    uint64_t entry = vector * PCI_MSIX_ENTRY_SIZE;
    QPCIBar table = dev->msix_table_bar;

    qpci_io_writel(dev, table, entry + PCI_MSIX_ENTRY_LOWER_ADDR, MSI_ADDRESS);
    qpci_io_writel(dev, table, entry + PCI_MSIX_ENTRY_UPPER_ADDR, 0);
    qpci_io_writel(dev, table, entry + PCI_MSIX_ENTRY_DATA, MSI_DATA);
    qpci_io_writel(dev, table, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, masked);
}

static void test_msix(void)
{
    VFIOUserGuest guest;

    if (!counting_guest_begin(&guest)) {
        return;
    }
    qpci_msix_enable(guest.rig->dev);
    write_entry(guest.rig->dev, 3, 0);
    check_taken_by_kvm(&guest, MSIX, 3, 0);

    /* QEMU gets a masked interrupt and delivers it when it is unmasked */
    write_entry(guest.rig->dev, 3, 1);
    vfio_user_server_trigger(guest.rig->server, MSIX, 3);
    vfio_user_rig_wait(guest.rig, qpci_io_readl(guest.rig->dev,
                                                guest.rig->dev->msix_pba_bar,
                                                0x800) == 1 << 3);
    g_assert_cmpuint(vfio_user_guest_word(&guest, MSI_COUNT), ==, 3);
    write_entry(guest.rig->dev, 3, 0);
    vfio_user_guest_check(&guest, MSI_COUNT, 4);
    check_taken_by_kvm(&guest, MSIX, 3, 4);
    qpci_msix_disable(guest.rig->dev);
    vfio_user_guest_end(&guest);
}

static void test_msi(void)
{
    const uint8_t cap = VFIO_USER_MODEL_MSI;
    QPCIDevice *dev;
    VFIOUserGuest guest;

    if (!counting_guest_begin(&guest)) {
        return;
    }
    dev = guest.rig->dev;
    qpci_config_writel(dev, cap + PCI_MSI_ADDRESS_LO, MSI_ADDRESS);
    qpci_config_writew(dev, cap + PCI_MSI_DATA_64, MSI_DATA);
    qpci_config_writew(dev, cap + PCI_MSI_FLAGS,
                       PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_ENABLE);
    check_taken_by_kvm(&guest, MSI, 0, 0);
    qpci_config_writew(dev, cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_64BIT);
    vfio_user_guest_end(&guest);
}

/*
 * The guest sends EOI at its interrupt controller and never accesses the
 * device: the server is only unmasked because KVM reports the EOI.
 */
static void test_intx(void)
{
    VFIOUserRig *rig;
    VFIOUserGuest guest;
    unsigned i;

    if (!counting_guest_begin(&guest)) {
        return;
    }
    rig = guest.rig;
    vfio_user_irq_route_intx(rig);
    vfio_user_server_forget(rig->server);
    main_loop_hold(rig);
    vfio_user_server_trigger(rig->server, INTX, 0);
    vfio_user_guest_check(&guest, INTX_COUNT, 1);
    main_loop_release(rig);
    vfio_user_rig_wait(rig, vfio_user_irq_sets(rig, INTX, UNMASK).messages ==
                            1);
    for (i = 1; i < 10; i++) {
        vfio_user_server_trigger(rig->server, INTX, 0);
        vfio_user_guest_check(&guest, INTX_COUNT, i + 1);
    }
    vfio_user_rig_wait(rig, vfio_user_irq_sets(rig, INTX, UNMASK).messages ==
                            10);
    /* the server got no unmask eventfd: it would write to it */
    g_assert_cmpuint(vfio_user_irq_sets(rig, INTX,
                                        VFIO_IRQ_SET_DATA_EVENTFD |
                                        VFIO_IRQ_SET_ACTION_UNMASK).messages,
                     ==, 0);
    vfio_user_guest_end(&guest);
}

/* Doorbells */

typedef struct QEMU_PACKED IOFds {
    VFIOUserRegionIOFds head;
    VFIOUserIOFd entries[2];
} IOFds;

#define PIO VFIO_USER_IO_FD_PIO

/* Writes of any size at 0x10; 4-byte writes of 5 at 0x20. */
static const IOFds doorbells = {
    { sizeof(doorbells), 0, 1, 2 },
    { { 0x10, 0, .flags = PIO },
      { 0x20, 4, .flags = PIO | VFIO_USER_IO_FD_DATAMATCH, .datamatch = 5 } },
};

/*
 * Gives the order through shared memory, because QEMU's main loop is blocked.
 */
static void write_port(VFIOUserGuest *guest, uint64_t port, uint32_t value)
{
    VFIOUserGuestMemory *memory =
        (void *)(guest->memory.memory - guest->memory.address +
                 VFIO_USER_GUEST_MEMORY);
    VFIOUserGuestOrder *order = &memory->cpu[0].order;

    vfio_user_guest_check(guest, VFIO_USER_GUEST_CPU(0, order.command),
                          VFIO_USER_GUEST_IDLE);
    order->space = VFIO_USER_GUEST_IN_PORTS;
    order->address = port;
    order->value = value;
    qatomic_store_release(&order->command, VFIO_USER_GUEST_WRITE);
}

static uint64_t kvm_signals(int fd)
{
    uint64_t count = 0;

    g_assert(read(fd, &count, sizeof(count)) == sizeof(count) ||
             errno == EAGAIN);
    return count;
}

/* Writes that needed QEMU would wait for its main loop. */
static void check_doorbells(VFIOUserGuest *guest, int fd)
{
    VFIOUserRig *rig = guest->rig;
    uint32_t count = vfio_user_guest_word(guest, WRITES);

    main_loop_hold(rig);
    write_port(guest, rig->bar[1].addr + 0x10, 1);
    vfio_user_guest_check(guest, WRITES, ++count);
    g_assert_cmpuint(kvm_signals(fd), ==, 1);
    write_port(guest, rig->bar[1].addr + 0x20, 5);
    vfio_user_guest_check(guest, WRITES, ++count);
    g_assert_cmpuint(kvm_signals(fd), ==, 1);
    main_loop_release(rig);

    /* another value is sent as a message */
    vfio_user_server_forget(rig->server);
    write_port(guest, rig->bar[1].addr + 0x20, 6);
    vfio_user_guest_check(guest, WRITES, ++count);
    vfio_user_server_see(rig->server, VFIO_USER_REGION_WRITE, AT(1));
    g_assert_cmpuint(kvm_signals(fd), ==, 0);
    /* a read is a message as well */
    qpci_io_readl(rig->dev, rig->bar[1], 0x10);
    vfio_user_server_see(rig->server, VFIO_USER_REGION_READ, AT(1));
}

static void test_doorbell(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_GET_REGION_IO_FDS, AT(1)), DO_PAYLOAD, 0,
          { &doorbells, sizeof(doorbells) } },
        { ON(VFIO_USER_DEVICE_GET_REGION_IO_FDS, AT(1)), DO_PASS, fd },
        { }
    };
    VFIOUserRig *rig;
    uint32_t count;
    VFIOUserGuest guest;

    if (!kvm_guest_begin(&guest, rules)) {
        close(fd);
        return;
    }
    qpci_msix_enable(guest.rig->dev);
    check_doorbells(&guest, fd);

    /*
     * with INTx, QEMU takes the eventfds from KVM; with MSI-X, it returns them
     */
    qpci_msix_disable(guest.rig->dev);
    qpci_msix_enable(guest.rig->dev);
    check_doorbells(&guest, fd);

    /* writes to a dead device signal no ioeventfd */
    rig = guest.rig;
    count = vfio_user_guest_word(&guest, WRITES);
    vfio_user_server_hang_up(rig->server);
    vfio_user_rig_wait(rig, qpci_io_readl(rig->dev, rig->bar[1], 0) ==
                            UINT32_MAX);
    vfio_user_rig_ping(rig);
    vfio_user_guest_order(rig->qts, 0, (VFIOUserGuestOrder) {
        .command = VFIO_USER_GUEST_WRITE, .space = VFIO_USER_GUEST_IN_PORTS,
        .address = rig->bar[1].addr + 0x10,
    });
    vfio_user_rig_wait(rig, qtest_readl(rig->qts, WRITES) == count + 1);
    g_assert_cmpuint(kvm_signals(fd), ==, 0);
    vfio_user_guest_end(&guest);
    close(fd);
}

void vfio_user_add_kvm_tests(void)
{
    qtest_add_func("/vfio-user/kvm/msix", test_msix);
    qtest_add_func("/vfio-user/kvm/msi", test_msi);
    qtest_add_func("/vfio-user/kvm/intx", test_intx);
    qtest_add_func("/vfio-user/kvm/doorbell", test_doorbell);
}
