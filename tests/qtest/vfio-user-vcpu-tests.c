/*
 * qtest of the vfio-user client: several vCPUs
 *
 * A guest of a few bytes, without KVM, whose four processors read registers as
 * fast as they can.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "vfio-user-guest.h"
#include "vfio-user-irq.h"
#include "vfio-user-tests.h"

#define INTX VFIO_PCI_INTX_IRQ_INDEX
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX

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
#define SLOT 5

static void read_port(VFIOUserGuest *guest, unsigned cpu, uint16_t port,
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
static void check_reading(const VFIOUserGuest *guest, unsigned cpus)
{
    unsigned cpu;

    for (cpu = 0; cpu < CPUS; cpu++) {
        if (cpus & (1 << cpu)) {
            uint32_t end = vfio_user_guest_word(guest, GOOD(cpu)) + 100;
            gint64 deadline = vfio_user_guest_soon();

            while ((int32_t)(vfio_user_guest_word(guest, GOOD(cpu)) -
                             end) < 0) {
                g_assert_cmpint(g_get_monotonic_time(), <, deadline);
                vfio_user_rig_ping(guest->rig);
            }
        }
        g_assert_cmpuint(vfio_user_guest_word(guest, BAD(cpu)), ==, 0);
    }
}

/* Whether they stand still while the others read on. */
static bool first_two_are_stuck(const VFIOUserGuest *guest)
{
    uint32_t before[] = { vfio_user_guest_word(guest, GOOD(0)),
                          vfio_user_guest_word(guest, GOOD(1)) };

    check_reading(guest, 0xc);
    return vfio_user_guest_word(guest, GOOD(0)) == before[0] &&
           vfio_user_guest_word(guest, GOOD(1)) == before[1];
}

static void reading_guest_begin(VFIOUserGuest *guest)
{
    vfio_user_guest_begin(guest, "-accel tcg -smp 4", reading_guest,
                          sizeof(reading_guest), NULL);
    vfio_user_guest_check(guest, CPUS_AWAKE, CPUS);
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
    VFIOUserGuest guest;
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
    vfio_user_guest_end(&guest);
}

/* A processor arms and disarms MSI-X and waits for no answer. */
static void test_arming(void)
{
    const uint8_t flags = VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS;
    VFIOUserRig *rig;
    VFIOUserGuest guest;
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
    vfio_user_rig_wait(rig, vfio_user_guest_word(&guest, TOGGLE_COUNT) >= 100);
    qtest_writel(rig->qts, TOGGLE, 0);
    check_reading(&guest, 0xf);

    /*
     * What the server has is what was written last: INTx, or else nothing, as
     * the guest uses no vector.
     */
    on = qtest_readw(rig->qts, TOGGLE_VALUE) & PCI_MSIX_FLAGS_ENABLE;
    vfio_user_rig_wait(rig, vfio_user_irq_armed(rig, INTX, 0) == !on &&
                            !vfio_user_irq_armed(rig, MSIX, 0));
    qpci_config_writew(rig->dev, flags, 0);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 3);
    vfio_user_irq_check(rig, 3);
    qpci_msix_disable(rig->dev);
    for (cpu = 0; cpu < CPUS; cpu++) {
        read_port(&guest, cpu, 0, 0);
    }
    vfio_user_guest_end(&guest);
}
/* Configuration cycles, of a second device */

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define AT_DEVICE 0xf8          /* of configuration space: only the server's */
#define PCIHP_EJECT 0xae08
#define SHORT_MS 500
#define LONG_MS 20000

static const VFIOUserRule holds_config_reads[] = {
    { ON(VFIO_USER_REGION_READ, AT_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX,
                                          AT_DEVICE)), DO_HOLD },
    { }
};

