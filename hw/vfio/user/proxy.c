/*
 * vfio-user connection: the object, its states, calls and slots
 *
 * All changes of the connection's state are made here, including the single
 * path on which it fails.  stream.c moves the bytes; proxy-send.c and
 * proxy-receive.c manage the writer's and the reader's turn.
 *
 * Threads: see proxy.h; for the lock see proxy-internal.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/vfio/user/proxy-internal.h"
#include "trace.h"

static const char *const state_names[] = {
    [VFIO_USER_DOWN] = "DOWN",
    [VFIO_USER_HANDSHAKE] = "HANDSHAKE",
    [VFIO_USER_UP] = "UP",
    [VFIO_USER_LOST] = "LOST",
    [VFIO_USER_CLOSED] = "CLOSED",
};

bool proxy_usable_locked(const VFIOUserProxy *p)
{
    vfio_user_assert_locked(&p->lock);
    return p->state < VFIO_USER_LOST;
}

void proxy_wake_locked(VFIOUserProxy *p, VFIOUserWaiter *w)
{
    vfio_user_assert_locked(&p->lock);
    qatomic_store_release(&w->done, true);
    qemu_cond_signal(&w->cond);
}

static void proxy_use_slot_locked(VFIOUserProxy *p, ProxySlot *slot,
                                  ProxySlotUse use)
{
    vfio_user_assert_locked(&p->lock);
    p->used[slot->use]--;
    p->used[use]++;
    slot->use = use;
}

/*
 * The only place where the state changes.  A change to LOST or CLOSED
 * completes all calls in flight and wakes all waiting threads.
 */
static void proxy_set_state_locked(VFIOUserProxy *p, VFIOUserProxyState state,
                                   const char *reason)
{
    VFIOUserWaiter *w, *tmp;

    vfio_user_assert_locked(&p->lock);
    trace_vfio_user_proxy_state(p->name, state_names[p->state],
                                state_names[state], reason);
    assert(state > p->state);
    p->state = state;
    if (proxy_usable_locked(p)) {
        return;
    }

    for (unsigned i = 0; i < PROXY_SLOTS; i++) {
        ProxySlot *slot = &p->slots[i];

        if (slot->use == SLOT_CALL) {
            slot->call->result = -ECONNRESET;
            proxy_wake_locked(p, &slot->call->waiter);
        }
        proxy_use_slot_locked(p, slot, SLOT_FREE);
        slot->call = NULL;
    }
    QTAILQ_FOREACH_SAFE(w, &p->slot_waiters, next_for_slot, tmp) {
        QTAILQ_REMOVE(&p->slot_waiters, w, next_for_slot);
        proxy_wake_locked(p, w);
    }
    qemu_cond_broadcast(&p->writer_cond);
    proxy_drop_queue_locked(p);
    proxy_ignore_socket_locked(p);
    /* wake threads that sleep in poll(2) */
    shutdown(p->fd, SHUT_RDWR);
}

void vfio_user_proxy_fail(VFIOUserProxy *p, Error *cause)
{
    g_autofree char *name = g_strdup_printf("vfio-user %s: ", p->name);
    g_autofree char *reason = NULL;
    bool was_up;

    /* the code that reports a lost connection adds the name */
    reason = g_strdup(error_get_pretty(cause) +
                      (g_str_has_prefix(error_get_pretty(cause), name) ?
                       strlen(name) : 0));
    error_free(cause);
    cause = NULL;
    error_setg(&cause, "%s", reason);

    qemu_mutex_lock(&p->lock);
    if (!proxy_usable_locked(p)) {
        qemu_mutex_unlock(&p->lock);
        error_free(cause);
        return;
    }
    was_up = p->state == VFIO_USER_UP;
    p->cause = cause;
    proxy_set_state_locked(p, VFIO_USER_LOST, reason);
    qemu_mutex_unlock(&p->lock);

    if (was_up) {
        p->ops->lost(p->opaque, reason);
    }
}

void vfio_user_proxy_up(VFIOUserProxy *p, uint64_t max_data, bool serves)
{
    QEMU_LOCK_GUARD(&p->lock);
    if (p->state < VFIO_USER_UP) {
        p->max_data = max_data;
        p->serves = serves;
        proxy_set_state_locked(p, VFIO_USER_UP, "version agreed");
        if (!p->put_off) {      /* else listening starts when the timer ends */
            proxy_listen_locked(p);
        }
    }
}

