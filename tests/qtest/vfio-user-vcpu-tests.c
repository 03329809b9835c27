/*
 * qtest of the vfio-user client: several vCPUs
 *
 * The bare guest under TCG; its four processors access registers as fast as
 * they can.
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

#define CPUS VFIO_USER_GUEST_CPUS
#define WRONG(cpu) VFIO_USER_GUEST_CPU(cpu, wrong)
#define SLOT 5

/* Makes a processor read a port repeatedly and compare the value. */
static void read_port(VFIOUserGuest *guest, unsigned cpu, uint16_t port,
                      uint32_t expected)
{
    vfio_user_guest_order(guest->rig->qts, cpu, (VFIOUserGuestOrder) {
        .command = VFIO_USER_GUEST_READ | VFIO_USER_GUEST_AGAIN,
        .space = VFIO_USER_GUEST_IN_PORTS,
        .address = port,
        .expected = expected,
    });
}

/*
 * Makes the first processor repeatedly write 16 bits of the configuration
 * space of the device at @slot, flipping bit 15 each time.
 */
static void toggle_config(VFIOUserGuest *guest, unsigned slot, uint8_t offset,
                          uint16_t value)
{
    vfio_user_guest_order(guest->rig->qts, 0, (VFIOUserGuestOrder) {
        .command = VFIO_USER_GUEST_WRITE | VFIO_USER_GUEST_AGAIN,
        .space = VFIO_USER_GUEST_IN_CONFIG,
        .size = 2,
        .address = VFIO_USER_GUEST_CONFIG(slot, offset),
        .value = value | 0x8000,
        .flip = 0x8000,
    });
}

static const VFIOUserRule holds_port_reads[] = {
    { ON(VFIO_USER_REGION_READ, AT(1)), DO_HOLD },
    { }
};

/*
 * Checks that each processor in the bit mask @cpus makes progress, and that no
 * processor has read a wrong value.
 */
static void check_reading(const VFIOUserGuest *guest, unsigned cpus)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        if (cpus & (1 << cpu)) {
            vfio_user_guest_check_working(guest, cpu, 100);
        }
        g_assert_cmpuint(vfio_user_guest_word(guest, WRONG(cpu)), ==, 0);
    }
}

static void stop_all(VFIOUserGuest *guest)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        vfio_user_guest_stop(guest->rig->qts, cpu);
    }
}

/* Whether the first two processors are blocked while the others read on. */
static bool first_two_are_stuck(const VFIOUserGuest *guest)
{
    uint32_t before[] = { vfio_user_guest_done(guest, 0),
                          vfio_user_guest_done(guest, 1) };

    check_reading(guest, 0xc);
    return vfio_user_guest_done(guest, 0) == before[0] &&
           vfio_user_guest_done(guest, 1) == before[1];
}

static void reading_guest_begin(VFIOUserGuest *guest)
{
    vfio_user_guest_begin(guest, "-accel tcg", CPUS, NULL, NULL);
}

static void poke(VFIOUserServer *server, unsigned cpu)
{
    const uint32_t value = 0xc0ffee00 + cpu;

    vfio_user_server_poke(server, 1, 4 * cpu, &value, sizeof(value));
}

/*
 * Two devices, each with two processors.  Then one server does not answer, and
 * neither the other two processors nor the monitor wait for it.
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

    stop_all(&guest);
    g_free(dev);
    qpci_unplug_acpi_device_test(rig->qts, "other", SLOT);
    vfio_user_guest_end(&guest);
}

/* A processor that arms and disarms MSI-X does not wait for replies. */
static void test_arming(void)
{
    const uint8_t flags = VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS;
    VFIOUserRig *rig;
    VFIOUserGuest guest;
    unsigned cpu;
    bool on;

    reading_guest_begin(&guest);
    rig = guest.rig;
    for (cpu = 1; cpu < CPUS; cpu++) {
        poke(rig->server, cpu);
        read_port(&guest, cpu, rig->bar[1].addr + 4 * cpu, 0xc0ffee00 + cpu);
    }
    toggle_config(&guest, VFIO_USER_RIG_SLOT, flags,
                  VFIO_USER_MODEL_MSIX_VECTORS - 1);
    check_reading(&guest, 0xf);
    vfio_user_guest_stop(rig->qts, 0);
    check_reading(&guest, 0xe);

    /*
     * The server must have the state written last: INTx, or nothing because
     * the guest uses no vector.
     */
    on = !(qtest_readw(rig->qts, VFIO_USER_GUEST_CPU(0, order.value)) &
           PCI_MSIX_FLAGS_ENABLE);
    vfio_user_rig_wait(rig, vfio_user_irq_armed(rig, INTX, 0) == !on &&
                            !vfio_user_irq_armed(rig, MSIX, 0));
    qpci_config_writew(rig->dev, flags, 0);
    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 3);
    vfio_user_irq_check(rig, 3);
    qpci_msix_disable(rig->dev);
    stop_all(&guest);
    vfio_user_guest_end(&guest);
}

