/*
 * qtest of the vfio-user client: what only vCPUs show
 *
 * Guests of a few bytes, whose memory the test sees, too.  One, under KVM,
 * counts its interrupts: they arrive while QEMU's main loop is held up, so QEMU
 * had no part in it.  One, without KVM, has four processors that read registers
 * as fast as they can.
 *
 * Those with KVM are skipped where there is none or it does not run the guest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/eventfd.h>

#include "hw/pci/pci.h"
#include "qapi/qmp/qdict.h"
#include "vfio-user-irq.h"
#include "vfio-user-tests.h"

#define INTX VFIO_PCI_INTX_IRQ_INDEX
#define MSI VFIO_PCI_MSI_IRQ_INDEX
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX

#define UNMASK (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK)

#define ROM_SIZE (64 * KiB)
#define RESET_VECTOR (ROM_SIZE - 16)

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
 * The guest of four processors, whose memory holds one of each word for each
 * of them.  A processor whose PORT is not 0 reads 32 bits there and compares
 * them with EXPECTED; GOOD and BAD count how often it is right.
 */
#define CPUS 4
#define CPUS_AWAKE 0x600
#define PORT(cpu) (0x620 + 2 * (cpu))
#define EXPECTED(cpu) (0x640 + 4 * (cpu))
#define GOOD(cpu) (0x660 + 4 * (cpu))
#define BAD(cpu) (0x680 + 4 * (cpu))

/*
 * Where TOGGLE is not 0, the first of them writes it to the port 0xcf8, turns
 * bit 15 of TOGGLE_VALUE over, writes that to 0xcfe, and counts.
 */
#define TOGGLE 0x6a0
#define TOGGLE_VALUE 0x6a4
#define TOGGLE_COUNT 0x6a8

