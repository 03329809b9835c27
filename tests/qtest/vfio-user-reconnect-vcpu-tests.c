/*
 * qtest of the vfio-user client: processors in a gap
 *
 * The bare guest accesses a device whose server is lost, and the next server
 * does not answer yet.  Reads of BARs wait, configuration cycles and writes do
 * not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "vfio-user-errors.h"
#include "vfio-user-guest.h"
#include "vfio-user-loss.h"
#include "vfio-user-tests.h"

#define CPUS 2
#define REGISTER 0x10
#define VALUE 0x5eed5eed
#define ACCEL "-accel tcg,thread=multi " VFIO_USER_LOSS_RECONNECT

/* For so long, reads wait; LONG: longer than any test. */
#define WAIT_LONG "-global vfio-user-pci.reconnect-wait-ms=600000 "
#define WAIT_SHORT "-global vfio-user-pci.reconnect-wait-ms=300 "
#define WAIT_NEVER "-global vfio-user-pci.reconnect-wait-ms=0 "

static void vcpu_begin(VFIOUserGuest *guest, const char *wait)
{
    g_autofree char *accel = g_strdup_printf(ACCEL "%s", wait);
    g_autofree char *args = vfio_user_errors_args(accel);

    vfio_user_guest_begin(guest, args, CPUS, NULL, NULL);
    vfio_user_errors_forget();
}

static void order_access(VFIOUserGuest *guest, unsigned cpu, uint32_t command,
                         uint32_t value)
{
    vfio_user_guest_order(guest->rig->qts, cpu, (VFIOUserGuestOrder) {
        .command = command,
        .address = guest->rig->bar[0].addr + REGISTER,
        .value = value,
    });
}

/*
 * By QEMU: the server that is lost has unmapped the guest's memory, and with it
 * vfio_user_guest_word().
 */
static uint32_t read_value(const VFIOUserGuest *guest, unsigned cpu)
{
    return qtest_readl(guest->rig->qts, VFIO_USER_GUEST_CPU(cpu, order.value));
}

static uint32_t orders_done(const VFIOUserGuest *guest, unsigned cpu)
{
    return qtest_readl(guest->rig->qts, VFIO_USER_GUEST_CPU(cpu, done));
}

/* Waits until the processor has executed @n orders since its start. */
static void wait_done(VFIOUserGuest *guest, unsigned cpu, unsigned n)
{
    vfio_user_loss_wait(guest->rig, orders_done(guest, cpu) == n);
}

/* The monitor answers meanwhile. */
static void check_waits(VFIOUserGuest *guest, unsigned cpu)
{
    for (int i = 0; i < 20; i++) {
        vfio_user_rig_ping(guest->rig);
        g_assert_cmpuint(orders_done(guest, cpu), ==, 0);
    }
}

/* The first processor reads a register of a server that is gone. */
static void begin_wait(VFIOUserGuest *guest)
{
    vfio_user_loss_open_gap(guest->rig);
    order_access(guest, 0, VFIO_USER_GUEST_READ, 0);
    check_waits(guest, 0);
}

/* The register has VALUE when the server comes back. */
static void come_back(VFIOUserGuest *guest)
{
    static const VFIOUserRule hold_reset[] = {
        { ON(VFIO_USER_DEVICE_RESET), DO_HOLD },
        { }
    };
    VFIOUserServer *server = guest->rig->server;
    const uint32_t value = VALUE;

    vfio_user_loss_let_go(guest->rig, hold_reset);
    vfio_user_server_see(server, VFIO_USER_DEVICE_RESET);
    vfio_user_server_poke(server, 0, REGISTER, &value, sizeof(value));
    vfio_user_loss_let_go(guest->rig, NULL);
}

/* What a processor that has waited has read */
static void check_read(VFIOUserGuest *guest, uint32_t value)
{
    wait_done(guest, 0, 1);
    g_assert_cmphex(read_value(guest, 0), ==, value);
}

static void test_waits(void)
{
    VFIOUserGuest guest;

    vcpu_begin(&guest, WAIT_LONG);
    begin_wait(&guest);
    come_back(&guest);
    check_read(&guest, VALUE);
    vfio_user_guest_end(&guest);
}

/* After reconnect-wait-ms, reads give ones, and further ones do not wait. */
static void test_until(void)
{
    VFIOUserGuest guest;
    gint64 begun;

    vcpu_begin(&guest, WAIT_SHORT);
    vfio_user_loss_open_gap(guest.rig);
    order_access(&guest, 0, VFIO_USER_GUEST_READ, 0);
    check_read(&guest, UINT32_MAX);
    begun = g_get_monotonic_time();
    for (int i = 2; i < 50; i++) {
        order_access(&guest, 0, VFIO_USER_GUEST_READ, 0);
        wait_done(&guest, 0, i);
        g_assert_cmphex(read_value(&guest, 0), ==, UINT32_MAX);
    }
    g_assert_cmpint(g_get_monotonic_time() - begun, <, 48 * 300 * 1000);
    vfio_user_loss_let_go(guest.rig, NULL);
    vfio_user_loss_wait_return(guest.rig, 1);
    vfio_user_loss_check_works(guest.rig);
    vfio_user_guest_end(&guest);
}

