/*
 * qtest of the vfio-user client: a VM migrates with its devices
 *
 * Honest servers of the second generation.  What the guest wrote into its
 * device on one side it reads on the other; a server that would lose a byte
 * on the way refuses what it loads.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qapi/qmp/qdict.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 4711

static VFIOUserMigVM *source(const VFIOUserModel *model)
{
    VFIOUserMigVM *vm = vfio_user_mig_vm_run(&model, 1, 0);

    vfio_user_mig_vm_fill(vm, SEED);
    vfio_user_server_forget(vm->server[0]);
    return vm;
}

static VFIOUserMigVM *destination(const VFIOUserModel *model)
{
    return vfio_user_mig_vm_new(&model, 1, NULL, 0);
}

/* The states that the client set, in their order. */
static void check_states(VFIOUserServer *s, const uint32_t *states,
                         unsigned count)
{
    g_autoptr(GArray) log = vfio_user_server_log(s);
    unsigned i, n = 0;

    for (i = 0; i < log->len; i++) {
        VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);
        const VFIOUserDeviceFeature *head = (void *)seen->payload;

        if (seen->header.command == VFIO_USER_DEVICE_FEATURE &&
            head->flags == (VFIO_DEVICE_FEATURE_SET |
                            VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE)) {
            g_assert_cmpuint(n, <, count);
            g_assert_cmpuint(*(const uint32_t *)(head + 1), ==, states[n]);
            n++;
        }
    }
    g_assert_cmpuint(n, ==, count);
}

#define CHECK_STATES(s, ...) \
    check_states(s, (const uint32_t[]) { __VA_ARGS__ }, \
                 ARRAY_SIZE(((const uint32_t[]) { __VA_ARGS__ })))

static void check_move(const VFIOUserModel *model)
{
    g_autoptr(VFIOUserMigVM) from = source(model);
    g_autoptr(VFIOUserMigVM) to = destination(model);

    vfio_user_server_forget(to->server[0]);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    g_assert_cmpint(vfio_user_mig_bytes(from), ==,
                    vfio_user_mig_state_size(model));
    if (model->migration.flags & VFIO_USER_MODEL_PRE_COPY) {
        CHECK_STATES(from->server[0], VFIO_USER_MIG_PRE_COPY,
                     VFIO_USER_MIG_STOP_COPY, VFIO_USER_MIG_STOP);
    } else {
        CHECK_STATES(from->server[0], VFIO_USER_MIG_STOP,
                     VFIO_USER_MIG_STOP_COPY, VFIO_USER_MIG_STOP);
    }
    CHECK_STATES(to->server[0], VFIO_USER_MIG_STOP, VFIO_USER_MIG_RESUMING,
                 VFIO_USER_MIG_STOP, VFIO_USER_MIG_RUNNING);
}

static void test_stop_copy(void)
{
    check_move(vfio_user_mig_stop_copy);
}

/* Until PRE_COPY has no more, the VM does not stop. */
static void test_pre_copy(void)
{
    check_move(vfio_user_mig_pre_copy);
}

/* A device stops and runs with its VM. */
static void test_stop_cont(void)
{
    g_autoptr(VFIOUserMigVM) vm = source(vfio_user_mig_stop_copy);

    qtest_qmp_assert_success(vm->qts, "{'execute': 'stop'}");
    CHECK_STATES(vm->server[0], VFIO_USER_MIG_STOP);
    qtest_qmp_assert_success(vm->qts, "{'execute': 'cont'}");
    CHECK_STATES(vm->server[0], VFIO_USER_MIG_STOP, VFIO_USER_MIG_RUNNING);
    vfio_user_mig_vm_check(vm, SEED);
}

/* A server without migration: the VM refuses, and says for whom and why. */
static void test_no_migration(void)
{
    g_autoptr(VFIOUserMigVM) vm = source(&vfio_user_model);
    QDict *response = qtest_qmp(vm->qts, "{'execute': 'migrate',"
                                "'arguments': { 'uri': 'exec:cat' } }");
    const char *text = qdict_get_str(qdict_get_qdict(response, "error"),
                                     "desc");

    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, vfio_user_server_path(vm->server[0])));
    g_assert_nonnull(strstr(text, "the device has no migration"));
    qobject_unref(response);
    vfio_user_mig_vm_check(vm, SEED);
}

void vfio_user_add_migration_tests(void)
{
    qtest_add_func("/vfio-user/migration/stop-copy", test_stop_copy);
    qtest_add_func("/vfio-user/migration/pre-copy", test_pre_copy);
    qtest_add_func("/vfio-user/migration/stop-cont", test_stop_cont);
    qtest_add_func("/vfio-user/migration/no-migration", test_no_migration);
}
