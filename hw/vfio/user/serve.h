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
 * Guest memory as the server sees it.  Both copy all of @size bytes or
 * nothing and return 0 or -errno; they must not block.
 */
typedef struct VFIOUserMemoryOps {
    int (*read)(void *opaque, uint64_t iova, void *to, size_t size);
    int (*write)(void *opaque, uint64_t iova, const void *from, size_t size);
} VFIOUserMemoryOps;

typedef struct VFIOUserServe {
    const VFIOUserMemoryOps *memory;
    void *opaque;               /* of @memory */
    uint64_t max_data;          /* most bytes in one request */
    uint8_t *bounce;            /* @max_data bytes, once a read was served */
} VFIOUserServe;

/**
 * vfio_user_serve:
 *
 * Answers one request; see VFIOUserProxyOps.request.
 * Specification: "VFIO_USER_DMA_READ", "VFIO_USER_DMA_WRITE".
 */
void vfio_user_serve(VFIOUserServe *s, VFIOUserProxy *proxy,
                     const VFIOUserMessage *msg);

/**
 * vfio_user_serve_cleanup:
 *
 * Frees what serving needed.  Nobody reads the connection any more.
 */
void vfio_user_serve_cleanup(VFIOUserServe *s);

#endif /* HW_VFIO_USER_SERVE_H */
