/*
 * vfio-user connection: the writer's turn
 *
 * One thread at a time writes, a message at a time.  Requests wait for the
 * turn and for room; replies to the server never wait: what the socket does
 * not take is queued, and goes out before the next request.  Reads nothing.
 *
 * Threads: any, see the locks in proxy-internal.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "qemu/timer.h"
#include "hw/vfio/user/proxy-internal.h"
#include "trace.h"

static void proxy_send_failed(VFIOUserProxy *p, Error *err)
{
    error_prepend(&err, "cannot send: ");
    vfio_user_proxy_fail(p, err);
}

/*
 * Sends what the socket takes of @iov without waiting.
 * Returns the bytes sent, or -ECONNRESET after having failed the connection.
 */
static ssize_t proxy_send_some(VFIOUserProxy *p, struct iovec **iov,
                               unsigned *niov, const int *fds, size_t nfds)
{
    size_t sent = 0;

    while (iov_size(*iov, *niov)) {
        Error *err = NULL;
        ssize_t len = vfio_user_stream_send(p->stream, *iov, *niov, fds, nfds,
                                            &err);

        if (len < 0) {
            proxy_send_failed(p, err);
            return -ECONNRESET;
        }
        if (len == 0) {
            break;
        }
        iov_discard_front(iov, niov, len);
        sent += len;
        nfds = 0;               /* they went with the first byte */
    }
    return sent;
}

/* Sends all of @iov, waiting for room; 0, -ETIMEDOUT or -ECONNRESET. */
static int proxy_send_all(VFIOUserProxy *p, struct iovec *iov, unsigned niov,
                          const int *fds, size_t nfds, int64_t deadline)
{
    bool begun = false;

    for (;;) {
        ssize_t sent = proxy_send_some(p, &iov, &niov, begun ? NULL : fds,
                                       begun ? 0 : nfds);
        GPollFD pfd = { .fd = p->fd, .events = G_IO_OUT };
        int64_t left = deadline - proxy_clock_ns();

        if (sent < 0) {
            return sent;
        }
        begun |= sent;
        if (!iov_size(iov, niov)) {
            return 0;
        }
        if (left <= 0) {
            break;
        }
        qemu_poll_ns(&pfd, 1, left);
    }
    if (begun) {
        Error *err = NULL;

        error_setg(&err, "the server reads nothing");
        proxy_send_failed(p, err);
        return -ECONNRESET;
    }
    return -ETIMEDOUT;
}

/* The queue of replies */

static ProxyQueued *proxy_pop_queue_locked(VFIOUserProxy *p)
{
    ProxyQueued *q = QSIMPLEQ_FIRST(&p->queue);

    if (q) {
        QSIMPLEQ_REMOVE_HEAD(&p->queue, next);
        qatomic_set(&p->queued, p->queued - q->size);
    }
    return q;
}

void proxy_drop_queue_locked(VFIOUserProxy *p)
{
    ProxyQueued *q;

    while ((q = proxy_pop_queue_locked(p))) {
        g_free(q);
    }
}

static void proxy_push_queue_locked(VFIOUserProxy *p, ProxyQueued *q,
                                    bool first)
{
    if (!proxy_usable_locked(p)) {
        g_free(q);
        return;
    }
    if (first) {
        QSIMPLEQ_INSERT_HEAD(&p->queue, q, next);
    } else {
        QSIMPLEQ_INSERT_TAIL(&p->queue, q, next);
    }
    qatomic_set(&p->queued, p->queued + q->size);
}

static ProxyQueued *proxy_new_queued(const struct iovec *iov, unsigned niov)
{
    size_t size = iov_size(iov, niov);
    ProxyQueued *q = g_malloc(sizeof(*q) + size);

    q->size = size;
    q->sent = 0;
    iov_to_buf(iov, niov, 0, q->bytes, size);
    return q;
}

/* The turn */

static bool proxy_take_writers_turn_locked(VFIOUserProxy *p, int64_t deadline)
{
    while ((p->writing || p->answering) && proxy_usable_locked(p)) {
        int64_t left = deadline - proxy_clock_ns();

        if (left <= 0) {
            return false;
        }
        p->writers++;
        qemu_cond_timedwait(&p->writer_cond, &p->lock,
                            DIV_ROUND_UP(left, SCALE_MS));
        p->writers--;
    }
    if (proxy_usable_locked(p)) {
        p->writing = true;
    }
    return true;
}

static void proxy_leave_writers_turn_locked(VFIOUserProxy *p)
{
    p->writing = false;
    if (p->writers) {
        qemu_cond_signal(&p->writer_cond);
    }
}

/*
 * Sends the queue, waiting for room, and then, if @leave, gives the turn up
 * with nothing left behind: whoever reads does not look for room.
 */
