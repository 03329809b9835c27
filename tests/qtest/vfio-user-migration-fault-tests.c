/*
 * qtest of the vfio-user client: server faults during migration
 *
 * Each row is a fault of one server and the result on both sides.  With the
 * return path, the source learns of every failure of the destination, so its
 * guest continues in all rows except those marked otherwise.  If QEMU's main
 * loop had to wait for a server that does not answer, the device dies.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 815

#define TO(state) AT(VFIO_USER_MIG_ ## state)

/*
 * Longer than the timeout of a call, and of a second one with the BQL after it
 */
#define STALL_MS (VFIO_USER_MIG_TIMEOUT_MS * 5 / 2)

typedef enum Source {
    SOURCE_RUNS,                /* with its device */
    SOURCE_RECOVERS,            /* after its server answers again */
    SOURCE_RUNS_WITHOUT,        /* with a dead device */
    SOURCE_WAS_RESET,           /* with its device reset */
    SOURCE_IS_DONE,
} Source;

typedef enum Destination {
    DESTINATION_ENDS,           /* exits with a message, status 1 */
    DESTINATION_RUNS,           /* with its device */
    DESTINATION_RUNS_WITHOUT,   /* with a dead device */
} Destination;

typedef struct Row {
    const char *name;
    bool pre_copy;
    bool at_destination;        /* faulty side, else the source */
    VFIOUserRule rule;
    Source source;
    Destination destination;
    const char *message;        /* expected message of the faulty side */
    uint32_t refuses, breaks;   /* of the faulty model */
} Row;

