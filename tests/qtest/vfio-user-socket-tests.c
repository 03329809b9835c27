/*
 * qtest of the vfio-user client: sockets
 *
 * All ways to name a server's socket, and sockets without a working server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/capability.h>
#include <linux/vm_sockets.h>
#include <glib/gstdio.h>

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define TIMEOUT_MS 600

/* Names of a socket */

static void socket_check_device(const char *args)
{
    QTestState *qts = qtest_initf(VFIO_USER_RIG_RAM "%s", args);
    QPCIBus *bus = qpci_new_pc(qts, NULL);
    QPCIDevice *dev = qpci_device_find(bus, QPCI_DEVFN(4, 0));

    g_assert_nonnull(dev);
    g_assert_cmphex(qpci_config_readw(dev, PCI_VENDOR_ID), ==,
                    VFIO_USER_MODEL_VENDOR);
    g_assert_cmphex(qpci_config_readw(dev, PCI_DEVICE_ID), ==,
                    VFIO_USER_MODEL_DEVICE);
    g_assert_cmphex(qpci_config_readw(dev, PCI_SUBSYSTEM_VENDOR_ID), ==,
                    VFIO_USER_MODEL_VENDOR);
    g_assert_cmphex(qpci_config_readw(dev, PCI_CLASS_DEVICE), ==,
                    PCI_CLASS_OTHERS);
    g_free(dev);
    qpci_free_pc(bus);
    qtest_quit(qts);
}

static void check_named(const char *format, ...) G_GNUC_PRINTF(1, 2);
static void check_named(const char *format, ...)
{
    g_autofree char *args = NULL;
    va_list ap;

    va_start(ap, format);
    args = g_strdup_vprintf(format, ap);
    va_end(ap);
    socket_check_device(args);
}

static void test_socket_path(void)
{
    g_autoptr(VFIOUserServer) s = vfio_user_server_new(NULL, NULL);

    check_named("-device vfio-user-pci,addr=4,socket=%s",
                vfio_user_server_path(s));
}

static void test_socket_json(void)
{
    g_autoptr(VFIOUserServer) s = vfio_user_server_new(NULL, NULL);

    check_named("-device '{\"driver\":\"vfio-user-pci\",\"addr\":\"4\","
                "\"socket\":{\"type\":\"unix\",\"path\":\"%s\"}}'",
                vfio_user_server_path(s));
}

static void test_socket_unix(void)
{
    g_autoptr(VFIOUserServer) s = vfio_user_server_new(NULL, NULL);

    check_named("-device vfio-user-pci,addr=4,socket=unix:%s",
                vfio_user_server_path(s));
}

/*
 * A model for sockets that cannot pass descriptors.  Without descriptors there
 * are no eventfds, so the device has no interrupts.
 */
static VFIOUserModel model_without_irqs(void)
{
    VFIOUserModel model = vfio_user_model;

    model.config[PCI_INTERRUPT_PIN] = 0;
    model.config[PCI_CAPABILITY_LIST] = 0;
    model.config[PCI_STATUS] &= ~PCI_STATUS_CAP_LIST;
    return model;
}

static void test_socket_tcp(void)
{
    const VFIOUserModel model = model_without_irqs();
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t size = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_autoptr(VFIOUserServer) s = NULL;

    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, size), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&addr, &size), ==, 0);
    s = vfio_user_server_new_on(fd, &model, NULL);
    check_named("-device vfio-user-pci,addr=4,socket=127.0.0.1:%d",
                ntohs(addr.sin_port));
}

/* Returns options for a socket in the abstract namespace. */
static char *abstract_socket(const char *name)
{
    return g_strdup_printf("-device '{\"driver\":\"vfio-user-pci\","
                           "\"addr\":\"4\",\"x-timeout-ms\":%u,\"socket\":"
                           "{\"type\":\"unix\",\"abstract\":true,"
                           "\"path\":\"%s\"}}'", TIMEOUT_MS, name);
}

