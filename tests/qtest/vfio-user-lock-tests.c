/*
 * qtest of the vfio-user client: who waits while a server does not answer
 *
 * A guest of a few bytes, without KVM, accesses memory of devices. An access
 * of its own holds no lock of QEMU's; one that is nested in the access to
 * another device keeps the lock that this one has.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "vfio-user-guest.h"
#include "vfio-user-tests.h"

/*
 * The guest of two processors. Each loads 32 bits from READ, if that is not 0,
 * stores them in VALUE and counts in READS. The first one writes OUT_VALUE to
 * OUT_PORT, if that is not 0, and then makes it 0.
 */
#define CPUS 2
#define CPUS_AWAKE 0x600
#define READ(cpu) (0x620 + 4 * (cpu))
#define VALUE(cpu) (0x640 + 4 * (cpu))
#define READS(cpu) (0x660 + 4 * (cpu))
#define OUT_PORT 0x680
#define OUT_VALUE 0x684

static const uint8_t guest_code[] = {
    0xfa,                                    /* cli */
    0x31, 0xc0,                              /* xor %ax,%ax */
    0x8e, 0xd8,                              /* mov %ax,%ds */
    /* 4 GiB behind %fs, in real mode */
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x9d, 0x00, /* lgdtl %cs:gdt */
    0x0f, 0x20, 0xc0,                        /* mov %cr0,%eax */
    0x0c, 0x01,                              /* or $0x1,%al */
    0x0f, 0x22, 0xc0,                        /* mov %eax,%cr0 */
    0xbb, 0x08, 0x00,                        /* mov $0x8,%bx */
    0x8e, 0xe3,                              /* mov %bx,%fs */
    0x24, 0xfe,                              /* and $0xfe,%al */
    0x0f, 0x22, 0xc0,                        /* mov %eax,%cr0 */
    0xb8, 0x01, 0x00,                        /* mov $0x1,%ax */
    0xf0, 0x0f, 0xc1, 0x06, 0x00, 0x06,      /* lock xadd %ax,0x600 */
    0x66, 0x0f, 0xb7, 0xf0,                  /* movzwl %ax,%esi */
    0x85, 0xc0,                              /* test %ax,%ax */
    0x75, 0x2d,                              /* jne loop */
    /* the first one wakes the other */
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
    /* loop: */
    0xf3, 0x90,                              /* pause */
    0x67, 0x66, 0x8b, 0x1c, 0xb5,
    0x20, 0x06, 0x00, 0x00,                  /* mov 0x620(,%esi,4),%ebx */
    0x66, 0x85, 0xdb,                        /* test %ebx,%ebx */
    0x74, 0x17,                              /* je port */
    0x64, 0x67, 0x66, 0x8b, 0x03,            /* mov %fs:(%ebx),%eax */
    0x67, 0x66, 0x89, 0x04, 0xb5,
    0x40, 0x06, 0x00, 0x00,                  /* mov %eax,0x640(,%esi,4) */
    0x67, 0x66, 0xff, 0x04, 0xb5,
    0x60, 0x06, 0x00, 0x00,                  /* incl 0x660(,%esi,4) */
    /* port: */
    0x85, 0xf6,                              /* test %si,%si */
    0x75, 0xd5,                              /* jne loop */
    0x8b, 0x16, 0x80, 0x06,                  /* mov 0x680,%dx */
    0x85, 0xd2,                              /* test %dx,%dx */
    0x74, 0xcd,                              /* je loop */
    0x66, 0xa1, 0x84, 0x06,                  /* mov 0x684,%eax */
    0x66, 0xef,                              /* out %eax,(%dx) */
    0xc7, 0x06, 0x80, 0x06, 0x00, 0x00,      /* movw $0x0,0x680 */
    0xeb, 0xbf,                              /* jmp loop */
    /* gdt: a flat data segment is number 8 */
    0x0f, 0x00, 0xa5, 0x00, 0x0f, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00,
};

#define OTHER_SLOT 5
#define NIC_SLOT 6
#define IOAPIC 0xfec00000       /* accessed with the lock */

/* Registers of the RTL8139 */
#define TSD0 0x10               /* its size is written: transmit buffer 0 */
#define TSAD0 0x20              /* where that is */
#define COMMAND 0x37
#define COMMAND_TE 0x04
#define PACKET 64

#define PCIHP_EJECT 0xae08

static const VFIOUserRule holds_reads[] = {
    { ON(VFIO_USER_REGION_READ, AT(0)), DO_HOLD },
    { }
};

static void lock_guest_begin(VFIOUserGuest *guest)
{
    vfio_user_guest_begin(guest, "-accel tcg,thread=multi -smp 2", guest_code,
                          sizeof(guest_code), NULL);
    vfio_user_guest_check(guest, CPUS_AWAKE, CPUS);
}

/* Waits until a processor has read some more; returns the slowest answer. */
static gint64 check_reading(const VFIOUserGuest *guest, unsigned cpu)
{
    uint32_t end = vfio_user_guest_word(guest, READS(cpu)) + 1000;
    gint64 deadline = vfio_user_guest_soon(), slowest = 0;

    while ((int32_t)(vfio_user_guest_word(guest, READS(cpu)) - end) < 0) {
        gint64 begun = g_get_monotonic_time();

        g_assert_cmpint(begun, <, deadline);
        vfio_user_rig_ping(guest->rig);
        slowest = MAX(slowest, g_get_monotonic_time() - begun);
    }
    return slowest;
}

