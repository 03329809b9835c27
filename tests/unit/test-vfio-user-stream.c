/*
 * vfio-user byte stream
 *
 * Bytes and descriptors split at every place where a socket may split them.
 * The other end is in the same thread, so nothing waits.  Descriptors are
 * counted around every test.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "io/channel-socket.h"
#include "hw/vfio/user/stream.h"
#include "vfio-user-peer.h"

typedef struct Pair {
    VFIOUserStream *stream;
    int peer;
} Pair;

static Pair pair_new(void)
{
    g_autoptr(QIOChannelSocket) ioc = NULL;
    Pair pair;
    int fd;

    peer_socketpair(&fd, &pair.peer);
    ioc = qio_channel_socket_new_fd(fd, &error_abort);
    pair.stream = vfio_user_stream_new(ioc);
    return pair;
}

static void pair_hang_up(Pair *pair)
{
    close(pair->peer);
    pair->peer = -1;
}

static void pair_free(Pair *pair)
{
    vfio_user_stream_free(pair->stream);
    if (pair->peer >= 0) {
        close(pair->peer);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pair, pair_free)

/* Appends a message of @size bytes with the header; its bytes depend on @id. */
static void append_message(GByteArray *bytes, uint16_t id, uint32_t size)
{
    VFIOUserHeader header = {
        .id = id,
        .command = VFIO_USER_REGION_READ,
        .size = size,
        .flags = VFIO_USER_TYPE_REPLY,
    };
    size_t start = bytes->len;

    g_byte_array_set_size(bytes, start + size);
    memcpy(bytes->data + start, &header, sizeof(header));
    for (size_t i = sizeof(header); i < size; i++) {
        bytes->data[start + i] = id + i * 7;
    }
}

static void assert_message(const VFIOUserMessage *msg, uint16_t id,
                           uint32_t size)
{
    g_assert_cmpuint(msg->header.id, ==, id);
    g_assert_cmpuint(msg->header.size, ==, size);
    g_assert_cmpuint(msg->size, ==, size - sizeof(msg->header));
    for (size_t i = 0; i < msg->size; i++) {
        if (msg->payload[i] != (uint8_t)(id + (i + sizeof(msg->header)) * 7)) {
            g_error("message %u differs at byte %zu of its payload", id, i);
        }
    }
}

static void take(Pair *pair, uint16_t id, uint32_t size, size_t nfds)
{
    g_auto(VFIOUserMessage) msg = { };

    g_assert_cmpint(vfio_user_stream_take(pair->stream, &msg, &error_abort),
                    ==, 1);
    assert_message(&msg, id, size);
    g_assert_cmpuint(msg.nfds, ==, nfds);
}

static void assert_empty(Pair *pair)
{
    VFIOUserHeader header;

    g_assert_cmpint(vfio_user_stream_peek(pair->stream, &header,
                                          &error_abort), ==, 0);
}

/* Descriptors at every boundary */

static const uint32_t sizes[] = { 16, 17, 40, 16 };

/*
 * Sends four messages with a descriptor at byte @at.  The bytes of a message
 * before the descriptor and those from it on are sent at once.  With @one_byte,
 * all bytes are sent one by one, with an attempt to take a message after each.
 */
static void descriptor_at(size_t at, bool one_byte)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_auto(Pair) pair = pair_new();
    int fd = peer_new_fd();
    ino_t inode = peer_inode(fd);
    size_t sent = 0, taken = 0, end = 0;

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        append_message(bytes, i, sizes[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        bool has_fd;

        has_fd = at >= end && at < end + sizes[i];
        end += sizes[i];
        while (sent < end) {
            size_t len = one_byte ? 1 : (sent < at && has_fd ? at : end) - sent;
            g_auto(VFIOUserMessage) msg = { };

            peer_send_bytes(pair.peer, bytes->data + sent, len, &fd,
                            sent == at);
            sent += len;
            if (!one_byte) {
                continue;
            }
            g_assert_cmpint(vfio_user_stream_take(pair.stream, &msg,
                                                  &error_abort),
                            ==, sent == end);
            if (sent == end) {
                taken++;
                assert_message(&msg, i, sizes[i]);
                g_assert_cmpuint(msg.nfds, ==, has_fd);
                g_assert(!has_fd || peer_inode(msg.fds[0]) == inode);
            }
        }
    }
    for (end = 0; taken < ARRAY_SIZE(sizes); taken++) {
        bool has_fd = at >= end && at < end + sizes[taken];

        end += sizes[taken];
        take(&pair, taken, sizes[taken], has_fd);
    }
    assert_empty(&pair);
    close(fd);
}