/* Configuration cycles to a second device */

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define AT_DEVICE 0xf8          /* offset in config space, not emulated */
#define PCIHP_EJECT 0xae08
#define SHORT_MS 500
#define LONG_MS 20000

static const VFIOUserRule holds_config_reads[] = {
    { ON(VFIO_USER_REGION_READ, AT_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX,
                                          AT_DEVICE)), DO_HOLD },
    { }
};

/*
 * Plugs a device and directs the configuration cycles of all processors to it.
 */
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

/* Neither processor reads another value while one of them waits. */
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
        /* the first read may still have been answered; the next one is held */
        vfio_user_server_forget(other);
        vfio_user_server_set_rules(other, holds_config_reads);
        vfio_user_server_see(other, VFIO_USER_REGION_READ,
                             AT(VFIO_PCI_CONFIG_REGION_INDEX));
        vfio_user_server_set_rules(other, NULL);
        vfio_user_server_release(other);
        check_reading(&guest, 0x3);
    }
    stop_all(&guest);
    qpci_unplug_acpi_device_test(guest.rig->qts, "other", SLOT);
    vfio_user_guest_end(&guest);
}

/*
 * Releases the answer late enough that a monitor which does not wait answers
 * first
 */
static void *vcpu_release_soon(void *opaque)
{
    g_usleep(G_TIME_SPAN_SECOND / 2);
    vfio_user_server_release(opaque);
    return NULL;
}

/* The device is ejected during a cycle to it. */
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
    thread = g_thread_new("release", vcpu_release_soon, other);
    g_free(qtest_hmp(guest.rig->qts, "o /w 0x%x 0x%x", PCIHP_EJECT,
                     1 << SLOT));
    g_thread_join(thread);
    qtest_qmp_eventwait(guest.rig->qts, "DEVICE_DELETED");
    stop_all(&guest);
    vfio_user_rig_ping(guest.rig);
    vfio_user_guest_end(&guest);
}

/* Returns the response time of the monitor, us. */
static gint64 time_ping(VFIOUserRig *rig)
{
    gint64 begun = g_get_monotonic_time();

    vfio_user_rig_ping(rig);
    return g_get_monotonic_time() - begun;
}

/* The monitor waits only once for a cycle that is never answered. */
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
    /* while the processors continue */
    for (int i = 0; i < 20; i++) {
        later = MIN(later, time_ping(guest.rig));
    }
    g_test_message("query-status took %" PRIi64 " us, later %" PRIi64 " us",
                   once, later);
    g_assert_cmpint(once, <, LONG_MS / 2 * G_TIME_SPAN_MILLISECOND);
    g_assert_cmpint(later, <, SHORT_MS * G_TIME_SPAN_MILLISECOND);
    stop_all(&guest);
    qpci_unplug_acpi_device_test(guest.rig->qts, "other", SLOT);
    vfio_user_guest_end(&guest);
}

/*
 * With slow cycles of @cpus, the monitor gets its turn after the processors
 * have completed the cycles in progress.
 */