/*
 * While the first processor waits for @server, the other one reads registers
 * that need the lock, and the monitor answers.
 */
static void check_free(const VFIOUserGuest *guest, VFIOUserServer *server,
                       uint64_t address)
{
    QTestState *qts = guest->rig->qts;
    const uint32_t value = 0xc0ffee;
    gint64 slowest;
    uint32_t reads;

    vfio_user_server_poke(server, 0, 0, &value, sizeof(value));
    vfio_user_server_forget(server);
    vfio_user_server_set_rules(server, holds_reads);
    qtest_writel(qts, READ(0), address);
    vfio_user_server_see(server, VFIO_USER_REGION_READ, AT(0));
    reads = vfio_user_guest_word(guest, READS(0));
    slowest = check_reading(guest, 1);
    g_test_message("query-status took up to %" PRIi64 " us", slowest);
    g_assert_cmpint(slowest, <, G_TIME_SPAN_SECOND);
    g_assert_cmpuint(vfio_user_guest_word(guest, READS(0)), ==, reads);

    vfio_user_server_set_rules(server, NULL);
    vfio_user_server_release(server);
    check_reading(guest, 0);
    g_assert_cmphex(vfio_user_guest_word(guest, VALUE(0)), ==, value);
    qtest_writel(qts, READ(0), 0);
}

/* The memory of one device fills a page, that of the other does not. */
static void test_free(void)
{
    VFIOUserModel small = vfio_user_model;
    g_autoptr(VFIOUserServer) other = NULL;
    QPCIDevice *dev;
    VFIOUserGuest guest;
    QTestState *qts;
    QPCIBar bar;

    small.region[0].size = 256;
    other = vfio_user_server_new(&small, NULL);
    lock_guest_begin(&guest);
    qts = guest.rig->qts;
    qtest_qmp_device_add(qts, "vfio-user-pci", "other",
                         "{'addr': '5', 'socket': %s}",
                         vfio_user_server_path(other));
    dev = qpci_device_find(guest.rig->bus, QPCI_DEVFN(OTHER_SLOT, 0));
    bar = qpci_iomap(dev, 0, NULL);
    qpci_device_enable(dev);
    qtest_writel(qts, READ(1), IOAPIC);

    check_free(&guest, guest.rig->server, guest.rig->bar[0].addr);
    check_free(&guest, other, bar.addr);

    qtest_writel(qts, READ(1), 0);
    g_free(dev);
    qpci_unplug_acpi_device_test(qts, "other", OTHER_SLOT);
    vfio_user_guest_end(&guest);
}

typedef struct Release {
    VFIOUserServer *server;
    bool done;
} Release;

/* Time enough for a monitor that does not have to wait */
static void *release_soon(void *opaque)
{
    Release *release = opaque;

    g_usleep(G_TIME_SPAN_SECOND / 2);
    qatomic_set(&release->done, true);
    vfio_user_server_release(release->server);
    return NULL;
}

/*
 * A network card transmits from the memory of the device, whose server is in
 * no hurry. That the card is ejected waits for the end of its register access.
 */
static void test_nested(void)
{
    Release release = { };
    QPCIDevice *nic;
    VFIOUserGuest guest;
    QTestState *qts;
    GThread *thread;
    QPCIBar bar;

    lock_guest_begin(&guest);
    qts = guest.rig->qts;
    release.server = guest.rig->server;
    qtest_qmp_device_add(qts, "rtl8139", "nic",
                         "{'addr': '6', 'romfile': ''}");
    nic = qpci_device_find(guest.rig->bus, QPCI_DEVFN(NIC_SLOT, 0));
    bar = qpci_iomap(nic, 0, NULL);
    qpci_device_enable(nic);
    qpci_io_writeb(nic, bar, COMMAND, COMMAND_TE);
    qpci_io_writel(nic, bar, TSAD0, guest.rig->bar[0].addr);
    qtest_qmp_device_del_send(qts, "nic");

    vfio_user_server_forget(release.server);
    vfio_user_server_set_rules(release.server, holds_reads);
    qtest_writel(qts, OUT_VALUE, PACKET);
    qtest_writew(qts, OUT_PORT, bar.addr + TSD0);
    vfio_user_server_see(release.server, VFIO_USER_REGION_READ, AT(0));
    vfio_user_server_set_rules(release.server, NULL);
    thread = g_thread_new("release", release_soon, &release);
    g_free(qtest_hmp(qts, "o /w 0x%x 0x%x", PCIHP_EJECT, 1 << NIC_SLOT));
    g_assert_true(qatomic_read(&release.done));
    g_thread_join(thread);

    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
    vfio_user_guest_check(&guest, OUT_PORT, 0);
    g_free(nic);
    vfio_user_guest_end(&guest);
}

void vfio_user_add_lock_tests(void)
{
    if (!qtest_has_accel("tcg")) {
        return;
    }
    qtest_add_func("/vfio-user/lock/free", test_free);
    if (qtest_has_device("rtl8139")) {
        qtest_add_func("/vfio-user/lock/nested", test_nested);
    }
}
