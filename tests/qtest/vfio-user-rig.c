/*
 * Test rig: a VM with a vfio-user device plugged into it
 *
 * Starts and quits QEMU, plugs and unplugs devices, and checks for leaks.
 * Test thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/prctl.h>

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "vfio-user-rig.h"

#define ID "dut"
#define PORT_BUS VFIO_USER_RIG_Q35_BUS
/* ACPI PCI hotplug registers: bus selector, and eject */
#define Q35_HOTPLUG_BUS 0xcd0
#define Q35_HOTPLUG_EJECT 0xcc8
#define LONG_MS 20000

static struct {
    char *args;
    QTestState *qts;
    pid_t pid;
    unsigned fds;
    unsigned threads;
} vm;

/* See vfio_user_rig_model().  Without a personality, no copy of a test runs. */
static VFIOUserModel row_model;

const VFIOUserModel *vfio_user_rig_model(void)
{
    return row_model.personality ? &row_model : &vfio_user_model;
}

static unsigned rig_count_entries(const char *what)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", vm.pid, what);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

static unsigned count_sockets(void)
{
    g_autofree char *dir = g_strdup_printf("/proc/%d/fd", vm.pid);
    g_autoptr(GDir) fds = g_dir_open(dir, 0, NULL);
    const char *name;
    unsigned n = 0;

    while ((name = g_dir_read_name(fds))) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir, name);
        g_autofree char *file = g_file_read_link(path, NULL);

        n += file && g_str_has_prefix(file, "socket:");
    }
    return n;
}

/*
 * Whether a thread of the client exists, for example one that closes a
 * connection.
 */
static bool has_client_thread(void)
{
    g_autofree char *dir = g_strdup_printf("/proc/%d/task", vm.pid);
    g_autoptr(GDir) tasks = g_dir_open(dir, 0, NULL);
    const char *id;
    bool found = false;

    while (!found && (id = g_dir_read_name(tasks))) {
        g_autofree char *path = g_strdup_printf("%s/%s/comm", dir, id);
        g_autofree char *name = NULL;

        found = g_file_get_contents(path, &name, NULL, NULL) &&
                g_str_has_prefix(name, "vfio-user");
    }
    return found;
}

void vfio_user_rig_ping(VFIOUserRig *rig)
{
    QDict *response = qtest_qmp(rig->qts, "{'execute': 'query-status'}");

    g_assert(qdict_haskey(response, "return"));
    g_assert_true(qdict_get_bool(qdict_get_qdict(response, "return"),
                                 "running"));
    qobject_unref(response);
}

/*
 * On q35, devices are plugged into a root port.  Firmware would assign it a
 * bus number and windows, from which libqos allocates.
 */
static bool has_port(void)
{
    return strstr(vm.args, "q35");
}

