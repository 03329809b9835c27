/*
 * qtest of the vfio-user client: locks while a device is saved or loaded
 *
 * The migration thread reads from a server that does not answer, or writes to
 * a blocked stream.  The monitor must still answer, and the device can be
 * ejected.  Once the VM is stopped, other requests are processed only after
 * everything is saved.  The monitor of the destination does not wait for a
 * server that loads either.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>

#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 1109

#define PCIHP_EJECT 0xae08
#define EJECT_SLOT (1 << 4)

#define TIMEOUT_MS 1000
#define NEARLY_MS (TIMEOUT_MS * 3 / 4)
/* Allowance for a busy machine */
#define SLACK_MS 2000

/* A timeout that the test waits for */
#define SHORT_MS 300

#define STATE AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0)
#define SIZE AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 24)
#define DATA(at) AT_OFFSET(VFIO_USER_MIGRATION1_REGION, \
                           VFIO_USER_MIGRATION1_DATA + (at))

/* Returns the time that QEMU needs for a command without arguments, ms. */
static unsigned mig_lock_time_it(VFIOUserMigVM *vm, const char *command)
{
    gint64 begun = g_get_monotonic_time();
    unsigned took;

    qtest_qmp_assert_success(vm->qts, "{'execute': %s}", command);
    took = (g_get_monotonic_time() - begun) / G_TIME_SPAN_MILLISECOND;
    g_test_message("%s took %u ms", command, took);
    return took;
}

/* @ms: how long the server may be waited for */
static void eject_within(VFIOUserMigVM *vm, unsigned ms)
{
    gint64 begun = g_get_monotonic_time();

    qtest_outl(vm->qts, PCIHP_EJECT, EJECT_SLOT);
    qtest_qmp_eventwait(vm->qts, "DEVICE_DELETED");
    g_assert_cmpint(g_get_monotonic_time() - begun, <,
                    (ms + SLACK_MS) * G_TIME_SPAN_MILLISECOND);
}

static void mig_lock_eject(VFIOUserMigVM *vm)
{
    eject_within(vm, 0);
}

/* A VM whose server is waited for no longer than TIMEOUT_MS */
static VFIOUserMigVM *impatient_source(const VFIOUserModel *model)
{
    VFIOUserMigVM *vm = vfio_user_mig_vm_run(&model, 1, TIMEOUT_MS);

    vfio_user_mig_vm_fill(vm, SEED);
    vfio_user_server_forget(vm->server[0]);
    return vm;
}

/* Plugs a device after one was ejected; returns whether QEMU accepts it. */
static bool mig_lock_plug(VFIOUserMigVM *vm, VFIOUserServer *server)
{
    QDict *response = qtest_qmp(vm->qts, "{'execute': 'device_add',"
                                "'arguments': {'driver': 'vfio-user-pci',"
                                "'addr': '4', 'socket': %s}}",
                                vfio_user_server_path(server));
    bool taken = qdict_haskey(response, "return");

    qobject_unref(response);
    return taken;
}

/* A stream that is only read at the start */

/* Covers the memory and some data of the device, which never ends. */
#define BEGINNING (4 * MiB)

/* Number of monitor queries without progress that count as a standstill */
#define STANDSTILL 300

typedef struct Sink {
    int fd, other;
    GThread *thread;
} Sink;

static void read_away(Sink *sink, size_t size)
{
    char bytes[4096];
    ssize_t got = 1;

    for (size_t sum = 0; got > 0 && sum < size; sum += got) {
        got = read(sink->fd, bytes, sizeof(bytes));
    }
}

static gpointer read_beginning(gpointer opaque)
{
    read_away(opaque, BEGINNING);
    return NULL;
}

/* Starts to migrate @vm to the sink. */
static void sink_begin(Sink *sink, VFIOUserMigVM *vm)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    *sink = (Sink) { .fd = fds[0], .other = dup(fds[1]) };
    sink->thread = g_thread_new("sink", read_beginning, sink);
    vfio_user_mig_give(vm, fds[1]);
    vfio_user_mig_start(vm, "fd:given");
}

/*
 * Fills the socket until the migration thread blocks within the device's data.
 */
