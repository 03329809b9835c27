/*
 * vfio-user connection with a server that breaks the rules
 *
 * Late, early, wrong, endless and missing messages: a server may only make the
 * client lose its connection, and not even that if the protocol permits what
 * the server does.  Tests are named after what the server does wrong.  The
 * test itself is the server; descriptors and threads are counted around every
 * test.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "vfio-user-rig.h"

#define ALL_IDS 255
#define MAX_LATE 127            /* this many end the connection */

/* Timeout in ms, long enough to act while a call waits. */
#define SOON 500

static void set_timeout(Rig *rig, unsigned ms)
{
    vfio_user_proxy_set_timeout(rig->proxy,
                                ms ?: PEER_DEADLINE / 1000);
}

/* Waits until the client has processed everything sent so far. */
static void fence(Rig *rig)
{
    VFIOUserHeader header = {
        .command = VFIO_USER_DMA_READ,
        .flags = VFIO_USER_NO_REPLY,
    };
    VFIOUserDMARW rw = { .count = 1 };
    unsigned requests = qatomic_read(&rig->requests);

    peer_send(rig->peer, header, &rw, sizeof(rw), NULL, 0);
    peer_wait_until(qatomic_read(&rig->requests) == requests + 1);
}

/* Late */

/* Lets a read time out; returns the request's header. */
static VFIOUserHeader time_out(Rig *rig)
{
    Error *err = NULL;

    set_timeout(rig, 10);
    g_assert_cmpint(rig_read(rig, 1, &err), ==, -ETIMEDOUT);
    peer_assert_error(err, "vfio-user " RIG_NAME ": REGION_READ: no reply"
                      " within 10 ms");
    set_timeout(rig, 0);
    return rig_recv_header(rig, VFIO_USER_REGION_READ);
}

static void test_late_reply(void)
{
    g_autoptr(Rig) rig = rig_new();

    for (int i = 0; i < 20; i++) {
        VFIOUserHeader late = time_out(rig), next;
        Read r;

        /* the id is not reused until the late reply has arrived */
        rig_begin(rig, &r, 2, &error_abort);
        next = rig_recv_header(rig, VFIO_USER_REGION_READ);
        g_assert_cmpuint(next.id & 0xff, !=, late.id & 0xff);
        rig_reply_read(rig, late, 1);
        rig_reply_read(rig, next, 2);
        rig_finish(rig, &r, &error_abort);
    }
    rig_assert_in_sync(rig);
}

/* A late reply is dropped, but it is checked nevertheless. */
static void test_late_violation(void)
{
    g_autoptr(Rig) rig = rig_new();
    VFIOUserHeader late = time_out(rig);
    VFIOUserRegionRW rw = { };

    late.command = VFIO_USER_REGION_WRITE;
    rig_reply(rig, late, &rw, sizeof(rw));
    rig_assert_lost(rig, "reply to REGION_READ names another command");
}

/* A second reply arrives when its slot is already in use again. */
static void test_reply_twice(void)
{
    g_autoptr(Rig) rig = rig_new();
    VFIOUserHeader last = time_out(rig);

    rig_reply_read(rig, last, 1);
    fence(rig);
    for (uint64_t i = 2; i < 1000; i++) {
        VFIOUserHeader header;
        Read r;

        rig_begin(rig, &r, i, &error_abort);
        header = rig_recv_header(rig, VFIO_USER_REGION_READ);
        g_assert_cmpuint(header.id & 0xff, ==, last.id & 0xff);
        g_assert_cmpuint(header.id, !=, last.id);
        rig_reply_read(rig, last, i - 1);
        rig_reply_read(rig, header, i);
        rig_finish(rig, &r, &error_abort);
        last = header;
    }
}

/* Begins @n reads and lets them time out. */
static void let_time_out(Rig *rig, Read *reads, int n)
{
    set_timeout(rig, SOON);
    for (int i = 0; i < n; i++) {
        rig_begin(rig, &reads[i], i, &error_abort);
    }
    for (int i = 0; i < n; i++) {
        g_assert_cmpint(rig_finish(rig, &reads[i], NULL), ==, -ETIMEDOUT);
    }
    set_timeout(rig, 0);
}

