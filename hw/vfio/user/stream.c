/*
 * vfio-user byte stream
 *
 * Short messages are read ahead into one buffer, so that a reply costs one
 * system call.  A message longer than the buffer gets its own memory and is
 * read directly into it.
 *
 * Descriptors: the kernel ends a read after the first chunk that carries
 * descriptors, so these belong to the message that contains the read's last
 * byte.  Each is stored with that byte's position until its message is taken.
 *
 * Threads: see the header.  There are no locks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/units.h"
#include "hw/vfio/user/stream.h"

/* 64 KiB, which many servers transfer at a time, plus the headers */
#define STREAM_BUFFER (68 * KiB)

/*
 * Smallest allocation for a long message, so that the memory can be reused for
 * the next one: touching fresh memory takes as long as receiving into it.
 */
#define SPARE_BODY (1 * MiB + 4 * KiB)

/* One message is received while the last one is used. */
#define SPARES 2

/*
 * Most descriptors that the kernel passes with one read.  If there is room for
 * fewer, the kernel closes the others, and the read blocks until that is done.
 */
#define READ_FDS 253

struct VFIOUserStream {
    QIOChannelSocket *ioc;
    bool passes_fds;

    /* Positions count the bytes received since the connection began. */
    uint64_t received;          /* read atomically by other threads */
    uint64_t taken;
    uint64_t sent;              /* bytes; read atomically by other threads */

    uint8_t buffer[STREAM_BUFFER];
    size_t start;               /* of the valid bytes in the buffer */
    size_t end;

    /* A long message that is being received; its header has been consumed. */
    VFIOUserHeader header;
    uint8_t *body;
    size_t body_size;
    size_t body_done;
    uint8_t *spare[SPARES];     /* memory to reuse, SPARE_BODY bytes; atomic */

    /* Descriptors received, but not taken: of two messages at most. */
    struct {
        uint64_t position;
        int fd;
    } pending[2 * VFIO_USER_MAX_FDS];
    size_t npending;
};

void vfio_user_message_clear(VFIOUserMessage *msg)
{
    vfio_user_close_fds(msg->fds, msg->nfds);
    g_free(msg->heap);
    *msg = (VFIOUserMessage) { };
}

VFIOUserStream *vfio_user_stream_new(QIOChannelSocket *ioc)
{
    VFIOUserStream *s = g_new0(VFIOUserStream, 1);

    s->ioc = ioc;
    object_ref(OBJECT(ioc));
    s->passes_fds = qio_channel_has_feature(QIO_CHANNEL(ioc),
                                            QIO_CHANNEL_FEATURE_FD_PASS);
    return s;
}

/*
 * The last close of the socket also closes descriptors that are queued in it,
 * which may block: vfio_user_close_fds() does that.
 */
static void stream_close_socket(VFIOUserStream *s)
{
    int copy = fcntl(s->ioc->fd, F_DUPFD_CLOEXEC, 0);

    object_unref(OBJECT(s->ioc));
    if (copy >= 0) {
        vfio_user_close_fds(&copy, 1);
    }
}

void vfio_user_stream_free(VFIOUserStream *s)
{
    int fds[ARRAY_SIZE(s->pending)];

    if (!s) {
        return;
    }
    for (size_t i = 0; i < s->npending; i++) {
        fds[i] = s->pending[i].fd;
    }
    vfio_user_close_fds(fds, s->npending);
    stream_close_socket(s);
    g_free(s->body);
    for (size_t i = 0; i < SPARES; i++) {
        g_free(s->spare[i]);
    }
    g_free(s);
}

bool vfio_user_stream_passes_fds(const VFIOUserStream *s)
{
    return s->passes_fds;
}

static int stream_keep_fds(VFIOUserStream *s, const int *fds, size_t nfds,
                           Error **errp)
{
    if (nfds > ARRAY_SIZE(s->pending) - s->npending) {
        vfio_user_close_fds(fds, nfds);
        error_setg(errp, "a message with more than %d descriptors",
                   VFIO_USER_MAX_FDS);
        return -EPROTO;
    }
    for (size_t i = 0; i < nfds; i++) {
        s->pending[s->npending].position = s->received - 1;
        s->pending[s->npending].fd = fds[i];
        s->npending++;
    }
    return 0;
}

