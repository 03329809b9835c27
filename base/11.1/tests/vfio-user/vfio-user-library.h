/*
 * Helpers of the test servers that depend on the version of libvfio-user
 *
 * The library of QEMU 11.1 has migration v2: bytes are read and written in
 * order.
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
    size_t done;                /* bytes of record that were transferred */
} vfio_user_library;

static int vfio_user_library_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    vfio_user_library.done = 0;
    return vfio_user_library.state->transition(ctx, state);
}

static ssize_t vfio_user_library_read(vfu_ctx_t *ctx, void *buf,
                                      uint64_t count)
{
    const VFIOUserLibraryState *state = vfio_user_library.state;
    size_t some;

    if (!vfio_user_library.done) {
        if (!state->pending()) {
            return 0;
        }
        state->take(vfio_user_library.record);
    }
    some = state->size - vfio_user_library.done;
    some = some < count ? some : count;
    memcpy(buf, vfio_user_library.record + vfio_user_library.done, some);
    vfio_user_library.done = (vfio_user_library.done + some) % state->size;
    return some;
}

static ssize_t vfio_user_library_write(vfu_ctx_t *ctx, void *buf,
                                       uint64_t count)
{
    const VFIOUserLibraryState *state = vfio_user_library.state;

    for (uint64_t i = 0; i < count; i++) {
        vfio_user_library.record[vfio_user_library.done++] = ((char *)buf)[i];
        if (vfio_user_library.done == state->size) {
            vfio_user_library.done = 0;
            if (state->put(vfio_user_library.record) < 0) {
                return -1;
            }
        }
    }
    return count;
}

static int vfio_user_library_migrate(vfu_ctx_t *ctx,
                                     const VFIOUserLibraryState *state)
{
    static const vfu_migration_callbacks_t callbacks = {
        .version = VFU_MIGR_CALLBACKS_VERS,
        .transition = vfio_user_library_transition,
        .read_data = vfio_user_library_read,
        .write_data = vfio_user_library_write,
    };

    vfio_user_library.state = state;
    vfio_user_library.record = malloc(state->size);
    return vfio_user_library.record ?
           vfu_setup_device_migration_callbacks(ctx, &callbacks) : -1;
}

static int vfio_user_library_dma(vfu_ctx_t *ctx, vfu_dma_register_cb_t *added,
                                 vfu_dma_unregister_cb_t *removed)
{
    return vfu_setup_device_dma(ctx, LIBVFIO_USER_MAX_DMA_REGIONS, added,
                                removed);
}

#endif /* VFIO_USER_LIBRARY_H */
