/*
 * vfio-user twin socket
 *
 * See the header for what this file is and is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/vfio/user/twin.h"

static bool get_option(int fd, int option, int *value)
{
    socklen_t size = sizeof(*value);

    return getsockopt(fd, SOL_SOCKET, option, value, &size) == 0;
}

/* The server can pass any descriptor, but only a byte stream is usable. */
static bool is_stream(int fd)
{
    int domain, type, listens;

    return get_option(fd, SO_DOMAIN, &domain) && domain == AF_UNIX &&
           get_option(fd, SO_TYPE, &type) && type == SOCK_STREAM &&
           get_option(fd, SO_ACCEPTCONN, &listens) && !listens;
}

VFIOUserProxy *vfio_user_twin_new(int fd, const char *of, uint64_t max_data,
                                  const VFIOUserProxyOps *ops, void *opaque,
                                  Error **errp)
{
    g_autofree char *name = g_strdup_printf("%s (twin socket)", of);
    QIOChannelSocket *ioc = NULL;
    VFIOUserProxy *twin;

    if (is_stream(fd)) {
        ioc = qio_channel_socket_new_fd(fd, NULL);
    }
    if (!ioc) {
        vfio_user_close_fds(&fd, 1);
        error_setg(errp, "vfio-user %s: VERSION: the twin socket is not a"
                   " connected UNIX stream socket", of);
        return NULL;
    }
    qio_channel_set_name(QIO_CHANNEL(ioc), "vfio-user-twin");
    twin = vfio_user_proxy_new(ioc, name, ops, opaque, errp);
    object_unref(OBJECT(ioc));
    if (twin) {
        vfio_user_proxy_up(twin, max_data, true);
    }
    return twin;
}