/* The read is at the server when that is lost. */
static void lose_in_flight(VFIOUserGuest *guest)
{
    static const VFIOUserRule hold_read[] = {
        { ON(VFIO_USER_REGION_READ, AT_OFFSET(0, REGISTER)), DO_HOLD },
        { }
    };

    vfio_user_server_set_rules(guest->rig->server, hold_read);
    order_access(guest, 0, VFIO_USER_GUEST_READ, 0);
    vfio_user_server_see(guest->rig->server, VFIO_USER_REGION_READ,
                         AT_OFFSET(0, REGISTER));
    vfio_user_loss_open_gap(guest->rig);
}

static void test_in_flight(void)
{
    VFIOUserGuest guest;

    vcpu_begin(&guest, WAIT_LONG);
    lose_in_flight(&guest);
    check_waits(&guest, 0);
    come_back(&guest);
    check_read(&guest, VALUE);
    vfio_user_guest_end(&guest);
}

static void test_in_flight_without_wait(void)
{
    VFIOUserGuest guest;

    vcpu_begin(&guest, WAIT_NEVER);
    lose_in_flight(&guest);
    check_read(&guest, UINT32_MAX);
    come_back(&guest);
    vfio_user_loss_wait_return(guest.rig, 1);
    vfio_user_guest_end(&guest);
}

/* Servers die one after another while a processor waits for the first return */
static void test_deaths(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_VERSION, .nth = 1), DO_CUT },
        { ON(VFIO_USER_DEVICE_GET_INFO, .nth = 1), DO_CUT },
        { ON(VFIO_USER_DEVICE_RESET, .nth = 1), DO_CUT },
        { ON(VFIO_USER_DMA_MAP, .nth = 2), DO_CUT },
        { ON(VFIO_USER_DEVICE_SET_IRQS, .nth = 1), DO_CUT },
        { ON(VFIO_USER_VERSION, .nth = 5), DO_HOLD },
        { }
    };
    VFIOUserGuest guest;

    vcpu_begin(&guest, WAIT_LONG);
    begin_wait(&guest);
    vfio_user_loss_let_go(guest.rig, rules);
    /* the one that was held is not counted by the rules */
    vfio_user_server_wait(guest.rig->server, (VFIOUserWhen) {
        .command = VFIO_USER_VERSION, .nth = 6
    });
    check_waits(&guest, 0);
    come_back(&guest);
    check_read(&guest, VALUE);
    /* the loss, the first server that failed, the return */
    g_assert_cmpuint(vfio_user_errors_lines(), ==, 3);
    vfio_user_guest_end(&guest);
}

/* Configuration cycles and writes of the second processor do not wait. */

static void access_config(VFIOUserGuest *guest, unsigned nth, uint32_t command,
                          unsigned offset, uint32_t value)
{
    vfio_user_guest_order(guest->rig->qts, 1, (VFIOUserGuestOrder) {
        .command = command,
        .space = VFIO_USER_GUEST_IN_CONFIG,
        .address = VFIO_USER_GUEST_CONFIG(VFIO_USER_RIG_SLOT, offset),
        .value = value,
    });
    wait_done(guest, 1, nth);
}

static uint32_t read_config(VFIOUserGuest *guest, unsigned nth,
                            unsigned offset)
{
    access_config(guest, nth, VFIO_USER_GUEST_READ, offset, 0);
    return read_value(guest, 1);
}

static void write_config(VFIOUserGuest *guest, unsigned nth, unsigned offset,
                         uint32_t value)
{
    access_config(guest, nth, VFIO_USER_GUEST_WRITE, offset, value);
}

static void test_config(void)
{
    VFIOUserGuest guest;
    uint32_t bar;

    vcpu_begin(&guest, WAIT_LONG);
    bar = read_config(&guest, 1, PCI_BASE_ADDRESS_0);
    begin_wait(&guest);
    g_assert_cmphex(read_config(&guest, 2, PCI_BASE_ADDRESS_0), ==, bar);
    check_waits(&guest, 0);
    come_back(&guest);
    check_read(&guest, VALUE);
    vfio_user_guest_end(&guest);
}

/*
 * Each change of the memory map is work for every processor, but nobody waits
 * for one that has not done it.
 */
