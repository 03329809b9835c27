/*
 * qtest of the vfio-user client: server faults during migration v1
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

#define SEED 1805

#define MIGRATION VFIO_USER_MIGRATION1_REGION
#define DATA VFIO_USER_MIGRATION1_DATA
#define PIECES VFIO_USER_MIG_REGION_PIECES
#define CHUNK (16 * KiB)

#define REG_STATE 0
#define REG_PENDING 8
#define REG_OFFSET 16
#define REG_SIZE 24

#define READ(reg, ...) ON(VFIO_USER_REGION_READ, AT_OFFSET(MIGRATION, reg), \
                          __VA_ARGS__)
#define WRITE(reg, ...) ON(VFIO_USER_REGION_WRITE, \
                           AT_OFFSET(MIGRATION, reg), __VA_ARGS__)
#define SAYS(reg, value, ...) \
    { READ(reg, __VA_ARGS__), DO_PATCH, 16, STRUCT(uint64_t, value) }
#define SAYS_STATE(value, ...) \
    { READ(REG_STATE, __VA_ARGS__), DO_PATCH, 16, STRUCT(uint32_t, value) }

/* State changes, at the source and at the destination. */
#define TO_PRE_COPY WRITE(REG_STATE, .nth = 1)
#define TO_SAVING WRITE(REG_STATE, .nth = 2)
#define TO_STOP WRITE(REG_STATE, .nth = 3)
#define TO_RESUMING WRITE(REG_STATE, .nth = 1)
#define TO_RUNNING WRITE(REG_STATE, .nth = 2)
#define TO_RUNNING_AGAIN WRITE(REG_STATE, .nth = 3)

/* All data is read once while the VM runs, and once more after it. */
#define PRE_COPY_DATA .nth = 2
#define STOP_DATA .nth = PIECES + 2

/*
 * Longer than the timeout of a call, and of a second one with the BQL after it
 */
#define STALL_MS (VFIO_USER_MIG_TIMEOUT_MS * 5 / 2)

typedef enum Source {
    SOURCE_RUNS,                /* with its device */
    SOURCE_RECOVERS,            /* after its server answers again */
    SOURCE_RUNS_WITHOUT,        /* with a dead device */
    SOURCE_IS_DONE,
} Source;

typedef enum Destination {
    DESTINATION_ENDS,           /* exits with a message, status 1 */
    DESTINATION_RUNS,           /* with its device */
    DESTINATION_RUNS_WITHOUT,   /* with a dead device */
} Destination;

typedef struct Row {
    const char *name;
    VFIOUserRule rules[4];      /* the last is empty */
    Source source;
    Destination destination;
    const char *message;        /* additional message of the faulty side */
} Row;

