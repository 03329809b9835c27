/*
 * qtest of the vfio-user client: a device is ejected during migration
 *
 * device_del is refused during migration, but the guest may eject a device at
 * any time.  The device must not reappear at the destination: the migration
 * fails, and the next one works without the device.  Once all of the device was
 * sent, the migration completes instead, so that only one VM runs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/vfio.h>

#include "qobject/qdict.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 1412

#define PCIHP_EJECT 0xae08
#define EJECT_SLOT (1 << 4)

#define STATE AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0)
#define TO(state) AT(VFIO_USER_MIG_ ## state)

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
    /* The device's handlers go a moment after the migration has failed. */
    vfio_user_mig_start_when_allowed(from);
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

/* The server is busy */

#define PAGES(what) \
    ON(VFIO_USER_DIRTY_PAGES, \
       AT_FEATURE(VFIO_IOMMU_DIRTY_PAGES_FLAG_ ## what))
#define LOGGING(deed, what) \
    ON(VFIO_USER_DEVICE_FEATURE, \
       AT_FEATURE(VFIO_DEVICE_FEATURE_ ## deed | \
                  VFIO_USER_FEATURE_DMA_LOGGING_ ## what))

/* How long the server needs for a dirty query, ms */
#define BUSY_MS 300

/* A server that is slow or held at one message */
typedef struct Row {
    const char *name;
    const VFIOUserModel *const *model;
    VFIOUserRule rule;
} Row;

static const Row busy_rows[] = {
    { "1/busy", &vfio_user_mig_region,
      { PAGES(GET_BITMAP), DO_DELAY, BUSY_MS } },
    { "2/busy", &vfio_user_mig_pre_copy,
      { LOGGING(GET, REPORT), DO_DELAY, BUSY_MS } },
    { "2-stop-copy/busy", &vfio_user_mig_stop_copy,
      { LOGGING(GET, REPORT), DO_DELAY, BUSY_MS } },
};

/*
 * QEMU waits for the server and then unmaps the memory.  A server that only
 * lost its client might still write to memory that the next migration sends.
 */
static void test_busy(const void *opaque)
{
    const Row *row = opaque;
    const VFIOUserRule rules[] = { row->rule, { } };
    VFIOUserModel model = **row->model;
    VFIOUserMigVM *vm;
    unsigned maps;

    model.migration.record = (VFIOUserRecordModel) { 4 * KiB };
    vm = vfio_user_mig_vm_run_shared(&model);
    vfio_user_mig_vm_fill(vm, SEED);
    maps = vfio_user_server_maps(vm->server[0]);
    g_assert_cmpuint(maps, >, 0);
    vfio_user_server_forget(vm->server[0]);
    vfio_user_server_set_rules(vm->server[0], rules);
    /* long enough for QEMU to sync dirty pages while the VM runs */
    qtest_memset(vm->qts, 8 * MiB, 0x5a, 16 * MiB);
    vfio_user_mig_set(vm, "max-bandwidth", 32 * MiB);
    vfio_user_mig_downtime(vm, 0);
    vfio_user_mig_start(vm, "exec:cat > /dev/null");
    vfio_user_server_wait(vm->server[0], row->rule.when);
    g_assert_cmpuint(vfio_user_server_saw(vm->server[0],
                                          VFIO_USER_DMA_UNMAP), ==, 0);
    eject_device(vm);
    g_assert_cmpuint(vfio_user_server_saw(vm->server[0],
                                          VFIO_USER_DMA_UNMAP), ==, maps);
    check_failed(vm, NULL);
    vfio_user_mig_vm_free(vm);
}

/* After all of the device was sent */

static const Row sent_rows[] = {
    { "1/sent", &vfio_user_mig_region,
      { ON(VFIO_USER_REGION_WRITE, STATE, .nth = 2), DO_HOLD } },
    { "2/sent", &vfio_user_mig_pre_copy,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 2), DO_HOLD } },
    { "2-stop-copy/sent", &vfio_user_mig_stop_copy,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 2), DO_HOLD } },
};

static bool is_running(VFIOUserMigVM *vm)
{
    QDict *response = qtest_qmp(vm->qts, "{'execute': 'query-status'}");
    bool running = qdict_get_bool(qdict_get_qdict(response, "return"),
                                  "running");

    qobject_unref(response);
    return running;
}

/* A reset completes the request that the guest has not answered. */
static void unplug_by_reset(VFIOUserMigVM *vm)
{
    qtest_qmp_assert_success(vm->qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(vm->qts, "DEVICE_DELETED");
    vfio_user_server_wait_client(vm->server[0], false);
}

/* Checks that the VM runs at the destination only, with its device. */
static void check_moved(VFIOUserMigVM *from, VFIOUserMigVM *to)
{
    vfio_user_mig_arrive(from, to);
    g_assert_false(is_running(from));
    vfio_user_mig_vm_check(to, SEED);
}

/* The source waits for the destination, whose server is held. */
static void test_sent(const void *opaque)
{
    const Row *row = opaque;
    const VFIOUserRule rules[] = { row->rule, { } };
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(*row->model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(*row->model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_mig_capability(from, "return-path");
    vfio_user_mig_listen(to, uri);
    vfio_user_server_set_rules(to->server[0], rules);
    qtest_qmp_device_del_send(from->qts, "dut0");
    vfio_user_mig_start(from, uri);
    vfio_user_server_wait(to->server[0], row->rule.when);
    vfio_user_mig_wait(from, "device");
    unplug_by_reset(from);
    vfio_user_server_release(to->server[0]);
    check_moved(from, to);
}

/*
 * In postcopy, the destination runs before all memory was sent.  A device with
 * PRE_COPY is read after the memory, when there is no reason for postcopy.
 */
static void test_sent_postcopy(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    if (!vfio_user_mig_try_capability(from, "postcopy-ram", true) ||
        !vfio_user_mig_try_capability(to, "postcopy-ram", true)) {
        g_test_skip("postcopy-ram");
        return;
    }
    qtest_qmp_device_del_send(from->qts, "dut0");
    vfio_user_mig_set(from, "max-postcopy-bandwidth", MiB);
    vfio_user_mig_set(from, "max-bandwidth", 8 * MiB);
    qtest_memset(from->qts, 8 * MiB, 0x5a, 32 * MiB);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    qtest_qmp_assert_success(from->qts,
                             "{'execute': 'migrate-start-postcopy'}");
    vfio_user_mig_wait(from, "postcopy-active");
    vfio_user_mig_wait_running(to);
    unplug_by_reset(from);
    vfio_user_mig_set(from, "max-postcopy-bandwidth", GiB);
    check_moved(from, to);
}

static void eject_add_rows(const Row *rows, unsigned count,
                           void (*test)(const void *opaque))
{
    for (unsigned i = 0; i < count; i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration-eject/%s", rows[i].name);

        qtest_add_data_func(path, &rows[i], test);
    }
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
    eject_add_rows(busy_rows, ARRAY_SIZE(busy_rows), test_busy);
    eject_add_rows(sent_rows, ARRAY_SIZE(sent_rows), test_sent);
    qtest_add_data_func("/vfio-user/migration-eject/1/sent-postcopy",
                        &vfio_user_mig_region, test_sent_postcopy);
    qtest_add_data_func("/vfio-user/migration-eject/2-stop-copy/sent-postcopy",
                        &vfio_user_mig_stop_copy, test_sent_postcopy);
}
