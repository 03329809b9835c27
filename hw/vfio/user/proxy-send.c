/*
 * vfio-user connection: the writer's turn
 *
 * One thread at a time writes, one message at a time.  Requests wait for the
 * turn and for room in the socket.  Replies to the server never wait, and
 * neither do posts and notifies of a thread that holds the big QEMU lock: what
 * the socket does not accept is queued and sent before the next request.
 * Nothing in this file reads the socket.
 *
 * Threads: any, see the locks in proxy-internal.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/vfio/user/proxy-internal.h"
#include "trace.h"

static void proxy_send_failed(VFIOUserProxy *p, Error *err)
{
    error_prepend(&err, "cannot send: ");
    vfio_user_proxy_fail(p, err);
}

/*
 * Sends as much of @iov as the socket accepts without waiting.
 * Returns the bytes sent, or -ECONNRESET after failing the connection.
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
        nfds = 0;               /* sent with the first byte */
    }
    return sent;
}

/* Sleeps until there may be room; false if the deadline has passed. */
static bool proxy_wait_for_room(VFIOUserProxy *p, int64_t deadline)
{
    GPollFD pfd = { .fd = p->fd, .events = G_IO_OUT };
    int64_t left = deadline - proxy_clock_ns();

    if (left <= 0) {
        return false;
    }
    qemu_poll_ns(&pfd, 1, left);
    return true;
}

/* Sends all of @iov, waiting for room; 0, -ETIMEDOUT or -ECONNRESET. */
static int proxy_send_all(VFIOUserProxy *p, struct iovec *iov, unsigned niov,
                          const int *fds, size_t nfds, int64_t deadline)
{
    bool begun = false;

    do {
        ssize_t sent = proxy_send_some(p, &iov, &niov, fds, begun ? 0 : nfds);

        if (sent < 0) {
            return sent;
        }
        begun |= sent;
        if (!iov_size(iov, niov)) {
            return 0;
        }
    } while (proxy_wait_for_room(p, deadline));

    if (begun) {
        Error *err = NULL;

        error_setg(&err, "the server does not read");
        proxy_send_failed(p, err);
        return -ECONNRESET;
    }
    return -ETIMEDOUT;
}

/* The queues */

/* The descriptors are eventfds of QEMU: closing them does not block. */
static void proxy_close_copies(ProxyQueued *q)
{
    while (q->nfds) {
        close(q->fds[--q->nfds]);
    }
}

static void proxy_free_queued(ProxyQueued *q)
{
    proxy_close_copies(q);
    g_free(q->fds);
    g_free(q);
}

/* Removes the next message that was queued before @end; NULL if none. */
static ProxyQueued *proxy_pop_queue_locked(VFIOUserProxy *p,
                                           ProxyQueueCount end)
{
    ProxyQueued *q = g_steal_pointer(&p->cut);

    vfio_user_assert_locked(&p->lock);
    if (!q && p->queue_out.replies < end.replies &&
        !QSIMPLEQ_EMPTY(&p->replies)) {
        q = QSIMPLEQ_FIRST(&p->replies);
        QSIMPLEQ_REMOVE_HEAD(&p->replies, next);
    }
    if (!q && p->queue_out.requests < end.requests &&
        !QSIMPLEQ_EMPTY(&p->requests)) {
        q = QSIMPLEQ_FIRST(&p->requests);
        QSIMPLEQ_REMOVE_HEAD(&p->requests, next);
    }
    return q;
}

void proxy_drop_queue_locked(VFIOUserProxy *p)
{
    ProxyQueued *q;

    vfio_user_assert_locked(&p->lock);
    while ((q = proxy_pop_queue_locked(p, p->queue_in))) {
        proxy_free_queued(q);
    }
    p->queue_out = p->queue_in;
    qatomic_set(&p->queued, 0);
    p->queued_fds = 0;
}

