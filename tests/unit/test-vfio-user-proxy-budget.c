/*
 * Unit tests of the vfio-user connection: with the big QEMU lock
 *
 * How long an operation may wait in total, what ends the connection, and what
 * does not wait at all.  That lock does not exist here: each thread sets
 * whether it would hold it.  The test itself is the server, or a thread of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/proxy-internal.h"
#include "vfio-user-bql.h"
#include "vfio-user-rig.h"

#define MS 200                  /* timeout of tests that let it expire */
#define MAX_LATE 127            /* notifies without a reply */
#define MAX_QUEUED 4096         /* messages that wait for the socket */

/* The server */

/* Replies to @rounds reads, each after @offset ms. */
static void *answer_late(void *opaque)
{
    Caller *c = opaque;

    while (c->done < c->rounds) {
        g_auto(PeerMessage) m = { };
        VFIOUserRegionRW rw;

        if (!peer_recv(c->rig->peer, &m)) {
            break;
        }
        g_usleep(c->offset * 1000);
        memcpy(&rw, m.payload, sizeof(rw));
        if (vfio_user_proxy_state(c->rig->proxy) != VFIO_USER_UP) {
            break;
        }
        rig_reply_read(c->rig, m.header, rw.offset);
        qatomic_inc(&c->done);
    }
    return NULL;
}

/* Reads @n times; returns the result of the last read. */
static int read_some(Rig *rig, unsigned n, Error **errp)
{
    int ret = 0;

    for (unsigned i = 0; i < n && ret == 0; i++) {
        ret = rig_read(rig, i, errp);
    }
    return ret;
}

static unsigned fill_socket(Rig *rig)
{
    unsigned n;

    locked = false;
    n = rig_fill_socket(rig);
    locked = true;
    return n;
}

/* Budgets */

/*
 * So many times more calls than fit a budget may succeed: time in which the
 * caller is not scheduled before it waits is not charged.
 */
static const unsigned uncharged = 2;

/* Each reply is in time, but the sum of the waits exceeds the budget. */
static void check_sum(VFIOUserBudgetFactor factor, unsigned calls)
{
    g_autoptr(Rig) rig = rig_new();
    Caller server = { .run = answer_late, .rounds = calls };
    Error *err = NULL;
    int64_t begun;

    vfio_user_proxy_set_timeout(rig->proxy, MS);
    caller_start(&server, rig, MS / 4);
    begun = g_get_monotonic_time();
    {
        VFIO_USER_BUDGET_GUARD(rig->proxy, factor);
        {
            VFIO_USER_BUDGET_GUARD(rig->proxy, VFIO_USER_BUDGET_MIG_DATA);
            g_assert_cmpint(read_some(rig, calls, &err), ==, -ETIMEDOUT);
        }
    }
    g_assert_cmpint(g_get_monotonic_time() - begun, >=,
                    (factor * MS - 1) * 1000);
    peer_assert_error(err, "REGION_READ: no reply: the operation used up its"
                      " time of ");
    rig_assert_lost(rig, "the operation used up its time of ");
    qemu_thread_join(&server.thread);
    g_assert_cmpuint(server.done, <=, uncharged * 4 * factor);
}

static void test_sum(void)
{
    check_sum(VFIO_USER_BUDGET_ORDINARY, 100);
    check_sum(VFIO_USER_BUDGET_REALIZE, 100);
}

/* Acts as an iteration of the main loop, which does not hold the lock here. */
static void run_main_loop(Rig *rig)
{
    proxy_budget_renew(rig->proxy);
}

/* Separate operations do not add up, and other time does not count. */
static void test_each(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller server = { .run = answer_late, .rounds = 10 };

    vfio_user_proxy_set_timeout(rig->proxy, MS);
    caller_start(&server, rig, MS / 4);
    for (int i = 0; i < 3; i++) {
        VFIO_USER_BUDGET_GUARD(rig->proxy, VFIO_USER_BUDGET_ORDINARY);
        g_assert_cmpint(read_some(rig, 2, NULL), ==, 0);
        g_usleep(MS * 1000);
        run_main_loop(rig);
    }
    /* without a budget, a call is an operation */
    g_assert_cmpint(read_some(rig, 2, NULL), ==, 0);
    run_main_loop(rig);
    g_assert_cmpint(read_some(rig, 2, NULL), ==, 0);
    caller_join(&server);
    vfio_user_proxy_set_timeout(rig->proxy, PEER_DEADLINE / 1000);
    rig_assert_in_sync(rig);
}