void vfio_user_proxy_close(VFIOUserProxy *p)
{
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        if (p->state == VFIO_USER_CLOSED) {
            return;
        }
        proxy_set_state_locked(p, VFIO_USER_CLOSED, "closed");
    }
    if (p->thread_started) {
        proxy_stop_receive_thread(p);
    }
}

bool vfio_user_proxy_is_idle(VFIOUserProxy *p)
{
    QEMU_LOCK_GUARD(&p->lock);
    return !proxy_usable_locked(p) && !p->reading && !p->writing;
}

VFIOUserProxyState vfio_user_proxy_state(VFIOUserProxy *p)
{
    QEMU_LOCK_GUARD(&p->lock);
    return p->state;
}

char *vfio_user_proxy_cause(VFIOUserProxy *p)
{
    QEMU_LOCK_GUARD(&p->lock);
    return p->cause ? g_strdup(error_get_pretty(p->cause)) : NULL;
}

const char *vfio_user_proxy_name(const VFIOUserProxy *p)
{
    return p->name;
}

bool vfio_user_proxy_passes_fds(const VFIOUserProxy *p)
{
    return vfio_user_stream_passes_fds(p->stream);
}

void vfio_user_proxy_get_stats(VFIOUserProxy *p, VFIOUserProxyStats *stats)
{
    QEMU_LOCK_GUARD(&p->lock);
    *stats = p->stats;
    vfio_user_stream_count(p->stream, &stats->bytes_sent,
                           &stats->bytes_received);
}

void vfio_user_proxy_add_stats(VFIOUserProxyStats *sum,
                               const VFIOUserProxyStats *stats)
{
    sum->calls += stats->calls;
    sum->posts += stats->posts;
    sum->requests += stats->requests;
    sum->receive_wakeups += stats->receive_wakeups;
    sum->bytes_sent += stats->bytes_sent;
    sum->bytes_received += stats->bytes_received;
    sum->timeouts += stats->timeouts;
}

void vfio_user_proxy_set_timeout(VFIOUserProxy *p, unsigned ms)
{
    QEMU_LOCK_GUARD(&p->lock);
    assert(ms);
    qatomic_set(&p->timeout_ms, ms);
}

unsigned vfio_user_proxy_timeout(const VFIOUserProxy *p)
{
    return qatomic_read(&p->timeout_ms);
}

int64_t vfio_user_proxy_end(const VFIOUserProxy *p)
{
    return bql_locked() ? 0 : proxy_clock_ns() +
           (int64_t)qatomic_read(&p->timeout_ms) * SCALE_MS;
}

/* Slots */

ProxySlot *proxy_find_slot_locked(VFIOUserProxy *p, uint16_t id)
{
    ProxySlot *slot = &p->slots[id & 0xff];

    vfio_user_assert_locked(&p->lock);
    if ((id & 0xff) >= PROXY_SLOTS || slot->use == SLOT_FREE ||
        slot->generation != id >> 8) {
        return NULL;
    }
    return slot;
}

void proxy_release_slot_locked(VFIOUserProxy *p, ProxySlot *slot)
{
    VFIOUserWaiter *w = QTAILQ_FIRST(&p->slot_waiters);

    vfio_user_assert_locked(&p->lock);
    proxy_use_slot_locked(p, slot, SLOT_FREE);
    slot->call = NULL;
    slot->generation++;
    p->free_slots[p->nfree++] = slot - p->slots;
    if (w) {
        QTAILQ_REMOVE(&p->slot_waiters, w, next_for_slot);
        proxy_wake_locked(p, w);
    }
}

/* Waits for a slot if all are in use; NULL after @deadline. */
static ProxySlot *proxy_claim_slot_locked(VFIOUserProxy *p, int64_t deadline)
{
    vfio_user_assert_locked(&p->lock);
    while (!p->nfree && proxy_usable_locked(p)) {
        VFIOUserWaiter w = { };
        bool in_time;

        qemu_cond_init(&w.cond);
        QTAILQ_INSERT_TAIL(&p->slot_waiters, &w, next_for_slot);
        in_time = proxy_wait_locked(p, &w, deadline);
        if (!w.done) {
            QTAILQ_REMOVE(&p->slot_waiters, &w, next_for_slot);
        }
        qemu_cond_destroy(&w.cond);
        if (!in_time) {
            return NULL;
        }
    }
    return proxy_usable_locked(p) ? &p->slots[p->free_slots[--p->nfree]] : NULL;
}

/* Calls */

