/*
 * vfio-user connection: calls and posts
 *
 * With a server that follows the protocol: replies reach the right call, which
 * thread reads, which thread wakes up, and nothing is left after the connection
 * is closed.  The test itself is the server, its threads are the callers;
 * descriptors and threads are counted around every test.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "vfio-user-rig.h"

/* Calls and replies */

static void test_call(void)
{
    g_autoptr(Rig) rig = rig_new();
    const size_t size = sizeof(VFIOUserHeader) + sizeof(VFIOUserRegionRW);
    uint64_t calls = RIG_STAT(rig, calls);
    uint64_t sent = RIG_STAT(rig, bytes_sent);
    uint64_t received = RIG_STAT(rig, bytes_received);
    Read r;

    for (uint64_t i = 0; i < 1000; i++) {
        rig_begin(rig, &r, i, &error_abort);
        rig_answer_read(rig);
        rig_finish(rig, &r, &error_abort);
    }
    g_assert_cmpuint(RIG_STAT(rig, calls) - calls, ==, 1000);
    g_assert_cmpuint(RIG_STAT(rig, bytes_sent) - sent, ==, 1000 * size);
    g_assert_cmpuint(RIG_STAT(rig, bytes_received) - received, ==,
                     1000 * (size + 8));
    g_assert_cmpuint(RIG_STAT(rig, timeouts), ==, 0);
}

