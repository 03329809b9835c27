/*
 * Test rig: two VMs, each with a device and a server of its own
 *
 * See the header.  Test thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "hw/pci/pci.h"
#include "libqos/pci-pc.h"
#include "qobject/qdict.h"
#include "vfio-user-pair.h"

#define MACHINE "-machine pc%s -nodefaults -m 64 "
#define BACKEND "-object memory-backend-memfd,id=ram,size=64M,share=on "

static void start(VFIOUserPair *pair, VFIOUserSide side, const char *more)
{
    g_autofree char *args =
        g_strdup_printf(MACHINE "%s -global vfio-user-pci.x-timeout-ms=%u %s"
                        " -device vfio-user-pci,id=dut,addr=4,socket=%s"
                        " %s 2>%s",
                        pair->shared ? ",memory-backend=ram" : "",
                        pair->shared ? BACKEND : "", VFIO_USER_PAIR_TIMEOUT_MS,
                        pair->args ?: "",
                        vfio_user_server_path(pair->server[side]), more,
                        pair->errors[side]);

    pair->qts[side] = qtest_init(args);
}

/* Enables the device and bus mastering, as the guest's driver does. */
static void enable(QTestState *qts)
{
    QPCIBus *bus = qpci_new_pc(qts, NULL);

    bus->config_writew(bus, QPCI_DEVFN(4, 0), PCI_COMMAND, PCI_COMMAND_MASTER);
    qpci_free_pc(bus);
}

static VFIOUserPair *pair_new_pair(bool shared, const char *args,
                                   const VFIOUserModel *source,
                                   const VFIOUserModel *destination)
{
    VFIOUserPair *pair = g_new0(VFIOUserPair, 1);

    pair->shared = shared;
    pair->args = g_strdup(args);
    pair->dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    g_assert_nonnull(pair->dir);
    pair->uri = g_strdup_printf("unix:%s/migration", pair->dir);
    pair->errors[VFIO_USER_SOURCE] = g_strdup_printf("%s/source", pair->dir);
    pair->errors[VFIO_USER_DESTINATION] =
        g_strdup_printf("%s/destination", pair->dir);
    pair->server[VFIO_USER_SOURCE] = vfio_user_server_new(source, NULL);
    start(pair, VFIO_USER_SOURCE, "");
    enable(pair->qts[VFIO_USER_SOURCE]);
    if (destination) {
        vfio_user_pair_add(pair, destination, pair->uri);
    }
    return pair;
}

VFIOUserPair *vfio_user_pair_new(bool shared, const VFIOUserModel *source,
                                 const VFIOUserModel *destination)
{
    return pair_new_pair(shared, NULL, source, destination);
}

VFIOUserPair *vfio_user_pair_new_with(const char *args,
                                      const VFIOUserModel *source,
                                      const VFIOUserModel *destination)
{
    return pair_new_pair(true, args, source, destination);
}

void vfio_user_pair_add(VFIOUserPair *pair, const VFIOUserModel *destination,
                        const char *from)
{
    g_autofree char *incoming = g_strdup_printf("-incoming '%s'", from);

    pair->server[VFIO_USER_DESTINATION] =
        vfio_user_server_new(destination, NULL);
    start(pair, VFIO_USER_DESTINATION, incoming);
}

static void remove_in(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    g_unlink(path);
}

static void print_errors(VFIOUserPair *pair)
{
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *text = NULL;

        g_file_get_contents(pair->errors[i], &text, NULL, NULL);
        g_test_message("%s said: %s", i ? "destination" : "source",
                       text ?: "");
    }
}

void vfio_user_pair_free(VFIOUserPair *pair)
{
    for (unsigned i = 0; i < 2; i++) {
        if (pair->qts[i]) {
            qtest_quit(pair->qts[i]);
        }
        if (pair->server[i]) {
            vfio_user_server_wait_client(pair->server[i], false);
            vfio_user_server_free(pair->server[i]);
        }
    }
    print_errors(pair);
    for (unsigned i = 0; i < 2; i++) {
        g_unlink(pair->errors[i]);
        g_free(pair->errors[i]);
    }
    remove_in(pair->dir, "migration");
    g_assert_cmpint(g_rmdir(pair->dir), ==, 0);
    g_free(pair->args);
    g_free(pair->dir);
    g_free(pair->uri);
    g_free(pair);
}

