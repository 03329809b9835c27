/*
 * qtest of the vfio-user client: migration of the first generation
 *
 * The state of a device arrives through the migration region of version
 * 0.9.1; a server that refuses or lies, and a stream that somebody changed,
 * cost the migration and no VM.  Dirty pages have tests of their own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "qapi/qmp/qdict.h"
#include "qemu/bswap.h"
#include "vfio-user-pair.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define STATE (64 * KiB)        /* of BAR 2 */
#define MIGRATION VFIO_USER_MIGRATION1_REGION
#define DATA VFIO_USER_MIGRATION1_DATA

#define REG_STATE 0
#define REG_PENDING 8
#define REG_OFFSET 16
#define REG_SIZE 24

/* Chunks of two sizes: neither side knows how the other one cuts. */
static const VFIOUserModelMigration1 large = { 16 * KiB, 4 * KiB };
static const VFIOUserModelMigration1 small = { 4 * KiB, 4 * KiB };

static void fill_state(VFIOUserServer *s, uint8_t seed)
{
    uint8_t state[STATE];

    for (size_t i = 0; i < STATE; i++) {
        state[i] = seed + i * 7 + i / 256;
    }
    vfio_user_server_poke(s, VFIO_PCI_BAR2_REGION_INDEX, 0, state, STATE);
}

static void check_same_state(VFIOUserPair *pair)
{
    uint8_t was[STATE], is[STATE];

    vfio_user_server_peek(pair->server[VFIO_USER_SOURCE],
                          VFIO_PCI_BAR2_REGION_INDEX, 0, was, STATE);
    vfio_user_server_peek(pair->server[VFIO_USER_DESTINATION],
                          VFIO_PCI_BAR2_REGION_INDEX, 0, is, STATE);
    g_assert_cmpmem(is, STATE, was, STATE);
}

static void mapped(VFIOUserModel *model)
{
    VFIOUserModelRegion *region = &model->region[MIGRATION];

    region->flags |= VFIO_REGION_INFO_FLAG_MMAP;
    region->nr_areas = 1;
    region->areas[0].offset = DATA;
    region->areas[0].size = region->size - DATA;
}

static void test_state(const void *opaque)
{
    VFIOUserModel source = vfio_user_model_migration1(opaque ? &small : &large);
    VFIOUserModel destination = vfio_user_model_migration1(opaque ? &large :
                                                                    &small);
    g_autoptr(VFIOUserPair) pair = NULL;
    unsigned i;

    if (opaque) {
        mapped(&source);
        mapped(&destination);
    }
    pair = vfio_user_pair_new(true, &source, &destination);
    fill_state(pair->server[VFIO_USER_SOURCE], 3);
    vfio_user_pair_migrate(pair);
    check_same_state(pair);
    g_assert_false(vfio_user_server_runs(pair->server[VFIO_USER_SOURCE]));
    g_assert_true(vfio_user_server_runs(pair->server[VFIO_USER_DESTINATION]));
    for (i = 0; i < 2; i++) {
        unsigned reads = vfio_user_server_saw(pair->server[i],
                                              VFIO_USER_REGION_READ,
                                              AT_OFFSET(MIGRATION, DATA));
        unsigned writes = vfio_user_server_saw(pair->server[i],
                                               VFIO_USER_REGION_WRITE,
                                               AT_OFFSET(MIGRATION, DATA));

        g_assert_cmpint(reads + writes > 0, ==, !opaque);
    }
}

/* A server that takes the bytes away which it shares. */
static void test_cut_file(void)
{
    VFIOUserModel model = vfio_user_model_migration1(&large);
    g_autoptr(VFIOUserPair) pair = NULL;

    mapped(&model);
    pair = vfio_user_pair_new(true, &model, &model);
    vfio_user_server_truncate(pair->server[VFIO_USER_SOURCE], MIGRATION, DATA);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "failed");
    vfio_user_pair_check_status(pair, VFIO_USER_SOURCE, "running");
    vfio_user_pair_destination_fails(pair);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE,
                                         "the file is too short"), >, 0);
}

static QDict *query(VFIOUserPair *pair)
{
    QDict *response = qtest_qmp(pair->qts[VFIO_USER_SOURCE],
                                "{'execute': 'query-migrate'}");
    QDict *ret = qdict_get_qdict(response, "return");

    g_assert_nonnull(ret);
    qobject_ref(ret);
    qobject_unref(response);
    return ret;
}

