/*
 * qtest of the vfio-user client: what only KVM shows
 *
 * Guests of a few bytes that count their interrupts, or ring doorbells, while
 * QEMU's main loop is held up: QEMU has no part in either.
 *
 * Skipped where there is no KVM or it does not run the guest.
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

/*
 * The guest of one processor.  Words of its memory: READY holds READY_WORD
 * once it takes interrupts, the others count them.
 */
#define READY 0x500
#define READY_WORD 0x600d
#define MSI_COUNT 0x504
#define INTX_COUNT 0x508

#define MSI_ADDRESS 0xfee00000
#define MSI_DATA 0x41

/* Real mode, at F000:0000; the reset vector jumps there. */
static const uint8_t counting_guest[] = {
    0xfa,                                    /* cli */
    0x31, 0xc0,                              /* xor %ax,%ax */
    0x8e, 0xd8,                              /* mov %ax,%ds */
    0x8e, 0xd0,                              /* mov %ax,%ss */
    0xbc, 0x00, 0x70,                        /* mov $0x7000,%sp */
    0x66, 0xb9, 0x1b, 0x00, 0x00, 0x00,      /* mov $0x1b,%ecx */
    0x0f, 0x32,                              /* rdmsr */
    0x66, 0x0d, 0x00, 0x0c, 0x00, 0x00,      /* or $0xc00,%eax */
    0x0f, 0x30,                              /* wrmsr */
    0x66, 0x31, 0xd2,                        /* xor %edx,%edx */
    0x66, 0xb9, 0x0f, 0x08, 0x00, 0x00,      /* mov $0x80f,%ecx */
    0x66, 0xb8, 0xff, 0x01, 0x00, 0x00,      /* mov $0x1ff,%eax */
    0x0f, 0x30,                              /* wrmsr */
    0x66, 0xb9, 0x35, 0x08, 0x00, 0x00,      /* mov $0x835,%ecx */
    0x66, 0xb8, 0x00, 0x07, 0x00, 0x00,      /* mov $0x700,%eax */
    0x0f, 0x30,                              /* wrmsr */
    0xc7, 0x06, 0x04, 0x01, 0x86, 0x00,      /* movw $0x86,0x104 */
    0xc7, 0x06, 0x06, 0x01, 0x00, 0xf0,      /* movw $0xf000,0x106 */
    0xc7, 0x06, 0xa8, 0x00, 0x9a, 0x00,      /* movw $0x9a,0xa8 */
    0xc7, 0x06, 0xaa, 0x00, 0x00, 0xf0,      /* movw $0xf000,0xaa */
    0xb0, 0x11,                              /* mov $0x11,%al */
    0xe6, 0x20,                              /* out %al,$0x20 */
    0xe6, 0xa0,                              /* out %al,$0xa0 */
    0xb0, 0x20,                              /* mov $0x20,%al */
    0xe6, 0x21,                              /* out %al,$0x21 */
    0xb0, 0x28,                              /* mov $0x28,%al */
    0xe6, 0xa1,                              /* out %al,$0xa1 */
    0xb0, 0x04,                              /* mov $0x4,%al */
    0xe6, 0x21,                              /* out %al,$0x21 */
    0xb0, 0x02,                              /* mov $0x2,%al */
    0xe6, 0xa1,                              /* out %al,$0xa1 */
    0xb0, 0x01,                              /* mov $0x1,%al */
    0xe6, 0x21,                              /* out %al,$0x21 */
    0xe6, 0xa1,                              /* out %al,$0xa1 */
    0xb0, 0xfb,                              /* mov $0xfb,%al */
    0xe6, 0x21,                              /* out %al,$0x21 */
    0xe6, 0xa1,                              /* out %al,$0xa1 */
    0xba, 0xd1, 0x04,                        /* mov $0x4d1,%dx */
    0xb0, 0x04,                              /* mov $0x4,%al */
    0xee,                                    /* out %al,(%dx) */
    0x66, 0xc7, 0x06, 0x00, 0x05,
    0x0d, 0x60, 0x00, 0x00,                  /* movl $0x600d,0x500 */
    0xfb,                                    /* sti */
    0xf4,                                    /* hlt */
    0xeb, 0xfc,                              /* jmp 82 */
    /* 0x86, vector 0x41: MSI */
    0x66, 0xff, 0x06, 0x04, 0x05,            /* incl 0x504 */
    0x66, 0xb9, 0x0b, 0x08, 0x00, 0x00,      /* mov $0x80b,%ecx */
    0x66, 0x31, 0xc0,                        /* xor %eax,%eax */
    0x66, 0x31, 0xd2,                        /* xor %edx,%edx */
    0x0f, 0x30,                              /* wrmsr */
    0xcf,                                    /* iret */
    /* 0x9a, vector 0x2a: INTx */
    0x66, 0xff, 0x06, 0x08, 0x05,            /* incl 0x508 */
    0xb0, 0x20,                              /* mov $0x20,%al */
    0xe6, 0xa0,                              /* out %al,$0xa0 */
    0xe6, 0x20,                              /* out %al,$0x20 */
    0xcf,                                    /* iret */
};

/*
 * The guest that writes: where ORDER is not 0, ORDER_VALUE to that port, once,
 * and counts.
 */
