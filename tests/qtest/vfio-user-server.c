/*
 * Scripted vfio-user server
 *
 * Handles connections and the messages on them.  The correct answer comes from
 * vfio-user-model.c, rules modify it in vfio-user-rules.c, and vfio-user-ask.c
 * sends requests of the server.
 *
 * Threads: the server's thread does all I/O on the connection.  The test's
 * thread leaves orders under the lock and wakes it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/socket.h>

#include "vfio-user-server-internal.h"

static void pending_free(ServerPending *pending)
{
    vfio_user_answer_clear(&pending->answer);
    g_free(pending);
}

void server_log_locked(VFIOUserServer *s, const VFIOUserPacket *packet)
{
    vfio_user_log_append(s->log, packet);
    qemu_cond_broadcast(&s->changed);
}

/* Returns the rules that apply to a message, and counts their matches. */
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
 * Performs an action that affects the server.  Returns false if the connection
 * must end.
 */
static bool act(VFIOUserServer *s, ServerPending *pending,
                const VFIOUserRule *rule)
{
    ServerAsk *ask;

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
        return ask_send(s, ask);
    case DO_STALL:
        s->stalled = true;
        return true;
    case DO_DELAY:
        g_usleep(rule->number * G_TIME_SPAN_MILLISECOND);
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

/*
 * Sends all answers that are not held.  Returns false if the connection must
 * end.
 */
static bool send_pending(VFIOUserServer *s, bool release)
{
    GList *link = s->pending.head;
    bool going = true;

    while (link && going) {
        GList *next = link->next;
        ServerPending *pending = link->data;

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
 * Applies the rules to an answer and sends or holds it.  Takes ownership of
 * @pending.  Returns false if the connection must end.
 */
static bool give_answer(VFIOUserServer *s, ServerPending *pending,
                        GArray *rules)
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

static void record_locked(VFIOUserServer *s, const VFIOUserAnswer *answer)
{
    const GByteArray *payload = answer->packet.payload;
    bool is_error = answer->packet.header.flags & VFIO_USER_ERROR;

    if (s->answers) {
        g_ptr_array_add(s->answers, answer->dropped || is_error ? NULL :
                        g_bytes_new(payload->data, payload->len));
    }
}

static ServerPending *answer_locked(VFIOUserServer *s, VFIOUserPacket *request)
{
    ServerPending *pending = g_new0(ServerPending, 1);
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
        server_log_locked(s, request);
        record_locked(s, &pending->answer);
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
    ServerPending *pending = NULL;

    qemu_mutex_lock(&s->lock);
    if (type == VFIO_USER_TYPE_REPLY) {
        /* replies arrive on the socket that carried the request */
        if (s->twin < 0) {
            ask_reply_locked(s, request);
        }
    } else {
        pending = answer_locked(s, request);
        rules = applying_locked(s, request);
    }
    qemu_mutex_unlock(&s->lock);
    return pending ? give_answer(s, pending, rules) : send_pending(s, false);
}

/*
 * A server that does not drain the payload of requests it refuses reads the
 * next header with a single recv(), even if that returns less than a header.
 * Returns whether the next message was handled this way; *going is what
 * serve_packet() would return.
 */
static bool refuse_undrained(VFIOUserServer *s, bool *going)
{
    g_auto(VFIOUserPacket) packet = { };
    VFIOUserHeader *header = &packet.header;
    ssize_t n;

    vfio_user_packet_init(&packet);
    n = recv(s->conn, header, sizeof(*header), MSG_PEEK);
    if (n <= 0 || vfio_user_device_drains(s->device, header->command)) {
        return false;
    }
    g_assert_cmpint(recv(s->conn, header, n, 0), ==, n);
    qemu_mutex_lock(&s->lock);
    server_log_locked(s, &packet);
    qemu_mutex_unlock(&s->lock);
    *header = (VFIOUserHeader) {
        .id = header->id,
        .command = header->command,
        .size = sizeof(*header),
        .flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR,
    };
    *going = vfio_user_packet_send(s->conn, &packet, UINT64_MAX, UINT64_MAX);
    return true;
}

/*
 * Answers a request whose body was not read with EINVAL, as libvfio-user does.
 */
static bool refuse_unread(VFIOUserServer *s, const VFIOUserHeader *request)
{
    VFIOUserAnswer answer;
    bool going;

    vfio_user_answer_init(&answer, request);
    vfio_user_answer_apply(&answer, &(VFIOUserRule) {
        .deed = DO_FAIL, .number = EINVAL
    });
    going = vfio_user_answer_send(s->conn, &answer);
    vfio_user_answer_clear(&answer);
    return going;
}

static bool serve_once(VFIOUserServer *s, VFIOUserPacket *request)
{
    bool asks;

    qemu_mutex_lock(&s->lock);
    asks = !g_queue_is_empty(&s->asks);
    qemu_mutex_unlock(&s->lock);
    switch (vfio_user_packet_receive_once(s->conn, request, asks)) {
    case VFIO_USER_WHOLE:
        return serve_packet(s, request);
    case VFIO_USER_UNREADABLE:
        return refuse_unread(s, &request->header);
    default:
        return false;
    }
}

/* Serves the next message.  Returns false if the connection must end. */
static bool serve_next(VFIOUserServer *s)
{
    g_auto(VFIOUserPacket) request = { };
    bool going;

    if (refuse_undrained(s, &going)) {
        return going;
    }
    vfio_user_packet_init(&request);
    if (vfio_user_device_reads_once(s->device)) {
        return serve_once(s, &request);
    }
    return vfio_user_packet_receive(s->conn, &request) &&
           serve_packet(s, &request);
}

/* Serves the twin socket, on which only replies arrive. */
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
    ask_reply_locked(s, &reply);
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
        ask_finish_locked(s, g_queue_peek_head(&s->asks), ECONNRESET);
    }
    close(s->conn);
    s->conn = -1;
    if (s->twin >= 0) {
        close(s->twin);
        s->twin = -1;
    }
    s->hang_up = false;
    s->ended++;
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

/*
 * Performs the orders of the test's thread.  Returns false if the connection
 * must end.
 */
static bool perform_orders(VFIOUserServer *s)
{
    bool going = true;
    bool release;
    uint64_t orders;
    GList *link, *next;

    if (read(s->wake_fd, &orders, sizeof(orders)) < 0) {
        return true;
    }
    qemu_mutex_lock(&s->lock);
    release = s->release;
    s->release = false;
    if (s->conn < 0) {
        while (!g_queue_is_empty(&s->asks)) {
            ask_finish_locked(s, g_queue_peek_head(&s->asks), ECONNRESET);
        }
    } else if (s->hang_up || s->quit) {
        going = false;
    }
    for (link = s->asks.head; link && going; link = next) {
        ServerAsk *ask = link->data;

        next = link->next;
        going = ask->sent || ask_send(s, ask);
    }
    qemu_mutex_unlock(&s->lock);

    if (release) {
        s->stalled = false;
    }
    return going && (s->conn < 0 || send_pending(s, release));
}

void *server_thread(void *opaque)
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
            going = perform_orders(s);
        } else if (fds[1].revents && s->conn < 0) {
            going = connected(s);
        } else if (fds[2].revents) {
            serve_twin(s);
            going = send_pending(s, false);
        } else if (fds[1].revents) {
            going = serve_next(s);
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
