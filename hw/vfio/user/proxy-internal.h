/*
 * vfio-user connection: what the proxy's own files share
 *
 * proxy.c has the object and its calls, proxy-budget.c how long they may wait,
 * proxy-send.c the writer's turn, proxy-multi.c small writes that wait for it,
 * proxy-receive.c the reader's turn, proxy-stray.c a message that comes once
 * too often.  No other room includes this.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PROXY_INTERNAL_H
#define HW_VFIO_USER_PROXY_INTERNAL_H

#include "qemu/event_notifier.h"
#include "hw/vfio/user/locked.h"
#include "hw/vfio/user/proxy.h"

/*
 * A message id is a slot's index with the slot's generation above it, so
 * that a second reply to an older call is not taken for the reply to a newer
 * one.  The last index belongs to posts, which share it.
 */
#define PROXY_SLOTS     255
#define PROXY_POST_SLOT 255

typedef enum ProxySlotUse {
    SLOT_FREE,
    SLOT_CALL,          /* @call waits */
    SLOT_NOTIFY,        /* nobody waits; an error is reported */
    SLOT_DISCARD,       /* the call timed out: its reply is dropped */
    SLOT_USES,
} ProxySlotUse;

/*
 * As many slots as notifies may have, and calls that timed out: those that are
 * left are for calls.
 */
#define PROXY_SLOTS_MAX_PER_USE (PROXY_SLOTS / 2)

typedef struct ProxySlot {
    ProxySlotUse use;
    VFIOUserCall *call;
    uint16_t command;
    uint8_t generation;
    int64_t begun;              /* of a notify, ns */
    const char *optional;       /* as the call's */
    uint16_t payload[2];        /* then what its payload begins with */
} ProxySlot;

/* The rest of a message that the socket did not take at once. */
typedef struct ProxyQueued {
    QSIMPLEQ_ENTRY(ProxyQueued) next;
    bool is_request;
    int *fds;                   /* its own copies, for the first byte */
    size_t nfds;
    size_t size;
    size_t sent;
    uint8_t bytes[];
} ProxyQueued;

/* How many were queued, or sent, so far. */
typedef struct ProxyQueueCount {
    uint64_t replies;
    uint64_t requests;
} ProxyQueueCount;

/* Requests that may wait for a server to read them, and their descriptors. */
#define PROXY_MAX_REQUESTS 4096
#define PROXY_MAX_REQUEST_FDS 256

typedef struct ProxyWrite ProxyWrite;

/* What was waited for since the main loop's last turn. */
typedef struct ProxyBudget {
    unsigned depth;             /* begun and not ended; 0: none is open */
    int64_t total;              /* ns; no less than an ordinary one's */
    int64_t waited;             /* ns */
    bool asked;                 /* for the next turn */
} ProxyBudget;

struct VFIOUserProxy {
    Object parent_obj;

    /* Set before the receive thread starts, constant afterwards. */
    char *name;
    int fd;                             /* the stream's, for poll */
    int epoll_fd;                       /* what the receive thread waits on */
    int timer_fd;                       /* among it: time to listen again */
    EventNotifier stop;
    QemuThread receive_thread;
    bool thread_started;
    const VFIOUserProxyOps *ops;
    void *opaque;
    int64_t poll_max_ns;                /* 0 on a host with one processor */

    /* Receiving half: whoever has set @reading; sending half: @writing. */
    VFIOUserStream *stream;

    /* Owned by the big QEMU lock; no other thread looks. */
    ProxyBudget budget;

    /* How long the last reader polled; whoever has set @reading. */
    int64_t poll_ns;

    /* Refused just now, or nothing; whoever has set @reading. */
    ProxySlot stray;
    bool warned_stray;

    /*
     * The leaf lock.  Order: big QEMU lock, then this one; nothing is taken
     * under it, nothing blocks under it and no callback runs under it.
     * Functions that end in _locked are called with it held.
     */
    QemuMutex lock;
    VFIOUserProxyState state;           /* @state and @cause: see set_state */
    Error *cause;                       /* first one, once LOST */
    bool stopping;
    unsigned timeout_ms;
    uint64_t max_data;
    bool serves;                        /* requests may come */