static void sink_fill(Sink *sink, VFIOUserMigVM *vm)
{
    const char bytes[4096] = { };
    unsigned before = 0, still = 0;
    ssize_t sent;

    g_thread_join(sink->thread);
    do {
        sent = send(sink->other, bytes, sizeof(bytes), MSG_DONTWAIT);
    } while (sent > 0);
    g_assert_cmpint(errno, ==, EAGAIN);
    while (still < STANDSTILL) {
        unsigned now = vfio_user_server_saw(vm->server[0],
                                            VFIO_USER_MIG_DATA_READ);

        still = now == before ? still + 1 : 0;
        before = now;
        vfio_user_mig_bytes(vm);
    }
    g_assert_cmpuint(before, >, 0);
}

/* Reads until QEMU closes the stream. */
static void sink_drain(Sink *sink)
{
    close(sink->other);
    sink->other = -1;
    read_away(sink, SIZE_MAX);
}

static void sink_end(Sink *sink)
{
    close(sink->fd);
    if (sink->other >= 0) {
        close(sink->other);
    }
}

/* Devices whose pre-copy data never ends. */

static VFIOUserModel endless_model(const void *opaque)
{
    VFIOUserModel endless = *vfio_user_mig_model_of(opaque);

    endless.migration.grows = VFIO_USER_MODEL_ENDLESS;
    return endless;
}

static void wait_data(VFIOUserMigVM *vm, unsigned nth)
{
    vfio_user_server_see(vm->server[0], VFIO_USER_MIG_DATA_READ, .nth = nth);
}

/* The monitor answers while the stream is blocked. */
static void test_unread(const void *opaque)
{
    VFIOUserModel endless = endless_model(opaque);
    VFIOUserMigVM *vm = vfio_user_mig_source(&endless, SEED);
    unsigned took;
    Sink sink;

    sink_begin(&sink, vm);
    sink_fill(&sink, vm);
    took = mig_lock_time_it(vm, "query-status");
    took += mig_lock_time_it(vm, "stop");
    took += mig_lock_time_it(vm, "query-status");
    took += mig_lock_time_it(vm, "migrate_cancel");
    g_assert_cmpuint(took, <, SLACK_MS);
    vfio_user_mig_wait(vm, "cancelled");
    mig_lock_time_it(vm, "cont");
    vfio_user_mig_wait_running(vm);
    vfio_user_mig_vm_check(vm, SEED);
    sink_end(&sink);
    vfio_user_mig_vm_free(vm);
}

/* A server that does not answer in PRE_COPY does not block the monitor. */
static void test_silent(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_MIG_DATA_READ, .nth = 3), DO_DROP },
        { }
    };
    VFIOUserModel endless = endless_model(opaque);
    const VFIOUserModel *model = &endless;
    VFIOUserMigVM *vm = vfio_user_mig_vm_run(&model, 1, TIMEOUT_MS);
    unsigned longest = 0;

    vfio_user_server_set_rules(vm->server[0], rules);
    vfio_user_mig_start(vm, "exec:cat > /dev/null");
    wait_data(vm, 3);
    for (int i = 0; i < 20; i++) {
        longest = MAX(longest, mig_lock_time_it(vm, "query-status"));
    }
    g_test_message("query-status in PRE_COPY: %u ms at most", longest);
    g_assert_cmpuint(longest, <, TIMEOUT_MS / 2);
    /* stop has to wait for this call, and then changes the state */
    g_assert_cmpuint(mig_lock_time_it(vm, "stop"), <, TIMEOUT_MS + SLACK_MS);
    vfio_user_mig_wait(vm, "failed");
    vfio_user_mig_vm_free(vm);
}

/* Neither does a server that does not answer other messages then. */
typedef struct Silent {
    const char *name;
    const VFIOUserModel *const *model;
    VFIOUserRule rule;
} Silent;

