/*
 * A vfio-user proxy and its peer, for unit tests
 *
 * One struct with the connection under test, the server's end of it and what
 * the callbacks saw; calls that read a register whose value depends on its
 * offset; and threads that make such calls.  The test itself acts as the
 * server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_UNIT_VFIO_USER_RIG_H
#define TESTS_UNIT_VFIO_USER_RIG_H

#include "io/channel-socket.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/vfio/user/proxy.h"
#include "vfio-user-peer.h"

#define RIG_NAME "/rig"

typedef struct Rig Rig;

struct Rig {
    VFIOUserProxy *proxy;
    int peer;                   /* the server's end */

    /* Written by the thread that reads the connection; read atomically. */
    unsigned requests;
    int request_tid;            /* thread that served the last request */
    unsigned failed;            /* failed notifies */
    unsigned lost;
    char *cause;

    /* Called at the start of a request, if set. */
    void (*on_request)(Rig *rig);
    /* Replies to requests in place of the rig, if set. */
    void (*serve)(Rig *rig, const VFIOUserMessage *msg);
    void *opaque;
};

/* The server's requests; the data at an address depend on the address. */

static inline void rig_serve_dma(Rig *rig, const VFIOUserMessage *msg)
{
    g_autofree uint8_t *data = NULL;
    struct iovec iov;
    VFIOUserDMARW rw;

    memcpy(&rw, msg->payload, sizeof(rw));
    if (msg->header.command == VFIO_USER_DMA_WRITE) {
        g_assert_cmpuint(rw.count, ==, msg->size - sizeof(rw));
        for (uint64_t i = 0; i < rw.count; i++) {
            g_assert(msg->payload[sizeof(rw) + i] == (uint8_t)rw.address);
        }
        vfio_user_proxy_reply(rig->proxy, &msg->header, &rw, sizeof(rw),
                              NULL, 0);
        return;
    }
    data = g_malloc(rw.count + 1);      /* not NULL even if count is 0 */
    memset(data, rw.address, rw.count);
    iov = (struct iovec) { data, rw.count };
    vfio_user_proxy_reply(rig->proxy, &msg->header, &rw, sizeof(rw), &iov, 1);
}

static void rig_request(void *opaque, VFIOUserProxy *proxy,
                        const VFIOUserMessage *msg)
{
    Rig *rig = opaque;

    qatomic_set(&rig->request_tid, qemu_get_thread_id());
    if (rig->on_request) {
        rig->on_request(rig);
    }
    if (rig->serve) {
        rig->serve(rig, msg);
    } else if (msg->header.id == UINT16_MAX) {
        vfio_user_proxy_reply_error(proxy, &msg->header, EFAULT);
    } else {
        rig_serve_dma(rig, msg);
    }
    qatomic_inc(&rig->requests);
}

static void rig_lost(void *opaque, const char *cause)
{
    Rig *rig = opaque;

    rig->cause = g_strdup(cause);
    qatomic_inc(&rig->lost);
}

static void rig_failed(void *opaque, Error *err)
{
    Rig *rig = opaque;

    error_report_err(err);
    qatomic_inc(&rig->failed);
}

static const VFIOUserProxyOps rig_ops = {
    .request = rig_request,
    .failed = rig_failed,
    .lost = rig_lost,
};

/* Calls */

typedef struct Read {
    VFIOUserCall call;
    VFIOUserRegionRW rw;
} Read;

typedef struct QEMU_PACKED ReadReply {
    VFIOUserRegionRW rw;
    uint64_t value;
} ReadReply;

static inline uint64_t rig_value(uint64_t offset)
{
    return offset * 0x9e3779b97f4a7c15ull + 1;
}

static inline int rig_begin(Rig *rig, Read *r, uint64_t offset, Error **errp)
{
    *r = (Read) {
        .rw = { .offset = offset, .region = 1, .count = 8 },
        .call = {
            .command = VFIO_USER_REGION_READ,
            .head = &r->rw,
            .head_size = sizeof(r->rw),
            .reply_max = sizeof(ReadReply),
        },
    };
    return vfio_user_proxy_begin(rig->proxy, &r->call, errp);
}

