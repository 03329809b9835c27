/*
 * Test rig for migration between VMs with vfio-user devices
 *
 * Test thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/syscall.h>
#include <glib/gstdio.h>

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "vfio-user-migration-rig.h"

#define SLOT 4
#define LONG_MS 20000
#define WORDS 64                /* words of BAR 0 that the guest fills */

/* about 20 reads of 4 KiB, so that each phase has several */
#define SMALL_TRANSFER 4096
#define VERSION "{\"capabilities\":{\"max_msg_fds\":8," \
                "\"max_data_xfer_size\":" stringify(SMALL_TRANSFER) "," \
                "\"pgsizes\":4096,\"max_dma_maps\":65535}}"

static VFIOUserModel stop_copy, pre_copy, region;
static VFIOUserModel stop_copy_2026, pre_copy_2026, region_2022;
static VFIOUserModel small_2026;
static VFIOUserPersonality small;

/* For the libvfio-user models: more than fits into a socket buffer. */
#define LARGE_FILLING 1500001
#define LARGE_PRE_COPY 1200000

#define REGION_STATE (64 * KiB) /* of BAR 2 */
#define REGION_CHUNK (REGION_STATE / (VFIO_USER_MIG_REGION_PIECES - 1))
static const VFIOUserModelMigration1 chunks = { REGION_CHUNK, 4 * KiB };

static void __attribute__((constructor)) make_models(void)
{
    stop_copy = vfio_user_model;
    stop_copy.version = VERSION;
    stop_copy.migration = (VFIOUserMigrationModel) {
        .flags = VFIO_USER_MODEL_STOP_COPY,
        .filling = 13001,
    };
    pre_copy = stop_copy;
    pre_copy.migration.flags |= VFIO_USER_MODEL_PRE_COPY;
    pre_copy.migration.pre_copy = 10000;
    region = vfio_user_model_migration1(&chunks);
}

/* Runs after make_models(), because constructors run in source order. */
static void __attribute__((constructor)) make_libvfio_user_models(void)
{
    region_2022 = region;
    region_2022.personality = vfio_user_personality("libvfio-user-2022");
    pre_copy_2026 = pre_copy;
    pre_copy_2026.personality = vfio_user_personality("libvfio-user-2026");
    pre_copy_2026.migration.filling = LARGE_FILLING;
    pre_copy_2026.migration.pre_copy = LARGE_PRE_COPY;
    stop_copy_2026 = pre_copy_2026;
    stop_copy_2026.migration.flags = VFIO_USER_MODEL_STOP_COPY;
    small = *pre_copy_2026.personality;
    small.version = NULL;
    small_2026 = stop_copy;
    small_2026.personality = &small;
}

const VFIOUserModel *const vfio_user_mig_stop_copy = &stop_copy;
const VFIOUserModel *const vfio_user_mig_pre_copy = &pre_copy;
const VFIOUserModel *const vfio_user_mig_region = &region;
const VFIOUserModel *const vfio_user_mig_stop_copy_2026 = &stop_copy_2026;
const VFIOUserModel *const vfio_user_mig_pre_copy_2026 = &pre_copy_2026;
const VFIOUserModel *const vfio_user_mig_small_2026 = &small_2026;
const VFIOUserModel *const vfio_user_mig_region_2022 = &region_2022;

const VFIOUserModel *vfio_user_mig_model_of(const void *opaque)
{
    const VFIOUserModel *const *model = opaque;

    return *model;
}

uint64_t vfio_user_mig_state_size(const VFIOUserModel *model)
{
    return model->migration1 ? REGION_STATE :
                               8 + model->migration.filling + 68 * KiB;
}

uint32_t vfio_user_mig_most_read(const VFIOUserModel *model)
{
    return model->personality ? model->personality->most_read :
                                SMALL_TRANSFER;
}

/* Starts QEMU with the existing servers. */
static void vm_start(VFIOUserMigVM *vm, unsigned timeout_ms, const char *ram,
                     const char *args)
{
    g_autoptr(GString) line = g_string_new(ram);
    unsigned i;

    vm->dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    vm->log = g_build_filename(vm->dir, "log", NULL);
    for (i = 0; i < vm->devices; i++) {
        g_string_append_printf(line, "-device vfio-user-pci,id=dut%u,addr=%u,"
                               "socket=%s,x-timeout-ms=%u ", i, SLOT + i,
                               vfio_user_server_path(vm->server[i]),
                               timeout_ms ?: LONG_MS);
    }
    vm->qts = qtest_initf("%s %s 2>%s", line->str, args, vm->log);
}

