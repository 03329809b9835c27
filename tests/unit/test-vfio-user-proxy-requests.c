/*
 * vfio-user connection: the server's requests
 *
 * Which thread serves the requests, what is sent before the reply, and what
 * happens to a reply for which there is no room.  The test itself is the
 * server, its threads are the callers; descriptors and threads are counted
 * around every test.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "vfio-user-rig.h"

/* The thread that serves */

/* If there is no call, the receive thread serves. */
static void test_request(void)
{
    g_autoptr(Rig) rig = rig_new();

    for (int i = 0; i < 300; i++) {
        rig_send_dma_read(rig, i, i * 3, i * 100);
        rig_recv_dma_read(rig, i, i * 3, i * 100);
    }
    g_assert_cmpint(rig->request_tid, !=, qemu_get_thread_id());
    g_assert_cmpuint(RIG_STAT(rig, requests), ==, 300);
}

static void test_request_write(void)
{
    g_autofree uint8_t *payload = g_malloc(sizeof(VFIOUserDMARW) + MiB);
    g_autoptr(Rig) rig = rig_new();
    VFIOUserHeader header = { .command = VFIO_USER_DMA_WRITE };
    VFIOUserDMARW rw = { .address = 0x5a, .count = MiB };

    memcpy(payload, &rw, sizeof(rw));
    memset(payload + sizeof(rw), rw.address, rw.count);
    for (int i = 0; i < 3; i++) {
        g_auto(PeerMessage) m = { };

        header.id = i;
        peer_send(rig->peer, header, payload, sizeof(rw) + MiB, NULL, 0);
        rig_recv(rig, VFIO_USER_DMA_WRITE, &m);
        g_assert_cmpuint(m.header.id, ==, i);
        g_assert_cmpuint(m.size, ==, sizeof(rw));
        g_assert_cmpint(memcmp(m.payload, &rw, sizeof(rw)), ==, 0);
    }
}

static void test_request_refused(void)
{
    g_autoptr(Rig) rig = rig_new();
    g_auto(PeerMessage) m = { };

    rig_send_dma_read(rig, UINT16_MAX, 0, 8);
    rig_recv(rig, VFIO_USER_DMA_READ, &m);
    g_assert_cmphex(m.header.flags, ==,
                    VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR);
    g_assert_cmpuint(m.header.error, ==, EFAULT);
    g_assert_cmpuint(m.size, ==, 0);
}

/* A request with No_reply gets no reply, even if it is refused. */
static void test_request_no_reply(void)
{
    g_autoptr(Rig) rig = rig_new();
    VFIOUserHeader header = {
        .command = VFIO_USER_DMA_READ,
        .flags = VFIO_USER_NO_REPLY,
    };
    VFIOUserDMARW rw = { .count = 8 };

    peer_send(rig->peer, header, &rw, sizeof(rw), NULL, 0);
    header.id = UINT16_MAX;
    peer_send(rig->peer, header, &rw, sizeof(rw), NULL, 0);
    rig_send_dma_read(rig, 5, 5, 5);
    rig_recv_dma_read(rig, 5, 5, 5);
}

/* During a call, the thread that waits for its reply serves requests. */
static void test_request_in_call(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller caller = { };
    VFIOUserHeader header;
    uint16_t id = 0;

    caller_start(&caller, rig, 0x123);
    header = rig_recv_header(rig, VFIO_USER_REGION_READ);
    caller_wait_asleep(&caller);
    /* at first, the receive thread may still be the reader */
    peer_wait_until(({
        rig_send_dma_read(rig, id, id, 100);
        rig_recv_dma_read(rig, id, id, 100);
        id++;
        qatomic_read(&rig->request_tid) == caller.tid;
    }));
    for (int i = 0; i < 100; i++) {
        rig_send_dma_read(rig, i, i, i);
        rig_recv_dma_read(rig, i, i, i);
        g_assert_cmpint(rig->request_tid, ==, caller.tid);
    }
    g_assert_cmpuint(qatomic_read(&caller.done), ==, 0);
    rig_reply_read(rig, header, 0x123);
    caller_join(&caller);
}

/*
 * Requests that arrive together with a reply are read ahead by the caller.
 * They must be served although no later byte wakes a thread.
 */
