/*
 * Migration v1 of the device behind the scripted vfio-user server
 *
 * A chunk of data is a record of offset, length and bytes of the device's
 * state.  The destination may receive it in smaller pieces and reassembles it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>

#include "vfio-user-migration1-model.h"

#define REGISTER(field) offsetof(struct vfio_device_migration_info, field)

#define STOPPED VFIO_DEVICE_STATE_V1_STOP
#define RUNNING VFIO_DEVICE_STATE_V1_RUNNING
#define SAVING VFIO_DEVICE_STATE_V1_SAVING
#define RESUMING VFIO_DEVICE_STATE_V1_RESUMING
#define PRE_COPY (RUNNING | SAVING)
#define STATES (RESUMING + 1)

struct VFIOUserMigration1 {
    const VFIOUserModelMigration1 *model;
    uint8_t *data;
    uint8_t *state;
    size_t size;

    uint32_t device_state;
    uint64_t saved;             /* bytes of the state saved so far */
    GByteArray *stream;         /* received, not yet a whole record */
    uint64_t data_size;         /* size of the chunk in the region */
    VFIOUserRecord *record;     /* dirty pages */
};

typedef struct QEMU_PACKED Record {
    uint64_t offset;
    uint64_t length;
} Record;

VFIOUserMigration1 *
vfio_user_migration1_new(const VFIOUserModelMigration1 *model, uint8_t *data,
                         uint8_t *state, size_t size)
{
    VFIOUserMigration1 *m = g_new0(VFIOUserMigration1, 1);
    const VFIOUserRecordModel record = {
        model->pgsize, model->max_bitmap, model->max_data
    };

    *m = (VFIOUserMigration1) {
        .model = model,
        .data = data,
        .state = state,
        .size = size,
        .device_state = RUNNING,
        .stream = g_byte_array_new(),
        .record = vfio_user_record_new(&record),
    };
    return m;
}

void vfio_user_migration1_free(VFIOUserMigration1 *m)
{
    g_byte_array_unref(m->stream);
    vfio_user_record_free(m->record);
    g_free(m);
}

void vfio_user_migration1_reset(VFIOUserMigration1 *m)
{
    m->device_state = RUNNING;
    g_byte_array_set_size(m->stream, 0);
    m->data_size = 0;
}

bool vfio_user_migration1_runs(const VFIOUserMigration1 *m)
{
    return m->device_state & RUNNING;
}

bool vfio_user_migration1_accepts(const VFIOUserMigration1 *m, uint16_t command)
{
    return m->device_state & (RUNNING | RESUMING) ||
           command == VFIO_USER_REGION_READ ||
           command == VFIO_USER_REGION_WRITE ||
           command == VFIO_USER_DIRTY_PAGES;
}

/* State and data */

static bool arc_exists(uint32_t from, uint32_t to)
{
    static const bool arcs[STATES][STATES] = {
        [STOPPED] = { [RUNNING] = true },
        [RUNNING] = { [STOPPED] = true, [SAVING] = true, [PRE_COPY] = true,
                      [RESUMING] = true },
        [SAVING] = { [STOPPED] = true, [RUNNING] = true },
        [PRE_COPY] = { [SAVING] = true },
        [RESUMING] = { [RUNNING] = true },
    };

    return to < STATES && arcs[from][to];
}

static int migration1_set_state(VFIOUserMigration1 *m, uint32_t state)
{
    if (!arc_exists(m->device_state, state)) {
        return -EINVAL;
    }
    if (m->device_state == RESUMING && m->stream->len) {
        return -EINVAL;         /* an incomplete record */
    }
    m->device_state = state;
    m->data_size = 0;
    m->saved = 0;
    return 0;
}