/* Faults of the source's server */
static const Row source_rows[] = {
    /* set-up */
    { "pre-copy-refused", { { TO_PRE_COPY, DO_FAIL, EINVAL } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "pre-copy-never", { { TO_PRE_COPY, DO_DROP } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "pre-copy-dies", { { TO_PRE_COPY, DO_CUT, 0 } },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS },
    /* the state is queried, and queried again before RUNNING */
    { "state-unreadable", { { TO_PRE_COPY, DO_FAIL, EINVAL },
                            { READ(REG_STATE, .nth = 1), DO_FAIL, EIO } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "state-never", { { TO_PRE_COPY, DO_FAIL, EINVAL },
                       { READ(REG_STATE, .nth = 1), DO_DROP } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "state-dies", { { TO_PRE_COPY, DO_FAIL, EINVAL },
                      { READ(REG_STATE), DO_CUT, 0 } },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS },
    { "state-of-error", { { TO_PRE_COPY, DO_FAIL, EINVAL },
                          SAYS_STATE(6, .nth = 1) },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "state-of-nonsense", { { TO_PRE_COPY, DO_FAIL, EINVAL },
                             SAYS_STATE(UINT32_MAX, .nth = 1) },
      SOURCE_RUNS, DESTINATION_ENDS },

    /* the server accepts the change, but the state does not change */
    { "pre-copy-ignored", { SAYS_STATE(1, .nth = 1) },
      SOURCE_RUNS, DESTINATION_ENDS, "reports the state RUNNING" },
    { "pre-copy-breaks", { SAYS_STATE(6, .nth = 1) },
      SOURCE_RUNS, DESTINATION_ENDS, "reports the state ERROR" },
    { "saving-ignored", { SAYS_STATE(3, .nth = 2) },
      SOURCE_RUNS, DESTINATION_ENDS, "reports the state PRE_COPY" },
    { "stopped-ignored", { SAYS_STATE(2, .nth = 3) },
      SOURCE_RUNS, DESTINATION_ENDS, "reports the state STOP_COPY" },

    /* while the VM runs */
    { "pending-unreadable", { { READ(REG_PENDING), DO_FAIL, EIO } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "pending-never", { { READ(REG_PENDING, .nth = 1), DO_DROP } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "pending-stalls", { { READ(REG_PENDING, .nth = 1), DO_DELAY,
                            STALL_MS } },
      SOURCE_RECOVERS, DESTINATION_ENDS },
    { "pending-dies", { { READ(REG_PENDING), DO_CUT, 0 } },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS },
    { "pending-short", { { READ(REG_PENDING), DO_LENGTH, 20 } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "pending-16-exbibytes", { SAYS(REG_PENDING, UINT64_MAX) },
      SOURCE_RUNS, DESTINATION_ENDS, "pending bytes of migration data" },
    { "pre-copy-data-unreadable", { { READ(DATA, PRE_COPY_DATA), DO_FAIL,
                                      EIO } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "pre-copy-data-never", { { READ(DATA, PRE_COPY_DATA), DO_DROP } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "pre-copy-data-stalls", { { READ(DATA, PRE_COPY_DATA), DO_DELAY,
                                  STALL_MS } },
      SOURCE_RECOVERS, DESTINATION_ENDS },
    { "pre-copy-data-stalls-for-good", { { READ(DATA, PRE_COPY_DATA),
                                           DO_STALL } },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS },
    { "pre-copy-data-dies", { { READ(DATA, PRE_COPY_DATA), DO_CUT, 100 } },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS },
    { "data-short", { { READ(DATA), DO_PATCH, 12, BYTES(0, 0) } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "offset-unreadable", { { READ(REG_OFFSET), DO_FAIL, EIO } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "offset-stalls", { { READ(REG_OFFSET, PRE_COPY_DATA), DO_DELAY,
                           STALL_MS } },
      SOURCE_RECOVERS, DESTINATION_ENDS },
    { "offset-outside", { SAYS(REG_OFFSET, 1ULL << 40) },
      SOURCE_RUNS, DESTINATION_ENDS, "not inside the migration region" },
    { "offset-at-end", { SAYS(REG_OFFSET, DATA + CHUNK) },
      SOURCE_RUNS, DESTINATION_ENDS, "not inside the migration region" },
    { "offset-in-registers", { SAYS(REG_OFFSET, 0) },
      SOURCE_RUNS, DESTINATION_ENDS, "not inside the migration region" },
    { "offset-wraps", { SAYS(REG_OFFSET, UINT64_MAX - 7) },
      SOURCE_RUNS, DESTINATION_ENDS, "not inside the migration region" },
    { "size-stalls", { { READ(REG_SIZE, PRE_COPY_DATA), DO_DELAY,
                         STALL_MS } },
      SOURCE_RECOVERS, DESTINATION_ENDS },
    { "size-outside", { SAYS(REG_SIZE, CHUNK + 1) },
      SOURCE_RUNS, DESTINATION_ENDS, "not inside the migration region" },
    { "size-16-exbibytes", { SAYS(REG_SIZE, UINT64_MAX) },
      SOURCE_RUNS, DESTINATION_ENDS, "not inside the migration region" },

    /* when the VM stops */
    { "saving-refused", { { TO_SAVING, DO_FAIL, EINVAL } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "saving-refused-with-error-state", {
        { TO_SAVING, DO_FAIL, EINVAL }, SAYS_STATE(6, .nth = 1) },
      SOURCE_RUNS, DESTINATION_ENDS, "PRE_COPY to STOP_COPY: " },
    { "saving-never", { { TO_SAVING, DO_DROP } },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS },
    { "saving-dies", { { TO_SAVING, DO_CUT, 0 } },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS },

    /* after the VM has stopped */
    { "stop-data-unreadable", { { READ(DATA, STOP_DATA), DO_FAIL, EIO } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "stop-data-never", { { READ(DATA, STOP_DATA), DO_DROP } },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS },
    { "stop-data-dies", { { READ(DATA, STOP_DATA), DO_CUT, 0 } },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS },
    { "stopped-refused", { { TO_STOP, DO_FAIL, EINVAL } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "stopped-never", { { TO_STOP, DO_DROP } },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS },
    { "stopped-dies", { { TO_STOP, DO_CUT, 0 } },
      SOURCE_RUNS_WITHOUT, DESTINATION_ENDS },
};

/* Faults of the destination's server */
static const Row destination_rows[] = {
    /* before anything is sent */
    { "resuming-ignored", { SAYS_STATE(1) },
      SOURCE_RUNS, DESTINATION_ENDS, "reports the state RUNNING" },
    { "resuming-refused", { { TO_RESUMING, DO_FAIL, EINVAL } },
      SOURCE_RUNS, DESTINATION_ENDS, "RUNNING to RESUMING: " },
    { "resuming-never", { { TO_RESUMING, DO_DROP } },
      SOURCE_RUNS, DESTINATION_ENDS, "RUNNING to RESUMING: " },
    { "resuming-dies", { { TO_RESUMING, DO_CUT, 0 } },
      SOURCE_RUNS, DESTINATION_ENDS, "RUNNING to RESUMING: " },
    { "state-of-error", { { TO_RESUMING, DO_FAIL, EINVAL }, SAYS_STATE(6) },
      SOURCE_RUNS, DESTINATION_ENDS, "RUNNING to RESUMING: " },
    { "state-never", { { TO_RESUMING, DO_FAIL, EINVAL },
                       { READ(REG_STATE), DO_DROP } },
      SOURCE_RUNS, DESTINATION_ENDS, "RUNNING to RESUMING: " },

    /* while the source's VM runs */
    { "pre-copy-data-refused", { { WRITE(DATA, .nth = 1), DO_FAIL, EINVAL } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "pre-copy-data-never", { { WRITE(DATA, .nth = 1), DO_DROP } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "pre-copy-data-dies", { { WRITE(DATA, .nth = 1), DO_CUT, 0 } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "offset-unreadable", { { READ(REG_OFFSET), DO_FAIL, EIO } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "offset-at-end", { SAYS(REG_OFFSET, DATA + CHUNK) },
      SOURCE_RUNS, DESTINATION_ENDS, "not inside the migration region" },
    { "offset-outside", { SAYS(REG_OFFSET, 1ULL << 40) },
      SOURCE_RUNS, DESTINATION_ENDS, "not inside the migration region" },
    { "offset-in-registers", { SAYS(REG_OFFSET, 0) },
      SOURCE_RUNS, DESTINATION_ENDS, "not inside the migration region" },
    { "size-refused", { { WRITE(REG_SIZE), DO_FAIL, EINVAL } },
      SOURCE_RUNS, DESTINATION_ENDS },

    /* after the source's VM has stopped */
    { "data-refused", { { WRITE(DATA, STOP_DATA), DO_FAIL, EINVAL } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "data-never", { { WRITE(DATA, STOP_DATA), DO_DROP } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "data-dies", { { WRITE(DATA, STOP_DATA), DO_CUT, 0 } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "size-never", { { WRITE(REG_SIZE, STOP_DATA), DO_DROP } },
      SOURCE_RUNS, DESTINATION_ENDS },
    { "size-dies", { { WRITE(REG_SIZE, STOP_DATA), DO_CUT, 0 } },
      SOURCE_RUNS, DESTINATION_ENDS },

    /*
     * everything is loaded and the source gone: the device may die, not the VM
     */
    { "running-refused", { { TO_RUNNING, DO_FAIL, EINVAL },
                           { TO_RUNNING_AGAIN, DO_FAIL, EINVAL },
                           SAYS_STATE(4) },
      SOURCE_IS_DONE, DESTINATION_RUNS_WITHOUT, "RESUMING to RUNNING: " },
    { "running-refused-and-done", { { TO_RUNNING, DO_FAIL, EINVAL } },
      SOURCE_IS_DONE, DESTINATION_RUNS, "RESUMING to RUNNING: " },
    { "running-never", { { TO_RUNNING, DO_DROP } },
      SOURCE_IS_DONE, DESTINATION_RUNS_WITHOUT, "RESUMING to RUNNING: " },
    { "running-dies", { { TO_RUNNING, DO_CUT, 0 } },
      SOURCE_IS_DONE, DESTINATION_RUNS_WITHOUT, "connection lost" },
};

static void v1_check_source(VFIOUserMigVM *from, Source source)
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
                              (VFIOUserWhen)WRITE(REG_STATE, .nth = 2));
    }
    vfio_user_mig_vm_check(from, SEED);
    vfio_user_mig_vm_fill(from, SEED + 1);
    vfio_user_mig_vm_check(from, SEED + 1);
    g_assert_true(vfio_user_server_runs(from->server[0]));
}

/* Returns the destination's messages. */
static char *v1_check_destination(VFIOUserMigVM *to, Destination destination)
{
    if (destination == DESTINATION_ENDS) {
        return vfio_user_mig_ended(to);
    }
    vfio_user_mig_wait_running(to);
    if (destination == DESTINATION_RUNS) {
        vfio_user_mig_vm_check(to, SEED);
        g_assert_true(vfio_user_server_runs(to->server[0]));
    } else {
        g_assert_cmphex(qtest_readl(to->qts, to->bar[0]), ==, UINT32_MAX);
    }
    return vfio_user_mig_said(to);
}

static void v1_check_said(const char *text, const char *what)
{
    if (!strstr(text, what)) {
        g_test_message("no message \"%s\" in: %s", what, text);
        g_test_fail();
    }
}

static void v1_check_row(const Row *row, bool at_destination)
{
    const VFIOUserModel *model = vfio_user_mig_region;
    VFIOUserMigVM *from = vfio_user_mig_vm_run(&model, 1,
                                               VFIO_USER_MIG_TIMEOUT_MS);
    VFIOUserMigVM *to = vfio_user_mig_vm_new(&model, 1, NULL,
                                             VFIO_USER_MIG_TIMEOUT_MS);
    VFIOUserServer *faulty = at_destination ? to->server[0] : from->server[0];
    g_autofree char *uri = vfio_user_mig_uri(to);
    g_autofree char *there = NULL;
    g_autofree char *here = NULL;

    memcpy(to->bar, from->bar, sizeof(to->bar));
    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_mig_capability(from, "return-path");
    vfio_user_mig_capability(to, "return-path");
    vfio_user_mig_downtime(from, 0);
    vfio_user_server_set_rules(faulty, row->rules);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    v1_check_source(from, row->source);
    there = v1_check_destination(to, row->destination);
    here = vfio_user_mig_why(from);
    v1_check_said(at_destination ? there : here, vfio_user_server_path(faulty));
    if (row->message) {
        v1_check_said(at_destination ? there : here, row->message);
    }
    if (!at_destination) {
        vfio_user_mig_check_why(from, "saving", 0);
    } else if (row->destination == DESTINATION_ENDS) {
        v1_check_said(there, "(device dut0): loading the device failed: ");
    }
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

static void test_source(const void *opaque)
{
    v1_check_row(opaque, false);
}

static void test_destination(const void *opaque)
{
    v1_check_row(opaque, true);
}

/*
 * A server that returns one byte of data at a time while the VM is stopped:
 * the migration fails, and the guest continues with its device.
 */
static void test_endless(void)
{
    static const VFIOUserModelMigration1 one_byte = {
        sizeof(uint64_t[2]) + 1, 4 * KiB
    };
    const VFIOUserModel one_byte_model = vfio_user_model_migration1(&one_byte);
    const VFIOUserModel *model = &one_byte_model;
    VFIOUserMigVM *from = vfio_user_mig_vm_run(&model, 1, 0);
    VFIOUserServer *server = from->server[0];
    g_autofree char *said = NULL;
    unsigned reads;

    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_mig_start(from, "exec:cat > /dev/null");
    vfio_user_mig_wait(from, "failed");
    vfio_user_mig_wait_running(from);
    reads = vfio_user_server_saw(server, VFIO_USER_REGION_READ,
                                 AT_OFFSET(MIGRATION, DATA));
    g_assert_cmpuint(reads, <, 64 * KiB);
    vfio_user_mig_vm_check(from, SEED);
    said = vfio_user_mig_why(from);
    g_assert_nonnull(strstr(said, "its state data did not end"));
    vfio_user_mig_check_why(from, "saving", 0);
    g_assert_true(vfio_user_server_runs(server));
    vfio_user_mig_vm_free(from);
}

static void add(const char *side, const Row *row,
                void (*test)(const void *opaque))
{
    g_autofree char *path =
        g_strdup_printf("/vfio-user/migration1-fault/%s-%s", side, row->name);

    qtest_add_data_func(path, row, test);
}

void vfio_user_add_migration1_fault_tests(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(source_rows); i++) {
        add("source", &source_rows[i], test_source);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(destination_rows); i++) {
        add("destination", &destination_rows[i], test_destination);
    }
    qtest_add_func("/vfio-user/migration1-fault/endless", test_endless);
}
