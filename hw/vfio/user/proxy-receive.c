/*
 * vfio-user connection: the reader's turn
 *
 * One thread at a time reads: a caller that waits for a reply, or else the
 * receive thread.  The reader passes replies to their calls and requests of the
 * server to VFIOUserProxyOps.request, and leaves when its own reply has
 * arrived.  Every header is checked against the table before any payload is
 * read.  The reader sends only what proxy-send.c has queued.
 *
 * A reader polls before it sleeps.  The polling time adapts to whether polling
 * was successful recently; the limit is VFIO_USER_POLL_MAX_NS.  If the server
 * has never sent a request, the receive thread does not listen again
 * immediately after a caller has left: calls follow each other, and for each of
 * them two system calls would stop the listening and start it again.
 *
 * Threads: any, see the locks in proxy-internal.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "hw/vfio/user/proxy-internal.h"
#include "trace.h"

/* Shorter polling is useless and is switched off. */
#define POLL_MIN_NS 5000

/* Polls of the socket per reading of the clock. */
#define LOOKS_PER_CLOCK 8

/* Interval between two calls of is_canceled() while a thread waits. */
#define ASK_NS (50 * SCALE_MS)

/* How long listening is suspended; extended while calls continue. */
#define PUT_OFF_NS (10 * SCALE_MS)

/* Checks */

static void G_GNUC_PRINTF(3, 4)
violation(Error **errp, const VFIOUserHeader *h, const char *fmt, ...)
{
    g_autofree char *rule = NULL;
    va_list ap;

    va_start(ap, fmt);
    rule = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    error_setg(errp, "protocol violation: %s (header: id 0x%x, command %u %s,"
               " size %u, flags 0x%x, error %u)", rule, h->id, h->command,
               vfio_user_command_name(h->command), h->size, h->flags,
               h->error);
}

