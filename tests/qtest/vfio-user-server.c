/*
 * Scripted vfio-user server
 *
 * Connections, the log, and who waits for what.  What an honest answer is,
 * vfio-user-model.c knows; how rules bend it, vfio-user-rules.c.
 *
 * Threads: the server's thread does all input and output on the connection;
 * the test's thread leaves orders under the lock and wakes it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <glib/gstdio.h>

#include "qemu/lockable.h"
#include "qemu/thread.h"
#include "vfio-user-server.h"

/* A request of the server.  Belongs to who waits for it, else to the list. */
typedef struct Ask {
    VFIOUserPacket request;
    VFIOUserPacket reply;
    bool sent;
    bool waited_for;            /* by the test's thread */
    bool done;                  /* by a reply, or by the connection's end */
    int error;
} Ask;

/* An answer on its way out. */
typedef struct Pending {
    VFIOUserAnswer answer;
    Ask *follows;               /* goes out when this is done */
} Pending;

struct VFIOUserServer {
    QemuThread thread;
    char *dir;
    char *path;
    int listen_fd;
    int wake_fd;

    QemuMutex lock;
    /* Protects what follows.  The condition: any of it has changed. */
    QemuCond changed;
    VFIOUserDevice *device;
    GArray *rules;              /* VFIOUserRule */
    GArray *hits;               /* unsigned, how often each rule held */
    GArray *log;                /* VFIOUserSeen */
    GQueue asks;                /* Ask, those not done */
    int conn;                   /* -1: no client; only the thread changes it */
    int twin;                   /* for requests, or -1; likewise */
    pid_t client;
    bool quit;
    bool release;
    bool hang_up;

    /* Only for the server's thread. */
    GQueue pending;             /* Pending */
    bool stalled;
    uint16_t next_id;
};

static void pending_free(Pending *pending)
{
    vfio_user_answer_clear(&pending->answer);
    g_free(pending);
}

static void log_locked(VFIOUserServer *s, const VFIOUserPacket *packet)
{
    vfio_user_log_append(s->log, packet);
    qemu_cond_broadcast(&s->changed);
}

/* Requests of the server */

static Ask *ask_new(uint16_t command, const void *payload, size_t length,
                    bool waited_for)
{
    Ask *ask = g_new0(Ask, 1);

    vfio_user_packet_init(&ask->request);
    vfio_user_packet_init(&ask->reply);
    ask->request.header.command = command;
    ask->request.header.size = sizeof(VFIOUserHeader) + length;
    ask->waited_for = waited_for;
    vfio_user_packet_put(&ask->request, payload, length);
    return ask;
}

static void ask_free(Ask *ask)
{
    vfio_user_packet_clear(&ask->request);
    vfio_user_packet_clear(&ask->reply);
    g_free(ask);
}

static void finish_ask_locked(VFIOUserServer *s, Ask *ask, int error)
{
    GList *link;

    for (link = s->pending.head; link; link = link->next) {
        Pending *pending = link->data;

        if (pending->follows == ask) {
            pending->follows = NULL;
        }
    }
    g_queue_remove(&s->asks, ask);
    ask->error = error;
    ask->done = true;
    if (!ask->waited_for) {
        ask_free(ask);
    }
    qemu_cond_broadcast(&s->changed);
}

/* The client replied to a request of ours. */
static void take_reply_locked(VFIOUserServer *s, const VFIOUserPacket *reply)
{
    GList *link;

    log_locked(s, reply);
    for (link = s->asks.head; link; link = link->next) {
        Ask *ask = link->data;

        if (ask->sent && ask->request.header.id == reply->header.id &&
            ask->request.header.command == reply->header.command) {
            ask->reply.header = reply->header;
            vfio_user_packet_put(&ask->reply, reply->payload->data,
                                 reply->payload->len);
            finish_ask_locked(s, ask, reply->header.flags & VFIO_USER_ERROR ?
                                      vfio_user_errno(reply->header.error) :
                                      0);
            return;
        }
    }
}