/* Eight threads call at once; the replies of a round arrive in any order. */
static void test_shuffled(void)
{
    enum { THREADS = 8, ROUNDS = 100 };
    g_autoptr(Rig) rig = rig_new();
    Caller callers[THREADS] = { };

    for (int i = 0; i < THREADS; i++) {
        callers[i].rounds = ROUNDS;
        caller_start(&callers[i], rig, i * 0x10000);
    }
    for (int round = 0; round < ROUNDS; round++) {
        PeerMessage m[THREADS];

        for (int i = 0; i < THREADS; i++) {
            int j = g_test_rand_int_range(0, i + 1);

            m[i] = m[j];
            rig_recv(rig, VFIO_USER_REGION_READ, &m[j]);
        }
        for (int i = 0; i < THREADS; i++) {
            VFIOUserRegionRW rw;

            memcpy(&rw, m[i].payload, sizeof(rw));
            rig_reply_read(rig, m[i].header, rw.offset);
            peer_message_clear(&m[i]);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        caller_join(&callers[i]);
        g_assert_cmpuint(callers[i].done, ==, ROUNDS);
    }
}

static void *answer_reads(void *opaque)
{
    Caller *c = opaque;

    for (unsigned i = 0; i < c->rounds; i++) {
        rig_answer_read(c->rig);
    }
    return NULL;
}

/* There are many more concurrent calls than ids. */
static void test_pipelined(void)
{
    enum { CALLS = 1000 };
    g_autofree Read *reads = g_new(Read, CALLS);
    g_autoptr(Rig) rig = rig_new();
    Caller server = { .run = answer_reads, .rounds = CALLS };

    caller_start(&server, rig, 0);
    for (int i = 0; i < CALLS; i++) {
        rig_begin(rig, &reads[i], i * 8, &error_abort);
    }
    for (int i = CALLS - 1; i >= 0; i--) {
        rig_finish(rig, &reads[i], &error_abort);
    }
    caller_join(&server);
}

/* All ids are in use; callers wait for one, asleep or as the reader. */
static void test_no_id_left(void)
{
    enum { SLOTS = 255, THREADS = 6, ROUNDS = 20 };
    g_autofree Read *reads = g_new(Read, SLOTS);
    g_autoptr(Rig) rig = rig_new();
    Caller callers[THREADS] = { };
    VFIOUserHeader headers[SLOTS];

    for (int i = 0; i < SLOTS; i++) {
        rig_begin(rig, &reads[i], i, &error_abort);
        headers[i] = rig_recv_header(rig, VFIO_USER_REGION_READ);
        for (int j = 0; j < i; j++) {
            g_assert_cmpuint(headers[j].id, !=, headers[i].id);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        callers[i].rounds = ROUNDS;
        caller_start(&callers[i], rig, 0x1000 * i);
        caller_wait_asleep(&callers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        g_assert_cmpuint(qatomic_read(&callers[i].done), ==, 0);
    }
    for (int i = 0; i < MAX(SLOTS, THREADS * ROUNDS); i++) {
        if (i < SLOTS) {
            rig_reply_read(rig, headers[i], i);
        }
        if (i < THREADS * ROUNDS) {
            rig_answer_read(rig);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        caller_join(&callers[i]);
    }
    for (int i = 0; i < SLOTS; i++) {
        rig_finish(rig, &reads[i], &error_abort);
    }
}

/* When the reader leaves, a waiting caller becomes the reader. */
static void test_next_reader(void)
{
    enum { THREADS = 4 };
    g_autoptr(Rig) rig = rig_new();

    for (int round = 0; round < 20; round++) {
        Caller callers[THREADS] = { };
        VFIOUserHeader headers[THREADS];

        for (int i = 0; i < THREADS; i++) {
            caller_start(&callers[i], rig, i);
            headers[i] = rig_recv_header(rig, VFIO_USER_REGION_READ);
            caller_wait_asleep(&callers[i]);
        }
        /* one at a time, each after the previous one has left */
        for (int i = 0; i < THREADS; i++) {
            int j = (i + round) % THREADS;

            rig_reply_read(rig, headers[j], j);
            caller_join(&callers[j]);
        }
    }
}

/* A reply of the largest size. */
static void test_large_reply(void)
{
    g_autofree uint8_t *payload = g_malloc0(sizeof(VFIOUserRegionRW) + MiB);
    g_autoptr(Rig) rig = rig_new();
    VFIOUserRegionRW rw = { .count = MiB };

    payload[sizeof(rw) + MiB - 1] = 77;
    for (int round = 0; round < 3; round++) {
        g_auto(VFIOUserCall) call = {
            .command = VFIO_USER_REGION_READ,
            .head = &rw,
            .head_size = sizeof(rw),
            .reply_max = sizeof(rw) + MiB,
        };

        vfio_user_proxy_begin(rig->proxy, &call, &error_abort);
        rig_reply(rig, rig_recv_header(rig, VFIO_USER_REGION_READ), payload,
                  sizeof(rw) + MiB);
        vfio_user_proxy_finish(rig->proxy, &call, &error_abort);
        g_assert_cmpuint(call.reply_size, ==, sizeof(rw) + MiB);
        g_assert_cmpuint(call.reply[sizeof(rw) + MiB - 1], ==, 77);
    }
}

/* Receives a message; "done" is the number of its descriptors. */
static void *recv_one(void *opaque)
{
    Caller *c = opaque;
    g_auto(PeerMessage) m = { };

    g_assert_true(peer_recv(c->rig->peer, &m));
    c->done = m.nfds;
    return NULL;
}

static void test_fds(void)
{
    g_autoptr(Rig) rig = rig_new();
    VFIOUserRegionInfo info = { };
    int fds[] = { peer_new_fd(), peer_new_fd(), peer_new_fd() };
    VFIOUserCall call = {
        .command = VFIO_USER_DEVICE_GET_REGION_INFO,
        .head = &info,
        .head_size = sizeof(info),
        .reply_max = sizeof(info),
        .fds = fds,
        .nfds = 3,
    };
    g_auto(PeerMessage) m = { };
    int taken;

    vfio_user_proxy_begin(rig->proxy, &call, &error_abort);
    rig_recv(rig, VFIO_USER_DEVICE_GET_REGION_INFO, &m);
    g_assert_cmpuint(m.nfds, ==, 3);
    m.header.flags = VFIO_USER_TYPE_REPLY;
    peer_send(rig->peer, m.header, &info, sizeof(info), m.fds, 3);
    vfio_user_proxy_finish(rig->proxy, &call, &error_abort);

    g_assert_cmpuint(call.reply_nfds, ==, 3);
    for (int i = 0; i < 3; i++) {
        g_assert_cmpuint(peer_inode(m.fds[i]), ==, peer_inode(fds[i]));
        g_assert_cmpuint(peer_inode(call.reply_fds[i]), ==,
                         peer_inode(fds[i]));
    }
    /* one is taken, the others are closed with the call */
    taken = call.reply_fds[2];
    call.reply_nfds = 2;
    vfio_user_call_clear(&call);
    g_assert_cmpuint(peer_inode(taken), ==, peer_inode(fds[2]));
    close(taken);
    vfio_user_close_fds(fds, 3);
}

/* The descriptors of a message that is sent in parts are sent once. */
static void test_fds_of_long_message(void)
{
    g_autofree uint8_t *data = g_malloc0(MiB);
    g_autoptr(Rig) rig = rig_new();
    VFIOUserRegionRW rw = { };
    int fd = peer_new_fd();

    for (int i = 0; i < 50; i++) {
        Caller server = { .run = recv_one };
        VFIOUserCall call = rig_write_call(&rw, data, MiB);

        call.fds = &fd;
        call.nfds = 1;
        caller_start(&server, rig, 0);
        vfio_user_proxy_post(rig->proxy, &call, &error_abort);
        caller_join(&server);
        g_assert_cmpuint(server.done, ==, 1);
    }
    close(fd);
}

/* Posts and notifies */

static void test_post(void)
{
    g_autoptr(Rig) rig = rig_new();
    uint64_t posts = RIG_STAT(rig, posts);

    for (uint64_t i = 0; i < 300; i++) {
        g_auto(PeerMessage) m = { };

        rig_post(rig, i, &error_abort);
        rig_recv(rig, VFIO_USER_REGION_WRITE, &m);
        g_assert_cmphex(m.header.flags, ==,
                        VFIO_USER_TYPE_COMMAND | VFIO_USER_NO_REPLY);
        g_assert_cmpint(memcmp(m.payload + sizeof(VFIOUserRegionRW), &i,
                               sizeof(i)), ==, 0);
    }
    g_assert_cmpuint(RIG_STAT(rig, posts) - posts, ==, 300);
    rig_assert_in_sync(rig);
}

static void notify(Rig *rig, int error)
{
    VFIOUserCall call = { .command = VFIO_USER_DEVICE_RESET };
    VFIOUserHeader header;

    vfio_user_proxy_notify(rig->proxy, &call, &error_abort);
    header = rig_recv_header(rig, VFIO_USER_DEVICE_RESET);
    g_assert_cmphex(header.flags, ==, VFIO_USER_TYPE_COMMAND);
    header.flags = VFIO_USER_TYPE_REPLY | (error ? VFIO_USER_ERROR : 0);
    header.error = error;
    peer_send(rig->peer, header, NULL, 0, NULL, 0);
}

/* The reply frees the id, so the number of notifies is not limited. */
static void test_notify(void)
{
    g_autoptr(Rig) rig = rig_new();

    for (int i = 0; i < 1000; i++) {
        notify(rig, 0);
    }
    rig_assert_in_sync(rig);
}

static void test_notify_error(void)
{
    if (g_test_subprocess()) {
        g_autoptr(Rig) rig = rig_new();

        notify(rig, EACCES);
        rig_assert_in_sync(rig);
        g_assert_cmpuint(qatomic_read(&rig->failed), ==, 1);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*" RIG_NAME "*DEVICE_RESET*error*denied*");
}

/* Wake-ups */

static void *serve_reads(void *opaque)
{
    Caller *c = opaque;

    while (c->done < c->rounds) {
        g_auto(PeerMessage) m = { };
        VFIOUserRegionRW rw;

        rig_recv(c->rig, VFIO_USER_REGION_READ, &m);
        memcpy(&rw, m.payload, sizeof(rw));
        rig_reply_read(c->rig, m.header, rw.offset);
        c->done++;
    }
    return NULL;
}

/* Callers read the replies; the receive thread sleeps meanwhile. */
static void test_wakeups(void)
{
    enum { CALLS = 2000 };
    g_autoptr(Rig) rig = rig_new();
    Caller server = { .run = serve_reads, .rounds = CALLS };
    uint64_t before, wakeups;

    before = RIG_STAT(rig, receive_wakeups);
    caller_start(&server, rig, 0);
    for (uint64_t i = 0; i < CALLS; i++) {
        rig_read(rig, i, &error_abort);
    }
    caller_join(&server);
    wakeups = RIG_STAT(rig, receive_wakeups) - before;
    g_test_message("%" PRIu64 " wake-ups in %d calls", wakeups, CALLS);
    g_assert_cmpuint(wakeups, <, CALLS / 4);
}

/*
 * A slow reply wakes up only the caller, whether the server @asked for DMA
 * before or not.
 */
static void wakeups_asleep(bool asked)
{
    enum { CALLS = 100 };
    g_autoptr(Rig) rig = rig_new();
    Caller caller = { .rounds = CALLS };
    uint64_t before, wakeups;

    if (asked) {
        rig_send_dma_read(rig, 1, 1, 8);
        rig_recv_dma_read(rig, 1, 1, 8);
    }
    before = RIG_STAT(rig, receive_wakeups);
    caller_start(&caller, rig, 0);
    for (int i = 0; i < CALLS; i++) {
        g_auto(PeerMessage) m = { };

        rig_recv(rig, VFIO_USER_REGION_READ, &m);
        caller_wait_asleep(&caller);
        rig_reply_read(rig, m.header, i);
    }
    caller_join(&caller);
    wakeups = RIG_STAT(rig, receive_wakeups) - before;
    g_test_message("%" PRIu64 " wake-ups in %d calls", wakeups, CALLS);
    g_assert_cmpuint(wakeups, <, CALLS / 4);
}

static void test_wakeups_asleep(void)
{
    wakeups_asleep(false);
}

static void test_wakeups_asked(void)
{
    wakeups_asleep(true);
}

/* The receive thread does not run while a caller waits or nothing happens. */
static void test_wakeups_idle(void)
{
    g_autoptr(Rig) idle = rig_new();
    g_autoptr(Rig) rig = rig_new();
    Error *err = NULL;

    rig_assert_in_sync(idle);
    vfio_user_proxy_set_timeout(rig->proxy, 100);
    g_assert_cmpint(rig_read(rig, 1, &err), ==, -ETIMEDOUT);
    peer_assert_error(err, "no reply");
    g_assert_cmpuint(RIG_STAT(rig, receive_wakeups), <, 10);
    g_assert_cmpuint(RIG_STAT(idle, receive_wakeups), <, 10);
}

/* Closing */

static void test_close(void)
{
    enum { THREADS = 4 };
    g_autoptr(Rig) rig = rig_new();
    Caller callers[THREADS] = { };
    Error *err = NULL;
    Read r;

    for (int i = 0; i < THREADS; i++) {
        caller_start(&callers[i], rig, i);
        rig_recv_header(rig, VFIO_USER_REGION_READ);
        caller_wait_asleep(&callers[i]);
    }
    rig_begin(rig, &r, 0, &error_abort);
    vfio_user_proxy_close(rig->proxy);
    for (int i = 0; i < THREADS; i++) {
        caller_join_error(&callers[i], -ECONNRESET, "connection is closed");
    }
    g_assert_cmpint(rig_finish(rig, &r, &err), ==, -ECONNRESET);
    peer_assert_error(err, "REGION_READ: the connection is closed");

    g_assert_cmpint(vfio_user_proxy_state(rig->proxy), ==, VFIO_USER_CLOSED);
    err = NULL;
    g_assert_cmpint(rig_read(rig, 1, &err), ==, -ECONNRESET);
    peer_assert_error(err, "connection is closed");
    err = NULL;
    g_assert_cmpint(rig_post(rig, 1, &err), ==, -ECONNRESET);
    peer_assert_error(err, "connection is closed");
    vfio_user_proxy_close(rig->proxy);
    /* the connection is not lost but closed, and the server sees the end */
    g_assert_cmpuint(rig->lost, ==, 0);
    rig_recv_header(rig, VFIO_USER_REGION_READ);
    g_assert_false(peer_recv(rig->peer, &(PeerMessage) { }));
}

/* The connection is closed in a state before UP. */
static void test_close_early(void)
{
    g_autoptr(Rig) down = rig_new_down();
    g_autoptr(Rig) handshake = rig_new_down();
    g_auto(VFIOUserCall) call = { };
    Error *err = NULL;

    vfio_user_proxy_close(down->proxy);
    rig_propose(handshake, &call);
    g_assert_cmpint(vfio_user_proxy_state(handshake->proxy), ==,
                    VFIO_USER_HANDSHAKE);
    vfio_user_proxy_close(handshake->proxy);
    g_assert_cmpint(vfio_user_proxy_finish(handshake->proxy, &call, &err),
                    ==, -ECONNRESET);
    peer_assert_error(err, "VERSION: the connection is closed");
    /* this has no effect after the close */
    vfio_user_proxy_up(handshake->proxy, 4096, true);
    g_assert_cmpint(vfio_user_proxy_state(handshake->proxy), ==,
                    VFIO_USER_CLOSED);
}

static const RigTest tests[] = {
    { "/vfio-user/proxy/call", test_call },
    { "/vfio-user/proxy/shuffled", test_shuffled },
    { "/vfio-user/proxy/pipelined", test_pipelined },
    { "/vfio-user/proxy/no-id-left", test_no_id_left },
    { "/vfio-user/proxy/next-reader", test_next_reader },
    { "/vfio-user/proxy/large-reply", test_large_reply },
    { "/vfio-user/proxy/fds", test_fds },
    { "/vfio-user/proxy/fds-of-long-message", test_fds_of_long_message },
    { "/vfio-user/proxy/post", test_post },
    { "/vfio-user/proxy/notify", test_notify },
    { "/vfio-user/proxy/notify-error", test_notify_error },
    { "/vfio-user/proxy/wakeups", test_wakeups },
    { "/vfio-user/proxy/wakeups-asleep", test_wakeups_asleep },
    { "/vfio-user/proxy/wakeups-asked", test_wakeups_asked },
    { "/vfio-user/proxy/wakeups-idle", test_wakeups_idle },
    { "/vfio-user/proxy/close", test_close },
    { "/vfio-user/proxy/close-early", test_close_early },
};

int main(int argc, char **argv)
{
    rig_init(argc, argv, tests, ARRAY_SIZE(tests));
    return g_test_run();
}
