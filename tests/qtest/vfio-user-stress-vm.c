/*
 * The VM of the stress test
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>

#include "hw/pci/pci.h"
#include "qemu/atomic.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "vfio-user-guest-image.h"
#include "vfio-user-stress-vm.h"

#define RAM_SIZE (64 * MiB)
#define DIRTY_RAM 0x1000000      /* not used by the guest itself */

/* ACPI PCI hotplug ports: eject these slots; on q35, of this bus */
#define PC_EJECT 0xae08
#define Q35_EJECT 0xcc8
#define Q35_BUS 0xcd0

/*
 * The register of the q35 host bridge that sets the address of ECAM, and that
 * address.
 */
#define ECAM_REGISTER 0x60
#define ECAM 0xb0000000
#define ECAM_ENABLE 1

/* Maximum time for one order of the guest, us. */
#define PATIENCE (60 * G_TIME_SPAN_SECOND)

#define NIC "nic"
#define NIC_SLOT 6
#define NIC_PORTS 0xe000

/* Registers of the RTL8139 */
#define NIC_TX_SIZE 0x10        /* size of transmit buffer 0; a write sends */
#define NIC_TX_ADDRESS 0x20
#define NIC_RX_ADDRESS 0x30
#define NIC_COMMAND 0x37
#define NIC_COMMAND_TX_RX 0x0c
#define NIC_TX_CONFIG 0x40
#define NIC_TX_LOOPBACK 0x60000
#define NIC_RX_CONFIG 0x44
#define NIC_RX_ALL 0x0f

/* Addresses of the BARs, which the ports of q35 forward; the first one moves */
#define PORTS 0xc000
#define PORTS_SIZE 0x1000       /* for each device */
#define MEMORY 0xe0000000
#define MEMORY_SIZE 0x1000000   /* for each device */
#define MOVE (MEMORY_SIZE / 2)
#define ROM_NR 6

static uint32_t bar_at(unsigned device, unsigned nr)
{
    return nr == 1 ? PORTS + PORTS_SIZE * device :
                     MEMORY + MEMORY_SIZE * device + 0x100000 * nr;
}

#define PORT_SLOT 4             /* slot of the first port */

gint64 vfio_user_stress_vm_limit(void)
{
    /*
     * The largest budgets of each device, for a reset and for the end of a
     * migration, may be used up one after another.
     */
    return (6 + 12) * VFIO_USER_STRESS_DEVICES * G_TIME_SPAN_MILLISECOND *
           VFIO_USER_STRESS_TIMEOUT_MS;
}

/* The monitor */

/* State for give_up() */
static pid_t pid;
static char asked[32];
static bool give_up_waits;

static char *read_of_task(const char *task, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%s/%s", pid, task,
                                            name);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text ? g_strchomp(text) : g_strdup("?");
}

/*
 * Prints the threads of QEMU.  One that was ready to run for a long time
 * lacked a processor.
 */
static void print_threads(void)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", pid);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *task;

    while (dir && (task = g_dir_read_name(dir))) {
        g_autofree char *name = read_of_task(task, "comm");
        g_autofree char *where = read_of_task(task, "wchan");
        g_autofree char *times = read_of_task(task, "schedstat");

        fprintf(stderr, "# %s %s in %s; ran, was ready to run (ns), turns: "
                "%s\n", task, name, where, times);
    }
}

/*
 * Prints the command that was not answered and fails the test.  This is a
 * signal handler, but may call unsafe functions because the test ends here.
 */
static void give_up(int signal)
{
    fprintf(stderr, "# the monitor does not answer: %s\n", asked);
    print_threads();
    sleep(1);
    print_threads();
    while (give_up_waits) {
        pause();
    }
    abort();
}