static const uint8_t reading_guest[] = {
    0xfa,                                    /* cli */
    0x31, 0xc0,                              /* xor %ax,%ax */
    0x8e, 0xd8,                              /* mov %ax,%ds */
    0xb8, 0x01, 0x00,                        /* mov $0x1,%ax */
    0xf0, 0x0f, 0xc1, 0x06, 0x00, 0x06,      /* lock xadd %ax,0x600 */
    0x66, 0x0f, 0xb7, 0xf0,                  /* movzwl %ax,%esi */
    0x85, 0xc0,                              /* test %ax,%ax */
    0x75, 0x4f,                              /* jne 65 */
    /* the first one wakes the others */
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0xba, 0x00, /* lgdtl %cs:0xba */
    0x0f, 0x20, 0xc0,                        /* mov %cr0,%eax */
    0x0c, 0x01,                              /* or $0x1,%al */
    0x0f, 0x22, 0xc0,                        /* mov %eax,%cr0 */
    0xbb, 0x08, 0x00,                        /* mov $0x8,%bx */
    0x8e, 0xe3,                              /* mov %bx,%fs */
    0x24, 0xfe,                              /* and $0xfe,%al */
    0x0f, 0x22, 0xc0,                        /* mov %eax,%cr0 */
    0x66, 0xbb, 0x00, 0x00, 0xe0, 0xfe,      /* mov $0xfee00000,%ebx */
    /* movl $0x1ff,%fs:0xf0(%ebx) */
    0x64, 0x67, 0x66, 0xc7, 0x83,
    0xf0, 0x00, 0x00, 0x00, 0xff, 0x01, 0x00, 0x00,
    /* movl $0xc4500,%fs:0x300(%ebx) */
    0x64, 0x67, 0x66, 0xc7, 0x83,
    0x00, 0x03, 0x00, 0x00, 0x00, 0x45, 0x0c, 0x00,
    /* movl $0xc46f0,%fs:0x300(%ebx) */
    0x64, 0x67, 0x66, 0xc7, 0x83,
    0x00, 0x03, 0x00, 0x00, 0xf0, 0x46, 0x0c, 0x00,
    0xf3, 0x90,                              /* pause */
    0x83, 0x3e, 0x00, 0x06, 0x04,            /* cmpw $0x4,0x600 */
    0x75, 0xea,                              /* jne 4f */
    /* 0x65: all of them, for ever */
    0xf3, 0x90,                              /* pause */
    0x85, 0xf6,                              /* test %si,%si */
    0x75, 0x20,                              /* jne 8b */
    0x66, 0xa1, 0xa0, 0x06,                  /* mov 0x6a0,%eax */
    0x66, 0x85, 0xc0,                        /* test %eax,%eax */
    0x74, 0x17,                              /* je 8b */
    0xba, 0xf8, 0x0c,                        /* mov $0xcf8,%dx */
    0x66, 0xef,                              /* out %eax,(%dx) */
    0x81, 0x36, 0xa4, 0x06, 0x00, 0x80,      /* xorw $0x8000,0x6a4 */
    0xa1, 0xa4, 0x06,                        /* mov 0x6a4,%ax */
    0xba, 0xfe, 0x0c,                        /* mov $0xcfe,%dx */
    0xef,                                    /* out %ax,(%dx) */
    0x66, 0xff, 0x06, 0xa8, 0x06,            /* incl 0x6a8 */
    0x67, 0x8b, 0x14, 0x75, 0x20,
    0x06, 0x00, 0x00,                        /* mov 0x620(,%esi,2),%dx */
    0x85, 0xd2,                              /* test %dx,%dx */
    0x74, 0xce,                              /* je 65 */
    0x66, 0xed,                              /* in (%dx),%eax */
    0x67, 0x66, 0x3b, 0x04, 0xb5,
    0x40, 0x06, 0x00, 0x00,                  /* cmp 0x640(,%esi,4),%eax */
    0x75, 0x0b,                              /* jne af */
    0x67, 0x66, 0xff, 0x04, 0xb5,
    0x60, 0x06, 0x00, 0x00,                  /* incl 0x660(,%esi,4) */
    0xeb, 0xb6,                              /* jmp 65 */
    0x67, 0x66, 0xff, 0x04, 0xb5,
    0x80, 0x06, 0x00, 0x00,                  /* incl 0x680(,%esi,4) */
    0xeb, 0xab,                              /* jmp 65 */
    /* 0xba: what lgdt loads; a flat data segment is number 8 */
    0x0f, 0x00, 0xc0, 0x00, 0x0f, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00,
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

static const uint8_t reset_vector[] = {
    0xea, 0x00, 0x00, 0x00, 0xf0,            /* ljmp $0xf000,$0 */
};

static char *write_guest(const uint8_t *code, size_t size)
{
    g_autofree uint8_t *rom = g_malloc0(ROM_SIZE);
    char *path = NULL;
    int fd = g_file_open_tmp("vfio-user-guest-XXXXXX", &path, NULL);

    memcpy(rom, code, size);
    memcpy(rom + RESET_VECTOR, reset_vector, sizeof(reset_vector));
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, rom, ROM_SIZE), ==, ROM_SIZE);
    close(fd);
    return path;
}

/* A guest that runs, and its memory. */
typedef struct Guest {
    VFIOUserRig *rig;
    VFIOUserMap memory;
} Guest;

static uint32_t guest_word(const Guest *guest, uint64_t address)
{
    return qatomic_read((uint32_t *)(guest->memory.memory + address -
                                     guest->memory.address));
}

/* Waits for a word of the guest without asking QEMU; false at @deadline. */
static bool guest_becomes(const Guest *guest, uint64_t address,
                          uint32_t value, gint64 deadline)
{
    while (guest_word(guest, address) != value) {
        if (g_get_monotonic_time() >= deadline) {
            return false;
        }
        g_usleep(100);
    }
    return true;
}

static gint64 soon(void)
{
    return g_get_monotonic_time() + 10 * G_TIME_SPAN_SECOND;
}

static void check_count(const Guest *guest, uint64_t address, uint32_t value)
{
    g_assert_true(guest_becomes(guest, address, value, soon()));
}

