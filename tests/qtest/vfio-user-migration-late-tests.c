/*
 * qtest of the vfio-user client: memory writes after the device was stopped
 *
 * A device was stopped to be saved, and its server then requests a memory
 * write.  If the last memory was already sent, the request is refused and the
 * migration fails, so that no write is silently lost.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 2207

#define RAM 0x200000            /* RAM address that nothing else uses */
#define BEFORE 0x11223344
#define LATE 0x55667788
#define LATER 0x99aabbcc

#define STATE AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0)
#define DATA AT_OFFSET(VFIO_USER_MIGRATION1_REGION, VFIO_USER_MIGRATION1_DATA)
#define TO(state) AT(VFIO_USER_MIG_ ## state)

/* All data is read once while the VM runs, and once more after it. */
#define STOP_DATA .nth = VFIO_USER_MIG_REGION_PIECES + 2

typedef struct Row {
    const char *name;
    const VFIOUserModel *const *model;
    VFIOUserRule rule;          /* holds the migration during the write */
    bool paused;                /* the VM is paused before */
} Row;

static const Row rows[] = {
    { "1/data", &vfio_user_mig_region,
      { ON(VFIO_USER_REGION_READ, DATA, STOP_DATA), DO_HOLD } },
    { "1/saved", &vfio_user_mig_region,
      { ON(VFIO_USER_REGION_WRITE, STATE, .nth = 3), DO_HOLD } },
    { "1/paused", &vfio_user_mig_region,
      { ON(VFIO_USER_REGION_READ, DATA, .nth = 2), DO_HOLD }, true },
    { "2/data", &vfio_user_mig_stop_copy,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 1), DO_HOLD } },
    { "2/saved", &vfio_user_mig_pre_copy,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 1), DO_HOLD } },
    { "2/paused", &vfio_user_mig_stop_copy,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 1), DO_HOLD }, true },
};

static int late_dma_write(VFIOUserMigVM *vm, uint32_t value)
{
    return vfio_user_server_dma_write(vm->server[0], RAM, &value,
                                      sizeof(value));
}

static void check_why(VFIOUserMigVM *vm)
{
    g_autofree char *why = vfio_user_mig_why(vm);

    g_assert_nonnull(strstr(why, "after it had stopped the device"));
    vfio_user_mig_check_why(vm, "saving", 0);
}

/*
 * Checks that the VM continues with its device, which may write, and that it
 * migrates.
 */
static void check_continues(VFIOUserMigVM *from, const VFIOUserModel *model)
{
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);

    vfio_user_mig_wait_running(from);
    g_assert_cmphex(qtest_readl(from->qts, RAM), ==, BEFORE);
    vfio_user_mig_vm_check(from, SEED);
    g_assert_cmpint(late_dma_write(from, LATER), ==, 0);
    vfio_user_mig_move(from, to);
    g_assert_cmphex(qtest_readl(to->qts, RAM), ==, LATER);
    vfio_user_mig_vm_check(to, SEED);
}

static void test_late(const void *opaque)
{
    const Row *row = opaque;
    const VFIOUserRule rules[] = { row->rule, { } };
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(*row->model, SEED);

    qtest_writel(from->qts, RAM, BEFORE);
    vfio_user_mig_downtime(from, 0);
    if (row->paused) {
        qtest_qmp_assert_success(from->qts, "{'execute': 'stop'}");
    }
    vfio_user_server_set_rules(from->server[0], rules);
    vfio_user_mig_start(from, "exec:cat > /dev/null");
    vfio_user_server_wait(from->server[0], row->rule.when);
    g_assert_cmpint(late_dma_write(from, LATE), ==, EPERM);
    g_assert_cmpint(late_dma_write(from, LATE), ==, EPERM);
    vfio_user_server_set_rules(from->server[0], NULL);
    vfio_user_server_release(from->server[0]);
    vfio_user_mig_wait(from, "failed");
    check_why(from);
    if (row->paused) {
        qtest_qmp_assert_success(from->qts, "{'execute': 'cont'}");
    }
    check_continues(from, *row->model);
}

/* A write before the last memory is sent is migrated. */
static void test_in_time(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    qtest_writel(from->qts, RAM, BEFORE);
    vfio_user_mig_capability(from, "pause-before-switchover");
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(from, "pre-switchover");
    g_assert_cmpint(late_dma_write(from, LATE), ==, 0);
    qtest_qmp_assert_success(from->qts, "{'execute': 'migrate-continue',"
                             "'arguments': { 'state': 'pre-switchover' } }");
    vfio_user_mig_arrive(from, to);
    g_assert_cmphex(qtest_readl(to->qts, RAM), ==, LATE);
    vfio_user_mig_vm_check(to, SEED);
}

void vfio_user_add_migration_late_tests(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration-late/%s", rows[i].name);

        qtest_add_data_func(path, &rows[i], test_late);
    }
    qtest_add_data_func("/vfio-user/migration-late/1/in-time",
                        &vfio_user_mig_region, test_in_time);
    qtest_add_data_func("/vfio-user/migration-late/2/in-time",
                        &vfio_user_mig_pre_copy, test_in_time);
}