static bool send_ask(VFIOUserServer *s, Ask *ask)
{
    ask->request.header.id = s->next_id++;
    ask->sent = true;
    return vfio_user_packet_send(s->twin < 0 ? s->conn : s->twin,
                                 &ask->request, UINT64_MAX, UINT64_MAX);
}

/* Returns the rules that apply to a message, and counts. */
static GArray *applying_locked(VFIOUserServer *s, const VFIOUserPacket *packet)
{
    GArray *found = g_array_new(false, false, sizeof(VFIOUserRule));
    unsigned i;

    for (i = 0; i < s->rules->len; i++) {
        VFIOUserRule *rule = &g_array_index(s->rules, VFIOUserRule, i);
        unsigned *hits = &g_array_index(s->hits, unsigned, i);

        if (vfio_user_when_holds(&rule->when, packet->header.command,
                                 packet->payload->data,
                                 packet->payload->len)) {
            ++*hits;
            if (!rule->when.nth || rule->when.nth == *hits) {
                g_array_append_val(found, *rule);
            }
        }
    }
    return found;
}

/*
 * Does what is done to the server.  Returns false where the connection is to
 * end.
 */
static bool act(VFIOUserServer *s, Pending *pending, const VFIOUserRule *rule)
{
    Ask *ask;

    switch (rule->deed) {
    case DO_SEND:
        return vfio_user_send_bytes(s->conn, rule->data.bytes,
                                    rule->data.size, NULL);
    case DO_ASK:
    case DO_ASK_ALSO:
        ask = ask_new(rule->number, rule->data.bytes, rule->data.size, false);
        if (rule->deed == DO_ASK) {
            pending->follows = ask;
        }
        qemu_mutex_lock(&s->lock);
        g_queue_push_tail(&s->asks, ask);
        qemu_mutex_unlock(&s->lock);
        return send_ask(s, ask);
    case DO_STALL:
        s->stalled = true;
        return true;
    case DO_CONFIG:
        vfio_user_server_poke(s, VFIO_PCI_CONFIG_REGION_INDEX, rule->number,
                              rule->data.bytes, rule->data.size);
        return true;
    default:
        g_assert_not_reached();
    }
}

/* Messages */

/* Sends what nothing holds back.  Returns false where it ends. */
static bool send_pending(VFIOUserServer *s, bool release)
{
    GList *link = s->pending.head;
    bool going = true;

    while (link && going) {
        GList *next = link->next;
        Pending *pending = link->data;

        if (release) {
            pending->answer.held = false;
        }
        if (!pending->answer.held && !pending->follows) {
            g_queue_delete_link(&s->pending, link);
            going = vfio_user_answer_send(s->conn, &pending->answer);
            pending_free(pending);
        }
        link = next;
    }
    return going;
}

/*
 * Applies the rules to an answer, which it takes, and sends it or holds it
 * back.  Returns false where the connection is to end.
 */
static bool give_answer(VFIOUserServer *s, Pending *pending, GArray *rules)
{
    unsigned i;

    g_queue_push_tail(&s->pending, pending);
    for (i = 0; i < rules->len; i++) {
        const VFIOUserRule *rule = &g_array_index(rules, VFIOUserRule, i);

        if (!vfio_user_answer_apply(&pending->answer, rule) &&
            !act(s, pending, rule)) {
            return false;
        }
    }
    return send_pending(s, false);
}

static Pending *answer_locked(VFIOUserServer *s, VFIOUserPacket *request)
{
    Pending *pending = g_new0(Pending, 1);
    int ret;

    vfio_user_answer_init(&pending->answer, &request->header);
    if (request->header.command != VFIO_USER_CONNECT) {
        ret = vfio_user_device_answer(s->device, request,
                                      &pending->answer.packet);
        if (ret < 0) {
            vfio_user_answer_apply(&pending->answer, &(VFIOUserRule) {
                .deed = DO_FAIL, .number = -ret
            });
        }
        log_locked(s, request);
        if (request->header.command == VFIO_USER_VERSION) {
            s->twin = vfio_user_device_take_twin(s->device);
        }
    }
    return pending;
}

