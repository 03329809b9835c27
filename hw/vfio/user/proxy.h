/*
 * vfio-user connection
 *
 * The object that owns a connection to a server: ids, calls in flight, whose
 * turn it is to read and to write, deadlines, and the one path on which a
 * connection fails.
 *
 * Not a device: it knows no regions, maps or interrupts, and what the bytes
 * of a payload mean is not its business.  It does not dial and does not
 * reconnect; it begins with a connected channel and ends CLOSED.
 *
 * Threads: any thread may call, post or notify, with the big QEMU lock or
 * without; nothing here takes it or releases it, and what waits with it is
 * charged to a budget.  Whoever waits for a reply reads the socket in the
 * meantime if nobody else does; a receive thread reads when nobody waits.
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

/* How long a call waits for its reply unless it says otherwise, ms. */
#define VFIO_USER_TIMEOUT_MS 5000

typedef enum VFIOUserProxyState {
    VFIO_USER_DOWN,             /* no byte has been sent */
    VFIO_USER_HANDSHAKE,        /* VERSION only, nothing from the server */
    VFIO_USER_UP,
    VFIO_USER_LOST,             /* failed: every call fails at once */
    VFIO_USER_CLOSED,           /* by us: likewise, and there is no way back */
} VFIOUserProxyState;

/*
 * What the room above does.  Called in whichever thread reads, without the
 * proxy's lock; must not block, must not call the proxy except to reply, and
 * must not take the big QEMU lock.
 */
typedef struct VFIOUserProxyOps {
    /*
     * A request from the server, its size checked against the table.  To be
     * answered before return, with vfio_user_proxy_reply() or
     * vfio_user_proxy_reply_error().
     */
    void (*request)(void *opaque, VFIOUserProxy *proxy,
                    const VFIOUserMessage *msg);
    /* A notify was answered by an error, which names the socket; taken. */
    void (*failed)(void *opaque, Error *err);
    /* The connection went from UP to LOST.  Once. */
    void (*lost)(void *opaque, const char *cause);
    /*
     * This thread has waited with the big QEMU lock, and is to let the main
     * loop have a turn once it has released the lock; may be NULL.
     */
    void (*held_up)(void *opaque);
    /*
     * Whether what this thread waits for, without the big QEMU lock, is not
     * wanted any more; may be NULL.  Asked now and then: such a call is late.
     */
    bool (*unwanted)(void *opaque);
} VFIOUserProxyOps;

/* Replies up to this many bytes cost no allocation. */
#define VFIO_USER_SHORT_REPLY 64

/* Sleeps until somebody has done what it waits for.  Private to the proxy. */
typedef struct VFIOUserWaiter {
    QemuCond cond;
    bool done;
    QTAILQ_ENTRY(VFIOUserWaiter) next;
    QTAILQ_ENTRY(VFIOUserWaiter) next_for_slot;
} VFIOUserWaiter;

/*
 * One call: request and, after it has succeeded, reply.  Lives with its
 * caller, mostly on the stack; nothing points at it once finish has returned.
 */
