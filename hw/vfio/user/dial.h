/*
 * vfio-user: dialling a server
 *
 * From an address to a connected channel.  If there is no server, the error
 * has the cause and what the user can do about it.  Sends no byte.
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
 * @timeout_ms: how long all of it may take
 *
 * Waits no longer than that, for whatever it is; the caller may hold the big
 * QEMU lock.
 *
 * Returns a connected channel, or NULL with @errp set, which does not name
 * the socket.
 */
QIOChannelSocket *vfio_user_dial(SocketAddress *addr, unsigned timeout_ms,
                                 Error **errp);

/**
 * vfio_user_dial_hint:
 * @error: of connect(2) to a path, a positive errno
 * @mode: st_mode of what is there, 0 where that cannot be told
 *
 * A pure function.  Returns cause and fix: "permission denied; the socket must
 * be ...".  Static.
 */
const char *vfio_user_dial_hint(int error, mode_t mode);

#endif /* HW_VFIO_USER_DIAL_H */