static QDict *timed(VFIOUserStressVM *vm, QDict *command)
{
    g_autofree char *name = g_strdup(qdict_get_str(command, "execute"));
    gint64 begun = g_get_monotonic_time(), taken;
    QDict *response;

    g_strlcpy(asked, name, sizeof(asked));
    alarm(2 * vfio_user_stress_vm_limit() / G_TIME_SPAN_SECOND);
    response = qtest_qmp(vm->qts, "%p", command);
    alarm(0);
    taken = g_get_monotonic_time() - begun;
    if (taken > vm->slowest) {
        vm->slowest = taken;
        g_strlcpy(vm->slowest_was, name, sizeof(vm->slowest_was));
    }
    g_assert_cmpint(taken, <, vfio_user_stress_vm_limit());
    /* events are dropped */
    qobject_unref(qtest_qmp_event_ref(vm->qts, ""));
    return response;
}

static QDict * G_GNUC_PRINTF(2, 0)
send_query(VFIOUserStressVM *vm, const char *format, va_list ap)
{
    return timed(vm, qobject_to(QDict, qobject_from_vjsonf_nofail(format,
                                                                  ap)));
}

QDict *vfio_user_stress_vm_qmp(VFIOUserStressVM *vm, const char *format, ...)
{
    QDict *response;
    va_list ap;

    va_start(ap, format);
    response = send_query(vm, format, ap);
    va_end(ap);
    return response;
}

bool vfio_user_stress_vm_do(VFIOUserStressVM *vm, const char *format, ...)
{
    QDict *response;
    va_list ap;
    bool taken;

    va_start(ap, format);
    response = send_query(vm, format, ap);
    va_end(ap);
    taken = qdict_haskey(response, "return");
    qobject_unref(response);
    return taken;
}

bool vfio_user_stress_vm_ping(VFIOUserStressVM *vm)
{
    QDict *response = vfio_user_stress_vm_qmp(vm,
                                              "{'execute': 'query-status'}");
    bool running = qdict_get_bool(qdict_get_qdict(response, "return"),
                                  "running");

    qobject_unref(response);
    return running;
}

void vfio_user_stress_vm_pass(VFIOUserStressVM *vm, unsigned ms)
{
    gint64 end = g_get_monotonic_time() + ms * G_TIME_SPAN_MILLISECOND;

    do {
        vfio_user_stress_vm_ping(vm);
        g_usleep(1000);
    } while (g_get_monotonic_time() < end);
}

char *vfio_user_stress_vm_status(VFIOUserStressVM *vm, const char *query)
{
    QDict *response = vfio_user_stress_vm_qmp(vm, "{'execute': %s}", query);
    QDict *answer = qdict_get_qdict(response, "return");
    char *status = g_strdup(qdict_get_try_str(answer, "status") ?: "none");

    qobject_unref(response);
    return status;
}

/* Whether a device with this ID exists. */
static bool is_there(VFIOUserStressVM *vm, const char *id)
{
    QDict *response = vfio_user_stress_vm_qmp(vm, "{'execute': 'qom-list',"
        "'arguments': {'path': '/machine/peripheral'}}");
    const QListEntry *entry;
    bool found = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(response, "return"), entry) {
        QDict *child = qobject_to(QDict, qlist_entry_obj(entry));

        found |= g_str_equal(qdict_get_str(child, "name"), id);
    }
    qobject_unref(response);
    return found;
}

/* The guest */

static VFIOUserGuestCpu *driver(VFIOUserStressVM *vm)
{
    return &vm->guest->cpu[VFIO_USER_STRESS_DRIVER];
}

/*
 * Continues a stopped VM; if that is refused, cancels the migration that
 * prevents it.
 */
static void keep_running(VFIOUserStressVM *vm, gint64 deadline)
{
    g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    if (!vfio_user_stress_vm_ping(vm) &&
        !vfio_user_stress_vm_do(vm, "{'execute': 'cont'}")) {
        vfio_user_stress_vm_do(vm, "{'execute': 'migrate_cancel'}");
    }
    g_usleep(500);
}