#define PAGES(what) \
    ON(VFIO_USER_DIRTY_PAGES, \
       AT_FEATURE(VFIO_IOMMU_DIRTY_PAGES_FLAG_ ## what))
#define LOGGING(deed, what) \
    ON(VFIO_USER_DEVICE_FEATURE, \
       AT_FEATURE(VFIO_DEVICE_FEATURE_ ## deed | \
                  VFIO_USER_FEATURE_DMA_LOGGING_ ## what))

static const Silent silents[] = {
    { "1/silent-record", &vfio_user_mig_region, { PAGES(START), DO_HOLD } },
    { "1/silent-look", &vfio_user_mig_region, { PAGES(GET_BITMAP), DO_HOLD } },
    { "1/silent-state", &vfio_user_mig_region,
      { ON(VFIO_USER_REGION_WRITE, STATE), DO_HOLD } },
    { "1/silent-data", &vfio_user_mig_region,
      { ON(VFIO_USER_REGION_READ, SIZE), DO_HOLD } },
    { "2/silent-record", &vfio_user_mig_pre_copy,
      { LOGGING(SET, START), DO_HOLD } },
    { "2/silent-look", &vfio_user_mig_pre_copy,
      { LOGGING(GET, REPORT), DO_HOLD } },
    { "2/silent-state", &vfio_user_mig_pre_copy,
      { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_PRE_COPY)), DO_HOLD } },
    { "2/silent-data", &vfio_user_mig_pre_copy,
      { ON(VFIO_USER_MIG_DATA_READ), DO_HOLD } },
};

/* Returns the longest response time of the monitor, ms. */
static unsigned time_monitor(VFIOUserMigVM *vm)
{
    unsigned longest = 0;

    for (int i = 0; i < 20; i++) {
        longest = MAX(longest, mig_lock_time_it(vm, "query-status"));
    }
    return longest;
}

/* @timeout_ms: of a call; 0: long */
static VFIOUserMigVM *run_silent(const Silent *row, unsigned timeout_ms)
{
    const VFIOUserRule rules[] = { row->rule, { } };
    static VFIOUserModel model;
    VFIOUserMigVM *vm;

    model = **row->model;
    model.migration.record = (VFIOUserRecordModel) { 4 * KiB };
    vm = vfio_user_mig_vm_run_impatient(&model, timeout_ms);
    vfio_user_mig_vm_fill(vm, SEED);
    /* long enough for QEMU to sync dirty pages while the VM runs */
    qtest_memset(vm->qts, 8 * MiB, 0x5a, 16 * MiB);
    vfio_user_mig_set(vm, "max-bandwidth", 32 * MiB);
    vfio_user_mig_downtime(vm, 0);
    vfio_user_server_set_rules(vm->server[0], rules);
    vfio_user_mig_start(vm, "exec:cat > /dev/null");
    vfio_user_server_wait(vm->server[0], row->rule.when);
    return vm;
}

/* A cancel completes although the server has not answered. */
static void test_silent_messages(const void *opaque)
{
    VFIOUserMigVM *vm = run_silent(opaque, 0);
    unsigned longest = time_monitor(vm);
    gint64 begun;

    vfio_user_server_set_rules(vm->server[0], NULL);
    begun = g_get_monotonic_time();
    longest = MAX(longest, mig_lock_time_it(vm, "migrate_cancel"));
    vfio_user_mig_wait(vm, "cancelled");
    g_assert_cmpint(g_get_monotonic_time() - begun, <,
                    SLACK_MS * G_TIME_SPAN_MILLISECOND);
    longest = MAX(longest, time_monitor(vm));
    g_test_message("the monitor: %u ms at most", longest);
    g_assert_cmpuint(longest, <, SLACK_MS);
    vfio_user_server_release(vm->server[0]);
    vfio_user_mig_wait_running(vm);
    vfio_user_mig_vm_check(vm, SEED);
    vfio_user_mig_vm_free(vm);
}

/*
 * After a cancel, the device is set to RUNNING.  Only the next migration waits
 * for the server to answer this.
 */
static const VFIOUserRule silent_ends[] = {
    { ON(VFIO_USER_REGION_WRITE, STATE), DO_HOLD },
    { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_RUNNING)), DO_HOLD },
    { }
};

/* Cancels a migration whose server does not answer the end of it */
static VFIOUserMigVM *cancel_silent(const Silent *row, unsigned timeout_ms)
{
    VFIOUserMigVM *vm = run_silent(row, timeout_ms);
    const VFIOUserWhen *end =
        &silent_ends[row->model != &vfio_user_mig_region].when;

    vfio_user_server_forget(vm->server[0]);
    vfio_user_server_set_rules(vm->server[0], silent_ends);
    g_assert_cmpuint(mig_lock_time_it(vm, "migrate_cancel"), <, SLACK_MS);
    vfio_user_mig_wait(vm, "cancelled");
    vfio_user_server_wait(vm->server[0], *end);
    return vm;
}

