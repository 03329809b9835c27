/*
 * vfio-user address of a server
 *
 * Reads the address of a server from a property, and formats it for messages.
 * Pure functions, no connections.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_ADDRESS_H
#define HW_VFIO_USER_ADDRESS_H

#include "qapi/qapi-types-sockets.h"
#include "qapi/visitor.h"

/**
 * vfio_user_address_visit:
 *
 * Reads the value of a property: a SocketAddress, or a string that is a path,
 * unix:PATH, HOST:PORT, vsock:CID:PORT or fd:NAME.
 *
 * Returns the address, to be freed with qapi_free_SocketAddress(), or NULL with
 * @errp set.
 */
SocketAddress *vfio_user_address_visit(Visitor *v, const char *name,
                                       Error **errp);

/**
 * vfio_user_address_name:
 *
 * Returns the name of @addr for messages, to be freed by the caller.
 */
char *vfio_user_address_name(SocketAddress *addr);

#endif /* HW_VFIO_USER_ADDRESS_H */