static void wait_driver(VFIOUserStressVM *vm)
{
    gint64 deadline = g_get_monotonic_time() + PATIENCE;

    while (qatomic_load_acquire(&driver(vm)->order.command) !=
           VFIO_USER_GUEST_IDLE || !qatomic_read(&driver(vm)->resting)) {
        keep_running(vm, deadline);
    }
}

void vfio_user_stress_vm_order(VFIOUserStressVM *vm, VFIOUserGuestOrder order)
{
    uint32_t command = order.command;

    wait_driver(vm);
    order.command = VFIO_USER_GUEST_IDLE;
    driver(vm)->order = order;
    qatomic_store_release(&driver(vm)->order.command, command);
    wait_driver(vm);
}

/* Addresses in configuration space */
static uint32_t config_at(unsigned bus, unsigned slot)
{
    return bus << 16 | VFIO_USER_GUEST_CONFIG(slot, 0);
}

static uint32_t vm_config_of(const VFIOUserStressDevice *dev)
{
    return config_at(dev->bus, dev->slot);
}

static void vm_write_config(VFIOUserStressVM *vm, uint32_t address,
                            unsigned size, uint32_t value)
{
    vfio_user_stress_vm_order(vm, (VFIOUserGuestOrder) {
        .command = VFIO_USER_GUEST_WRITE,
        .space = VFIO_USER_GUEST_IN_CONFIG,
        .size = size,
        .address = address,
        .value = value,
    });
}

static void write_bar(VFIOUserStressVM *vm, uint32_t config, unsigned nr,
                      uint32_t value)
{
    vm_write_config(vm, config + PCI_BASE_ADDRESS_0 + 4 * nr, 4, value);
}

#define ENABLED (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

static void set_up_device(VFIOUserStressVM *vm, unsigned device)
{
    static const unsigned bars[] = { 0, 1, 2, 4 };
    uint32_t config = vm_config_of(&vm->dev[device]);

    for (unsigned i = 0; i < ARRAY_SIZE(bars); i++) {
        write_bar(vm, config, bars[i], bar_at(device, bars[i]));
    }
    write_bar(vm, config, 3, 0);
    vm_write_config(vm, config + PCI_COMMAND, 2, ENABLED);
}

/* Sets up the port in front of a device, as firmware does. */
static void set_up_port(VFIOUserStressVM *vm, unsigned device)
{
    uint32_t port = config_at(0, PORT_SLOT + device);
    uint32_t base = MEMORY + MEMORY_SIZE * device;
    uint16_t limit = (base + MEMORY_SIZE - 1) >> 16 & 0xfff0;
    uint8_t ports = (PORTS + PORTS_SIZE * device) >> 8;

    vm_write_config(vm, port + PCI_SECONDARY_BUS, 1, vm->dev[device].bus);
    vm_write_config(vm, port + PCI_SUBORDINATE_BUS, 1, vm->dev[device].bus);
    vm_write_config(vm, port + PCI_IO_BASE, 2, ports << 8 | ports);
    vm_write_config(vm, port + PCI_MEMORY_BASE, 4, limit << 16 | base >> 16);
    vm_write_config(vm, port + PCI_PREF_MEMORY_BASE, 4, 0xfff0);
    vm_write_config(vm, port + PCI_COMMAND, 2, ENABLED);
}

static void set_up_q35(VFIOUserStressVM *vm)
{
    vm_write_config(vm, config_at(0, 0) + ECAM_REGISTER + 4, 4, 0);
    vm_write_config(vm, config_at(0, 0) + ECAM_REGISTER, 4, ECAM | ECAM_ENABLE);
    for (unsigned i = 0; i < VFIO_USER_STRESS_DEVICES; i++) {
        set_up_port(vm, i);
    }
}

static void write_nic(VFIOUserStressVM *vm, unsigned offset, unsigned size,
                      uint32_t value)
{
    vfio_user_stress_vm_order(vm, (VFIOUserGuestOrder) {
        .command = VFIO_USER_GUEST_WRITE,
        .space = VFIO_USER_GUEST_IN_PORTS,
        .size = size,
        .address = NIC_PORTS + offset,
        .value = value,
    });
}

