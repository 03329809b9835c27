/*
 * qtest of the vfio-user client: dirty pages
 *
 * A DMA engine of the server keeps writing to guest memory while the VM
 * migrates.  The destination must have what the server wrote, whether or not
 * it tracks dirty pages, with migration v1 and v2.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "libqos/pci-pc.h"
#include "qobject/qdict.h"
#include "vfio-user-tests.h"
#include "vfio-user-writer.h"

#define UNTRACKED "the server does not track dirty pages"

#define START (VFIO_DEVICE_FEATURE_SET | VFIO_USER_FEATURE_DMA_LOGGING_START)
#define STOP (VFIO_DEVICE_FEATURE_SET | VFIO_USER_FEATURE_DMA_LOGGING_STOP)
#define REPORT (VFIO_DEVICE_FEATURE_GET | \
                VFIO_USER_FEATURE_DMA_LOGGING_REPORT)

typedef struct Case {
    const char *name;
    const char *version;        /* JSON; NULL: the model's */
    VFIOUserModelMigration1 migration;
    bool by_message;
    bool at_once;
    unsigned tracked;           /* V1, V2 or BOTH: tracks dirty pages */
} Case;

#define V1 1
#define V2 2
#define BOTH (V1 | V2)

#define JSON(text) "{\"capabilities\":{\"max_msg_fds\":8," text "}}"

static const Case cases[] = {
    { "record", NULL, { 64 * KiB, 4 * KiB }, .tracked = BOTH },
    { "runs", NULL, { 64 * KiB, 4 * KiB }, .tracked = BOTH, .at_once = true },
    { "no-record", NULL, { 64 * KiB, 0 } },
    /* the bitmap needs 64 and 8 messages */
    { "small-bitmaps", JSON("\"migration\":{\"pgsize\":4096,"
                            "\"max_bitmap_size\":32}"),
      { 64 * KiB, 4 * KiB, 32 }, .tracked = BOTH },
    { "small-messages", JSON("\"max_data_xfer_size\":296,"
                             "\"migration\":{\"pgsize\":4096}"),
      { 64 * KiB, 4 * KiB, .max_data = 296 }, .tracked = BOTH },
    { "small-pages", JSON("\"migration\":{\"pgsize\":1024}"),
      { 64 * KiB, 1 * KiB }, .tracked = BOTH },
    /* migration v1 uses the smaller page size of both sides */
    { "large-pages", JSON("\"migration\":{\"pgsize\":65536}"),
      { 64 * KiB, 64 * KiB }, .tracked = V2 },
    /* two memory ranges in a message that fits one; v1 bitmaps do not fit */
    { "one-range", JSON("\"max_data_xfer_size\":47"),
      { 64 * KiB, 4 * KiB, .max_data = 47 }, .tracked = V2 },
    { "messages", NULL, { 64 * KiB, 4 * KiB }, .by_message = true },
};

static VFIOUserModel dirty_model_of(const Case *c, bool v2)
{
    VFIOUserModel model = v2 ? vfio_user_model :
                          vfio_user_model_migration1(&c->migration);

    if (v2) {
        model.migration = (VFIOUserMigrationModel) {
            .flags = VFIO_USER_MODEL_STOP_COPY | VFIO_USER_MODEL_PRE_COPY,
            .record = {
                c->migration.pgsize, c->migration.max_bitmap,
                c->migration.max_data,
            },
        };
    }
    if (c->version) {
        model.version = c->version;
    }
    return model;
}

/* Counts the messages that start dirty page tracking. */
static unsigned dirty_count_messages(VFIOUserPair *pair)
{
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];

    return vfio_user_server_saw(server, VFIO_USER_DIRTY_PAGES) +
           vfio_user_server_saw(server, VFIO_USER_DEVICE_FEATURE,
                                AT_FEATURE(START));
}

static void check_case(const Case *c, bool v2)
{
    VFIOUserModel model = dirty_model_of(c, v2);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(!c->by_message, &model,
                                                      &model);
    VFIOUserWriter w = {
        .server = pair->server[VFIO_USER_SOURCE], .by_message = c->by_message,
        .at_once = c->at_once,
    };
    bool tracked = c->tracked & (v2 ? V2 : V1);
    unsigned said;

    vfio_user_writer_migrate(&w, pair, tracked || c->by_message);
    said = vfio_user_pair_said(pair, VFIO_USER_SOURCE, UNTRACKED);
    g_assert_cmpuint(said, ==, !tracked && !c->by_message);
    if (c->by_message) {
        g_assert_cmpuint(dirty_count_messages(pair), ==, 0);
    }
}

static void test_v1(const void *opaque)
{
    check_case(opaque, false);
}

static void test_v2(const void *opaque)
{
    check_case(opaque, true);
}

/* Changes of DMA maps */

#define PLACE 0xf1000              /* in memory that PAM0 protects */
#define PAM0 0x59               /* register of the host bridge */
#define PAM0_RAM 0x30
#define PAM0_READ_ONLY 0x10
#define FILL (8 * MiB)          /* memory that is slow to send */
#define FILL_SIZE (8 * MiB)
#define VALUE 0x1122334455667788ull

typedef struct Change {
    const char *name;
    bool v2;                    /* migration v2, else v1 */
    bool appears;               /* the map is added, else removed */
} Change;

static const Change changes[] = {
    { "/vfio-user/dirty/unmap", false, false },
    { "/vfio-user/dirty/map", false, true },
    { "/vfio-user/logging/unmap", true, false },
    { "/vfio-user/logging/map", true, true },
};