static void test_file(void)
{
    VFIOUserModel model = vfio_user_model_migration1(&large);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &model, NULL);
    g_autofree char *path = g_build_filename(pair->dir, "saved", NULL);
    g_autofree char *from = g_strdup_printf("exec:cat %s", path);
    QDict *info;

    g_free(pair->uri);
    pair->uri = g_strdup_printf("exec:cat >%s", path);
    fill_state(pair->server[VFIO_USER_SOURCE], 4);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "completed");

    info = query(pair);
    g_assert_cmpint(qdict_get_int(qdict_get_qdict(info, "vfio"),
                                  "transferred"), >=, STATE);
    qobject_unref(info);

    vfio_user_pair_add(pair, &model, from);
    vfio_user_pair_check_status(pair, VFIO_USER_DESTINATION, "running");
    check_same_state(pair);
    g_unlink(path);
}

/* A VM that is paused migrates, and is paused there until it is continued. */
static void test_paused(void)
{
    VFIOUserModel model = vfio_user_model_migration1(&large);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &model, &model);

    fill_state(pair->server[VFIO_USER_SOURCE], 5);
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'stop'}");
    g_assert_false(vfio_user_server_runs(pair->server[VFIO_USER_SOURCE]));
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "completed");
    vfio_user_pair_check_status(pair, VFIO_USER_DESTINATION, "paused");
    check_same_state(pair);
    g_assert_false(vfio_user_server_runs(pair->server[VFIO_USER_DESTINATION]));
    qtest_qmp_assert_success(pair->qts[VFIO_USER_DESTINATION],
                             "{'execute': 'cont'}");
    g_assert_true(vfio_user_server_runs(pair->server[VFIO_USER_DESTINATION]));
}

/* A little of anything that takes long enough to be cancelled. */
static void fill_memory(VFIOUserPair *pair)
{
    qtest_memset(pair->qts[VFIO_USER_SOURCE], 8 * MiB, 0x5a, 32 * MiB);
}

static void start_slowly(VFIOUserPair *pair)
{
    fill_memory(pair);
    vfio_user_pair_set(pair, "max-bandwidth", 1 * MiB);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "active");
    vfio_user_server_see(pair->server[VFIO_USER_SOURCE],
                         VFIO_USER_REGION_READ,
                         AT_OFFSET(MIGRATION, REG_PENDING));
}

static void check_works(VFIOUserPair *pair)
{
    vfio_user_pair_check_status(pair, VFIO_USER_SOURCE, "running");
    g_assert_true(vfio_user_server_runs(pair->server[VFIO_USER_SOURCE]));
}

static void test_cancel(void)
{
    VFIOUserModel model = vfio_user_model_migration1(&large);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &model, &model);

    fill_state(pair->server[VFIO_USER_SOURCE], 6);
    start_slowly(pair);
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'migrate_cancel'}");
    vfio_user_pair_wait(pair, "cancelled");
    check_works(pair);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE, "Failed"),
                     ==, 0);
    vfio_user_pair_destination_fails(pair);
    vfio_user_server_wait_client(pair->server[VFIO_USER_DESTINATION], false);
    vfio_user_server_free(pair->server[VFIO_USER_DESTINATION]);

    /* and at once again */
    vfio_user_pair_add(pair, &model, pair->uri);
    vfio_user_pair_set(pair, "max-bandwidth", 4 * GiB);
    vfio_user_pair_migrate(pair);
    check_same_state(pair);
}

static void test_refused(void)
{
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, NULL, NULL);
    QDict *response = qtest_qmp(pair->qts[VFIO_USER_SOURCE], "{'execute':"
                                " 'migrate', 'arguments': {'uri': %s}}",
                                pair->uri);
    const char *text = qdict_get_str(qdict_get_qdict(response, "error"),
                                     "desc");

    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, vfio_user_server_path(
                                      pair->server[VFIO_USER_SOURCE])));
    g_assert_nonnull(strstr(text, "doesn't support migration"));
    qobject_unref(response);
}

/* Faults of servers */

typedef struct Fault {
    const char *name;
    VFIOUserRule rules[4];      /* the last is empty */
    bool late;                  /* the VM has arrived by then */
} Fault;

#define READ(reg, ...) ON(VFIO_USER_REGION_READ, AT_OFFSET(MIGRATION, reg), \
                          __VA_ARGS__)
#define WRITE(reg, ...) ON(VFIO_USER_REGION_WRITE, \
                           AT_OFFSET(MIGRATION, reg), __VA_ARGS__)
#define SAYS(reg, value, ...) \
    { READ(reg, __VA_ARGS__), DO_PATCH, 16, STRUCT(uint64_t, value) }
#define SAYS_STATE(value) \
    { READ(REG_STATE), DO_PATCH, 16, STRUCT(uint32_t, value) }