int proxy_gone(VFIOUserProxy *p, Error **errp)
{
    QEMU_LOCK_GUARD(&p->lock);
    error_setg(errp, "%s", p->cause ? error_get_pretty(p->cause)
                                    : "the connection is closed");
    return -ECONNRESET;
}

static unsigned proxy_timeout(VFIOUserProxy *p, const VFIOUserCall *call)
{
    uint64_t ms = qatomic_read(&p->timeout_ms);

    /* qemu_cond_timedwait() accepts an int */
    return MIN(ms * (call->timeout_factor ?: 1), INT_MAX);
}

/* Fails the connection; the cause names the command of @call. */
static void proxy_give_up(VFIOUserProxy *p, const VFIOUserCall *call,
                          const Error *why)
{
    Error *cause = NULL;

    error_setg(&cause, "%s: %s", vfio_user_command_name(call->command),
               error_get_pretty(why));
    vfio_user_proxy_fail(p, cause);
}

/* The likely cause of a missing reply, appended to the message. */
static char *proxy_late_hint(const VFIOUserCall *call)
{
    if (call->command == VFIO_USER_VERSION) {
        return g_strdup("; another client may be connected to the server");
    }
    return call->optional ? g_strdup_printf("; try %s=on", call->optional)
                          : g_strdup(": is the server stuck?");
}

bool proxy_is_canceled(VFIOUserProxy *p)
{
    return !bql_locked() && p->ops->is_canceled &&
           p->ops->is_canceled(p->opaque);
}

int proxy_late(VFIOUserProxy *p, const VFIOUserCall *call, const char *what,
               Error **errp)
{
    g_autofree char *hint = proxy_late_hint(call);
    bool canceled = proxy_is_canceled(p);
    bool held_up = !canceled && !bql_locked() && !proxy_main_loop_runs(p);
    Error *err = NULL;

    if (!canceled) {
        QEMU_LOCK_GUARD(&p->lock);
        p->stats.timeouts++;
    }
    if (canceled) {
        error_setg(&err, "%s before the operation was canceled", what);
    } else if (proxy_budget_is_short(p, call)) {
        error_setg(&err, "%s: the operation used up its time of %" PRId64
                   " ms%s", what, proxy_budget_total(p) / SCALE_MS, hint);
    } else {
        error_setg(&err, "%s within %u ms (x-timeout-ms)%s%s", what,
                   proxy_timeout(p, call),
                   held_up ? ", while QEMU's main loop waits for the caller"
                           : "", hint);
    }
    if (bql_locked() || held_up) {
        /* the main loop must not wait for this server again */
        proxy_give_up(p, call, err);
    }
    error_propagate(errp, err);
    return -ETIMEDOUT;
}

void proxy_charge(VFIOUserProxy *p, const VFIOUserCall *call, int64_t since)
{
    Error *err = NULL;

    proxy_budget_charge(p, since);
    if (!bql_locked() && proxy_turn_is_overdue(p, since) &&
        !proxy_main_loop_runs(p)) {
        error_setg(&err, "QEMU's main loop waits for calls that took more than"
                   " %u ms (x-timeout-ms) in all: is the server stuck?",
                   qatomic_read(&p->timeout_ms));
        proxy_give_up(p, call, err);
        error_free(err);
    }
}

void proxy_name_error(VFIOUserProxy *p, const VFIOUserCall *call, Error **errp)
{
    error_prepend(errp, "vfio-user %s: %s: ", p->name,
                  vfio_user_command_name(call->command));
}

/* For requests that must not wait: the connection fails if the queue is full */
static int proxy_transmit_now(VFIOUserProxy *p, VFIOUserCall *call,
                              struct iovec *iov, unsigned niov, Error **errp)
{
    Error *err = NULL;
    int ret = proxy_send_or_queue(p, iov, niov, call->fds, call->nfds, &err);

    if (ret == -ENOBUFS) {
        proxy_give_up(p, call, err);
    }
    error_propagate(errp, err);
    return ret;
}

static int proxy_transmit(VFIOUserProxy *p, VFIOUserCall *call, uint16_t id,
                          uint32_t flags, Error **errp)
{
    VFIOUserHeader header = {
        .id = id,
        .command = call->command,
        .size = sizeof(header) + call->head_size + call->data_size,
        .flags = flags,
    };
    struct iovec iov[] = {
        { &header, sizeof(header) },
        { (void *)call->head, call->head_size },
        { (void *)call->data, call->data_size },
    };
    int ret;

    trace_vfio_user_proxy_send(p->name, vfio_user_command_name(call->command),
                               id, header.size, call->nfds, flags);
    if (call->no_wait) {
        return proxy_transmit_now(p, call, iov, ARRAY_SIZE(iov), errp);
    }
    ret = proxy_send(p, iov, ARRAY_SIZE(iov), call->fds, call->nfds,
                     call->deadline, errp);
    return ret == -ETIMEDOUT ? proxy_late(p, call, "not sent", errp) : ret;
}