/* Puts the next chunk into the region. */
static int prepare(VFIOUserMigration1 *m)
{
    Record record = { m->saved };

    if (!(m->device_state & (SAVING | RESUMING))) {
        return -EINVAL;
    }
    if (m->device_state & SAVING) {
        record.length = MIN(m->size - m->saved,
                            m->model->chunk - sizeof(record));
        m->data_size = record.length ? sizeof(record) + record.length : 0;
        memcpy(m->data, &record, sizeof(record));
        memcpy(m->data + sizeof(record), m->state + m->saved, record.length);
        m->saved += record.length;
    }
    return 0;
}

static int migration1_load(VFIOUserMigration1 *m, uint64_t size)
{
    Record record;

    if (m->device_state != RESUMING || size > m->model->chunk) {
        return -EINVAL;
    }
    g_byte_array_append(m->stream, m->data, size);
    while (m->stream->len >= sizeof(record)) {
        memcpy(&record, m->stream->data, sizeof(record));
        if (record.offset > m->size ||
            record.length > m->size - record.offset) {
            return -EINVAL;
        }
        if (m->stream->len < sizeof(record) + record.length) {
            break;
        }
        memcpy(m->state + record.offset, m->stream->data + sizeof(record),
               record.length);
        g_byte_array_remove_range(m->stream, 0,
                                  sizeof(record) + record.length);
    }
    return 0;
}

int vfio_user_migration1_read(VFIOUserMigration1 *m, uint64_t offset,
                              uint32_t count, void *bytes)
{
    uint64_t value;
    int ret = 0;

    switch (offset) {
    case REGISTER(device_state):
        memcpy(bytes, &m->device_state, MIN(count, 4));
        return count == 4 ? 0 : -EINVAL;
    case REGISTER(pending_bytes):
        value = m->device_state & SAVING ? m->size - m->saved : 0;
        break;
    case REGISTER(data_offset):
        value = VFIO_USER_MIGRATION1_DATA;
        ret = prepare(m);
        break;
    case REGISTER(data_size):
        value = m->data_size;
        break;
    default:
        return -EINVAL;
    }
    memcpy(bytes, &value, MIN(count, 8));
    return count == 8 ? ret : -EINVAL;
}

int vfio_user_migration1_write(VFIOUserMigration1 *m, uint64_t offset,
                               uint32_t count, const void *bytes)
{
    uint64_t value = 0;

    memcpy(&value, bytes, MIN(count, 8));
    if (offset == REGISTER(device_state) && count == 4) {
        return migration1_set_state(m, value);
    }
    if (offset == REGISTER(data_size) && count == 8) {
        return migration1_load(m, value);
    }
    return -EINVAL;
}

/* Dirty pages */

VFIOUserRecord *vfio_user_migration1_record(VFIOUserMigration1 *m)
{
    return m->record;
}

bool vfio_user_migration1_records(const VFIOUserMigration1 *m)
{
    return !m->model->records_saving || m->device_state & SAVING;
}

int vfio_user_migration1_dirty_pages(VFIOUserMigration1 *m,
                                     const VFIOUserPacket *request,
                                     VFIOUserPacket *reply)
{
    const struct QEMU_PACKED {
        VFIOUserDirtyPages pages;
        VFIOUserBitmapRange range;
    } *head = (void *)request->payload->data;

    if (!m->model->pgsize) {
        return -ENOTSUP;
    }
    if (request->payload->len < sizeof(head->pages)) {
        return -EINVAL;
    }
    switch (head->pages.flags) {
    case VFIO_IOMMU_DIRTY_PAGES_FLAG_START:
        vfio_user_record_begin(m->record);
        return 0;
    case VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP:
        vfio_user_record_end(m->record);
        return 0;
    case VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP:
        if (request->payload->len != sizeof(*head) ||
            head->pages.argsz != sizeof(*head) + head->range.bitmap.size) {
            return -EINVAL;
        }
        vfio_user_packet_put(reply, head, sizeof(*head));
        return vfio_user_record_bitmap(m->record, head->range.iova,
                                       head->range.size, &head->range.bitmap,
                                       reply);
    default:
        return -EINVAL;
    }
}