/*
 * Sets up the NIC to send from one device's memory and receive into the
 * other's.
 */
static void set_up_nic(VFIOUserStressVM *vm)
{
    write_bar(vm, config_at(0, NIC_SLOT), 0, NIC_PORTS);
    vm_write_config(vm, config_at(0, NIC_SLOT) + PCI_COMMAND, 2, ENABLED);
    write_nic(vm, NIC_COMMAND, 1, NIC_COMMAND_TX_RX);
    write_nic(vm, NIC_TX_CONFIG, 4, NIC_TX_LOOPBACK);
    write_nic(vm, NIC_RX_CONFIG, 4, NIC_RX_ALL);
    write_nic(vm, NIC_RX_ADDRESS, 4, bar_at(1, 2));
    write_nic(vm, NIC_TX_ADDRESS, 4, bar_at(0, 0));
}

void vfio_user_stress_vm_set_up(VFIOUserStressVM *vm)
{
    if (vm->q35) {
        set_up_q35(vm);
    }
    for (unsigned i = 0; i < VFIO_USER_STRESS_DEVICES; i++) {
        if (vm->dev[i].server) {
            set_up_device(vm, i);
        }
    }
    if (vm->nic) {
        set_up_nic(vm);
    }
}

static void vm_write_port(VFIOUserStressVM *vm, uint16_t port, uint32_t value)
{
    vfio_user_stress_vm_order(vm, (VFIOUserGuestOrder) {
        .command = VFIO_USER_GUEST_WRITE,
        .space = VFIO_USER_GUEST_IN_PORTS,
        .address = port,
        .value = value,
    });
}

void vfio_user_stress_vm_eject(VFIOUserStressVM *vm, unsigned device)
{
    if (vm->q35) {
        /* QEMU numbers the ports starting with the last one */
        vm_write_port(vm, Q35_BUS, VFIO_USER_STRESS_DEVICES - 1 - device);
        vm_write_port(vm, Q35_EJECT, 1 << vm->dev[device].slot);
    } else {
        vm_write_port(vm, PC_EJECT, 1 << vm->dev[device].slot);
    }
}

void vfio_user_stress_vm_eject_nic(VFIOUserStressVM *vm)
{
    if (!vm->q35) {
        vm_write_port(vm, PC_EJECT, 1 << NIC_SLOT);
    }
}

/* What the processors access at random */

#define READ_ONLY VFIO_USER_GUEST_MAY_READ
#define WRITE_ONLY VFIO_USER_GUEST_MAY_WRITE
#define READ_WRITE (READ_ONLY | WRITE_ONLY)

typedef struct Windows {
    VFIOUserGuestWindow *next;
    VFIOUserGuestWindow *end;
} Windows;

static void add_window(Windows *windows, VFIOUserGuestWindow window)
{
    g_assert(windows->next < windows->end);
    window.narrowest = window.narrowest ?: 1;
    window.widest = window.widest ?: 4;
    window.mask = window.may == READ_WRITE ? UINT32_MAX : window.mask;
    *windows->next++ = window;
}

static void add_memory(Windows *windows, uint32_t address, uint32_t size)
{
    add_window(windows, (VFIOUserGuestWindow) {
        VFIO_USER_GUEST_IN_MEMORY, address, size, .may = READ_WRITE,
    });
}

static void add_word(Windows *windows, uint32_t space, uint32_t address,
                     unsigned size, uint32_t mask, uint32_t keep)
{
    add_window(windows, (VFIOUserGuestWindow) {
        space, address, size, size, size, WRITE_ONLY, mask, keep,
    });
}

static void add_config(Windows *windows, uint32_t address, unsigned size,
                       uint32_t mask, uint32_t keep)
{
    add_word(windows, VFIO_USER_GUEST_IN_CONFIG, address, size, mask, keep);
}