static const Fault source_faults[] = {
    { "pre-copy-refused", { { WRITE(REG_STATE), DO_FAIL, EINVAL } } },
    { "stop-refused", { { WRITE(REG_STATE, .nth = 2), DO_FAIL, EINVAL } } },
    { "stop-refused-with-error-state", {
        { WRITE(REG_STATE, .nth = 2), DO_FAIL, EINVAL },
        { READ(REG_STATE, .nth = 3), DO_PATCH, 16, STRUCT(uint32_t, 6) } } },
    { "state-of-error", { SAYS_STATE(6) } },
    { "state-of-nonsense", { SAYS_STATE(UINT32_MAX) } },
    { "state-unreadable", { { READ(REG_STATE), DO_FAIL, EIO } } },
    { "state-never", { { READ(REG_STATE, .nth = 1), DO_DROP } } },
    { "pending-16-exbibytes", { SAYS(REG_PENDING, UINT64_MAX) } },
    { "pending-for-ever", { SAYS(REG_PENDING, 1000) } },
    { "pending-unreadable", { { READ(REG_PENDING), DO_FAIL, EIO } } },
    { "pending-short", { { READ(REG_PENDING), DO_LENGTH, 20 } } },
    { "offset-outside", { SAYS(REG_OFFSET, 1ULL << 40) } },
    { "offset-at-end", { SAYS(REG_OFFSET, DATA + 16 * KiB) } },
    { "offset-in-registers", { SAYS(REG_OFFSET, 0) } },
    { "offset-wraps", { SAYS(REG_OFFSET, UINT64_MAX - 7) } },
    { "size-outside", { SAYS(REG_SIZE, 16 * KiB + 1) } },
    { "size-16-exbibytes", { SAYS(REG_SIZE, UINT64_MAX) } },
    { "data-unreadable", { { READ(DATA), DO_FAIL, EIO } } },
    { "data-short", { { READ(DATA), DO_PATCH, 12, BYTES(0, 0) } } },
    { "data-never", { { READ(DATA), DO_DROP } } },
    { "death-at-state", { { READ(REG_STATE), DO_CUT, 0 } } },
    { "death-at-pending", { { READ(REG_PENDING), DO_CUT, 0 } } },
    { "death-in-data", { { READ(DATA), DO_CUT, 100 } } },
    { "death-at-stop", { { WRITE(REG_STATE, .nth = 2), DO_CUT, 0 } } },
};

/* The migration fails, and source and monitor live on. */
static void test_source_fault(const void *opaque)
{
    const Fault *fault = opaque;
    VFIOUserModel model = vfio_user_model_migration1(&large);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &model, &model);
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];

    vfio_user_server_set_rules(server, fault->rules);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "failed");
    vfio_user_pair_check_status(pair, VFIO_USER_SOURCE, "running");
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE,
                                         vfio_user_server_path(server)),
                     >, 0);
    vfio_user_pair_destination_fails(pair);
    vfio_user_server_set_rules(server, NULL);
}

static const Fault destination_faults[] = {
    { "resuming-refused", { { WRITE(REG_STATE), DO_FAIL, EINVAL } } },
    { "state-of-error", { SAYS_STATE(6) } },
    { "state-never", { { READ(REG_STATE), DO_DROP } } },
    { "offset-unreadable", { { READ(REG_OFFSET), DO_FAIL, EIO } } },
    { "offset-at-end", { SAYS(REG_OFFSET, DATA + 4 * KiB) } },
    { "offset-outside", { SAYS(REG_OFFSET, 1ULL << 40) } },
    { "offset-in-registers", { SAYS(REG_OFFSET, 0) } },
    { "data-refused", { { WRITE(DATA), DO_FAIL, EINVAL } } },
    { "size-refused", { { WRITE(REG_SIZE), DO_FAIL, EINVAL } } },
    { "death-in-data", { { WRITE(DATA), DO_CUT, 0 } } },
    { "running-refused", { { WRITE(REG_STATE, .nth = 2), DO_FAIL, EINVAL } },
      .late = true },
};

/* It ends with a message, and the source, which hears of it, goes on. */
static void test_destination_fault(const void *opaque)
{
    const Fault *fault = opaque;
    VFIOUserModel source = vfio_user_model_migration1(&large);
    VFIOUserModel destination = vfio_user_model_migration1(&small);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &source,
                                                      &destination);
    VFIOUserServer *server = pair->server[VFIO_USER_DESTINATION];

    vfio_user_server_set_rules(server, fault->rules);
    vfio_user_pair_return_path(pair);
    vfio_user_pair_start(pair);
    if (fault->late) {
        vfio_user_pair_wait(pair, "completed");
        vfio_user_pair_check_status(pair, VFIO_USER_DESTINATION, "running");
    } else {
        vfio_user_pair_destination_fails(pair);
        vfio_user_pair_wait(pair, "failed");
        check_works(pair);
    }
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_DESTINATION,
                                         vfio_user_server_path(server)),
                     >, 0);
}

