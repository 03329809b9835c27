/*
 * vfio-user connection: invalid messages, and unusual but harmless ones
 *
 * A table of messages that violate a rule: each ends the connection, and the
 * error has the message and the rule.  Also unusual but harmless replies, which
 * must not end the connection.  The test itself is the server; descriptors and
 * threads are counted around every test.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "vfio-user-rig.h"

typedef struct Violation {
    const char *name;
    VFIOUserHeader header;      /* .size 0: size of header and payload */
    size_t size;                /* of the payload */
    bool to_call;               /* uses the id of the call in flight */
    bool handshake;
    bool fd;
    const char *rule;
} Violation;

#define COMMAND(c) .header.command = VFIO_USER_##c
#define REPLY .header.flags = VFIO_USER_TYPE_REPLY

static const Violation violations[] = {
    { "command-0", .rule = "no such command" },
    { "command-19", .header.command = VFIO_USER_COMMANDS,
      .rule = "no such command" },
    { "command-65535", .header.command = UINT16_MAX, REPLY, .to_call = true,
      .rule = "no such command" },
    { "type-2", COMMAND(REGION_READ), .header.flags = 2, .size = 16,
      .to_call = true, .rule = "no such type" },
    { "type-15-error", COMMAND(REGION_READ), .to_call = true,
      .header.flags = 15 | VFIO_USER_ERROR, .rule = "no such type" },
    { "size-1", COMMAND(REGION_READ), REPLY, .header.size = 1,
      .rule = "less than the header's" },
    { "size-15", COMMAND(DMA_READ), .header.size = 15,
      .rule = "less than the header's" },

    { "clients-request", COMMAND(REGION_READ), .size = 16,
      .rule = "only the client may send" },
    { "version-request", COMMAND(VERSION), .size = 4,
      .rule = "only the client may send" },
    { "early-request", COMMAND(DMA_READ), .size = 16, .handshake = true,
      .rule = "before the version was negotiated" },
    { "request-short", COMMAND(DMA_READ), .size = 15,
      .rule = "does not fit the command" },
    { "request-long", COMMAND(DMA_READ), .size = 17,
      .rule = "does not fit the command" },
    { "request-data-long", COMMAND(DMA_WRITE),
      .header.size = 16 + 16 + 1 * MiB + 1,
      .rule = "does not fit the command" },
    { "request-endless", COMMAND(DMA_WRITE), .header.size = UINT32_MAX,
      .rule = "does not fit the command" },
    { "request-fd", COMMAND(DMA_READ), .size = 16, .fd = true,
      .rule = "1 descriptors, at most 0 allowed" },

    { "servers-reply", COMMAND(DMA_READ), REPLY, .size = 16,
      .rule = "a command that only the server sends" },
    { "servers-error", COMMAND(DMA_WRITE), .header.flags = VFIO_USER_ERROR,
      .rule = "a command that only the server sends" },
    { "other-command", COMMAND(REGION_WRITE), REPLY, .size = 16,
      .to_call = true, .rule = "reply to REGION_READ names another command" },
    { "other-error", COMMAND(DEVICE_RESET), .to_call = true,
      .header.flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR,
      .rule = "reply to REGION_READ names another command" },
    { "handshake-other", COMMAND(DEVICE_RESET), REPLY, .to_call = true,
      .handshake = true, .rule = "reply to VERSION names another command" },
    { "reply-empty", COMMAND(REGION_READ), REPLY, .to_call = true,
      .rule = "does not fit the reply" },
    { "reply-short", COMMAND(REGION_READ), REPLY, .size = 15, .to_call = true,
      .rule = "does not fit the reply" },
    { "reply-more-than-asked", COMMAND(REGION_READ), REPLY,
      .size = sizeof(ReadReply) + 1, .to_call = true,
      .rule = "does not fit the reply" },
    { "reply-endless", COMMAND(REGION_READ), REPLY,
      .header.size = UINT32_MAX, .to_call = true,
      .rule = "does not fit the reply" },
    { "reply-fd", COMMAND(REGION_READ), REPLY, .size = sizeof(ReadReply),
      .to_call = true, .fd = true, .rule = "1 descriptors, at most 0 allowed" },
    { "version-endless", COMMAND(VERSION), REPLY, .to_call = true,
      .handshake = true, .header.size = 16 + 4 + 64 * KiB + 1,
      .rule = "does not fit the reply" },
    { "error-endless", COMMAND(REGION_READ), .header.size = 0x80000000,
      .header.flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, .to_call = true,
      .rule = "does not fit the reply" },
    { "reply-to-none-short", COMMAND(DEVICE_GET_INFO), REPLY, .size = 8,
      .rule = "does not fit the reply" },
    { "reply-to-none-fd", COMMAND(DEVICE_GET_INFO), REPLY, .size = 16,
      .fd = true, .rule = "1 descriptors, at most 0 allowed" },
};