static void add_device(Windows *windows, unsigned device, uint32_t config)
{
    uint32_t table = bar_at(device, 4);

    add_memory(windows, bar_at(device, 0), 4 * KiB);
    add_memory(windows, bar_at(device, 0) + MOVE, 4 * KiB);
    add_memory(windows, bar_at(device, 2), 64 * KiB);
    add_window(windows, (VFIOUserGuestWindow) {
        VFIO_USER_GUEST_IN_PORTS, bar_at(device, 1), 256, .may = READ_WRITE,
    });
    add_window(windows, (VFIOUserGuestWindow) {
        VFIO_USER_GUEST_IN_MEMORY, bar_at(device, ROM_NR), 2 * KiB,
        .may = READ_ONLY,
    });
    add_window(windows, (VFIOUserGuestWindow) {
        VFIO_USER_GUEST_IN_CONFIG, config, 256, .may = READ_ONLY,
    });
    /* two vectors, whose messages can only reach a processor */
    add_word(windows, VFIO_USER_GUEST_IN_MEMORY,
             table + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, 1, 0);
    add_word(windows, VFIO_USER_GUEST_IN_MEMORY,
             table + PCI_MSIX_ENTRY_DATA, 4, 0x7f, 0x80);
    add_word(windows, VFIO_USER_GUEST_IN_MEMORY, table, 4, 0x3000, 0xfee00000);
    add_config(windows, config + VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS, 2,
               PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 0);
    add_config(windows, config + VFIO_USER_MODEL_MSI + PCI_MSI_FLAGS, 2,
               PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE, 0);
    add_config(windows, config + PCI_COMMAND, 2, ENABLED, PCI_COMMAND_MEMORY);
    add_config(windows, config + PCI_BASE_ADDRESS_0, 4, MOVE,
               bar_at(device, 0));
    add_config(windows, config + PCI_ROM_ADDRESS, 4, PCI_ROM_ADDRESS_ENABLE,
               bar_at(device, ROM_NR));
}

static void add_ecam(Windows *windows, const VFIOUserStressDevice *dev)
{
    uint32_t config = ECAM + (dev->bus << 20) + (dev->slot << 15);

    add_window(windows, (VFIOUserGuestWindow) {
        VFIO_USER_GUEST_IN_MEMORY, config, 4 * KiB, .may = READ_ONLY,
    });
    add_word(windows, VFIO_USER_GUEST_IN_MEMORY, config + PCI_COMMAND, 2,
             ENABLED, PCI_COMMAND_MEMORY);
    add_word(windows, VFIO_USER_GUEST_IN_MEMORY, config + PCI_LATENCY_TIMER,
             1, 0xff, 0);
}

static void add_nic(Windows *windows)
{
    add_word(windows, VFIO_USER_GUEST_IN_PORTS, NIC_PORTS + NIC_TX_SIZE, 4,
             0x7f, 0x40);
    add_word(windows, VFIO_USER_GUEST_IN_PORTS, NIC_PORTS + NIC_TX_ADDRESS, 4,
             0x800ffc, bar_at(0, 0));
    add_word(windows, VFIO_USER_GUEST_IN_PORTS, NIC_PORTS + NIC_RX_ADDRESS, 4,
             0xffc, bar_at(1, 2));
}

static void send_roaming(VFIOUserStressVM *vm, uint32_t seed)
{
    Windows windows = { vm->guest->window,
                        vm->guest->window + VFIO_USER_GUEST_WINDOWS };

    for (unsigned i = 0; i < VFIO_USER_STRESS_DEVICES; i++) {
        add_device(&windows, i, vm_config_of(&vm->dev[i]));
        if (vm->q35) {
            add_ecam(&windows, &vm->dev[i]);
        }
    }
    add_nic(&windows);
    /* so that a migration does not complete too early */
    add_memory(&windows, DIRTY_RAM, 16 * MiB);
    for (unsigned i = 0; i < VFIO_USER_STRESS_DRIVER; i++) {
        VFIOUserGuestOrder *order = &vm->guest->cpu[i].order;

        order->seed = (seed ^ (i + 1) * 0x9e3779b9) ?: 1;
        qatomic_store_release(&order->command, VFIO_USER_GUEST_ROAM |
                              VFIO_USER_GUEST_AGAIN);
    }
}