static VFIOUserMigVM *vm_new(const VFIOUserModel *const *models,
                             unsigned devices, const VFIOUserRule *rules,
                             unsigned timeout_ms, const char *ram,
                             const char *args)
{
    VFIOUserMigVM *vm = g_new0(VFIOUserMigVM, 1);
    unsigned i;

    vm->devices = devices;
    for (i = 0; i < devices; i++) {
        vm->server[i] = vfio_user_server_new(models[i], i ? NULL : rules);
        vm->bar_nr[i] = models[i]->migration1 ? 2 : 0;
    }
    vm_start(vm, timeout_ms, ram, args);
    return vm;
}

VFIOUserMigVM *vfio_user_mig_vm_new(const VFIOUserModel *const *models,
                                    unsigned devices,
                                    const VFIOUserRule *rules,
                                    unsigned timeout_ms)
{
    return vm_new(models, devices, rules, timeout_ms, VFIO_USER_RIG_RAM,
                  "-incoming defer");
}

/* Enables the devices, as firmware would. */
static VFIOUserMigVM *vm_enable(VFIOUserMigVM *vm)
{
    QPCIBus *bus = qpci_new_pc(vm->qts, NULL);
    unsigned i;

    for (i = 0; i < vm->devices; i++) {
        QPCIDevice *dev = qpci_device_find(bus, QPCI_DEVFN(SLOT + i, 0));

        g_assert_nonnull(dev);
        vm->bar[i] = qpci_iomap(dev, vm->bar_nr[i], NULL).addr;
        qpci_device_enable(dev);
        g_free(dev);
    }
    qpci_free_pc(bus);
    return vm;
}

VFIOUserMigVM *vfio_user_mig_vm_run(const VFIOUserModel *const *models,
                                    unsigned devices, unsigned timeout_ms)
{
    return vm_enable(vm_new(models, devices, NULL, timeout_ms,
                            VFIO_USER_RIG_RAM, ""));
}

VFIOUserMigVM *vfio_user_mig_vm_run_faulty(const VFIOUserModel *model,
                                           const VFIOUserRule *rules,
                                           unsigned timeout_ms)
{
    return vm_enable(vm_new(&model, 1, rules, timeout_ms, VFIO_USER_RIG_RAM,
                            ""));
}

VFIOUserMigVM *vfio_user_mig_vm_new_with(const VFIOUserModel *model,
                                         const char *ram)
{
    return vm_new(&model, 1, NULL, 0, ram, "-incoming defer");
}

VFIOUserMigVM *vfio_user_mig_vm_run_with(const VFIOUserModel *model,
                                         const char *ram)
{
    return vm_enable(vm_new(&model, 1, NULL, 0, ram, ""));
}

VFIOUserMigVM *vfio_user_mig_vm_new_shared(const VFIOUserModel *model)
{
    return vfio_user_mig_vm_new_with(model, VFIO_USER_RIG_SHARED);
}

VFIOUserMigVM *vfio_user_mig_vm_run_shared(const VFIOUserModel *model)
{
    return vfio_user_mig_vm_run_with(model, VFIO_USER_RIG_SHARED);
}

VFIOUserMigVM *vfio_user_mig_vm_run_impatient(const VFIOUserModel *model,
                                              unsigned timeout_ms)
{
    return vm_enable(vm_new(&model, 1, NULL, timeout_ms, VFIO_USER_RIG_SHARED,
                            ""));
}

VFIOUserMigVM *vfio_user_mig_vm_new_beside(const VFIOUserModel *model,
                                           const char *others)
{
    g_autofree char *args = g_strdup_printf("%s -incoming defer", others);

    return vm_new(&model, 1, NULL, 0, VFIO_USER_RIG_RAM, args);
}

VFIOUserMigVM *vfio_user_mig_vm_run_beside(const VFIOUserModel *model,
                                           const char *others)
{
    return vm_enable(vm_new(&model, 1, NULL, 0, VFIO_USER_RIG_RAM, others));
}