/* The ids of calls that timed out are free again after their replies. */
static void test_many_late(void)
{
    g_autofree Read *reads = g_new(Read, MAX_LATE);
    g_autoptr(Rig) rig = rig_new();
    VFIOUserHeader headers[MAX_LATE];

    for (int round = 0; round < 3; round++) {
        let_time_out(rig, reads, MAX_LATE - 1);
        for (int i = 0; i < MAX_LATE - 1; i++) {
            headers[i] = rig_recv_header(rig, VFIO_USER_REGION_READ);
        }
        rig_assert_in_sync(rig);
        for (int i = 0; i < MAX_LATE - 1; i++) {
            rig_reply_read(rig, headers[i], i);
        }
        fence(rig);
    }
}

/* The connection ends before all ids are used up; no call waits for one. */
static void test_too_many_late(void)
{
    g_autofree Read *reads = g_new(Read, MAX_LATE);
    g_autoptr(Rig) rig = rig_new();

    let_time_out(rig, reads, MAX_LATE);
    rig_assert_lost(rig, "REGION_READ: 127 calls were not answered in time");
    g_assert_cmpuint(RIG_STAT(rig, timeouts), ==, MAX_LATE);
    for (int i = 0; i < 260; i++) {
        g_assert_cmpint(rig_read(rig, i, NULL), ==, -ECONNRESET);
    }
}

static void test_timeout_factor(void)
{
    g_autoptr(Rig) rig = rig_new();
    VFIOUserCall call = {
        .command = VFIO_USER_DEVICE_RESET,
        .timeout_factor = 7,
    };
    Error *err = NULL;

    set_timeout(rig, 3);
    g_assert_cmpint(vfio_user_proxy_call(rig->proxy, &call, &err), ==,
                    -ETIMEDOUT);
    peer_assert_error(err, "DEVICE_RESET: no reply within 21 ms");
}

/* The reply arrives one byte at a time. */
static void test_slow_reply(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller caller = { };
    ReadReply reply = { .rw = { 7, 1, 8 }, .value = rig_value(7) };
    VFIOUserHeader header;

    caller_start(&caller, rig, 7);
    header = rig_recv_header(rig, VFIO_USER_REGION_READ);
    header.flags = VFIO_USER_TYPE_REPLY;
    header.size = sizeof(header) + sizeof(reply);
    for (size_t i = 0; i < header.size; i++) {
        const uint8_t *byte = i < sizeof(header)
            ? (uint8_t *)&header + i : (uint8_t *)&reply + i - sizeof(header);

        caller_wait_asleep(&caller);
        g_assert_cmpuint(qatomic_read(&caller.done), ==, 0);
        peer_send_bytes(rig->peer, byte, 1, NULL, 0);
    }
    caller_join(&caller);
}

/* Early */

static void *caller_notify(void *opaque)
{
    Caller *c = opaque;
    VFIOUserRegionRW rw = { .offset = c->offset, .region = 1, .count = 8 };
    VFIOUserCall call = {
        .command = VFIO_USER_REGION_READ,
        .head = &rw,
        .head_size = sizeof(rw),
    };

    qatomic_set(&c->tid, qemu_get_thread_id());
    c->ret = vfio_user_proxy_notify(c->rig->proxy, &call, &c->err);
    return NULL;
}

/*
 * A reply arrives for a request that still waits for room in the socket.  The
 * id is then free, and another call claims it.  That call must keep the id when
 * the first one times out.
 */