typedef struct VFIOUserCall {
    /* The request: @head then @data; set by the caller, who keeps them. */
    VFIOUserCommand command;
    const void *head;
    size_t head_size;
    const void *data;
    size_t data_size;
    const int *fds;
    size_t nfds;
    size_t reply_max;           /* bytes of payload that the caller takes */
    unsigned timeout_factor;    /* of the proxy's time-out; 0 is 1 */
    int64_t until;              /* late then, see vfio_user_proxy_end(); or 0 */
    /*
     * Of a command that servers need not know, the property that leaves it
     * out; the payload is 16 bytes then, see proxy-stray.c.
     */
    const char *optional;
    bool reply_may_lie;         /* is short and nobody waits: more calls come */

    /* The reply, until vfio_user_call_clear(). */
    const uint8_t *reply;
    size_t reply_size;
    int reply_fds[VFIO_USER_MAX_FDS];
    size_t reply_nfds;          /* those that the caller takes, it zeroes */

    /* Private to the proxy. */
    VFIOUserWaiter waiter;
    int64_t begun;              /* ns on the host's monotonic clock */
    int64_t deadline;           /* likewise */
    bool is_short;              /* the budget of the operation set it */
    bool no_wait;               /* neither for turn nor room */
    int result;                 /* 0 or -errno, once waiter.done */
    uint8_t slot;
    bool heap_is_body;          /* of the stream */
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
 * Clears a call, and keeps the memory of a long reply for the next one: for who
 * expects many.
 */
void vfio_user_proxy_reuse(VFIOUserProxy *proxy, VFIOUserCall *call);

/* What the proxy counted since it was made. */
typedef struct VFIOUserProxyStats {
    uint64_t calls;             /* requests that expect a reply */
    uint64_t posts;             /* requests that expect none */
    uint64_t requests;          /* of the server */
    uint64_t receive_wakeups;   /* times that the receive thread woke up */
} VFIOUserProxyStats;

/**
 * vfio_user_proxy_new:
 * @ioc: a connected socket
 * @name: of the socket, for messages
 * @ops: what the room above does
 *
 * Returns a proxy that is DOWN, with one reference; NULL with @errp set where
 * the host has no descriptor left.
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
 * @serves: the server's requests may come over this connection
 *
 * The handshake has succeeded, or there is none: every command may go out, and
 * requests are served from now on.
 */
void vfio_user_proxy_up(VFIOUserProxy *proxy, uint64_t max_data, bool serves);

/**
 * vfio_user_proxy_close:
 *
 * Ends the connection and the receive thread; calls in flight fail.
 */
void vfio_user_proxy_close(VFIOUserProxy *proxy);

/**
 * vfio_user_proxy_fail:
 * @cause: why, with the connection's name in front or without; taken
 *
 * The connection cannot go on.  Every call in flight and every later one
 * fails.  The first cause is kept, others are dropped.
 */
void vfio_user_proxy_fail(VFIOUserProxy *proxy, Error *cause);

/**
 * vfio_user_proxy_check:
 *
 * Returns true where the connection is UP, else false with its cause in @errp.
 */
bool vfio_user_proxy_check(VFIOUserProxy *proxy, Error **errp);

VFIOUserProxyState vfio_user_proxy_state(VFIOUserProxy *proxy);
const char *vfio_user_proxy_name(const VFIOUserProxy *proxy);
bool vfio_user_proxy_passes_fds(const VFIOUserProxy *proxy);
void vfio_user_proxy_get_stats(VFIOUserProxy *proxy,
                               VFIOUserProxyStats *stats);

/**
 * vfio_user_proxy_end:
 *
 * When a call that begins now is late, for the field until of all calls that
 * only together do what was asked for; 0 with the big QEMU lock, where the
 * budget decides.
 */
int64_t vfio_user_proxy_end(const VFIOUserProxy *proxy);

/**
 * vfio_user_proxy_give_way:
 *
 * Releases the big QEMU lock until the main loop has had the turn that the
 * budget asked for, if it did: a mutex is not fair, and who takes it again at
 * once goes before the one who waits.  For a processor between two of its
 * instructions, never in a handler.
 *
 * @is_waited_for: whether somebody waits for this thread, perhaps the main loop
 * itself; then it goes on, as it does after the time of a budget.
 */
void vfio_user_proxy_give_way(VFIOUserProxy *proxy,
                              bool (*is_waited_for)(void));

/*
 * How long an operation under the big QEMU lock may wait for the server in all
 * its calls, as a multiple of the proxy's time-out.
 */
typedef enum VFIOUserBudgetFactor {
    VFIO_USER_BUDGET_ORDINARY = 1,
    VFIO_USER_BUDGET_REALIZE = 2,
    VFIO_USER_BUDGET_RESET = 6,
    VFIO_USER_BUDGET_MIG_STATE = 6,     /* a change of migration state */
    VFIO_USER_BUDGET_MIG_DATA = 12,     /* completion; loading one section */
} VFIOUserBudgetFactor;

/**
 * vfio_user_budget_begin:
 *
 * Opens the budget of an operation, with the big QEMU lock, which must not be
 * released before vfio_user_budget_end().  Each call is charged with the time
 * that it waits.  A call that is not answered in time, or that uses the budget
 * up, fails the connection and returns -ETIMEDOUT.  Nests: the outermost budget
 * counts.  A call without a budget is an operation of its own.  Operations
 * between which the main loop has no turn have one budget, that of the largest.
 *
 * Without the big QEMU lock both do nothing, and calls are not charged: nobody
 * but their own thread waits.  If the main loop does wait for that thread, a
 * call that is late fails the connection, too.
 */
void vfio_user_budget_begin(VFIOUserProxy *proxy, VFIOUserBudgetFactor factor);
void vfio_user_budget_end(VFIOUserProxy *proxy);

/**
 * VFIO_USER_BUDGET_GUARD:
 * @proxy: may be NULL
 *
 * A budget for the rest of the scope; keeps a reference to the proxy.
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
 * How long a thread with the big QEMU lock may wait for another thread's call,
 * as for one of its own; vfio_user_budget_charge() takes how long it did, ns.
 */
unsigned vfio_user_budget_left_ms(VFIOUserProxy *proxy);
void vfio_user_budget_charge(VFIOUserProxy *proxy, int64_t waited);

/**
 * vfio_user_proxy_begin:
 *
 * Sends a request; vfio_user_proxy_finish() must follow if this succeeds, and
 * must not if it does not.  Many calls may be begun before the first is
 * finished.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_proxy_begin(VFIOUserProxy *proxy, VFIOUserCall *call,
                          Error **errp);

/**
 * vfio_user_proxy_finish:
 *
 * Waits for the reply of a call begun.
 *
 * Returns 0; the server's errno, negative, where it answered an error;
 * -ETIMEDOUT, after which a late reply is dropped; -ECONNRESET where the
 * connection was lost.  @errp names the socket and the command.
 */
int vfio_user_proxy_finish(VFIOUserProxy *proxy, VFIOUserCall *call,
                           Error **errp);

/**
 * vfio_user_proxy_renew:
 *
 * Gives a call begun all of its time from now on, since the server was busy
 * with calls that were begun before.
 */
void vfio_user_proxy_renew(VFIOUserProxy *proxy, VFIOUserCall *call);

/**
 * vfio_user_proxy_call:
 *
 * Begin and finish.
 */
int vfio_user_proxy_call(VFIOUserProxy *proxy, VFIOUserCall *call,
                         Error **errp);

/**
 * vfio_user_proxy_post:
 * @call: the request; nothing points at it after return
 *
 * Sends a request with No_reply.  Waits only where the socket is full; with the
 * big QEMU lock it does not wait even then: it is queued, and a server that
 * leaves too many in the queue loses the connection.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_proxy_post(VFIOUserProxy *proxy, VFIOUserCall *call,
                         Error **errp);

/**
 * vfio_user_proxy_is_congested:
 *
 * Whether half of the queue is taken, for a thread with the big QEMU lock.  It
 * should call rather than post then, if the server is to follow: within its
 * budget it waits until the server has read all of the queue.
 */
bool vfio_user_proxy_is_congested(VFIOUserProxy *proxy);

/**
 * vfio_user_proxy_post_write:
 * @call: a REGION_WRITE, for when it goes alone
 * @entry: the same as part of a REGION_WRITE_MULTI
 *
 * As vfio_user_proxy_post(), for a server that understands REGION_WRITE_MULTI:
 * where several threads have to wait, their writes go in one message.
 *
 * Returns 0, once it is sent, or -errno with @errp set.
 */
int vfio_user_proxy_post_write(VFIOUserProxy *proxy, VFIOUserCall *call,
                               const VFIOUserWriteMultiEntry *entry,
                               Error **errp);

/**
 * vfio_user_proxy_notify:
 * @call: the request; nothing points at it after return
 *
 * Sends a request and waits no more than vfio_user_proxy_post().  An error
 * reply goes to VFIOUserProxyOps.failed when it arrives, unless very many
 * notifies are under way.  A server that leaves very many unanswered loses the
 * connection.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_proxy_notify(VFIOUserProxy *proxy, VFIOUserCall *call,
                           Error **errp);

/**
 * vfio_user_proxy_reply:
 * @request: header of the server's request
 * @head: first part of the payload
 * @iov: second part, left as it is
 * @niov: pieces of it
 *
 * Answers a request of the server from within VFIOUserProxyOps.request.
 * Never blocks: what the socket does not take is kept and sent later.
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
