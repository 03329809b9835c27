/*
 * Scripted vfio-user server: requests to the client
 *
 * A request is sent by a rule, or by a test, which waits for the reply.
 *
 * Threads: the server's thread sends requests and receives replies; the test's
 * thread queues requests and waits.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-server-internal.h"

ServerAsk *ask_new(uint16_t command, const void *payload, size_t length,
                   bool waited_for)
{
    ServerAsk *ask = g_new0(ServerAsk, 1);

    vfio_user_packet_init(&ask->request);
    vfio_user_packet_init(&ask->reply);
    ask->request.header.command = command;
    ask->request.header.size = sizeof(VFIOUserHeader) + length;
    ask->waited_for = waited_for;
    vfio_user_packet_put(&ask->request, payload, length);
    return ask;
}

static void ask_free(ServerAsk *ask)
{
    vfio_user_packet_clear(&ask->request);
    vfio_user_packet_clear(&ask->reply);
    g_free(ask);
}

void ask_finish_locked(VFIOUserServer *s, ServerAsk *ask, int error)
{
    GList *link;

    for (link = s->pending.head; link; link = link->next) {
        ServerPending *pending = link->data;

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

void ask_reply_locked(VFIOUserServer *s, const VFIOUserPacket *reply)
{
    GList *link;

    server_log_locked(s, reply);
    for (link = s->asks.head; link; link = link->next) {
        ServerAsk *ask = link->data;

        if (ask->sent && ask->request.header.id == reply->header.id &&
            ask->request.header.command == reply->header.command) {
            ask->reply.header = reply->header;
            vfio_user_packet_put(&ask->reply, reply->payload->data,
                                 reply->payload->len);
            ask_finish_locked(s, ask, reply->header.flags & VFIO_USER_ERROR ?
                                      vfio_user_errno(reply->header.error) :
                                      0);
            return;
        }
    }
}

bool ask_send(VFIOUserServer *s, ServerAsk *ask)
{
    if (ask->by_device && !vfio_user_device_runs(s->device)) {
        ask_finish_locked(s, ask, ESHUTDOWN);
        return true;
    }
    ask->request.header.id = s->next_id++;
    ask->sent = true;
    return vfio_user_packet_send(s->twin < 0 ? s->conn : s->twin,
                                 &ask->request, UINT64_MAX, UINT64_MAX);
}

static int ask_and_wait(VFIOUserServer *s, ServerAsk *ask, GByteArray **reply)
{
    gint64 deadline = server_deadline();
    int error;

    g_assert_true(vfio_user_device_asks(s->device));
    qemu_mutex_lock(&s->lock);
    g_queue_push_tail(&s->asks, ask);
    server_wake(s);
    while (!ask->done) {
        server_wait_locked(s, deadline, "the client's reply");
    }
    qemu_mutex_unlock(&s->lock);

    error = ask->error;
    if (reply) {
        *reply = g_steal_pointer(&ask->reply.payload);
    }
    ask_free(ask);
    return error;
}

int vfio_user_server_ask(VFIOUserServer *s, uint16_t command,
                         const void *payload, size_t length,
                         GByteArray **reply)
{
    return ask_and_wait(s, ask_new(command, payload, length, true), reply);
}

bool vfio_user_server_asks(VFIOUserServer *s)
{
    bool asks;

    qemu_mutex_lock(&s->lock);
    asks = vfio_user_device_asks(s->device);
    qemu_mutex_unlock(&s->lock);
    return asks;
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

static int dma_write(VFIOUserServer *s, uint64_t address, const void *bytes,
                     size_t count, bool by_device)
{
    VFIOUserDMARW head = { address, count };
    g_autoptr(GByteArray) request = g_byte_array_new();
    g_autoptr(GByteArray) reply = NULL;
    ServerAsk *ask;
    int error;

    g_byte_array_append(request, (void *)&head, sizeof(head));
    g_byte_array_append(request, bytes, count);
    ask = ask_new(VFIO_USER_DMA_WRITE, request->data, request->len, true);
    ask->by_device = by_device;
    error = ask_and_wait(s, ask, &reply);
    if (!error) {
        g_assert_cmpmem(reply->data, reply->len, &head, sizeof(head));
    }
    return error;
}

int vfio_user_server_dma_write(VFIOUserServer *s, uint64_t address,
                               const void *bytes, size_t count)
{
    return dma_write(s, address, bytes, count, false);
}

int vfio_user_server_write_message(VFIOUserServer *s, uint64_t address,
                                   const void *bytes, size_t count)
{
    return dma_write(s, address, bytes, count, true);
}