    QemuCond turn_cond;                 /* @turns_had has changed */
    unsigned turns_asked;               /* of the main loop */
    unsigned turns_had;
    int64_t turn_since;                 /* since when one is wanted, ns */

    ProxySlot slots[PROXY_SLOTS];
    uint8_t free_slots[PROXY_SLOTS];    /* the most recently used on top */
    unsigned nfree;
    unsigned used[SLOT_USES];           /* slots, by their use */
    QTAILQ_HEAD(, VFIOUserWaiter) slot_waiters;

    bool reading;                       /* somebody has the reader's turn */
    uint32_t interest;                  /* of @epoll_fd in the socket */
    bool put_off;                       /* @timer_fd runs, then listen */
    uint64_t calls_seen;                /* when it was set */
    QTAILQ_HEAD(, VFIOUserWaiter) waiters;      /* asleep, next reader first */

    bool writing;                       /* somebody has the writer's turn */
    bool answering;                     /* new requests are held back */
    unsigned writers;                   /* asleep on @writer_cond */
    QemuCond writer_cond;
    QTAILQ_HEAD(, ProxyWrite) small_writes;     /* likewise, oldest first */
    /*
     * What nobody waits for: replies, and requests by threads that must not
     * wait, oldest first.  A message that was cut short goes first, then
     * replies: servers take what comes next for the reply.
     */
    ProxyQueued *cut;
    QSIMPLEQ_HEAD(, ProxyQueued) replies;
    QSIMPLEQ_HEAD(, ProxyQueued) requests;
    size_t queued;                      /* bytes of messages not all sent */
    size_t queued_fds;                  /* of requests */
    ProxyQueueCount queue_in;
    ProxyQueueCount queue_out;

    VFIOUserProxyStats stats;
    bool warned_unmatched;
};

/* ns, of the clock that deadlines are on */
static inline int64_t proxy_clock_ns(void)
{
    return g_get_monotonic_time() * 1000;
}

/* proxy.c */
bool proxy_usable_locked(const VFIOUserProxy *p);
ProxySlot *proxy_find_slot_locked(VFIOUserProxy *p, uint16_t id);
void proxy_release_slot_locked(VFIOUserProxy *p, ProxySlot *slot);
void proxy_wake_locked(VFIOUserProxy *p, VFIOUserWaiter *w);
int proxy_gone(VFIOUserProxy *p, Error **errp);
int proxy_late(VFIOUserProxy *p, const VFIOUserCall *call, const char *what,
               Error **errp);
/*
 * A call has waited since @since.  Without the big QEMU lock it is not charged,
 * but those between which the main loop has no turn share one time-out.
 */
void proxy_charge(VFIOUserProxy *p, const VFIOUserCall *call, int64_t since);
/* See VFIOUserProxyOps; false with the big QEMU lock. */
bool proxy_is_unwanted(VFIOUserProxy *p);
void proxy_name_error(VFIOUserProxy *p, const VFIOUserCall *call, Error **errp);
void proxy_set_deadline(VFIOUserProxy *p, VFIOUserCall *call);

/* proxy-budget.c: for threads without the big QEMU lock these do nothing */

/* ns; with the lock only */
int64_t proxy_budget_total(const VFIOUserProxy *p);
/* The main loop has a turn. */
void proxy_budget_renew(VFIOUserProxy *p);

/* @call waits until its deadline or the end of the budget. */
void proxy_budget_limit(VFIOUserProxy *p, VFIOUserCall *call, int64_t now);
/* A call has waited since @since. */
void proxy_budget_charge(VFIOUserProxy *p, int64_t since);
/* @call is late because of the calls before it. */
bool proxy_budget_is_short(const VFIOUserProxy *p, const VFIOUserCall *call);

/* proxy-turn.c */

/* Asks the main loop for a turn, wanted @since; returns its number. */
unsigned proxy_ask_for_turn(VFIOUserProxy *p, int64_t since);
/*
 * Returns whether the main loop has a turn within half a second, or waits for a
 * call with the big QEMU lock; false where the connection is lost.  Not with
 * that lock.
 */