/*
 * Copies the descriptors of @msg and returns their number.  Their flags are not
 * changed: the server shares its eventfds and may use them without blocking.
 */
static size_t stream_copy_fds(struct msghdr *msg, int *fds)
{
    struct cmsghdr *cmsg;
    size_t n = 0;

    for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS) {
            size_t size = cmsg->cmsg_len - CMSG_LEN(0);

            memcpy(fds + n, CMSG_DATA(cmsg), size);
            n += size / sizeof(fds[0]);
        }
    }
    return n;
}

/* Makes one read of at most @space bytes.  Returns the number of bytes read. */
static ssize_t stream_read(VFIOUserStream *s, void *to, size_t space,
                           Error **errp)
{
    struct iovec iov = { .iov_base = to, .iov_len = space };
    union {
        char bytes[CMSG_SPACE(READ_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    int fds[READ_FDS];
    ssize_t len;
    int ret;

    if (s->passes_fds) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
    }
    len = RETRY_ON_EINTR(recvmsg(s->ioc->fd, &msg,
                                 MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return 0;
    }
    if (len < 0) {
        error_setg_errno(errp, errno, "cannot read from the socket");
        return -EIO;
    }
    if (len == 0) {
        error_setg(errp, "the server closed the connection%s",
                   s->body || s->received > s->taken
                   ? " in the middle of a message" : "");
        return -ECONNRESET;
    }

    qatomic_set(&s->received, s->received + len);
    ret = stream_keep_fds(s, fds, stream_copy_fds(&msg, fds), errp);
    return ret < 0 ? ret : len;
}

/* Fills the buffer with at least @want bytes; reads ahead if there are more. */
static int stream_fill(VFIOUserStream *s, size_t want, Error **errp)
{
    assert(want <= sizeof(s->buffer));

    while (s->end - s->start < want) {
        ssize_t len;

        if (s->start == s->end) {
            s->start = s->end = 0;
        } else if (s->start + want > sizeof(s->buffer)) {
            memmove(s->buffer, s->buffer + s->start, s->end - s->start);
            s->end -= s->start;
            s->start = 0;
        }
        len = stream_read(s, s->buffer + s->end, sizeof(s->buffer) - s->end,
                          errp);
        if (len <= 0) {
            return len;
        }
        s->end += len;
    }
    return 1;
}

int vfio_user_stream_peek(VFIOUserStream *s, VFIOUserHeader *header,
                          Error **errp)
{
    int ret;

    if (s->body) {
        *header = s->header;
        return 1;
    }
    ret = stream_fill(s, sizeof(*header), errp);
    if (ret > 0) {
        memcpy(header, s->buffer + s->start, sizeof(*header));
    }
    return ret;
}

static void stream_consume(VFIOUserStream *s, size_t bytes)
{
    s->start += bytes;
    s->taken += bytes;
}

/* Allocates memory for a message that does not fit into the buffer. */
static int stream_begin_body(VFIOUserStream *s, const VFIOUserHeader *header,
                             Error **errp)
{
    size_t size = header->size - sizeof(*header);

    for (size_t i = 0; size <= SPARE_BODY && !s->body && i < SPARES; i++) {
        s->body = qatomic_xchg(&s->spare[i], NULL);
    }
    if (!s->body) {
        s->body = g_try_malloc(MAX(size, SPARE_BODY));
    }
    if (!s->body) {
        error_setg(errp, "cannot allocate a message of %u bytes",
                   header->size);
        return -ENOMEM;
    }
    s->header = *header;
    s->body_size = size;
    stream_consume(s, sizeof(*header));
    s->body_done = MIN(s->end - s->start, size);
    memcpy(s->body, s->buffer + s->start, s->body_done);
    stream_consume(s, s->body_done);
    return 1;
}

static int stream_read_body(VFIOUserStream *s, Error **errp)
{
    while (s->body_done < s->body_size) {
        ssize_t len = stream_read(s, s->body + s->body_done,
                                  s->body_size - s->body_done, errp);
        if (len <= 0) {
            return len;
        }
        s->body_done += len;
        s->taken += len;
    }
    return 1;
}

void vfio_user_stream_give_back(VFIOUserStream *s, uint8_t *heap, size_t size)
{
    for (size_t i = 0; heap && size <= SPARE_BODY && i < SPARES; i++) {
        if (!qatomic_cmpxchg(&s->spare[i], NULL, heap)) {
            return;
        }
    }
    g_free(heap);
}

/* Moves the descriptors of the message that ends at s->taken into @msg. */
static int stream_take_fds(VFIOUserStream *s, VFIOUserMessage *msg,
                           Error **errp)
{
    size_t n = 0;

    while (n < s->npending && s->pending[n].position < s->taken) {
        n++;
    }
    if (n > ARRAY_SIZE(msg->fds)) {
        error_setg(errp, "a message with more than %d descriptors",
                   VFIO_USER_MAX_FDS);
        return -EPROTO;
    }
    for (size_t i = 0; i < n; i++) {
        msg->fds[i] = s->pending[i].fd;
    }
    msg->nfds = n;
    s->npending -= n;
    memmove(s->pending, s->pending + n, s->npending * sizeof(s->pending[0]));
    return 1;
}

int vfio_user_stream_take(VFIOUserStream *s, VFIOUserMessage *msg,
                          Error **errp)
{
    VFIOUserHeader header;
    int ret;

    *msg = (VFIOUserMessage) { };
    ret = vfio_user_stream_peek(s, &header, errp);
    if (ret <= 0) {
        return ret;
    }
    assert(header.size >= sizeof(header));

    if (!s->body && header.size > sizeof(s->buffer)) {
        ret = stream_begin_body(s, &header, errp);
        if (ret < 0) {
            return ret;
        }
    }
    ret = s->body ? stream_read_body(s, errp)
                  : stream_fill(s, header.size, errp);
    if (ret <= 0) {
        return ret;
    }

    msg->header = header;
    msg->size = header.size - sizeof(header);
    if (s->body) {
        msg->heap = g_steal_pointer(&s->body);
        msg->payload = msg->heap;
    } else {
        msg->payload = s->buffer + s->start + sizeof(header);
        stream_consume(s, header.size);
    }
    ret = stream_take_fds(s, msg, errp);
    if (ret < 0) {
        vfio_user_message_clear(msg);
    }
    return ret;
}

bool vfio_user_stream_has_message(const VFIOUserStream *s)
{
    size_t size = s->end - s->start;
    VFIOUserHeader header;

    if (s->body || size < sizeof(header)) {
        return false;
    }
    memcpy(&header, s->buffer + s->start, sizeof(header));
    return header.size <= size;
}

/* Puts descriptors into @msg, in @control. */
static void stream_attach_fds(struct msghdr *msg, struct cmsghdr *control,
                              const int *fds, size_t nfds)
{
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(nfds * sizeof(fds[0]));
    memcpy(CMSG_DATA(control), fds, nfds * sizeof(fds[0]));
    msg->msg_control = control;
    msg->msg_controllen = CMSG_SPACE(nfds * sizeof(fds[0]));
}

ssize_t vfio_user_stream_send(VFIOUserStream *s, const struct iovec *iov,
                              size_t niov, const int *fds, size_t nfds,
                              Error **errp)
{
    struct msghdr msg = {
        .msg_iov = (struct iovec *)iov,
        .msg_iovlen = MIN(niov, IOV_MAX),
    };
    union {
        char bytes[CMSG_SPACE(VFIO_USER_MAX_FDS * sizeof(int))];
        struct cmsghdr align;
    } control = { };
    ssize_t len;

    assert(nfds <= VFIO_USER_MAX_FDS);
    if (nfds) {
        stream_attach_fds(&msg, &control.align, fds, nfds);
    }
    len = RETRY_ON_EINTR(sendmsg(s->ioc->fd, &msg,
                                 MSG_DONTWAIT | MSG_NOSIGNAL));
    if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return 0;
    }
    if (len < 0) {
        error_setg_errno(errp, errno, "cannot write to the socket");
        return -EIO;
    }
    qatomic_set(&s->sent, s->sent + len);
    return len;
}

void vfio_user_stream_count(const VFIOUserStream *s, uint64_t *sent,
                            uint64_t *received)
{
    *sent = qatomic_read(&s->sent);
    *received = qatomic_read(&s->received);
}
