/*
 * vfio-user byte stream
 *
 * Bytes and descriptors in and out of a socket: partial reads and writes,
 * look-ahead, and which descriptor came with which message.
 *
 * Not a message queue: it knows no ids, no commands and no waiting, takes no
 * lock and never blocks, whatever the peer does to the flags of the socket,
 * which may be its own as well.  One thread at a time may use the receiving
 * half, one at a time the sending half; whose turn it is, the proxy decides.
 *
 * Functions that move bytes return 1 for progress, 0 where the socket has
 * nothing (or no room) now, and -errno with @errp set where it is broken.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_STREAM_H
#define HW_VFIO_USER_STREAM_H

#include "io/channel-socket.h"
#include "hw/vfio/user/descriptor.h"
#include "hw/vfio/user/wire.h"

typedef struct VFIOUserStream VFIOUserStream;

/* One message received.  Owns its descriptors until they are stolen. */
typedef struct VFIOUserMessage {
    VFIOUserHeader header;
    const uint8_t *payload;
    size_t size;                        /* of the payload, bytes */
    uint8_t *heap;                      /* the payload, where it is long */
    int fds[VFIO_USER_MAX_FDS];
    size_t nfds;
} VFIOUserMessage;

/**
 * vfio_user_message_clear:
 *
 * Frees the payload and closes the descriptors that nobody stole.
 */
void vfio_user_message_clear(VFIOUserMessage *msg);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VFIOUserMessage, vfio_user_message_clear)

/**
 * vfio_user_stream_new:
 * @ioc: a connected socket; a reference is taken
 */
VFIOUserStream *vfio_user_stream_new(QIOChannelSocket *ioc);

/**
 * vfio_user_stream_free:
 *
 * Closes the socket, and every descriptor that came in and was not taken.
 */
void vfio_user_stream_free(VFIOUserStream *s);

/**
 * vfio_user_stream_passes_fds:
 *
 * Returns whether descriptors can be sent: true on UNIX sockets only.
 */
bool vfio_user_stream_passes_fds(const VFIOUserStream *s);

/**
 * vfio_user_stream_peek:
 * @header: where the next message's header goes
 *
 * Returns 1 with the header, which stays in the stream until the message is
 * taken; 0; or -ECONNRESET where the peer has closed, -EIO for other errors.
 * The header is as the peer sent it: the caller checks it before it takes.
 */
int vfio_user_stream_peek(VFIOUserStream *s, VFIOUserHeader *header,
                          Error **errp);

/**
 * vfio_user_stream_take:
 * @msg: where the message goes; valid until the next call on the stream, and
 *       what it owns until vfio_user_message_clear()
 *
 * Takes the message whose header was peeked.  The caller has checked that the
 * header's size is neither shorter than the header nor too long to allocate.
 *
 * Returns 1, 0, or -errno: as peek, -ENOMEM, and -EPROTO for a message with
 * more descriptors than VFIO_USER_MAX_FDS.
 */
int vfio_user_stream_take(VFIOUserStream *s, VFIOUserMessage *msg,
                          Error **errp);

/**
 * vfio_user_stream_give_back:
 * @heap: of a message whose payload had @size bytes, or NULL
 *
 * Frees it, or keeps it for a message to come.  Any thread.
 */
void vfio_user_stream_give_back(VFIOUserStream *s, uint8_t *heap, size_t size);

/**
 * vfio_user_stream_has_message:
 *
 * Returns whether a whole message has been read ahead: no byte needs to come,
 * so none will wake anybody, until it has been taken.
 */
bool vfio_user_stream_has_message(const VFIOUserStream *s);

/**
 * vfio_user_stream_send:
 * @iov: what to send
 * @fds: descriptors that go with the first byte; they stay the caller's
 *
 * One attempt.  Returns the bytes sent, 0 where there is no room, or -errno.
 */
ssize_t vfio_user_stream_send(VFIOUserStream *s, const struct iovec *iov,
                              size_t niov, const int *fds, size_t nfds,
                              Error **errp);

#endif /* HW_VFIO_USER_STREAM_H */
