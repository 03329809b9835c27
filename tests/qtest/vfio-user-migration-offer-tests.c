/*
 * qtest of the vfio-user client: detection of migration support
 *
 * Servers with migration v1 and v2, with one or none of them, and with faulty
 * replies.  The client detects the support.  If the VM cannot migrate, the
 * error names the device and the reason, and the device works.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qobject/qdict.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 161

/* No migration */

typedef struct Row {
    const char *name;
    VFIOUserRule rule;
    const char *message;
} Row;

#define FEATURE(n) ON(VFIO_USER_DEVICE_FEATURE, .nth = (n))

/*
 * The first DEVICE_FEATURE probes, the second gets the flags, the third the
 * state.
 */
static const Row rows[] = {
    { "probe-error", { FEATURE(1), DO_FAIL, ENOTSUP },
      "the server does not support migration" },
    { "probe-error-0", { FEATURE(1), DO_FAIL, 0 },
      "the server does not support migration" },
    { "probe-other-feature", { FEATURE(1), DO_PATCH, 4, BYTES(2) },
      "the server answered with flags 0x50002" },
    { "flags-error", { FEATURE(2), DO_FAIL, EINVAL },
      "DEVICE_FEATURE: " },
    { "flags-other-feature", { FEATURE(2), DO_PATCH, 4, BYTES(2) },
      "the server answered with flags 0x10002" },
    { "flags-none", { FEATURE(2), DO_LENGTH, 8 }, "DEVICE_FEATURE: " },
    { "flags-short", { FEATURE(2), DO_LENGTH, 15 }, "DEVICE_FEATURE: " },
    { "flags-no-stop-copy", { FEATURE(2), DO_PATCH, 8, BYTES(4) },
      "support the migration state STOP_COPY (flags 0x4)" },
    { "state-error", { FEATURE(3), DO_FAIL, EIO }, "DEVICE_FEATURE: " },
    { "state-nonsense", { FEATURE(3), DO_PATCH, 8, BYTES(8) },
      "the device reports the unknown state 8" },
};

/* Checks that migration is refused with a reason and that the device works. */
static void offer_check_refused(VFIOUserMigVM *vm, const char *why)
{
    vfio_user_mig_refused(vm, why);
    vfio_user_mig_vm_fill(vm, SEED);
    vfio_user_mig_vm_check(vm, SEED);
}

static void test_row(const void *opaque)
{
    const Row *row = opaque;
    const VFIOUserRule rules[] = { row->rule, { } };
    g_autoptr(VFIOUserMigVM) vm =
        vfio_user_mig_vm_run_faulty(vfio_user_mig_pre_copy, rules,
                                    VFIO_USER_MIG_TIMEOUT_MS);

    offer_check_refused(vm, row->message);
}

/* If the server does not answer, realize fails: QEMU does not wait again. */
static const Row never[] = {
    { "probe-never", { FEATURE(1), DO_DROP }, "x-no-device-feature=on" },
    { "flags-never", { FEATURE(2), DO_DROP }, "no reply within " },
    { "state-never", { FEATURE(3), DO_DROP }, "no reply within " },
};

static void test_never(const void *opaque)
{
    const Row *row = opaque;
    const VFIOUserRule rules[] = { row->rule, { } };
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_begin(VFIO_USER_RIG_RAM, vfio_user_mig_pre_copy, rules);
    g_autofree char *text =
        vfio_user_rig_try_plug(rig, VFIO_USER_MIG_TIMEOUT_MS);

    g_assert_nonnull(text);
    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, "DEVICE_FEATURE: "));
    g_assert_nonnull(strstr(text, row->message));
    vfio_user_server_wait_client(rig->server, false);
}

static void test_none(void)
{
    const VFIOUserModel *model = &vfio_user_model;
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_vm_run(&model, 1, 0);

    offer_check_refused(vm, "the server does not support migration");
}

/* One, or both */

#define V1_REGION VFIO_USER_MIGRATION1_REGION

static const VFIOUserModelMigration1 v1_model = { 16 * KiB, 4 * KiB };

static unsigned region_writes(VFIOUserMigVM *vm)
{
    return vfio_user_server_saw(vm->server[0], VFIO_USER_REGION_WRITE,
                                AT(V1_REGION));
}

static unsigned state_changes(VFIOUserMigVM *vm)
{
    return vfio_user_server_saw(vm->server[0], VFIO_USER_DEVICE_FEATURE,
                                AT(VFIO_USER_MIG_STOP_COPY));
}

/* Migrates a device with v1 and v2, whose v2 has @flags. */
static void check_both(uint64_t flags, bool v2)
{
    VFIOUserModel both = vfio_user_model_migration1(&v1_model);
    const VFIOUserModel *model = &both;
    VFIOUserMigVM *from, *to;

    both.version = vfio_user_mig_pre_copy->version;
    both.migration = vfio_user_mig_pre_copy->migration;
    both.migration.flags = flags;
    from = vfio_user_mig_vm_run(&model, 1, 0);
    to = vfio_user_mig_vm_new(&model, 1, NULL, 0);
    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_mig_move(from, to);
    if (v2) {
        vfio_user_mig_vm_check(to, SEED);
    }
    g_assert_cmpuint(state_changes(from), ==, v2 ? 1 : 0);
    g_assert_cmpint(region_writes(from) > 0, ==, !v2);
    g_assert_cmpint(region_writes(to) > 0, ==, !v2);
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

static void test_both(void)
{
    check_both(VFIO_USER_MODEL_STOP_COPY | VFIO_USER_MODEL_PRE_COPY, true);
}

/* v2 cannot save without STOP_COPY, so v1 is used. */
static void test_both_without_stop_copy(void)
{
    check_both(VFIO_USER_MODEL_PRE_COPY, false);
}

/* P2P states are not used even if the server offers them. */
static void test_p2p(void)
{
    VFIOUserModel model = *vfio_user_mig_pre_copy;
    const VFIOUserModel *models[] = { &model, &model };
    VFIOUserMigVM *from, *to;

    model.migration.flags |= VFIO_USER_MODEL_P2P;
    from = vfio_user_mig_vm_run(models, 2, 0);
    to = vfio_user_mig_vm_new(models, 2, NULL, 0);
    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_mig_move(from, to);
    vfio_user_mig_vm_check(to, SEED);
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

void vfio_user_add_migration_offer_tests(void)
{
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration-offer/%s", rows[i].name);

        qtest_add_data_func(path, &rows[i], test_row);
    }
    for (i = 0; i < ARRAY_SIZE(never); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration-offer/%s", never[i].name);

        qtest_add_data_func(path, &never[i], test_never);
    }
    qtest_add_func("/vfio-user/migration-offer/none", test_none);
    qtest_add_func("/vfio-user/migration-offer/both", test_both);
    qtest_add_func("/vfio-user/migration-offer/both-without-stop-copy",
                   test_both_without_stop_copy);
    qtest_add_func("/vfio-user/migration-offer/p2p", test_p2p);
}