static int listen_abstract(const char *name, int backlog)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path + 1, name, sizeof(addr.sun_path) - 1);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, size), ==, 0);
    g_assert_cmpint(listen(fd, backlog), ==, 0);
    return fd;
}

static void test_socket_abstract(void)
{
    g_autofree char *name = g_strdup_printf("vfio-user-test-%d", getpid());
    g_autofree char *args = abstract_socket(name);
    g_autoptr(VFIOUserServer) s =
        vfio_user_server_new_on(listen_abstract(name, 1), NULL, NULL);

    socket_check_device(args);
}

/* Whether the host has vsock loopback. */
static bool has_vsock_loopback(unsigned port)
{
    struct sockaddr_vm addr = {
        .svm_family = AF_VSOCK,
        .svm_cid = VMADDR_CID_LOCAL,
        .svm_port = port,
    };
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 &&
              connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;

    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static void test_socket_vsock(void)
{
    const VFIOUserModel model = model_without_irqs();
    struct sockaddr_vm addr = {
        .svm_family = AF_VSOCK,
        .svm_cid = VMADDR_CID_ANY,
        .svm_port = VMADDR_PORT_ANY,
    };
    socklen_t size = sizeof(addr);
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_autoptr(VFIOUserServer) s = NULL;

    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, size) < 0 ||
        listen(fd, 2) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &size) < 0 ||
        !has_vsock_loopback(addr.svm_port)) {
        g_test_skip("no vsock loopback on this host");
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    s = vfio_user_server_new_on(fd, &model, NULL);
    check_named("-device vfio-user-pci,addr=4,socket=vsock:%d:%u",
                VMADDR_CID_LOCAL, addr.svm_port);
}

static int connect_to(VFIOUserServer *s)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, vfio_user_server_path(s), sizeof(addr.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==,
                    0);
    return fd;
}

static void test_socket_fd_number(void)
{
    g_autoptr(VFIOUserServer) s = vfio_user_server_new(NULL, NULL);
    int fd = connect_to(s);

    g_assert_cmpint(fcntl(fd, F_SETFD, 0), ==, 0);      /* inherited by QEMU */
    check_named("-device vfio-user-pci,addr=4,socket=fd:%d", fd);
    close(fd);
}

static void test_socket_fd_name(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     NULL);
    int fd = connect_to(rig->server);
    QDict *response = qtest_qmp_fds(rig->qts, &fd, 1, "{'execute': 'getfd',"
                                    "'arguments': {'fdname': 'server'}}");

    g_assert(qdict_haskey(response, "return"));
    qobject_unref(response);
    close(fd);
    qtest_qmp_device_add(rig->qts, "vfio-user-pci", "dut",
                         "{'addr': '4', 'socket': 'fd:server'}");
    qpci_unplug_acpi_device_test(rig->qts, "dut", 4);
}

/* No server: one line with the socket, the cause and the fix */

static void check_gives_up(const char *socket, const char *hint)
{
    g_autofree char *args =
        g_strdup_printf(VFIO_USER_RIG_RAM "-device vfio-user-pci,"
                        "x-timeout-ms=%u,socket=%s", TIMEOUT_MS, socket);
    g_autofree char *text = NULL;
    g_autofree char *start = g_strdup_printf("vfio-user %s: ", socket);

    g_assert_cmpint(vfio_user_rig_run(args, &text), ==, 1);
    g_assert_nonnull(strstr(text, start));
    g_assert_nonnull(strstr(text, hint));
    g_assert_cmpuint(vfio_user_rig_lines(text), ==, 1);
}

static void check_cannot_connect(const char *socket, const char *hint)
{
    g_autofree char *text = g_strdup_printf("%s: cannot connect: %s", socket,
                                            hint);

    check_gives_up(socket, text);
}

/* Creates a bound socket that listens if @backlog is 0 or more. */
static int make_socket(const char *path, int type, int backlog)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    if (backlog >= 0) {
        g_assert_cmpint(listen(fd, backlog), ==, 0);
    }
    return fd;
}

