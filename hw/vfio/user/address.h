/*
 * vfio-user address of a server
 *
 * Where a server listens, as the user says it and as messages name it.  Pure
 * functions: nothing is dialled here.
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
 * Reads a property's value: a SocketAddress, or a string that is a path or one
 * of unix:PATH, HOST:PORT, vsock:CID:PORT and fd:NAME.
 *
 * Returns the address, to be freed with qapi_free_SocketAddress(), or NULL with
 * @errp set.
 */
SocketAddress *vfio_user_address_visit(Visitor *v, const char *name,
                                       Error **errp);

/**
 * vfio_user_address_name:
 *
 * Returns what names @addr in messages, to be freed by the caller.
 */
char *vfio_user_address_name(SocketAddress *addr);

#endif /* HW_VFIO_USER_ADDRESS_H */
