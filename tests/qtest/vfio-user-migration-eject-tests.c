/*
 * qtest of the vfio-user client: a device is ejected during migration
 *
 * device_del is refused during migration, but the guest may eject a device at
 * any time.  The device must not reappear at the destination: the migration
 * fails, and the next one works without the device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/un.h>

#include "qobject/qdict.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 1412

#define PCIHP_EJECT 0xae08
#define EJECT_SLOT (1 << 4)

static void eject_device(VFIOUserMigVM *vm)
{
    qtest_outl(vm->qts, PCIHP_EJECT, EJECT_SLOT);
    qtest_qmp_eventwait(vm->qts, "DEVICE_DELETED");
}

/*
 * Starts slowly: sending memory takes too long until the bandwidth is raised.
 */
static void eject_start_slowly(VFIOUserMigVM *vm, const char *uri)
{
    qtest_memset(vm->qts, 8 * MiB, 0x5a, 16 * MiB);
    vfio_user_mig_set(vm, "max-bandwidth", 64 * KiB);
    vfio_user_mig_start(vm, uri);
    vfio_user_mig_wait(vm, "active");
}

/* The handlers of the device go a moment after the migration has failed. */
static void start_again(VFIOUserMigVM *vm)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    bool started;

    do {
        QDict *response = qtest_qmp(vm->qts, "{'execute': 'migrate',"
                                    "'arguments': {'uri':"
                                    " 'exec:cat > /dev/null'}}");

        started = qdict_haskey(response, "return");
        qobject_unref(response);
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    } while (!started);
}

/*
 * Checks that the migration failed, that the VM runs at the source without the
 * device, and that it migrates.
 */
static void check_failed(VFIOUserMigVM *from, VFIOUserMigVM *to)
{
    g_autofree char *why = NULL;

    vfio_user_mig_wait(from, "failed");
    vfio_user_mig_wait_running(from);
    if (to) {
        g_free(vfio_user_mig_ended(to));
    }
    why = vfio_user_mig_why(from);
    g_assert_nonnull(strstr(why, "the device was unplugged"));
    vfio_user_mig_check_why(from, "saving", 0);
    vfio_user_server_wait_client(from->server[0], false);
    vfio_user_mig_set(from, "max-bandwidth", GiB);
    vfio_user_mig_try_capability(from, "pause-before-switchover", false);
    start_again(from);
    vfio_user_mig_wait(from, "completed");
}

static void test_memory(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_mig_listen(to, uri);
    eject_start_slowly(from, uri);
    eject_device(from);
    check_failed(from, to);
}

/* The guest was asked to eject before the migration, and does it late. */
static void test_requested_before(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    qtest_qmp_device_del_send(from->qts, "dut0");
    vfio_user_mig_listen(to, uri);
    eject_start_slowly(from, uri);
    eject_device(from);
    check_failed(from, to);
}

/* device_del is refused during migration and works afterwards. */
static void test_device_del(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    QDict *response;

    eject_start_slowly(from, "exec:cat > /dev/null");
    response = qtest_qmp(from->qts, "{'execute': 'device_del', 'arguments':"
                         " {'id': 'dut0'}}");
    g_assert_true(qdict_haskey(response, "error"));
    qobject_unref(response);
    vfio_user_mig_cancel(from);
    vfio_user_mig_wait(from, "cancelled");
    vfio_user_mig_vm_check(from, SEED);
    qtest_qmp_device_del_send(from->qts, "dut0");
    eject_device(from);
}

/* All pre-copy data was sent; the VM and the device are stopped. */
static void test_switchover(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_mig_capability(from, "pause-before-switchover");
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(from, "pre-switchover");
    eject_device(from);
    qtest_qmp_assert_success(from->qts, "{'execute': 'migrate-continue',"
                             "'arguments': { 'state': 'pre-switchover' } }");
    check_failed(from, to);
}

/* Creates a socket with a full backlog, so that connect() blocks. */
static int listen_busy(const char *path, GArray *clients)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int client, ret;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpuint(strlen(path), <, sizeof(address.sun_path));
    strcpy(address.sun_path, path);
    g_assert_cmpint(bind(fd, (void *)&address, sizeof(address)), ==, 0);
    g_assert_cmpint(listen(fd, 0), ==, 0);
    do {
        client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        ret = connect(client, (void *)&address, sizeof(address));
        g_array_append_val(clients, client);
    } while (ret == 0);
    g_assert_cmpint(errno, ==, EAGAIN);
    return fd;
}

/* Accepts the next connection and reads everything that is sent. */
static void accept_all(int fd)
{
    char bytes[4096];
    int conn = accept(fd, NULL, NULL);
    ssize_t got;

    g_assert_cmpint(conn, >=, 0);
    do {
        got = read(conn, bytes, sizeof(bytes));
    } while (got > 0);
    close(conn);
}

/* The migration has started but has no stream yet. */
static void test_connecting(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(GArray) clients = g_array_new(false, false, sizeof(int));
    g_autofree char *path = g_build_filename(from->dir, "socket", NULL);
    g_autofree char *uri = vfio_user_mig_uri(from);
    int fd = listen_busy(path, clients);

    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(from, "setup");
    eject_device(from);
    for (guint i = 0; i < clients->len; i++) {
        close(g_array_index(clients, int, i));
    }
    for (guint i = 0; i < clients->len; i++) {
        accept_all(fd);         /* QEMU instead of the last client */
    }
    check_failed(from, NULL);
    close(fd);
}

/* A migration that fails to start leaves no state. */
static void test_nowhere(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    QDict *response;

    response = qtest_qmp(from->qts, "{'execute': 'migrate', 'arguments':"
                         " {'uri': 'fd:nothing'}}");
    g_assert_true(qdict_haskey(response, "error"));
    qobject_unref(response);
    eject_device(from);
    vfio_user_server_wait_client(from->server[0], false);
    vfio_user_mig_start(from, "exec:cat > /dev/null");
    vfio_user_mig_wait(from, "completed");
}

void vfio_user_add_migration_eject_tests(void)
{
    static const VFIOUserModel *const *const servers[] = {
        &vfio_user_mig_region, &vfio_user_mig_pre_copy,
        &vfio_user_mig_stop_copy,
    };
    static const char *const names[] = { "1", "2", "2-stop-copy" };
    static const struct {
        const char *name;
        void (*test)(const void *opaque);
    } tests[] = {
        { "memory", test_memory },
        { "asked-before", test_requested_before },
        { "device-del", test_device_del },
        { "switchover", test_switchover },
        { "connecting", test_connecting },
        { "nowhere", test_nowhere },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(servers) * ARRAY_SIZE(tests); i++) {
        unsigned server = i / ARRAY_SIZE(tests);
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration-eject/%s/%s", names[server],
                            tests[i % ARRAY_SIZE(tests)].name);

        qtest_add_data_func(path, servers[server],
                            tests[i % ARRAY_SIZE(tests)].test);
    }
}