static void test_read_ahead(void)
{
    g_autoptr(Rig) rig = rig_new();

    for (int i = 0; i < 50; i++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        Caller caller = { };
        VFIOUserHeader request = {
            .id = i,
            .command = VFIO_USER_DMA_READ,
            .size = sizeof(request) + sizeof(VFIOUserDMARW),
        };
        VFIOUserDMARW rw = { .address = i, .count = 4 };
        ReadReply reply = {
            .rw = { .offset = 9, .region = 1, .count = 8 },
            .value = rig_value(9),
        };
        VFIOUserHeader header;

        caller_start(&caller, rig, 9);
        header = rig_recv_header(rig, VFIO_USER_REGION_READ);
        header.flags = VFIO_USER_TYPE_REPLY;
        header.size = sizeof(header) + sizeof(reply);
        g_byte_array_append(bytes, (uint8_t *)&header, sizeof(header));
        g_byte_array_append(bytes, (uint8_t *)&reply, sizeof(reply));
        for (int j = 0; j < 3; j++) {
            g_byte_array_append(bytes, (uint8_t *)&request, sizeof(request));
            g_byte_array_append(bytes, (uint8_t *)&rw, sizeof(rw));
        }
        caller_wait_asleep(&caller);
        peer_send_bytes(rig->peer, bytes->data, bytes->len, NULL, 0);
        for (int j = 0; j < 3; j++) {
            rig_recv_dma_read(rig, i, i, 4);
        }
        caller_join(&caller);
    }
}

/* The writer's turn */

/* Posts @rounds times, then reads once. */
static void *caller_post_and_read(void *opaque)
{
    Caller *c = opaque;

    caller_post(c);
    if (c->ret == 0) {
        c->ret = rig_read(c->rig, c->offset, &c->err);
    }
    return NULL;
}

/* Waits until the poster, which posts without a pause, is blocked. */
static void hold_poster_back(Rig *rig)
{
    Caller *poster = rig->opaque;
    unsigned done = qatomic_read(&poster->done);

    caller_wait_asleep(poster);
    /* one post may have been in progress */
    g_assert_cmpuint(qatomic_read(&poster->done) - done, <=, 1);
}

/* Between the arrival of a request and its reply, no command is sent. */
static void test_held_back(void)
{
    enum { REQUESTS = 100 };
    g_autoptr(Rig) rig = rig_new();
    Caller poster = { .run = caller_post_and_read, .rounds = UINT_MAX };
    unsigned replies = 0;
    bool ended = false;

    rig->opaque = &poster;
    rig->on_request = hold_poster_back;
    rig_send_dma_read(rig, 0, 0, 8);
    caller_start(&poster, rig, 1);
    while (!ended) {
        g_auto(PeerMessage) m = { };

        g_assert_true(peer_recv(rig->peer, &m));
        switch (m.header.command) {
        case VFIO_USER_DMA_READ:
            if (++replies < REQUESTS) {
                rig_send_dma_read(rig, replies, replies, 8);
            } else {
                qatomic_set(&poster.rounds, 0);
            }
            break;
        case VFIO_USER_REGION_READ:
            rig_reply_read(rig, m.header, 1);
            ended = true;
            break;
        default:
            g_assert_cmpuint(m.header.command, ==, VFIO_USER_REGION_WRITE);
        }
    }
    caller_join(&poster);
}

/* Starts the poster, which must wait. */
static void start_poster(Rig *rig)
{
    Caller *poster = rig->opaque;

    caller_start(poster, rig, 1);
    peer_wait_until(qatomic_read(&poster->done) ||
                    (qatomic_read(&poster->tid) &&
                     peer_is_asleep(qatomic_read(&poster->tid))));
    g_assert_cmpuint(qatomic_read(&poster->done), ==, 0);
}

/* A post waits for the end of a request without reply and is then sent. */
static void test_held_back_no_reply(void)
{
    g_autoptr(Rig) rig = rig_new();
    VFIOUserHeader header = {
        .command = VFIO_USER_DMA_READ,
        .flags = VFIO_USER_NO_REPLY,
    };
    VFIOUserDMARW rw = { .count = 8 };

    rig->on_request = start_poster;
    for (int i = 1; i <= 20; i++) {
        Caller poster = { .run = caller_post, .rounds = 1 };

        rig->opaque = &poster;
        peer_send(rig->peer, header, &rw, sizeof(rw), NULL, 0);
        rig_recv_header(rig, VFIO_USER_REGION_WRITE);
        caller_join(&poster);
    }
}

static void *caller_write(void *opaque)
{
    Caller *c = opaque;
    g_autofree uint8_t *data = g_malloc(MiB);

    qatomic_set(&c->tid, qemu_get_thread_id());
    memset(data, c->offset, MiB);
    while (c->ret == 0 && c->done < c->rounds) {
        VFIOUserRegionRW rw = { .offset = c->offset };
        g_auto(VFIOUserCall) call = rig_write_call(&rw, data, MiB);

        c->ret = vfio_user_proxy_call(c->rig->proxy, &call, &c->err);
        qatomic_inc(&c->done);
    }
    return NULL;
}

static VFIOUserHeader recv_large_write(Rig *rig)
{
    g_auto(PeerMessage) m = { };
    VFIOUserRegionRW rw;

    rig_recv(rig, VFIO_USER_REGION_WRITE, &m);
    g_assert_cmpuint(m.size, ==, sizeof(rw) + MiB);
    memcpy(&rw, m.payload, sizeof(rw));
    for (size_t i = 0; i < MiB; i++) {
        g_assert(m.payload[sizeof(rw) + i] == (uint8_t)rw.offset);
    }
    return m.header;
}

