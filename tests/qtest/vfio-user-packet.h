/*
 * One vfio-user message of the scripted server
 *
 * Header, payload and descriptors, in and out of a socket, blocking.  It
 * makes no sense of what it carries and sends any nonsense that it is given.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_PACKET_H
#define TESTS_QTEST_VFIO_USER_PACKET_H

#include "hw/vfio/user/wire.h"

typedef struct VFIOUserPacket {
    VFIOUserHeader header;
    GByteArray *payload;
    GArray *fds;                /* int, owned; -1 where somebody took it */
} VFIOUserPacket;

void vfio_user_packet_init(VFIOUserPacket *packet);
void vfio_user_packet_clear(VFIOUserPacket *packet);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VFIOUserPacket, vfio_user_packet_clear)

/* Appends to the payload. */
void vfio_user_packet_put(VFIOUserPacket *packet, const void *bytes,
                          size_t size);

/* Cuts the payload or fills it with zeros. */
void vfio_user_packet_resize(VFIOUserPacket *packet, size_t size);

/* Returns descriptor @i, which is the caller's from then on. */
int vfio_user_packet_take_fd(VFIOUserPacket *packet, unsigned i);

/**
 * vfio_user_send_bytes:
 * @fds: int, sent with the first byte; may be NULL
 *
 * Returns false where the peer is gone.
 */
bool vfio_user_send_bytes(int conn, const void *bytes, size_t size,
                          const GArray *fds);

/**
 * vfio_user_packet_send:
 * @chunk: bytes that go out at a time
 * @end: bytes after which it stops, however long the message is
 *
 * Sends the header as it is, its size included.  Returns false where the peer
 * is gone.
 */
bool vfio_user_packet_send(int conn, const VFIOUserPacket *packet,
                           uint64_t chunk, uint64_t end);

/**
 * vfio_user_packet_receive:
 *
 * Fails the test where the client says a size that no message has.  Returns
 * false where the peer is gone.
 */
bool vfio_user_packet_receive(int conn, VFIOUserPacket *packet);

typedef enum VFIOUserReceived {
    VFIO_USER_GONE,             /* the peer, or what it sent is no header */
    VFIO_USER_WHOLE,
    VFIO_USER_UNREADABLE,       /* the header is there, its body is not */
} VFIOUserReceived;

/**
 * vfio_user_packet_receive_once:
 * @replies: a reply is expected, too
 *
 * Receives as libvfio-user does: the header with one call, and the body of a
 * request with one more, which returns what the socket holds by then; here, as
 * little as that may be.  What is left of a body is the next header.  A header
 * that no request has is answered and its body not read.  Replies are read as
 * a whole.
 */
VFIOUserReceived vfio_user_packet_receive_once(int conn,
                                               VFIOUserPacket *packet,
                                               bool replies);

#endif /* TESTS_QTEST_VFIO_USER_PACKET_H */