/* Finishes @r; if that succeeds, the value must match the offset. */
static inline int rig_finish(Rig *rig, Read *r, Error **errp)
{
    int ret = vfio_user_proxy_finish(rig->proxy, &r->call, errp);
    ReadReply reply;

    if (ret == 0) {
        g_assert_cmpuint(r->call.reply_size, ==, sizeof(reply));
        g_assert_cmpuint(r->call.reply_nfds, ==, 0);
        memcpy(&reply, r->call.reply, sizeof(reply));
        g_assert_cmphex(reply.rw.offset, ==, r->rw.offset);
        g_assert_cmphex(reply.value, ==, rig_value(r->rw.offset));
    }
    vfio_user_call_clear(&r->call);
    return ret;
}

static inline int rig_read(Rig *rig, uint64_t offset, Error **errp)
{
    Read r;
    int ret = rig_begin(rig, &r, offset, errp);

    if (ret < 0) {
        vfio_user_call_clear(&r.call);      /* it may have an early reply */
        return ret;
    }
    return rig_finish(rig, &r, errp);
}

static inline VFIOUserCall rig_write_call(VFIOUserRegionRW *rw,
                                          const void *data, uint32_t size)
{
    rw->region = 2;
    rw->count = size;
    return (VFIOUserCall) {
        .command = VFIO_USER_REGION_WRITE,
        .head = rw,
        .head_size = sizeof(*rw),
        .data = data,
        .data_size = size,
        .reply_max = sizeof(*rw),
    };
}

/* Posts a write of 8 bytes, whose value is @offset. */
static inline int rig_post(Rig *rig, uint64_t offset, Error **errp)
{
    VFIOUserRegionRW rw = { .offset = offset };
    VFIOUserCall call = rig_write_call(&rw, &offset, sizeof(offset));

    return vfio_user_proxy_post(rig->proxy, &call, errp);
}

/* The server's part */

static inline void rig_recv(Rig *rig, VFIOUserCommand command, PeerMessage *m)
{
    g_assert_true(peer_recv(rig->peer, m));
    g_assert_cmpuint(m->header.command, ==, command);
}

/* Receives a request; returns its header. */
static inline VFIOUserHeader rig_recv_header(Rig *rig, VFIOUserCommand command)
{
    g_auto(PeerMessage) m = { };

    rig_recv(rig, command, &m);
    return m.header;
}

static inline void rig_reply(Rig *rig, VFIOUserHeader header,
                             const void *payload, size_t size)
{
    header.flags = VFIO_USER_TYPE_REPLY;
    peer_send(rig->peer, header, payload, size, NULL, 0);
}

static inline void rig_reply_read(Rig *rig, VFIOUserHeader header,
                                  uint64_t offset)
{
    ReadReply reply = {
        .rw = { .offset = offset, .region = 1, .count = 8 },
        .value = rig_value(offset),
    };

    rig_reply(rig, header, &reply, sizeof(reply));
}

/* Receives a read and replies to it. */
static inline void rig_answer_read(Rig *rig)
{
    g_auto(PeerMessage) m = { };
    VFIOUserRegionRW rw;

    rig_recv(rig, VFIO_USER_REGION_READ, &m);
    memcpy(&rw, m.payload, sizeof(rw));
    rig_reply_read(rig, m.header, rw.offset);
}

static inline void rig_send_dma_read(Rig *rig, uint16_t id, uint64_t address,
                                     uint64_t count)
{
    VFIOUserHeader header = { .id = id, .command = VFIO_USER_DMA_READ };
    VFIOUserDMARW rw = { .address = address, .count = count };

    peer_send(rig->peer, header, &rw, sizeof(rw), NULL, 0);
}

static inline void rig_recv_dma_read(Rig *rig, uint16_t id, uint64_t address,
                                     uint64_t count)
{
    g_auto(PeerMessage) m = { };

    rig_recv(rig, VFIO_USER_DMA_READ, &m);
    g_assert_cmphex(m.header.flags, ==, VFIO_USER_TYPE_REPLY);
    g_assert_cmpuint(m.header.id, ==, id);
    g_assert_cmpuint(m.size, ==, sizeof(VFIOUserDMARW) + count);
    for (uint64_t i = 0; i < count; i++) {
        g_assert(m.payload[sizeof(VFIOUserDMARW) + i] == (uint8_t)address);
    }
}

