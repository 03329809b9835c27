/*
 * One vfio-user message of the scripted server
 *
 * Sends and receives header, payload and descriptors on a blocking socket.
 * Does not interpret them and sends anything it is given, valid or not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_PACKET_H
#define TESTS_QTEST_VFIO_USER_PACKET_H

#include "hw/vfio/user/wire.h"

typedef struct VFIOUserPacket {
    VFIOUserHeader header;
    GByteArray *payload;
    GArray *fds;                /* int, owned; -1: was taken */
} VFIOUserPacket;

void vfio_user_packet_init(VFIOUserPacket *packet);
void vfio_user_packet_clear(VFIOUserPacket *packet);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VFIOUserPacket, vfio_user_packet_clear)

/* Appends to the payload. */
void vfio_user_packet_put(VFIOUserPacket *packet, const void *bytes,
                          size_t size);

/* Truncates the payload, or extends it with zeros. */
void vfio_user_packet_resize(VFIOUserPacket *packet, size_t size);

/* Returns descriptor @i; the caller owns it from then on. */
int vfio_user_packet_take_fd(VFIOUserPacket *packet, unsigned i);

/**
 * vfio_user_send_bytes:
 * @fds: int, sent with the first byte; may be NULL
 *
 * Returns false if the peer has disconnected.
 */
bool vfio_user_send_bytes(int conn, const void *bytes, size_t size,
                          const GArray *fds);

/**
 * vfio_user_packet_send:
 * @chunk: bytes per write
 * @end: bytes after which it stops, even if the message is longer
 *
 * Sends the header unmodified, including its size.  Returns false if the peer
 * has disconnected.
 */
bool vfio_user_packet_send(int conn, const VFIOUserPacket *packet,
                           uint64_t chunk, uint64_t end);

/**
 * vfio_user_packet_receive:
 *
 * Fails the test if the header has a size that no message has.  Returns false
 * if the peer has disconnected.
 */
bool vfio_user_packet_receive(int conn, VFIOUserPacket *packet);

typedef enum VFIOUserReceived {
    VFIO_USER_GONE,             /* disconnected, or no valid header */
    VFIO_USER_WHOLE,
    VFIO_USER_UNREADABLE,       /* header received, body not read */
} VFIOUserReceived;

/**
 * vfio_user_packet_receive_once:
 * @replies: replies are expected as well as requests
 *
 * Receives as libvfio-user does: the header with one call, and the body of a
 * request with a second call, which returns what is in the socket then (here,
 * the minimum that this can be).  The rest of the body is read as the next
 * header.  A header that no request has is answered without reading its body.
 * Replies are read completely.
 */
VFIOUserReceived vfio_user_packet_receive_once(int conn,
                                               VFIOUserPacket *packet,
                                               bool replies);

#endif /* TESTS_QTEST_VFIO_USER_PACKET_H */