static void check_config_slow(unsigned cpus, unsigned delay_ms, unsigned pings)
{
    const VFIOUserRule slow[] = {
        { ON(VFIO_USER_REGION_READ), DO_DELAY, delay_ms },
        { }
    };
    g_autoptr(VFIOUserServer) other = NULL;
    unsigned cycles = 0, most = 0;
    VFIOUserGuest guest;

    reading_guest_begin(&guest);
    other = plug_other(&guest, LONG_MS, 0);
    vfio_user_server_set_rules(other, slow);
    for (unsigned cpu = 0; cpu < cpus; cpu++) {
        read_port(&guest, cpu, CONFIG_DATA, 0);
    }
    vfio_user_server_see(other, VFIO_USER_REGION_READ,
                         AT(VFIO_PCI_CONFIG_REGION_INDEX));
    for (unsigned i = 0; i < pings; i++) {
        vfio_user_server_forget(other);
        vfio_user_rig_ping(guest.rig);
        cycles = vfio_user_server_saw(other, VFIO_USER_REGION_READ,
                                      AT(VFIO_PCI_CONFIG_REGION_INDEX));
        most = MAX(most, cycles);
    }
    g_test_message("query-status took up to %u cycles", most);
    g_assert_cmpuint(most, <, 10 * cpus);
    vfio_user_server_set_rules(other, NULL);
    stop_all(&guest);
    qpci_unplug_acpi_device_test(guest.rig->qts, "other", SLOT);
    vfio_user_guest_end(&guest);
}

static void test_config_slow(void)
{
    check_config_slow(1, SHORT_MS / 10, 40);
}

static void test_config_slow_all(void)
{
    check_config_slow(CPUS, 5, 200);
}

/* Commands that make the main loop wait for a processor */

static void vcpu_stop_and_continue(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
}

static void try_plug(QTestState *qts)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'device_add',"
                                "'arguments': { 'driver': 'vfio-user-pci',"
                                "'socket': '/nowhere' } }");

    g_assert_true(qdict_haskey(response, "error"));
    qobject_unref(response);
}

#define SCRATCH 0x100000        /* in guest memory */
#define REPEATS 1000

/*
 * One instruction reads registers a thousand times.  The main loop only waits
 * for the read in progress, and the data read is correct.
 * @order: its address2 is the offset in the region of the last word read
 */
static void check_repeated(VFIOUserGuest *guest, VFIOUserServer *server,
                           unsigned region, VFIOUserGuestOrder order)
{
    static const VFIOUserRule slow[] = {
        { ON(VFIO_USER_REGION_READ), DO_DELAY, 2 },
        { }
    };
    QTestState *qts = guest->rig->qts;
    bool bytes = order.space == VFIO_USER_GUEST_IN_MEMORY;
    unsigned last = bytes ? REPEATS - 4 : 4 * (REPEATS - 1);
    unsigned reads, most = 0;

    vfio_user_server_poke(server, region, order.address2, &order.expected,
                          sizeof(order.expected));
    vfio_user_server_set_rules(server, slow);
    order.command = VFIO_USER_GUEST_COPY | VFIO_USER_GUEST_AGAIN;
    order.value = REPEATS;
    order.address2 = SCRATCH;
    vfio_user_guest_order(qts, 0, order);
    for (int i = 0; i < 5; i++) {
        vfio_user_server_see(server, VFIO_USER_REGION_READ, AT(region));
        vfio_user_server_forget(server);
        vcpu_stop_and_continue(qts);
        reads = vfio_user_server_saw(server, VFIO_USER_REGION_READ, AT(region));
        most = MAX(most, reads);
        vfio_user_server_forget(server);
    }
    /* on a busy machine, the rest of a thousand slow reads takes too long */
    vfio_user_server_set_rules(server, NULL);
    vfio_user_guest_stop(qts, 0);
    vfio_user_guest_check(guest, VFIO_USER_GUEST_CPU(0, resting), 1);
    g_assert_cmphex(qtest_readl(qts, SCRATCH + last), ==, order.expected);
    g_test_message("stop waited for up to %u reads of region %u", most, region);
    g_assert_cmpuint(most, <, 20);
}