/* Has the configuration cycles of all processors lead to a new device. */
static VFIOUserServer *plug_other(VFIOUserGuest *guest, unsigned timeout_ms,
                                  uint32_t value)
{
    VFIOUserServer *other = vfio_user_server_new(NULL, NULL);

    qtest_qmp_device_add(guest->rig->qts, "vfio-user-pci", "other",
                         "{'addr': '5', 'socket': %s, 'x-timeout-ms': %u}",
                         vfio_user_server_path(other), timeout_ms);
    vfio_user_server_poke(other, VFIO_PCI_CONFIG_REGION_INDEX, AT_DEVICE,
                          &value, sizeof(value));
    qtest_outl(guest->rig->qts, CONFIG_ADDRESS,
               0x80000000 | SLOT << 11 | AT_DEVICE);
    return other;
}

/* Neither processor reads anything else while one of them waits. */
static void test_config_waits(void)
{
    const uint32_t value = 0xc0ffee;
    g_autoptr(VFIOUserServer) other = NULL;
    VFIOUserGuest guest;

    reading_guest_begin(&guest);
    other = plug_other(&guest, LONG_MS, value);
    read_port(&guest, 0, CONFIG_DATA, value);
    read_port(&guest, 1, CONFIG_DATA, value);
    for (int i = 0; i < 20; i++) {
        /* the first one seen may have been answered; then the next is held */
        vfio_user_server_forget(other);
        vfio_user_server_set_rules(other, holds_config_reads);
        vfio_user_server_see(other, VFIO_USER_REGION_READ,
                             AT(VFIO_PCI_CONFIG_REGION_INDEX));
        vfio_user_server_set_rules(other, NULL);
        vfio_user_server_release(other);
        check_reading(&guest, 0x3);
    }
    read_port(&guest, 0, 0, 0);
    read_port(&guest, 1, 0, 0);
    qpci_unplug_acpi_device_test(guest.rig->qts, "other", SLOT);
    vfio_user_guest_end(&guest);
}

/* Time enough for a monitor that does not have to wait */
static void *release_soon(void *opaque)
{
    g_usleep(G_TIME_SPAN_SECOND / 2);
    vfio_user_server_release(opaque);
    return NULL;
}

/* The device is ejected in the middle of a cycle to it. */
static void test_config_ejected(void)
{
    g_autoptr(VFIOUserServer) other = NULL;
    VFIOUserGuest guest;
    GThread *thread;

    reading_guest_begin(&guest);
    other = plug_other(&guest, LONG_MS, 0);
    qtest_qmp_device_del_send(guest.rig->qts, "other");
    vfio_user_server_set_rules(other, holds_config_reads);
    vfio_user_server_forget(other);
    read_port(&guest, 0, CONFIG_DATA, 0);
    vfio_user_server_see(other, VFIO_USER_REGION_READ,
                         AT(VFIO_PCI_CONFIG_REGION_INDEX));
    vfio_user_server_set_rules(other, NULL);
    thread = g_thread_new("release", release_soon, other);
    g_free(qtest_hmp(guest.rig->qts, "o /w 0x%x 0x%x", PCIHP_EJECT,
                     1 << SLOT));
    g_thread_join(thread);
    qtest_qmp_eventwait(guest.rig->qts, "DEVICE_DELETED");
    read_port(&guest, 0, 0, 0);
    vfio_user_rig_ping(guest.rig);
    vfio_user_guest_end(&guest);
}

/* Returns how long the monitor took to answer, us. */
static gint64 time_ping(VFIOUserRig *rig)
{
    gint64 begun = g_get_monotonic_time();

    vfio_user_rig_ping(rig);
    return g_get_monotonic_time() - begun;
}