static size_t total_size(void)
{
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        n += sizes[i];
    }
    return n;
}

static void test_one_byte(void)
{
    for (size_t at = 0; at < total_size(); at++) {
        descriptor_at(at, true);
    }
}

static void test_boundaries(void)
{
    for (size_t at = 0; at < total_size(); at++) {
        descriptor_at(at, false);
    }
}

/* Two messages with the maximum of descriptors arrive before the first read. */
static void test_back_to_back(void)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_auto(Pair) pair = pair_new();
    int fds[2][VFIO_USER_MAX_FDS];

    append_message(bytes, 0, 48);
    for (int m = 0; m < 2; m++) {
        for (int i = 0; i < VFIO_USER_MAX_FDS; i++) {
            fds[m][i] = peer_new_fd();
        }
    }
    /* the first has its descriptors with the header, the second in parts */
    peer_send_bytes(pair.peer, bytes->data, 16, fds[0], VFIO_USER_MAX_FDS);
    peer_send_bytes(pair.peer, bytes->data + 16, 32, NULL, 0);
    peer_send_bytes(pair.peer, bytes->data, 1, fds[1], 1);
    peer_send_bytes(pair.peer, bytes->data + 1, 30, fds[1] + 1, 10);
    peer_send_bytes(pair.peer, bytes->data + 31, 17, fds[1] + 11, 5);

    for (int m = 0; m < 2; m++) {
        g_auto(VFIOUserMessage) msg = { };

        g_assert_cmpint(vfio_user_stream_take(pair.stream, &msg,
                                              &error_abort), ==, 1);
        assert_message(&msg, 0, 48);
        g_assert_cmpuint(msg.nfds, ==, VFIO_USER_MAX_FDS);
        for (int i = 0; i < VFIO_USER_MAX_FDS; i++) {
            g_assert_cmpuint(peer_inode(msg.fds[i]), ==,
                             peer_inode(fds[m][i]));
        }
        vfio_user_close_fds(fds[m], VFIO_USER_MAX_FDS);
    }
    assert_empty(&pair);
}

/* Too many descriptors, in one or several parts; none of them is kept. */
static void test_too_many(void)
{
    static const size_t parts[][4] = {
        { 16, 1 }, { 8, 9 }, { 16, 16 }, { 16, 16, 1 }, { 16, 16, 16, 16 },
        { 17 }, { 33 }, { 64 },
    };
    int fd = peer_new_fd();
    int fds[64];

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = fd;
    }
    for (size_t row = 0; row < ARRAY_SIZE(parts); row++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        g_auto(Pair) pair = pair_new();
        g_auto(VFIOUserMessage) msg = { };
        Error *err = NULL;

        append_message(bytes, row, 64);
        for (size_t i = 0; i < 4; i++) {
            peer_send_bytes(pair.peer, bytes->data + 16 * i, 16, fds,
                            parts[row][i]);
        }
        g_assert_cmpint(vfio_user_stream_take(pair.stream, &msg, &err), ==,
                        -EPROTO);
        peer_assert_error(err, "more than 16 descriptors");
        g_assert_cmpuint(msg.nfds, ==, 0);
    }
    close(fd);
}