static void test_repeated(void)
{
    g_autoptr(VFIOUserServer) other = NULL;
    VFIOUserGuest guest;
    VFIOUserRig *rig;

    reading_guest_begin(&guest);
    rig = guest.rig;
    other = plug_other(&guest, LONG_MS, 0);
    check_repeated(&guest, rig->server, 0, (VFIOUserGuestOrder) {
        .space = VFIO_USER_GUEST_IN_MEMORY,
        .address = rig->bar[0].addr,
        .expected = 0xc0ffee00,
        .address2 = REPEATS - 4,
    });
    check_repeated(&guest, rig->server, 1, (VFIOUserGuestOrder) {
        .space = VFIO_USER_GUEST_IN_PORTS,
        .address = rig->bar[1].addr,
        .expected = 0xc0ffee01,
    });
    check_repeated(&guest, other, VFIO_PCI_CONFIG_REGION_INDEX,
                   (VFIOUserGuestOrder) {
        .space = VFIO_USER_GUEST_IN_PORTS,
        .address = CONFIG_DATA,
        .expected = 0xc0ffee07,
        .address2 = AT_DEVICE,
    });
    qpci_unplug_acpi_device_test(rig->qts, "other", SLOT);
    vfio_user_guest_end(&guest);
}

/*
 * The main loop waits for a processor that waits for a server: once, as if it
 * waited for the server itself.
 */
static void test_waited_for(const void *opaque)
{
    static const VFIOUserRule never[] = {
        { ON(VFIO_USER_REGION_READ, AT(1)), DO_DROP },
        { }
    };
    void (*const *make_wait)(QTestState *qts) = opaque;
    g_autoptr(VFIOUserServer) other = NULL;
    QPCIDevice *dev;
    QPCIBar bar;
    VFIOUserGuest guest;
    QTestState *qts;

    reading_guest_begin(&guest);
    qts = guest.rig->qts;
    other = plug_other(&guest, SHORT_MS, 0);
    dev = qpci_device_find(guest.rig->bus, QPCI_DEVFN(SLOT, 0));
    bar = qpci_iomap(dev, 1, NULL);
    qpci_device_enable(dev);
    vfio_user_server_forget(other);
    vfio_user_server_set_rules(other, never);
    read_port(&guest, 0, bar.addr, UINT32_MAX);
    vfio_user_server_see(other, VFIO_USER_REGION_READ, AT(1));
    for (int i = 0; i < 4; i++) {
        (*make_wait)(qts);
    }
    vfio_user_server_wait_client(other, false);
    g_assert_cmpuint(vfio_user_server_saw(other, VFIO_USER_REGION_READ,
                                          AT(1)), <, 8);
    check_reading(&guest, 0x1);
    stop_all(&guest);
    g_free(dev);
    qpci_unplug_acpi_device_test(qts, "other", SLOT);
    vfio_user_guest_end(&guest);
}

/* Unanswered SET_IRQS: the processor does not wait for any of them. */
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
    toggle_config(&guest, SLOT, flags, VFIO_USER_MODEL_MSIX_VECTORS - 1);
    while (vfio_user_guest_done(&guest, 0) < toggles) {
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
    vfio_user_guest_stop(guest.rig->qts, 0);
    vfio_user_server_set_rules(other, NULL);
    qpci_unplug_acpi_device_test(guest.rig->qts, "other", SLOT);
    vfio_user_guest_end(&guest);
}

static void test_unanswered(void)
{
    check_unanswered(LONG_MS, 600);
}

/* After the timeout, the connection is closed. */
static void test_unanswered_late(void)
{
    check_unanswered(SHORT_MS, 600);
}

/* Self-modifying code */

#define CODE 0xa000             /* in guest memory, unused otherwise */
#define STATE MiB               /* bytes of device state */
#define VALUE VFIO_USER_GUEST_CPU(0, order.value)
#define COMMAND VFIO_USER_GUEST_CPU(0, order.command)

/* Makes the guest change a function's code so that it returns @value. */
static void check_call(const VFIOUserGuest *guest, uint32_t value)
{
    vfio_user_guest_order(guest->rig->qts, 0, (VFIOUserGuestOrder) {
        .command = VFIO_USER_GUEST_CALL,
        .address = CODE,
        .value = value,
    });
    vfio_user_guest_check(guest, COMMAND, VFIO_USER_GUEST_IDLE);
    g_assert_cmphex(vfio_user_guest_word(guest, VALUE), ==, value);
}