static void early_reply(void *(*run)(void *))
{
    g_autofree Read *reads = g_new(Read, ALL_IDS);
    g_autoptr(Rig) rig = rig_new();
    Caller unsent = { .run = run }, other = { };
    VFIOUserHeader header, headers[ALL_IDS];
    unsigned posts;
    Read r;

    rig_begin(rig, &r, 1, &error_abort);
    header = rig_recv_header(rig, VFIO_USER_REGION_READ);
    rig_reply_read(rig, header, 1);
    rig_finish(rig, &r, &error_abort);

    posts = rig_fill_socket(rig);
    set_timeout(rig, SOON);
    caller_start(&unsent, rig, 2);
    caller_wait_asleep(&unsent);
    header.id += 0x100;
    rig_reply_read(rig, header, 2);
    fence(rig);
    set_timeout(rig, 0);
    caller_start(&other, rig, 3);
    caller_wait_asleep(&other);
    caller_join_error(&unsent, -ETIMEDOUT, "not sent within");

    rig_recv_posts(rig, posts);
    rig_answer_read(rig);
    caller_join(&other);
    for (int i = 0; i < ALL_IDS; i++) {
        rig_begin(rig, &reads[i], i, &error_abort);
        headers[i] = rig_recv_header(rig, VFIO_USER_REGION_READ);
        for (int j = 0; j < i; j++) {
            g_assert_cmpuint(headers[j].id & 0xff, !=, headers[i].id & 0xff);
        }
    }
    for (int i = 0; i < ALL_IDS; i++) {
        rig_reply_read(rig, headers[i], i);
        rig_finish(rig, &reads[i], &error_abort);
    }
}

static void test_early_reply(void)
{
    early_reply(NULL);
}

static void test_early_reply_to_notify(void)
{
    early_reply(caller_notify);
}

/* Disconnected */

typedef enum Death {
    HANGS_UP,
    UNREAD,                     /* closes without reading requests */
    IN_REPLY,                   /* closes in the middle of a reply */
    DEATHS
} Death;

static void die(Rig *rig, Death death, VFIOUserHeader last)
{
    ReadReply reply = { };

    if (death == IN_REPLY) {
        last.flags = VFIO_USER_TYPE_REPLY;
        last.size = sizeof(last) + sizeof(reply);
        peer_send_bytes(rig->peer, &last, sizeof(last), NULL, 0);
        peer_send_bytes(rig->peer, &reply, sizeof(reply) - 1, NULL, 0);
    }
    rig_hang_up(rig);
}

/* Calls are in flight: of sleeping callers, and calls without a waiter. */
static void test_dies(void)
{
    enum { THREADS = 4 };
    static const char *const causes[DEATHS] = {
        "the server closed the connection", "reset by peer",
        "closed the connection in the middle of a message",
    };

    for (Death death = 0; death < DEATHS; death++) {
        g_autoptr(Rig) rig = rig_new();
        Caller callers[THREADS] = { };
        VFIOUserHeader last = { };
        Read reads[THREADS];
        Error *err = NULL;

        for (int i = 0; i < THREADS; i++) {
            rig_begin(rig, &reads[i], i, &error_abort);
            caller_start(&callers[i], rig, i);
            rig_recv_header(rig, VFIO_USER_REGION_READ);
            if (death != UNREAD) {
                last = rig_recv_header(rig, VFIO_USER_REGION_READ);
            }
            caller_wait_asleep(&callers[i]);
        }
        die(rig, death, last);
        for (int i = 0; i < THREADS; i++) {
            caller_join_error(&callers[i], -ECONNRESET, causes[death]);
        }
        rig_assert_lost(rig, causes[death]);
        for (int i = 0; i < THREADS; i++) {
            err = NULL;
            g_assert_cmpint(rig_finish(rig, &reads[i], &err), ==,
                            -ECONNRESET);
            peer_assert_error(err, rig->cause);
        }
    }
}

static void test_dies_idle(void)
{
    g_autoptr(Rig) rig = rig_new();

    rig_hang_up(rig);
    rig_assert_lost(rig, "the server closed the connection");
}

static void test_dies_in_handshake(void)
{
    g_autoptr(Rig) rig = rig_new_down();
    g_auto(VFIOUserCall) call = { };
    Error *err = NULL;

    rig_propose(rig, &call);
    rig_recv_header(rig, VFIO_USER_VERSION);
    rig_hang_up(rig);
    g_assert_cmpint(vfio_user_proxy_finish(rig->proxy, &call, &err), ==,
                    -ECONNRESET);
    peer_assert_error(err, "VERSION: the server closed the connection");
    /* "lost" is not called because the connection was never up */
    g_assert_cmpuint(rig->lost, ==, 0);
}

/* Not reading */