/*
 * Operations add up if the main loop does not run in between; a larger budget
 * extends the sum by what is waited within it.
 */
static void check_turn(bool budget)
{
    g_autoptr(Rig) rig = rig_new();
    Caller server = { .run = answer_late, .rounds = 100 };
    Error *err = NULL;
    int64_t begun, took;
    unsigned n = 0;
    int ret;

    vfio_user_proxy_set_timeout(rig->proxy, MS);
    caller_start(&server, rig, MS / 4);
    begun = g_get_monotonic_time();
    do {
        VFIO_USER_BUDGET_GUARD(budget ? rig->proxy : NULL,
                               n == 1 ? VFIO_USER_BUDGET_MIG_DATA :
                                        VFIO_USER_BUDGET_ORDINARY);
        ret = rig_read(rig, n++, &err);
    } while (ret == 0);
    g_assert_cmpint(ret, ==, -ETIMEDOUT);
    peer_assert_error(err, "the operation used up its time of ");
    if (!budget) {
        rig_assert_lost(rig, "used up its time of 200 ms");
    }
    took = g_get_monotonic_time() - begun;
    g_assert_cmpint(took, >=, (budget ? MS * 3 / 2 : MS) * 1000);
    qemu_thread_join(&server.thread);
    g_assert_cmpuint(n, <=, uncharged * (budget ? 6 : 4));
}

static void test_turn(void)
{
    check_turn(true);
    check_turn(false);
}

/* held_up is called after each wait with the lock. */
static unsigned held_up;

static void count_held_up(void *opaque)
{
    held_up++;
}

static void test_held_up(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller server = { .run = answer_late, .rounds = 4 };
    VFIOUserProxyOps ops = *rig->proxy->ops;

    run_main_loop(rig);         /* the handshake may have scheduled it */
    held_up = 0;
    ops.held_up = count_held_up;
    rig->proxy->ops = &ops;
    caller_start(&server, rig, 2);
    for (int i = 0; i < 4; i++) {
        unsigned before = held_up;

        g_assert_cmpint(rig_read(rig, i, NULL), ==, 0);
        g_assert_cmpuint(held_up, >, before);
        if (i == 1) {
            run_main_loop(rig);
        }
    }
    caller_join(&server);
    rig->proxy->ops = NULL;
    vfio_user_proxy_close(rig->proxy);
}

/* A single call times out by itself, with a budget or without. */
static void check_late(bool budget)
{
    g_autoptr(Rig) rig = rig_new();
    Error *err = NULL;

    vfio_user_proxy_set_timeout(rig->proxy, 20);
    {
        VFIO_USER_BUDGET_GUARD(budget ? rig->proxy : NULL,
                               VFIO_USER_BUDGET_RESET);
        g_assert_cmpint(rig_read(rig, 0, &err), ==, -ETIMEDOUT);
        peer_assert_error(err, "REGION_READ: no reply within 20 ms");
        /* later calls fail at once */
        vfio_user_proxy_set_timeout(rig->proxy, PEER_DEADLINE / 1000);
        g_assert_cmpint(rig_read(rig, 0, NULL), ==, -ECONNRESET);
    }
    rig_assert_lost(rig, "REGION_READ: no reply within 20 ms");
}

static void test_late(void)
{
    check_late(false);
    check_late(true);
}

/*
 * A thread without the lock is not charged, and its timeout does not end the
 * connection.
 */
static void test_unlocked(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller caller = { };

    vfio_user_proxy_set_timeout(rig->proxy, 20);
    VFIO_USER_BUDGET_GUARD(rig->proxy, VFIO_USER_BUDGET_ORDINARY);
    for (int i = 0; i < 3; i++) {
        caller = (Caller) { };
        caller_start(&caller, rig, i);
        caller_join_error(&caller, -ETIMEDOUT, "no reply within 20 ms");
        rig_recv_header(rig, VFIO_USER_REGION_READ);
    }
    vfio_user_proxy_set_timeout(rig->proxy, PEER_DEADLINE / 1000);
    caller = (Caller) { };
    caller_start(&caller, rig, 7);
    rig_answer_read(rig);
    caller_join(&caller);
}