static bool serve_packet(VFIOUserServer *s, VFIOUserPacket *request)
{
    uint32_t type = request->header.flags & VFIO_USER_TYPE_MASK;
    g_autoptr(GArray) rules = NULL;
    Pending *pending = NULL;

    qemu_mutex_lock(&s->lock);
    if (type == VFIO_USER_TYPE_REPLY) {
        /* a reply belongs where the request came from */
        g_assert_cmpint(s->twin, <, 0);
        take_reply_locked(s, request);
    } else {
        pending = answer_locked(s, request);
        rules = applying_locked(s, request);
    }
    qemu_mutex_unlock(&s->lock);
    return pending ? give_answer(s, pending, rules) : send_pending(s, false);
}

/* On the twin socket there are only replies. */
static void serve_twin(VFIOUserServer *s)
{
    g_auto(VFIOUserPacket) reply = { };

    vfio_user_packet_init(&reply);
    if (!vfio_user_packet_receive(s->twin, &reply)) {
        close(s->twin);
        s->twin = -1;
        return;
    }
    qemu_mutex_lock(&s->lock);
    g_assert_cmphex(reply.header.flags & VFIO_USER_TYPE_MASK, ==,
                    VFIO_USER_TYPE_REPLY);
    take_reply_locked(s, &reply);
    qemu_mutex_unlock(&s->lock);
}

/* Connections */

static void disconnect(VFIOUserServer *s)
{
    while (!g_queue_is_empty(&s->pending)) {
        pending_free(g_queue_pop_head(&s->pending));
    }
    s->stalled = false;

    qemu_mutex_lock(&s->lock);
    while (!g_queue_is_empty(&s->asks)) {
        finish_ask_locked(s, g_queue_peek_head(&s->asks), ECONNRESET);
    }
    close(s->conn);
    s->conn = -1;
    if (s->twin >= 0) {
        close(s->twin);
        s->twin = -1;
    }
    s->hang_up = false;
    vfio_user_device_disconnect(s->device);
    qemu_cond_broadcast(&s->changed);
    qemu_mutex_unlock(&s->lock);
}

static bool connected(VFIOUserServer *s)
{
    g_auto(VFIOUserPacket) nothing = { };
    const struct timeval patience = {
        .tv_sec = VFIO_USER_SERVER_DEADLINE / G_TIME_SPAN_SECOND,
    };
    struct ucred peer = { 0 };
    socklen_t size = sizeof(peer);
    int conn = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);

    g_assert_cmpint(conn, >=, 0);
    getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    g_assert_cmpint(setsockopt(conn, SOL_SOCKET, SO_SNDTIMEO, &patience,
                               sizeof(patience)), ==, 0);
    qemu_mutex_lock(&s->lock);
    s->conn = conn;
    s->client = peer.pid;
    qemu_cond_broadcast(&s->changed);
    qemu_mutex_unlock(&s->lock);

    vfio_user_packet_init(&nothing);
    nothing.header.command = VFIO_USER_CONNECT;
    return serve_packet(s, &nothing);
}

/* Does what the test's thread ordered.  Returns false where it ends. */
static bool obey(VFIOUserServer *s)
{
    bool going = true;
    bool release;
    uint64_t orders;
    GList *link;

    if (read(s->wake_fd, &orders, sizeof(orders)) < 0) {
        return true;
    }
    qemu_mutex_lock(&s->lock);
    release = s->release;
    s->release = false;
    if (s->conn < 0) {
        while (!g_queue_is_empty(&s->asks)) {
            finish_ask_locked(s, g_queue_peek_head(&s->asks), ECONNRESET);
        }
    } else if (s->hang_up || s->quit) {
        going = false;
    }
    for (link = s->asks.head; link && going; link = link->next) {
        Ask *ask = link->data;

        going = ask->sent || send_ask(s, ask);
    }
    qemu_mutex_unlock(&s->lock);

    if (release) {
        s->stalled = false;
    }
    return going && (s->conn < 0 || send_pending(s, release));
}

