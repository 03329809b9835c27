/*
 * Migration of the device behind the scripted vfio-user server
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>

#include "vfio-user-model.h"

/* The saved data: the filler, the regions, the total size. */
#define SIZE_SIZE sizeof(uint64_t)

static const uint32_t regions[] = {
    VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_BAR2_REGION_INDEX,
};
static const uint64_t region_sizes[] = { 4 * KiB, 64 * KiB };

static uint64_t total_size(const VFIOUserMigrating *m)
{
    return m->filling + region_sizes[0] + region_sizes[1] + SIZE_SIZE;
}

/* Returns the bytes by which the filler has grown in PRE_COPY. */
static uint64_t grown(const VFIOUserMigrating *m)
{
    uint64_t us = g_get_monotonic_time() - m->since;

    return us * m->model->grows / G_TIME_SPAN_SECOND;
}

/*
 * Returns the end of the data available in PRE_COPY when @size bytes are
 * requested.
 */
static uint64_t pre_copy_end(const VFIOUserMigrating *m, uint64_t size)
{
    if (m->model->grows == VFIO_USER_MODEL_ENDLESS) {
        return m->at + size;
    }
    return MIN(m->model->pre_copy, m->model->filling) + grown(m);
}

/* The device has stopped: fixes the size of the filler. */
static void settle_filling(VFIOUserMigrating *m)
{
    m->filling = m->model->filling;
    if (m->model->grows == VFIO_USER_MODEL_ENDLESS) {
        m->filling = MAX(m->filling, m->at);
    } else if (m->model->grows) {
        m->filling += grown(m);
    }
}

static uint8_t filling_at(uint64_t offset)
{
    return offset ^ offset >> 8 ^ offset >> 16;
}

void vfio_user_migrating_init(VFIOUserMigrating *m, struct VFIOUserDevice *dev,
                              const VFIOUserMigrationModel *model,
                              const VFIOUserPersonality *habits)
{
    *m = (VFIOUserMigrating) {
        .model = model,
        .habits = habits,
        .dev = dev,
        .state = VFIO_USER_MIG_RUNNING,
        .filling = model->filling,
        .sink = g_byte_array_new(),
        .record = vfio_user_record_new(&model->record),
    };
}

void vfio_user_migrating_clear(VFIOUserMigrating *m)
{
    g_byte_array_unref(m->sink);
    vfio_user_record_free(m->record);
}

void vfio_user_migrating_reset(VFIOUserMigrating *m)
{
    m->state = VFIO_USER_MIG_RUNNING;
    m->ignores_data = false;
    g_byte_array_set_size(m->sink, 0);
}

void vfio_user_migrating_reset_keep_state(VFIOUserMigrating *m)
{
    if (m->habits->keeps_data) {
        if (m->state == VFIO_USER_MIG_ERROR) {
            vfio_user_migrating_reset(m);
        }
        return;
    }
    m->ignores_data = m->state == VFIO_USER_MIG_RESUMING;
    g_byte_array_set_size(m->sink, 0);
}

bool vfio_user_migrating_runs(const VFIOUserMigrating *m)
{
    return m->state == VFIO_USER_MIG_RUNNING ||
           m->state == VFIO_USER_MIG_PRE_COPY;
}

bool vfio_user_migrating_accepts(const VFIOUserMigrating *m, uint16_t command)
{
    switch (m->state) {
    case VFIO_USER_MIG_STOP:
        return command == VFIO_USER_DEVICE_FEATURE;
    case VFIO_USER_MIG_STOP_COPY:
        return command == VFIO_USER_DEVICE_FEATURE ||
               command == VFIO_USER_REGION_READ ||
               command == VFIO_USER_REGION_WRITE ||
               command == VFIO_USER_MIG_DATA_READ;
    default:
        return true;
    }
}

