/*
 * Unit tests of the vfio-user connection: small writes that wait
 *
 * Threads post small writes while nothing can be sent.  The test acts as the
 * server and checks which writes arrive, in how many messages, and how often.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vfio-user-rig.h"

enum { WRITERS = 5 };

typedef struct Writers {
    Caller callers[WRITERS];
} Writers;

static void *write_small(void *opaque)
{
    Caller *c = opaque;
    uint64_t value = rig_value(c->offset);
    VFIOUserRegionRW rw = { .offset = c->offset, .region = 1, .count = 8 };
    VFIOUserWriteMultiEntry entry = {
        .offset = c->offset, .region = 1, .count = 8, .data = value,
    };
    VFIOUserCall call = rig_write_call(&rw, &value, sizeof(value));

    qatomic_set(&c->tid, qemu_get_thread_id());
    c->ret = vfio_user_proxy_post_write(c->rig->proxy, &call, &entry, &c->err);
    return NULL;
}

/* Starts @n writers, which must wait. */
static void writers_start(Writers *w, Rig *rig, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        w->callers[i] = (Caller) { .run = write_small };
        caller_start(&w->callers[i], rig, i + 1);
        caller_wait_asleep(&w->callers[i]);
    }
}

static void writers_join(Writers *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        caller_join(&w->callers[i]);
    }
}

/* Checks that writes are those of the writers, each of them once. */
typedef struct Seen {
    bool offset[WRITERS + 1];
    unsigned n;
} Seen;

static void see(Seen *seen, uint64_t offset, uint64_t data)
{
    g_assert_cmpuint(offset, >, 0);
    g_assert_cmpuint(offset, <=, WRITERS);
    g_assert_false(seen->offset[offset]);
    g_assert_cmphex(data, ==, rig_value(offset));
    seen->offset[offset] = true;
    seen->n++;
}

static void recv_multi(Rig *rig, Seen *seen, unsigned n)
{
    g_auto(PeerMessage) m = { };
    VFIOUserWriteMulti multi;

    rig_recv(rig, VFIO_USER_REGION_WRITE_MULTI, &m);
    g_assert_cmphex(m.header.flags, ==, VFIO_USER_NO_REPLY);
    memcpy(&multi, m.payload, sizeof(multi));
    g_assert_cmpuint(multi.wr_cnt, ==, n);
    g_assert_cmpuint(m.size, ==,
                     sizeof(multi) + n * sizeof(VFIOUserWriteMultiEntry));
    for (unsigned i = 0; i < n; i++) {
        VFIOUserWriteMultiEntry entry;

        memcpy(&entry, m.payload + sizeof(multi) + i * sizeof(entry),
               sizeof(entry));
        g_assert_cmpuint(entry.region, ==, 1);
        g_assert_cmpuint(entry.count, ==, 8);
        see(seen, entry.offset, entry.data);
    }
}

static void recv_single(Rig *rig, Seen *seen)
{
    g_auto(PeerMessage) m = { };
    VFIOUserRegionRW rw;
    uint64_t data;

    rig_recv(rig, VFIO_USER_REGION_WRITE, &m);
    memcpy(&rw, m.payload, sizeof(rw));
    memcpy(&data, m.payload + sizeof(rw), sizeof(data));
    see(seen, rw.offset, data);
}

/* A single write is sent at once. */
static void test_alone(void)
{
    g_autoptr(Rig) rig = rig_new();
    Caller writer = { .run = write_small };
    Seen seen = { };

    caller_start(&writer, rig, 1);
    caller_join(&writer);
    recv_single(rig, &seen);
    rig_assert_in_sync(rig);
}

static void start_all(Rig *rig)
{
    writers_start(rig->opaque, rig, WRITERS);
}

/* During a request all writers wait, and are then sent in one message. */
static void test_held_back(void)
{
    g_autoptr(Rig) rig = rig_new();
    Writers writers;
    Seen seen = { };

    rig->opaque = &writers;
    rig->on_request = start_all;
    rig_send_dma_read(rig, 1, 1, 8);
    rig_recv_dma_read(rig, 1, 1, 8);
    recv_multi(rig, &seen, WRITERS);
    writers_join(&writers, WRITERS);
    rig_assert_in_sync(rig);
}

static void start_one(Rig *rig)
{
    writers_start(rig->opaque, rig, 1);
}