static bool is_request(const VFIOUserHeader *h)
{
    /* some servers send error replies of type 0 */
    return (h->flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_COMMAND &&
           !(h->flags & VFIO_USER_ERROR);
}

static bool check_request(VFIOUserProxy *p, const VFIOUserHeader *h,
                          const VFIOUserCommandInfo *info, Error **errp)
{
    QEMU_LOCK_GUARD(&p->lock);
    if (!info->from_server) {
        violation(errp, h, "a command that only the client may send");
        return false;
    }
    if (p->state != VFIO_USER_UP) {
        violation(errp, h, "a request before the version was negotiated");
        return false;
    }
    if (!p->serves) {
        violation(errp, h, "a request that belongs on the twin socket");
        return false;
    }
    if (!vfio_user_shape_fits(&info->request, h->size - sizeof(*h),
                              p->max_data)) {
        violation(errp, h, "the size does not fit the command");
        return false;
    }
    return true;
}

static bool check_reply(VFIOUserProxy *p, const VFIOUserHeader *h,
                        const VFIOUserCommandInfo *info, Error **errp)
{
    VFIOUserShape shape = info->reply;

    if (info->from_server) {
        violation(errp, h, "a reply to a command that only the server sends");
        return false;
    }
    if (h->flags & VFIO_USER_ERROR) {
        shape.min = 0;          /* "only the reply header"; drop the rest */
    }
    QEMU_LOCK_GUARD(&p->lock);
    if (!vfio_user_shape_fits(&shape, h->size - sizeof(*h), p->max_data)) {
        violation(errp, h, "the size does not fit the reply");
        return false;
    }
    return true;
}

static bool check_header(VFIOUserProxy *p, const VFIOUserHeader *h,
                         Error **errp)
{
    const VFIOUserCommandInfo *info = vfio_user_command_info(h->command);

    if (!info) {
        violation(errp, h, "no such command");
        return false;
    }
    if ((h->flags & VFIO_USER_TYPE_MASK) > VFIO_USER_TYPE_REPLY) {
        violation(errp, h, "no such type of message");
        return false;
    }
    if (h->size < sizeof(*h)) {
        violation(errp, h, "the size is less than the header's");
        return false;
    }
    return is_request(h) ? check_request(p, h, info, errp)
                         : check_reply(p, h, info, errp);
}

static bool proxy_check_fds(const VFIOUserMessage *msg, Error **errp)
{
    const VFIOUserCommandInfo *info =
        vfio_user_command_info(msg->header.command);
    const VFIOUserShape *shape = is_request(&msg->header) ? &info->request
                                                          : &info->reply;

    if (msg->nfds > shape->fds) {
        violation(errp, &msg->header, "%zu descriptors, at most %u allowed",
                  msg->nfds, shape->fds);
        return false;
    }
    return true;
}

/*
 * Whether this reply is valid for the call of @slot.  The check and the
 * delivery of the reply are under one lock, since slots are reused.
 */
static bool check_slot_locked(const VFIOUserProxy *p, const ProxySlot *slot,
                              const VFIOUserHeader *h, Error **errp)
{
    vfio_user_assert_locked(&p->lock);
    if (slot->command != h->command) {
        violation(errp, h, "the reply to %s names another command",
                  vfio_user_command_name(slot->command));
        return false;
    }
    if (slot->use == SLOT_CALL && !(h->flags & VFIO_USER_ERROR) &&
        h->size - sizeof(*h) > slot->call->reply_max) {
        violation(errp, h, "the size does not fit the reply");
        return false;
    }
    return true;
}

/* Dispatch */

static void fill_reply(VFIOUserCall *call, VFIOUserMessage *msg)
{
    call->reply_size = msg->size;
    if (msg->heap) {
        call->heap = g_steal_pointer(&msg->heap);
        call->heap_is_body = true;
        call->reply = call->heap;
    } else if (msg->size <= sizeof(call->short_reply)) {
        memcpy(call->short_reply, msg->payload, msg->size);
        call->reply = call->short_reply;
    } else {
        call->heap = g_memdup2(msg->payload, msg->size);
        call->reply = call->heap;
    }
    memcpy(call->reply_fds, msg->fds, msg->nfds * sizeof(msg->fds[0]));
    call->reply_nfds = msg->nfds;
    msg->nfds = 0;
}

static void notify_failed(VFIOUserProxy *p, const VFIOUserHeader *h, int error)
{
    Error *err = NULL;

    error_setg_errno(&err, error, "vfio-user %s: %s: the server replied with an"
                     " error", p->name, vfio_user_command_name(h->command));
    p->ops->failed(p->opaque, err);
}

static bool dispatch_reply(VFIOUserProxy *p, VFIOUserMessage *msg,
                           Error **errp)
{
    const VFIOUserHeader *h = &msg->header;
    int error = h->flags & VFIO_USER_ERROR ? vfio_user_errno(h->error) : 0;
    bool unmatched = false;
    ProxySlotUse use;
    ProxySlot *slot;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        slot = proxy_find_slot_locked(p, h->id);
        if (slot && !check_slot_locked(p, slot, h, errp)) {
            return false;
        }
        use = slot ? slot->use : SLOT_FREE;
        if (use == SLOT_CALL) {
            VFIOUserCall *call = slot->call;

            call->result = -error;
            if (!error) {
                fill_reply(call, msg);
            }
            proxy_wake_locked(p, &call->waiter);
        }
        if (slot && error) {
            proxy_expect_stray(p, slot);
        }
        if (slot) {
            proxy_release_slot_locked(p, slot);
        } else if ((h->id & 0xff) != PROXY_POST_SLOT &&
                   proxy_usable_locked(p)) {
            unmatched = !p->warned_unmatched;
            p->warned_unmatched = true;
        }
    }

    if (use == SLOT_NOTIFY && error) {
        notify_failed(p, h, error);
    }
    if (unmatched) {
        warn_report("vfio-user %s: dropped a reply that matches no call"
                    " (id 0x%x, command %u %s); reported only once", p->name,
                    h->id, h->command, vfio_user_command_name(h->command));
    }
    return true;
}