/* Returns the byte at offset @at of the saved data, which must exist. */
static uint8_t saved_at(VFIOUserMigrating *m, uint64_t at)
{
    if (m->state == VFIO_USER_MIG_PRE_COPY || at < m->filling) {
        return filling_at(at);
    }
    at -= m->filling;
    for (unsigned i = 0; i < ARRAY_SIZE(regions); i++) {
        if (at < region_sizes[i]) {
            return *vfio_user_device_bytes(m->dev, regions[i], at, 1);
        }
        at -= region_sizes[i];
    }
    return total_size(m) >> 8 * at;
}

/* Loads the received data; returns false if it is not valid saved data. */
static bool migrating_load(VFIOUserMigrating *m)
{
    const uint8_t *bytes = m->sink->data;
    uint64_t i;

    m->filling = m->model->filling;
    if (m->sink->len < total_size(m) ||
        (m->sink->len > total_size(m) && !m->model->grows)) {
        return false;
    }
    m->filling += m->sink->len - total_size(m);
    for (i = 0; i < SIZE_SIZE; i++) {
        if (bytes[m->sink->len - SIZE_SIZE + i] !=
            (uint8_t)(total_size(m) >> 8 * i)) {
            return false;
        }
    }
    for (i = 0; i < m->filling; i++) {
        if (*bytes++ != filling_at(i)) {
            return false;
        }
    }
    for (i = 0; i < ARRAY_SIZE(regions); i++) {
        memcpy(vfio_user_device_bytes(m->dev, regions[i], 0, region_sizes[i]),
               bytes, region_sizes[i]);
        bytes += region_sizes[i];
    }
    return true;
}

static int migrating_set_state(VFIOUserMigrating *m, uint32_t to)
{
    VFIOUserMigState from = m->state;

    if (m->state == to) {
        return 0;
    }
    if (m->state == VFIO_USER_MIG_ERROR || to == VFIO_USER_MIG_ERROR ||
        to >= VFIO_USER_MIG_STATES || to == VFIO_USER_MIG_RUNNING_P2P ||
        to == VFIO_USER_MIG_PRE_COPY_P2P ||
        (to == VFIO_USER_MIG_PRE_COPY &&
         !(m->model->flags & VFIO_USER_MODEL_PRE_COPY)) ||
        (from == VFIO_USER_MIG_STOP_COPY && to == VFIO_USER_MIG_PRE_COPY)) {
        return -EINVAL;
    }
    if (m->model->refuses & (1u << to)) {
        return -EBUSY;
    }
    if (m->model->breaks & (1u << to)) {
        m->state = VFIO_USER_MIG_ERROR;
        return -EIO;
    }
    if (from == VFIO_USER_MIG_RESUMING && m->sink->len && !migrating_load(m)) {
        m->state = VFIO_USER_MIG_ERROR;
        return -EINVAL;
    }
    g_byte_array_set_size(m->sink, 0);
    m->ignores_data = false;
    if (from != VFIO_USER_MIG_PRE_COPY) {
        m->at = 0;
    }
    if (to == VFIO_USER_MIG_PRE_COPY) {
        m->since = g_get_monotonic_time();
    } else if (from == VFIO_USER_MIG_PRE_COPY) {
        settle_filling(m);
    }
    m->state = to;
    return 0;
}

static bool is_logging(uint32_t feature)
{
    return feature == VFIO_USER_FEATURE_DMA_LOGGING_START ||
           feature == VFIO_USER_FEATURE_DMA_LOGGING_STOP ||
           feature == VFIO_USER_FEATURE_DMA_LOGGING_REPORT;
}