/* Plugging */

void vfio_user_stress_vm_plug(VFIOUserStressVM *vm, unsigned device,
                              const VFIOUserModel *model,
                              unsigned reconnect_ms)
{
    VFIOUserStressDevice *dev = &vm->dev[device];

    if (dev->server) {
        return;
    }
    dev->server = vfio_user_server_new(model, NULL);
    dev->model = model;
    dev->held = false;
    if (vfio_user_stress_vm_do(vm, "{'execute': 'device_add', 'arguments': {"
                               "'driver': 'vfio-user-pci', 'id': %s,"
                               "'bus': %s, 'addr': %s, 'socket': %s,"
                               "'x-timeout-ms': %u, 'reconnect-ms': %u,"
                               "'reconnect-wait-ms': 100}}", dev->id,
                               !vm->q35 ? "pci.0" : device ? "port1" : "port0",
                               vm->q35 ? "0" : device ? "5" : "4",
                               vfio_user_server_path(dev->server),
                               VFIO_USER_STRESS_TIMEOUT_MS, reconnect_ms)) {
        set_up_device(vm, device);
    } else {
        g_clear_pointer(&dev->server, vfio_user_server_free);
    }
}

void vfio_user_stress_vm_switch(VFIOUserStressVM *vm, unsigned device)
{
    VFIOUserStressDevice *dev = &vm->dev[device];
    VFIOUserServer *server;

    if (!dev->server) {
        return;
    }
    server = vfio_user_server_new(dev->model, NULL);
    if (vfio_user_stress_vm_do(vm, "{'execute': 'x-vfio-user-switch',"
                               "'arguments': {'id': %s, 'socket': {"
                               "'type': 'unix', 'path': %s}}}", dev->id,
                               vfio_user_server_path(server))) {
        vfio_user_server_free(dev->server);
        dev->server = server;
        dev->held = false;
    } else {
        vfio_user_server_free(server);
    }
}

void vfio_user_stress_vm_plug_nic(VFIOUserStressVM *vm)
{
    if (!vm->nic && vm->has_nic &&
        vfio_user_stress_vm_do(vm, "{'execute': 'device_add', 'arguments': {"
                               "'driver': 'rtl8139', 'id': %s, 'addr': '6',"
                               "'bus': 'pci.0', 'romfile': ''}}",
                               NIC)) {
        vm->nic = true;
        set_up_nic(vm);
    }
}

void vfio_user_stress_vm_ask(VFIOUserStressVM *vm, const char *id)
{
    vfio_user_stress_vm_do(vm, "{'execute': 'device_del', 'arguments': {"
                           "'id': %s}}", id);
}

void vfio_user_stress_vm_tidy(VFIOUserStressVM *vm)
{
    for (unsigned i = 0; i < VFIO_USER_STRESS_DEVICES; i++) {
        VFIOUserStressDevice *dev = &vm->dev[i];

        if (dev->server) {
            /* keep the log from growing without limit */
            vfio_user_server_forget(dev->server);
            if (!is_there(vm, dev->id)) {
                g_clear_pointer(&dev->server, vfio_user_server_free);
            }
        }
    }
    vm->nic = vm->nic && is_there(vm, NIC);
}

static bool is_empty(VFIOUserStressVM *vm)
{
    vfio_user_stress_vm_tidy(vm);
    for (unsigned i = 0; i < VFIO_USER_STRESS_DEVICES; i++) {
        if (vm->dev[i].server) {
            return false;
        }
    }
    return !vm->nic || vm->q35;
}