/* Small messages are sent whole or not at all, so a timeout is harmless. */
static void test_reads_nothing(void)
{
    g_autoptr(Rig) rig = rig_new();
    unsigned posts = rig_fill_socket(rig);
    Error *err = NULL;

    set_timeout(rig, 10);
    g_assert_cmpint(rig_read(rig, 1, &err), ==, -ETIMEDOUT);
    peer_assert_error(err, "REGION_READ: not sent within 10 ms");
    set_timeout(rig, 0);
    rig_recv_posts(rig, posts);
    rig_assert_in_sync(rig);
}

/* A message that was sent only in part ends the connection. */
static void test_reads_half(void)
{
    g_autofree uint8_t *data = g_malloc0(MiB);
    g_autoptr(Rig) rig = rig_new();
    VFIOUserRegionRW rw = { };
    VFIOUserCall call = rig_write_call(&rw, data, MiB);
    Error *err = NULL;

    set_timeout(rig, 10);
    g_assert_cmpint(vfio_user_proxy_post(rig->proxy, &call, &err), ==,
                    -ECONNRESET);
    peer_assert_error(err, "REGION_WRITE: cannot send: the server does"
                      " not read");
    rig_assert_lost(rig, "the server does not read");
}

/*
 * The server sends requests and does not read the replies.  A post times out
 * because it must be sent after them; the replies are not lost.
 */
static void test_reads_no_replies(void)
{
    enum { REQUESTS = 50 };
    g_autoptr(Rig) rig = rig_new();
    Error *err = NULL;

    for (int i = 0; i < REQUESTS; i++) {
        rig_send_dma_read(rig, i, i, 100000);
    }
    peer_wait_until(qatomic_read(&rig->requests) == REQUESTS);
    set_timeout(rig, 10);
    g_assert_cmpint(rig_post(rig, 1, &err), ==, -ETIMEDOUT);
    peer_assert_error(err, "REGION_WRITE: not sent within 10 ms");
    set_timeout(rig, 0);
    for (int i = 0; i < REQUESTS; i++) {
        rig_recv_dma_read(rig, i, i, 100000);
    }
    rig_assert_in_sync(rig);
}

/* Endless */

/* More requests than the client reads ahead, more bytes than it keeps. */
enum { MANY = 3000, MUCH = 8000 };

static void *send_many_requests(void *opaque)
{
    Caller *c = opaque;

    for (int i = 0; i < MANY; i++) {
        rig_send_dma_read(c->rig, i, i, MUCH);
    }
    return NULL;
}

/* Waits until the client stops reading; the reader must sleep and not spin. */
static void assert_not_read(Rig *rig)
{
    peer_wait_until(qatomic_read(&rig->requests) >= 8 * MiB / (MUCH + 32));
    peer_wait_until(peer_is_asleep(qatomic_read(&rig->request_tid)));
    /* some replies are in the socket */
    g_assert_cmpuint(qatomic_read(&rig->requests), <, 9 * MiB / MUCH);
}

/* Too many requests: the client does not read until the server reads. */
static void test_too_many_requests(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller server = { .run = send_many_requests };

    caller_start(&server, rig, 0);
    assert_not_read(rig);
    for (int i = 0; i < MANY; i++) {
        rig_recv_dma_read(rig, i, i, MUCH);
    }
    caller_join(&server);
    rig_assert_in_sync(rig);
}

/* The same while one caller is the reader and another waits to write. */
static void test_too_many_requests_in_call(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller reader = { }, writer = { .run = caller_post, .rounds = 1 };
    Caller server = { .run = send_many_requests };
    VFIOUserHeader header;
    unsigned posts;

    caller_start(&reader, rig, 0x42);
    header = rig_recv_header(rig, VFIO_USER_REGION_READ);
    caller_wait_asleep(&reader);
    posts = rig_fill_socket(rig);
    caller_start(&writer, rig, 1);
    caller_wait_asleep(&writer);
    caller_start(&server, rig, 0);
    assert_not_read(rig);

    rig_recv_posts(rig, posts + 1);
    for (int i = 0; i < MANY; i++) {
        rig_recv_dma_read(rig, i, i, MUCH);
    }
    caller_join(&server);
    rig_reply_read(rig, header, 0x42);
    caller_join(&reader);
    caller_join(&writer);
}

