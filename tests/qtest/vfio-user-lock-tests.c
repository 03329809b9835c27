/*
 * qtest of the vfio-user client: locks while a server does not answer
 *
 * The bare guest accesses device memory under TCG.  A direct access holds no
 * lock of QEMU.  An access nested in that to another device keeps the lock of
 * the outer access.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "vfio-user-guest.h"
#include "vfio-user-tests.h"

#define CPUS 2
#define VALUE(cpu) VFIO_USER_GUEST_CPU(cpu, order.value)

#define GOAL (100 * G_TIME_SPAN_MILLISECOND)
#define TRIES 10
#define OTHER_SLOT 5
#define NIC_SLOT 6
#define IOAPIC 0xfec00000       /* accesses take the BQL */

/* Registers of the RTL8139 */
#define TSD0 0x10               /* size of transmit buffer 0; a write sends */
#define TSAD0 0x20              /* address of transmit buffer 0 */
#define COMMAND 0x37
#define COMMAND_TE 0x04
#define PACKET 64

#define PCIHP_EJECT 0xae08

static const VFIOUserRule holds_reads[] = {
    { ON(VFIO_USER_REGION_READ, AT(0)), DO_HOLD },
    { }
};

static void lock_guest_begin(VFIOUserGuest *guest, const VFIOUserModel *model)
{
    vfio_user_guest_begin(guest, "-accel tcg,thread=multi", CPUS, model, NULL);
}

static void keep_on(VFIOUserGuest *guest, unsigned cpu, uint32_t command,
                    uint64_t address)
{
    vfio_user_guest_order(guest->rig->qts, cpu, (VFIOUserGuestOrder) {
        .command = command | VFIO_USER_GUEST_AGAIN, .address = address,
    });
}

/*
 * Checks that the monitor answers within 100 ms.  Retries, because the host
 * may be busy.
 */
static void check_monitor(const VFIOUserGuest *guest, const char *meanwhile)
{
    gint64 slowest = G_MAXINT64;

    for (int i = 0; i < TRIES && slowest >= GOAL; i++) {
        slowest = vfio_user_guest_check_working(guest, 1, 1000);
    }
    g_test_message("query-status took up to %" PRIi64 " us while %s", slowest,
                   meanwhile);
    g_assert_cmpint(slowest, <, GOAL);
}

/*
 * While the first processor waits for @server, the other one reads registers
 * that need the BQL, and the monitor answers.
 */
static void check_reads(VFIOUserGuest *guest, VFIOUserServer *server,
                        uint64_t address)
{
    QTestState *qts = guest->rig->qts;
    const uint32_t value = 0xc0ffee;
    uint32_t done;

    vfio_user_server_poke(server, 0, 0, &value, sizeof(value));
    vfio_user_server_forget(server);
    vfio_user_server_set_rules(server, holds_reads);
    keep_on(guest, 0, VFIO_USER_GUEST_READ, address);
    vfio_user_server_see(server, VFIO_USER_REGION_READ, AT(0));
    done = vfio_user_guest_done(guest, 0);
    check_monitor(guest, "a processor reads a register of a silent server");
    g_assert_cmpuint(vfio_user_guest_done(guest, 0), ==, done);

    vfio_user_server_set_rules(server, NULL);
    vfio_user_server_release(server);
    vfio_user_guest_check_working(guest, 0, 1000);
    g_assert_cmphex(vfio_user_guest_word(guest, VALUE(0)), ==, value);
    vfio_user_guest_stop(qts, 0);
}

/*
 * Returns whether the first processor was blocked while the other one worked.
 */
static bool is_stuck(const VFIOUserGuest *guest)
{
    uint32_t done = vfio_user_guest_done(guest, 0);

    vfio_user_guest_check_working(guest, 1, 1000);
    return vfio_user_guest_done(guest, 0) == done;
}

/* The same with writes, until the socket is full. */
static void lock_check_writes(VFIOUserGuest *guest, VFIOUserServer *server,
                              uint64_t address)
{
    static const VFIOUserRule stalls[] = {
        { ON(VFIO_USER_REGION_WRITE, AT(0)), DO_STALL },
        { }
    };

    unsigned stuck = 0;

    vfio_user_server_set_rules(server, stalls);
    keep_on(guest, 0, VFIO_USER_GUEST_WRITE, address);
    /* a single result may be due to a busy host */
    vfio_user_rig_wait(guest->rig, (stuck = is_stuck(guest) ? stuck + 1 : 0)
                       >= TRIES);
    check_monitor(guest, "a processor writes a register of a silent server");
    g_assert_true(is_stuck(guest));

    vfio_user_server_set_rules(server, NULL);
    vfio_user_server_release(server);
    vfio_user_guest_check_working(guest, 0, 1000);
    vfio_user_guest_stop(guest->rig->qts, 0);
    vfio_user_server_forget(server);
}

static void check_free(VFIOUserGuest *guest, VFIOUserServer *server,
                       uint64_t address)
{
    check_reads(guest, server, address);
    lock_check_writes(guest, server, address);
}