static void guest_begin(Guest *guest, const char *accel, const uint8_t *code,
                        size_t size, const VFIOUserRule *rules)
{
    g_autofree char *path = write_guest(code, size);
    g_autofree char *args = g_strdup_printf("%s " VFIO_USER_RIG_SHARED
                                            "-bios %s", accel, path);

    guest->rig = vfio_user_rig_begin(args, NULL, rules);
    vfio_user_rig_plug(guest->rig, 0);
    g_unlink(path);
    g_assert_true(vfio_user_server_map(guest->rig->server, 0,
                                       &guest->memory));
    g_assert_nonnull(guest->memory.memory);
}

static void guest_end(Guest *guest)
{
    vfio_user_rig_end(guest->rig);
    vfio_user_rig_quit();
}

/* Under KVM */

/* Returns false, and has skipped the test, where there is no such guest. */
static bool counting_guest_begin(Guest *guest)
{
    if (!qtest_has_accel("kvm") || access("/dev/kvm", R_OK | W_OK) < 0) {
        g_test_skip("no KVM");
        return false;
    }
    guest_begin(guest, "-accel kvm", counting_guest, sizeof(counting_guest),
                NULL);
    if (!guest_becomes(guest, READY, READY_WORD, soon())) {
        g_test_skip("KVM does not run the guest");
        guest_end(guest);
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
static void check_taken_by_kvm(Guest *guest, uint32_t index, uint32_t vector,
                               uint32_t count)
{
    VFIOUserRig *rig = guest->rig;

    main_loop_hold(rig);
    vfio_user_server_trigger(rig->server, index, vector);
    check_count(guest, MSI_COUNT, count + 1);
    vfio_user_server_trigger(rig->server, index, vector);
    check_count(guest, MSI_COUNT, count + 2);
    main_loop_release(rig);
    vfio_user_server_trigger(rig->server, index, vector);
    check_count(guest, MSI_COUNT, count + 3);
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
    Guest guest;

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
    g_assert_cmpuint(guest_word(&guest, MSI_COUNT), ==, 3);
    write_entry(guest.rig->dev, 3, 0);
    check_count(&guest, MSI_COUNT, 4);
    check_taken_by_kvm(&guest, MSIX, 3, 4);
    qpci_msix_disable(guest.rig->dev);
    guest_end(&guest);
}

static void test_msi(void)
{
    const uint8_t cap = VFIO_USER_MODEL_MSI;
    QPCIDevice *dev;
    Guest guest;

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
    guest_end(&guest);
}

/*
 * The guest ends an INTx at its interrupt controller and never looks at the
 * device: without KVM's word for that, the server would not unmask itself.
 */
static void test_intx(void)
{
    VFIOUserRig *rig;
    Guest guest;
    unsigned i;

    if (!counting_guest_begin(&guest)) {
        return;
    }
    rig = guest.rig;
    vfio_user_irq_route_intx(rig);
    vfio_user_server_forget(rig->server);
    main_loop_hold(rig);
    vfio_user_server_trigger(rig->server, INTX, 0);
    check_count(&guest, INTX_COUNT, 1);
    main_loop_release(rig);
    vfio_user_rig_wait(rig, vfio_user_irq_sets(rig, INTX, UNMASK).messages ==
                            1);
    for (i = 1; i < 10; i++) {
        vfio_user_server_trigger(rig->server, INTX, 0);
        check_count(&guest, INTX_COUNT, i + 1);
    }
    vfio_user_rig_wait(rig, vfio_user_irq_sets(rig, INTX, UNMASK).messages ==
                            10);
    /* no descriptor for unmasking went to the server: it would write to it */
    g_assert_cmpuint(vfio_user_irq_sets(rig, INTX,
                                        VFIO_IRQ_SET_DATA_EVENTFD |
                                        VFIO_IRQ_SET_ACTION_UNMASK).messages,
                     ==, 0);
    guest_end(&guest);
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

static void write_port(Guest *guest, uint64_t port, uint32_t value)
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
static void check_doorbells(Guest *guest, int fd)
{
    VFIOUserRig *rig = guest->rig;
    uint32_t count = guest_word(guest, ORDER_COUNT);

    main_loop_hold(rig);
    write_port(guest, rig->bar[1].addr + 0x10, 1);
    check_count(guest, ORDER_COUNT, ++count);
    g_assert_cmpuint(signals(fd), ==, 1);
    write_port(guest, rig->bar[1].addr + 0x20, 5);
    check_count(guest, ORDER_COUNT, ++count);
    g_assert_cmpuint(signals(fd), ==, 1);
    main_loop_release(rig);

    /* another value is a message */
    vfio_user_server_forget(rig->server);
    write_port(guest, rig->bar[1].addr + 0x20, 6);
    check_count(guest, ORDER_COUNT, ++count);
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
    Guest guest;

    if (!counting_guest_begin(&guest)) {
        close(fd);
        return;
    }
    guest_end(&guest);
    guest_begin(&guest, "-accel kvm", writing_guest, sizeof(writing_guest),
                rules);
    qpci_msix_enable(guest.rig->dev);
    check_doorbells(&guest, fd);

    /* INTx through QEMU and back, which takes them from KVM and returns them */
    qpci_msix_disable(guest.rig->dev);
    qpci_msix_enable(guest.rig->dev);
    check_doorbells(&guest, fd);

    /* a dead device is dead in all its parts */
    rig = guest.rig;
    count = guest_word(&guest, ORDER_COUNT);
    vfio_user_server_hang_up(rig->server);
    vfio_user_rig_wait(rig, qpci_io_readl(rig->dev, rig->bar[1], 0) ==
                            UINT32_MAX);
    vfio_user_rig_ping(rig);
    qtest_writew(rig->qts, ORDER, rig->bar[1].addr + 0x10);
    vfio_user_rig_wait(rig, qtest_readl(rig->qts, ORDER_COUNT) == count + 1);
    g_assert_cmpuint(signals(fd), ==, 0);
    guest_end(&guest);
    close(fd);
}

/* Several processors */

#define SLOT 5

static void read_port(Guest *guest, unsigned cpu, uint16_t port,
                      uint32_t expected)
{
    qtest_writel(guest->rig->qts, EXPECTED(cpu), expected);
    qtest_writew(guest->rig->qts, PORT(cpu), port);
}

static const VFIOUserRule holds_port_reads[] = {
    { ON(VFIO_USER_REGION_READ, AT(1)), DO_HOLD },
    { }
};

/* Waits until each of @cpus, a bit mask, has read some more. */
static void check_reading(const Guest *guest, unsigned cpus)
{
    unsigned cpu;

    for (cpu = 0; cpu < CPUS; cpu++) {
        if (cpus & (1 << cpu)) {
            uint32_t end = guest_word(guest, GOOD(cpu)) + 100;
            gint64 deadline = soon();

            while ((int32_t)(guest_word(guest, GOOD(cpu)) - end) < 0) {
                g_assert_cmpint(g_get_monotonic_time(), <, deadline);
                vfio_user_rig_ping(guest->rig);
            }
        }
        g_assert_cmpuint(guest_word(guest, BAD(cpu)), ==, 0);
    }
}

/* Whether they stand still while the others read on. */
static bool first_two_are_stuck(const Guest *guest)
{
    uint32_t before[] = { guest_word(guest, GOOD(0)),
                          guest_word(guest, GOOD(1)) };

    check_reading(guest, 0xc);
    return guest_word(guest, GOOD(0)) == before[0] &&
           guest_word(guest, GOOD(1)) == before[1];
}

static void reading_guest_begin(Guest *guest)
{
    guest_begin(guest, "-accel tcg -smp 4", reading_guest,
                sizeof(reading_guest), NULL);
    check_count(guest, CPUS_AWAKE, CPUS);
}

static void poke(VFIOUserServer *server, unsigned cpu)
{
    const uint32_t value = 0xc0ffee00 + cpu;

    vfio_user_server_poke(server, 1, 4 * cpu, &value, sizeof(value));
}

/*
 * Two devices and two processors on each; then one server does not answer,
 * and neither the other two processors nor the monitor wait for it.
 */
static void test_several(void)
{
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(NULL, NULL);
    QPCIDevice *dev;
    VFIOUserRig *rig;
    QPCIBar bar;
    Guest guest;
    unsigned cpu;

    reading_guest_begin(&guest);
    rig = guest.rig;
    qtest_qmp_device_add(rig->qts, "vfio-user-pci", "other",
                         "{'addr': '5', 'socket': %s}",
                         vfio_user_server_path(other));
    dev = qpci_device_find(rig->bus, QPCI_DEVFN(SLOT, 0));
    bar = qpci_iomap(dev, 1, NULL);
    qpci_device_enable(dev);
    for (cpu = 0; cpu < CPUS; cpu++) {
        bool first = cpu < CPUS / 2;

        poke(first ? rig->server : other, cpu);
        read_port(&guest, cpu, (first ? rig->bar[1] : bar).addr + 4 * cpu,
                  0xc0ffee00 + cpu);
    }
    check_reading(&guest, 0xf);

    vfio_user_server_set_rules(rig->server, holds_port_reads);
    vfio_user_rig_wait(rig, first_two_are_stuck(&guest));
    g_assert_true(first_two_are_stuck(&guest));
    vfio_user_server_set_rules(rig->server, NULL);
    vfio_user_server_release(rig->server);
    check_reading(&guest, 0xf);

    for (cpu = 0; cpu < CPUS; cpu++) {
        read_port(&guest, cpu, 0, 0);
    }
    g_free(dev);
    qpci_unplug_acpi_device_test(rig->qts, "other", SLOT);
    guest_end(&guest);
}

/* A processor arms and disarms MSI-X and waits for no answer. */
static void test_arming(void)
{
    const uint8_t flags = VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS;
    VFIOUserRig *rig;
    Guest guest;
    unsigned cpu;
    bool on;

    reading_guest_begin(&guest);
    rig = guest.rig;
    for (cpu = 0; cpu < CPUS; cpu++) {
        poke(rig->server, cpu);
        read_port(&guest, cpu, rig->bar[1].addr + 4 * cpu, 0xc0ffee00 + cpu);
    }
    qtest_writew(rig->qts, TOGGLE_VALUE, VFIO_USER_MODEL_MSIX_VECTORS - 1);
    qtest_writel(rig->qts, TOGGLE, 0x80000000 | 4 << 11 | (flags & ~3));
    check_reading(&guest, 0xf);
    vfio_user_rig_wait(rig, guest_word(&guest, TOGGLE_COUNT) >= 100);
    qtest_writel(rig->qts, TOGGLE, 0);
    check_reading(&guest, 0xf);

    /* what the server has is what was written last */
    on = qtest_readw(rig->qts, TOGGLE_VALUE) & PCI_MSIX_FLAGS_ENABLE;
    vfio_user_rig_wait(rig, vfio_user_irq_armed(rig, MSIX, 0) == on &&
                            vfio_user_irq_armed(rig, INTX, 0) == !on);
    qpci_config_writew(rig->dev, flags, 0);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 3);
    vfio_user_irq_check(rig, 3);
    qpci_msix_disable(rig->dev);
    for (cpu = 0; cpu < CPUS; cpu++) {
        read_port(&guest, cpu, 0, 0);
    }
    guest_end(&guest);
}

void vfio_user_add_vcpu_tests(void)
{
    qtest_add_func("/vfio-user/vcpu/kvm/msix", test_msix);
    qtest_add_func("/vfio-user/vcpu/kvm/msi", test_msi);
    qtest_add_func("/vfio-user/vcpu/kvm/intx", test_intx);
    qtest_add_func("/vfio-user/vcpu/kvm/doorbell", test_doorbell);
    if (qtest_has_accel("tcg")) {
        qtest_add_func("/vfio-user/vcpu/several", test_several);
        qtest_add_func("/vfio-user/vcpu/arming", test_arming);
    }
}
