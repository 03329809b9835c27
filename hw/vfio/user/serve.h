/*
 * vfio-user requests of the server
 *
 * What a server asks of its client: DMA_READ and DMA_WRITE of guest memory.
 * Knows neither the device nor where guest memory is; the latter is asked of
 * the room above.
 *
 * Threads: called by whichever thread reads the connection, one at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_SERVE_H
#define HW_VFIO_USER_SERVE_H

#include "hw/vfio/user/proxy.h"

/*
 * Guest memory as the server sees it.  hold finds the memory behind all of a
 * range, to be read or to be written to, and returns 0: the memory stays where
 * it is until release, which must follow.  Or it returns -errno and holds
 * nothing.  One range at a time; neither blocks.
 */
typedef struct VFIOUserMemoryOps {
    int (*hold)(void *opaque, uint64_t iova, uint64_t size, bool write,
                const struct iovec **iov, unsigned *niov);
    void (*release)(void *opaque, bool written);
} VFIOUserMemoryOps;

typedef struct VFIOUserServe {
    const VFIOUserMemoryOps *memory;
    void *opaque;               /* of @memory */
    /* Whether the device may reach memory at all; NULL: always. */
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
