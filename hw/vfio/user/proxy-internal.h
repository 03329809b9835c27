/*
 * vfio-user connection: declarations private to the proxy
 *
 * proxy.c contains the object and its calls, proxy-budget.c the limits of their
 * waits, proxy-send.c the writer's turn, proxy-multi.c small writes that wait
 * for that turn, proxy-receive.c the reader's turn, proxy-turn.c the turns of
 * the main loop, proxy-stray.c an extra error reply that some servers send.
 * Only these files include this header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PROXY_INTERNAL_H
#define HW_VFIO_USER_PROXY_INTERNAL_H

#include "qemu/event_notifier.h"
#include "hw/vfio/user/locked.h"
#include "hw/vfio/user/proxy.h"

/*
 * The low byte of a message id is the slot's index, the high byte the slot's
 * generation.  The generation keeps a duplicate reply to an old call from
 * matching a newer call.  All posts share the last index.
 */
#define PROXY_SLOTS     255
#define PROXY_POST_SLOT 255

typedef enum ProxySlotUse {
    SLOT_FREE,
    SLOT_CALL,          /* @call waits */
    SLOT_NOTIFY,        /* no thread waits; an error is reported */
    SLOT_DISCARD,       /* the call timed out; its reply will be dropped */
    SLOT_USES,
} ProxySlotUse;

/*
 * Most slots in use for notifies, and most in use for calls that timed out.
 * The rest is left for calls.
 */
#define PROXY_SLOTS_MAX_PER_USE (PROXY_SLOTS / 2)

typedef struct ProxySlot {
    ProxySlotUse use;
    VFIOUserCall *call;
    uint16_t command;
    uint8_t generation;
    int64_t begun;              /* of a notify, ns */
    const char *optional;       /* copy of the call's */
    uint16_t payload[2];        /* if optional: first bytes of the payload */
} ProxySlot;

/* A message, or the rest of one, that the socket did not accept yet. */
typedef struct ProxyQueued {
    QSIMPLEQ_ENTRY(ProxyQueued) next;
    bool is_request;
    int *fds;                   /* duplicates, sent with the first byte */
    size_t nfds;
    size_t size;
    size_t sent;
    uint8_t bytes[];
} ProxyQueued;

/* Number of messages queued, or sent, so far. */
typedef struct ProxyQueueCount {
    uint64_t replies;
    uint64_t requests;
} ProxyQueueCount;

/* Most requests in the queue, and most descriptors that they may hold. */
#define PROXY_MAX_REQUESTS 4096
#define PROXY_MAX_REQUEST_FDS 256

typedef struct ProxyWrite ProxyWrite;

/* Time spent waiting since the main loop last ran. */
typedef struct ProxyBudget {
    unsigned depth;             /* nesting depth; 0: no budget is open */
    int64_t total;              /* ns; see proxy_budget_total() */
    int64_t waited;             /* ns */
    bool asked;                 /* a turn of the main loop was asked for */
} ProxyBudget;

struct VFIOUserProxy {
    Object parent_obj;

    /* Set before the receive thread starts, constant afterwards. */
    char *name;
    int fd;                             /* of the stream, for poll */
    int epoll_fd;                       /* the receive thread waits on it */
    int timer_fd;                       /* in @epoll_fd: time to listen again */
    EventNotifier stop;
    QemuThread receive_thread;
    bool thread_started;
    const VFIOUserProxyOps *ops;
    void *opaque;
    int64_t poll_max_ns;                /* 0 on a host with one processor */

    /*
     * The thread that has set @reading owns the receiving half, the thread
     * that has set @writing the sending half.
     */
    VFIOUserStream *stream;

    /* Protected by the big QEMU lock. */
    ProxyBudget budget;

    /* How long a reader polls before it sleeps; owned as @reading. */
    int64_t poll_ns;

    /* The slot of the last message if it was refused; owned as @reading. */
    ProxySlot stray;
    bool warned_stray;

    /*
     * The leaf lock.  Order: big QEMU lock, then this lock.  While it is held,
     * no other lock is taken, nothing blocks and no callback of
     * VFIOUserProxyOps runs, except is_canceled().  Functions that end in
     * _locked are called with it held.
     */
    QemuMutex lock;
    VFIOUserProxyState state;           /* see proxy_set_state_locked() */
    Error *cause;                       /* the first one, once LOST */
    bool stopping;
    unsigned timeout_ms;
    uint64_t max_data;
    bool serves;                        /* the server may send requests */

