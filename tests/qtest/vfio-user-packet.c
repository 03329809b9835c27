/*
 * One vfio-user message of the scripted server
 *
 * Separate socket code, because the data sent may be an invalid message: split
 * or truncated anywhere, with as many descriptors as the kernel accepts.  Any
 * thread may call it, but only one at a time per socket and direction.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>

#include "vfio-user-packet.h"

/* Maximum message accepted from a client. */
#define MAX_MESSAGE (16 * MiB)
/* Maximum message that libvfio-user accepts: 1 MiB of data and headers. */
#define MAX_ONCE (1 * MiB + sizeof(VFIOUserHeader) + sizeof(VFIOUserRegionRW))
/*
 * The amount that the kernel queues of a message at a time, and that a fast
 * server receives at once.
 */
#define PIECE (36 * KiB)
/* Maximum descriptors in one message, Linux's SCM_MAX_FD. */
#define MAX_FDS 253

void vfio_user_packet_init(VFIOUserPacket *packet)
{
    *packet = (VFIOUserPacket) {
        .payload = g_byte_array_new(),
        .fds = g_array_new(false, false, sizeof(int)),
    };
}

void vfio_user_packet_clear(VFIOUserPacket *packet)
{
    unsigned i;

    for (i = 0; packet->fds && i < packet->fds->len; i++) {
        int fd = g_array_index(packet->fds, int, i);

        if (fd >= 0) {
            close(fd);
        }
    }
    g_clear_pointer(&packet->fds, g_array_unref);
    g_clear_pointer(&packet->payload, g_byte_array_unref);
}

void vfio_user_packet_put(VFIOUserPacket *packet, const void *bytes,
                          size_t size)
{
    g_byte_array_append(packet->payload, bytes, size);
}

void vfio_user_packet_resize(VFIOUserPacket *packet, size_t size)
{
    size_t old = packet->payload->len;

    g_byte_array_set_size(packet->payload, size);
    if (size > old) {
        memset(packet->payload->data + old, 0, size - old);
    }
}

int vfio_user_packet_take_fd(VFIOUserPacket *packet, unsigned i)
{
    int fd = g_array_index(packet->fds, int, i);

    g_array_index(packet->fds, int, i) = -1;
    return fd;
}

bool vfio_user_send_bytes(int conn, const void *bytes, size_t size,
                          const GArray *fds)
{
    char control[CMSG_SPACE(MAX_FDS * sizeof(int))] = { 0 };
    size_t done = 0;

    while (done < size) {
        struct iovec iov = { (char *)bytes + done, size - done };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t n;

        if (fds && fds->len && !done) {
            size_t length = fds->len * sizeof(int);

            msg.msg_control = control;
            msg.msg_controllen = CMSG_SPACE(length);
            *CMSG_FIRSTHDR(&msg) = (struct cmsghdr) {
                .cmsg_len = CMSG_LEN(length),
                .cmsg_level = SOL_SOCKET,
                .cmsg_type = SCM_RIGHTS,
            };
            memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds->data, length);
        }
        n = sendmsg(conn, &msg, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        done += MAX(n, 0);
    }
    return true;
}

bool vfio_user_packet_send(int conn, const VFIOUserPacket *packet,
                           uint64_t chunk, uint64_t end)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    size_t at, n;

    g_byte_array_append(bytes, (const void *)&packet->header,
                        sizeof(packet->header));
    g_byte_array_append(bytes, packet->payload->data, packet->payload->len);
    end = MIN(end, bytes->len);
    for (at = 0; at < end; at += n) {
        n = MIN(end - at, chunk);
        if (!vfio_user_send_bytes(conn, bytes->data + at, n,
                                  at ? NULL : packet->fds)) {
            return false;
        }
    }
    return true;
}

static void collect_fds(struct msghdr *msg, GArray *fds)
{
    struct cmsghdr *cmsg;

    for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        if (cmsg->cmsg_level == SOL_SOCKET &&
            cmsg->cmsg_type == SCM_RIGHTS) {
            g_array_append_vals(fds, CMSG_DATA(cmsg),
                                (cmsg->cmsg_len - CMSG_LEN(0)) /
                                sizeof(int));
        }
    }
}

/* Returns the number of bytes received, or 0 if the peer has disconnected. */
static size_t receive_some(int conn, void *bytes, size_t size, GArray *fds)
{
    char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
    struct iovec iov = { bytes, size };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = control, .msg_controllen = sizeof(control),
    };
    ssize_t n;

    do {
        n = recvmsg(conn, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        return 0;
    }
    collect_fds(&msg, fds);
    return n;
}

static bool receive_bytes(int conn, void *bytes, size_t size, GArray *fds)
{
    size_t done = 0;

    while (done < size) {
        size_t n = receive_some(conn, (char *)bytes + done, size - done, fds);

        if (!n) {
            return false;
        }
        done += n;
    }
    return true;
}

bool vfio_user_packet_receive(int conn, VFIOUserPacket *packet)
{
    VFIOUserHeader *header = &packet->header;

    if (!receive_bytes(conn, header, sizeof(*header), packet->fds)) {
        return false;
    }
    g_assert_cmpuint(header->size, >=, sizeof(*header));
    g_assert_cmpuint(header->size, <=, MAX_MESSAGE);
    vfio_user_packet_resize(packet, header->size - sizeof(*header));
    return receive_bytes(conn, packet->payload->data, packet->payload->len,
                         packet->fds);
}

static bool packet_is_request(const VFIOUserHeader *header)
{
    size_t least = sizeof(*header);

    if (header->command != VFIO_USER_DEVICE_RESET) {
        least++;
    }
    return (header->flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_COMMAND &&
           header->size >= least && header->size <= MAX_ONCE;
}

VFIOUserReceived vfio_user_packet_receive_once(int conn,
                                               VFIOUserPacket *packet,
                                               bool replies)
{
    VFIOUserHeader *header = &packet->header;
    size_t size, n;

    if (receive_some(conn, header, sizeof(*header), packet->fds) !=
        sizeof(*header)) {
        return VFIO_USER_GONE;
    }
    size = header->size - sizeof(*header);
    if (replies &&
        (header->flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_REPLY &&
        size <= MAX_ONCE) {
        vfio_user_packet_resize(packet, size);
        return receive_bytes(conn, packet->payload->data, size, packet->fds) ?
               VFIO_USER_WHOLE : VFIO_USER_GONE;
    }
    if (!packet_is_request(header)) {
        return VFIO_USER_UNREADABLE;
    }
    if (!size) {
        return VFIO_USER_WHOLE;
    }
    vfio_user_packet_resize(packet, size);
    n = receive_some(conn, packet->payload->data, MIN(size, PIECE),
                     packet->fds);
    vfio_user_packet_resize(packet, n);
    return n == size ? VFIO_USER_WHOLE :
           n ? VFIO_USER_UNREADABLE : VFIO_USER_GONE;
}