static void *server_thread(void *opaque)
{
    VFIOUserServer *s = opaque;
    bool quit = false;

    while (!quit) {
        struct pollfd fds[] = {
            { .fd = s->wake_fd, .events = POLLIN },
            { .fd = s->conn < 0 ? s->listen_fd : s->stalled ? -1 : s->conn,
              .events = POLLIN },
            { .fd = s->twin, .events = POLLIN },
        };
        bool going = true;

        g_assert(poll(fds, ARRAY_SIZE(fds), -1) >= 0 || errno == EINTR);
        if (fds[0].revents) {
            going = obey(s);
        } else if (fds[1].revents && s->conn < 0) {
            going = connected(s);
        } else if (fds[2].revents) {
            serve_twin(s);
            going = send_pending(s, false);
        } else if (fds[1].revents) {
            g_auto(VFIOUserPacket) request = { };

            vfio_user_packet_init(&request);
            going = vfio_user_packet_receive(s->conn, &request) &&
                    serve_packet(s, &request);
        }
        if (!going) {
            disconnect(s);
        }
        qemu_mutex_lock(&s->lock);
        quit = s->quit;
        qemu_mutex_unlock(&s->lock);
    }
    if (s->conn >= 0) {
        disconnect(s);
    }
    return NULL;
}

/* The test's side */

static void wake(VFIOUserServer *s)
{
    const uint64_t one = 1;

    g_assert_cmpint(write(s->wake_fd, &one, sizeof(one)), ==, sizeof(one));
}

/* Waits for a change; fails the test at the deadline. */
static void wait_locked(VFIOUserServer *s, gint64 deadline, const char *what)
{
    gint64 left = deadline - g_get_monotonic_time();

    if (left <= 0 ||
        !qemu_cond_timedwait(&s->changed, &s->lock, left / 1000 + 1)) {
        fprintf(stderr, "# vfio-user server waited in vain for %s; "
                "it saw:\n", what);
        vfio_user_log_print(s->log);
        g_assert_not_reached();
    }
}

static gint64 deadline_from_now(void)
{
    return g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
}

static void set_rules_locked(VFIOUserServer *s, const VFIOUserRule *rules)
{
    g_array_set_size(s->rules, 0);
    while (rules && rules->deed != DO_END) {
        g_array_append_val(s->rules, *rules);
        rules++;
    }
    g_array_set_size(s->hits, 0);
    g_array_set_size(s->hits, s->rules->len);
}

VFIOUserServer *vfio_user_server_new_on(int listen_fd,
                                        const VFIOUserModel *model,
                                        const VFIOUserRule *rules)
{
    VFIOUserServer *s = g_new0(VFIOUserServer, 1);

    s->listen_fd = listen_fd;
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g_assert_cmpint(s->wake_fd, >=, 0);
    qemu_mutex_init(&s->lock);
    qemu_cond_init(&s->changed);
    s->device = vfio_user_device_new(model ?: &vfio_user_model);
    s->rules = g_array_new(false, false, sizeof(VFIOUserRule));
    s->hits = g_array_new(false, true, sizeof(unsigned));
    s->log = vfio_user_log_new();
    s->conn = s->twin = -1;
    set_rules_locked(s, rules);
    qemu_thread_create(&s->thread, "vfio-user-server", server_thread, s,
                       QEMU_THREAD_JOINABLE);
    return s;
}

