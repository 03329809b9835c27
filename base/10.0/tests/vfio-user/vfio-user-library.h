/*
 * Helpers of the test servers that depend on the version of libvfio-user
 *
 * The library of QEMU 10.0 has migration v1: a region with a data window, in
 * which records are prepared, read, written and consumed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VFIO_USER_LIBRARY_H
#define VFIO_USER_LIBRARY_H

#include <libvfio-user.h>

/* A device whose state is a sequence of records of one size. */
typedef struct VFIOUserLibraryState {
    size_t size;                /* of a record, bytes */
    int (*transition)(vfu_ctx_t *ctx, vfu_migr_state_t state);
    uint64_t (*pending)(void);  /* bytes of all records; 0: none for now */
    void (*take)(void *record);         /* saves the next record */
    int (*put)(const void *record);     /* loads one; 0, or -1 with errno */
} VFIOUserLibraryState;

static struct {
    const VFIOUserLibraryState *state;
    char *record;
} vfio_user_library;

static uint64_t vfio_user_library_pending(vfu_ctx_t *ctx)
{
    return vfio_user_library.state->pending();
}

static int vfio_user_library_prepare(vfu_ctx_t *ctx, uint64_t *offset,
                                     uint64_t *size)
{
    *offset = 0;
    if (size) {
        vfio_user_library.state->take(vfio_user_library.record);
        *size = vfio_user_library.state->size;
    }
    return 0;
}

static ssize_t vfio_user_library_copy(void *to, const void *from,
                                      uint64_t count, uint64_t offset)
{
    size_t size = vfio_user_library.state->size;

    if (offset > size || count > size - offset) {
        errno = EINVAL;
        return -1;
    }
    memcpy(to, from, count);
    return count;
}

static ssize_t vfio_user_library_read(vfu_ctx_t *ctx, void *buf,
                                      uint64_t count, uint64_t offset)
{
    return vfio_user_library_copy(buf, vfio_user_library.record + offset,
                                  count, offset);
}

static ssize_t vfio_user_library_write(vfu_ctx_t *ctx, void *buf,
                                       uint64_t count, uint64_t offset)
{
    return vfio_user_library_copy(vfio_user_library.record + offset, buf,
                                  count, offset);
}

static int vfio_user_library_written(vfu_ctx_t *ctx, uint64_t count)
{
    if (count != vfio_user_library.state->size) {
        errno = EINVAL;
        return -1;
    }
    return vfio_user_library.state->put(vfio_user_library.record);
}

static int vfio_user_library_migrate(vfu_ctx_t *ctx,
                                     const VFIOUserLibraryState *state)
{
    static vfu_migration_callbacks_t callbacks = {
        .version = VFU_MIGR_CALLBACKS_VERS,
        .get_pending_bytes = vfio_user_library_pending,
        .prepare_data = vfio_user_library_prepare,
        .read_data = vfio_user_library_read,
        .write_data = vfio_user_library_write,
        .data_written = vfio_user_library_written,
    };
    size_t registers = vfu_get_migr_register_area_size();

    vfio_user_library.state = state;
    vfio_user_library.record = malloc(state->size);
    callbacks.transition = state->transition;
    if (!vfio_user_library.record ||
        vfu_setup_region(ctx, VFU_PCI_DEV_MIGR_REGION_IDX,
                         registers + state->size, NULL, VFU_REGION_FLAG_RW,
                         NULL, 0, -1, 0) < 0) {
        return -1;
    }
    return vfu_setup_device_migration_callbacks(ctx, &callbacks, registers);
}

static int vfio_user_library_dma(vfu_ctx_t *ctx, vfu_dma_register_cb_t *added,
                                 vfu_dma_unregister_cb_t *removed)
{
    return vfu_setup_device_dma(ctx, added, removed);
}

#endif /* VFIO_USER_LIBRARY_H */
