/*
 * vfio-user connection
 *
 * The object that owns a connection to a server: message ids, calls in flight,
 * the reader's and the writer's turn, deadlines, and the single path on which
 * a connection fails.
 *
 * This is not a device: it knows nothing about regions, maps or interrupts,
 * and does not interpret payloads.  It does not dial and does not reconnect;
 * it starts with a connected channel and ends CLOSED.
 *
 * Threads: any thread may call, post or notify, with or without the big QEMU
 * lock.  Only vfio_user_proxy_give_way() releases that lock.  Time spent
 * waiting with the lock held is charged to a budget.  A thread that waits for
 * a reply reads the socket itself if no other thread does; the receive thread
 * reads while no thread waits.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PROXY_H
#define HW_VFIO_USER_PROXY_H

#include "io/channel-socket.h"
#include "qom/object.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "hw/vfio/user/stream.h"

#define TYPE_VFIO_USER_PROXY "vfio-user-proxy"
OBJECT_DECLARE_SIMPLE_TYPE(VFIOUserProxy, VFIO_USER_PROXY)

/* Longest time that a waiter polls before it sleeps, ns. */
#define VFIO_USER_POLL_MAX_NS 100000

/* Default time-out of a call, ms. */
#define VFIO_USER_TIMEOUT_MS 5000

typedef enum VFIOUserProxyState {
    VFIO_USER_DOWN,             /* no byte has been sent */
    VFIO_USER_HANDSHAKE,        /* VERSION only, nothing from the server */
    VFIO_USER_UP,
    VFIO_USER_LOST,             /* failed: every call fails immediately */
    VFIO_USER_CLOSED,           /* closed by QEMU: as LOST, and final */
} VFIOUserProxyState;

/*
 * Callbacks of the proxy's user.  They run in the thread that reads or waits;
 * only is_canceled() may run with the proxy's lock held.  They must not block,
 * must not call the proxy except to reply, and must not take the big QEMU lock.
 */
typedef struct VFIOUserProxyOps {
    /*
     * A request from the server; its size has been checked against the table.
     * The callback must answer with vfio_user_proxy_reply() or
     * vfio_user_proxy_reply_error() before it returns.
     */
    void (*request)(void *opaque, VFIOUserProxy *proxy,
                    const VFIOUserMessage *msg);
    /*
     * The server answered a notify with an error.  @err names the socket; the
     * callback frees it.
     */
    void (*failed)(void *opaque, Error *err);
    /* The connection went from UP to LOST.  Called once. */
    void (*lost)(void *opaque, const char *cause);
    /*
     * This thread waited with the big QEMU lock held.  It should let the main
     * loop run after it has released the lock.  May be NULL.
     */
    void (*held_up)(void *opaque);
    /*
     * Returns true if the operation for which this thread waits, without the
     * big QEMU lock, was canceled.  The call then fails as if it timed out.
     * Called periodically while waiting.  May be NULL.
     */
    bool (*is_canceled)(void *opaque);
} VFIOUserProxyOps;

/* Replies up to this many bytes need no allocation. */
#define VFIO_USER_SHORT_REPLY 64

/* A sleeping thread; @done ends its wait.  Private to the proxy. */
typedef struct VFIOUserWaiter {
    QemuCond cond;
    bool done;
    QTAILQ_ENTRY(VFIOUserWaiter) next;
    QTAILQ_ENTRY(VFIOUserWaiter) next_for_slot;
} VFIOUserWaiter;

/*
 * One call: the request and, after success, the reply.  The caller allocates
 * it, usually on the stack; the proxy keeps no pointer to it after
 * vfio_user_proxy_finish() has returned.
 */
