/*
 * qtest of the vfio-user client: migration of several devices
 *
 * One of two devices fails, in each phase: the VM continues at the source with
 * the other device unaffected, and the next attempt succeeds.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 577

#define TO(state) AT(VFIO_USER_MIG_ ## state)

typedef struct Row {
    const char *name;
    bool at_destination;        /* faulty side, else the source */
    bool dies;                  /* device dies */
    VFIOUserRule rule;
    const char *message;        /* expected message of the faulty side */
} Row;

static const Row rows[] = {
    { "pre-copy-refused", false, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(PRE_COPY)), DO_FAIL, EBUSY },
      "RUNNING to PRE_COPY: " },
    { "pre-copy-data-error", false, false,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 2), DO_FAIL, EIO },
      "MIG_DATA_READ: " },
    { "pre-copy-data-dies", false, true,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 2), DO_CUT, 0 },
      "connection lost" },
    { "stop-copy-refused", false, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP_COPY)), DO_FAIL, EBUSY },
      "PRE_COPY to STOP_COPY: " },
    { "stop-copy-dies", false, true,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP_COPY)), DO_CUT, 0 },
      "connection lost" },
    { "stop-copy-data-error", false, false,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 10), DO_FAIL, EIO },
      "MIG_DATA_READ: " },
    { "stop-copy-data-dies", false, true,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 10), DO_CUT, 0 },
      "connection lost" },
    { "stop-again-refused", false, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP)), DO_FAIL, EIO },
      "STOP_COPY to STOP: " },
    { "resuming-refused", true, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(RESUMING)), DO_FAIL, EIO },
      "STOP to RESUMING: " },
    { "loading-error", true, false,
      { ON(VFIO_USER_MIG_DATA_WRITE, .nth = 10), DO_FAIL, EINVAL },
      "MIG_DATA_WRITE: " },
    { "loading-dies", true, false,
      { ON(VFIO_USER_MIG_DATA_WRITE, .nth = 10), DO_CUT, 0 },
      "loading the device failed: " },
    { "state-refused", true, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 2), DO_FAIL, EINVAL },
      "RESUMING to STOP: " },
};

/* The pre-copy model, with the personality of the current copy of the test. */
static VFIOUserModel pre_copy_model(void)
{
    VFIOUserModel model = *vfio_user_mig_pre_copy;

    if (vfio_user_rig_model()->personality) {
        /* small reads, so that each phase has several */
        model.personality = vfio_user_mig_small_2026->personality;
    }
    return model;
}

/* Checks both devices; the faulty one may be dead. */
static void check_devices(VFIOUserMigVM *vm, unsigned faulty, bool dies)
{
    unsigned i;

    for (i = 0; i < 2; i++) {
        if (dies && i == faulty) {
            g_assert_cmphex(qtest_readl(vm->qts, vm->bar[i]), ==, UINT32_MAX);
        } else {
            vfio_user_mig_vm_check_device(vm, i, SEED);
        }
    }
}

static VFIOUserMigVM *destination(const VFIOUserModel *const *models)
{
    VFIOUserMigVM *vm = vfio_user_mig_vm_new(models, 2, NULL, 0);

    vfio_user_mig_capability(vm, "return-path");
    return vm;
}

static void check_fault(const Row *row, unsigned faulty)
{
    const VFIOUserRule rules[] = { row->rule, { } };
    const VFIOUserModel model = pre_copy_model();
    const VFIOUserModel *models[] = { &model, &model };
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_vm_run(models, 2, 0);
    g_autoptr(VFIOUserMigVM) to = destination(models);
    g_autofree char *uri = vfio_user_mig_uri(to);
    g_autofree char *there = NULL, *here = NULL;
    VFIOUserServer *server = row->at_destination ? to->server[faulty] :
                                                   from->server[faulty];

    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_server_set_rules(server, rules);
    vfio_user_mig_capability(from, "return-path");
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(from, "failed");
    vfio_user_mig_wait_running(from);
    check_devices(from, faulty, row->dies);
    there = vfio_user_mig_ended(to);
    here = vfio_user_mig_why(from);
    if (!row->at_destination) {
        vfio_user_mig_check_why(from, "saving", faulty);
    }
    g_assert_nonnull(strstr(row->at_destination ? there : here, row->message));

    if (!row->dies) {
        g_autoptr(VFIOUserMigVM) other = destination(models);

        vfio_user_server_set_rules(server, NULL);
        vfio_user_mig_move(from, other);
        check_devices(other, faulty, false);
        g_assert_cmpint(vfio_user_mig_bytes(from), ==,
                        2 * vfio_user_mig_state_size(models[0]));
    }
}

static void test_first_fails(const void *opaque)
{
    check_fault(opaque, 0);
}

static void test_second_fails(const void *opaque)
{
    check_fault(opaque, 1);
}

/* A stopped VM migrates and can be continued afterwards. */
static void test_stopped(void)
{
    const VFIOUserModel model = pre_copy_model();
    const VFIOUserModel *models[] = { &model, vfio_user_mig_stop_copy };
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_vm_run(models, 2, 0);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_vm_new(models, 2, NULL, 0);
    g_autofree char *uri = vfio_user_mig_uri(to);
    unsigned i;

    vfio_user_mig_vm_fill(from, SEED);
    qtest_qmp_assert_success(from->qts, "{'execute': 'stop'}");
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(from, "completed");
    for (i = 0; i < 2; i++) {
        g_assert_cmpuint(vfio_user_server_saw(from->server[i],
                                              VFIO_USER_DEVICE_FEATURE,
                                              TO(PRE_COPY)), ==, 0);
        vfio_user_server_see(to->server[i], VFIO_USER_DEVICE_FEATURE,
                             TO(STOP), .nth = 2);
    }
    vfio_user_mig_wait(to, "completed");
    qtest_qmp_assert_success(to->qts, "{'execute': 'cont'}");
    vfio_user_mig_wait_running(to);
    memcpy(to->bar, from->bar, sizeof(to->bar));
    vfio_user_mig_vm_check(to, SEED);
}

static void add_rows(const char *which, void (*test)(const void *opaque))
{
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration-devices/%s-%s", which,
                            rows[i].name);

        vfio_user_rig_add_data(path, &rows[i], test,
                               VFIO_USER_NEEDS_MIGRATION2);
    }
}

void vfio_user_add_migration_devices_tests(void)
{
    add_rows("first", test_first_fails);
    add_rows("second", test_second_fails);
    vfio_user_rig_add("/vfio-user/migration-devices/stopped", test_stopped,
                      VFIO_USER_NEEDS_MIGRATION2);
}