static void protect(VFIOUserPair *pair, uint8_t how)
{
    QPCIBus *bus = qpci_new_pc(pair->qts[VFIO_USER_SOURCE], NULL);
    QPCIDevice *host = qpci_device_find(bus, QPCI_DEVFN(0, 0));

    qpci_config_writeb(host, PAM0, how);
    g_free(host);
    qpci_free_pc(bus);
}

/* Low memory is sent first, so it has been sent when 2 MiB were. */
static void dirty_start_slowly(VFIOUserPair *pair)
{
    qtest_memset(pair->qts[VFIO_USER_SOURCE], FILL, 0x5a, FILL_SIZE);
    vfio_user_pair_set(pair, "max-bandwidth", 2 * MiB);
    vfio_user_pair_set(pair, "downtime-limit", 0);
    vfio_user_pair_start(pair);
    vfio_user_pair_wait_sent(pair, 2 * MiB);
}

static void dirty_finish_fast(VFIOUserPair *pair)
{
    vfio_user_pair_set(pair, "max-bandwidth", 4 * GiB);
    vfio_user_pair_set(pair, "downtime-limit", 2000);
    vfio_user_pair_wait(pair, "completed");
    vfio_user_pair_check_status(pair, VFIO_USER_DESTINATION, "running");
}

static bool write_value(VFIOUserServer *server)
{
    const uint64_t value = VALUE;

    return vfio_user_server_write(server, PLACE, &value, sizeof(value));
}

/* With migration v1, the unmap requests the dirty bitmap. */
static void check_unmap(VFIOUserServer *server, bool v2)
{
    VFIOUserSeen seen = vfio_user_server_see(server, VFIO_USER_DMA_UNMAP);
    VFIOUserDMAUnmap unmap;

    memcpy(&unmap, seen.payload, sizeof(unmap));
    g_assert_cmphex(unmap.flags, ==,
                    v2 ? 0 : VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP);
}

/*
 * Data written through a map that is removed or added during migration
 * arrives.
 */
static void test_change(const void *opaque)
{
    static const Case c = { .migration = { 64 * KiB, 4 * KiB } };
    const Change *change = opaque;
    VFIOUserModel model = dirty_model_of(&c, change->v2);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &model, &model);
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];

    protect(pair, change->appears ? PAM0_READ_ONLY : PAM0_RAM);
    dirty_start_slowly(pair);
    vfio_user_server_forget(server);
    g_assert_cmpint(write_value(server), ==, !change->appears);
    protect(pair, change->appears ? PAM0_RAM : PAM0_READ_ONLY);
    if (!change->appears) {
        check_unmap(server, change->v2);
    }
    g_assert_cmpint(write_value(server), ==, change->appears);

    dirty_finish_fast(pair);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE, UNTRACKED),
                     ==, 0);
    g_assert_cmphex(qtest_readq(pair->qts[VFIO_USER_DESTINATION], PLACE), ==,
                    VALUE);
}

/* If an unmap reply lacks the bitmap, QEMU treats the whole map as dirty. */
static void test_no_bitmap(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DMA_UNMAP), DO_LENGTH, 0 },
        { }
    };
    static const Case c = { .migration = { 64 * KiB, 4 * KiB } };
    VFIOUserModel model = dirty_model_of(&c, false);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &model, &model);
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];

    protect(pair, PAM0_RAM);
    dirty_start_slowly(pair);
    vfio_user_server_set_rules(server, rules);
    vfio_user_server_forget(server);
    g_assert_true(write_value(server));
    protect(pair, PAM0_READ_ONLY);
    check_unmap(server, false);

    dirty_finish_fast(pair);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE, UNTRACKED),
                     ==, 1);
    g_assert_cmphex(qtest_readq(pair->qts[VFIO_USER_DESTINATION], PLACE), ==,
                    VALUE);
}

/*
 * Cancelling a migration stops tracking; a server would refuse to start it
 * twice.
 */
static void test_again(const void *v2)
{
    static const Case c = { .migration = { 64 * KiB, 4 * KiB } };
    static const VFIOUserWhen ends[] = {
        ON(VFIO_USER_DIRTY_PAGES), ON(VFIO_USER_DEVICE_FEATURE,
                                      AT_FEATURE(STOP)),
    };
    VFIOUserModel model = dirty_model_of(&c, v2);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &model, NULL);
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];
    VFIOUserWriter w = { .server = server };

    g_free(pair->uri);
    pair->uri = g_strdup("exec:cat >/dev/null");
    dirty_start_slowly(pair);
    vfio_user_server_forget(server);
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'migrate_cancel'}");
    vfio_user_pair_wait(pair, "cancelled");
    vfio_user_server_wait(server, ends[!!v2]);

    g_free(pair->uri);
    pair->uri = g_strdup_printf("unix:%s/migration", pair->dir);
    vfio_user_pair_add(pair, &model, pair->uri);
    vfio_user_writer_migrate(&w, pair, true);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE, UNTRACKED),
                     ==, 0);
}

void vfio_user_add_dirty_tests(void)
{
    qtest_add_func("/vfio-user/dirty/no-bits", test_no_bitmap);
    qtest_add_data_func("/vfio-user/dirty/again", NULL, test_again);
    qtest_add_data_func("/vfio-user/logging/again", &changes, test_again);
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        qtest_add_data_func(changes[i].name, &changes[i], test_change);
    }
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *v1 = g_strdup_printf("/vfio-user/dirty/%s",
                                              cases[i].name);
        g_autofree char *v2 = g_strdup_printf("/vfio-user/logging/%s",
                                              cases[i].name);

        qtest_add_data_func(v1, &cases[i], test_v1);
        qtest_add_data_func(v2, &cases[i], test_v2);
    }
}