static const Row rows[] = {
    /* the source's server, while the VM runs */
    { "source-pre-copy-refused", true, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(PRE_COPY)), DO_FAIL, EBUSY },
      SOURCE_RUNS, DESTINATION_ENDS, "RUNNING to PRE_COPY: " },
    { "source-pre-copy-never-answered", true, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(PRE_COPY)), DO_DROP },
      SOURCE_RUNS, DESTINATION_ENDS, "RUNNING to PRE_COPY: " },
    { "source-pre-copy-dies", true, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(PRE_COPY)), DO_CUT, 0 },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "connection lost" },
    { "source-pre-copy-data-error", true, false,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 2), DO_FAIL, EIO },
      SOURCE_RUNS, DESTINATION_ENDS, "MIG_DATA_READ: " },
    { "source-pre-copy-data-never", true, false,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 2), DO_DROP },
      SOURCE_RUNS, DESTINATION_ENDS, "MIG_DATA_READ: " },
    { "source-pre-copy-data-stalls", true, false,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 2), DO_DELAY, STALL_MS },
      SOURCE_RECOVERS, DESTINATION_ENDS, "MIG_DATA_READ: " },
    { "source-pre-copy-data-stalls-for-good", true, false,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 2), DO_STALL },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "MIG_DATA_READ: " },
    { "source-pre-copy-data-dies", true, false,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 2), DO_CUT, 20 },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "connection lost" },
    { "source-pre-copy-data-more-than-sent", true, false,
      { ON(VFIO_USER_MIG_DATA_READ), DO_PATCH, 4, BYTES(1, 16, 0, 0) },
      SOURCE_RUNS, DESTINATION_ENDS, "MIG_DATA_READ: " },
    { "source-pre-copy-data-less-than-sent", true, false,
      { ON(VFIO_USER_MIG_DATA_READ), DO_PATCH, 4, BYTES(1, 0, 0, 0) },
      SOURCE_RUNS, DESTINATION_ENDS, "MIG_DATA_READ: " },

    /* the source's server, when the VM stops and after that */
    { "source-stop-refused", false, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 1), DO_FAIL, EBUSY },
      SOURCE_RUNS, DESTINATION_ENDS, "RUNNING to STOP: " },
    { "source-stop-never-answered", false, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 1), DO_DROP },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "RUNNING to STOP: " },
    { "source-stop-dies", false, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 1), DO_CUT, 0 },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "connection lost" },
    { "source-stop-copy-refused", false, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP_COPY)), DO_FAIL, EIO },
      SOURCE_RUNS, DESTINATION_ENDS, "STOP to STOP_COPY: " },
    { "source-stop-copy-refused-after-pre-copy", true, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP_COPY)), DO_FAIL, EIO },
      SOURCE_RUNS, DESTINATION_ENDS, "PRE_COPY to STOP_COPY: " },
    { "source-stop-copy-never-answered", false, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP_COPY)), DO_DROP },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "STOP to STOP_COPY: " },
    { "source-stop-copy-dies", false, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP_COPY)), DO_CUT, 0 },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "connection lost" },
    { "source-stop-copy-never-answered-after-pre-copy", true, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP_COPY)), DO_DROP },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "PRE_COPY to STOP_COPY: " },
    { "source-stop-copy-dies-after-pre-copy", true, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP_COPY)), DO_CUT, 0 },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "connection lost" },
    { "source-stop-copy-data-error", false, false,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 3), DO_FAIL, EIO },
      SOURCE_RUNS, DESTINATION_ENDS, "MIG_DATA_READ: " },
    { "source-stop-copy-data-never", false, false,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 3), DO_DROP },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "MIG_DATA_READ: " },
    { "source-stop-copy-data-dies", false, false,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 3), DO_CUT, 0 },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "connection lost" },
    { "source-stop-again-refused", false, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 2), DO_FAIL, EIO },
      SOURCE_RUNS, DESTINATION_ENDS, "STOP_COPY to STOP: " },
    { "source-stop-again-never-answered", false, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 2), DO_DROP },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "STOP_COPY to STOP: " },
    { "source-stop-again-dies", false, false,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 2), DO_CUT, 0 },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "connection lost" },
    { "source-running-again-refused", false, false,
      { ON(VFIO_USER_MIG_DATA_READ, .nth = 3), DO_FAIL, EIO },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS, "STOP to RUNNING: ",
      .refuses = 1 << VFIO_USER_MIG_RUNNING },

    /* the destination's server, while the source's VM runs */
    { "destination-resuming-refused", true, true,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(RESUMING)), DO_FAIL, EIO },
      SOURCE_RUNS, DESTINATION_ENDS, "STOP to RESUMING: " },
    { "destination-resuming-never-answered", true, true,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(RESUMING)), DO_DROP },
      SOURCE_RUNS, DESTINATION_ENDS, "STOP to RESUMING: " },
    { "destination-resuming-dies", true, true,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(RESUMING)), DO_CUT, 0 },
      SOURCE_RUNS, DESTINATION_ENDS, "STOP to RESUMING: " },
    { "destination-data-refused-in-pre-copy", true, true,
      { ON(VFIO_USER_MIG_DATA_WRITE, .nth = 1), DO_FAIL, EINVAL },
      SOURCE_RUNS, DESTINATION_ENDS, "MIG_DATA_WRITE: " },
    { "destination-data-never-answered-in-pre-copy", true, true,
      { ON(VFIO_USER_MIG_DATA_WRITE, .nth = 1), DO_DROP },
      SOURCE_RUNS, DESTINATION_ENDS, "MIG_DATA_WRITE: " },
    { "destination-data-dies-in-pre-copy", true, true,
      { ON(VFIO_USER_MIG_DATA_WRITE, .nth = 1), DO_CUT, 0 },
      SOURCE_RUNS, DESTINATION_ENDS, "loading the device failed: " },

    /* the destination's server, after the source's VM has stopped */
    { "destination-data-refused", false, true,
      { ON(VFIO_USER_MIG_DATA_WRITE, .nth = 5), DO_FAIL, EINVAL },
      SOURCE_RUNS, DESTINATION_ENDS, "MIG_DATA_WRITE: " },
    { "destination-data-never-answered", false, true,
      { ON(VFIO_USER_MIG_DATA_WRITE, .nth = 5), DO_DROP },
      SOURCE_RUNS, DESTINATION_ENDS, "MIG_DATA_WRITE: " },
    { "destination-data-dies", false, true,
      { ON(VFIO_USER_MIG_DATA_WRITE, .nth = 5), DO_CUT, 0 },
      SOURCE_RUNS, DESTINATION_ENDS, "loading the device failed: " },
    { "destination-state-refused", false, true,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 2), DO_FAIL, EINVAL },
      SOURCE_RUNS, DESTINATION_ENDS, "RESUMING to STOP: " },
    { "destination-state-never-answered", false, true,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 2), DO_DROP },
      SOURCE_RUNS, DESTINATION_ENDS, "RESUMING to STOP: " },
    { "destination-state-dies", false, true,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(STOP), .nth = 2), DO_CUT, 0 },
      SOURCE_RUNS, DESTINATION_ENDS, "RESUMING to STOP: " },

    /* the state changes despite the error reply */
    { "destination-running-error", false, true,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(RUNNING)), DO_FAIL, EIO },
      SOURCE_IS_DONE, DESTINATION_RUNS, "STOP to RUNNING: " },
    { "destination-running-never-answered", false, true,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(RUNNING)), DO_DROP },
      SOURCE_IS_DONE, DESTINATION_RUNS_WITHOUT, "STOP to RUNNING: " },

    /* the state is loaded and the source gone: the device dies, not the VM */
    { "destination-running-refused", false, true, { },
      SOURCE_IS_DONE, DESTINATION_RUNS_WITHOUT, "connection lost",
      .refuses = 1 << VFIO_USER_MIG_RUNNING },
    { "destination-running-dies", false, true,
      { ON(VFIO_USER_DEVICE_FEATURE, TO(RUNNING)), DO_CUT, 0 },
      SOURCE_IS_DONE, DESTINATION_RUNS_WITHOUT, "connection lost" },

    /* the state change is refused */
    { "source-pre-copy-stays", true, false, { },
      SOURCE_RUNS, DESTINATION_ENDS, "RUNNING to PRE_COPY: ",
      .refuses = 1 << VFIO_USER_MIG_PRE_COPY },
    { "source-stop-stays", false, false, { },
      SOURCE_RUNS, DESTINATION_ENDS, "RUNNING to STOP: ",
      .refuses = 1 << VFIO_USER_MIG_STOP },
    { "source-stop-copy-stays", false, false, { },
      SOURCE_RUNS, DESTINATION_ENDS, "STOP to STOP_COPY: ",
      .refuses = 1 << VFIO_USER_MIG_STOP_COPY },
    { "source-stop-copy-stays-in-pre-copy", true, false, { },
      SOURCE_RUNS, DESTINATION_ENDS, "PRE_COPY to STOP_COPY: ",
      .refuses = 1 << VFIO_USER_MIG_STOP_COPY },
    { "destination-resuming-stays", false, true, { },
      SOURCE_RUNS, DESTINATION_ENDS, "STOP to RESUMING: ",
      .refuses = 1 << VFIO_USER_MIG_RESUMING },

    /* the device enters ERROR, which only a reset leaves */
    { "source-pre-copy-breaks", true, false, { },
      SOURCE_WAS_RESET, DESTINATION_ENDS, "has been reset",
      .breaks = 1 << VFIO_USER_MIG_PRE_COPY },
    { "source-stop-copy-breaks", false, false, { },
      SOURCE_WAS_RESET, DESTINATION_ENDS, "has been reset",
      .breaks = 1 << VFIO_USER_MIG_STOP_COPY },
    { "source-stop-breaks", false, false, { },
      SOURCE_WAS_RESET, DESTINATION_ENDS, "has been reset",
      .breaks = 1 << VFIO_USER_MIG_STOP },
    { "source-stop-copy-breaks-after-pre-copy", true, false, { },
      SOURCE_WAS_RESET, DESTINATION_ENDS, "has been reset",
      .breaks = 1 << VFIO_USER_MIG_STOP_COPY },
    { "destination-running-breaks", false, true, { },
      SOURCE_IS_DONE, DESTINATION_RUNS, "has been reset",
      .breaks = 1 << VFIO_USER_MIG_RUNNING },
    { "destination-resuming-breaks", false, true, { },
      SOURCE_RUNS, DESTINATION_ENDS, "STOP to RESUMING: ",
      .breaks = 1 << VFIO_USER_MIG_RESUMING },
};