bool proxy_main_loop_runs(VFIOUserProxy *p);
/*
 * A call without the big QEMU lock has waited since @since.  Asks for a turn if
 * that was long; returns whether one was wanted a time-out ago and not had.
 */
bool proxy_turn_is_overdue(VFIOUserProxy *p, int64_t since);
/* Says whether this thread waits for a reply; nothing without the lock. */
void proxy_turn_set_call(bool under_way);

/* proxy-send.c */

/*
 * Sends one message with the writer's turn, waiting for turn and room until
 * @deadline.  -ETIMEDOUT, without @errp: nothing was sent.  -ECONNRESET: the
 * connection is gone; a message cut short fails it.  Eats @iov.
 */
int proxy_send(VFIOUserProxy *p, struct iovec *iov, unsigned niov,
               const int *fds, size_t nfds, int64_t deadline, Error **errp);

/*
 * Likewise with the writer's turn, which it gives up.
 * @end: of the queues that go first, as they were with the turn
 */
int proxy_send_in_turn(VFIOUserProxy *p, struct iovec *iov, unsigned niov,
                       const int *fds, size_t nfds, int64_t deadline,
                       ProxyQueueCount end, Error **errp);

/*
 * Sends one request or leaves it, with copies of its descriptors, to whoever
 * writes next; never waits.  -ENOBUFS: too many are left, or QEMU has no
 * descriptor for a copy.  -ECONNRESET as above; a lost connection may say 0.
 */
int proxy_send_or_queue(VFIOUserProxy *p, struct iovec *iov, unsigned niov,
                        const int *fds, size_t nfds, Error **errp);

/* Until the turn may be free, or for @left ns. */
void proxy_wait_for_writer_locked(VFIOUserProxy *p, int64_t left);

/* Takes what the queues have to offer to the socket; no waiting. */
void proxy_send_queued(VFIOUserProxy *p);

/*
 * What the reader has to poll for: POLLIN, POLLOUT for what is queued.  Only
 * readers queue replies, so that whoever sleeps as the reader knows of every
 * reply.  For requests the receive thread looks out as well.
 */
short proxy_poll_events(VFIOUserProxy *p);

/*
 * A server that asks and does not read is not read either once this many
 * bytes wait for it: replies of the largest size that it may have in flight.
 */
#define PROXY_QUEUE_LIMIT (8 * MiB)

static inline bool proxy_may_read(VFIOUserProxy *p)
{
    return qatomic_read(&p->queued) < PROXY_QUEUE_LIMIT;
}

/* Holds new requests back, or lets them go on. */
void proxy_set_answering(VFIOUserProxy *p, bool answering);

void proxy_drop_queue_locked(VFIOUserProxy *p);

/* proxy-receive.c */

/*
 * Waits until @w is done, with the reader's turn where nobody else has it.
 * Returns whether it was in time.
 */
bool proxy_wait_locked(VFIOUserProxy *p, VFIOUserWaiter *w, int64_t deadline);

/* The receive thread sends what is queued once there is room. */
void proxy_await_room_locked(VFIOUserProxy *p);

/* The receive thread listens, whoever may be about to call. */
void proxy_listen_locked(VFIOUserProxy *p);

/* It does not, for a while, where a server only answers. */
void proxy_put_reading_off_locked(VFIOUserProxy *p);

/* The receive thread's part of losing the connection. */
void proxy_ignore_socket_locked(VFIOUserProxy *p);

bool proxy_start_receive_thread(VFIOUserProxy *p, Error **errp);
void proxy_stop_receive_thread(VFIOUserProxy *p);

/* proxy-stray.c: both with the reader's turn */

/* The call of @slot was answered by an error. */
void proxy_expect_stray(VFIOUserProxy *p, const ProxySlot *slot);

/* Whether the next message, @h, is to be dropped.  Asked once a message. */
bool proxy_is_stray(VFIOUserProxy *p, const VFIOUserHeader *h);

#endif /* HW_VFIO_USER_PROXY_INTERNAL_H */