/* A call without the lock fails as soon as its reply is unwanted. */
static bool unwanted;

static bool is_canceled(void *opaque)
{
    return qatomic_read(&unwanted);
}

static void test_unwanted(void)
{
    g_autoptr(Rig) rig = rig_new();
    VFIOUserProxyOps ops = *rig->proxy->ops;
    Caller caller = { };

    ops.is_canceled = is_canceled;
    rig->proxy->ops = &ops;
    qatomic_set(&unwanted, false);
    caller_start(&caller, rig, 7);
    rig_recv_header(rig, VFIO_USER_REGION_READ);
    caller_wait_asleep(&caller);
    qatomic_set(&unwanted, true);
    caller_join_error(&caller, -ETIMEDOUT, "operation was canceled");
    g_assert_cmpuint(RIG_STAT(rig, timeouts), ==, 0);
    qatomic_set(&unwanted, false);
    caller = (Caller) { };
    caller_start(&caller, rig, 8);
    rig_answer_read(rig);
    caller_join(&caller);
    vfio_user_proxy_close(rig->proxy);
}

typedef struct Hold {
    QemuEvent begun;
    QemuEvent end;
} Hold;

/* Blocks the main loop until hold_end(). */
static gboolean hold_main_loop(void *opaque)
{
    Hold *hold = opaque;

    qemu_event_set(&hold->begun);
    qemu_event_wait(&hold->end);
    return G_SOURCE_REMOVE;
}

static void hold_begin(Hold *hold)
{
    qemu_event_init(&hold->begun, false);
    qemu_event_init(&hold->end, false);
    g_idle_add(hold_main_loop, hold);
    qemu_event_wait(&hold->begun);
}

static void hold_end(Hold *hold, Rig *rig)
{
    qemu_event_set(&hold->end);
    peer_wait_until(rig->proxy->parent_obj.ref == 1);
    qemu_event_destroy(&hold->begun);
    qemu_event_destroy(&hold->end);
}

/* A timeout ends the connection if the main loop waits for the caller. */
static void test_main_loop_waits(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller caller = { };
    Hold hold;

    hold_begin(&hold);
    vfio_user_proxy_set_timeout(rig->proxy, 20);
    caller_start(&caller, rig, 0);
    caller_join_error(&caller, -ETIMEDOUT, "no reply within 20 ms");
    rig_assert_lost(rig, "no reply within 20 ms (x-timeout-ms), while QEMU's"
                    " main loop waits for the caller");
    hold_end(&hold, rig);
}

/* Makes calls without the lock; each reply is in time. */
static void *read_on(void *opaque)
{
    Caller *c = opaque;

    c->ret = read_some(c->rig, c->rounds, &c->err);
    return NULL;
}

static void test_main_loop_waits_long(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller server = { .run = answer_late, .rounds = 100 };
    Caller caller = { .run = read_on, .rounds = 100 };
    Hold hold;

    vfio_user_proxy_set_timeout(rig->proxy, MS);
    caller_start(&server, rig, MS / 4);
    /* while the main loop runs, their sum is not limited */
    caller_start(&caller, rig, 0);
    peer_wait_until(qatomic_read(&server.done) >= 8);
    g_assert_cmpint(vfio_user_proxy_state(rig->proxy), ==, VFIO_USER_UP);
    hold_begin(&hold);
    caller_join_error(&caller, -ECONNRESET, "QEMU's main loop waits for calls"
                      " that took more than 200 ms");
    rig_assert_lost(rig, "REGION_READ: QEMU's main loop waits for calls that"
                    " took more than 200 ms (x-timeout-ms) in all");
    qemu_thread_join(&server.thread);
    g_assert_cmpuint(server.done, <, 30);
    hold_end(&hold, rig);
}

/* The main loop calls another server, whose reply the test sends. */
static gboolean call_in_main_loop(void *opaque)
{
    Rig *other = opaque;

    locked = true;
    g_assert_cmpint(rig_read(other, 5, &error_abort), ==, 0);
    locked = false;
    return G_SOURCE_REMOVE;
}