static void test_silent_end(const void *opaque)
{
    VFIOUserMigVM *vm = cancel_silent(opaque, 0);

    g_assert_cmpuint(time_monitor(vm), <, SLACK_MS);
    vfio_user_mig_refused(vm, "has not replied since the last migration");
    vfio_user_server_set_rules(vm->server[0], NULL);
    vfio_user_server_release(vm->server[0]);
    vfio_user_mig_start_when_allowed(vm);
    vfio_user_mig_wait(vm, "completed");
    vfio_user_mig_vm_free(vm);
}

/* The same for a device that is unplugged meanwhile and replaced by another. */
static void test_silent_end_eject(const void *opaque)
{
    const Silent *row = opaque;
    VFIOUserMigVM *vm = cancel_silent(row, TIMEOUT_MS);
    g_autoptr(VFIOUserServer) server = vfio_user_server_new(*row->model, NULL);

    eject_within(vm, TIMEOUT_MS);
    g_assert_true(mig_lock_plug(vm, server));
    vfio_user_server_wait_client(vm->server[0], false);
    vfio_user_mig_start(vm, "exec:cat > /dev/null");
    vfio_user_mig_wait(vm, "completed");
    vfio_user_mig_vm_free(vm);
}

/* The server loses a change to RUNNING but answers all other messages. */
typedef struct LostEnd {
    const char *name;
    const VFIOUserModel *const *model;
    VFIOUserWhen begun;
    VFIOUserRule rules[3];
    VFIOUserWhen again;
} LostEnd;

#define GET_STATE ON(VFIO_USER_DEVICE_FEATURE, \
                     AT_FEATURE(VFIO_DEVICE_FEATURE_GET | \
                                VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE))

static const LostEnd lost_ends[] = {
    /* goes through STOP_COPY, which is queried as well */
    { "1/lost-end", &vfio_user_mig_region, ON(VFIO_USER_REGION_READ, SIZE),
      { { ON(VFIO_USER_REGION_WRITE, STATE, .nth = 2), DO_HOLD },
        { ON(VFIO_USER_REGION_READ, STATE, .nth = 2), DO_PATCH,
          sizeof(VFIOUserRegionRW), BYTES(VFIO_DEVICE_STATE_V1_SAVING) } },
      ON(VFIO_USER_REGION_WRITE, STATE, .nth = 3) },
    { "2/lost-end", &vfio_user_mig_pre_copy,
      ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_PRE_COPY)),
      { { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_RUNNING), .nth = 1),
          DO_HOLD },
        { GET_STATE, DO_PATCH, sizeof(VFIOUserDeviceFeature),
          BYTES(VFIO_USER_MIG_PRE_COPY) } },
      ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_RUNNING), .nth = 2) },
};

static VFIOUserMigVM *cancel_lost(const LostEnd *row)
{
    VFIOUserMigVM *vm = vfio_user_mig_vm_run_faulty(*row->model, NULL,
                                                    SHORT_MS);

    vfio_user_mig_vm_fill(vm, SEED);
    qtest_memset(vm->qts, 8 * MiB, 0x5a, 16 * MiB);
    vfio_user_mig_set(vm, "max-bandwidth", MiB);
    vfio_user_mig_downtime(vm, 0);
    vfio_user_mig_start(vm, "exec:cat > /dev/null");
    vfio_user_server_wait(vm->server[0], row->begun);
    vfio_user_server_forget(vm->server[0]);
    vfio_user_server_set_rules(vm->server[0], row->rules);
    g_assert_cmpuint(mig_lock_time_it(vm, "migrate_cancel"), <, SLACK_MS);
    vfio_user_mig_wait(vm, "cancelled");
    return vm;
}

/* QEMU queries the state and repeats the change. */
static void test_lost_end(const void *opaque)
{
    const LostEnd *row = opaque;
    VFIOUserMigVM *vm = cancel_lost(row);

    vfio_user_server_wait(vm->server[0], row->again);
    vfio_user_mig_set(vm, "max-bandwidth", GiB);
    vfio_user_mig_start_when_allowed(vm);
    vfio_user_mig_wait(vm, "completed");
    vfio_user_mig_vm_free(vm);
}

/* QEMU exits while a thread waits for the server. */
static void test_lost_end_quit(const void *opaque)
{
    const LostEnd *row = opaque;
    VFIOUserMigVM *vm = cancel_lost(row);

    vfio_user_server_wait(vm->server[0], row->rules[0].when);
    vfio_user_mig_vm_free(vm);
}