/* A cycle that is never answered: the monitor waits for it once. */
static void test_config_silent(void)
{
    static const VFIOUserRule never[] = {
        { ON(VFIO_USER_ANY), DO_DROP },
        { }
    };
    g_autoptr(VFIOUserServer) other = NULL;
    VFIOUserGuest guest;
    gint64 once, later = G_MAXINT64;

    reading_guest_begin(&guest);
    other = plug_other(&guest, SHORT_MS, 0);
    vfio_user_server_set_rules(other, never);
    vfio_user_server_forget(other);
    read_port(&guest, 0, CONFIG_DATA, UINT32_MAX);
    read_port(&guest, 1, CONFIG_DATA, UINT32_MAX);
    vfio_user_server_see(other, VFIO_USER_REGION_READ,
                         AT(VFIO_PCI_CONFIG_REGION_INDEX));
    once = time_ping(guest.rig);
    vfio_user_server_wait_client(other, false);
    check_reading(&guest, 0x3);
    /* while they go on with it */
    for (int i = 0; i < 20; i++) {
        later = MIN(later, time_ping(guest.rig));
    }
    g_test_message("query-status took %" PRIi64 " us, later %" PRIi64 " us",
                   once, later);
    g_assert_cmpint(once, <, LONG_MS / 2 * G_TIME_SPAN_MILLISECOND);
    g_assert_cmpint(later, <, SHORT_MS * G_TIME_SPAN_MILLISECOND);
    read_port(&guest, 0, 0, 0);
    read_port(&guest, 1, 0, 0);
    qpci_unplug_acpi_device_test(guest.rig->qts, "other", SLOT);
    vfio_user_guest_end(&guest);
}

/* SET_IRQS that nobody answers: the processor does not wait for any of them. */
static void check_unanswered(unsigned timeout_ms, unsigned toggles)
{
    static const VFIOUserRule never[] = {
        { ON(VFIO_USER_DEVICE_SET_IRQS), DO_DROP },
        { }
    };
    const uint8_t flags = VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS;
    g_autoptr(VFIOUserServer) other = NULL;
    VFIOUserGuest guest;

    reading_guest_begin(&guest);
    other = plug_other(&guest, timeout_ms, 0);
    vfio_user_server_set_rules(other, never);
    qtest_writew(guest.rig->qts, TOGGLE_VALUE,
                 VFIO_USER_MODEL_MSIX_VECTORS - 1);
    qtest_writel(guest.rig->qts, TOGGLE,
                 0x80000000 | SLOT << 11 | (flags & ~3));
    while (vfio_user_guest_word(&guest, TOGGLE_COUNT) < toggles) {
        g_assert_cmpint(time_ping(guest.rig), <,
                        LONG_MS / 2 * G_TIME_SPAN_MILLISECOND);
    }
    if (timeout_ms == SHORT_MS) {
        vfio_user_server_wait_client(other, false);
    } else {
        g_assert_cmpuint(vfio_user_server_saw(other,
                                              VFIO_USER_DEVICE_SET_IRQS),
                         >, 255);
    }
    qtest_writel(guest.rig->qts, TOGGLE, 0);
    vfio_user_server_set_rules(other, NULL);
    qpci_unplug_acpi_device_test(guest.rig->qts, "other", SLOT);
    vfio_user_guest_end(&guest);
}

static void test_unanswered(void)
{
    check_unanswered(LONG_MS, 600);
}

/* Once they are late, the connection ends. */
static void test_unanswered_late(void)
{
    check_unanswered(SHORT_MS, 600);
}

void vfio_user_add_vcpu_tests(void)
{
    if (qtest_has_accel("tcg")) {
        qtest_add_func("/vfio-user/vcpu/several", test_several);
        qtest_add_func("/vfio-user/vcpu/arming", test_arming);
        qtest_add_func("/vfio-user/vcpu/config-waits", test_config_waits);
        qtest_add_func("/vfio-user/vcpu/config-ejected", test_config_ejected);
        qtest_add_func("/vfio-user/vcpu/config-silent", test_config_silent);
        qtest_add_func("/vfio-user/vcpu/unanswered", test_unanswered);
        qtest_add_func("/vfio-user/vcpu/unanswered-late",
                       test_unanswered_late);
    }
}