VFIOUserServer *vfio_user_server_new(const VFIOUserModel *model,
                                     const VFIOUserRule *rules)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    char *dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    VFIOUserServer *s;

    g_assert(dir && fd >= 0);
    g_snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", dir);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(fd, 4), ==, 0);
    s = vfio_user_server_new_on(fd, model, rules);
    s->dir = dir;
    s->path = g_strdup(addr.sun_path);
    return s;
}

void vfio_user_server_free(VFIOUserServer *s)
{
    qemu_mutex_lock(&s->lock);
    s->quit = true;
    if (s->conn >= 0) {
        /* the thread may be in the middle of a message */
        shutdown(s->conn, SHUT_RDWR);
    }
    qemu_mutex_unlock(&s->lock);
    wake(s);
    qemu_thread_join(&s->thread);

    close(s->listen_fd);
    close(s->wake_fd);
    if (s->path) {
        g_unlink(s->path);
        g_rmdir(s->dir);
    }
    vfio_user_device_free(s->device);
    g_array_unref(s->rules);
    g_array_unref(s->hits);
    g_array_unref(s->log);
    qemu_cond_destroy(&s->changed);
    qemu_mutex_destroy(&s->lock);
    g_free(s->path);
    g_free(s->dir);
    g_free(s);
}

const char *vfio_user_server_path(const VFIOUserServer *s)
{
    return s->path;
}

pid_t vfio_user_server_client(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    return s->client;
}

void vfio_user_server_set_rules(VFIOUserServer *s, const VFIOUserRule *rules)
{
    QEMU_LOCK_GUARD(&s->lock);

    set_rules_locked(s, rules);
}

void vfio_user_server_release(VFIOUserServer *s)
{
    qemu_mutex_lock(&s->lock);
    s->release = true;
    qemu_mutex_unlock(&s->lock);
    wake(s);
}

void vfio_user_server_hang_up(VFIOUserServer *s)
{
    gint64 deadline = deadline_from_now();
    QEMU_LOCK_GUARD(&s->lock);

    s->hang_up = s->conn >= 0;
    wake(s);
    while (s->conn >= 0) {
        wait_locked(s, deadline, "the connection's end");
    }
}

void vfio_user_server_hang_up_twin(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    g_assert_cmpint(s->twin, >=, 0);
    g_assert_cmpint(shutdown(s->twin, SHUT_RDWR), ==, 0);
}

void vfio_user_server_wait_client(VFIOUserServer *s, bool there)
{
    gint64 deadline = deadline_from_now();
    QEMU_LOCK_GUARD(&s->lock);

    while ((s->conn >= 0) != there) {
        wait_locked(s, deadline, there ? "a client" : "the client to go");
    }
}

void vfio_user_server_forget(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    g_array_set_size(s->log, 0);
}

unsigned vfio_user_server_count(VFIOUserServer *s, VFIOUserWhen when)
{
    QEMU_LOCK_GUARD(&s->lock);

    return vfio_user_log_count(s->log, &when);
}

VFIOUserSeen vfio_user_server_wait(VFIOUserServer *s, VFIOUserWhen when)
{
    gint64 deadline = deadline_from_now();
    QEMU_LOCK_GUARD(&s->lock);
    const VFIOUserSeen *seen;

    while (!(seen = vfio_user_log_find(s->log, &when))) {
        wait_locked(s, deadline, vfio_user_command_name(when.command));
    }
    return *seen;
}

GArray *vfio_user_server_log(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    return vfio_user_log_copy(s->log);
}

static uint8_t *bytes_locked(VFIOUserServer *s, uint32_t region,
                             uint64_t offset, size_t count)
{
    uint8_t *bytes = vfio_user_device_bytes(s->device, region, offset, count);

    g_assert_nonnull(bytes);
    return bytes;
}

void vfio_user_server_peek(VFIOUserServer *s, uint32_t region,
                           uint64_t offset, void *bytes, size_t count)
{
    QEMU_LOCK_GUARD(&s->lock);

    memcpy(bytes, bytes_locked(s, region, offset, count), count);
}