/* Servers that do not answer while the destination loads */
static const Silent silent_loads[] = {
    { "1/silent-resuming", &vfio_user_mig_region,
      { ON(VFIO_USER_REGION_WRITE, STATE), DO_HOLD } },
    { "1/silent-write", &vfio_user_mig_region,
      { ON(VFIO_USER_REGION_WRITE, SIZE), DO_HOLD } },
    { "2/silent-resuming", &vfio_user_mig_pre_copy,
      { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_RESUMING)), DO_HOLD } },
    { "2/silent-write", &vfio_user_mig_pre_copy,
      { ON(VFIO_USER_MIG_DATA_WRITE), DO_HOLD } },
    { "2/silent-loaded", &vfio_user_mig_pre_copy,
      { ON(VFIO_USER_DEVICE_FEATURE, AT(VFIO_USER_MIG_STOP), .nth = 2),
        DO_HOLD } },
};

static void test_silent_load(const void *opaque)
{
    const Silent *row = opaque;
    const VFIOUserRule rules[] = { row->rule, { } };
    VFIOUserMigVM *from = vfio_user_mig_source(*row->model, SEED);
    VFIOUserMigVM *to = vfio_user_mig_destination(*row->model);
    g_autofree char *uri = vfio_user_mig_uri(to);
    unsigned longest;

    vfio_user_server_set_rules(to->server[0], rules);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_server_wait(to->server[0], row->rule.when);
    longest = time_monitor(to);
    g_test_message("the monitor: %u ms at most", longest);
    g_assert_cmpuint(longest, <, SLACK_MS);
    vfio_user_server_set_rules(to->server[0], NULL);
    vfio_user_server_release(to->server[0]);
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

/* Ejection while the device is saved */

/* Checks that the VM continues and migrates without the device. */
static void check_ejected(VFIOUserMigVM *vm)
{
    g_autofree char *said = NULL;

    vfio_user_mig_wait(vm, "failed");
    vfio_user_mig_wait_running(vm);
    said = vfio_user_mig_why(vm);
    g_assert_nonnull(strstr(said, "the device was unplugged"));
    vfio_user_mig_check_why(vm, "saving", 0);
    vfio_user_server_wait_client(vm->server[0], false);
    vfio_user_mig_start(vm, "exec:cat > /dev/null");
    vfio_user_mig_wait(vm, "completed");
}

/* The migration thread is at any point of its work. */
static void test_eject(const void *opaque)
{
    VFIOUserModel endless = endless_model(opaque);
    VFIOUserMigVM *vm = vfio_user_mig_source(&endless, SEED);

    vfio_user_mig_start(vm, "exec:cat > /dev/null");
    wait_data(vm, 3);
    mig_lock_eject(vm);
    check_ejected(vm);
    vfio_user_mig_vm_free(vm);
}

/* Another device is plugged as soon as QEMU allows it, before the cleanup. */
static void test_eject_plug(const void *opaque)
{
    VFIOUserModel endless = endless_model(opaque);
    VFIOUserMigVM *vm = vfio_user_mig_source(&endless, SEED);
    g_autoptr(GPtrArray) servers = g_ptr_array_new_with_free_func(
        (GDestroyNotify)vfio_user_server_free);

    for (int i = 0; i < 8; i++) {
        gint64 end = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
        VFIOUserServer *server = vfio_user_server_new(&endless, NULL);

        g_ptr_array_add(servers, server);
        vfio_user_mig_start_when_allowed(vm);
        vfio_user_mig_wait(vm, "active");
        mig_lock_eject(vm);
        while (!mig_lock_plug(vm, server)) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
        }
    }
    vfio_user_mig_wait_running(vm);
    vfio_user_mig_vm_free(vm);
}

/* The migration thread waits for the server. */
static void test_eject_silent(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_MIG_DATA_READ, .nth = 3), DO_DROP },
        { }
    };
    VFIOUserModel endless = endless_model(opaque);
    VFIOUserMigVM *vm = impatient_source(&endless);

    vfio_user_server_set_rules(vm->server[0], rules);
    vfio_user_mig_start(vm, "exec:cat > /dev/null");
    wait_data(vm, 3);
    eject_within(vm, TIMEOUT_MS);
    check_ejected(vm);
    vfio_user_mig_vm_free(vm);
}