typedef struct VFIOUserCall {
    /* The request: @head, then @data.  The caller sets and owns them. */
    VFIOUserCommand command;
    const void *head;
    size_t head_size;
    const void *data;
    size_t data_size;
    const int *fds;
    size_t nfds;
    size_t reply_max;           /* payload bytes that the caller accepts */
    unsigned timeout_factor;    /* multiple of the proxy's time-out; 0 is 1 */
    int64_t until;              /* latest deadline, or 0: vfio_user_proxy_end */
    /*
     * For a command that servers may not implement: the property that disables
     * it.  The payload must then be 16 bytes, see proxy-stray.c.
     */
    const char *optional;
    /* The reply is short and may stay in the socket: more calls follow soon. */
    bool defer_reading;

    /* The reply, until vfio_user_call_clear(). */
    const uint8_t *reply;
    size_t reply_size;
    int reply_fds[VFIO_USER_MAX_FDS];
    size_t reply_nfds;          /* zeroed by a caller that keeps the fds */

    /* Private to the proxy. */
    VFIOUserWaiter waiter;
    int64_t begun;              /* ns on the host's monotonic clock */
    int64_t deadline;           /* same clock */
    bool is_short;              /* the operation's budget set the deadline */
    bool no_wait;               /* wait neither for the turn nor for room */
    int result;                 /* 0 or -errno, once waiter.done */
    uint8_t slot;
    bool heap_is_body;          /* @heap was allocated by the stream */
    uint8_t *heap;
    uint8_t short_reply[VFIO_USER_SHORT_REPLY] QEMU_ALIGNED(8);
} VFIOUserCall;

/**
 * vfio_user_call_clear:
 *
 * Frees the reply and closes its descriptors.
 */
void vfio_user_call_clear(VFIOUserCall *call);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VFIOUserCall, vfio_user_call_clear)

/**
 * vfio_user_proxy_reuse:
 *
 * As vfio_user_call_clear(), but keeps the memory of a long reply for the next
 * one.  For callers that expect many long replies.
 */
void vfio_user_proxy_reuse(VFIOUserProxy *proxy, VFIOUserCall *call);

/* Counters since the proxy was created. */
typedef struct VFIOUserProxyStats {
    uint64_t calls;             /* requests that expect a reply */
    uint64_t posts;             /* requests that expect no reply */
    uint64_t requests;          /* requests from the server */
    uint64_t receive_wakeups;   /* wakeups of the receive thread */
    uint64_t timeouts;          /* requests not sent or not answered in time */
    uint64_t bytes_sent;
    uint64_t bytes_received;
} VFIOUserProxyStats;

/* Adds @stats to @sum. */
void vfio_user_proxy_add_stats(VFIOUserProxyStats *sum,
                               const VFIOUserProxyStats *stats);

/**
 * vfio_user_proxy_new:
 * @ioc: a connected socket
 * @name: the socket's name, for messages
 * @ops: callbacks
 *
 * Returns a proxy that is DOWN, with one reference; NULL with @errp set if the
 * host is out of file descriptors.
 */
VFIOUserProxy *vfio_user_proxy_new(QIOChannelSocket *ioc, const char *name,
                                   const VFIOUserProxyOps *ops, void *opaque,
                                   Error **errp);

/**
 * vfio_user_proxy_set_timeout:
 * @ms: how long a call waits, 1 or more
 */
void vfio_user_proxy_set_timeout(VFIOUserProxy *proxy, unsigned ms);
unsigned vfio_user_proxy_timeout(const VFIOUserProxy *proxy);

/**
 * vfio_user_proxy_up:
 * @max_data: negotiated max_data_xfer_size, bytes
 * @serves: the server may send requests over this connection
 *
 * The handshake has succeeded or is not needed.  From now on every command may
 * be sent, and requests from the server are served.
 */
void vfio_user_proxy_up(VFIOUserProxy *proxy, uint64_t max_data, bool serves);

/**
 * vfio_user_proxy_close:
 *
 * Closes the connection and stops the receive thread; calls in flight fail.
 */
void vfio_user_proxy_close(VFIOUserProxy *proxy);

/**
 * vfio_user_proxy_is_idle:
 *
 * For a proxy that is LOST or CLOSED.  Returns whether no thread uses its
 * socket or runs a callback any more.
 */
bool vfio_user_proxy_is_idle(VFIOUserProxy *proxy);

/**
 * vfio_user_proxy_fail:
 * @cause: the reason, with or without the connection's name as prefix; the
 *         proxy takes ownership
 *
 * Marks the connection as LOST.  Calls in flight and later calls fail.  Only
 * the first cause is kept.
 */
void vfio_user_proxy_fail(VFIOUserProxy *proxy, Error *cause);