/* Tests a BAR that fills a page and one that does not. */
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
    lock_guest_begin(&guest, NULL);
    qts = guest.rig->qts;
    qtest_qmp_device_add(qts, "vfio-user-pci", "other",
                         "{'addr': '5', 'socket': %s}",
                         vfio_user_server_path(other));
    dev = qpci_device_find(guest.rig->bus, QPCI_DEVFN(OTHER_SLOT, 0));
    bar = qpci_iomap(dev, 0, NULL);
    qpci_device_enable(dev);
    keep_on(&guest, 1, VFIO_USER_GUEST_READ, IOAPIC);

    check_free(&guest, guest.rig->server, guest.rig->bar[0].addr);
    check_free(&guest, other, bar.addr);

    vfio_user_guest_stop(qts, 1);
    g_free(dev);
    qpci_unplug_acpi_device_test(qts, "other", OTHER_SLOT);
    vfio_user_guest_end(&guest);
}

/* PRE_COPY */

/* too much for the duration of the test at SLOWLY bytes/s */
#define STATE (64 * MiB)
#define SLOWLY (4 * MiB)

static const VFIOUserRule holds_state[] = {
    { ON(VFIO_USER_MIG_DATA_READ), DO_HOLD },
    { }
};

static char *migration_status(QTestState *qts)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'query-migrate'}");
    QDict *answer = qdict_get_qdict(response, "return");
    char *status = g_strdup(qdict_get_str(answer, "status"));

    qobject_unref(response);
    return status;
}

static bool migration_is(QTestState *qts, const char *wanted)
{
    g_autofree char *status = migration_status(qts);

    return g_str_equal(status, wanted);
}

static void check_pre_copy(const VFIOUserRule *rules, const char *meanwhile)
{
    VFIOUserModel model = vfio_user_model;
    VFIOUserGuest guest;
    QTestState *qts;

    model.migration = (VFIOUserMigrationModel) {
        .flags = VFIO_USER_MODEL_STOP_COPY | VFIO_USER_MODEL_PRE_COPY,
        .filling = STATE,
        .pre_copy = STATE,
    };
    lock_guest_begin(&guest, &model);
    qts = guest.rig->qts;
    keep_on(&guest, 1, VFIO_USER_GUEST_READ, IOAPIC);
    vfio_user_server_set_rules(guest.rig->server, rules);
    qtest_qmp_assert_success(qts, "{'execute': 'migrate-set-parameters',"
                             "'arguments': {'max-bandwidth': %u}}",
                             (unsigned)SLOWLY);
    qtest_qmp_assert_success(qts, "{'execute': 'migrate',"
                             "'arguments': {'uri': 'exec:cat >/dev/null'}}");
    vfio_user_server_see(guest.rig->server, VFIO_USER_MIG_DATA_READ);
    check_monitor(&guest, meanwhile);
    g_assert_true(migration_is(qts, "active"));

    qtest_qmp_assert_success(qts, "{'execute': 'migrate_cancel'}");
    vfio_user_server_set_rules(guest.rig->server, NULL);
    vfio_user_server_release(guest.rig->server);
    vfio_user_rig_wait(guest.rig, migration_is(qts, "cancelled"));
    vfio_user_guest_check_working(&guest, 1, 1000);
    vfio_user_guest_stop(qts, 1);
    vfio_user_guest_end(&guest);
}

static void test_pre_copy(void)
{
    check_pre_copy(NULL, "a device is in PRE_COPY");
}

static void test_pre_copy_silent(void)
{
    check_pre_copy(holds_state, "a silent server is in PRE_COPY");
}

typedef struct Release {
    VFIOUserServer *server;
    bool done;
} Release;

/*
 * Releases the answer late enough that a monitor which does not wait answers
 * first
 */
static void *lock_release_soon(void *opaque)
{
    Release *release = opaque;

    g_usleep(G_TIME_SPAN_SECOND / 2);
    qatomic_set(&release->done, true);
    vfio_user_server_release(release->server);
    return NULL;
}

/*
 * A NIC transmits from device memory whose server answers late.  Ejecting the
 * NIC waits until its register access completes.
 */
static void test_nested(void)
{
    Release release = { };
    QPCIDevice *nic;
    VFIOUserGuest guest;
    QTestState *qts;
    GThread *thread;
    QPCIBar bar;

    lock_guest_begin(&guest, NULL);
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
    vfio_user_guest_order(qts, 0, (VFIOUserGuestOrder) {
        .command = VFIO_USER_GUEST_WRITE, .space = VFIO_USER_GUEST_IN_PORTS,
        .address = bar.addr + TSD0, .value = PACKET,
    });
    vfio_user_server_see(release.server, VFIO_USER_REGION_READ, AT(0));
    vfio_user_server_set_rules(release.server, NULL);
    thread = g_thread_new("release", lock_release_soon, &release);
    g_free(qtest_hmp(qts, "o /w 0x%x 0x%x", PCIHP_EJECT, 1 << NIC_SLOT));
    g_assert_true(qatomic_read(&release.done));
    g_thread_join(thread);

    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
    vfio_user_guest_check(&guest, VFIO_USER_GUEST_CPU(0, order.command),
                          VFIO_USER_GUEST_IDLE);
    g_free(nic);
    vfio_user_guest_end(&guest);
}

void vfio_user_add_lock_tests(void)
{
    if (!qtest_has_accel("tcg")) {
        return;
    }
    qtest_add_func("/vfio-user/lock/free", test_free);
    qtest_add_func("/vfio-user/lock/pre-copy", test_pre_copy);
    qtest_add_func("/vfio-user/lock/pre-copy-silent", test_pre_copy_silent);
    if (qtest_has_device("rtl8139")) {
        qtest_add_func("/vfio-user/lock/nested", test_nested);
    }
}