/* Descriptors that nobody took are closed; those that were stolen are not. */
static void test_fds_not_taken(void)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_auto(Pair) pair = pair_new();
    int fds[] = { peer_new_fd(), peer_new_fd() };
    VFIOUserMessage msg;
    int stolen;

    /* the flags of the sender's files must not change */
    g_assert_cmpint(fcntl(fds[1], F_SETFL, O_NONBLOCK), ==, 0);
    append_message(bytes, 1, 20);
    append_message(bytes, 2, 20);
    append_message(bytes, 3, 20);
    peer_send_bytes(pair.peer, bytes->data, 20, fds, 2);
    peer_send_bytes(pair.peer, bytes->data + 20, 20, fds, 2);
    peer_send_bytes(pair.peer, bytes->data + 40, 19, fds, 2);

    g_assert_cmpint(vfio_user_stream_take(pair.stream, &msg, &error_abort),
                    ==, 1);
    g_assert_cmpuint(msg.nfds, ==, 2);
    stolen = msg.fds[1];
    msg.nfds = 1;
    vfio_user_message_clear(&msg);
    g_assert_cmpuint(peer_inode(stolen), ==, peer_inode(fds[1]));
    g_assert_true(fcntl(fds[1], F_GETFL) & O_NONBLOCK);
    close(stolen);

    /* one message with descriptors is read ahead when the stream is freed */
    take(&pair, 2, 20, 2);
    g_assert_cmpint(vfio_user_stream_take(pair.stream, &msg, &error_abort),
                    ==, 0);
    vfio_user_close_fds(fds, 2);
}

/* Long messages and look-ahead */

/* Sends all of @bytes; takes messages with the sizes @want as they arrive. */
static void pump(Pair *pair, GByteArray *bytes, const uint32_t *want,
                 size_t nwant)
{
    size_t sent = 0, taken = 0, idle = 0;

    while (taken < nwant) {
        g_auto(VFIOUserMessage) msg = { };
        ssize_t len = send(pair->peer, bytes->data + sent, bytes->len - sent,
                           MSG_DONTWAIT);
        int ret = vfio_user_stream_take(pair->stream, &msg, &error_abort);

        sent += MAX(len, 0);
        if (ret) {
            assert_message(&msg, taken, want[taken]);
            taken++;
        }
        /* a full socket is emptied by the attempt to take */
        idle = ret || len > 0 ? 0 : idle + 1;
        g_assert_cmpuint(idle, <, 2);
    }
    g_assert_cmpuint(sent, ==, bytes->len);
    assert_empty(pair);
}

static void test_long(void)
{
    /* the size of the buffer, sizes next to it, and the largest in use */
    static const uint32_t want[] = {
        16, 64 * KiB - 1, 64 * KiB, 64 * KiB + 1, 17, 100000, 64 * KiB + 16,
        1 * MiB + 32, 16, 16, 1 * MiB + 32, 40,
    };
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_auto(Pair) pair = pair_new();

    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        append_message(bytes, i, want[i]);
    }
    pump(&pair, bytes, want, ARRAY_SIZE(want));
}

static void test_look_ahead(void)
{
    g_autofree uint32_t *want = g_new(uint32_t, 3000);
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_auto(Pair) pair = pair_new();

    /* sizes for which some messages cross the end of the buffer */
    for (size_t i = 0; i < 3000; i++) {
        want[i] = i % 100 == 50 ? 60000 : 16 + i * 37 % 500;
        append_message(bytes, i, want[i]);
    }
    pump(&pair, bytes, want, 3000);
}

/* The descriptors of a long message and of the short one after it. */
static void test_long_descriptors(void)
{
    const uint32_t size = 100000;
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_auto(Pair) pair = pair_new();
    int fds[4];

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = peer_new_fd();
    }
    append_message(bytes, 1, size);
    append_message(bytes, 2, 16);
    peer_send_bytes(pair.peer, bytes->data, 16, fds, 1);
    peer_send_bytes(pair.peer, bytes->data + 16, 70000, fds + 1, 1);
    peer_send_bytes(pair.peer, bytes->data + 70016, size - 70016, fds + 2, 1);
    peer_send_bytes(pair.peer, bytes->data + size, 16, fds + 3, 1);
    take(&pair, 1, size, 3);
    take(&pair, 2, 16, 1);
    vfio_user_close_fds(fds, ARRAY_SIZE(fds));
}