static void open_port(VFIOUserRig *rig)
{
    QPCIBus *bus = qpci_new_pc(rig->qts, NULL);
    QPCIDevice *port = qpci_device_find(bus,
                                        QPCI_DEVFN(VFIO_USER_RIG_SLOT, 0));

    qpci_config_writeb(port, PCI_SECONDARY_BUS, PORT_BUS);
    qpci_config_writeb(port, PCI_SUBORDINATE_BUS, PORT_BUS);
    qpci_config_writeb(port, PCI_IO_BASE, 0xc0);
    qpci_config_writeb(port, PCI_IO_LIMIT, 0xd0);
    qpci_config_writew(port, PCI_MEMORY_BASE, 0xe000);
    qpci_config_writew(port, PCI_MEMORY_LIMIT, 0xeff0);
    qpci_config_writew(port, PCI_PREF_MEMORY_BASE, 0xfff0);
    qpci_config_writew(port, PCI_PREF_MEMORY_LIMIT, 0);
    qpci_config_writew(port, PCI_COMMAND, PCI_COMMAND_IO |
                       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    g_free(port);
    qpci_free_pc(bus);
}

char *vfio_user_rig_try_plug(VFIOUserRig *rig, unsigned timeout_ms)
{
    const char *path = vfio_user_server_path(rig->server);
    char *message = NULL;
    bool port = has_port();
    QDict *response;

    if (port) {
        open_port(rig);
    }
    response = qtest_qmp(rig->qts, "{'execute': 'device_add', 'arguments': {"
                         "'driver': 'vfio-user-pci', 'id': %s, 'bus': %s,"
                         "'addr': %s, 'x-timeout-ms': %u, 'socket': %s,"
                         "'reconnect-aer': %i}}",
                         ID, port ? "rootport" : "pci.0", port ? "0" : "4",
                         timeout_ms ?: LONG_MS, path, rig->aer);
    if (qdict_haskey(response, "error")) {
        QDict *error = qdict_get_qdict(response, "error");

        message = g_strdup(qdict_get_str(error, "desc"));
    } else {
        rig->bus = qpci_new_pc(rig->qts, NULL);
        rig->dev = qpci_device_find(rig->bus, port ? PORT_BUS << 8 :
                                    QPCI_DEVFN(VFIO_USER_RIG_SLOT, 0));
    }
    qobject_unref(response);
    return message;
}

void vfio_user_rig_enable(VFIOUserRig *rig)
{
    if (has_port()) {
        open_port(rig);
    }
    qpci_device_enable(rig->dev);
}

void vfio_user_rig_plug(VFIOUserRig *rig, unsigned timeout_ms)
{
    g_autofree char *message = vfio_user_rig_try_plug(rig, timeout_ms);
    unsigned i;

    g_assert_cmpstr(message, ==, NULL);
    g_assert_nonnull(rig->dev);
    for (i = 0; i < 3; i++) {
        rig->bar[i] = qpci_iomap(rig->dev, i, NULL);
    }
    qpci_device_enable(rig->dev);
}

void vfio_user_rig_unplug(VFIOUserRig *rig)
{
    if (has_port()) {
        qtest_qmp_device_del_send(rig->qts, ID);
        qtest_outl(rig->qts, Q35_HOTPLUG_BUS, 0);
        qtest_outl(rig->qts, Q35_HOTPLUG_EJECT, 1);
        qtest_qmp_eventwait(rig->qts, "DEVICE_DELETED");
    } else {
        qpci_unplug_acpi_device_test(rig->qts, ID, VFIO_USER_RIG_SLOT);
    }
    g_clear_pointer(&rig->dev, g_free);
    g_clear_pointer(&rig->bus, qpci_free_pc);
}

static void rig_start_vm(const char *args)
{
    VFIOUserRig rig = { .qts = qtest_init(args) };
    unsigned sockets;

    vm.args = g_strdup(args);
    vm.qts = rig.qts;
    vm.pid = qtest_pid(rig.qts);
    sockets = count_sockets();

    /* the first device creates everything that is created once and kept */
    rig.server = vfio_user_server_new(NULL, NULL);
    vfio_user_rig_plug(&rig, 0);
    vfio_user_rig_unplug(&rig);
    vfio_user_server_wait_client(rig.server, false);
    vfio_user_server_free(rig.server);
    vfio_user_rig_wait(&rig, count_sockets() == sockets &&
                             !has_client_thread());
    vm.fds = rig_count_entries("fd");
    vm.threads = rig_count_entries("task");
}

void vfio_user_rig_quit(void)
{
    if (vm.qts) {
        qtest_quit(vm.qts);
        vm.qts = NULL;
        g_free(vm.args);
    }
}

VFIOUserRig *vfio_user_rig_begin(const char *args, const VFIOUserModel *model,
                                 const VFIOUserRule *rules)
{
    VFIOUserRig *rig = g_new0(VFIOUserRig, 1);

    if (!vm.qts || strcmp(args, vm.args)) {
        vfio_user_rig_quit();
        rig_start_vm(args);
    }
    rig->qts = vm.qts;
    rig->server = vfio_user_server_new(model ?: vfio_user_rig_model(), rules);
    return rig;
}

VFIOUserRig *vfio_user_rig_plugged(const char *args, unsigned timeout_ms)
{
    VFIOUserRig *rig = vfio_user_rig_begin(args, NULL, NULL);

    vfio_user_rig_plug(rig, timeout_ms);
    return rig;
}

void vfio_user_rig_end(VFIOUserRig *rig)
{
    if (rig->bus) {
        vfio_user_rig_unplug(rig);
    }
    vfio_user_server_wait_client(rig->server, false);
    vfio_user_server_free(rig->server);
    /* resources of a device are freed some time after it is gone */
    vfio_user_rig_wait(rig, rig_count_entries("fd") == vm.fds &&
                            rig_count_entries("task") == vm.threads);
    g_free(rig);
}

typedef struct Row Row;

struct Row {
    const VFIOUserPersonality *personality;
    void (*test)(const void *);
    const void *data;
    Row *next;
};

static Row *rows;               /* all rows, never freed */

static void run_row(const void *data)
{
    const Row *row = data;

    row_model = vfio_user_model;
    row_model.personality = row->personality;
    row->test(row->data);
    row_model = (VFIOUserModel) { };
}

/* Runs tests that take no data. */
static void run_plain(const void *data)
{
    void (*test)(void) = data;

    test();
}

void vfio_user_rig_add(const char *path, void (*test)(void),
                       VFIOUserNeeds needs)
{
    vfio_user_rig_add_data(path, test, run_plain, needs);
}

void vfio_user_rig_add_data(const char *path, const void *data,
                            void (*test)(const void *), VFIOUserNeeds needs)
{
    const VFIOUserPersonality *p;

    qtest_add_data_func(path, data, test);
    for (p = vfio_user_personalities; p->name; p++) {
        g_autofree char *name = g_strdup_printf("%s/%s", path, p->name);
        Row *row;

        if (vfio_user_personality_meets(p, needs)) {
            row = g_new(Row, 1);
            *row = (Row) { p, test, data, rows };
            rows = row;
            qtest_add_data_func(name, row, run_row);
        }
    }
}

/* Reads until EOF; returns false at the deadline. */
static bool read_all(int fd, GString *text)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;

    for (;;) {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };
        int left = (deadline - g_get_monotonic_time()) / 1000;
        char bytes[4096];
        ssize_t n;

        if (left <= 0 || poll(&pfd, 1, left) == 0) {
            return false;
        }
        n = read(fd, bytes, sizeof(bytes));
        if (n == 0) {
            return true;
        }
        g_string_append_len(text, bytes, MAX(n, 0));
    }
}

