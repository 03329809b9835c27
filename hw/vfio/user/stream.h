/*
 * vfio-user byte stream
 *
 * Reads and writes bytes and descriptors: handles partial transfers, reads
 * ahead, and assigns descriptors to messages.
 *
 * This is not a message queue: it knows no ids and no commands, does not wait
 * and takes no lock.  It never blocks, even if the peer, which may share the
 * socket, changes the socket's flags.  One thread at a time may use the
 * receiving half, and one thread at a time the sending half; the proxy decides
 * which.
 *
 * Functions that move bytes return 1 for progress, 0 if the socket has no data
 * (or no room) now, and -errno with @errp set if the connection is broken.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_STREAM_H
#define HW_VFIO_USER_STREAM_H

#include "io/channel-socket.h"
#include "hw/vfio/user/descriptor.h"
#include "hw/vfio/user/wire.h"

typedef struct VFIOUserStream VFIOUserStream;

/* A received message.  Owns its descriptors until they are stolen. */
typedef struct VFIOUserMessage {
    VFIOUserHeader header;
    const uint8_t *payload;
    size_t size;                        /* of the payload, bytes */
    uint8_t *heap;                      /* owns the payload of a long message */
    int fds[VFIO_USER_MAX_FDS];
    size_t nfds;
} VFIOUserMessage;

/**
 * vfio_user_message_clear:
 *
 * Frees the payload and closes the descriptors that were not stolen.
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
 * Closes the socket and all received descriptors that were not taken.
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
 * @header: set to the next message's header
 *
 * Returns 1 with the header, which stays in the stream until the message is
 * taken; 0; -ECONNRESET if the peer has closed the connection; or -EIO for
 * other errors.  The header is not checked: the caller must do that before it
 * takes the message.
 */
int vfio_user_stream_peek(VFIOUserStream *s, VFIOUserHeader *header,
                          Error **errp);

/**
 * vfio_user_stream_take:
 * @msg: set to the message.  Its payload is valid until the next call on the
 *       stream; what it owns is valid until vfio_user_message_clear().
 *
 * Takes the message whose header was peeked.  The caller must have checked that
 * the header's size is neither shorter than the header nor too large to
 * allocate.
 *
 * Returns 1, 0, or -errno: as peek, -ENOMEM, and -EPROTO for a message with
 * more descriptors than VFIO_USER_MAX_FDS.
 */
int vfio_user_stream_take(VFIOUserStream *s, VFIOUserMessage *msg,
                          Error **errp);

/**
 * vfio_user_stream_give_back:
 * @heap: from a message with a payload of @size bytes, or NULL
 *
 * Frees @heap, or keeps it for a later message.  Any thread.
 */
void vfio_user_stream_give_back(VFIOUserStream *s, uint8_t *heap, size_t size);

/**
 * vfio_user_stream_has_message:
 *
 * Returns whether a complete message has been read ahead.  Polling the socket
 * does not report such a message.
 */
bool vfio_user_stream_has_message(const VFIOUserStream *s);

/**
 * vfio_user_stream_send:
 * @iov: bytes to send
 * @fds: descriptors to send with the first byte; still owned by the caller
 *
 * Makes one attempt.  Returns the number of bytes sent, 0 if there is no room,
 * or -errno.
 */
ssize_t vfio_user_stream_send(VFIOUserStream *s, const struct iovec *iov,
                              size_t niov, const int *fds, size_t nfds,
                              Error **errp);

/**
 * vfio_user_stream_count:
 * @sent: set to the number of bytes sent since the connection began
 * @received: the same for bytes received
 *
 * Any thread.
 */
void vfio_user_stream_count(const VFIOUserStream *s, uint64_t *sent,
                            uint64_t *received);

#endif /* HW_VFIO_USER_STREAM_H */