/* A header can be peeked at repeatedly until its message is taken. */
static void test_peek(void)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_auto(Pair) pair = pair_new();
    VFIOUserHeader header;

    append_message(bytes, 9, 100000);
    append_message(bytes, 10, 16);
    peer_send_bytes(pair.peer, bytes->data, 15, NULL, 0);
    assert_empty(&pair);
    peer_send_bytes(pair.peer, bytes->data + 15, 1000, NULL, 0);
    for (int i = 0; i < 3; i++) {
        VFIOUserMessage msg;

        g_assert_cmpint(vfio_user_stream_peek(pair.stream, &header,
                                              &error_abort), ==, 1);
        g_assert_cmpuint(header.id, ==, 9);
        g_assert_cmpuint(header.size, ==, 100000);
        /* the second time, the message has its own memory */
        g_assert_cmpint(vfio_user_stream_take(pair.stream, &msg,
                                              &error_abort), ==, 0);
    }
    peer_send_bytes(pair.peer, bytes->data + 1015, bytes->len - 1015, NULL, 0);
    take(&pair, 9, 100000, 0);
    take(&pair, 10, 16, 0);
}

/* The end */

/* The peer closes after @sent bytes of a message of @size bytes. */
static void end_after(uint32_t size, size_t sent)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_auto(Pair) pair = pair_new();
    g_auto(VFIOUserMessage) msg = { };
    Error *err = NULL;
    int fd = peer_new_fd();

    append_message(bytes, 1, size);
    peer_send_bytes(pair.peer, bytes->data, sent, &fd, 1);
    close(fd);
    pair_hang_up(&pair);
    if (sent == size) {
        take(&pair, 1, size, 1);
    }
    g_assert_cmpint(vfio_user_stream_take(pair.stream, &msg, &err), ==,
                    -ECONNRESET);
    g_assert_cmpint(!!strstr(error_get_pretty(err), "in the middle"), ==,
                    sent && sent < size);
    peer_assert_error(err, "the server closed the connection");
    g_assert_cmpuint(msg.nfds, ==, 0);
}

static void test_end(void)
{
    static const uint32_t some[] = {
        0, 15, 16, 17, 65535, 65536, 99999, 100000,
    };

    for (size_t sent = 0; sent <= 40; sent++) {
        end_after(40, sent);
    }
    for (size_t i = 0; i < ARRAY_SIZE(some); i++) {
        end_after(100000, some[i]);
    }
}

/* A server that is killed with unread bytes is an error, not an end. */
static void test_reset(void)
{
    g_auto(Pair) pair = pair_new();
    struct iovec iov = { (void *)"unread", 6 };
    Error *err = NULL;
    VFIOUserHeader header;

    g_assert_cmpint(vfio_user_stream_send(pair.stream, &iov, 1, NULL, 0,
                                          &error_abort), ==, 6);
    pair_hang_up(&pair);
    g_assert_cmpint(vfio_user_stream_peek(pair.stream, &header, &err), ==,
                    -EIO);
    peer_assert_error(err, "");
}

/* Sending */

static void test_full(void)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autofree uint8_t *back = NULL;
    g_auto(Pair) pair = pair_new();
    int fds[VFIO_USER_MAX_FDS], back_fds[VFIO_USER_MAX_FDS];
    size_t sent = 0, received = 0, nfds = 0;
    bool was_full = false;

    append_message(bytes, 5, 3 * MiB);
    back = g_malloc(bytes->len);
    for (int i = 0; i < VFIO_USER_MAX_FDS; i++) {
        fds[i] = peer_new_fd();
    }
    while (received < bytes->len) {
        struct iovec iov[] = {
            { bytes->data + sent, (bytes->len - sent) / 2 },
            { bytes->data + sent + (bytes->len - sent) / 2,
              bytes->len - sent - (bytes->len - sent) / 2 },
        };
        ssize_t len = sent == bytes->len ? 0 :
            vfio_user_stream_send(pair.stream, iov, 2, fds,
                                  sent ? 0 : VFIO_USER_MAX_FDS, &error_abort);

        sent += len;
        if (len == 0) {
            size_t some = MIN(bytes->len - received, 300000);

            was_full |= sent < bytes->len;
            some = MIN(some, sent - received);
            g_assert_cmpuint(peer_recv_bytes(pair.peer, back + received, some,
                                             back_fds, &nfds), ==, some);
            received += some;
        }
    }
    g_assert_true(was_full);
    g_assert_cmpint(memcmp(back, bytes->data, bytes->len), ==, 0);
    g_assert_cmpuint(nfds, ==, VFIO_USER_MAX_FDS);
    for (int i = 0; i < VFIO_USER_MAX_FDS; i++) {
        g_assert_cmpuint(peer_inode(fds[i]), ==, peer_inode(back_fds[i]));
    }
    vfio_user_close_fds(fds, VFIO_USER_MAX_FDS);
    vfio_user_close_fds(back_fds, VFIO_USER_MAX_FDS);
}