/* The main loop waits for another server, not for the caller. */
static void test_main_loop_calls(void)
{
    g_autoptr(Rig) rig = rig_new();
    g_autoptr(Rig) other = rig_new();
    Caller caller = { };
    VFIOUserHeader header;

    g_idle_add(call_in_main_loop, other);
    header = rig_recv_header(other, VFIO_USER_REGION_READ);
    vfio_user_proxy_set_timeout(rig->proxy, 20);
    caller_start(&caller, rig, 0);
    caller_join_error(&caller, -ETIMEDOUT, "no reply within 20 ms");
    g_assert_cmpint(vfio_user_proxy_state(rig->proxy), ==, VFIO_USER_UP);
    rig_reply_read(other, header, 5);
    peer_wait_until(rig->proxy->parent_obj.ref == 1);
    peer_wait_until(other->proxy->parent_obj.ref == 1);
}

/* Waiting for a full socket is limited like waiting for a reply. */
static void test_no_room(void)
{
    g_autoptr(Rig) rig = rig_new();

    fill_socket(rig);
    vfio_user_proxy_set_timeout(rig->proxy, 20);
    g_assert_cmpint(rig_read(rig, 0, NULL), ==, -ETIMEDOUT);
    rig_assert_lost(rig, "not sent within 20 ms");
}

/* Messages that do not wait */

static int notify(Rig *rig, const int *fds, size_t nfds, Error **errp)
{
    VFIOUserIRQSet set = { .argsz = sizeof(set), .count = nfds };
    VFIOUserCall call = {
        .command = VFIO_USER_DEVICE_SET_IRQS,
        .head = &set,
        .head_size = sizeof(set),
        .fds = fds,
        .nfds = nfds,
    };

    return vfio_user_proxy_notify(rig->proxy, &call, errp);
}

/* Notifies without a reply end the connection only after the timeout. */
static void test_unanswered(void)
{
    g_autoptr(Rig) rig = rig_new();
    Error *err = NULL;

    for (int i = 0; i < 2 * MAX_LATE; i++) {
        VFIOUserHeader h;

        g_assert_cmpint(notify(rig, NULL, 0, &error_abort), ==, 0);
        h = rig_recv_header(rig, VFIO_USER_DEVICE_SET_IRQS);
        g_assert_cmphex(h.flags, ==, i < MAX_LATE ? VFIO_USER_TYPE_COMMAND
                                                  : VFIO_USER_NO_REPLY);
    }
    /* calls still work */
    rig_assert_in_sync(rig);

    vfio_user_proxy_set_timeout(rig->proxy, 1);
    g_usleep(2000);
    g_assert_cmpint(notify(rig, NULL, 0, &err), ==, -ECONNRESET);
    peer_assert_error(err, "DEVICE_SET_IRQS: 127 requests were not answered");
    rig_assert_lost(rig, "DEVICE_SET_IRQS: 127 requests were not answered");
}

/* Sends notifies until one fails; returns the number of successful ones. */
static unsigned queue_notifies(Rig *rig, Error **errp)
{
    unsigned n = 0;

    while (notify(rig, NULL, 0, errp) == 0) {
        n++;
    }
    return n;
}

/* The server does not read: the queue fills up, then the connection ends. */
static void test_unread(void)
{
    g_autoptr(Rig) rig = rig_new();
    Error *err = NULL;
    unsigned n;

    fill_socket(rig);
    n = queue_notifies(rig, &err);
    g_assert_cmpuint(n, ==, MAX_QUEUED);
    peer_assert_error(err, "the server does not read and 4096 requests are");
    rig_assert_lost(rig, "DEVICE_SET_IRQS: not sent: the server does not read");
}

/* Queued posts all arrive in order once there is room. */
static void test_queued_posts(void)
{
    g_autoptr(Rig) rig = rig_new();
    unsigned n;

    n = fill_socket(rig);
    for (uint64_t i = 0; i < MAX_QUEUED; i++) {
        g_assert_cmpint(rig_post(rig, i, &error_abort), ==, 0);
        g_assert_cmpint(vfio_user_proxy_is_congested(rig->proxy), ==,
                        i + 1 >= MAX_QUEUED / 2);
    }
    rig_recv_posts(rig, n);
    for (uint64_t i = 0; i < MAX_QUEUED; i++) {
        g_auto(PeerMessage) m = { };

        rig_recv(rig, VFIO_USER_REGION_WRITE, &m);
        g_assert_cmpint(memcmp(m.payload + sizeof(VFIOUserRegionRW), &i,
                               sizeof(i)), ==, 0);
    }
    rig_assert_in_sync(rig);
}

