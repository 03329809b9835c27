/*
 * qtest of the vfio-user client: dirty pages with large memory
 *
 * A VM with 64 GiB of unused memory: checks which ranges QEMU requests from
 * the server, and that it requests all memory exactly once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-pair.h"
#include "vfio-user-tests.h"

#define SIZE (64 * GiB)
#define ARGS "-m 64G -machine memory-backend=big " \
    "-object memory-backend-memfd,id=big,size=64G,share=on"

/* Size of a bitmap; a message has 40 bytes in front of it. */
#define MESSAGE (1 * MiB - 40)

#define JSON(text) "{\"capabilities\":{\"max_msg_fds\":8," text "}}"

typedef struct Case {
    const char *name;
    const char *version;        /* JSON */
    bool v2;                    /* migration v2, else v1 */
    uint64_t max_bitmap;        /* bytes, maximum that the server returns */
    bool whole;                 /* QEMU requests whole maps */
} Case;

static const Case cases[] = {
    { "/vfio-user/dirty-size/whole-maps",
      JSON("\"migration\":{\"pgsize\":4096}"), false, MESSAGE, true },
    { "/vfio-user/dirty-size/bitmap",
      JSON("\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":65536}"),
      false, 64 * KiB },
    { "/vfio-user/dirty-size/message",
      JSON("\"max_data_xfer_size\":8192,\"migration\":{\"pgsize\":4096}"),
      false, 8 * KiB - 40 },
    { "/vfio-user/logging-size/whole-maps",
      JSON("\"migration\":{\"pgsize\":4096}"), true, MESSAGE, true },
    { "/vfio-user/logging-size/bitmap",
      JSON("\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":65536}"),
      true, 64 * KiB },
    { "/vfio-user/logging-size/message", JSON("\"max_data_xfer_size\":8192"),
      true, 8 * KiB - 40 },
};

/* Gets the range of a bitmap request; returns false for another message. */
static bool range_of(const VFIOUserSeen *seen, VFIOUserLoggingRange *range)
{
    const struct QEMU_PACKED {
        VFIOUserDirtyPages pages;
        VFIOUserBitmapRange range;
    } *v1 = (void *)seen->payload;
    const struct QEMU_PACKED {
        VFIOUserDeviceFeature feature;
        VFIOUserLoggingReport report;
    } *v2 = (void *)seen->payload;

    if (seen->header.command == VFIO_USER_DIRTY_PAGES &&
        v1->pages.flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP) {
        *range = (VFIOUserLoggingRange) {
            v1->range.iova, v1->range.size
        };
        return true;
    }
    if (seen->header.command == VFIO_USER_DEVICE_FEATURE &&
        v2->feature.flags == (VFIO_DEVICE_FEATURE_GET |
                              VFIO_USER_FEATURE_DMA_LOGGING_REPORT)) {
        *range = (VFIOUserLoggingRange) {
            v2->report.iova, v2->report.length
        };
        return true;
    }
    return false;
}

/* Returns the total size of the ranges in the first pass over memory. */
static uint64_t check_ranges(const Case *c, VFIOUserServer *server)
{
    g_autoptr(GArray) log = vfio_user_server_log(server);
    uint64_t sum = 0, last = 0;
    VFIOUserLoggingRange range;

    for (unsigned i = 0; i < log->len; i++) {
        VFIOUserMap map;

        if (!range_of(&g_array_index(log, VFIOUserSeen, i), &range)) {
            continue;
        }
        if (sum && range.iova < last) {
            break;
        }
        g_assert_true(vfio_user_server_map(server, range.iova, &map));
        g_assert_cmpuint(range.length, <=,
                         c->max_bitmap * 8 * 4096);
        if (c->whole) {
            g_assert_cmphex(map.address, ==, range.iova);
            g_assert_cmphex(map.size, ==, range.length);
        }
        last = range.iova + range.length;
        sum += range.length;
    }
    return sum;
}

static VFIOUserModel dirty_size_model_of(const Case *c)
{
    static VFIOUserModelMigration1 migration1;
    VFIOUserModel model = vfio_user_model;

    migration1 = (VFIOUserModelMigration1) {
        64 * KiB, 4 * KiB, .max_bitmap = c->max_bitmap,
    };
    if (c->v2) {
        model.migration = (VFIOUserMigrationModel) {
            .flags = VFIO_USER_MODEL_STOP_COPY,
            .record = { 4 * KiB, c->max_bitmap },
        };
    } else {
        model = vfio_user_model_migration1(&migration1);
    }
    model.version = c->version;
    return model;
}

static void test_size(const void *opaque)
{
    const Case *c = opaque;
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    VFIOUserModel model = dirty_size_model_of(c);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new_with(ARGS, &model, NULL);
    uint64_t sum;

    /* sending allocates pages: do not send much */
    g_free(pair->uri);
    pair->uri = g_strdup("exec:cat >/dev/null");
    vfio_user_pair_set(pair, "max-bandwidth", 4 * KiB);
    vfio_user_pair_set(pair, "downtime-limit", 0);
    /* in a running VM, QEMU asks the server only after the first pass */
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'stop'}");
    vfio_user_pair_start(pair);
    while (vfio_user_pair_passes(pair) < 1) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
    qtest_qmp_assert_success(pair->qts[VFIO_USER_SOURCE],
                             "{'execute': 'migrate_cancel'}");
    vfio_user_pair_wait(pair, "cancelled");

    /* minus the memory shadowed by the BIOS */
    sum = check_ranges(c, pair->server[VFIO_USER_SOURCE]);
    g_test_message("0x%" PRIx64 " bytes asked for", sum);
    g_assert_cmpuint(sum, <=, SIZE);
    g_assert_cmpuint(sum, >=, SIZE - 1 * MiB);
    g_assert_cmpuint(vfio_user_pair_said(pair, VFIO_USER_SOURCE,
                                         "does not track"), ==, 0);
}

void vfio_user_add_dirty_size_tests(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        qtest_add_data_func(cases[i].name, &cases[i], test_size);
    }
}