static inline uint64_t rig_stat(Rig *rig, size_t offset)
{
    VFIOUserProxyStats stats;

    vfio_user_proxy_get_stats(rig->proxy, &stats);
    return *(uint64_t *)((char *)&stats + offset);
}
#define RIG_STAT(rig, field) rig_stat(rig, offsetof(VFIOUserProxyStats, field))

/* Fills the socket with posts; returns the number of posts. */
static inline unsigned rig_fill_socket(Rig *rig)
{
    Error *err = NULL;
    unsigned n = 0;

    vfio_user_proxy_set_timeout(rig->proxy, 20);
    while (rig_post(rig, n, &err) == 0) {
        n++;
    }
    peer_assert_error(err, "not sent within 20 ms");
    vfio_user_proxy_set_timeout(rig->proxy, PEER_DEADLINE / 1000);
    return n;
}

static inline void rig_recv_posts(Rig *rig, unsigned n)
{
    while (n--) {
        rig_recv_header(rig, VFIO_USER_REGION_WRITE);
    }
}

/* Creation and destruction */

/* Returns a rig in state DOWN. */
static inline Rig *rig_new_down(void)
{
    g_autoptr(QIOChannelSocket) ioc = NULL;
    Rig *rig = g_new0(Rig, 1);
    int fd;

    peer_socketpair(&fd, &rig->peer);
    ioc = qio_channel_socket_new_fd(fd, &error_abort);
    rig->proxy = vfio_user_proxy_new(ioc, RIG_NAME, &rig_ops, rig,
                                     &error_abort);
    vfio_user_proxy_set_timeout(rig->proxy, PEER_DEADLINE / 1000);
    return rig;
}

/* Sends VERSION; the server must reply. */
static inline void rig_propose(Rig *rig, VFIOUserCall *call)
{
    static const VFIOUserVersion version = { 0, 1 };

    *call = (VFIOUserCall) {
        .command = VFIO_USER_VERSION,
        .head = &version,
        .head_size = sizeof(version),
        .reply_max = sizeof(version) + VFIO_USER_MAX_VERSION_DATA,
    };
    vfio_user_proxy_begin(rig->proxy, call, &error_abort);
}

static inline Rig *rig_new(void)
{
    static const VFIOUserVersion version = { 0, 1 };
    g_auto(VFIOUserCall) call = { };
    Rig *rig = rig_new_down();

    rig_propose(rig, &call);
    rig_reply(rig, rig_recv_header(rig, VFIO_USER_VERSION), &version,
              sizeof(version));
    vfio_user_proxy_finish(rig->proxy, &call, &error_abort);
    vfio_user_proxy_up(rig->proxy, 1 * MiB, true);
    g_assert_cmpint(vfio_user_proxy_state(rig->proxy), ==, VFIO_USER_UP);
    return rig;
}

static inline void rig_hang_up(Rig *rig)
{
    close(rig->peer);
    rig->peer = -1;
}

static inline void rig_free(Rig *rig)
{
    vfio_user_proxy_close(rig->proxy);
    /* the main loop may still run a callback of the proxy */
    peer_wait_until(qatomic_load_acquire(&OBJECT(rig->proxy)->ref) == 1);
    object_unref(OBJECT(rig->proxy));
    if (rig->peer >= 0) {
        close(rig->peer);
    }
    g_free(rig->cause);
    g_free(rig);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Rig, rig_free)

/* Does a normal read, to check that messages are still in sync. */
static inline void rig_assert_in_sync(Rig *rig)
{
    Read r;

    g_assert_cmpint(vfio_user_proxy_state(rig->proxy), ==, VFIO_USER_UP);
    rig_begin(rig, &r, 0x51c, &error_abort);
    rig_answer_read(rig);
    rig_finish(rig, &r, &error_abort);
    g_assert_cmpint(qatomic_read(&rig->lost), ==, 0);
}