static void *flood_replies(void *opaque)
{
    Caller *c = opaque;
    VFIOUserHeader header = {
        .id = 0x1234,
        .command = VFIO_USER_REGION_READ,
    };

    while (!qatomic_read(&c->rounds)) {
        rig_reply_read(c->rig, header, 1);
    }
    return NULL;
}

/* Endless replies to no call: they are dropped, and calls still time out. */
static void test_floods_replies(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller server = { .run = flood_replies };

    caller_start(&server, rig, 0);
    for (int i = 0; i < 10; i++) {
        time_out(rig);
    }
    qatomic_set(&server.rounds, 1);
    caller_join(&server);
    rig_assert_in_sync(rig);
}

static void *flood_requests(void *opaque)
{
    Caller *c = opaque;

    while (!qatomic_read(&c->rounds)) {
        rig_send_dma_read(c->rig, 0, 0, c->offset);
    }
    return NULL;
}

static void *drain(void *opaque)
{
    Caller *c = opaque;
    g_auto(PeerMessage) m = { };

    while (peer_recv(c->rig->peer, &m)) {
        c->done += m.header.command == VFIO_USER_REGION_WRITE;
        peer_message_clear(&m);
    }
    return NULL;
}

/*
 * Requests of @count bytes without a pause: calls time out and posts are sent,
 * whether the replies can be sent at once or queue up.
 */
static void floods_requests(unsigned count)
{
    enum { POSTS = 20 };
    g_autoptr(Rig) rig = rig_new();
    Caller server = { .run = flood_requests }, reader = { .run = drain };
    Error *err = NULL;

    caller_start(&reader, rig, 0);
    caller_start(&server, rig, count);
    peer_wait_until(qatomic_read(&rig->requests) > 100);
    for (int i = 0; i < POSTS; i++) {
        rig_post(rig, i, &error_abort);
    }
    set_timeout(rig, 20);
    g_assert_cmpint(rig_read(rig, 1, &err), ==, -ETIMEDOUT);
    peer_assert_error(err, "within 20 ms");
    qatomic_set(&server.rounds, 1);
    caller_join(&server);
    vfio_user_proxy_close(rig->proxy);
    caller_join(&reader);
    g_assert_cmpuint(reader.done, ==, POSTS);
}

static void test_floods_small_requests(void)
{
    floods_requests(1);
}

static void test_floods_requests(void)
{
    floods_requests(MUCH);
}

static const RigTest tests[] = {
    { "/vfio-user/faults/late-reply", test_late_reply },
    { "/vfio-user/faults/late-violation", test_late_violation },
    { "/vfio-user/faults/reply-twice", test_reply_twice },
    { "/vfio-user/faults/many-late", test_many_late },
    { "/vfio-user/faults/too-many-late", test_too_many_late },
    { "/vfio-user/faults/timeout-factor", test_timeout_factor },
    { "/vfio-user/faults/slow-reply", test_slow_reply },
    { "/vfio-user/faults/early-reply", test_early_reply },
    { "/vfio-user/faults/early-reply-to-notify", test_early_reply_to_notify },
    { "/vfio-user/faults/dies", test_dies },
    { "/vfio-user/faults/dies-idle", test_dies_idle },
    { "/vfio-user/faults/dies-in-handshake", test_dies_in_handshake },
    { "/vfio-user/faults/reads-nothing", test_reads_nothing },
    { "/vfio-user/faults/reads-half", test_reads_half },
    { "/vfio-user/faults/reads-no-replies", test_reads_no_replies },
    { "/vfio-user/faults/too-many-requests", test_too_many_requests },
    { "/vfio-user/faults/too-many-requests-in-call",
      test_too_many_requests_in_call },
    { "/vfio-user/faults/floods-replies", test_floods_replies },
    { "/vfio-user/faults/floods-small-requests", test_floods_small_requests },
    { "/vfio-user/faults/floods-requests", test_floods_requests },
};

int main(int argc, char **argv)
{
    rig_init(argc, argv, tests, ARRAY_SIZE(tests));
    return g_test_run();
}