/* A directory and a path in it. */
typedef struct Place {
    char *dir;
    char *path;
} Place;

static void place_init(Place *place)
{
    place->dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    place->path = g_strdup_printf("%s/socket", place->dir);
}

static void place_clear(Place *place)
{
    g_remove(place->path);
    g_rmdir(place->dir);
    g_free(place->path);
    g_free(place->dir);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_clear)

static void test_nobody_missing(void)
{
    g_auto(Place) place = { };

    place_init(&place);
    check_cannot_connect(place.path, "the socket does not exist; start the"
                         " server first");
}

static void test_nobody_refusing(void)
{
    g_auto(Place) place = { };

    place_init(&place);
    close(make_socket(place.path, SOCK_STREAM, -1));
    check_cannot_connect(place.path, "no server listens on the socket; start"
                         " the server first");
}

static void test_nobody_plain_file(void)
{
    g_auto(Place) place = { };

    place_init(&place);
    g_assert_true(g_file_set_contents(place.path, "", 0, NULL));
    check_cannot_connect(place.path, "it is not a socket; name the socket of"
                         " a running server");
}

static void test_nobody_under_plain_file(void)
{
    g_auto(Place) place = { };
    g_autofree char *path = NULL;

    place_init(&place);
    path = g_strdup_printf("%s/cntrl", place.path);
    g_assert_true(g_file_set_contents(place.path, "", 0, NULL));
    check_cannot_connect(path, "the socket does not exist; start the server"
                         " first");
}

static void test_nobody_directory(void)
{
    g_auto(Place) place = { };

    place_init(&place);
    check_cannot_connect(place.dir, "it is a directory; name the socket in"
                         " it, which is 'cntrl' for SPDK");
}

static void test_nobody_datagrams(void)
{
    g_auto(Place) place = { };
    int fd;

    place_init(&place);
    fd = make_socket(place.path, SOCK_DGRAM, -1);
    check_cannot_connect(place.path, "it is not a stream socket; name the"
                         " socket of a vfio-user server");
    close(fd);
}

static void test_nobody_long_path(void)
{
    g_autofree char *path = g_strnfill(200, 'x');

    path[0] = '/';
    check_cannot_connect(path, "the path is too long for a socket; use a"
                         " shorter one");
}

/*
 * Runs in a separate thread, which permanently drops the capability that lets
 * root override permissions; its children do not regain it.
 */
static void *connect_without_override(void *path)
{
    if (prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) < 0 &&
        geteuid() == 0) {
        g_test_skip("cannot drop the privileges of root");
        return NULL;
    }
    check_cannot_connect(path, "permission denied; the socket must be"
                         " writable by the user that runs QEMU");
    return NULL;
}

static void test_nobody_permitted(void)
{
    g_auto(Place) place = { };
    int fd;

    place_init(&place);
    fd = make_socket(place.path, SOCK_STREAM, 1);
    g_assert_cmpint(chmod(place.path, 0400), ==, 0);
    g_thread_join(g_thread_new("unprivileged", connect_without_override,
                               place.path));
    close(fd);
}

/* A server that never accepts and whose backlog is full. */
static void test_nobody_accepting(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    g_auto(Place) place = { };
    int fd, waiting;

    place_init(&place);
    fd = make_socket(place.path, SOCK_STREAM, 0);
    waiting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(addr.sun_path, place.path, sizeof(addr.sun_path));
    g_assert_cmpint(connect(waiting, (struct sockaddr *)&addr, sizeof(addr)),
                    ==, 0);
    check_cannot_connect(place.path, "the server does not accept connections;"
                         " another client may be connected to it");
    close(waiting);
    close(fd);
}