/* @cut: @q is the rest of a partly sent message, else nothing was sent */
static void proxy_push_queue_locked(VFIOUserProxy *p, ProxyQueued *q, bool cut)
{
    vfio_user_assert_locked(&p->lock);
    if (!proxy_usable_locked(p)) {
        proxy_free_queued(q);
        return;
    }
    if (cut) {
        assert(!p->cut);
        p->cut = q;
    } else if (q->is_request) {
        QSIMPLEQ_INSERT_TAIL(&p->requests, q, next);
    } else {
        QSIMPLEQ_INSERT_TAIL(&p->replies, q, next);
    }
    if (q->is_request) {
        p->queue_in.requests++;
    } else {
        p->queue_in.replies++;
    }
    qatomic_set(&p->queued, p->queued + q->size);
    p->queued_fds += q->nfds;
}

/* After sending: frees @q if it was sent completely, else requeues it first. */
static void proxy_settle_queued_locked(VFIOUserProxy *p, ProxyQueued *q)
{
    vfio_user_assert_locked(&p->lock);
    if (!proxy_usable_locked(p)) {
        proxy_free_queued(q);
        return;
    }
    if (q->sent && q->nfds) {           /* sent with the first byte */
        p->queued_fds -= q->nfds;
        proxy_close_copies(q);
    }
    if (q->sent && q->sent < q->size) {
        p->cut = q;
    } else if (!q->sent && q->is_request) {
        QSIMPLEQ_INSERT_HEAD(&p->requests, q, next);
    } else if (!q->sent) {
        QSIMPLEQ_INSERT_HEAD(&p->replies, q, next);
    } else {
        qatomic_set(&p->queued, p->queued - q->size);
        if (q->is_request) {
            p->queue_out.requests++;
        } else {
            p->queue_out.replies++;
        }
        proxy_free_queued(q);
    }
}

static ProxyQueued *proxy_new_queued(const struct iovec *iov, unsigned niov)
{
    size_t size = iov_size(iov, niov);
    ProxyQueued *q = g_malloc(sizeof(*q) + size);

    *q = (ProxyQueued) { .size = size };
    iov_to_buf(iov, niov, 0, q->bytes, size);
    return q;
}

/* NULL: QEMU is out of file descriptors. */
static ProxyQueued *proxy_new_request(const struct iovec *iov, unsigned niov,
                                      const int *fds, size_t nfds)
{
    ProxyQueued *q = proxy_new_queued(iov, niov);

    q->is_request = true;
    q->fds = g_new(int, nfds);
    while (q->nfds < nfds) {
        int fd = qemu_dup(fds[q->nfds]);

        if (fd < 0) {
            proxy_free_queued(q);
            return NULL;
        }
        q->fds[q->nfds++] = fd;
    }
    return q;
}

/* End of what may be sent now: no requests while the server awaits a reply. */
static ProxyQueueCount proxy_queue_end_locked(const VFIOUserProxy *p)
{
    ProxyQueueCount end = p->queue_in;

    vfio_user_assert_locked(&p->lock);
    if (p->answering) {
        end.requests = p->queue_out.requests;
    }
    return end;
}

/* The turn */

void proxy_wait_for_writer_locked(VFIOUserProxy *p, int64_t left)
{
    vfio_user_assert_locked(&p->lock);
    p->writers++;
    qemu_cond_timedwait(&p->writer_cond, &p->lock,
                        MIN(DIV_ROUND_UP(left, SCALE_MS), INT_MAX));
    p->writers--;
}

static bool proxy_take_writers_turn_locked(VFIOUserProxy *p, int64_t deadline)
{
    vfio_user_assert_locked(&p->lock);
    while ((p->writing || p->answering) && proxy_usable_locked(p)) {
        int64_t left = deadline - proxy_clock_ns();

        if (left <= 0) {
            return false;
        }
        proxy_wait_for_writer_locked(p, left);
    }
    if (proxy_usable_locked(p)) {
        p->writing = true;
    }
    return true;
}

static void proxy_leave_writers_turn_locked(VFIOUserProxy *p)
{
    vfio_user_assert_locked(&p->lock);
    p->writing = false;
    if (p->queue_in.requests != p->queue_out.requests && !p->answering) {
        proxy_await_room_locked(p);
    }
    if (p->writers) {
        qemu_cond_signal(&p->writer_cond);
    }
}