void vfio_user_pair_set(VFIOUserPair *pair, const char *name, int64_t value)
{
    QDict *args = qdict_new();
    QDict *response;

    qdict_put_int(args, name, value);
    response = qtest_qmp(pair->qts[VFIO_USER_SOURCE], "{'execute':"
                         " 'migrate-set-parameters', 'arguments': %p}", args);
    g_assert(qdict_haskey(response, "return"));
    qobject_unref(response);
}

void vfio_user_pair_return_path(VFIOUserPair *pair)
{
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE], "{'execute':"
                             " 'migrate-set-capabilities', 'arguments':"
                             " {'capabilities': [{'capability': 'return-path',"
                             " 'state': true}]}}");
}

void vfio_user_pair_start(VFIOUserPair *pair)
{
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE], "{'execute':"
                             " 'migrate', 'arguments': {'uri': %s}}",
                             pair->uri);
}

static char *ask_status(QTestState *qts, const char *command)
{
    QDict *response = qtest_qmp(qts, "{'execute': %s}", command);
    QDict *ret = qdict_get_qdict(response, "return");
    char *status;

    g_assert_nonnull(ret);
    status = g_strdup(qdict_get_try_str(ret, "status"));
    qobject_unref(response);
    return status;
}

static int64_t ask_ram(VFIOUserPair *pair, const char *what)
{
    QDict *response = qtest_qmp(pair->qts[VFIO_USER_SOURCE],
                                "{'execute': 'query-migrate'}");
    QDict *ret = qdict_get_qdict(response, "return");
    QDict *ram = qdict_get_qdict(ret, "ram");
    int64_t count = ram ? qdict_get_int(ram, what) : 0;

    qobject_unref(response);
    return count;
}

unsigned vfio_user_pair_passes(VFIOUserPair *pair)
{
    return ask_ram(pair, "dirty-sync-count");
}

uint64_t vfio_user_pair_sent(VFIOUserPair *pair)
{
    return ask_ram(pair, "normal-bytes");
}

void vfio_user_pair_wait_sent(VFIOUserPair *pair, uint64_t size)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;

    while (vfio_user_pair_sent(pair) < size) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
}

void vfio_user_pair_wait(VFIOUserPair *pair, const char *status)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    QTestState *qts = pair->qts[VFIO_USER_SOURCE];

    for (;;) {
        g_autofree char *is = ask_status(qts, "query-migrate");

        if (!g_strcmp0(is, status)) {
            return;
        }
        if (g_get_monotonic_time() > deadline ||
            !g_strcmp0(is, "completed") || !g_strcmp0(is, "failed")) {
            print_errors(pair);
            g_assert_cmpstr(is, ==, status);
        }
    }
}

void vfio_user_pair_wait_loaded(VFIOUserPair *pair)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    bool loaded = false;

    while (!loaded) {
        g_autofree char *is = ask_status(pair->qts[VFIO_USER_DESTINATION],
                                         "query-status");

        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        loaded = !g_str_equal(is, "inmigrate");
    }
}

void vfio_user_pair_check_status(VFIOUserPair *pair, VFIOUserSide side,
                                 const char *status)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;

    for (;;) {
        g_autofree char *is = ask_status(pair->qts[side], "query-status");

        if (!g_strcmp0(is, status)) {
            return;
        }
        if (g_get_monotonic_time() > deadline) {
            g_assert_cmpstr(is, ==, status);
        }
    }
}

void vfio_user_pair_migrate(VFIOUserPair *pair)
{
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "completed");
    vfio_user_pair_check_status(pair, VFIO_USER_DESTINATION, "running");
}

void vfio_user_pair_destination_fails(VFIOUserPair *pair)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    QTestState *qts = pair->qts[VFIO_USER_DESTINATION];

    qtest_set_expected_status(qts, 1);
    while (qtest_probe_child(qts)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_thread_yield();
    }
    qtest_quit(qts);
    pair->qts[VFIO_USER_DESTINATION] = NULL;
}

unsigned vfio_user_pair_said(VFIOUserPair *pair, VFIOUserSide side,
                             const char *text)
{
    g_autofree char *said = NULL;
    unsigned n = 0;

    g_assert_true(g_file_get_contents(pair->errors[side], &said, NULL, NULL));
    for (const char *at = said; (at = strstr(at, text)); at++) {
        n++;
    }
    return n;
}