/* QEMU dies with the test. */
static void die_with_test(void *opaque)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

int vfio_user_rig_run(const char *args, char **out)
{
    g_autofree char *line =
        g_strdup_printf("%s -display none -accel qtest %s",
                        getenv("QTEST_QEMU_BINARY"), args);
    g_autoptr(GString) text = g_string_new("");
    g_auto(GStrv) argv = NULL;
    GError *err = NULL;
    bool ended;
    GPid pid;
    int fd;
    int status;

    g_test_message("%s", line);
    g_shell_parse_argv(line, NULL, &argv, &err);
    g_assert_no_error(err);
    g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD |
                             G_SPAWN_SEARCH_PATH, die_with_test, NULL, &pid,
                             NULL, NULL, &fd, &err);
    g_assert_no_error(err);
    ended = read_all(fd, text);
    close(fd);
    if (!ended) {
        kill(pid, SIGKILL);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_test_message("%s", text->str);
    g_assert_true(ended);
    g_assert_true(WIFEXITED(status));
    *out = g_strdup(text->str);
    return WEXITSTATUS(status);
}

unsigned vfio_user_rig_lines(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    unsigned n = 0;
    unsigned i;

    for (i = 0; lines[i]; i++) {
        n += *lines[i] && !strstr(lines[i], "warning: ") &&
             !strstr(lines[i], "WARNING: ASan doesn't fully support");
    }
    return n;
}