static void test_nobody_accepting_abstract(void)
{
    g_autofree char *name = g_strdup_printf("vfio-user-test-%d", getpid());
    g_autofree char *device = abstract_socket(name);
    g_autofree char *args = g_strdup_printf(VFIO_USER_RIG_RAM "%s", device);
    g_autofree char *text = NULL;
    struct sockaddr_un addr;
    socklen_t size = sizeof(addr);
    int fd = listen_abstract(name, 0);
    int waiting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&addr, &size), ==, 0);
    g_assert_cmpint(connect(waiting, (struct sockaddr *)&addr, size), ==, 0);
    g_assert_cmpint(vfio_user_rig_run(args, &text), ==, 1);
    g_assert_nonnull(strstr(text, "the server does not accept connections"));
    close(waiting);
    close(fd);
}

/*
 * Creates a socket whose host drops connection requests, as it does when the
 * backlog is full.  Returns the socket.
 */
static int listen_dropping(int *waiting, unsigned *port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t size = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd pfd = { .events = POLLOUT };

    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, size), ==, 0);
    g_assert_cmpint(listen(fd, 0), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&addr, &size), ==, 0);
    *port = ntohs(addr.sin_port);
    *waiting = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pfd.fd = *waiting;
    g_assert_cmpint(connect(*waiting, (struct sockaddr *)&addr, size), ==, 0);
    g_assert_cmpint(poll(&pfd, 1, -1), ==, 1);
    return fd;
}

static void test_nobody_answering(void)
{
    g_autofree char *socket = NULL;
    unsigned port;
    int waiting, fd = listen_dropping(&waiting, &port);

    socket = g_strdup_printf("tcp:127.0.0.1:%u", port);
    check_cannot_connect(socket, "no answer within " stringify(TIMEOUT_MS)
                         " ms (x-timeout-ms)");
    close(waiting);
    close(fd);
}

/* The VM keeps running, and nothing leaks when the network gives up. */
static void test_nobody_answering_plug(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     NULL);
    g_autofree char *socket = NULL;
    QDict *response;
    unsigned port;
    int waiting, fd = listen_dropping(&waiting, &port);

    socket = g_strdup_printf("127.0.0.1:%u", port);
    response = qtest_qmp(rig->qts, "{'execute': 'device_add', 'arguments': {"
                         "'driver': 'vfio-user-pci', 'id': 'dut',"
                         "'x-timeout-ms': %u, 'socket': %s}}", TIMEOUT_MS,
                         socket);
    g_assert_nonnull(strstr(qdict_get_str(qdict_get_qdict(response, "error"),
                                          "desc"), "no answer within"));
    qobject_unref(response);
    vfio_user_rig_ping(rig);
    close(waiting);
    close(fd);
}

/* A server that serves one client at a time and already has one. */
static void test_nobody_free(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);

    check_gives_up(vfio_user_server_path(rig->server), "VERSION: no reply"
                   " within " stringify(TIMEOUT_MS) " ms (x-timeout-ms);"
                   " another client may be connected to the server");
}

static void test_nobody_without_socket(void)
{
    g_autofree char *text = NULL;

    g_assert_cmpint(vfio_user_rig_run(VFIO_USER_RIG_RAM
                                      "-device vfio-user-pci", &text), ==, 1);
    g_assert_nonnull(strstr(text, "'socket' is required, for example"
                            " socket=/run/device.sock\n"));
    g_assert_cmpuint(vfio_user_rig_lines(text), ==, 1);
}

static void test_nobody_empty(void)
{
    static const struct {
        const char *device, *text;
    } rows[] = {
        { "vfio-user-pci,socket=",
          "'socket' must not be empty, use for example"
          " socket=/run/device.sock\n" },
        { "'{\"driver\":\"vfio-user-pci\","
          "\"socket\":{\"type\":\"unix\",\"path\":\"\"}}'",
          "the path of 'socket' must not be empty, use for example"
          " /run/device.sock\n" },
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *text = NULL;
        g_autofree char *args =
            g_strdup_printf(VFIO_USER_RIG_RAM "-device %s", rows[i].device);

        g_assert_cmpint(vfio_user_rig_run(args, &text), ==, 1);
        g_assert_nonnull(strstr(text, rows[i].text));
        g_assert_cmpuint(vfio_user_rig_lines(text), ==, 1);
    }
}