/*
 * Called with the writer's turn.  Sends as much of the queues as the socket
 * accepts, up to @end: a server that keeps sending requests must not occupy the
 * writer forever.  Then releases the turn if @leave is set.  The reader, the
 * receive thread or the next writer sends the rest.  Returns whether @end was
 * reached.
 */
static bool proxy_send_queue(VFIOUserProxy *p, ProxyQueueCount end, bool leave)
{
    ProxyQueued *q = NULL;
    bool room = true;

    for (;;) {
        if (q) {
            struct iovec iov = { q->bytes + q->sent, q->size - q->sent };
            struct iovec *piov = &iov;
            unsigned niov = 1;

            q->sent += MAX(proxy_send_some(p, &piov, &niov, q->fds,
                                           q->sent ? 0 : q->nfds), 0);
            room = q->sent == q->size;
        }
        QEMU_LOCK_GUARD(&p->lock);
        if (q) {
            proxy_settle_queued_locked(p, q);
        }
        q = room && proxy_usable_locked(p) ? proxy_pop_queue_locked(p, end)
                                           : NULL;
        if (!q) {
            if (leave) {
                proxy_leave_writers_turn_locked(p);
            }
            return room;
        }
    }
}

/* Sends as much of the queues as the socket accepts; releases the turn. */
static void proxy_leave_writers_turn(VFIOUserProxy *p)
{
    ProxyQueueCount end;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        end = proxy_queue_end_locked(p);
        if (!p->queued) {
            proxy_leave_writers_turn_locked(p);
            return;
        }
    }
    proxy_send_queue(p, end, true);
}

int proxy_send_in_turn(VFIOUserProxy *p, struct iovec *iov, unsigned niov,
                       const int *fds, size_t nfds, int64_t deadline,
                       ProxyQueueCount end, Error **errp)
{
    bool in_time = true;
    int ret;

    while (in_time && qatomic_read(&p->queued) &&
           !proxy_send_queue(p, end, false)) {
        in_time = proxy_wait_for_room(p, deadline);
    }
    ret = in_time ? proxy_send_all(p, iov, niov, fds, nfds, deadline)
                  : -ETIMEDOUT;
    proxy_leave_writers_turn(p);
    return ret == -ECONNRESET ? proxy_gone(p, errp) : ret;
}

int proxy_send(VFIOUserProxy *p, struct iovec *iov, unsigned niov,
               const int *fds, size_t nfds, int64_t deadline, Error **errp)
{
    bool in_time, usable;
    ProxyQueueCount end;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        in_time = proxy_take_writers_turn_locked(p, deadline);
        usable = proxy_usable_locked(p);
        end = p->queue_in;
    }
    if (!usable) {
        return proxy_gone(p, errp);
    }
    return in_time ? proxy_send_in_turn(p, iov, niov, fds, nfds, deadline, end,
                                        errp)
                   : -ETIMEDOUT;
}

/* Without waiting */

/* Takes ownership of @q. */
static bool proxy_queue_request(VFIOUserProxy *p, ProxyQueued *q, bool cut,
                                Error **errp)
{
    unsigned n;

    if (!q) {
        error_setg(errp, "not sent: QEMU is out of file descriptors");
        return false;
    }
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        n = p->queue_in.requests - p->queue_out.requests;
        if (cut || (n < PROXY_MAX_REQUESTS &&
                    p->queued_fds + q->nfds <= PROXY_MAX_REQUEST_FDS)) {
            proxy_push_queue_locked(p, q, cut);
            return true;
        }
    }
    proxy_free_queued(q);
    error_setg(errp, "not sent: the server does not read and %u requests are"
               " queued", n);
    return false;
}