static void violate(Rig *rig, const Violation *v, uint16_t id)
{
    g_autofree uint8_t *bytes = g_malloc0(sizeof(VFIOUserHeader) + v->size);
    VFIOUserHeader header = v->header;
    int fd = peer_new_fd();

    header.id = v->to_call ? id : 0x4321;
    header.size = header.size ?: sizeof(header) + v->size;
    memcpy(bytes, &header, sizeof(header));
    peer_send_bytes(rig->peer, bytes, sizeof(header) + v->size, &fd, v->fd);
    close(fd);
}

static void test_violation(gconstpointer data)
{
    const Violation *v = data;
    PeerCounts before = peer_counts();
    Rig *rig = v->handshake ? rig_new_down() : rig_new();
    g_autofree char *size = NULL;
    Error *err = NULL;
    Read r = { };

    if (v->handshake) {
        rig_propose(rig, &r.call);
    } else {
        rig_begin(rig, &r, 1, &error_abort);
    }
    violate(rig, v, rig_recv_header(rig, r.call.command).id);
    g_assert_cmpint(vfio_user_proxy_finish(rig->proxy, &r.call, &err), ==,
                    -ECONNRESET);
    vfio_user_call_clear(&r.call);
    size = g_strdup_printf("size %" PRIu32 ",",
                           v->header.size ?: (uint32_t)(16 + v->size));
    g_assert_nonnull(strstr(error_get_pretty(err), "protocol violation"));
    g_assert_nonnull(strstr(error_get_pretty(err), size));
    peer_assert_error(err, v->rule);
    if (v->handshake) {
        g_assert_cmpuint(rig->lost, ==, 0);
    } else {
        rig_assert_lost(rig, v->rule);
    }
    rig_free(rig);
    peer_assert_counts(before);
}

/* Unusual */

static const struct {
    uint32_t flags;
    uint32_t error;
    size_t size;
    bool fd;
    int ret;
} error_replies[] = {
    { VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, EACCES, 0, false, -EACCES },
    { VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, 4095, 0, false, -4095 },
    { VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, 0, 0, false, -EIO },
    { VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, 5000, 0, false, -EIO },
    { VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, UINT32_MAX, 0, false, -EIO },
    { VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, ENOENT, 32, false, -ENOENT },
    { VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, ENOENT, 70000, false, -ENOENT },
    { VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, ENOENT, 32, true, -ENOENT },
    { VFIO_USER_TYPE_COMMAND | VFIO_USER_ERROR, EINVAL, 0, false, -EINVAL },
    { VFIO_USER_TYPE_COMMAND | VFIO_USER_ERROR, 0, 16, false, -EIO },
    /* without the error flag, the error field is ignored */
    { VFIO_USER_TYPE_REPLY, EINVAL, 32, false, 0 },
    { VFIO_USER_TYPE_REPLY | VFIO_USER_NO_REPLY, 0, 32, true, 0 },
};

