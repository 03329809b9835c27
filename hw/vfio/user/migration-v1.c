/*
 * vfio-user migration v1
 *
 * The migration region consists of registers, followed by a window in which the
 * server provides or accepts a chunk of data, by message or in a file.
 *
 * Data is written in the chunks in which it was read, as the specification
 * requires, unless the window of the destination's server is smaller.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qapi/error.h"
#include "hw/vfio/vfio-container.h"
#include "hw/vfio/vfio-helpers.h"
#include "hw/vfio/user/migration-device.h"
#include "hw/vfio/user/migration-stream.h"

#define REGISTER(name) offsetof(struct vfio_device_migration_info, name)
#define WINDOW sizeof(struct vfio_device_migration_info)

static const struct {
    VFIOUserMigState state;
    uint32_t bits;              /* of the register device_state */
} states[] = {
    { VFIO_USER_MIG_STOP, VFIO_DEVICE_STATE_V1_STOP },
    { VFIO_USER_MIG_RUNNING, VFIO_DEVICE_STATE_V1_RUNNING },
    { VFIO_USER_MIG_STOP_COPY, VFIO_DEVICE_STATE_V1_SAVING },
    { VFIO_USER_MIG_PRE_COPY,
      VFIO_DEVICE_STATE_V1_SAVING | VFIO_DEVICE_STATE_V1_RUNNING },
    { VFIO_USER_MIG_RESUMING, VFIO_DEVICE_STATE_V1_RESUMING },
    { VFIO_USER_MIG_ERROR,
      VFIO_DEVICE_STATE_V1_SAVING | VFIO_DEVICE_STATE_V1_RESUMING },
};

static const char *v1_name(VFIOUserMigDevice *d)
{
    return vfio_user_proxy_name(d->udev->proxy);
}

/* Registers */

/* @got: bytes that the server returned */
static int v1_take_reg(VFIOUserMigDevice *d, const uint8_t *bytes, int got,
                       void *to, uint32_t size, Error **errp)
{
    if (got != size) {
        error_setg(errp, "vfio-user %s: REGION_READ: the server returned %d of"
                   " %u bytes of a migration register", v1_name(d), got, size);
        return -EPROTO;
    }
    memcpy(to, bytes, size);
    return 0;
}

static int v1_read_reg(VFIOUserMigDevice *d, uint64_t offset, void *to,
                       uint32_t size, Error **errp)
{
    g_auto(VFIOUserCall) call = { };
    const uint8_t *bytes;
    int ret = vfio_user_device_read_region(d->udev, &call,
                                           d->region.info->index, offset, size,
                                           &bytes, errp);

    return ret < 0 ? ret : v1_take_reg(d, bytes, ret, to, size, errp);
}

static int v1_write_reg(VFIOUserMigDevice *d, uint64_t offset,
                        const void *from, uint32_t size, Error **errp)
{
    int ret = vfio_user_device_write_region(d->udev, d->region.info->index,
                                            offset, size, from, false, errp);

    if (ret >= 0 && ret != size) {
        error_setg(errp, "vfio-user %s: REGION_WRITE: the server wrote %d of %u"
                   " bytes of a migration register", v1_name(d), ret, size);
        return -EPROTO;
    }
    return ret < 0 ? ret : 0;
}

/* State */

static int v1_probe(VFIOUserMigDevice *d, VFIODevice *vbasedev, uint64_t *flags,
                    Error **errp)
{
    struct vfio_region_info *info;

    if (vfio_device_get_region_info_type(vbasedev,
                                 VFIO_REGION_TYPE_MIGRATION_DEPRECATED,
                                 VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED,
                                 &info) < 0) {
        return 0;
    }
    if (info->size <= WINDOW) {
        error_setg(errp, "vfio-user %s: the migration region has 0x%" PRIx64
                   " bytes, too few for registers and data", v1_name(d),
                   (uint64_t)info->size);
        return -EINVAL;
    }
    d->region = (VFIOUserMigRegion) {
        .info = info,
    };
    if (info->flags & VFIO_REGION_INFO_FLAG_MMAP) {
        vfio_user_mig_open_window(d, vfio_device_get_region_fd(vbasedev,
                                                               info->index));
    }
    *flags = VFIO_USER_MIG_HAS_STOP_COPY | VFIO_USER_MIG_HAS_PRE_COPY;
    return 1;
}

static int v1_get_state(VFIOUserMigDevice *d, VFIOUserMigState *state,
                        Error **errp)
{
    uint32_t bits;
    int ret = v1_read_reg(d, REGISTER(device_state), &bits, sizeof(bits),
                          errp);

    if (ret < 0) {
        return ret;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(states); i++) {
        if (states[i].bits == (bits & VFIO_DEVICE_STATE_MASK)) {
            *state = states[i].state;
            return 0;
        }
    }
    error_setg(errp, "vfio-user %s: the migration region reports the unknown"
               " state 0x%x", v1_name(d), bits);
    return -EPROTO;
}