/* Queued messages keep their descriptors if the caller closes its own. */
static void test_queued_fds(void)
{
    g_autoptr(Rig) rig = rig_new();
    int fds[2] = { peer_new_fd(), peer_new_fd() };
    ino_t inodes[2] = { peer_inode(fds[0]), peer_inode(fds[1]) };
    g_auto(PeerMessage) m = { };
    unsigned n;

    n = fill_socket(rig);
    g_assert_cmpint(notify(rig, fds, 2, &error_abort), ==, 0);
    close(fds[0]);
    close(fds[1]);
    rig_recv_posts(rig, n);
    rig_recv(rig, VFIO_USER_DEVICE_SET_IRQS, &m);
    g_assert_cmpuint(m.nfds, ==, 2);
    g_assert_cmpuint(peer_inode(m.fds[0]), ==, inodes[0]);
    g_assert_cmpuint(peer_inode(m.fds[1]), ==, inodes[1]);
    rig_assert_in_sync(rig);
}

/* Queued messages are sent before later calls and after waiting replies. */
static void test_queue_order(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller caller = { };
    unsigned n;

    n = fill_socket(rig);
    rig_post(rig, 1, &error_abort);
    rig_send_dma_read(rig, 5, 5, 5);
    peer_wait_until(RIG_STAT(rig, requests) == 1);
    rig_post(rig, 2, &error_abort);
    caller_start(&caller, rig, 9);
    rig_recv_posts(rig, n);
    rig_recv_dma_read(rig, 5, 5, 5);
    rig_recv_posts(rig, 2);
    rig_answer_read(rig);
    caller_join(&caller);
    rig_assert_in_sync(rig);
}

/* While a thread waits as the writer, threads with the lock do not wait. */
static void test_writer_waits(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller writer = { .run = caller_post, .rounds = 1 };
    unsigned n;

    n = fill_socket(rig);
    caller_start(&writer, rig, 77);
    caller_wait_asleep(&writer);
    g_assert_cmpint(rig_post(rig, 1, &error_abort), ==, 0);
    g_assert_cmpint(notify(rig, NULL, 0, &error_abort), ==, 0);
    rig_recv_posts(rig, n + 2);
    rig_recv_header(rig, VFIO_USER_DEVICE_SET_IRQS);
    caller_join(&writer);
    rig_assert_in_sync(rig);
}

/* Closing the connection frees the queue. */
static void test_queue_dropped(void)
{
    g_autoptr(Rig) rig = rig_new();
    int fd = peer_new_fd();

    fill_socket(rig);
    for (int i = 0; i < 100; i++) {
        g_assert_cmpint(notify(rig, &fd, 1, &error_abort), ==, 0);
    }
    close(fd);
    vfio_user_proxy_close(rig->proxy);
}

static const RigTest tests[] = {
    { "/vfio-user/budget/sum", test_sum },
    { "/vfio-user/budget/each", test_each },
    { "/vfio-user/budget/turn", test_turn },
    { "/vfio-user/budget/held-up", test_held_up },
    { "/vfio-user/budget/late", test_late },
    { "/vfio-user/budget/unlocked", test_unlocked },
    { "/vfio-user/budget/unwanted", test_unwanted },
    { "/vfio-user/budget/main-loop-waits", test_main_loop_waits },
    { "/vfio-user/budget/main-loop-waits-long", test_main_loop_waits_long },
    { "/vfio-user/budget/main-loop-calls", test_main_loop_calls },
    { "/vfio-user/budget/no-room", test_no_room },
    { "/vfio-user/budget/unanswered", test_unanswered },
    { "/vfio-user/budget/unread", test_unread },
    { "/vfio-user/budget/queued-posts", test_queued_posts },
    { "/vfio-user/budget/queued-fds", test_queued_fds },
    { "/vfio-user/budget/queue-order", test_queue_order },
    { "/vfio-user/budget/writer-waits", test_writer_waits },
    { "/vfio-user/budget/queue-dropped", test_queue_dropped },
};

int main(int argc, char **argv)
{
    locked = true;
    rig_init(argc, argv, tests, ARRAY_SIZE(tests));
    return g_test_run();
}