/*
 * The socket as an object, as later versions of QEMU require, with device_add
 * and -device.
 */
static void test_object(void)
{
    g_autoptr(VFIOUserServer) one = vfio_user_server_new(NULL, NULL);
    g_autoptr(VFIOUserServer) two = vfio_user_server_new(NULL, NULL);
    QTestState *qts =
        qtest_initf(VFIO_USER_RIG_RAM "-device '{\"driver\":\"vfio-user-pci\","
                    "\"socket\":{\"type\":\"unix\",\"path\":\"%s\"}}'",
                    vfio_user_server_path(one));

    vfio_user_server_see(one, VFIO_USER_DEVICE_RESET);
    qtest_qmp_assert_success(qts, "{'execute': 'device_add',"
                             "'arguments': {'driver': 'vfio-user-pci',"
                             "'socket': {'type': 'unix', 'path': %s}}}",
                             vfio_user_server_path(two));
    vfio_user_server_see(two, VFIO_USER_DEVICE_RESET);
    qtest_quit(qts);
}

/* The name of the property in later versions of QEMU. */
static void test_other_timeout(void)
{
    g_autoptr(VFIOUserServer) s = vfio_user_server_new(NULL, NULL);
    QTestState *qts =
        qtest_initf(VFIO_USER_RIG_RAM "-device vfio-user-pci,id=dut,"
                    "x-msg-timeout=12345,socket=%s", vfio_user_server_path(s));
    QDict *response = qtest_qmp(qts, "{'execute': 'qom-get', 'arguments': {"
                                "'path': '/machine/peripheral/dut',"
                                "'property': 'x-timeout-ms'}}");

    g_assert_cmpint(qdict_get_int(response, "return"), ==, 12345);
    qobject_unref(response);
    qtest_quit(qts);
}

void vfio_user_add_socket_tests(void)
{
    qtest_add_func("/vfio-user/socket/path", test_socket_path);
    qtest_add_func("/vfio-user/socket/json", test_socket_json);
    qtest_add_func("/vfio-user/socket/unix", test_socket_unix);
    qtest_add_func("/vfio-user/socket/tcp", test_socket_tcp);
    qtest_add_func("/vfio-user/socket/abstract", test_socket_abstract);
    qtest_add_func("/vfio-user/socket/vsock", test_socket_vsock);
    qtest_add_func("/vfio-user/socket/fd-number", test_socket_fd_number);
    qtest_add_func("/vfio-user/socket/fd-name", test_socket_fd_name);
    qtest_add_func("/vfio-user/nobody/missing", test_nobody_missing);
    qtest_add_func("/vfio-user/nobody/refusing", test_nobody_refusing);
    qtest_add_func("/vfio-user/nobody/plain-file", test_nobody_plain_file);
    qtest_add_func("/vfio-user/nobody/under-plain-file",
                   test_nobody_under_plain_file);
    qtest_add_func("/vfio-user/nobody/directory", test_nobody_directory);
    qtest_add_func("/vfio-user/nobody/datagrams", test_nobody_datagrams);
    qtest_add_func("/vfio-user/nobody/long-path", test_nobody_long_path);
    qtest_add_func("/vfio-user/nobody/permitted", test_nobody_permitted);
    qtest_add_func("/vfio-user/nobody/accepting", test_nobody_accepting);
    qtest_add_func("/vfio-user/nobody/accepting-abstract",
                   test_nobody_accepting_abstract);
    qtest_add_func("/vfio-user/nobody/answering", test_nobody_answering);
    qtest_add_func("/vfio-user/nobody/answering-plug",
                   test_nobody_answering_plug);
    qtest_add_func("/vfio-user/nobody/free", test_nobody_free);
    qtest_add_func("/vfio-user/nobody/without-socket",
                   test_nobody_without_socket);
    qtest_add_func("/vfio-user/nobody/empty", test_nobody_empty);
    qtest_add_func("/vfio-user/socket/object", test_object);
    qtest_add_func("/vfio-user/socket/other-timeout", test_other_timeout);
}