#define MIGRATION                                                      \
    .flags = VFIO_USER_MODEL_STOP_COPY | VFIO_USER_MODEL_PRE_COPY,     \
    .filling = STATE,                                                  \
    .pre_copy = STATE

static bool has_migrated(QTestState *qts)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'query-migrate'}");
    QDict *answer = qdict_get_qdict(response, "return");
    bool is = g_str_equal(qdict_get_str(answer, "status"), "completed");

    qobject_unref(response);
    return is;
}

static void set_bandwidth(QTestState *qts, uint64_t bandwidth)
{
    qtest_qmp_assert_success(qts, "{'execute': 'migrate-set-parameters',"
                             "'arguments': {'max-bandwidth': %" PRIu64 "}}",
                             bandwidth);
}

/*
 * Migrates to /dev/null and continues the VM; meanwhile the server writes to
 * the code's page.
 */
static void save_and_continue(VFIOUserGuest *guest)
{
    gint64 deadline = vfio_user_guest_soon();
    QTestState *qts = guest->rig->qts;
    const uint32_t data = 0x12345678;

    set_bandwidth(qts, STATE / 10);
    qtest_qmp_assert_success(qts, "{'execute': 'migrate',"
                             "'arguments': {'uri': 'exec:cat >/dev/null'}}");
    vfio_user_server_see(guest->rig->server, VFIO_USER_MIG_DATA_READ);
    g_assert_true(vfio_user_server_write(guest->rig->server, CODE + 0x100,
                                         &data, sizeof(data)));
    set_bandwidth(qts, GiB);
    while (!has_migrated(qts)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
    qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
}

/* QEMU must not take this dirty page for one without translated code. */
static void test_code(const void *opaque)
{
    VFIOUserModel model = vfio_user_model;
    VFIOUserGuest guest;

    model.migration = *(const VFIOUserMigrationModel *)opaque;
    vfio_user_guest_begin(&guest, "-accel tcg", 1, &model, NULL);
    check_call(&guest, 0x1111);
    save_and_continue(&guest);
    check_call(&guest, 0x2222);
    check_call(&guest, 0x3333);
    vfio_user_guest_end(&guest);
}

void vfio_user_add_vcpu_tests(void)
{
    static const VFIOUserMigrationModel recorded = { MIGRATION,
                                                     .record = { 4 * KiB } };
    static const VFIOUserMigrationModel unrecorded = { MIGRATION };
    static void (*const stops)(QTestState *qts) = vcpu_stop_and_continue;
    static void (*const plugs)(QTestState *qts) = try_plug;

    if (qtest_has_accel("tcg")) {
        qtest_add_func("/vfio-user/vcpu/several", test_several);
        qtest_add_func("/vfio-user/vcpu/arming", test_arming);
        qtest_add_func("/vfio-user/vcpu/config-waits", test_config_waits);
        qtest_add_func("/vfio-user/vcpu/config-ejected", test_config_ejected);
        qtest_add_func("/vfio-user/vcpu/config-silent", test_config_silent);
        qtest_add_func("/vfio-user/vcpu/config-slow", test_config_slow);
        qtest_add_func("/vfio-user/vcpu/config-slow-all", test_config_slow_all);
        qtest_add_func("/vfio-user/vcpu/repeated", test_repeated);
        qtest_add_data_func("/vfio-user/vcpu/stopped", &stops,
                            test_waited_for);
        qtest_add_data_func("/vfio-user/vcpu/and-failing-plugs", &plugs,
                            test_waited_for);
        qtest_add_data_func("/vfio-user/vcpu/code-recorded", &recorded,
                            test_code);
        qtest_add_data_func("/vfio-user/vcpu/code-unrecorded", &unrecorded,
                            test_code);
        qtest_add_func("/vfio-user/vcpu/unanswered", test_unanswered);
        qtest_add_func("/vfio-user/vcpu/unanswered-late",
                       test_unanswered_late);
    }
}
