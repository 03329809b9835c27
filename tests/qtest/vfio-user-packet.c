/*
 * One vfio-user message of the scripted server
 *
 * Socket code of its own, since what it sends need not be a message: split
 * anywhere, cut anywhere, with as many descriptors as the kernel takes.  Any
 * thread; one at a time for one socket and direction.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>

#include "vfio-user-packet.h"

/* Longest message taken from a client. */
#define MAX_MESSAGE (16 * MiB)
/* Descriptors of one message, Linux's SCM_MAX_FD. */
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

static bool receive_bytes(int conn, void *bytes, size_t size, GArray *fds)
{
    char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
    size_t done = 0;

    while (done < size) {
        struct iovec iov = { (char *)bytes + done, size - done };
        struct msghdr msg = {
            .msg_iov = &iov, .msg_iovlen = 1,
            .msg_control = control, .msg_controllen = sizeof(control),
        };
        ssize_t n = recvmsg(conn, &msg, MSG_CMSG_CLOEXEC);

        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        if (n > 0) {
            collect_fds(&msg, fds);
            done += n;
        }
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