int proxy_send_or_queue(VFIOUserProxy *p, struct iovec *iov, unsigned niov,
                        const int *fds, size_t nfds, Error **errp)
{
    bool mine;
    ssize_t sent = 0;
    int ret = 0;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        mine = !p->writing && !p->answering && !p->queued;
        p->writing |= mine;
    }
    if (mine) {
        sent = proxy_send_some(p, &iov, &niov, fds, nfds);
    }
    if (sent >= 0 && iov_size(iov, niov) &&
        !proxy_queue_request(p, proxy_new_request(iov, niov, fds,
                                                  sent ? 0 : nfds),
                             sent, errp)) {
        ret = -ENOBUFS;
    }
    if (mine) {
        proxy_leave_writers_turn(p);
    } else {
        proxy_send_queued(p);   /* the other writer may have finished */
    }
    return sent < 0 ? proxy_gone(p, errp) : ret;
}

bool vfio_user_proxy_is_congested(VFIOUserProxy *p)
{
    if (!bql_locked() || !qatomic_read(&p->queued)) {
        return false;
    }
    QEMU_LOCK_GUARD(&p->lock);
    return p->queue_in.requests - p->queue_out.requests >=
           PROXY_MAX_REQUESTS / 2;
}

/* Functions for the reader */

void proxy_send_queued(VFIOUserProxy *p)
{
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        if (p->writing || !p->queued) {
            return;
        }
        p->writing = true;
    }
    proxy_leave_writers_turn(p);
}

short proxy_poll_events(VFIOUserProxy *p)
{
    return (proxy_may_read(p) ? G_IO_IN : 0) |
           (qatomic_read(&p->queued) ? G_IO_OUT : 0);
}

void proxy_set_answering(VFIOUserProxy *p, bool answering)
{
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        p->answering = answering;
        if (!answering && p->writers) {
            qemu_cond_signal(&p->writer_cond);
        }
    }
    if (!answering && qatomic_read(&p->queued)) {
        proxy_send_queued(p);   /* includes the requests that were held back */
    }
}

/* Copies guest memory, hence without the proxy's lock. */
static void proxy_queue_reply(VFIOUserProxy *p, const struct iovec *iov,
                              unsigned niov, bool cut)
{
    ProxyQueued *q = proxy_new_queued(iov, niov);

    QEMU_LOCK_GUARD(&p->lock);
    proxy_push_queue_locked(p, q, cut);
}

static void proxy_reply_iov(VFIOUserProxy *p, struct iovec *iov, unsigned niov)
{
    bool wait;
    ssize_t sent;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        if (!proxy_usable_locked(p)) {
            return;
        }
        wait = p->writing || p->cut || !QSIMPLEQ_EMPTY(&p->replies);
        p->writing |= !wait;
    }
    if (wait) {
        proxy_queue_reply(p, iov, niov, false);
        proxy_send_queued(p);   /* the other writer may have finished */
        return;
    }
    sent = proxy_send_some(p, &iov, &niov, NULL, 0);
    if (sent >= 0 && iov_size(iov, niov)) {
        proxy_queue_reply(p, iov, niov, sent);
    }
    QEMU_LOCK_GUARD(&p->lock);
    proxy_leave_writers_turn_locked(p);
}

void vfio_user_proxy_reply(VFIOUserProxy *p, const VFIOUserHeader *request,
                           const void *head, size_t head_size,
                           const struct iovec *iov, unsigned niov)
{
    VFIOUserHeader header = {
        .id = request->id,
        .command = request->command,
        .size = sizeof(header) + head_size + iov_size(iov, niov),
        .flags = VFIO_USER_TYPE_REPLY,
    };
    g_autofree struct iovec *all = g_new(struct iovec, niov + 2);

    if (request->flags & VFIO_USER_NO_REPLY) {
        return;
    }
    all[0] = (struct iovec) { &header, sizeof(header) };
    all[1] = (struct iovec) { (void *)head, head_size };
    for (unsigned i = 0; i < niov; i++) {
        all[i + 2] = iov[i];
    }
    trace_vfio_user_proxy_reply(p->name, vfio_user_command_name(header.command),
                                header.id, header.size, 0);
    proxy_reply_iov(p, all, niov + 2);
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
