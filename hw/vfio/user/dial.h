/*
 * vfio-user: connecting to a server
 *
 * Creates a connected channel for an address.  On failure, the error has the
 * cause and the fix.  Sends nothing.
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_DIAL_H
#define HW_VFIO_USER_DIAL_H

#include "io/channel-socket.h"

/**
 * vfio_user_dial:
 * @timeout_ms: total time limit
 *
 * Never waits longer than @timeout_ms.  The caller may hold the big QEMU lock.
 *
 * Returns a connected channel, or NULL with @errp set.  The error does not name
 * the socket.
 */
QIOChannelSocket *vfio_user_dial(SocketAddress *addr, unsigned timeout_ms,
                                 Error **errp);

/**
 * vfio_user_dial_hint:
 * @error: of connect(2) to a path, a positive errno
 * @mode: st_mode of the file at the path, 0 if it cannot be determined
 *
 * Pure function.
 *
 * Returns a static string with cause and fix: "permission denied; the socket
 * must be ...".
 */
const char *vfio_user_dial_hint(int error, mode_t mode);

#endif /* HW_VFIO_USER_DIAL_H */