static void test_send_after_close(void)
{
    g_auto(Pair) pair = pair_new();
    struct iovec iov = { (void *)"x", 1 };
    Error *err = NULL;

    pair_hang_up(&pair);
    g_assert_cmpint(vfio_user_stream_send(pair.stream, &iov, 1, NULL, 0,
                                          &err), ==, -EIO);
    peer_assert_error(err, "");
}

/* A TCP socket transfers bytes, and reports that it cannot pass descriptors. */
static void test_tcp(void)
{
    g_autoptr(QIOChannelSocket) ioc = NULL;
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(addr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct iovec iov = { (void *)"bytes", 5 };
    int no_fds[1] = { -1 };
    Pair pair;
    char back[5];

    g_assert_cmpint(bind(listener, (struct sockaddr *)&addr, len), ==, 0);
    g_assert_cmpint(listen(listener, 1), ==, 0);
    getsockname(listener, (struct sockaddr *)&addr, &len);
    g_assert_cmpint(connect(client, (struct sockaddr *)&addr, len), ==, 0);
    ioc = qio_channel_socket_new_fd(client, &error_abort);
    pair.stream = vfio_user_stream_new(ioc);
    pair.peer = accept(listener, NULL, NULL);
    close(listener);

    g_assert_false(vfio_user_stream_passes_fds(pair.stream));
    /* an array with 0 descriptors is allowed */
    g_assert_cmpint(vfio_user_stream_send(pair.stream, &iov, 1, no_fds, 0,
                                          &error_abort), ==, 5);
    g_assert_cmpint(recv(pair.peer, back, 5, MSG_WAITALL), ==, 5);

    append_message(bytes, 1, 100000);
    peer_send_bytes(pair.peer, bytes->data, bytes->len, NULL, 0);
    for (;;) {
        g_auto(VFIOUserMessage) msg = { };

        if (vfio_user_stream_take(pair.stream, &msg, &error_abort)) {
            assert_message(&msg, 1, 100000);
            break;
        }
    }
    pair_free(&pair);
}

static void test_passes_fds(void)
{
    g_auto(Pair) pair = pair_new();

    g_assert_true(vfio_user_stream_passes_fds(pair.stream));
}

static const struct {
    const char *path;
    void (*test)(void);
} tests[] = {
    { "/vfio-user/stream/one-byte", test_one_byte },
    { "/vfio-user/stream/fds/boundaries", test_boundaries },
    { "/vfio-user/stream/fds/back-to-back", test_back_to_back },
    { "/vfio-user/stream/fds/too-many", test_too_many },
    { "/vfio-user/stream/fds/not-taken", test_fds_not_taken },
    { "/vfio-user/stream/fds/long", test_long_descriptors },
    { "/vfio-user/stream/fds/passed", test_passes_fds },
    { "/vfio-user/stream/long", test_long },
    { "/vfio-user/stream/look-ahead", test_look_ahead },
    { "/vfio-user/stream/peek", test_peek },
    { "/vfio-user/stream/end", test_end },
    { "/vfio-user/stream/reset", test_reset },
    { "/vfio-user/stream/full", test_full },
    { "/vfio-user/stream/send-after-close", test_send_after_close },
    { "/vfio-user/stream/tcp", test_tcp },
};

static void run(gconstpointer data)
{
    void (*const *test)(void) = data;
    PeerCounts before = peer_counts();

    (*test)();
    peer_assert_counts(before);
}

int main(int argc, char **argv)
{
    module_call_init(MODULE_INIT_QOM);
    signal(SIGPIPE, SIG_IGN);
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
        g_test_add_data_func(tests[i].path, &tests[i].test, run);
    }
    return g_test_run();
}