void vfio_user_mig_vm_quit(VFIOUserMigVM *vm)
{
    unsigned i;

    qtest_quit(vm->qts);
    vm->qts = NULL;
    for (i = 0; i < vm->devices; i++) {
        vfio_user_server_wait_client(vm->server[i], false);
    }
}

VFIOUserMigVM *vfio_user_mig_vm_take_over(VFIOUserMigVM *vm)
{
    VFIOUserMigVM *next = g_new0(VFIOUserMigVM, 1);

    next->devices = vm->devices;
    memcpy(next->server, vm->server, sizeof(next->server));
    vm->devices = 0;
    vm_start(next, 0, VFIO_USER_RIG_RAM, "-incoming defer");
    return next;
}

static void mig_remove_files(VFIOUserMigVM *vm)
{
    static const char *const names[] = { "log", "socket", "file" };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *path = g_build_filename(vm->dir, names[i], NULL);

        g_unlink(path);
    }
    g_rmdir(vm->dir);
}

void vfio_user_mig_vm_free(VFIOUserMigVM *vm)
{
    g_autofree char *said = NULL;
    unsigned i;

    if (vm->qts) {
        qtest_quit(vm->qts);
    }
    for (i = 0; i < vm->devices; i++) {
        vfio_user_server_free(vm->server[i]);
    }
    said = vfio_user_mig_said(vm);
    g_test_message("%s", said);
    mig_remove_files(vm);
    g_free(vm->log);
    g_free(vm->dir);
    g_free(vm);
}

/* The guest */

static uint32_t word_of(uint32_t seed, unsigned device, unsigned i)
{
    return (seed + device * WORDS + i) * 2654435761u;
}

void vfio_user_mig_vm_fill(VFIOUserMigVM *vm, uint32_t seed)
{
    unsigned d, i;

    for (d = 0; d < vm->devices; d++) {
        for (i = 0; i < WORDS; i++) {
            qtest_writel(vm->qts, vm->bar[d] + 4 * i, word_of(seed, d, i));
        }
    }
}

void vfio_user_mig_vm_check_device(VFIOUserMigVM *vm, unsigned device,
                                   uint32_t seed)
{
    unsigned i;

    for (i = 0; i < WORDS; i++) {
        g_assert_cmphex(qtest_readl(vm->qts, vm->bar[device] + 4 * i), ==,
                        word_of(seed, device, i));
    }
}

void vfio_user_mig_vm_check(VFIOUserMigVM *vm, uint32_t seed)
{
    unsigned d;

    for (d = 0; d < vm->devices; d++) {
        vfio_user_mig_vm_check_device(vm, d, seed);
    }
}

VFIOUserMigVM *vfio_user_mig_source(const VFIOUserModel *model, uint32_t seed)
{
    VFIOUserMigVM *vm = vfio_user_mig_vm_run(&model, 1, 0);

    vfio_user_mig_vm_fill(vm, seed);
    vfio_user_server_forget(vm->server[0]);
    return vm;
}

VFIOUserMigVM *vfio_user_mig_destination(const VFIOUserModel *model)
{
    return vfio_user_mig_vm_new(&model, 1, NULL, 0);
}

/* The monitor */

void vfio_user_mig_downtime(VFIOUserMigVM *vm, unsigned ms)
{
    qtest_qmp_assert_success(vm->qts, "{'execute': 'migrate-set-parameters',"
                             "'arguments': { 'downtime-limit': %u } }", ms);
}

char *vfio_user_mig_uri(VFIOUserMigVM *vm)
{
    return g_strdup_printf("unix:%s/socket", vm->dir);
}

bool vfio_user_mig_try_capability(VFIOUserMigVM *vm, const char *name,
                                  bool on)
{
    QDict *response = qtest_qmp(vm->qts,
                                "{'execute': 'migrate-set-capabilities',"
                                "'arguments': { 'capabilities': ["
                                "{ 'capability': %s, 'state': %i } ] } }",
                                name, on);
    bool done = qdict_haskey(response, "return");

    qobject_unref(response);
    return done;
}

