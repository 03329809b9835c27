/*
 * vfio-user requests of the server
 *
 * Handles DMA_READ and DMA_WRITE, with which the server accesses guest memory.
 * Does not know the device; guest memory is accessed through callbacks.
 *
 * Threads: called by the thread that reads the connection, one at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_SERVE_H
#define HW_VFIO_USER_SERVE_H

#include "hw/vfio/user/proxy.h"

/*
 * Guest memory as the server sees it.  hold() finds the memory of a complete
 * range, for reading or writing, and returns 0; the memory stays mapped until
 * release(), which must follow.  On failure, hold() returns -errno and holds
 * nothing.  One range at a time; neither function blocks.
 */
typedef struct VFIOUserMemoryOps {
    int (*hold)(void *opaque, uint64_t iova, uint64_t size, bool write,
                const struct iovec **iov, unsigned *niov);
    void (*release)(void *opaque, bool written);
} VFIOUserMemoryOps;

typedef struct VFIOUserServe {
    const VFIOUserMemoryOps *memory;
    void *opaque;               /* for @memory */
    /* Whether the device may access memory at all; NULL: always. */
    bool (*may_dma)(void *device);
    void *device;
    uint64_t max_data;          /* most bytes in one request */
} VFIOUserServe;

/**
 * vfio_user_serve:
 *
 * Answers one request; see VFIOUserProxyOps.request.
 * Specification: "VFIO_USER_DMA_READ", "VFIO_USER_DMA_WRITE".
 */
void vfio_user_serve(VFIOUserServe *s, VFIOUserProxy *proxy,
                     const VFIOUserMessage *msg);

#endif /* HW_VFIO_USER_SERVE_H */