/* Checks that the loss was reported once, and that the cause has @part. */
static inline void rig_assert_lost(Rig *rig, const char *part)
{
    Error *err = NULL;

    peer_wait_until(qatomic_load_acquire(&rig->lost));
    g_assert_cmpuint(rig->lost, ==, 1);
    g_assert_cmpint(vfio_user_proxy_state(rig->proxy), ==, VFIO_USER_LOST);
    g_test_message("%s", rig->cause);
    g_assert_nonnull(strstr(rig->cause, part));

    /* later calls fail at once with the same message */
    g_assert_cmpint(rig_read(rig, 0, &err), ==, -ECONNRESET);
    peer_assert_error(err, rig->cause);
    err = NULL;
    g_assert_cmpint(rig_post(rig, 0, &err), ==, -ECONNRESET);
    peer_assert_error(err, rig->cause);
    g_assert_cmpuint(rig->lost, ==, 1);
}

/* Threads that call */

typedef struct Caller {
    Rig *rig;
    void *(*run)(void *caller); /* default: reads @rounds times, 1 if 0 */
    uint64_t offset;
    unsigned rounds;

    QemuThread thread;
    int tid;
    unsigned done;              /* rounds */
    int ret;                    /* of the last round */
    Error *err;
} Caller;

static void *caller_read(void *opaque)
{
    Caller *c = opaque;

    qatomic_set(&c->tid, qemu_get_thread_id());
    do {
        c->ret = rig_read(c->rig, c->offset + c->done, &c->err);
        qatomic_inc(&c->done);
    } while (c->ret == 0 && c->done < c->rounds);
    return NULL;
}

/* Posts @rounds times; @rounds may change in the meantime. */
static inline void *caller_post(void *opaque)
{
    Caller *c = opaque;

    qatomic_set(&c->tid, qemu_get_thread_id());
    while (c->ret == 0 && c->done < qatomic_read(&c->rounds)) {
        c->ret = rig_post(c->rig, c->offset, &c->err);
        qatomic_inc(&c->done);
    }
    return NULL;
}

static inline void caller_start(Caller *c, Rig *rig, uint64_t offset)
{
    c->rig = rig;
    c->offset = offset;
    qemu_thread_create(&c->thread, "caller", c->run ?: caller_read, c,
                       QEMU_THREAD_JOINABLE);
}

static inline void caller_wait_asleep(Caller *c)
{
    peer_wait_until(qatomic_read(&c->tid) &&
                    peer_is_asleep(qatomic_read(&c->tid)));
}

/* Joins the thread and checks that it succeeded. */
static inline void caller_join(Caller *c)
{
    qemu_thread_join(&c->thread);
    if (c->err) {
        error_report_err(c->err);
    }
    g_assert_cmpint(c->ret, ==, 0);
}

/* Joins the thread and checks that it failed with @ret and @part. */
static inline void caller_join_error(Caller *c, int ret, const char *part)
{
    qemu_thread_join(&c->thread);
    g_assert_cmpint(c->ret, ==, ret);
    peer_assert_error(c->err, part);
}

/* Tests */

typedef struct RigTest {
    const char *path;
    void (*test)(void);
} RigTest;

static void rig_run_test(gconstpointer data)
{
    const RigTest *t = data;
    PeerCounts before = peer_counts();

    t->test();
    peer_assert_counts(before);
}

/* The program's main loop, which runs callbacks as they are scheduled. */
static void *rig_main_loop(void *opaque)
{
    for (;;) {
        g_main_context_iteration(NULL, true);
    }
    return NULL;
}

static void rig_start_main_loop(void)
{
    QemuThread thread;

    g_source_attach(iohandler_get_g_source(), NULL);
    qemu_thread_create(&thread, "main-loop", rig_main_loop, NULL,
                       QEMU_THREAD_DETACHED);
}

static inline void rig_init(int argc, char **argv, const RigTest *tests,
                            size_t n)
{
    module_call_init(MODULE_INIT_QOM);
    signal(SIGPIPE, SIG_IGN);
    rcu_disable_atfork();       /* GLib's subprocess tests fork and exec */
    /* the client's reports go to the log, except in such a subprocess */
    g_setenv("QTEST_SILENT_ERRORS", "1", false);
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < n; i++) {
        g_test_add_data_func(tests[i].path, &tests[i], rig_run_test);
    }
    rig_start_main_loop();
}

#endif /* TESTS_UNIT_VFIO_USER_RIG_H */
