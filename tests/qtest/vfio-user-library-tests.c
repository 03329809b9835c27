/*
 * qtest of the vfio-user client: servers on libvfio-user
 *
 * A device built on libvfio-user migrates: its memory (mapped and by message),
 * its registers and its armed timer arrive.  Its option ROM is visible.  The
 * library's sample device without DMA follows changes of the memory layout.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/prctl.h>

#include "hw/pci/pci.h"
#include "libqos/pci-pc.h"
#include "qobject/qdict.h"
#include "vfio-user-server.h"
#include "vfio-user-tests.h"
#ifdef HAVE_VFIO_USER_TIMER_SERVER
#include "vfio-user-timer-server.h"

#define MEMORY_SIZE 0x3000
#define EXPIRES_IN_MS 1500

#define ARGS "-machine pc,memory-backend=ram -nodefaults -m 64 " \
    "-object memory-backend-memfd,id=ram,size=64M,share=on "     \
    "-device vfio-user-pci,id=dut,addr=4,socket=%s/%s %s"

/* Path of the library's samples, relative to the test server. */
#define SAMPLES "../../subprojects/libvfio-user/samples"
#define PAM0 0x59

typedef struct Side {
    QTestState *qts;
    GPid server;
    int input;                  /* stdin of the server */
    QPCIBus *bus;
    QPCIDevice *dev;
} Side;

static void die_with_parent(void *opaque)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

/* Returns when the socket of the server exists. */
static void start_server(Side *side, const char *program, char *path)
{
    char *argv[] = { (char *)program, path, NULL };
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    GError *err = NULL;

    g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD |
                             G_SPAWN_STDOUT_TO_DEV_NULL, die_with_parent,
                             NULL, &side->server, &side->input, NULL, NULL,
                             &err);
    g_assert_no_error(err);
    while (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_thread_yield();
    }
}

static void library_start_vm(Side *side, const char *program, const char *dir,
                             const char *name, const char *more)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    start_server(side, program, path);
    side->qts = qtest_initf(ARGS, dir, name, more);
    side->bus = qpci_new_pc(side->qts, NULL);
    side->dev = qpci_device_find(side->bus, QPCI_DEVFN(4, 0));
    g_assert_nonnull(side->dev);
}

static void start_timer_vm(Side *side, const char *dir, const char *name,
                           const char *more)
{
    library_start_vm(side, VFIO_USER_TIMER_SERVER, dir, name, more);
}

static void end_vm(Side *side)
{
    g_free(side->dev);
    qpci_free_pc(side->bus);
    qtest_quit(side->qts);
    close(side->input);
}

static void end_side(Side *side, const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    int status;

    end_vm(side);
    /* the server exits when its client disconnects */
    g_assert_cmpint(waitpid(side->server, &status, 0), ==, side->server);
    g_assert_cmpint(status, ==, 0);
    g_unlink(path);
}

static void migrate_side(Side *from, Side *to, const char *uri)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    bool done = false;

    qtest_qmp_assert_success(from->qts, "{'execute': 'migrate', 'arguments':"
                             " {'uri': %s}}", uri);
    while (!done) {
        QDict *response = qtest_qmp(from->qts,
                                    "{'execute': 'query-migrate'}");
        const char *status = qdict_get_try_str(
            qdict_get_qdict(response, "return"), "status");

        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_assert_cmpstr(status, !=, "failed");
        done = !g_strcmp0(status, "completed");
        qobject_unref(response);
    }
    qtest_qmp_eventwait(to->qts, "RESUME");
}

static uint32_t pattern(unsigned i)
{
    return 0x9e3779b1u * (i + 1);
}