void vfio_user_mig_capability(VFIOUserMigVM *vm, const char *name)
{
    g_assert_true(vfio_user_mig_try_capability(vm, name, true));
}

void vfio_user_mig_set(VFIOUserMigVM *vm, const char *name, int64_t value)
{
    QDict *args = qdict_new();
    QDict *response;

    qdict_put_int(args, name, value);
    response = qtest_qmp(vm->qts, "{'execute': 'migrate-set-parameters',"
                         "'arguments': %p }", args);
    g_assert(qdict_haskey(response, "return"));
    qobject_unref(response);
}

void vfio_user_mig_listen(VFIOUserMigVM *vm, const char *uri)
{
    qtest_qmp_assert_success(vm->qts, "{'execute': 'migrate-incoming',"
                             "'arguments': { 'uri': %s } }", uri);
}

void vfio_user_mig_listen_and_stay(VFIOUserMigVM *vm, const char *uri)
{
    qtest_qmp_assert_success(vm->qts, "{'execute': 'migrate-incoming',"
                             "'arguments': { 'uri': %s,"
                             "'exit-on-error': false } }", uri);
}

void vfio_user_mig_start(VFIOUserMigVM *vm, const char *uri)
{
    qtest_qmp_assert_success(vm->qts, "{'execute': 'migrate',"
                             "'arguments': { 'uri': %s } }", uri);
}

void vfio_user_mig_start_when_allowed(VFIOUserMigVM *vm)
{
    gint64 end = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    bool refused = true;

    while (refused) {
        QDict *response = qtest_qmp(vm->qts, "{'execute': 'migrate',"
                                    "'arguments': {"
                                    "'uri': 'exec:cat > /dev/null' } }");

        refused = qdict_haskey(response, "error");
        qobject_unref(response);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

void vfio_user_mig_refused_to(VFIOUserMigVM *vm, const char *uri,
                              const char *why)
{
    QDict *response = qtest_qmp(vm->qts, "{'execute': 'migrate',"
                                "'arguments': { 'uri': %s } }", uri);
    const char *text = qdict_get_str(qdict_get_qdict(response, "error"),
                                     "desc");

    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, vfio_user_server_path(vm->server[0])));
    g_assert_nonnull(strstr(text, why));
    qobject_unref(response);
}

void vfio_user_mig_refused(VFIOUserMigVM *vm, const char *why)
{
    vfio_user_mig_refused_to(vm, "unix:/nowhere", why);
}

void vfio_user_mig_cancel(VFIOUserMigVM *vm)
{
    qtest_qmp_assert_success(vm->qts, "{'execute': 'migrate_cancel'}");
}

void vfio_user_mig_give(VFIOUserMigVM *vm, int fd)
{
    QDict *response = qtest_qmp_fds(vm->qts, &fd, 1, "{'execute': 'getfd',"
                                    "'arguments': { 'fdname': 'given' } }");

    g_assert(qdict_haskey(response, "return"));
    qobject_unref(response);
    close(fd);
}

static QDict *mig_query(VFIOUserMigVM *vm, const char *what)
{
    QDict *response = qtest_qmp(vm->qts, "{'execute': %s}", what);
    QDict *answer;

    g_assert(qdict_haskey(response, "return"));
    answer = qdict_get_qdict(response, "return");
    qobject_ref(answer);
    qobject_unref(response);
    return answer;
}

/* Returns whether the status is @status; @is receives the current one. */
static bool has_status(VFIOUserMigVM *vm, const char *what, const char *status,
                       char **is)
{
    QDict *answer = mig_query(vm, what);

    g_free(*is);
    *is = g_strdup(qdict_get_try_str(answer, "status"));
    if (qdict_haskey(answer, "error-desc")) {
        g_test_message("%s", qdict_get_str(answer, "error-desc"));
    }
    qobject_unref(answer);
    return !g_strcmp0(*is, status);
}

static void wait_status(VFIOUserMigVM *vm, const char *what,
                        const char *status)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    g_autofree char *is = NULL;

    while (!has_status(vm, what, status, &is)) {
        /* these are final */
        if (!strcmp(what, "query-migrate") &&
            (!g_strcmp0(is, "failed") || !g_strcmp0(is, "cancelled") ||
             !g_strcmp0(is, "completed"))) {
            g_assert_cmpstr(is, ==, status);
        }
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
}

