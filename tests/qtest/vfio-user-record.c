/*
 * Dirty page tracking in the device behind the scripted vfio-user server
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>

#include "vfio-user-record.h"

struct VFIOUserRecord {
    VFIOUserRecordModel model;
    GHashTable *dirty;          /* set of page numbers; NULL: off */
    GArray *ranges;             /* VFIOUserLoggingRange; NULL: all memory */
};

VFIOUserRecord *vfio_user_record_new(const VFIOUserRecordModel *model)
{
    VFIOUserRecord *r = g_new0(VFIOUserRecord, 1);

    r->model = *model;
    return r;
}

void vfio_user_record_free(VFIOUserRecord *r)
{
    vfio_user_record_end(r);
    g_free(r);
}

void vfio_user_record_begin(VFIOUserRecord *r)
{
    vfio_user_record_end(r);
    r->dirty = g_hash_table_new(NULL, NULL);
}

void vfio_user_record_end(VFIOUserRecord *r)
{
    g_clear_pointer(&r->dirty, g_hash_table_unref);
    g_clear_pointer(&r->ranges, g_array_unref);
}

/*
 * Returns the range that contains @address, extended to whole pages, or NULL.
 */
static const VFIOUserLoggingRange *range_at(const VFIOUserRecord *r,
                                            uint64_t address)
{
    for (unsigned i = 0; i < r->ranges->len; i++) {
        const VFIOUserLoggingRange *range =
            &g_array_index(r->ranges, VFIOUserLoggingRange, i);

        if (address >= range->iova && address - range->iova < range->length) {
            return range;
        }
    }
    return NULL;
}

void vfio_user_record_wrote(VFIOUserRecord *r, uint64_t address,
                            uint64_t count)
{
    uint64_t pgsize = r->model.pgsize;

    if (!r->dirty || !count || (r->ranges && !range_at(r, address))) {
        return;
    }
    for (uint64_t page = address / pgsize;
         page <= (address + count - 1) / pgsize; page++) {
        g_hash_table_add(r->dirty, GSIZE_TO_POINTER(page));
    }
}

int vfio_user_record_bitmap(VFIOUserRecord *r, uint64_t address, uint64_t size,
                            const VFIOUserBitmap *bitmap,
                            VFIOUserPacket *reply)
{
    uint64_t pages = size / MAX(bitmap->pgsize, 1);
    g_autofree uint8_t *bits = NULL;
    GHashTableIter iter;
    gpointer page;

    if (!r->dirty || bitmap->pgsize != r->model.pgsize ||
        (address | size) & (bitmap->pgsize - 1) || !size ||
        bitmap->size != DIV_ROUND_UP(pages, 64) * 8 ||
        (r->model.max_bitmap && bitmap->size > r->model.max_bitmap) ||
        (r->model.max_data &&
         reply->payload->len + bitmap->size > r->model.max_data)) {
        return -EINVAL;
    }
    bits = g_malloc0(bitmap->size);
    g_hash_table_iter_init(&iter, r->dirty);
    while (g_hash_table_iter_next(&iter, &page, NULL)) {
        uint64_t i = GPOINTER_TO_SIZE(page) - address / bitmap->pgsize;

        if (i < pages) {
            bits[i / 8] |= 1 << i % 8;
            g_hash_table_iter_remove(&iter);
        }
    }
    vfio_user_packet_put(reply, bits, bitmap->size);
    return 0;
}

static int begin_logging(VFIOUserRecord *r, const VFIOUserPacket *request,
                         VFIOUserPacket *reply)
{
    struct QEMU_PACKED {
        VFIOUserDeviceFeature feature;
        VFIOUserLoggingStart start;
    } msg;
    uint64_t size;

    if (r->dirty || request->payload->len < sizeof(msg)) {
        return -EINVAL;
    }
    memcpy(&msg, request->payload->data, sizeof(msg));
    size = msg.start.num_ranges * (uint64_t)sizeof(VFIOUserLoggingRange);
    if (msg.feature.argsz != request->payload->len ||
        request->payload->len != sizeof(msg) + size || !size ||
        !msg.start.page_size || msg.start.reserved ||
        (r->model.max_data &&
         sizeof(msg.start) + size > r->model.max_data)) {
        return -EINVAL;
    }
    vfio_user_record_begin(r);
    r->ranges = g_array_new(false, false, sizeof(VFIOUserLoggingRange));
    for (unsigned i = 0; i < msg.start.num_ranges; i++) {
        VFIOUserLoggingRange range;

        memcpy(&range, request->payload->data + sizeof(msg) +
               i * sizeof(range), sizeof(range));
        if (!range.length || range_at(r, range.iova) ||
            (range.iova | range.length) & (msg.start.page_size - 1)) {
            vfio_user_record_end(r);
            return -EINVAL;
        }
        g_array_append_val(r->ranges, range);
    }
    msg.start.page_size = r->model.pgsize;
    vfio_user_packet_put(reply, &msg, sizeof(msg));
    vfio_user_packet_put(reply, r->ranges->data, size);
    return 0;
}

static int report_logged(VFIOUserRecord *r, const VFIOUserPacket *request,
                         VFIOUserPacket *reply)
{
    const VFIOUserLoggingRange *range;
    VFIOUserBitmap bitmap;
    struct QEMU_PACKED {
        VFIOUserDeviceFeature feature;
        VFIOUserLoggingReport report;
    } msg;

    if (!r->dirty || request->payload->len != sizeof(msg)) {
        return -EINVAL;
    }
    memcpy(&msg, request->payload->data, sizeof(msg));
    /* a range that starts within a page is requested as whole pages */
    range = range_at(r, msg.report.iova) ?:
            range_at(r, msg.report.iova + r->model.pgsize - 1);
    if (!range || msg.report.iova + msg.report.length >
        ROUND_UP(range->iova + range->length, r->model.pgsize)) {
        return -ENOENT;
    }
    bitmap.pgsize = msg.report.page_size;
    bitmap.size = DIV_ROUND_UP(msg.report.length / r->model.pgsize, 64) * 8;
    if (msg.feature.argsz != sizeof(msg) + bitmap.size) {
        return -EINVAL;
    }
    vfio_user_packet_put(reply, &msg, sizeof(msg));
    return vfio_user_record_bitmap(r, msg.report.iova, msg.report.length,
                                   &bitmap, reply);
}

int vfio_user_record_logging(VFIOUserRecord *r, const VFIOUserPacket *request,
                             VFIOUserPacket *reply)
{
    const VFIOUserDeviceFeature *head = (void *)request->payload->data;

    if (!r->model.pgsize) {
        return -ENOTSUP;
    }
    switch (head->flags) {
    case VFIO_DEVICE_FEATURE_SET | VFIO_USER_FEATURE_DMA_LOGGING_START:
        return begin_logging(r, request, reply);
    case VFIO_DEVICE_FEATURE_GET | VFIO_USER_FEATURE_DMA_LOGGING_REPORT:
        return report_logged(r, request, reply);
    case VFIO_DEVICE_FEATURE_SET | VFIO_USER_FEATURE_DMA_LOGGING_STOP:
        if (!r->dirty || request->payload->len != sizeof(*head)) {
            return -EINVAL;
        }
        vfio_user_record_end(r);
        vfio_user_packet_put(reply, head, sizeof(*head));
        return 0;
    default:
        return -EINVAL;
    }
}