/* Servers may accept the write of a state that they do not support. */
static int v1_check_state(VFIOUserMigDevice *d, VFIOUserMigState told,
                          Error **errp)
{
    VFIOUserMigState state;
    int ret = v1_get_state(d, &state, errp);

    if (ret < 0 || state == told) {
        return ret;
    }
    error_setg(errp, "vfio-user %s: the server accepted the change, but its"
               " migration region reports the state %s", v1_name(d),
               vfio_user_mig_state_name(state));
    return -EIO;
}

static int v1_set_state(VFIOUserMigDevice *d, VFIOUserMigState to, Error **errp)
{
    unsigned i = 0;
    int ret;

    while (states[i].state != to) {
        i++;
        assert(i < ARRAY_SIZE(states));
    }
    /* the contents of the window are void */
    d->region.left = d->region.written = 0;
    ret = v1_write_reg(d, REGISTER(device_state), &states[i].bits,
                       sizeof(states[i].bits), errp);
    return ret < 0 ? ret : v1_check_state(d, to, errp);
}

/* Data */

/* Checks that data at @offset lies after the registers and in the region. */
static bool check_window(VFIOUserMigDevice *d, uint64_t offset, uint64_t size,
                         Error **errp)
{
    uint64_t end = d->region.info->size;

    if (offset < WINDOW || offset >= end || size > end - offset) {
        error_setg(errp, "vfio-user %s: migration data of 0x%" PRIx64 " bytes"
                   " at 0x%" PRIx64 " is not inside the migration region of"
                   " 0x%" PRIx64 " bytes", v1_name(d), size, offset, end);
        return false;
    }
    return true;
}

/*
 * Sets @mapped to whether @offset is in a mappable area.  Returns for how many
 * of @size bytes from @offset this is the same.
 */
static uint64_t extent(const VFIOUserMigRegion *r, uint64_t offset,
                       uint64_t size, bool *mapped)
{
    struct vfio_info_cap_header *cap =
        vfio_get_region_info_cap((struct vfio_region_info *)r->info,
                                 VFIO_REGION_INFO_CAP_SPARSE_MMAP);
    const struct vfio_region_info_cap_sparse_mmap *sparse =
        cap ? container_of(cap, struct vfio_region_info_cap_sparse_mmap,
                           header) : NULL;

    *mapped = r->window && !sparse;
    for (unsigned i = 0; r->window && sparse && i < sparse->nr_areas; i++) {
        uint64_t start = sparse->areas[i].offset;
        uint64_t length = sparse->areas[i].size;

        if (offset >= start && offset - start < length) {
            *mapped = true;
            return MIN(size, start + length - offset);
        }
        if (offset < start) {
            size = MIN(size, start - offset);
        }
    }
    return size;
}

static int file_is_short(VFIOUserMigDevice *d, size_t size, Error **errp)
{
    error_setg(errp, "vfio-user %s: cannot access %zu bytes of migration data"
               " in the server's file: the file is too short", v1_name(d),
               size);
    return -EIO;
}

static int v1_pending(VFIOUserMigDevice *d, uint64_t *bytes, Error **errp)
{
    int ret = v1_read_reg(d, REGISTER(pending_bytes), bytes, sizeof(*bytes),
                          errp);

    if (ret == 0 && *bytes > INT64_MAX) {
        error_setg(errp, "vfio-user %s: the server reports 0x%" PRIx64
                   " pending bytes of migration data", v1_name(d), *bytes);
        return -EPROTO;
    }
    return ret;
}

/*
 * The server provides the next chunk when data_offset is read.  In other states
 * than STOP_COPY, a chunk that was begun must be read to its end before the
 * state changes, so none is begun ahead.
 */
static int v1_begin_read(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                         Error **errp)
{
    VFIOUserMigRegion *r = &d->region;
    int ret;

    if (d->state != VFIO_USER_MIG_STOP_COPY || r->left) {
        return 0;
    }
    ret = v1_pending(d, &r->pending, errp);
    if (ret < 0 || !r->pending) {
        return ret;
    }
    ret = vfio_user_device_begin_read(d->udev, &piece->call, r->info->index,
                                      REGISTER(data_offset), sizeof(r->at),
                                      errp);
    piece->begun = ret == 0;
    return ret;
}

static int finish_offset(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                         Error **errp)
{
    VFIOUserMigRegion *r = &d->region;
    const uint8_t *bytes;
    int ret;

    piece->begun = false;
    /* do not charge the server for the time that the stream took */
    vfio_user_proxy_renew(d->udev->proxy, &piece->call);
    ret = vfio_user_device_finish_read(d->udev, &piece->call, r->info->index,
                                       REGISTER(data_offset), sizeof(r->at),
                                       &bytes, errp);
    if (ret > 0) {
        ret = v1_take_reg(d, bytes, ret, &r->at, sizeof(r->at), errp);
    }
    vfio_user_call_clear(&piece->call);
    return ret;
}

/* Makes the server provide the next chunk.  Returns 1, 0 at the end, -errno. */
static int read_offset(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                       Error **errp)
{
    VFIOUserMigRegion *r = &d->region;
    int ret;

    if (piece->begun) {
        ret = finish_offset(d, piece, errp);
        return ret < 0 ? ret : 1;
    }
    ret = v1_pending(d, &r->pending, errp);
    if (ret < 0 || !r->pending) {
        return ret;
    }
    ret = v1_read_reg(d, REGISTER(data_offset), &r->at, sizeof(r->at), errp);
    return ret < 0 ? ret : 1;
}