static void v2_check_source(VFIOUserMigVM *from, Source source)
{
    if (source == SOURCE_IS_DONE) {
        vfio_user_mig_wait(from, "completed");
        return;
    }
    vfio_user_mig_wait(from, "failed");
    vfio_user_mig_wait_running(from);
    if (source == SOURCE_RUNS_WITHOUT) {
        g_assert_cmphex(qtest_readl(from->qts, from->bar[0]), ==, UINT32_MAX);
        return;
    }
    if (source == SOURCE_RECOVERS) {
        vfio_user_server_wait(from->server[0],
                              (VFIOUserWhen)ON(VFIO_USER_DEVICE_FEATURE,
                                               TO(RUNNING)));
    }
    g_assert_cmpint(vfio_user_server_saw(from->server[0],
                                         VFIO_USER_DEVICE_RESET), ==,
                    source == SOURCE_WAS_RESET);
    vfio_user_mig_vm_check(from, SEED);
    vfio_user_mig_vm_fill(from, SEED + 1);
    vfio_user_mig_vm_check(from, SEED + 1);
}

/* Returns the destination's messages. */
static char *v2_check_destination(VFIOUserMigVM *to, Destination destination)
{
    if (destination == DESTINATION_ENDS) {
        return vfio_user_mig_ended(to);
    }
    vfio_user_mig_wait_running(to);
    if (destination == DESTINATION_RUNS) {
        vfio_user_mig_vm_check(to, SEED);
    } else {
        g_assert_cmphex(qtest_readl(to->qts, to->bar[0]), ==, UINT32_MAX);
    }
    return vfio_user_mig_said(to);
}