static void test_timer(void)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    g_autofree char *dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s/migration", dir);
    g_autofree char *incoming = g_strdup_printf("-incoming %s", uri);
    Side from = { }, to = { };
    uint64_t expires;
    QPCIBar bar[2];

    start_timer_vm(&from, dir, "from", "");
    start_timer_vm(&to, dir, "to", incoming);
    for (unsigned i = 0; i < 2; i++) {
        bar[i] = qpci_iomap(from.dev, i, NULL);
    }
    qpci_device_enable(from.dev);
    for (unsigned i = 0; i < MEMORY_SIZE / 4; i++) {
        qpci_io_writel(from.dev, bar[1], 4 * i, pattern(i));
    }
    expires = g_get_real_time() / 1000 + EXPIRES_IN_MS;
    qpci_io_writeq(from.dev, bar[0], 0, expires);
    g_assert_cmpuint(qpci_io_readq(from.dev, bar[0], 8), ==, 0);

    migrate_side(&from, &to, uri);
    for (unsigned i = 0; i < MEMORY_SIZE / 4; i++) {
        g_assert_cmphex(qpci_io_readl(to.dev, bar[1], 4 * i), ==, pattern(i));
    }
    while (!qpci_io_readq(to.dev, bar[0], 8)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
    g_assert_cmpuint(g_get_real_time() / 1000, >=, expires);
    g_assert_cmpuint(qpci_io_readq(to.dev, bar[0], 8), ==, 1);
    g_assert_cmpuint(qpci_io_readq(to.dev, bar[0], 0), ==, 0);

    /* the timer is stopped at the source */
    g_assert_cmpuint(qpci_io_readq(from.dev, bar[0], 8), ==, 0);
    g_assert_cmpuint(qpci_io_readq(from.dev, bar[0], 0), ==, expires);

    end_side(&from, dir, "from");
    end_side(&to, dir, "to");
    g_unlink(uri + strlen("unix:"));
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

/* Returns the migration status; @passes receives the dirty sync count. */
static char *get_status(Side *side, int64_t *passes)
{
    QDict *response = qtest_qmp(side->qts, "{'execute': 'query-migrate'}");
    QDict *info = qdict_get_qdict(response, "return");
    QDict *ram = qdict_get_qdict(info, "ram");
    char *status = g_strdup(qdict_get_try_str(info, "status"));

    *passes = ram ? qdict_get_int(ram, "dirty-sync-count") : 0;
    qobject_unref(response);
    return status;
}

/* libvfio-user returns bitmaps only for whole maps, at most 1 MiB. */
static void test_dirty_size(void)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    g_autofree char *dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    g_autofree char *errors = g_build_filename(dir, "errors", NULL);
    g_autofree char *more =
        g_strdup_printf("-m 64G -machine memory-backend=big -object"
                        " memory-backend-memfd,id=big,size=64G,share=on 2>%s",
                        errors);
    g_autofree char *status = NULL;
    g_autofree char *said = NULL;
    Side side = { };
    int64_t passes;

    start_timer_vm(&side, dir, "from", more);
    qtest_qmp_assert_success(side.qts, "{'execute': 'migrate-set-parameters',"
                             " 'arguments': {'max-bandwidth': 4096,"
                             " 'downtime-limit': 0}}");
    qtest_qmp_assert_success(side.qts, "{'execute': 'migrate', 'arguments':"
                             " {'uri': 'exec:cat >/dev/null'}}");
    do {
        g_free(status);
        status = get_status(&side, &passes);
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    } while (!passes);
    qtest_qmp_assert_success(side.qts, "{'execute': 'migrate_cancel'}");
    while (g_strcmp0(status, "cancelled")) {
        g_free(status);
        status = get_status(&side, &passes);
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
    g_assert_true(g_file_get_contents(errors, &said, NULL, NULL));
    g_test_message("%s", said);
    g_assert_null(strstr(said, "does not track"));
    end_side(&side, dir, "from");
    g_unlink(errors);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

#define ROM_AT 0xd0000000
#define ROM_SIZE 2048

/* libvfio-user's ROM BAR is read-only; QEMU uses the size of the region. */
static void test_rom(void)
{
    g_autofree char *dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    g_autofree char *errors = g_build_filename(dir, "errors", NULL);
    g_autofree char *more = g_strdup_printf("2>%s", errors);
    g_autofree char *said = NULL;
    Side side = { };

    start_timer_vm(&side, dir, "from", more);
    qpci_device_enable(side.dev);
    qpci_config_writel(side.dev, PCI_ROM_ADDRESS, 0xfffffffe);
    g_assert_cmphex(qpci_config_readl(side.dev, PCI_ROM_ADDRESS), ==,
                    (uint32_t)-ROM_SIZE);
    qpci_config_writel(side.dev, PCI_ROM_ADDRESS,
                       ROM_AT | PCI_ROM_ADDRESS_ENABLE);
    g_assert_cmphex(qtest_readl(side.qts, ROM_AT + 0x104), ==, 0x07060504);
    end_side(&side, dir, "from");
    g_assert_true(g_file_get_contents(errors, &said, NULL, NULL));
    g_assert_cmpstr(said, ==, "");
    g_unlink(errors);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

/*
 * A device without vfu_setup_device_dma(): libvfio-user accepts maps and
 * answers unmaps with only a header.  The test makes the chipset switch
 * between ROM and RAM, as firmware does.
 */
static void test_no_dma(void)
{
    g_autofree char *build = g_path_get_dirname(VFIO_USER_TIMER_SERVER);
    g_autofree char *sample = g_build_filename(build, SAMPLES, "null", NULL);
    g_autofree char *dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "null", NULL);
    g_autofree char *errors = g_build_filename(dir, "errors", NULL);
    g_autofree char *more = g_strdup_printf("2>%s", errors);
    g_autofree char *said = NULL;
    QPCIDevice *host;
    Side side = { };

    library_start_vm(&side, sample, dir, "null", more);
    host = qpci_device_find(side.bus, QPCI_DEVFN(0, 0));
    for (unsigned i = 0; i < 4; i++) {
        qpci_config_writeb(host, PAM0, i % 2 ? 0 : 0x30);
    }
    g_assert_cmphex(qpci_config_readl(side.dev, PCI_VENDOR_ID), !=,
                    UINT32_MAX);
    g_free(host);
    end_vm(&side);
    g_assert_true(g_file_get_contents(errors, &said, NULL, NULL));
    g_test_message("%s", said);
    g_assert_null(strstr(said, "connection lost"));

    /* the sample waits for user input */
    kill(side.server, SIGKILL);
    g_assert_cmpint(waitpid(side.server, NULL, 0), ==, side.server);
    g_unlink(path);
    g_unlink(errors);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

void vfio_user_add_library_tests(void)
{
    qtest_add_func("/vfio-user/library/no-dma", test_no_dma);
    qtest_add_func("/vfio-user/library/rom", test_rom);
    qtest_add_func("/vfio-user/library/dirty-size", test_dirty_size);
    qtest_add_func("/vfio-user/library/timer", test_timer);
}

#else

void vfio_user_add_library_tests(void)
{
}

#endif