    QemuCond turn_cond;                 /* @turns_had has changed */
    unsigned turns_asked;               /* turns of the main loop */
    unsigned turns_had;
    int64_t turn_since;                 /* since when one is needed, ns */

    ProxySlot slots[PROXY_SLOTS];
    uint8_t free_slots[PROXY_SLOTS];    /* a stack; the last used is on top */
    unsigned nfree;
    unsigned used[SLOT_USES];           /* number of slots, by use */
    QTAILQ_HEAD(, VFIOUserWaiter) slot_waiters;

    bool reading;                       /* a thread has the reader's turn */
    uint32_t interest;                  /* events of the socket in @epoll_fd */
    bool put_off;                       /* listen when @timer_fd expires */
    uint64_t calls_seen;                /* stats.calls when the timer was set */
    QTAILQ_HEAD(, VFIOUserWaiter) waiters;      /* asleep, next reader first */

    bool writing;                       /* a thread has the writer's turn */
    bool answering;                     /* new requests are held back */
    unsigned writers;                   /* threads asleep on @writer_cond */
    QemuCond writer_cond;
    QTAILQ_HEAD(, ProxyWrite) small_writes;     /* waiting, oldest first */
    /*
     * Messages for which no thread waits: replies, and requests of threads
     * that must not wait, oldest first.  The rest of a partly sent message
     * (@cut) is sent first, then replies: servers mistake the next message for
     * the reply.
     */
    ProxyQueued *cut;
    QSIMPLEQ_HEAD(, ProxyQueued) replies;
    QSIMPLEQ_HEAD(, ProxyQueued) requests;
    size_t queued;                      /* bytes, of messages not fully sent */
    size_t queued_fds;                  /* of queued requests */
    ProxyQueueCount queue_in;
    ProxyQueueCount queue_out;

    VFIOUserProxyStats stats;
    bool warned_unmatched;
};

/* ns, on the clock that deadlines use */
static inline int64_t proxy_clock_ns(void)
{
    return g_get_monotonic_time() * 1000;
}

/* proxy.c */
bool proxy_usable_locked(const VFIOUserProxy *p);
ProxySlot *proxy_find_slot_locked(VFIOUserProxy *p, uint16_t id);
void proxy_release_slot_locked(VFIOUserProxy *p, ProxySlot *slot);
void proxy_wake_locked(VFIOUserProxy *p, VFIOUserWaiter *w);
/* Sets @errp to why the connection is not usable; returns -ECONNRESET. */
int proxy_gone(VFIOUserProxy *p, Error **errp);
int proxy_late(VFIOUserProxy *p, const VFIOUserCall *call, const char *what,
               Error **errp);
/*
 * Accounts for a call that has waited since @since.  With the big QEMU lock the
 * budget is charged.  Without it, calls between which the main loop does not
 * run share one time-out.
 */
void proxy_charge(VFIOUserProxy *p, const VFIOUserCall *call, int64_t since);
/* See VFIOUserProxyOps.is_canceled; false with the big QEMU lock. */
bool proxy_is_canceled(VFIOUserProxy *p);
void proxy_name_error(VFIOUserProxy *p, const VFIOUserCall *call, Error **errp);
void proxy_set_deadline(VFIOUserProxy *p, VFIOUserCall *call);

/* proxy-budget.c: these do nothing without the big QEMU lock */

/* ns; only with the big QEMU lock */
int64_t proxy_budget_total(const VFIOUserProxy *p);
/* Resets the budget because the main loop runs. */
void proxy_budget_renew(VFIOUserProxy *p);

/* Limits the deadline of @call to the rest of the budget. */
void proxy_budget_limit(VFIOUserProxy *p, VFIOUserCall *call, int64_t now);
/* Charges a call that has waited since @since. */
void proxy_budget_charge(VFIOUserProxy *p, int64_t since);
/* Whether @call timed out because earlier calls used the budget. */
bool proxy_budget_is_short(const VFIOUserProxy *p, const VFIOUserCall *call);

/* proxy-turn.c */

/*
 * Asks for a turn of the main loop; @since is when the wait for it began.
 * Returns the number of the turn.
 */
unsigned proxy_ask_for_turn(VFIOUserProxy *p, int64_t since);
/*
 * Returns true if the main loop runs within half a second, or waits for a call
 * with the big QEMU lock; false if the connection is lost.  Must be called
 * without that lock.
 */