static void test_memory_map(void)
{
    VFIOUserGuest guest;
    uint32_t command;

    vcpu_begin(&guest, WAIT_LONG);
    command = read_config(&guest, 1, PCI_COMMAND);
    begin_wait(&guest);
    for (int i = 1; i <= 10; i++) {
        write_config(&guest, 2 * i, PCI_COMMAND,
                     command & ~PCI_COMMAND_MEMORY);
        write_config(&guest, 2 * i + 1, PCI_COMMAND, command);
        check_waits(&guest, 0);
    }
    come_back(&guest);
    check_read(&guest, VALUE);
    vfio_user_guest_end(&guest);
}

static void test_writes(void)
{
    VFIOUserGuest guest;

    vcpu_begin(&guest, WAIT_LONG);
    begin_wait(&guest);
    for (unsigned i = 1; i <= 10; i++) {
        order_access(&guest, 1, VFIO_USER_GUEST_WRITE, ~VALUE);
        wait_done(&guest, 1, i);
        g_assert_cmpuint(vfio_user_loss_dropped_writes(guest.rig), ==, i);
    }
    g_assert_cmpuint(orders_done(&guest, 0), ==, 0);
    come_back(&guest);
    check_read(&guest, VALUE);
    g_assert_cmpuint(vfio_user_loss_dropped_writes(guest.rig), ==, 10);
    vfio_user_guest_end(&guest);
}

/* What ends a wait before the server comes back */

static void end_unplug(VFIOUserGuest *guest)
{
    vfio_user_rig_unplug(guest->rig);
}

/* The first time, the processor may not have begun to wait. */
static void end_stop(VFIOUserGuest *guest)
{
    do {
        qtest_qmp_assert_success(guest->rig->qts, "{'execute': 'stop'}");
        qtest_qmp_assert_success(guest->rig->qts, "{'execute': 'cont'}");
    } while (!orders_done(guest, 0));
}

static const VFIOUserRule differ[] = {
    { ON(VFIO_USER_DEVICE_GET_INFO), DO_PATCH,
      offsetof(VFIOUserDeviceInfo, flags), BYTES(2) },
    { }
};

static void end_reject(VFIOUserGuest *guest)
{
    vfio_user_loss_let_go(guest->rig, differ);
    vfio_user_loss_wait(guest->rig, vfio_user_loss_rejections());
}

static void end_add_device(VFIOUserGuest *guest)
{
    /* waits for RCU */
    QDict *response = qtest_qmp(guest->rig->qts, "{'execute': 'device_add',"
                                " 'arguments': {'driver': 'vfio-user-pci',"
                                " 'socket': '/nowhere'}}");

    g_assert(qdict_haskey(response, "error"));
    qobject_unref(response);
}

typedef struct End {
    const char *name;
    void (*act)(VFIOUserGuest *guest);
    bool may_wait;              /* the processor may wait on */
    bool may_miss;              /* it may come too late for the device */
} End;

static const End ends[] = {
    { "unplug", end_unplug, .may_miss = true },
    { "stop", end_stop },
    { "reject", end_reject },
    { "failing-device-add", end_add_device, true },
};

static void test_end(const void *opaque)
{
    const End *end = opaque;
    VFIOUserGuest guest;
    gint64 begun;

    vcpu_begin(&guest, WAIT_LONG);
    begin_wait(&guest);
    begun = g_get_monotonic_time();
    end->act(&guest);
    g_assert_cmpint(g_get_monotonic_time() - begun, <,
                    30 * G_TIME_SPAN_SECOND);
    if (end->may_miss) {
        wait_done(&guest, 0, 1);
    } else if (!end->may_wait) {
        check_read(&guest, UINT32_MAX);
    }
    vfio_user_loss_let_go(guest.rig, NULL);
    vfio_user_guest_end(&guest);
}

void vfio_user_add_reconnect_vcpu_tests(void)
{
    if (!qtest_has_accel("tcg")) {
        return;
    }
    qtest_add_func("/vfio-user/reconnect-vcpu/waits", test_waits);
    qtest_add_func("/vfio-user/reconnect-vcpu/until", test_until);
    qtest_add_func("/vfio-user/reconnect-vcpu/in-flight", test_in_flight);
    qtest_add_func("/vfio-user/reconnect-vcpu/in-flight-without-wait",
                   test_in_flight_without_wait);
    qtest_add_func("/vfio-user/reconnect-vcpu/deaths", test_deaths);
    qtest_add_func("/vfio-user/reconnect-vcpu/config", test_config);
    qtest_add_func("/vfio-user/reconnect-vcpu/memory-map", test_memory_map);
    qtest_add_func("/vfio-user/reconnect-vcpu/writes", test_writes);
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/reconnect-vcpu/ends/%s", ends[i].name);

        qtest_add_data_func(path, &ends[i], test_end);
    }
}
