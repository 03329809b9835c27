/*
 * vfio-user twin socket
 *
 * The second connection to a server that asked for one in VERSION: it carries
 * the server's requests and their replies, and the first one nothing but the
 * client's.  Not a second device: it lives and dies with the first connection,
 * which its owner sees to.
 *
 * Threads: as the proxy that it is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_TWIN_H
#define HW_VFIO_USER_TWIN_H

#include "hw/vfio/user/proxy.h"

/**
 * vfio_user_twin_new:
 * @fd: the client's end, from the server; taken in any case
 * @of: name of the first socket, for messages
 * @max_data: negotiated max_data_xfer_size, bytes
 * @ops: what the room above does
 *
 * Returns a proxy that is UP and has no calls, with one reference; NULL with
 * @errp set where @fd is not an end of a connected UNIX stream socket.
 * Specification: "Twin-socket mode" of texts later than 0.9.1.
 */
VFIOUserProxy *vfio_user_twin_new(int fd, const char *of, uint64_t max_data,
                                  const VFIOUserProxyOps *ops, void *opaque,
                                  Error **errp);

#endif /* HW_VFIO_USER_TWIN_H */
