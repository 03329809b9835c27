/*
 * qtest of the vfio-user client: migration and a server that is replaced
 *
 * While the state of a device moves to another server, the device cannot be
 * saved or loaded as well: one of the two is refused by name, and the other
 * one completes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <glib/gstdio.h>

#include "qobject/qdict.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 78
/* QEMU has asked for everything that is compared, so it can switch any time */
#define KNOWN "-global vfio-user-pci.reconnect-ms=50 "

/* How a server is held, in migration v1 and v2 */
typedef struct Holds {
    VFIOUserRule prepared[2];   /* the new server: no state has moved */
    VFIOUserRule saves[2];      /* the source's: the rest is not sent yet */
} Holds;

static const Holds holds[] = {
    { { { ON(VFIO_USER_REGION_WRITE,
             AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0)), DO_HOLD } },
      { { ON(VFIO_USER_REGION_WRITE,
             AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0), .nth = 2),
          DO_HOLD } } },
    { { { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_RESUMING)),
          DO_HOLD } },
      { { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_STOP_COPY)),
          DO_HOLD } } },
};

static void send_switch(VFIOUserMigVM *vm, VFIOUserServer *to)
{
    qtest_qmp_send(vm->qts, "{'execute': 'x-vfio-user-switch', 'arguments': {"
                   " 'id': 'dut0', 'socket': {'type': 'unix', 'path': %s}}}",
                   vfio_user_server_path(to));
}

static void begin_switch(VFIOUserMigVM *vm, VFIOUserServer *to,
                         const VFIOUserRule *hold)
{
    send_switch(vm, to);
    vfio_user_server_wait(to, hold->when);
}

/* Returns whether the server was replaced; if not, because of @why. */
static bool switch_ends(VFIOUserMigVM *vm, const char *why)
{
    QDict *response = qtest_qmp_receive(vm->qts);
    QDict *error = qdict_get_qdict(response, "error");

    if (error) {
        g_assert_nonnull(why);
        g_test_message("%s", qdict_get_str(error, "desc"));
        g_assert_nonnull(strstr(qdict_get_str(error, "desc"), why));
    }
    qobject_unref(response);
    return !error;
}

static void let_go(VFIOUserServer *server)
{
    vfio_user_server_set_rules(server, NULL);
    vfio_user_server_release(server);
}

/*
 * The VM arrives while the destination prepares another server: the state goes
 * to the present one, and is not moved in the middle of the load.
 */
static void test_load_first(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    const Holds *hold = &holds[!model->migration1];
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model,
                                                           hold->prepared);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_vm_new_beside(model, KNOWN);
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_mig_listen_and_stay(to, uri);
    begin_switch(to, other, hold->prepared);
    vfio_user_server_set_rules(from->server[0], hold->saves);
    vfio_user_server_forget(to->server[0]);
    vfio_user_mig_start(from, uri);
    vfio_user_server_wait(from->server[0], hold->saves[0].when);
    vfio_user_server_wait(to->server[0], hold->prepared[0].when);
    let_go(other);
    g_assert_false(switch_ends(to, "is being loaded"));
    let_go(from->server[0]);
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
    g_assert_true(vfio_user_server_runs(to->server[0]));
    vfio_user_server_wait_client(other, false);
}

/*
 * The human monitor, which takes commands while a command of the other one is
 * executed
 */
typedef struct Human {
    char *dir;
    char *path;
    char *args;
    int fd;
} Human;

static Human human_new(void)
{
    Human human = { .dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL), .fd = -1 };

    human.path = g_build_filename(human.dir, "human", NULL);
    human.args = g_strdup_printf(KNOWN "-chardev socket,id=human,path=%s,"
                                 "server=on,wait=off -mon chardev=human,"
                                 "mode=readline", human.path);
    return human;
}

static void human_free(Human *human)
{
    close(human->fd);
    g_unlink(human->path);
    g_rmdir(human->dir);
    g_free(human->args);
    g_free(human->path);
    g_free(human->dir);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Human, human_free)