/* Messages that are sent in several parts do not mix. */
static void test_writers(void)
{
    enum { THREADS = 4, ROUNDS = 5 };
    g_autoptr(Rig) rig = rig_new();
    Caller callers[THREADS] = { };

    for (int i = 0; i < THREADS; i++) {
        callers[i].run = caller_write;
        callers[i].rounds = ROUNDS;
        caller_start(&callers[i], rig, i);
    }
    for (int i = 0; i < THREADS * ROUNDS; i++) {
        VFIOUserHeader header = recv_large_write(rig);
        VFIOUserRegionRW rw = { };

        rig_reply(rig, header, &rw, sizeof(rw));
    }
    for (int i = 0; i < THREADS; i++) {
        caller_join(&callers[i]);
    }
}

/* Both sides send a megabyte, and the server reads only after it has sent. */
static void test_both_full(void)
{
    g_autofree uint8_t *payload = g_malloc(sizeof(VFIOUserDMARW) + MiB);
    g_autoptr(Rig) rig = rig_new();
    VFIOUserHeader request = { .command = VFIO_USER_DMA_WRITE };
    VFIOUserDMARW rw = { .address = 0x77, .count = MiB };

    memcpy(payload, &rw, sizeof(rw));
    memset(payload + sizeof(rw), rw.address, rw.count);
    for (int round = 0; round < 10; round++) {
        Caller writer = { .run = caller_write, .rounds = 1 };
        VFIOUserRegionRW written = { };
        VFIOUserHeader header;

        caller_start(&writer, rig, round);
        caller_wait_asleep(&writer);
        peer_send(rig->peer, request, payload, sizeof(rw) + MiB, NULL, 0);
        header = recv_large_write(rig);
        rig_recv_header(rig, VFIO_USER_DMA_WRITE);
        rig_reply(rig, header, &written, sizeof(written));
        caller_join(&writer);
    }
}

/* Replies for which there is no room are sent when there is room. */
static void test_queued(void)
{
    enum { REQUESTS = 200 };
    g_autoptr(Rig) rig = rig_new();
    unsigned posts = rig_fill_socket(rig);
    Caller poster = { .run = caller_post, .rounds = 1 };

    for (int i = 0; i < REQUESTS; i++) {
        rig_send_dma_read(rig, i, i, i * 50);
    }
    peer_wait_until(qatomic_read(&rig->requests) == REQUESTS);
    /* a later post waits for its turn */
    caller_start(&poster, rig, 1);
    caller_wait_asleep(&poster);

    rig_recv_posts(rig, posts);
    for (int i = 0; i < REQUESTS; i++) {
        rig_recv_dma_read(rig, i, i, i * 50);
    }
    rig_recv_header(rig, VFIO_USER_REGION_WRITE);
    caller_join(&poster);
    rig_assert_in_sync(rig);
}

/* The same with a caller that is the reader all the time. */
static void test_queued_by_caller(void)
{
    enum { REQUESTS = 200 };
    g_autoptr(Rig) rig = rig_new();
    Caller caller = { };
    VFIOUserHeader header;
    unsigned posts;

    caller_start(&caller, rig, 0x321);
    header = rig_recv_header(rig, VFIO_USER_REGION_READ);
    caller_wait_asleep(&caller);
    posts = rig_fill_socket(rig);
    for (int i = 0; i < REQUESTS; i++) {
        rig_send_dma_read(rig, i, i, i * 50);
    }
    peer_wait_until(qatomic_read(&rig->requests) == REQUESTS);
    rig_recv_posts(rig, posts);
    for (int i = 0; i < REQUESTS; i++) {
        rig_recv_dma_read(rig, i, i, i * 50);
    }
    rig_reply_read(rig, header, 0x321);
    caller_join(&caller);
}

static const RigTest tests[] = {
    { "/vfio-user/requests/receive-thread", test_request },
    { "/vfio-user/requests/write", test_request_write },
    { "/vfio-user/requests/refused", test_request_refused },
    { "/vfio-user/requests/no-reply", test_request_no_reply },
    { "/vfio-user/requests/in-call", test_request_in_call },
    { "/vfio-user/requests/read-ahead", test_read_ahead },
    { "/vfio-user/requests/held-back", test_held_back },
    { "/vfio-user/requests/held-back-no-reply", test_held_back_no_reply },
    { "/vfio-user/requests/writers", test_writers },
    { "/vfio-user/requests/both-full", test_both_full },
    { "/vfio-user/requests/queued", test_queued },
    { "/vfio-user/requests/queued-by-caller", test_queued_by_caller },
};

int main(int argc, char **argv)
{
    rig_init(argc, argv, tests, ARRAY_SIZE(tests));
    return g_test_run();
}
