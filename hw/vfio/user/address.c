/*
 * vfio-user address of a server
 *
 * See the header for the purpose of this file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-sockets.h"
#include "qemu/sockets.h"
#include "hw/vfio/user/address.h"

/* Parses a path or a string for socket_parse(). */
static SocketAddress *parse_text(const char *text, Error **errp)
{
    SocketAddress *addr;

    if (!*text) {
        error_setg(errp, "'socket' must not be empty, use for example"
                   " socket=/run/device.sock");
        return NULL;
    }
    if (*text != '/' && *text != '.' && strchr(text, ':')) {
        return socket_parse(text, errp);
    }
    addr = g_new0(SocketAddress, 1);
    addr->type = SOCKET_ADDRESS_TYPE_UNIX;
    addr->u.q_unix.path = g_strdup(text);
    return addr;
}

/* parse_text() has its own check. */
static bool is_empty_path(const SocketAddress *addr)
{
    return addr->type == SOCKET_ADDRESS_TYPE_UNIX &&
           !addr->u.q_unix.abstract && !*addr->u.q_unix.path;
}

SocketAddress *vfio_user_address_visit(Visitor *v, const char *name,
                                       Error **errp)
{
    g_autofree GenericAlternate *type = NULL;
    g_autofree char *text = NULL;
    SocketAddress *addr = NULL;

    if (!visit_start_alternate(v, name, &type, sizeof(*type), errp)) {
        return NULL;
    }
    visit_end_alternate(v, (void **)&type);
    if (type->type == QTYPE_QDICT) {
        visit_type_SocketAddress(v, name, &addr, errp);
        if (addr && is_empty_path(addr)) {
            error_setg(errp, "the path of 'socket' must not be empty, use for"
                       " example /run/device.sock");
            g_clear_pointer(&addr, qapi_free_SocketAddress);
        }
    } else if (visit_type_str(v, name, &text, errp)) {
        addr = parse_text(text, errp);
    }
    return addr;
}

char *vfio_user_address_name(SocketAddress *addr)
{
    return addr->type == SOCKET_ADDRESS_TYPE_UNIX ?
        g_strdup(addr->u.q_unix.path) : socket_uri(addr);
}