void proxy_set_deadline(VFIOUserProxy *p, VFIOUserCall *call)
{
    int64_t now = proxy_clock_ns();

    call->begun = now;
    call->deadline = now + (int64_t)proxy_timeout(p, call) * SCALE_MS;
    if (call->until) {
        call->deadline = MIN(call->deadline, call->until);
    }
    call->is_short = false;
    call->no_wait = false;
    proxy_budget_limit(p, call, now);
}

/* Returns the message id. */
static int proxy_fill_slot_locked(VFIOUserProxy *p, ProxySlot *slot,
                                  VFIOUserCall *call, ProxySlotUse use)
{
    vfio_user_assert_locked(&p->lock);
    p->stats.calls++;
    proxy_use_slot_locked(p, slot, use);
    slot->call = use == SLOT_CALL ? call : NULL;
    slot->command = call->command;
    slot->begun = call->begun;
    slot->optional = call->optional;
    if (call->optional) {
        assert(call->head_size == sizeof(VFIOUserHeader));
        memcpy(slot->payload, call->head, sizeof(slot->payload));
    }
    call->slot = slot - p->slots;
    return slot->generation << 8 | call->slot;
}

/* Claims a slot for @use.  Returns its message id or -errno. */
static int proxy_open_slot(VFIOUserProxy *p, VFIOUserCall *call,
                           ProxySlotUse use, Error **errp)
{
    ProxySlot *slot = NULL;
    bool usable;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        if (p->state == VFIO_USER_DOWN) {
            assert(call->command == VFIO_USER_VERSION);
            proxy_set_state_locked(p, VFIO_USER_HANDSHAKE, "version proposed");
        }
        slot = proxy_claim_slot_locked(p, call->deadline);
        usable = proxy_usable_locked(p);
        if (slot && call->defer_reading) {
            proxy_put_reading_off_locked(p);
        }
        if (slot) {
            return proxy_fill_slot_locked(p, slot, call, use);
        }
    }
    return usable ? proxy_late(p, call, "no message slot became free", errp)
                  : proxy_gone(p, errp);
}

/*
 * Releases the slot of a request that was not sent.  The slot may belong to
 * another call now, because a server can reply to a message before it gets it.
 */
static void proxy_cancel_slot(VFIOUserProxy *p, const VFIOUserCall *call,
                              ProxySlotUse use, uint16_t id)
{
    ProxySlot *slot;

    QEMU_LOCK_GUARD(&p->lock);
    slot = proxy_find_slot_locked(p, id);
    if (slot && slot->use == use && (use != SLOT_CALL || slot->call == call)) {
        proxy_release_slot_locked(p, slot);
    }
}

static int proxy_begin(VFIOUserProxy *p, VFIOUserCall *call, Error **errp)
{
    int id, ret;

    proxy_set_deadline(p, call);
    id = proxy_open_slot(p, call, SLOT_CALL, errp);
    if (id < 0) {
        return id;
    }
    ret = proxy_transmit(p, call, id, VFIO_USER_TYPE_COMMAND, errp);
    proxy_charge(p, call, call->begun);
    if (ret < 0) {
        proxy_cancel_slot(p, call, SLOT_CALL, id);
    }
    return ret;
}

int vfio_user_proxy_begin(VFIOUserProxy *p, VFIOUserCall *call, Error **errp)
{
    ERRP_GUARD();
    int ret;

    call->waiter.done = false;
    call->result = 0;
    qemu_cond_init(&call->waiter.cond);
    ret = proxy_begin(p, call, errp);
    if (ret < 0) {
        qemu_cond_destroy(&call->waiter.cond);
        proxy_name_error(p, call, errp);
    }
    return ret;
}

void vfio_user_proxy_renew(VFIOUserProxy *p, VFIOUserCall *call)
{
    proxy_set_deadline(p, call);
}

/* Fails the connection, since only replies would free these slots. */
static void proxy_too_many(VFIOUserProxy *p, const VFIOUserCall *call,
                           const char *what)
{
    Error *err = NULL;

    error_setg(&err, "%u %s", PROXY_SLOTS_MAX_PER_USE, what);
    proxy_give_up(p, call, err);
    error_free(err);
}