static void dispatch_request(VFIOUserProxy *p, VFIOUserMessage *msg)
{
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        p->stats.requests++;
    }
    /*
     * Servers based on libvfio-user treat the next message, whatever it is, as
     * the reply to their request.  Send nothing else before the reply.
     */
    proxy_set_answering(p, true);
    p->ops->request(p->opaque, p, msg);
    proxy_set_answering(p, false);
}

static bool dispatch(VFIOUserProxy *p, VFIOUserMessage *msg, Error **errp)
{
    const VFIOUserHeader *h = &msg->header;

    trace_vfio_user_proxy_receive(p->name, vfio_user_command_name(h->command),
                                  h->id, h->size, msg->nfds, h->flags,
                                  h->error);
    if (is_request(h)) {
        dispatch_request(p, msg);
        return true;
    }
    return dispatch_reply(p, msg, errp);
}

/*
 * Receives and dispatches one message; called with the reader's turn.
 * Returns 1 if a message was processed, 0 if there was none, -ECONNRESET if
 * the connection is lost.
 */
static int proxy_receive(VFIOUserProxy *p)
{
    g_auto(VFIOUserMessage) msg = { };
    VFIOUserHeader header;
    bool stray = false;
    Error *err = NULL;
    int ret;

    ret = vfio_user_stream_peek(p->stream, &header, &err);
    if (ret > 0) {
        stray = proxy_is_stray(p, &header);
        if (!stray && !check_header(p, &header, &err)) {
            ret = -EPROTO;
        }
    }
    if (ret > 0) {
        ret = vfio_user_stream_take(p->stream, &msg, &err);
    }
    if (ret > 0 && stray && msg.nfds) {
        violation(&err, &header, "error reply with %zu descriptors", msg.nfds);
        ret = -EPROTO;
    }
    if (ret > 0 && !stray &&
        (!proxy_check_fds(&msg, &err) || !dispatch(p, &msg, &err))) {
        ret = -EPROTO;
    }
    vfio_user_stream_give_back(p->stream, g_steal_pointer(&msg.heap), msg.size);
    if (ret < 0) {
        vfio_user_proxy_fail(p, err);
        return -ECONNRESET;
    }
    return ret;
}

/* The turn */

static void proxy_set_interest_locked(VFIOUserProxy *p, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.fd = p->fd };

    vfio_user_assert_locked(&p->lock);
    if (p->interest != events && proxy_usable_locked(p)) {
        p->interest = events;
        epoll_ctl(p->epoll_fd, EPOLL_CTL_MOD, p->fd, &ev);
    }
}

void proxy_listen_locked(VFIOUserProxy *p)
{
    vfio_user_assert_locked(&p->lock);
    if (!p->reading) {
        proxy_set_interest_locked(p, EPOLLIN);
    }
}

void proxy_await_room_locked(VFIOUserProxy *p)
{
    vfio_user_assert_locked(&p->lock);
    proxy_set_interest_locked(p, p->interest | EPOLLOUT);
}

void proxy_ignore_socket_locked(VFIOUserProxy *p)
{
    vfio_user_assert_locked(&p->lock);
    epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, p->fd, NULL);
}

/* @ns: 0 stops the timer.  Both clear an expiry that was not yet seen. */
static void proxy_set_timer_locked(VFIOUserProxy *p, long ns)
{
    struct itimerspec spec = { .it_value.tv_nsec = ns };

    vfio_user_assert_locked(&p->lock);
    timerfd_settime(p->timer_fd, 0, &spec, NULL);
    p->put_off = ns;
    p->calls_seen = p->stats.calls;
}

void proxy_put_reading_off_locked(VFIOUserProxy *p)
{
    vfio_user_assert_locked(&p->lock);
    if (p->interest == EPOLLIN && !p->reading && !p->stats.requests) {
        proxy_set_interest_locked(p, 0);
        proxy_set_timer_locked(p, PUT_OFF_NS);
    }
}