static void v2_check_said(const char *text, const char *what)
{
    if (!strstr(text, what)) {
        g_test_message("no message \"%s\" in: %s", what, text);
        g_test_fail();
    }
}

static void test_fault(const void *opaque)
{
    const Row *row = opaque;
    const VFIOUserRule rules[] = { row->rule, { } };
    const VFIOUserModel *honest = row->pre_copy ? vfio_user_mig_pre_copy :
                                                  vfio_user_mig_stop_copy;
    VFIOUserModel faulty = *honest;
    const VFIOUserModel *models[] = { honest, &faulty };
    g_autofree char *there = NULL;
    g_autofree char *here = NULL;
    g_autofree char *uri = NULL;
    VFIOUserMigVM *from, *to;

    faulty.migration.refuses = row->refuses;
    faulty.migration.breaks = row->breaks;
    from = vfio_user_mig_vm_run(&models[!row->at_destination], 1,
                                VFIO_USER_MIG_TIMEOUT_MS);
    to = vfio_user_mig_vm_new(&models[row->at_destination], 1, NULL,
                              VFIO_USER_MIG_TIMEOUT_MS);
    uri = vfio_user_mig_uri(to);
    memcpy(to->bar, from->bar, sizeof(to->bar));
    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_server_forget(from->server[0]);
    vfio_user_mig_capability(from, "return-path");
    vfio_user_mig_capability(to, "return-path");
    vfio_user_server_set_rules(row->at_destination ? to->server[0] :
                                                     from->server[0], rules);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    v2_check_source(from, row->source);
    there = v2_check_destination(to, row->destination);
    here = vfio_user_mig_why(from);
    v2_check_said(row->at_destination ? there : here, row->message);
    if (!row->at_destination) {
        vfio_user_mig_check_why(from, "saving", 0);
    } else if (row->destination == DESTINATION_ENDS) {
        v2_check_said(there, "(device dut0): loading the device failed: ");
    }
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

/* With exit-on-error off, QEMU keeps running and reports the reason. */
static void test_stays(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_MIG_DATA_WRITE, .nth = 2), DO_FAIL, ENOSPC },
        { ON(VFIO_USER_REGION_WRITE, AT_OFFSET(VFIO_USER_MIGRATION1_REGION,
                                               VFIO_USER_MIGRATION1_DATA)),
          DO_FAIL, ENOSPC },
        { }
    };
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);
    g_autofree char *why = NULL;

    vfio_user_mig_capability(from, "return-path");
    vfio_user_mig_capability(to, "return-path");
    vfio_user_server_set_rules(to->server[0], rules);
    vfio_user_mig_listen_and_stay(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(from, "failed");
    vfio_user_mig_wait_running(from);
    vfio_user_mig_wait(to, "failed");
    vfio_user_mig_check_why(to, "loading", 0);
    why = vfio_user_mig_why(to);
    v2_check_said(why, strerror(ENOSPC));
}

/* A device that could not be saved does not reach a waiting destination. */
static void test_nothing_sent(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_FEATURE, TO(PRE_COPY)), DO_FAIL, EBUSY },
        { ON(VFIO_USER_REGION_WRITE, AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0)),
          DO_FAIL, EBUSY },
        { }
    };
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);
    g_autofree char *said = NULL;

    vfio_user_server_set_rules(from->server[0], rules);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(from, "failed");
    vfio_user_mig_check_why(from, "saving", 0);
    said = vfio_user_mig_ended(to);
    g_assert_null(strstr(said, "loading the device failed"));
}

void vfio_user_add_migration_fault_tests(void)
{
    unsigned i;

    qtest_add_data_func("/vfio-user/migration-fault/1/nothing-sent",
                        &vfio_user_mig_region, test_nothing_sent);
    qtest_add_data_func("/vfio-user/migration-fault/2/nothing-sent",
                        &vfio_user_mig_pre_copy, test_nothing_sent);

    qtest_add_data_func("/vfio-user/migration-fault/1/destination-stays",
                        &vfio_user_mig_region, test_stays);
    qtest_add_data_func("/vfio-user/migration-fault/2/destination-stays",
                        &vfio_user_mig_pre_copy, test_stays);

    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration-fault/%s", rows[i].name);

        qtest_add_data_func(path, &rows[i], test_fault);
    }
}