static void test_error_replies(void)
{
    g_autofree uint8_t *payload = g_malloc0(70000);
    g_autoptr(Rig) rig = rig_new();
    VFIOUserRegionInfo info = { };
    int fd = peer_new_fd();

    for (size_t i = 0; i < ARRAY_SIZE(error_replies); i++) {
        g_auto(VFIOUserCall) call = {
            .command = VFIO_USER_DEVICE_GET_REGION_INFO,
            .head = &info,
            .head_size = sizeof(info),
            .reply_max = sizeof(info),
        };
        VFIOUserHeader header;
        Error *err = NULL;

        /* the largest payload that is dropped, which needs another command */
        if (error_replies[i].size == 70000) {
            call.command = VFIO_USER_REGION_READ;
            call.head_size = sizeof(VFIOUserRegionRW);
        }
        vfio_user_proxy_begin(rig->proxy, &call, &error_abort);
        header = rig_recv_header(rig, call.command);
        header.flags = error_replies[i].flags;
        header.error = error_replies[i].error;
        peer_send(rig->peer, header, payload, error_replies[i].size, &fd,
                  error_replies[i].fd);
        g_assert_cmpint(vfio_user_proxy_finish(rig->proxy, &call, &err), ==,
                        error_replies[i].ret);
        if (error_replies[i].ret) {
            peer_assert_error(err, "the server replied with an error");
        } else {
            g_assert_null(err);
            g_assert_cmpuint(call.reply_size, ==, sizeof(info));
            g_assert_cmpuint(call.reply_nfds, ==, error_replies[i].fd);
        }
    }
    close(fd);
    rig_assert_in_sync(rig);
}

/* Replies to no call are dropped together with their descriptors. */
static void test_unasked(void)
{
    if (g_test_subprocess()) {
        g_autoptr(Rig) rig = rig_new();
        VFIOUserHeader header = { .command = VFIO_USER_DEVICE_GET_REGION_INFO };
        VFIOUserRegionInfo info = { };
        int fd = peer_new_fd();

        header.flags = VFIO_USER_TYPE_REPLY;
        for (int i = 0; i < 1000; i++) {
            header.id = i * 3;
            peer_send(rig->peer, header, &info, sizeof(info), &fd, 1);
        }
        close(fd);
        rig_assert_in_sync(rig);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    /* reported only once */
    g_test_trap_assert_stderr("*reply that matches no call*");
    g_test_trap_assert_stderr_unmatched("*matches no call*matches no call*");
}

/* Some servers reply to posts; that is not reported. */
static void test_answers_posts(void)
{
    if (g_test_subprocess()) {
        g_autoptr(Rig) rig = rig_new();

        for (int i = 0; i < 300; i++) {
            g_auto(PeerMessage) m = { };

            rig_post(rig, i, &error_abort);
            rig_recv(rig, VFIO_USER_REGION_WRITE, &m);
            m.header.flags = VFIO_USER_TYPE_REPLY;
            if (i % 3) {
                m.header.flags |= VFIO_USER_ERROR;
                m.header.error = EINVAL;
            }
            peer_send(rig->peer, m.header, m.payload,
                      i % 3 == 2 ? 0 : sizeof(VFIOUserRegionRW), NULL, 0);
        }
        rig_assert_in_sync(rig);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr_unmatched("*reply*");
}

static const RigTest tests[] = {
    { "/vfio-user/odd/error-replies", test_error_replies },
    { "/vfio-user/odd/unasked-replies", test_unasked },
    { "/vfio-user/odd/answers-posts", test_answers_posts },
};

int main(int argc, char **argv)
{
    rig_init(argc, argv, tests, ARRAY_SIZE(tests));
    for (size_t i = 0; i < ARRAY_SIZE(violations); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/violation/%s",
                                                violations[i].name);

        g_test_add_data_func(path, &violations[i], test_violation);
    }
    return g_test_run();
}