void vfio_user_stress_vm_empty(VFIOUserStressVM *vm)
{
    gint64 deadline = g_get_monotonic_time() + PATIENCE;

    while (!is_empty(vm)) {
        for (unsigned i = 0; i < VFIO_USER_STRESS_DEVICES; i++) {
            if (vm->dev[i].server) {
                vfio_user_stress_vm_eject(vm, i);
            }
        }
        vfio_user_stress_vm_eject_nic(vm);
        keep_running(vm, deadline);
    }
}

/* The VM */

unsigned vfio_user_stress_vm_count(VFIOUserStressVM *vm, const char *what)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", qtest_pid(vm->qts),
                                            what);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

/*
 * Creates RAM that is shared with the test, whether or not a device is plugged
 */
static void make_memory(VFIOUserStressVM *vm)
{
    vm->memory_fd = memfd_create("vfio-user-stress", MFD_CLOEXEC);
    g_assert_cmpint(ftruncate(vm->memory_fd, RAM_SIZE), ==, 0);
    vm->memory = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                      vm->memory_fd, 0);
    g_assert(vm->memory != MAP_FAILED);
    vm->guest = vm->memory + VFIO_USER_GUEST_MEMORY;
}

/*
 * Sets up the slots.  On q35, nothing is hot-plugged into the root bus, so the
 * network card is present from the start.
 */
static void make_slots(VFIOUserStressVM *vm)
{
    static const char *const ids[] = { "dut0", "dut1" };

    for (unsigned i = 0; i < VFIO_USER_STRESS_DEVICES; i++) {
        vm->dev[i] = (VFIOUserStressDevice) {
            .id = ids[i],
            .bus = vm->q35 ? 1 + i : 0,
            .slot = vm->q35 ? 0 : PORT_SLOT + i,
        };
    }
    vm->has_nic = qtest_has_device("rtl8139");
    vm->nic = vm->q35 && vm->has_nic;
}

#define Q35_PORTS \
    "-device pcie-root-port,id=port0,bus=pcie.0,addr=4,chassis=1 " \
    "-device pcie-root-port,id=port1,bus=pcie.0,addr=5,chassis=2 "
#define Q35_NIC "-device rtl8139,id=" NIC ",bus=pcie.0,addr=6,romfile="

VFIOUserStressVM *vfio_user_stress_vm_new(const char *machine, uint32_t seed,
                                          bool waits)
{
    VFIOUserStressVM *vm = g_new0(VFIOUserStressVM, 1);
    gint64 deadline = g_get_monotonic_time() + PATIENCE;

    give_up_waits = waits;
    sigaction(SIGALRM, &(struct sigaction) { .sa_handler = give_up }, NULL);
    vm->q35 = g_str_equal(machine, "q35");
    make_memory(vm);
    make_slots(vm);
    vm->qts = qtest_initf("-machine %s,memory-backend=ram -nodefaults -m 64 "
                          "-object memory-backend-file,id=ram,size=64M,"
                          "share=on,mem-path=/proc/%d/fd/%d "
                          "-accel tcg,thread=multi -smp %d "
                          "-bios " VFIO_USER_GUEST_IMAGE " %s %s", machine,
                          getpid(), vm->memory_fd, VFIO_USER_STRESS_CPUS,
                          vm->q35 ? Q35_PORTS : "", vm->nic ? Q35_NIC : "");
    pid = qtest_pid(vm->qts);
    for (unsigned i = 0; i < VFIO_USER_STRESS_CPUS; i++) {
        while (!qatomic_read(&vm->guest->cpu[i].boots)) {
            keep_running(vm, deadline);
        }
    }
    vfio_user_stress_vm_set_up(vm);
    send_roaming(vm, seed);
    return vm;
}

void vfio_user_stress_vm_free(VFIOUserStressVM *vm)
{
    qtest_quit(vm->qts);
    for (unsigned i = 0; i < VFIO_USER_STRESS_DEVICES; i++) {
        g_clear_pointer(&vm->dev[i].server, vfio_user_server_free);
    }
    munmap(vm->memory, RAM_SIZE);
    close(vm->memory_fd);
    g_free(vm);
}