/* The migration thread is blocked writing data of the device to the stream. */
static void test_eject_unread(const void *opaque)
{
    VFIOUserModel endless = endless_model(opaque);
    VFIOUserMigVM *vm = vfio_user_mig_source(&endless, SEED);
    Sink sink;

    sink_begin(&sink, vm);
    sink_fill(&sink, vm);
    mig_lock_eject(vm);
    sink_drain(&sink);
    check_ejected(vm);
    sink_end(&sink);
    vfio_user_mig_vm_free(vm);
}

/* Migration v1 with chunks of four messages. */
static VFIOUserModel chunk_model(void)
{
    VFIOUserModel model = *vfio_user_mig_region;

    model.version = vfio_user_mig_pre_copy->version;
    return model;
}

/* Within a chunk. */
static void test_eject_chunk(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_REGION_READ, DATA(4096)), DO_DROP },
        { }
    };
    VFIOUserModel model = chunk_model();
    VFIOUserMigVM *vm = impatient_source(&model);

    vfio_user_server_set_rules(vm->server[0], rules);
    vfio_user_mig_start(vm, "exec:cat > /dev/null");
    vfio_user_server_see(vm->server[0], VFIO_USER_REGION_READ, DATA(4096));
    eject_within(vm, TIMEOUT_MS);
    check_ejected(vm);
    vfio_user_mig_vm_free(vm);
}

/* Chunks */

/* Checks that each chunk was read to its end before the state changed. */
static void mig_lock_check_chunks(VFIOUserServer *s)
{
    const VFIOUserWhen state = ON(VFIO_USER_REGION_WRITE, STATE);
    const VFIOUserWhen some = ON(VFIO_USER_REGION_READ, DATA(4096));
    const VFIOUserWhen last = ON(VFIO_USER_REGION_READ, DATA(12288));
    g_autoptr(GArray) log = vfio_user_server_log(s);
    unsigned states = 0, begun = 0, ended = 0;

    for (unsigned i = 0; i < log->len && states < 2; i++) {
        VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);
        uint16_t command = seen->header.command;

        states += vfio_user_when_holds(&state, command, seen->payload,
                                       seen->length);
        begun += vfio_user_when_holds(&some, command, seen->payload,
                                      seen->length);
        ended += vfio_user_when_holds(&last, command, seen->payload,
                                      seen->length);
    }
    g_assert_cmpuint(states, ==, 2);
    g_assert_cmpuint(begun, >=, 1);
    g_assert_cmpuint(begun, ==, ended);
}

/* The VM is stopped within a chunk, and no data is lost. */
static void test_stop_in_chunk(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_REGION_READ, DATA(4096)), DO_DELAY, 150 },
        { }
    };
    VFIOUserModel model = chunk_model();
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(&model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(&model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_server_set_rules(from->server[0], rules);
    vfio_user_mig_listen(to, uri);
    vfio_user_mig_start(from, uri);
    vfio_user_server_see(from->server[0], VFIO_USER_REGION_READ, DATA(4096));
    mig_lock_time_it(from, "stop");
    vfio_user_mig_wait(from, "completed");
    vfio_user_mig_wait(to, "completed");
    qtest_qmp_assert_success(to->qts, "{'execute': 'cont'}");
    memcpy(to->bar, from->bar, sizeof(to->bar));
    vfio_user_mig_vm_check(to, SEED);
    mig_lock_check_chunks(from->server[0]);
}

/* While the VM is stopped */

/* A reset requested meanwhile is executed after everything is saved. */
static void test_reset_in_completion(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_MIG_DATA_READ), DO_DELAY, 150 },
        { }
    };
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_source(model, SEED);
    g_autoptr(VFIOUserMigVM) to = vfio_user_mig_destination(model);
    g_autofree char *uri = vfio_user_mig_uri(to);

    vfio_user_mig_listen(to, uri);
    vfio_user_server_set_rules(from->server[0], rules);
    vfio_user_mig_start(from, uri);
    wait_data(from, 1);
    qtest_qmp_send(from->qts, "{'execute': 'system_reset'}");
    qobject_unref(qtest_qmp_receive(from->qts));
    vfio_user_mig_arrive(from, to);
    vfio_user_mig_vm_check(to, SEED);
    g_assert_cmpuint(vfio_user_server_saw(from->server[0],
                                          VFIO_USER_DEVICE_RESET), ==, 0);
}