#define ORDER 0x620
#define ORDER_VALUE 0x640
#define ORDER_COUNT 0x660

static const uint8_t writing_guest[] = {
    0x31, 0xc0,                              /* xor %ax,%ax */
    0x8e, 0xd8,                              /* mov %ax,%ds */
    0xf3, 0x90,                              /* pause */
    0x8b, 0x16, 0x20, 0x06,                  /* mov 0x620,%dx */
    0x85, 0xd2,                              /* test %dx,%dx */
    0x74, 0xf6,                              /* je 4 */
    0x66, 0xa1, 0x40, 0x06,                  /* mov 0x640,%eax */
    0x66, 0xef,                              /* out %eax,(%dx) */
    0xc7, 0x06, 0x20, 0x06, 0x00, 0x00,      /* movw $0,0x620 */
    0x66, 0xff, 0x06, 0x60, 0x06,            /* incl 0x660 */
    0xeb, 0xe3,                              /* jmp 4 */
};
/* Returns false, and has skipped the test, where there is no such guest. */
static bool counting_guest_begin(VFIOUserGuest *guest)
{
    if (!qtest_has_accel("kvm") || access("/dev/kvm", R_OK | W_OK) < 0) {
        g_test_skip("no KVM");
        return false;
    }
    vfio_user_guest_begin(guest, "-accel kvm", counting_guest,
                          sizeof(counting_guest), NULL);
    if (!vfio_user_guest_becomes(guest, READY, READY_WORD,
                                 vfio_user_guest_soon())) {
        g_test_skip("KVM does not run the guest");
        vfio_user_guest_end(guest);
        return false;
    }
    return true;
}

/* QEMU's main loop in a register read that the server answers later */

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

/* Two interrupts without the main loop and one with it, from @count on. */
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

    /* a masked one goes to QEMU, and to the guest when it is unmasked */
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
 * The guest ends an INTx at its interrupt controller and never looks at the
 * device: without KVM's word for that, the server would not unmask itself.
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
    /* no descriptor for unmasking went to the server: it would write to it */
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

/* Of any size at 0x10; at 0x20 of 4 bytes and for 5 only. */
static const IOFds doorbells = {
    { sizeof(doorbells), 0, 1, 2 },
    { { 0x10, 0, .flags = PIO },
      { 0x20, 4, .flags = PIO | VFIO_USER_IO_FD_DATAMATCH, .datamatch = 5 } },
};

static void write_port(VFIOUserGuest *guest, uint64_t port, uint32_t value)
{
    uint8_t *memory = guest->memory.memory - guest->memory.address;

    qatomic_set((uint32_t *)(memory + ORDER_VALUE), value);
    qatomic_set((uint16_t *)(memory + ORDER), port);
}

static uint64_t signals(int fd)
{
    uint64_t count = 0;

    g_assert(read(fd, &count, sizeof(count)) == sizeof(count) ||
             errno == EAGAIN);
    return count;
}

/* A write that needed QEMU would wait for its main loop. */
static void check_doorbells(VFIOUserGuest *guest, int fd)
{
    VFIOUserRig *rig = guest->rig;
    uint32_t count = vfio_user_guest_word(guest, ORDER_COUNT);

    main_loop_hold(rig);
    write_port(guest, rig->bar[1].addr + 0x10, 1);
    vfio_user_guest_check(guest, ORDER_COUNT, ++count);
    g_assert_cmpuint(signals(fd), ==, 1);
    write_port(guest, rig->bar[1].addr + 0x20, 5);
    vfio_user_guest_check(guest, ORDER_COUNT, ++count);
    g_assert_cmpuint(signals(fd), ==, 1);
    main_loop_release(rig);

    /* another value is a message */
    vfio_user_server_forget(rig->server);
    write_port(guest, rig->bar[1].addr + 0x20, 6);
    vfio_user_guest_check(guest, ORDER_COUNT, ++count);
    vfio_user_server_see(rig->server, VFIO_USER_REGION_WRITE, AT(1));
    g_assert_cmpuint(signals(fd), ==, 0);
    /* and a read is none of theirs */
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

    if (!counting_guest_begin(&guest)) {
        close(fd);
        return;
    }
    vfio_user_guest_end(&guest);
    vfio_user_guest_begin(&guest, "-accel kvm", writing_guest,
                          sizeof(writing_guest), rules);
    qpci_msix_enable(guest.rig->dev);
    check_doorbells(&guest, fd);

    /* INTx through QEMU and back, which takes them from KVM and returns them */
    qpci_msix_disable(guest.rig->dev);
    qpci_msix_enable(guest.rig->dev);
    check_doorbells(&guest, fd);

    /* a dead device is dead in all its parts */
    rig = guest.rig;
    count = vfio_user_guest_word(&guest, ORDER_COUNT);
    vfio_user_server_hang_up(rig->server);
    vfio_user_rig_wait(rig, qpci_io_readl(rig->dev, rig->bar[1], 0) ==
                            UINT32_MAX);
    vfio_user_rig_ping(rig);
    qtest_writew(rig->qts, ORDER, rig->bar[1].addr + 0x10);
    vfio_user_rig_wait(rig, qtest_readl(rig->qts, ORDER_COUNT) == count + 1);
    g_assert_cmpuint(signals(fd), ==, 0);
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