/* Streams that somebody changed */

typedef struct Change {
    const char *name;
    uint32_t flag;              /* of QEMU's VFIO stream: where */
    int skip;                   /* bytes from the beginning of the flag */
    uint64_t value;             /* is there then; 0: the stream ends there */
} Change;

#define FLAG_CONFIG 0xef100002
#define FLAG_SETUP 0xef100003
#define FLAG_DATA 0xef100004

static const Change changes[] = {
    { "ends-in-setup", FLAG_SETUP, 8 },
    { "ends-before-data", FLAG_DATA, 0 },
    { "ends-before-size", FLAG_DATA, 8 },
    { "ends-in-data", FLAG_DATA, 5000 },
    { "ends-in-config", FLAG_CONFIG, 100 },
    { "setup-of-nonsense", FLAG_SETUP, 8, 0x1234 },
    { "flag-of-nonsense", FLAG_DATA, 0, 0x1234 },
    { "data-of-1-byte", FLAG_DATA, 8, 1 },
    { "data-of-8-exbibytes", FLAG_DATA, 8, 1ULL << 63 },
    { "data-of-16-exbibytes", FLAG_DATA, 8, UINT64_MAX },
    { "state-of-other-device", FLAG_DATA, 16, UINT64_MAX },
};

static char *save(const VFIOUserModel *model, gsize *size)
{
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, model, NULL);
    g_autofree char *path = g_build_filename(pair->dir, "saved", NULL);
    char *stream;

    g_free(pair->uri);
    pair->uri = g_strdup_printf("exec:cat >%s", path);
    fill_state(pair->server[VFIO_USER_SOURCE], 7);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait(pair, "completed");
    g_assert_true(g_file_get_contents(path, &stream, size, NULL));
    g_unlink(path);
    return stream;
}

static void test_change(const void *opaque)
{
    const Change *change = opaque;
    VFIOUserModel model = vfio_user_model_migration1(&large);
    uint64_t flag = cpu_to_be64(0xffffffff00000000ULL | change->flag);
    g_autofree char *dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "saved", NULL);
    VFIOUserServer *server;
    g_autofree char *args = NULL, *text = NULL, *stream = NULL;
    char *at;
    gsize size;

    stream = save(&model, &size);
    at = memmem(stream, size, &flag, sizeof(flag));
    g_assert_nonnull(at);
    at += change->skip;
    if (change->value) {
        stq_be_p(at, change->value);
    } else {
        size = at - stream;
    }
    g_assert_true(g_file_set_contents(path, stream, size, NULL));

    server = vfio_user_server_new(&model, NULL);
    args = g_strdup_printf(VFIO_USER_RIG_SHARED "-device vfio-user-pci,id=dut,"
                           "addr=4,socket=%s -incoming 'exec:cat %s'",
                           vfio_user_server_path(server), path);
    g_assert_cmpint(vfio_user_rig_run(args, &text), ==, 1);
    g_assert_cmpuint(vfio_user_rig_lines(text), >, 0);
    g_unlink(path);
    g_rmdir(dir);
    vfio_user_server_free(server);
}

void vfio_user_add_migration1_tests(void)
{
    qtest_add_data_func("/vfio-user/migration1/state", NULL, test_state);
    qtest_add_data_func("/vfio-user/migration1/state-mapped", "", test_state);
    qtest_add_func("/vfio-user/migration1/cut-file", test_cut_file);
    qtest_add_func("/vfio-user/migration1/file", test_file);
    qtest_add_func("/vfio-user/migration1/paused", test_paused);
    qtest_add_func("/vfio-user/migration1/cancel", test_cancel);
    qtest_add_func("/vfio-user/migration1/refused", test_refused);
    for (size_t i = 0; i < ARRAY_SIZE(source_faults); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration1/source/%s",
                            source_faults[i].name);

        qtest_add_data_func(path, &source_faults[i], test_source_fault);
    }
    for (size_t i = 0; i < ARRAY_SIZE(destination_faults); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration1/destination/%s",
                            destination_faults[i].name);

        qtest_add_data_func(path, &destination_faults[i],
                            test_destination_fault);
    }
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration1/stream/%s",
                            changes[i].name);

        qtest_add_data_func(path, &changes[i], test_change);
    }
}
