/*
 * qtest of the vfio-user client: sockets
 *
 * Every way to name a server's socket, and sockets with nobody behind them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>
#include <glib/gstdio.h>

#include "hw/pci/pci.h"
#include "qapi/qmp/qdict.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

/* How it is named */

static void check_device(const char *args)
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
    check_device(args);
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
 * A socket that passes no descriptors.  Without them there are no eventfds,
 * and a device without interrupts can do without those.
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

/* Whether a host can talk to itself over vsock. */
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

    g_assert_cmpint(fcntl(fd, F_SETFD, 0), ==, 0);      /* to be inherited */
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

/* Nobody there */

static void check_gives_up(const char *socket)
{
    g_autofree char *args = g_strdup_printf(VFIO_USER_RIG_RAM
                                            "-device vfio-user-pci,socket=%s",
                                            socket);
    g_autofree char *text = NULL;
    g_autofree char *name = g_strdup_printf("vfio-user %s: ", socket);

    g_assert_cmpint(vfio_user_rig_run(args, &text), ==, 1);
    g_assert_nonnull(strstr(text, name));
    g_assert_cmpuint(vfio_user_rig_lines(text), ==, 1);
    /* what to try */
    g_assert_nonnull(strstr(text, "?"));
}

static void test_nobody_missing(void)
{
    g_autofree char *dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    g_autofree char *path = g_strdup_printf("%s/missing", dir);

    check_gives_up(path);
    g_rmdir(dir);
}

static void test_nobody_refusing(void)
{
    g_autofree char *dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/refusing", dir);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    close(fd);
    check_gives_up(addr.sun_path);
    g_unlink(addr.sun_path);
    g_rmdir(dir);
}

static void test_nobody_plain_file(void)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("vfio-user-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    check_gives_up(path);
    g_unlink(path);
}

static void test_nobody_without_socket(void)
{
    g_autofree char *text = NULL;

    g_assert_cmpint(vfio_user_rig_run(VFIO_USER_RIG_RAM
                                      "-device vfio-user-pci", &text), ==, 1);
    g_assert_nonnull(strstr(text, "socket="));
    g_assert_cmpuint(vfio_user_rig_lines(text), ==, 1);
}

void vfio_user_add_socket_tests(void)
{
    qtest_add_func("/vfio-user/socket/path", test_socket_path);
    qtest_add_func("/vfio-user/socket/json", test_socket_json);
    qtest_add_func("/vfio-user/socket/unix", test_socket_unix);
    qtest_add_func("/vfio-user/socket/tcp", test_socket_tcp);
    qtest_add_func("/vfio-user/socket/vsock", test_socket_vsock);
    qtest_add_func("/vfio-user/socket/fd-number", test_socket_fd_number);
    qtest_add_func("/vfio-user/socket/fd-name", test_socket_fd_name);
    qtest_add_func("/vfio-user/nobody/missing", test_nobody_missing);
    qtest_add_func("/vfio-user/nobody/refusing", test_nobody_refusing);
    qtest_add_func("/vfio-user/nobody/plain-file", test_nobody_plain_file);
    qtest_add_func("/vfio-user/nobody/without-socket",
                   test_nobody_without_socket);
}