/* r->left stays 0 if there is no chunk. */
static int begin_chunk(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                       Error **errp)
{
    VFIOUserMigRegion *r = &d->region;
    uint64_t size;
    int ret = read_offset(d, piece, errp);

    if (ret <= 0) {
        return ret;
    }
    ret = v1_read_reg(d, REGISTER(data_size), &size, sizeof(size), errp);
    if (ret < 0) {
        return ret;
    }
    if (!check_window(d, r->at, size, errp)) {
        return -EPROTO;
    }
    if (!size && d->state == VFIO_USER_MIG_STOP_COPY) {
        error_setg(errp, "vfio-user %s: 0x%" PRIx64 " bytes of migration data"
                   " are pending, but the server provides none", v1_name(d),
                   r->pending);
        return -EPROTO;
    }
    r->left = size;
    return 0;
}

static int read_file(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                     size_t size, Error **errp)
{
    piece->data = piece->bytes = g_malloc(size);
    return vfio_user_mig_window_read(d->region.window, d->region.at,
                                     piece->bytes, size) ?
           size : file_is_short(d, size, errp);
}

static int v1_read(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                   Error **errp)
{
    VFIOUserMigRegion *r = &d->region;
    uint64_t size;
    bool mapped;
    int ret = r->left ? 0 : begin_chunk(d, piece, errp);

    if (ret < 0 || !r->left) {
        return ret;
    }
    size = extent(r, r->at, MIN(r->left, VFIO_USER_MIG_MAX_RECORD), &mapped);
    ret = mapped ? read_file(d, piece, size, errp) :
          vfio_user_device_read_region(d->udev, &piece->call, r->info->index,
                                       r->at,
                                       MIN(size,
                                           d->udev->caps.max_data_xfer_size),
                                       &piece->data, errp);
    if (ret < 0) {
        return ret;
    }
    r->at += ret;
    r->left -= ret;
    piece->size = ret;
    piece->more = r->left > 0;
    return 0;
}

/* Sends a write to the region; its reply is received later. */
static int send_write(VFIOUserMigDevice *d, uint64_t offset, const void *from,
                      uint32_t size, Error **errp)
{
    const VFIOUserRegionRW rw = { offset, d->region.info->index, size };

    return vfio_user_mig_write(&d->writes, d->udev->proxy,
                               VFIO_USER_REGION_WRITE, &rw, sizeof(rw), from,
                               size, errp);
}

static int v1_write_some(VFIOUserMigDevice *d, const uint8_t *data, size_t size,
                         Error **errp)
{
    VFIOUserMigRegion *r = &d->region;
    bool mapped;
    int ret;

    size = extent(r, r->at, MIN(size, VFIO_USER_MIG_MAX_RECORD), &mapped);
    if (mapped) {
        return vfio_user_mig_window_write(r->window, r->at, data, size) ?
               size : file_is_short(d, size, errp);
    }
    size = MIN(size, vfio_user_caps_max_request(&d->udev->caps));
    ret = send_write(d, r->at, data, size, errp);
    return ret < 0 ? ret : size;
}

/* Waits until the server has taken the last chunk from the window. */
static int await_window(VFIOUserMigDevice *d, Error **errp)
{
    VFIOUserMigRegion *r = &d->region;
    int ret = vfio_user_mig_finish_writes(&d->writes, d->udev->proxy, errp);

    if (ret == 0) {
        ret = v1_read_reg(d, REGISTER(data_offset), &r->at, sizeof(r->at),
                          errp);
    }
    return ret == 0 && !check_window(d, r->at, 0, errp) ? -EPROTO : ret;
}

static int v1_write(VFIOUserMigDevice *d, const uint8_t *data, size_t size,
                    bool more, Error **errp)
{
    VFIOUserMigRegion *r = &d->region;
    uint64_t room;
    int ret = r->written ? 0 : await_window(d, errp);

    if (ret < 0) {
        return ret;
    }
    room = r->info->size - r->at;
    ret = v1_write_some(d, data, MIN(size, room), errp);
    if (ret < 0) {
        return ret;
    }
    r->at += ret;
    r->written += ret;
    if (ret == room || (ret == size && !more)) {
        int told = send_write(d, REGISTER(data_size), &r->written,
                              sizeof(r->written), errp);

        r->written = 0;
        return told < 0 ? told : ret;
    }
    return ret;
}

/* Specification: "VFIO Device Migration Info". */
const VFIOUserMigrationOps vfio_user_mig_v1 = {
    .version = 1,
    .arcs = &vfio_user_mig_v1_arcs,
    /* the path to STOP leads through RUNNING, but the VM does not run yet */
    .loaded = VFIO_USER_MIG_RESUMING,
    .probe = v1_probe,
    .get_state = v1_get_state,
    .set_state = v1_set_state,
    .pending = v1_pending,
    .begin_read = v1_begin_read,
    .read = v1_read,
    .write = v1_write,
};