/**
 * vfio_user_proxy_check:
 *
 * Returns true if the connection is UP, else false with the cause in @errp.
 */
bool vfio_user_proxy_check(VFIOUserProxy *proxy, Error **errp);

/**
 * vfio_user_proxy_cause:
 *
 * Returns why the connection was lost, without the connection's name, to be
 * freed by the caller; NULL if it was not lost.
 */
char *vfio_user_proxy_cause(VFIOUserProxy *proxy);

VFIOUserProxyState vfio_user_proxy_state(VFIOUserProxy *proxy);
const char *vfio_user_proxy_name(const VFIOUserProxy *proxy);
bool vfio_user_proxy_passes_fds(const VFIOUserProxy *proxy);
void vfio_user_proxy_get_stats(VFIOUserProxy *proxy,
                               VFIOUserProxyStats *stats);

/**
 * vfio_user_proxy_end:
 *
 * Returns the deadline of a call that begins now, for the field @until of all
 * calls that belong to one operation.  Returns 0 with the big QEMU lock, where
 * the budget limits the operation.
 */
int64_t vfio_user_proxy_end(const VFIOUserProxy *proxy);

/**
 * vfio_user_proxy_give_way:
 *
 * @is_waited_for: returns true if another thread, perhaps the main loop, waits
 *                 for this one
 *
 * If the budget asked for a turn of the main loop, releases the big QEMU lock
 * until the main loop has had that turn: the mutex is not fair, so a thread
 * that takes it again immediately would overtake the main loop.  Returns early
 * if @is_waited_for returns true, or after the time of a budget.  For a vCPU
 * between two instructions; must not be called in a handler.
 */
void vfio_user_proxy_give_way(VFIOUserProxy *proxy,
                              bool (*is_waited_for)(void));

/*
 * How long all calls of an operation under the big QEMU lock may wait for the
 * server together, as a multiple of the proxy's time-out.
 */
typedef enum VFIOUserBudgetFactor {
    VFIO_USER_BUDGET_ORDINARY = 1,
    VFIO_USER_BUDGET_REALIZE = 2,
    VFIO_USER_BUDGET_RESET = 6,
    VFIO_USER_BUDGET_MIG_STATE = 6,     /* change of the migration state */
    VFIO_USER_BUDGET_MIG_DATA = 12,     /* completion; loading one section */
} VFIOUserBudgetFactor;

/**
 * vfio_user_budget_begin:
 *
 * Opens the budget of an operation under the big QEMU lock, which must not be
 * released before vfio_user_budget_end().  The time that each call waits is
 * charged to the budget.  A call that gets no reply in time, or that exhausts
 * the budget, fails the connection and returns -ETIMEDOUT.  Budgets nest: the
 * outermost one counts.  A call without a budget counts as one operation.
 * Operations between which the main loop does not run share one budget, the
 * largest of theirs.
 *
 * Without the big QEMU lock both functions do nothing and calls are not
 * charged, because only the calling thread waits.  If the main loop waits for
 * that thread, a late call fails the connection nevertheless.
 */
void vfio_user_budget_begin(VFIOUserProxy *proxy, VFIOUserBudgetFactor factor);
void vfio_user_budget_end(VFIOUserProxy *proxy);

/**
 * VFIO_USER_BUDGET_GUARD:
 * @proxy: may be NULL
 *
 * Opens a budget for the rest of the scope; holds a reference to the proxy.
 */
#define VFIO_USER_BUDGET_GUARD(proxy, factor)                           \
    g_auto(VFIOUserBudgetGuard) glue(budget_guard_, __LINE__)           \
        G_GNUC_UNUSED = vfio_user_budget_guard(proxy, factor)

/* Private to the macro. */
typedef VFIOUserProxy *VFIOUserBudgetGuard;
VFIOUserProxy *vfio_user_budget_guard(VFIOUserProxy *proxy,
                                      VFIOUserBudgetFactor factor);
void vfio_user_budget_unguard(VFIOUserProxy *proxy);
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(VFIOUserBudgetGuard, vfio_user_budget_unguard,
                                NULL)

