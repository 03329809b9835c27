/*
 * qtest of the vfio-user client: migration modes
 *
 * Modes that QEMU has but a vfio-user device does not support are refused, and
 * the VM keeps running with the device.  Postcopy is only refused if the
 * server shares the VM's memory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 161

/* Modes that keep devices in place (CPR) */

/* Returns false if this QEMU does not have the mode. */
static bool set_mode(VFIOUserMigVM *vm, const char *mode)
{
    QDict *response = qtest_qmp(vm->qts, "{'execute': 'migrate-set-parameters',"
                                "'arguments': { 'mode': %s } }", mode);
    bool there = qdict_haskey(response, "return");

    if (!there) {
        const char *text = qdict_get_str(qdict_get_qdict(response, "error"),
                                         "desc");

        g_assert_nonnull(strstr(text, "does not accept value"));
    }
    qobject_unref(response);
    return there;
}

/* A migration with everything that any mode requires is refused. */
static void refuse(VFIOUserMigVM *vm, const char *mode)
{
    bool transfer = g_str_equal(mode, "cpr-transfer");
    QDict *response;

    response = qtest_qmp(vm->qts, transfer ?
        "{'execute': 'migrate', 'arguments': { 'channels': ["
        "{'channel-type': 'main', 'addr': {"
        "'transport': 'socket', 'type': 'unix', 'path': '/nowhere'}},"
        "{'channel-type': 'cpr', 'addr': {"
        "'transport': 'socket', 'type': 'unix', 'path': '/nowhere'}}]}}" :
        "{'execute': 'migrate', 'arguments': {'uri': 'file:/dev/null'}}");
    g_assert_true(qdict_haskey(response, "error"));
    qobject_unref(response);
}

/* Whether @why is one of the blocked reasons, for this device. */
static bool is_reason(VFIOUserMigVM *vm, const char *why)
{
    QDict *response = qtest_qmp(vm->qts, "{'execute': 'query-migrate'}");
    QDict *info = qdict_get_qdict(response, "return");
    const QListEntry *entry;
    bool found = false;

    g_assert_true(qdict_haskey(info, "blocked-reasons"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "blocked-reasons"), entry) {
        QString *reason = qobject_to(QString, qlist_entry_obj(entry));
        const char *text = qstring_get_str(reason);

        found |= strstr(text, vfio_user_server_path(vm->server[0])) &&
                 strstr(text, why);
    }
    qobject_unref(response);
    return found;
}

/* In some modes QEMU has reasons of its own, and the error names only one. */
static void check_modes(VFIOUserMigVM *vm, const char *why)
{
    static const char *const modes[] = {
        "cpr-reboot", "cpr-transfer", "cpr-exec",
    };
    unsigned i, tried = 0;

    vfio_user_mig_vm_fill(vm, SEED);
    for (i = 0; i < ARRAY_SIZE(modes); i++) {
        if (set_mode(vm, modes[i])) {
            tried++;
            g_assert_true(is_reason(vm, why));
            refuse(vm, modes[i]);
        }
    }
    g_assert_cmpuint(tried, >=, 2);
    vfio_user_mig_vm_check(vm, SEED);
}

/* CPR cannot hand a server's device over to another QEMU. */
static void test_modes(void)
{
    VFIOUserMigVM *from = vfio_user_mig_vm_run(&vfio_user_mig_pre_copy, 1, 0);
    VFIOUserMigVM *to = vfio_user_mig_vm_new(&vfio_user_mig_pre_copy, 1, NULL,
                                             0);

    check_modes(from, "support migration mode 'normal' only");
    g_assert_true(set_mode(from, "normal"));
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

static void test_modes_none(void)
{
    const VFIOUserModel *model = &vfio_user_model;
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_vm_run(&model, 1, 0);

    check_modes(vm, "the server does not support migration");
}

/* Modes that copy the VM's memory page by page */

/* Sets a capability, or skips the test if the host lacks it. */
static bool try_set(VFIOUserMigVM *vm, const char *capability)
{
    bool has = vfio_user_mig_try_capability(vm, capability, true);

    if (!has) {
        g_test_skip(capability);
    }
    return has;
}

/* A background snapshot would have to save the devices while they run. */
static void test_background_snapshot(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = NULL;

    if (!try_set(from, "background-snapshot")) {
        return;
    }
    vfio_user_mig_refused(from, "do not support background-snapshot");
    vfio_user_mig_vm_check(from, SEED);
    vfio_user_mig_try_capability(from, "background-snapshot", false);
    to = vfio_user_mig_destination(model);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
}

static void test_postcopy(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    if (!try_set(from, "postcopy-ram") || !try_set(to, "postcopy-ram")) {
        return;
    }
    qtest_memset(from->qts, 8 * MiB, 0x5a, 32 * MiB);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    qtest_qmp_assert_success(from->qts,
                             "{'execute': 'migrate-start-postcopy'}");
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
    g_assert_cmphex(qtest_readl(to->qts, 40 * MiB - 4), ==, 0x5a5a5a5a);
}

static void test_postcopy_shared_source(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_vm_run_shared(model);
    g_autoptr(VFIOUserMigVM) to = NULL;

    vfio_user_mig_vm_fill(from, SEED);
    if (!try_set(from, "postcopy-ram")) {
        return;
    }
    vfio_user_mig_refused(from, "share the VM's memory");
    vfio_user_mig_vm_check(from, SEED);
    vfio_user_mig_try_capability(from, "postcopy-ram", false);
    to = vfio_user_mig_vm_new_shared(model);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
}

static void test_postcopy_shared_destination(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_vm_new_shared(model);
    g_autofree char *uri = vfio_user_mig_uri(to);
    g_autofree char *why = NULL;

    if (!try_set(from, "postcopy-ram") || !try_set(to, "postcopy-ram")) {
        return;
    }
    vfio_user_mig_capability(from, "return-path");
    /* exit() in the loading coroutine hides pointers from LeakSanitizer */
    vfio_user_mig_listen_and_stay(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(to, "failed");
    why = vfio_user_mig_reason(to);
    g_assert_nonnull(why);
    g_assert_nonnull(strstr(why, "share the VM's memory"));
    vfio_user_mig_wait(from, "failed");
    vfio_user_mig_wait_running(from);
    vfio_user_mig_vm_check(from, SEED);
}

static const struct {
    const char *name;
    void (*test)(const void *opaque);
} tests[] = {
    { "background-snapshot", test_background_snapshot },
    { "postcopy", test_postcopy },
    { "postcopy-shared-source", test_postcopy_shared_source },
    { "postcopy-shared-destination", test_postcopy_shared_destination },
};

void vfio_user_add_migration_mode_tests(void)
{
    static const VFIOUserModel *const *const servers[] = {
        &vfio_user_mig_region, &vfio_user_mig_pre_copy
    };

    qtest_add_func("/vfio-user/migration-mode/cpr", test_modes);
    qtest_add_func("/vfio-user/migration-mode/cpr-none", test_modes_none);
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(tests); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration-mode/%u/%s", i % 2 + 1,
                            tests[i / 2].name);

        qtest_add_data_func(path, servers[i % 2], tests[i / 2].test);
    }
}