bool proxy_main_loop_runs(VFIOUserProxy *p);
/*
 * For a call without the big QEMU lock that has waited since @since.  Asks for
 * a turn of the main loop after a long wait.  Returns true if an earlier turn
 * is outstanding for a time-out or longer.
 */
bool proxy_turn_is_overdue(VFIOUserProxy *p, int64_t since);
/* Records whether this thread waits for a reply; no-op without the BQL. */
void proxy_turn_set_call(bool under_way);

/* proxy-send.c */

/*
 * Takes the writer's turn and sends one message; waits for the turn and for
 * room in the socket until @deadline.  -ETIMEDOUT, without @errp: nothing was
 * sent.  -ECONNRESET: the connection is lost; if a message can be sent only
 * partly, the connection fails.  Modifies @iov.
 */
int proxy_send(VFIOUserProxy *p, struct iovec *iov, unsigned niov,
               const int *fds, size_t nfds, int64_t deadline, Error **errp);

/*
 * As proxy_send(), for a caller that has the writer's turn; releases the turn.
 * @end: end of the queues, which are sent first, when the turn was taken
 */
int proxy_send_in_turn(VFIOUserProxy *p, struct iovec *iov, unsigned niov,
                       const int *fds, size_t nfds, int64_t deadline,
                       ProxyQueueCount end, Error **errp);

/*
 * Sends one request, or queues it with duplicates of its descriptors for the
 * next writer; never waits.  -ENOBUFS: the queue is full, or QEMU is out of
 * file descriptors.  -ECONNRESET: as proxy_send(), but 0 may be returned for a
 * lost connection.
 */
int proxy_send_or_queue(VFIOUserProxy *p, struct iovec *iov, unsigned niov,
                        const int *fds, size_t nfds, Error **errp);

/* Waits until the writer's turn may be free, @left ns at most. */
void proxy_wait_for_writer_locked(VFIOUserProxy *p, int64_t left);

/* Sends as much of the queues as the socket accepts; never waits. */
void proxy_send_queued(VFIOUserProxy *p);

/*
 * The events for which the reader polls: POLLIN, and POLLOUT if messages are
 * queued.  Only readers queue replies, so a sleeping reader knows about every
 * reply.  The receive thread polls for room for queued requests, too.
 */
short proxy_poll_events(VFIOUserProxy *p);

/*
 * QEMU stops reading from a server that sends requests but does not read, once
 * this many bytes are queued: replies of the largest size that the server may
 * have in flight.
 */
#define PROXY_QUEUE_LIMIT (8 * MiB)

static inline bool proxy_may_read(VFIOUserProxy *p)
{
    return qatomic_read(&p->queued) < PROXY_QUEUE_LIMIT;
}

/* Holds new requests back while a request of the server is answered. */
void proxy_set_answering(VFIOUserProxy *p, bool answering);

void proxy_drop_queue_locked(VFIOUserProxy *p);

/* proxy-receive.c */

/*
 * Waits until @w is done; takes the reader's turn if it is free.
 * Returns false if the deadline passed or the operation was canceled.
 */
bool proxy_wait_locked(VFIOUserProxy *p, VFIOUserWaiter *w, int64_t deadline);

/* Makes the receive thread send the queues when the socket has room. */
void proxy_await_room_locked(VFIOUserProxy *p);

/* Makes the receive thread listen unless another thread reads. */
void proxy_listen_locked(VFIOUserProxy *p);

/* Suspends listening for a while if the server has never sent a request. */
void proxy_put_reading_off_locked(VFIOUserProxy *p);

/* Removes the socket of a lost connection from the receive thread's epoll. */
void proxy_ignore_socket_locked(VFIOUserProxy *p);

bool proxy_start_receive_thread(VFIOUserProxy *p, Error **errp);
void proxy_stop_receive_thread(VFIOUserProxy *p);

/* proxy-stray.c: both are called with the reader's turn */

/* The server replied with an error to the message of @slot. */
void proxy_expect_stray(VFIOUserProxy *p, const ProxySlot *slot);

/* Whether the next message, @h, must be dropped.  Called once per message. */
bool proxy_is_stray(VFIOUserProxy *p, const VFIOUserHeader *h);

#endif /* HW_VFIO_USER_PROXY_INTERNAL_H */