void vfio_user_server_poke(VFIOUserServer *s, uint32_t region,
                           uint64_t offset, const void *bytes, size_t count)
{
    QEMU_LOCK_GUARD(&s->lock);

    memcpy(bytes_locked(s, region, offset, count), bytes, count);
}

void vfio_user_server_truncate(VFIOUserServer *s, uint32_t region,
                               uint64_t size)
{
    QEMU_LOCK_GUARD(&s->lock);

    vfio_user_device_truncate(s->device, region, size);
}

void vfio_user_server_trigger(VFIOUserServer *s, uint32_t index,
                              uint32_t vector)
{
    gint64 deadline = deadline_from_now();
    QEMU_LOCK_GUARD(&s->lock);

    while (!vfio_user_device_trigger(s->device, index, vector)) {
        wait_locked(s, deadline, "the interrupt's eventfd");
    }
}

int vfio_user_server_eventfd(VFIOUserServer *s, uint32_t index,
                             uint32_t vector)
{
    QEMU_LOCK_GUARD(&s->lock);
    int fd = vfio_user_device_eventfd(s->device, index, vector);

    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

bool vfio_user_server_map(VFIOUserServer *s, uint64_t address,
                          VFIOUserMap *map)
{
    QEMU_LOCK_GUARD(&s->lock);
    const VFIOUserMap *found = vfio_user_device_map(s->device, address);

    if (found) {
        *map = *found;
    }
    return found;
}

unsigned vfio_user_server_maps(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    return vfio_user_device_maps(s->device);
}

bool vfio_user_server_write(VFIOUserServer *s, uint64_t address,
                            const void *bytes, size_t count)
{
    QEMU_LOCK_GUARD(&s->lock);

    return vfio_user_device_write(s->device, address, bytes, count);
}

bool vfio_user_server_runs(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    return vfio_user_device_runs(s->device);
}

int vfio_user_server_ask(VFIOUserServer *s, uint16_t command,
                         const void *payload, size_t length,
                         GByteArray **reply)
{
    gint64 deadline = deadline_from_now();
    Ask *ask = ask_new(command, payload, length, true);
    int error;

    qemu_mutex_lock(&s->lock);
    g_queue_push_tail(&s->asks, ask);
    wake(s);
    while (!ask->done) {
        wait_locked(s, deadline, "the client's reply");
    }
    qemu_mutex_unlock(&s->lock);

    error = ask->error;
    if (reply) {
        *reply = g_steal_pointer(&ask->reply.payload);
    }
    ask_free(ask);
    return error;
}

int vfio_user_server_dma_read(VFIOUserServer *s, uint64_t address,
                              void *bytes, size_t count)
{
    VFIOUserDMARW head = { address, count };
    g_autoptr(GByteArray) reply = NULL;
    int error = vfio_user_server_ask(s, VFIO_USER_DMA_READ, &head,
                                     sizeof(head), &reply);

    if (!error) {
        g_assert_cmpuint(reply->len, ==, sizeof(head) + count);
        g_assert_cmpmem(reply->data, sizeof(head), &head, sizeof(head));
        memcpy(bytes, reply->data + sizeof(head), count);
    }
    return error;
}

int vfio_user_server_dma_write(VFIOUserServer *s, uint64_t address,
                               const void *bytes, size_t count)
{
    VFIOUserDMARW head = { address, count };
    g_autoptr(GByteArray) request = g_byte_array_new();
    g_autoptr(GByteArray) reply = NULL;
    int error;

    g_byte_array_append(request, (void *)&head, sizeof(head));
    g_byte_array_append(request, bytes, count);
    error = vfio_user_server_ask(s, VFIO_USER_DMA_WRITE, request->data,
                                 request->len, &reply);
    if (!error) {
        g_assert_cmpmem(reply->data, reply->len, &head, sizeof(head));
    }
    return error;
}