int vfio_user_proxy_finish(VFIOUserProxy *p, VFIOUserCall *call, Error **errp)
{
    ERRP_GUARD();
    bool in_time, usable, too_many;
    int64_t since = proxy_clock_ns();
    int ret;

    proxy_budget_limit(p, call, since);
    proxy_turn_set_call(true);
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        in_time = proxy_wait_locked(p, &call->waiter, call->deadline);
        usable = proxy_usable_locked(p);
        if (!in_time) {
            proxy_use_slot_locked(p, &p->slots[call->slot], SLOT_DISCARD);
            p->slots[call->slot].call = NULL;
        }
        too_many = p->used[SLOT_DISCARD] >= PROXY_SLOTS_MAX_PER_USE;
    }
    qemu_cond_destroy(&call->waiter.cond);
    proxy_turn_set_call(false);
    proxy_charge(p, call, since);

    if (!in_time) {
        ret = proxy_late(p, call, "no reply", errp);
        if (too_many) {
            proxy_too_many(p, call, "calls were not answered in time");
        }
    } else if (call->result == -ECONNRESET && !usable) {
        ret = proxy_gone(p, errp);
    } else {
        ret = call->result;
        if (ret < 0) {
            error_setg_errno(errp, -ret, "the server replied with an error");
        }
    }
    if (ret < 0) {
        proxy_name_error(p, call, errp);
    }
    return ret;
}

bool vfio_user_proxy_check(VFIOUserProxy *p, Error **errp)
{
    ERRP_GUARD();

    if (vfio_user_proxy_state(p) == VFIO_USER_UP) {
        return true;
    }
    proxy_gone(p, errp);
    error_prepend(errp, "vfio-user %s: ", p->name);
    return false;
}

int vfio_user_proxy_call(VFIOUserProxy *p, VFIOUserCall *call, Error **errp)
{
    int ret = vfio_user_proxy_begin(p, call, errp);

    return ret < 0 ? ret : vfio_user_proxy_finish(p, call, errp);
}

/* Whether a notify has been without a reply for longer than the time-out. */
static bool proxy_notify_is_late_locked(const VFIOUserProxy *p, int64_t now)
{
    int64_t latest = now - (int64_t)qatomic_read(&p->timeout_ms) * SCALE_MS;

    vfio_user_assert_locked(&p->lock);
    for (unsigned i = 0; i < PROXY_SLOTS; i++) {
        if (p->slots[i].use == SLOT_NOTIFY && p->slots[i].begun < latest) {
            return true;
        }
    }
    return false;
}

/*
 * As proxy_open_slot(), for a notify and without waiting.  If notifies use all
 * the slots that they may use, this one is sent as a post, and its errors are
 * not reported.  The connection fails if the server does not reply to the
 * others.
 */
static int proxy_open_notify(VFIOUserProxy *p, VFIOUserCall *call,
                             Error **errp)
{
    bool usable;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        usable = proxy_usable_locked(p);
        if (usable && p->nfree &&
            p->used[SLOT_NOTIFY] < PROXY_SLOTS_MAX_PER_USE) {
            ProxySlot *slot = &p->slots[p->free_slots[--p->nfree]];

            return proxy_fill_slot_locked(p, slot, call, SLOT_NOTIFY);
        }
        if (usable && !proxy_notify_is_late_locked(p, call->begun)) {
            return PROXY_POST_SLOT;
        }
    }
    if (usable) {
        proxy_too_many(p, call, "requests were not answered in time");
    }
    return proxy_gone(p, errp);
}

static int proxy_notify(VFIOUserProxy *p, VFIOUserCall *call, Error **errp)
{
    int id, ret;

    proxy_set_deadline(p, call);
    call->no_wait = bql_locked();
    id = call->no_wait ? proxy_open_notify(p, call, errp) :
                         proxy_open_slot(p, call, SLOT_NOTIFY, errp);
    if (id < 0) {
        return id;
    }
    ret = proxy_transmit(p, call, id, VFIO_USER_TYPE_COMMAND |
                         (id == PROXY_POST_SLOT ? VFIO_USER_NO_REPLY : 0),
                         errp);
    proxy_charge(p, call, call->begun);
    if (ret < 0) {
        proxy_cancel_slot(p, call, SLOT_NOTIFY, id);
    }
    return ret;
}