void vfio_user_mig_wait(VFIOUserMigVM *vm, const char *status)
{
    wait_status(vm, "query-migrate", status);
}

void vfio_user_mig_wait_time(VFIOUserMigVM *vm, int64_t ms)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    int64_t took;

    do {
        QDict *answer = mig_query(vm, "query-migrate");

        took = qdict_get_try_int(answer, "total-time", 0);
        qobject_unref(answer);
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    } while (took < ms);
}

void vfio_user_mig_wait_running(VFIOUserMigVM *vm)
{
    wait_status(vm, "query-status", "running");
}

void vfio_user_mig_move(VFIOUserMigVM *from, VFIOUserMigVM *to)
{
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_arrive(from, to);
}

void vfio_user_mig_arrive(VFIOUserMigVM *from, VFIOUserMigVM *to)
{
    memcpy(to->bar, from->bar, sizeof(to->bar));
    vfio_user_mig_wait(from, "completed");
    vfio_user_mig_wait_running(to);
}

char *vfio_user_mig_address(VFIOUserMigVM *vm)
{
    QDict *answer = mig_query(vm, "query-migrate");
    QList *addresses = qdict_get_qlist(answer, "socket-address");
    const QListEntry *entry = qlist_first(addresses);
    QDict *address = qobject_to(QDict, qlist_entry_obj(entry));
    char *uri = g_strdup_printf("tcp:%s:%s", qdict_get_str(address, "host"),
                                qdict_get_str(address, "port"));

    qobject_unref(answer);
    return uri;
}

int64_t vfio_user_mig_bytes(VFIOUserMigVM *vm)
{
    QDict *answer = mig_query(vm, "query-migrate");
    QDict *vfio = qdict_get_qdict(answer, "vfio");
    int64_t bytes = vfio ? qdict_get_int(vfio, "transferred") : -1;

    qobject_unref(answer);
    return bytes;
}

char *vfio_user_mig_said(VFIOUserMigVM *vm)
{
    char *text = NULL;

    g_assert_true(g_file_get_contents(vm->log, &text, NULL, NULL));
    return text;
}

char *vfio_user_mig_reason(VFIOUserMigVM *vm)
{
    QDict *answer = mig_query(vm, "query-migrate");
    char *text = g_strdup(qdict_get_try_str(answer, "error-desc"));

    qobject_unref(answer);
    return text;
}

char *vfio_user_mig_why(VFIOUserMigVM *vm)
{
    g_autofree char *said = vfio_user_mig_said(vm);
    g_autofree char *desc = vfio_user_mig_reason(vm);

    return g_strconcat(said, desc, NULL);
}

void vfio_user_mig_check_why(VFIOUserMigVM *vm, const char *what,
                             unsigned device)
{
    g_autofree char *said = vfio_user_mig_said(vm);
    g_autofree char *desc = vfio_user_mig_reason(vm);
    g_autofree char *failed =
        g_strdup_printf("vfio-user %s (device dut%u): %s the device failed",
                        vfio_user_server_path(vm->server[device]), device,
                        what);
    const char *first = strstr(said, failed);

    g_assert_nonnull(desc);
    if (!g_str_has_prefix(desc, failed) || !g_strrstr(desc, ": ") ||
        (first && strstr(first + 1, failed))) {
        g_test_message("query-migrate says \"%s\", QEMU \"%s\"", desc, said);
        g_test_fail();
    }
}

char *vfio_user_mig_ended(VFIOUserMigVM *vm)
{
    pid_t pid = vfio_user_server_client(vm->server[0]);
    struct pollfd pfd = {
        .fd = syscall(SYS_pidfd_open, pid, 0),
        .events = POLLIN,
    };

    g_assert_cmpint(pfd.fd, >=, 0);
    g_assert_cmpint(poll(&pfd, 1, VFIO_USER_SERVER_DEADLINE / 1000), ==, 1);
    close(pfd.fd);
    qtest_set_expected_status(vm->qts, EXIT_FAILURE);
    g_assert_false(qtest_probe_child(vm->qts));
    qtest_quit(vm->qts);
    vm->qts = NULL;
    return vfio_user_mig_said(vm);
}