static int answer_feature(VFIOUserMigrating *m, VFIOUserPacket *request,
                          VFIOUserPacket *reply)
{
    struct {
        VFIOUserDeviceFeature head;
        union {
            uint64_t flags;
            uint32_t device_state;
        };
    } f = { };
    uint32_t feature, deed;

    memcpy(&f, request->payload->data, MIN(request->payload->len, sizeof(f)));
    feature = f.head.flags & VFIO_DEVICE_FEATURE_MASK;
    deed = f.head.flags & ~VFIO_DEVICE_FEATURE_MASK;
    if (request->payload->len >= sizeof(f.head) && is_logging(feature)) {
        return vfio_user_record_logging(m->record, request, reply);
    }
    if (request->payload->len < sizeof(f.head) ||
        (feature != VFIO_DEVICE_FEATURE_MIGRATION &&
         feature != VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE)) {
        return -ENOTSUP;
    }
    if (deed & VFIO_DEVICE_FEATURE_PROBE) {
        vfio_user_packet_put(reply, &f, sizeof(f.head));
        return 0;
    }
    if (request->payload->len != sizeof(f) || f.head.argsz != sizeof(f)) {
        return -EINVAL;
    }
    if (deed == VFIO_DEVICE_FEATURE_SET &&
        feature == VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE) {
        int ret = migrating_set_state(m, f.device_state);

        if (ret < 0) {
            return ret;
        }
    } else if (deed != VFIO_DEVICE_FEATURE_GET) {
        return -EINVAL;
    } else if (feature == VFIO_DEVICE_FEATURE_MIGRATION) {
        f.flags = m->model->flags;
    } else {
        f.flags = 0;
        f.device_state = m->state;
    }
    vfio_user_packet_put(reply, &f, sizeof(f));
    return 0;
}

static int answer_read(VFIOUserMigrating *m, VFIOUserPacket *request,
                       VFIOUserPacket *reply)
{
    const VFIOUserPersonality *p = m->habits;
    g_autofree uint8_t *bytes = NULL;
    VFIOUserMigData msg;
    uint32_t asked, i;
    uint64_t end;

    if (request->payload->len != sizeof(msg) ||
        (m->state != VFIO_USER_MIG_PRE_COPY &&
         m->state != VFIO_USER_MIG_STOP_COPY)) {
        return -EINVAL;
    }
    memcpy(&msg, request->payload->data, sizeof(msg));
    asked = msg.size;
    msg.size = MIN(asked, p->most_read ?: asked);
    end = m->state == VFIO_USER_MIG_PRE_COPY ? pre_copy_end(m, msg.size) :
                                               total_size(m);
    msg.size = MIN(msg.size, end - MIN(m->at, end));
    msg.argsz = sizeof(msg) + msg.size;
    bytes = g_malloc(msg.size);
    for (i = 0; i < msg.size; i++) {
        bytes[i] = saved_at(m, m->at++);
    }
    vfio_user_packet_put(reply, &msg, sizeof(msg));
    vfio_user_packet_put(reply, bytes, msg.size);
    if (p->pads_reads) {
        vfio_user_packet_resize(reply, sizeof(msg) + asked);
    }
    return 0;
}

static int answer_write(VFIOUserMigrating *m, VFIOUserPacket *request)
{
    VFIOUserMigData msg;

    if (request->payload->len < sizeof(msg) ||
        m->state != VFIO_USER_MIG_RESUMING) {
        return -EINVAL;
    }
    memcpy(&msg, request->payload->data, sizeof(msg));
    if (msg.argsz != request->payload->len ||
        msg.size != request->payload->len - sizeof(msg)) {
        return -EINVAL;
    }
    if (m->ignores_data) {
        return 0;
    }
    g_byte_array_append(m->sink, request->payload->data + sizeof(msg),
                        msg.size);
    return m->sink->len > total_size(m) && !m->model->grows ? -ENOSPC : 0;
}

int vfio_user_migrating_answer(VFIOUserMigrating *m, VFIOUserPacket *request,
                               VFIOUserPacket *reply)
{
    if (!m->model->flags) {
        return -ENOTSUP;
    }
    switch (request->header.command) {
    case VFIO_USER_DEVICE_FEATURE:
        return answer_feature(m, request, reply);
    case VFIO_USER_MIG_DATA_READ:
        return answer_read(m, request, reply);
    default:
        return answer_write(m, request);
    }
}