static int proxy_send_queue(VFIOUserProxy *p, bool leave, int64_t deadline)
{
    for (;;) {
        g_autofree ProxyQueued *q = NULL;
        struct iovec iov;
        int ret;

        WITH_QEMU_LOCK_GUARD(&p->lock) {
            q = proxy_pop_queue_locked(p);
            if (!q) {
                if (leave) {
                    proxy_leave_writers_turn_locked(p);
                }
                return 0;
            }
        }
        iov.iov_base = q->bytes + q->sent;
        iov.iov_len = q->size - q->sent;
        ret = proxy_send_all(p, &iov, 1, NULL, 0, deadline);
        if (ret == -ETIMEDOUT) {
            Error *err = NULL;

            error_setg(&err, "the server does not read the replies to its"
                       " requests");
            proxy_send_failed(p, err);
        }
        if (ret < 0 && !leave) {
            return -ECONNRESET;
        }
    }
}

int proxy_send(VFIOUserProxy *p, struct iovec *iov, unsigned niov,
               const int *fds, size_t nfds, int64_t deadline, Error **errp)
{
    bool in_time, usable;
    int ret;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        in_time = proxy_take_writers_turn_locked(p, deadline);
        usable = proxy_usable_locked(p);
    }
    if (!usable) {
        return proxy_gone(p, errp);
    }
    if (!in_time) {
        return -ETIMEDOUT;
    }

    ret = qatomic_read(&p->queued) ? proxy_send_queue(p, false, deadline) : 0;
    if (!ret) {
        ret = proxy_send_all(p, iov, niov, fds, nfds, deadline);
    }
    proxy_send_queue(p, true, deadline);
    return ret == -ECONNRESET ? proxy_gone(p, errp) : ret;
}

/* What the reader does of it */

void proxy_send_queued(VFIOUserProxy *p)
{
    g_autofree ProxyQueued *q = NULL;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        q = p->writing ? NULL : proxy_pop_queue_locked(p);
        if (!q) {
            return;
        }
        p->writing = true;
    }
    for (;;) {
        struct iovec iov = { q->bytes + q->sent, q->size - q->sent };
        struct iovec *piov = &iov;
        unsigned niov = 1;
        ssize_t sent = proxy_send_some(p, &piov, &niov, NULL, 0);

        QEMU_LOCK_GUARD(&p->lock);
        q->sent += MAX(sent, 0);
        if (q->sent < q->size) {
            proxy_push_queue_locked(p, g_steal_pointer(&q), true);
            proxy_leave_writers_turn_locked(p);
            return;
        }
        g_free(q);
        q = proxy_pop_queue_locked(p);
        if (!q) {
            proxy_leave_writers_turn_locked(p);
            return;
        }
    }
}

short proxy_poll_events(VFIOUserProxy *p)
{
    QEMU_LOCK_GUARD(&p->lock);
    return (proxy_may_read(p) ? G_IO_IN : 0) |
           (p->queued && !p->writing ? G_IO_OUT : 0);
}

void proxy_set_answering(VFIOUserProxy *p, bool answering)
{
    QEMU_LOCK_GUARD(&p->lock);
    p->answering = answering;
    if (!answering && p->writers) {
        qemu_cond_signal(&p->writer_cond);
    }
}

static void proxy_reply_iov(VFIOUserProxy *p, struct iovec *iov, unsigned niov)
{
    ssize_t sent;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        if (p->writing || p->queued || !proxy_usable_locked(p)) {
            proxy_push_queue_locked(p, proxy_new_queued(iov, niov), false);
            return;
        }
        p->writing = true;
    }
    sent = proxy_send_some(p, &iov, &niov, NULL, 0);
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        if (sent >= 0 && iov_size(iov, niov)) {
            proxy_push_queue_locked(p, proxy_new_queued(iov, niov), false);
        }
        proxy_leave_writers_turn_locked(p);
    }
}

void vfio_user_proxy_reply(VFIOUserProxy *p, const VFIOUserHeader *request,
                           const void *head, size_t head_size,
                           const void *data, size_t data_size)
{
    VFIOUserHeader header = {
        .id = request->id,
        .command = request->command,
        .size = sizeof(header) + head_size + data_size,
        .flags = VFIO_USER_TYPE_REPLY,
    };
    struct iovec iov[] = {
        { &header, sizeof(header) },
        { (void *)head, head_size },
        { (void *)data, data_size },
    };

    if (!(request->flags & VFIO_USER_NO_REPLY)) {
        trace_vfio_user_proxy_reply(p->name,
                                    vfio_user_command_name(header.command),
                                    header.id, header.size, 0);
        proxy_reply_iov(p, iov, ARRAY_SIZE(iov));
    }
}

void vfio_user_proxy_reply_error(VFIOUserProxy *p,
                                 const VFIOUserHeader *request, int error)
{
    VFIOUserHeader header = {
        .id = request->id,
        .command = request->command,
        .size = sizeof(header),
        .flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR,
        .error = error,
    };
    struct iovec iov = { &header, sizeof(header) };

    if (!(request->flags & VFIO_USER_NO_REPLY)) {
        trace_vfio_user_proxy_reply(p->name,
                                    vfio_user_command_name(header.command),
                                    header.id, header.size, error);
        proxy_reply_iov(p, &iov, 1);
    }
}