/* QEMU waits for a slow server until the budget is used up, and not again. */
static void check_slow(const VFIOUserModel *model, const VFIOUserRule *rules)
{
    VFIOUserMigVM *vm = vfio_user_mig_vm_run(&model, 1, TIMEOUT_MS);
    g_autofree char *said = NULL;
    gint64 begun = g_get_monotonic_time();
    unsigned took;

    vfio_user_server_set_rules(vm->server[0], rules);
    vfio_user_mig_start(vm, "exec:cat > /dev/null");
    vfio_user_mig_wait(vm, "failed");
    took = (g_get_monotonic_time() - begun) / G_TIME_SPAN_MILLISECOND;
    g_test_message("failed after %u ms", took);
    g_assert_cmpuint(took, <, (6 + 12) * TIMEOUT_MS + 2 * SLACK_MS);
    vfio_user_server_wait_client(vm->server[0], false);
    vfio_user_mig_wait_running(vm);
    g_assert_cmpuint(mig_lock_time_it(vm, "stop"), <, SLACK_MS);
    said = vfio_user_mig_said(vm);
    g_assert_nonnull(strstr(said, "the operation used up its time of 12000"
                                  " ms"));
    vfio_user_mig_vm_free(vm);
}

static void test_slow_completion(const void *opaque)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_MIG_DATA_READ), DO_DELAY, NEARLY_MS },
        { }
    };
    VFIOUserModel model = *vfio_user_mig_model_of(opaque);

    model.migration.filling = 1 * GiB;
    check_slow(&model, rules);
}

/* 16 bytes at a time */
static void test_small_reads(void)
{
    static const VFIOUserPersonality small_reads = { .most_read = 16 };
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_MIG_DATA_READ), DO_DELAY, NEARLY_MS },
        { }
    };
    VFIOUserModel model = *vfio_user_mig_stop_copy;

    model.personality = &small_reads;
    check_slow(&model, rules);
}

static void add(const char *name, const VFIOUserModel *const *model,
                void (*test)(const void *opaque))
{
    const VFIOUserPersonality *p = (*model)->personality;
    g_autofree char *path =
        g_strdup_printf("/vfio-user/migration-lock/%s%s%s", p ? p->name : "",
                        p ? "/" : "", name);

    qtest_add_data_func(path, model, test);
}

static void add_silent(const Silent *row, const char *what,
                       void (*test)(const void *opaque))
{
    g_autofree char *path = g_strdup_printf("/vfio-user/migration-lock/%s%s",
                                            row->name, what);

    qtest_add_data_func(path, row, test);
}

void vfio_user_add_migration_lock_tests(void)
{
    static const VFIOUserModel *const *const servers[] = {
        &vfio_user_mig_pre_copy, &vfio_user_mig_pre_copy_2026,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(servers); i++) {
        add("unread", servers[i], test_unread);
        add("silent", servers[i], test_silent);
        add("eject", servers[i], test_eject);
        add("eject-plug", servers[i], test_eject_plug);
        add("eject-silent", servers[i], test_eject_silent);
        add("eject-unread", servers[i], test_eject_unread);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(lost_ends); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/migration-lock/%s",
                                                lost_ends[i].name);
        g_autofree char *quit = g_strdup_printf("%s-quit", path);

        qtest_add_data_func(path, &lost_ends[i], test_lost_end);
        qtest_add_data_func(quit, &lost_ends[i], test_lost_end_quit);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(silents); i++) {
        add_silent(&silents[i], "", test_silent_messages);
        if (g_str_has_suffix(silents[i].name, "-data")) {
            add_silent(&silents[i], "-end", test_silent_end);
            add_silent(&silents[i], "-end-eject", test_silent_end_eject);
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(silent_loads); i++) {
        add_silent(&silent_loads[i], "", test_silent_load);
    }
    add("reset-in-completion", &vfio_user_mig_stop_copy,
        test_reset_in_completion);
    add("slow-completion", &vfio_user_mig_stop_copy, test_slow_completion);
    qtest_add_func("/vfio-user/migration-lock/slow-crumbs", test_small_reads);
    qtest_add_func("/vfio-user/migration-lock/1/eject-chunk",
                   test_eject_chunk);
    qtest_add_func("/vfio-user/migration-lock/1/stop-in-chunk",
                   test_stop_in_chunk);
}
