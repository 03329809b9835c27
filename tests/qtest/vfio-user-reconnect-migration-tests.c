/*
 * qtest of the vfio-user client: migration and a server that comes back
 *
 * A device without a server cannot be saved: the migration fails, and the VM
 * stays.  When the server is back, the VM migrates with the state that the
 * device has then.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qobject/qdict.h"
#include "vfio-user-loss.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 77
#define NOWHERE "exec:cat >/dev/null"

static VFIOUserMigVM *source(const VFIOUserModel *model)
{
    VFIOUserMigVM *vm = vfio_user_mig_vm_run_beside(model,
                                                    VFIO_USER_LOSS_RECONNECT);

    vfio_user_mig_vm_fill(vm, SEED);
    return vm;
}

static VFIOUserRig rig_of(VFIOUserMigVM *vm)
{
    return (VFIOUserRig) { .qts = vm->qts, .server = vm->server[0] };
}

static unsigned said_count(VFIOUserMigVM *vm, const char *text)
{
    g_autofree char *said = vfio_user_mig_said(vm);
    unsigned n = 0;

    for (const char *at = said; (at = strstr(at, text)); at++) {
        n++;
    }
    return n;
}

/* Lets the server come back; then the VM migrates. */
static void check_migrates(VFIOUserMigVM *vm, const VFIOUserModel *model)
{
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_vm_new(&model, 1, NULL, 0);
    VFIOUserRig rig = rig_of(vm);

    vfio_user_loss_let_go(&rig, NULL);
    vfio_user_loss_wait(&rig, said_count(vm, "connected again") == 1);
    g_assert_true(vfio_user_server_runs(rig.server));
    vfio_user_mig_vm_fill(vm, SEED + 1);
    vfio_user_mig_move(vm, to);
    vfio_user_mig_vm_check(to, SEED + 1);
    g_assert_cmpuint(said_count(vm, "connection lost"), ==, 1);
}

static void test_in_gap(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) vm = source(model);
    VFIOUserRig rig = rig_of(vm);

    vfio_user_loss_open_gap(&rig);
    vfio_user_mig_refused(vm, "without a server cannot be saved");
    vfio_user_mig_wait_running(vm);
    check_migrates(vm, model);
}

/* The server is lost when it is asked for the device's state. */
static void check_in_save(const VFIOUserModel *model, const VFIOUserRule *next)
{
    static const VFIOUserRule hold_data[] = {
        { ON(VFIO_USER_MIG_DATA_READ), DO_HOLD },
        { }
    };
    g_autoptr(VFIOUserMigVM) vm = source(model);
    VFIOUserRig rig = rig_of(vm);

    vfio_user_server_set_rules(rig.server, hold_data);
    vfio_user_mig_start(vm, NOWHERE);
    vfio_user_server_see(rig.server, VFIO_USER_MIG_DATA_READ);
    vfio_user_loss_happen(&rig, next);
    vfio_user_mig_wait(vm, "failed");
    vfio_user_mig_check_why(vm, "saving", 0);
    vfio_user_mig_wait_running(vm);
    check_migrates(vm, model);
}

static void test_in_save(const void *opaque)
{
    check_in_save(vfio_user_mig_model_of(opaque), vfio_user_loss_hold);
}

/*
 * The server comes back at once, while the migration is still to fail: no
 * server is used in the middle of a save.
 */
static void test_in_save_at_once(const void *opaque)
{
    check_in_save(vfio_user_mig_model_of(opaque), NULL);
}

/* A VM that is loaded in a gap fails: the state would be lost. */
static void test_load_in_gap(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) vm = source(model);
    g_autoptr(VFIOUserMigVM) to =
        vfio_user_mig_vm_new_beside(model, VFIO_USER_LOSS_RECONNECT);
    g_autofree char *uri = vfio_user_mig_uri(to);
    VFIOUserRig rig = rig_of(to);

    vfio_user_loss_open_gap(&rig);
    vfio_user_mig_listen_and_stay(to, uri);
    vfio_user_mig_start(vm, uri);
    vfio_user_mig_wait(to, "failed");
    vfio_user_mig_wait(vm, "failed");
    vfio_user_mig_wait_running(vm);
    vfio_user_mig_vm_check(vm, SEED);
    vfio_user_loss_let_go(&rig, NULL);
}

/* Dirty logging that is on for another reason than a migration is replayed. */

#define START \
    ON(VFIO_USER_DEVICE_FEATURE, \
       AT_FEATURE(VFIO_DEVICE_FEATURE_SET | \
                  VFIO_DEVICE_FEATURE_DMA_LOGGING_START))

static void test_logging(void)
{
    const VFIOUserModel *model = vfio_user_mig_pre_copy;
    VFIOUserModel tracks = *model;
    g_autoptr(VFIOUserMigVM) vm = NULL;
    g_autoptr(GArray) log = NULL;
    bool mapped = false, started = false;
    VFIOUserRig rig;

    tracks.migration.record.pgsize = 4 * KiB;
    vm = vfio_user_mig_vm_run_with(&tracks, VFIO_USER_RIG_SHARED
                                   VFIO_USER_LOSS_RECONNECT);
    rig = rig_of(vm);
    qtest_qmp_assert_success(vm->qts, "{'execute': 'calc-dirty-rate',"
                             " 'arguments': {'calc-time': 2,"
                             " 'mode': 'dirty-bitmap'}}");
    vfio_user_server_wait(rig.server, (VFIOUserWhen) START);
    vfio_user_loss_happen(&rig, NULL);
    vfio_user_loss_wait(&rig, said_count(vm, "connected again"));
    log = vfio_user_server_log(rig.server);
    for (unsigned i = 0; i < log->len; i++) {
        const VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);
        const VFIOUserDeviceFeature *f = (const void *)seen->payload;
        uint16_t command = seen->header.command;

        mapped |= command == VFIO_USER_DMA_MAP;
        g_assert_false(started && command == VFIO_USER_DMA_MAP);
        g_assert_false(!started && command == VFIO_USER_DEVICE_SET_IRQS);
        started |= command == VFIO_USER_DEVICE_FEATURE && mapped &&
                   f->flags == (VFIO_DEVICE_FEATURE_SET |
                                VFIO_DEVICE_FEATURE_DMA_LOGGING_START);
    }
    g_assert_true(started);
}

void vfio_user_add_reconnect_migration_tests(void)
{
    static const struct {
        const char *name;
        const VFIOUserModel *const *model;
    } kinds[] = {
        { "stop-copy", &vfio_user_mig_stop_copy },
        { "pre-copy", &vfio_user_mig_pre_copy },
        { "libvfio-user-2026", &vfio_user_mig_small_2026 },
    };
    static const struct {
        const char *name;
        void (*test)(const void *);
    } cases[] = {
        { "in-gap", test_in_gap },
        { "in-save", test_in_save },
        { "in-save-at-once", test_in_save_at_once },
        { "load-in-gap", test_load_in_gap },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(kinds); j++) {
            g_autofree char *path =
                g_strdup_printf("/vfio-user/reconnect-migration/%s/%s",
                                cases[i].name, kinds[j].name);

            qtest_add_data_func(path, kinds[j].model, cases[i].test);
        }
    }
    qtest_add_func("/vfio-user/reconnect-migration/logging", test_logging);
}
