/*
 * vfio-user requests of the server
 *
 * See the header for what this file is and is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/iov.h"
#include "hw/vfio/user/serve.h"

/* Checks what the table cannot check: that the count matches the payload. */
static int dma_check(const VFIOUserServe *s, const VFIOUserDMARW *rw,
                     size_t data)
{
    if (rw->count > s->max_data || rw->address + rw->count < rw->address) {
        return -EINVAL;
    }
    return data == rw->count ? 0 : -EINVAL;
}

/* Sends directly from guest memory, without a copy. */
static int serve_dma_read(VFIOUserServe *s, VFIOUserProxy *proxy,
                          const VFIOUserMessage *msg)
{
    const struct iovec *iov;
    VFIOUserDMARW rw;
    unsigned niov;
    int ret;

    memcpy(&rw, msg->payload, sizeof(rw));
    ret = dma_check(s, &rw, rw.count);
    if (ret < 0) {
        return ret;
    }
    ret = s->memory->hold(s->opaque, rw.address, rw.count, false, &iov, &niov);
    if (ret < 0) {
        return ret;
    }
    vfio_user_proxy_reply(proxy, &msg->header, &rw, sizeof(rw), iov, niov);
    s->memory->release(s->opaque, false);
    return 0;
}

static int serve_dma_write(VFIOUserServe *s, VFIOUserProxy *proxy,
                           const VFIOUserMessage *msg)
{
    const struct iovec *iov;
    VFIOUserDMARW rw;
    unsigned niov;
    int ret;

    memcpy(&rw, msg->payload, sizeof(rw));
    ret = dma_check(s, &rw, msg->size - sizeof(rw));
    if (ret < 0) {
        return ret;
    }
    ret = s->memory->hold(s->opaque, rw.address, rw.count, true, &iov, &niov);
    if (ret < 0) {
        return ret;
    }
    iov_from_buf(iov, niov, 0, msg->payload + sizeof(rw), rw.count);
    s->memory->release(s->opaque, true);
    vfio_user_proxy_reply(proxy, &msg->header, &rw, sizeof(rw), NULL, 0);
    return 0;
}

static int (*const handlers[VFIO_USER_COMMANDS])(VFIOUserServe *s,
                                                 VFIOUserProxy *proxy,
                                                 const VFIOUserMessage *msg) = {
    [VFIO_USER_DMA_READ] = serve_dma_read,
    [VFIO_USER_DMA_WRITE] = serve_dma_write,
};

/* A device that may not access memory gets the error of an unmapped IOVA. */
void vfio_user_serve(VFIOUserServe *s, VFIOUserProxy *proxy,
                     const VFIOUserMessage *msg)
{
    bool refused = s->may_dma && !s->may_dma(s->device);
    int ret = refused ? -EFAULT :
                        handlers[msg->header.command](s, proxy, msg);

    if (ret < 0) {
        vfio_user_proxy_reply_error(proxy, &msg->header, -ret);
    }
}