/* The turn is free: passes it to the next waiter, else the receive thread. */
static void proxy_pass_readers_turn_locked(VFIOUserProxy *p)
{
    VFIOUserWaiter *w = QTAILQ_FIRST(&p->waiters);
    short events = proxy_poll_events(p);

    vfio_user_assert_locked(&p->lock);
    if (w) {
        /* the receive thread must not take the turn first */
        proxy_set_interest_locked(p, 0);
        qemu_cond_signal(&w->cond);
    } else if (p->queued || p->stats.requests) {
        if (p->put_off && proxy_usable_locked(p)) {
            proxy_set_timer_locked(p, 0);
        }
        proxy_set_interest_locked(p, (events & G_IO_IN ? EPOLLIN : 0) |
                                     (events & G_IO_OUT ? EPOLLOUT : 0));
    } else if (!p->interest && !p->put_off && proxy_usable_locked(p)) {
        proxy_set_timer_locked(p, PUT_OFF_NS);
    }
}

/*
 * @took: how long a reader waited.  If that exceeds the longest polling time,
 * the polling was useless.
 */
static void proxy_adapt_polling(VFIOUserProxy *p, int64_t took)
{
    if (took > p->poll_max_ns) {
        p->poll_ns = p->poll_ns / 2 < POLL_MIN_NS ? 0 : p->poll_ns / 2;
    } else if (took > p->poll_ns) {
        p->poll_ns = MIN(p->poll_max_ns, MAX(2 * took, POLL_MIN_NS));
    }
}

static void proxy_sleep(VFIOUserProxy *p, int64_t ns)
{
    GPollFD pfd = { .fd = p->fd, .events = proxy_poll_events(p) };

    qemu_poll_ns(&pfd, 1, ns);
    if (pfd.revents & ~G_IO_IN) {       /* on an error, sending detects it */
        proxy_send_queued(p);
    }
}

/*
 * Processes the messages that were read together with the reader's own reply.
 * No poll would report them, so the reader does this before it leaves.  Does
 * not read from the socket.
 */
static void proxy_receive_rest(VFIOUserProxy *p)
{
    while (proxy_may_read(p) && vfio_user_stream_has_message(p->stream) &&
           proxy_receive(p) > 0) {
        continue;
    }
}

/* Called with the reader's turn: reads until @w is done or until @deadline. */
static void proxy_read_until(VFIOUserProxy *p, VFIOUserWaiter *w,
                             int64_t deadline)
{
    int64_t begun = proxy_clock_ns();
    int64_t now = begun;
    unsigned looks = 0;

    while (now < deadline) {
        bool room = proxy_may_read(p);
        int ret = room ? proxy_receive(p) : 0;

        if (qatomic_load_acquire(&w->done)) {
            proxy_adapt_polling(p, proxy_clock_ns() - begun);
            break;
        }
        if (room && p->poll_ns && ++looks % LOOKS_PER_CLOCK) {
            continue;
        }
        now = proxy_clock_ns();
        if (ret == 0 && (!room || now - begun >= p->poll_ns)) {
            proxy_sleep(p, MAX(deadline - now, 0));
        }
    }
    proxy_receive_rest(p);
}

bool proxy_wait_locked(VFIOUserProxy *p, VFIOUserWaiter *w, int64_t deadline)
{
    vfio_user_assert_locked(&p->lock);
    while (!w->done) {
        int64_t now = proxy_clock_ns();
        int64_t end = MIN(deadline, now + ASK_NS);
        int64_t left = end - now;

        if (left <= 0 || proxy_is_canceled(p)) {
            break;
        }
        if (p->reading) {
            QTAILQ_INSERT_TAIL(&p->waiters, w, next);
            qemu_cond_timedwait(&w->cond, &p->lock,
                                DIV_ROUND_UP(left, SCALE_MS));
            QTAILQ_REMOVE(&p->waiters, w, next);
        } else {
            p->reading = true;
            proxy_set_interest_locked(p, 0);
            qemu_mutex_unlock(&p->lock);
            proxy_read_until(p, w, end);
            qemu_mutex_lock(&p->lock);
            p->reading = false;
        }
    }
    if (!p->reading) {
        proxy_pass_readers_turn_locked(p);
    }
    return w->done;
}

/* The receive thread */