int vfio_user_proxy_notify(VFIOUserProxy *p, VFIOUserCall *call, Error **errp)
{
    ERRP_GUARD();
    int ret = proxy_notify(p, call, errp);

    if (ret < 0) {
        proxy_name_error(p, call, errp);
    }
    return ret;
}

int vfio_user_proxy_post(VFIOUserProxy *p, VFIOUserCall *call, Error **errp)
{
    ERRP_GUARD();
    int ret;

    proxy_set_deadline(p, call);
    call->no_wait = bql_locked();
    qemu_mutex_lock(&p->lock);
    ret = p->state == VFIO_USER_UP ? 0 : -ECONNRESET;
    p->stats.posts++;
    qemu_mutex_unlock(&p->lock);

    ret = ret < 0 ? proxy_gone(p, errp)
                  : proxy_transmit(p, call, PROXY_POST_SLOT,
                                   VFIO_USER_TYPE_COMMAND | VFIO_USER_NO_REPLY,
                                   errp);
    proxy_charge(p, call, call->begun);
    if (ret < 0) {
        proxy_name_error(p, call, errp);
    }
    return ret;
}

void vfio_user_call_clear(VFIOUserCall *call)
{
    vfio_user_close_fds(call->reply_fds, call->reply_nfds);
    call->reply_nfds = 0;
    g_free(call->heap);
    call->heap = NULL;
    call->heap_is_body = false;
    call->reply = NULL;
    call->reply_size = 0;
}

void vfio_user_proxy_reuse(VFIOUserProxy *proxy, VFIOUserCall *call)
{
    if (call->heap_is_body) {
        vfio_user_stream_give_back(proxy->stream, g_steal_pointer(&call->heap),
                                   call->reply_size);
    }
    vfio_user_call_clear(call);
}

/* The object */

VFIOUserProxy *vfio_user_proxy_new(QIOChannelSocket *ioc, const char *name,
                                   const VFIOUserProxyOps *ops, void *opaque,
                                   Error **errp)
{
    ERRP_GUARD();
    g_autoptr(VFIOUserProxy) p =
        VFIO_USER_PROXY(object_new(TYPE_VFIO_USER_PROXY));

    p->name = g_strdup(name);
    p->fd = ioc->fd;
    p->ops = ops;
    p->opaque = opaque;
    p->stream = vfio_user_stream_new(ioc);
    if (!proxy_start_receive_thread(p, errp)) {
        error_prepend(errp, "vfio-user %s: ", name);
        return NULL;
    }
    return g_steal_pointer(&p);
}

static void vfio_user_proxy_init(Object *obj)
{
    VFIOUserProxy *p = VFIO_USER_PROXY(obj);

    qemu_mutex_init(&p->lock);
    qemu_cond_init(&p->writer_cond);
    qemu_cond_init(&p->turn_cond);
    QTAILQ_INIT(&p->waiters);
    QTAILQ_INIT(&p->slot_waiters);
    QTAILQ_INIT(&p->small_writes);
    QSIMPLEQ_INIT(&p->replies);
    QSIMPLEQ_INIT(&p->requests);
    p->epoll_fd = p->timer_fd = -1;
    p->timeout_ms = VFIO_USER_TIMEOUT_MS;
    p->max_data = 1 * MiB;
    p->used[SLOT_FREE] = PROXY_SLOTS;
    for (unsigned i = 0; i < PROXY_SLOTS; i++) {
        p->free_slots[p->nfree++] = PROXY_SLOTS - 1 - i;
    }
    if (sysconf(_SC_NPROCESSORS_ONLN) > 1) {
        p->poll_max_ns = VFIO_USER_POLL_MAX_NS;
        p->poll_ns = p->poll_max_ns;
    }
}

static void vfio_user_proxy_finalize(Object *obj)
{
    VFIOUserProxy *p = VFIO_USER_PROXY(obj);

    if (p->stream) {
        vfio_user_proxy_close(p);
    }
    vfio_user_stream_free(p->stream);
    error_free(p->cause);
    qemu_cond_destroy(&p->writer_cond);
    qemu_cond_destroy(&p->turn_cond);
    qemu_mutex_destroy(&p->lock);
    g_free(p->name);
}

static const TypeInfo vfio_user_proxy_info = {
    .name = TYPE_VFIO_USER_PROXY,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(VFIOUserProxy),
    .instance_init = vfio_user_proxy_init,
    .instance_finalize = vfio_user_proxy_finalize,
};

static void vfio_user_proxy_register_type(void)
{
    type_register_static(&vfio_user_proxy_info);
}

type_init(vfio_user_proxy_register_type)