/* A write that waited alone is sent as an ordinary write. */
static void test_one_held_back(void)
{
    g_autoptr(Rig) rig = rig_new();
    Writers writers;
    Seen seen = { };

    rig->opaque = &writers;
    rig->on_request = start_one;
    rig_send_dma_read(rig, 1, 1, 8);
    rig_recv_dma_read(rig, 1, 1, 8);
    recv_single(rig, &seen);
    writers_join(&writers, 1);
}

/* The server does not read: one writer waits for room, the others for it. */
static void test_no_room(void)
{
    g_autoptr(Rig) rig = rig_new();
    unsigned posts = rig_fill_socket(rig);
    Writers writers;
    Seen seen = { };

    writers_start(&writers, rig, WRITERS);
    rig_recv_posts(rig, posts);
    recv_single(rig, &seen);
    recv_multi(rig, &seen, WRITERS - 1);
    writers_join(&writers, WRITERS);
    rig_assert_in_sync(rig);
}

/* Writes that time out are not sent, and no writer hangs. */
static void test_too_late(void)
{
    g_autoptr(Rig) rig = rig_new();
    unsigned posts = rig_fill_socket(rig);
    Writers writers;

    vfio_user_proxy_set_timeout(rig->proxy, 100);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers.callers[i] = (Caller) { .run = write_small };
        caller_start(&writers.callers[i], rig, i + 1);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        caller_join_error(&writers.callers[i], -ETIMEDOUT,
                          "not sent within 100 ms");
    }
    vfio_user_proxy_set_timeout(rig->proxy, PEER_DEADLINE / 1000);
    rig_recv_posts(rig, posts);
    rig_assert_in_sync(rig);
}

/* All writers fail when the connection ends. */
static void test_lost(void)
{
    g_autoptr(Rig) rig = rig_new();
    Writers writers;

    rig_fill_socket(rig);
    writers_start(&writers, rig, WRITERS);
    shutdown(rig->peer, SHUT_RDWR);
    for (unsigned i = 0; i < WRITERS; i++) {
        qemu_thread_join(&writers.callers[i].thread);
        g_assert_cmpint(writers.callers[i].ret, ==, -ECONNRESET);
        error_free(writers.callers[i].err);
    }
}

static void *write_many(void *opaque)
{
    Caller *c = opaque;

    for (unsigned i = 0; i < c->rounds; i++) {
        write_small(c);
        g_assert_cmpint(c->ret, ==, 0);
    }
    return NULL;
}

/* With many concurrent writes, none is lost and none is sent twice. */
static void test_many(void)
{
    enum { ROUNDS = 2000 };
    g_autoptr(Rig) rig = rig_new();
    unsigned times[WRITERS + 1] = { };
    Writers writers;

    for (unsigned i = 0; i < WRITERS; i++) {
        writers.callers[i] = (Caller) { .run = write_many, .rounds = ROUNDS };
        caller_start(&writers.callers[i], rig, i + 1);
    }
    for (unsigned n = 0; n < WRITERS * ROUNDS;) {
        g_auto(PeerMessage) m = { };
        uint64_t offset, count = 1;
        size_t at = 0, step = 0;

        g_assert_true(peer_recv(rig->peer, &m));
        if (m.header.command == VFIO_USER_REGION_WRITE_MULTI) {
            memcpy(&count, m.payload, sizeof(count));
            at = sizeof(count);
            step = sizeof(VFIOUserWriteMultiEntry);
        }
        for (; count; count--, n++, at += step) {
            memcpy(&offset, m.payload + at, sizeof(offset));
            g_assert_cmpuint(offset, <=, WRITERS);
            times[offset]++;
        }
    }
    writers_join(&writers, WRITERS);
    for (unsigned i = 1; i <= WRITERS; i++) {
        g_assert_cmpuint(times[i], ==, ROUNDS);
    }
    rig_assert_in_sync(rig);
}

static const RigTest tests[] = {
    { "/vfio-user/multi/alone", test_alone },
    { "/vfio-user/multi/held-back", test_held_back },
    { "/vfio-user/multi/one-held-back", test_one_held_back },
    { "/vfio-user/multi/no-room", test_no_room },
    { "/vfio-user/multi/too-late", test_too_late },
    { "/vfio-user/multi/lost", test_lost },
    { "/vfio-user/multi/many", test_many },
};

int main(int argc, char **argv)
{
    rig_init(argc, argv, tests, ARRAY_SIZE(tests));
    return g_test_run();
}