static bool proxy_claim_readers_turn(VFIOUserProxy *p, bool *stop)
{
    QEMU_LOCK_GUARD(&p->lock);
    *stop = p->stopping;
    p->stats.receive_wakeups++;
    if (!p->queued) {
        proxy_set_interest_locked(p, p->interest & ~EPOLLOUT);
    }
    if (p->put_off && p->reading) {
        proxy_set_timer_locked(p, 0);   /* the reader sets it when it leaves */
    } else if (p->put_off && p->calls_seen != p->stats.calls) {
        proxy_set_timer_locked(p, PUT_OFF_NS);
    } else if (p->put_off) {
        proxy_set_timer_locked(p, 0);
        proxy_set_interest_locked(p, EPOLLIN);
    }
    if (p->reading || !proxy_usable_locked(p)) {
        return false;
    }
    p->reading = true;
    return true;
}

/*
 * Waits for the socket, without the reader's turn.  A server that transfers
 * data by messages sends the next request immediately, and a sleep and a wakeup
 * would take as long as serving it; so the thread polls first.
 * @poll_ns: the polling time, adapted to recent success; 0 while idle.  The
 *           limit is half of a caller's, because no vCPU waits for this thread.
 */
static int proxy_await(VFIOUserProxy *p, int64_t *poll_ns)
{
    struct epoll_event ev;
    int64_t begun = proxy_clock_ns();
    int64_t most = p->poll_max_ns / 2;
    int64_t took = 0;
    int ret = 0;

    while (ret == 0 && took < *poll_ns) {
        ret = epoll_wait(p->epoll_fd, &ev, 1, 0);
        took = proxy_clock_ns() - begun;
    }
    if (ret == 0) {
        ret = epoll_wait(p->epoll_fd, &ev, 1, -1);
        took = proxy_clock_ns() - begun;
    }
    if (took > most) {
        *poll_ns = *poll_ns / 2 < POLL_MIN_NS ? 0 : *poll_ns / 2;
    } else if (took > *poll_ns) {
        *poll_ns = MIN(2 * took, most);
    }
    return ret;
}

static void *proxy_receive_thread(void *opaque)
{
    VFIOUserProxy *p = opaque;
    int64_t poll_ns = 0;
    bool stop = false;

    rcu_register_thread();      /* callbacks may read guest memory */
    while (!stop) {
        bool mine = proxy_await(p, &poll_ns) >= 0 &&
                    proxy_claim_readers_turn(p, &stop);

        proxy_send_queued(p);
        if (!mine) {
            continue;
        }
        while (proxy_may_read(p) && proxy_receive(p) > 0) {
            continue;
        }
        QEMU_LOCK_GUARD(&p->lock);
        p->reading = false;
        proxy_pass_readers_turn_locked(p);
    }
    rcu_unregister_thread();
    return NULL;
}

static bool proxy_watch(VFIOUserProxy *p, int fd, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.fd = fd };

    return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0;
}

static void proxy_close_fds(VFIOUserProxy *p)
{
    event_notifier_cleanup(&p->stop);
    close(p->epoll_fd);
    close(p->timer_fd);
    p->epoll_fd = p->timer_fd = -1;
}

bool proxy_start_receive_thread(VFIOUserProxy *p, Error **errp)
{
    int ret = event_notifier_init(&p->stop, 0);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot create an event notifier");
        return false;
    }
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (p->epoll_fd < 0 || p->timer_fd < 0 || !proxy_watch(p, p->fd, 0) ||
        !proxy_watch(p, p->timer_fd, EPOLLIN) ||
        !proxy_watch(p, event_notifier_get_fd(&p->stop), EPOLLIN)) {
        error_setg_errno(errp, errno, "cannot watch the socket");
        proxy_close_fds(p);
        return false;
    }
    qemu_thread_create(&p->receive_thread, "vfio-user", proxy_receive_thread,
                       p, QEMU_THREAD_JOINABLE);
    p->thread_started = true;
    return true;
}

void proxy_stop_receive_thread(VFIOUserProxy *p)
{
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        p->stopping = true;
    }
    event_notifier_set(&p->stop);
    qemu_thread_join(&p->receive_thread);
    proxy_close_fds(p);
}
