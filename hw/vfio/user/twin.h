/*
 * vfio-user twin socket
 *
 * The second connection to a server that requested it in VERSION.  It carries
 * the server's requests and their replies; the first connection then carries
 * only those of the client.  It is not a second device: its owner closes it
 * together with the first connection.
 *
 * Threads: see proxy.h; the twin socket is a proxy.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_TWIN_H
#define HW_VFIO_USER_TWIN_H

#include "hw/vfio/user/proxy.h"

/**
 * vfio_user_twin_new:
 * @fd: the client's end, received from the server; always taken
 * @of: name of the first socket, for messages
 * @max_data: negotiated max_data_xfer_size, bytes
 * @ops: callbacks
 *
 * Returns a proxy that is UP and has no calls, with one reference; NULL with
 * @errp set if @fd is not a connected UNIX stream socket, or if the proxy
 * cannot be created.
 * Specification: "Twin-socket mode" in versions after 0.9.1.
 */
VFIOUserProxy *vfio_user_twin_new(int fd, const char *of, uint64_t max_data,
                                  const VFIOUserProxyOps *ops, void *opaque,
                                  Error **errp);

#endif /* HW_VFIO_USER_TWIN_H */