static void human_order(Human *human, const char *command)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    g_strlcpy(addr.sun_path, human->path, sizeof(addr.sun_path));
    human->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(connect(human->fd, (void *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(send(human->fd, command, strlen(command), 0), ==,
                    strlen(command));
}

/* Waits until @text is printed. */
static void human_see(Human *human, const char *text)
{
    g_autoptr(GString) said = g_string_new(NULL);
    struct pollfd pfd = { .fd = human->fd, .events = POLLIN };
    char bytes[1024];
    ssize_t n;

    while (!strstr(said->str, text)) {
        g_assert_cmpint(poll(&pfd, 1, VFIO_USER_SERVER_DEADLINE / 1000), >, 0);
        n = recv(human->fd, bytes, sizeof(bytes), 0);
        g_assert_cmpint(n, >, 0);
        g_string_append_len(said, bytes, n);
    }
}

/* The VM does not leave while its device moves to another server. */
static void test_save_second(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    const Holds *hold = &holds[!model->migration1];
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model,
                                                           hold->prepared);
    g_auto(Human) human = human_new();
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_vm_run_beside(model,
                                                              human.args);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    VFIOUserServer *last = vm->server[0];

    vfio_user_mig_vm_fill(vm, SEED);
    begin_switch(vm, other, hold->prepared);
    human_order(&human, "migrate -d unix:/nowhere\n");
    human_see(&human, "the device is being moved to another server");
    let_go(other);
    g_assert_true(switch_ends(vm, NULL));
    vfio_user_server_wait_client(last, false);
    vm->server[0] = g_steal_pointer(&other);
    vfio_user_server_free(last);
    vfio_user_mig_move(vm, to);
    vfio_user_mig_vm_check(to, SEED);
}

/*
 * A destination is switched before the VM arrives.  RESUMING is entered anew,
 * so that the server drops what it got from the other one.
 */
static void test_arrive(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    VFIOUserWhen changes = holds[!model->migration1].prepared[0].when;
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model, NULL);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_vm_new_beside(model, KNOWN);
    VFIOUserServer *last = to->server[0];

    send_switch(to, other);
    g_assert_true(switch_ends(to, NULL));
    vfio_user_server_wait_client(last, false);
    to->server[0] = g_steal_pointer(&other);
    vfio_user_server_free(last);
    vfio_user_server_forget(to->server[0]);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    /* v1: any change of the state, of which the last is to RUNNING */
    g_assert_cmpuint(vfio_user_server_count(to->server[0], changes), >,
                     model->migration1 ? 1 : 0);
}

/* A device whose VM has left stays stopped: it is not moved. */
static void test_left(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model, NULL);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_vm_run_beside(model, KNOWN);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);

    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_mig_move(from, to);
    send_switch(from, other);
    g_assert_false(switch_ends(from, "the VM has been migrated"));
    g_assert_false(vfio_user_server_runs(from->server[0]));
    vfio_user_server_wait_client(other, false);
    vfio_user_mig_vm_check(to, SEED);
}

/* QEMU, and with it migration, ends while it compares: nothing is moved. */
static void test_quit(void)
{
    static const VFIOUserRule hold[] = {
        { ON(VFIO_USER_VERSION), DO_HOLD },
        { }
    };
    const VFIOUserModel *model = vfio_user_mig_pre_copy;
    g_autoptr(VFIOUserServer) other = vfio_user_server_new(model, hold);
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_vm_run_shared(model);

    send_switch(vm, other);
    vfio_user_server_wait(other, hold->when);
    g_assert_cmpint(kill(qtest_pid(vm->qts), SIGTERM), ==, 0);
    qtest_qmp_eventwait(vm->qts, "SHUTDOWN");
    let_go(other);
    vfio_user_server_wait_client(other, false);
    g_assert_cmpuint(vfio_user_server_saw(other, VFIO_USER_DEVICE_FEATURE), ==,
                     0);
}

void vfio_user_add_switch_migration_tests(void)
{
    static const struct {
        const char *name;
        const void *model;
    } models[] = {
        { "stop-copy", &vfio_user_mig_stop_copy },
        { "pre-copy", &vfio_user_mig_pre_copy },
        { "region", &vfio_user_mig_region },
    };
    static const struct {
        const char *name;
        void (*test)(const void *opaque);
    } tests[] = {
        { "load", test_load_first },
        { "save", test_save_second },
        { "arrive", test_arrive },
        { "left", test_left },
    };

    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(tests); j++) {
            g_autofree char *path =
                g_strdup_printf("/vfio-user/switch-migration/%s/%s",
                                tests[j].name, models[i].name);

            qtest_add_data_func(path, models[i].model, tests[j].test);
        }
    }
    qtest_add_func("/vfio-user/switch-migration/quit", test_quit);
}