/**
 * vfio_user_budget_left_ms:
 *
 * Returns how long (in ms) a thread with the big QEMU lock may wait for a call
 * of another thread.  The thread must charge the time that it waited (in ns)
 * with vfio_user_budget_charge().
 */
unsigned vfio_user_budget_left_ms(VFIOUserProxy *proxy);
void vfio_user_budget_charge(VFIOUserProxy *proxy, int64_t waited);

/**
 * vfio_user_proxy_begin:
 *
 * Sends a request.  vfio_user_proxy_finish() must follow on success, and must
 * not on failure.  Several calls may be begun before the first is finished.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_proxy_begin(VFIOUserProxy *proxy, VFIOUserCall *call,
                          Error **errp);

/**
 * vfio_user_proxy_finish:
 *
 * Waits for the reply to a call that was begun.
 *
 * Returns 0; the server's negative errno if it replied with an error;
 * -ETIMEDOUT, after which a late reply is dropped; -ECONNRESET if the
 * connection was lost.  @errp names the socket and the command.
 */
int vfio_user_proxy_finish(VFIOUserProxy *proxy, VFIOUserCall *call,
                           Error **errp);

/**
 * vfio_user_proxy_renew:
 *
 * Restarts the time-out of a call that was begun, because the server was busy
 * with earlier calls.
 */
void vfio_user_proxy_renew(VFIOUserProxy *proxy, VFIOUserCall *call);

/**
 * vfio_user_proxy_call:
 *
 * vfio_user_proxy_begin() and vfio_user_proxy_finish().
 */
int vfio_user_proxy_call(VFIOUserProxy *proxy, VFIOUserCall *call,
                         Error **errp);

/**
 * vfio_user_proxy_post:
 * @call: the request; the proxy keeps no pointer to it
 *
 * Sends a request with the flag No_reply.  Waits only if the socket is full.
 * With the big QEMU lock it never waits: the request is queued, and the
 * connection fails if the server leaves too many requests in the queue.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_proxy_post(VFIOUserProxy *proxy, VFIOUserCall *call,
                         Error **errp);

/**
 * vfio_user_proxy_is_congested:
 *
 * Returns true if the caller holds the big QEMU lock and the queue is half
 * full.  The caller should then use a call instead of a post: the call waits,
 * within its budget, until the server has read the whole queue.
 */
bool vfio_user_proxy_is_congested(VFIOUserProxy *proxy);

/**
 * vfio_user_proxy_post_write:
 * @call: the write as a REGION_WRITE
 * @entry: the same write as an entry of a REGION_WRITE_MULTI
 *
 * As vfio_user_proxy_post(), for a server that supports REGION_WRITE_MULTI: if
 * several threads have to wait, one message carries all their writes.
 *
 * Returns 0 when the write has been sent, or -errno with @errp set.
 */
int vfio_user_proxy_post_write(VFIOUserProxy *proxy, VFIOUserCall *call,
                               const VFIOUserWriteMultiEntry *entry,
                               Error **errp);

/**
 * vfio_user_proxy_notify:
 * @call: the request; the proxy keeps no pointer to it
 *
 * Sends a request and waits no longer than vfio_user_proxy_post().  An error
 * reply is passed to VFIOUserProxyOps.failed when it arrives, unless very many
 * notifies are in flight.  The connection fails if the server leaves very many
 * unanswered.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_proxy_notify(VFIOUserProxy *proxy, VFIOUserCall *call,
                           Error **errp);

/**
 * vfio_user_proxy_reply:
 * @request: header of the server's request
 * @head: first part of the payload
 * @iov: second part of the payload; not modified
 * @niov: elements of @iov
 *
 * Answers a request of the server; for use in VFIOUserProxyOps.request.
 * Never blocks: bytes that the socket does not accept are queued.
 */
void vfio_user_proxy_reply(VFIOUserProxy *proxy, const VFIOUserHeader *request,
                           const void *head, size_t head_size,
                           const struct iovec *iov, unsigned niov);

/**
 * vfio_user_proxy_reply_error:
 * @error: a positive errno
 */
void vfio_user_proxy_reply_error(VFIOUserProxy *proxy,
                                 const VFIOUserHeader *request, int error);

#endif /* HW_VFIO_USER_PROXY_H */
