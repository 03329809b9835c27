/*
 * vfio-user: dialling a server
 *
 * UNIX sockets are dialled here and not by QEMU's own function, which drops the
 * errno and waits without limit for a server that does not accept.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/sockets.h"
#include "hw/vfio/user/dial.h"

/* connect(2) to a path answers this to whatever is no listening socket. */
static const char *hint_refused(mode_t mode)
{
    switch (mode & S_IFMT) {
    case 0:
    case S_IFSOCK:
        return "no server listens on the socket; start the server first";
    case S_IFDIR:
        return "it is a directory; name the socket in it, which is 'cntrl' for"
               " SPDK";
    default:
        return "it is not a socket; name the socket of a running server";
    }
}

const char *vfio_user_dial_hint(int error, mode_t mode)
{
    /* permission is checked before the kind of file */
    if (error == EACCES && mode && !S_ISSOCK(mode)) {
        return hint_refused(mode);
    }
    switch (error) {
    case EACCES:
        return mode ? "permission denied; the socket must be writable by the"
                      " user that runs QEMU" :
                      "permission denied; its directory must be accessible to"
                      " the user that runs QEMU";
    case EAGAIN:
        return "the server does not accept connections; another client may be"
               " connected to it";
    case ECONNREFUSED:
        return hint_refused(mode);
    case ENAMETOOLONG:
        return "the path is too long for a socket; use a shorter one";
    case ENOENT:
    case ENOTDIR:
        return "the socket does not exist; start the server first";
    case EPROTOTYPE:
        return "it is not a stream socket; name the socket of a vfio-user"
               " server";
    default:
        return strerror(error);
    }
}

/* Returns a connected descriptor or -errno. */
static int connect_path(const char *path, unsigned timeout_ms)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    struct timeval limit = {
        .tv_sec = timeout_ms / 1000,
        .tv_usec = timeout_ms % 1000 * 1000,
    };
    int fd, ret;

    if (strlen(path) > sizeof(addr.sun_path)) {
        return -ENAMETOOLONG;
    }
    memcpy(addr.sun_path, path, strlen(path));
    fd = qemu_socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) {
        return -errno;
    }
    ret = setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    while (ret == 0 &&
           connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        ret = errno == EINTR ? 0 : -1;
    }
    if (ret == 0) {
        limit = (struct timeval) { };
        ret = setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    }
    if (ret < 0) {
        ret = -errno;
        close(fd);
        return ret;
    }
    return fd;
}

static QIOChannelSocket *dial_path(const char *path, unsigned timeout_ms,
                                   Error **errp)
{
    int fd = connect_path(path, timeout_ms);
    QIOChannelSocket *ioc;
    struct stat st = { };

    if (fd < 0) {
        bool known = stat(path, &st) == 0;

        error_setg(errp, "cannot connect: %s",
                   vfio_user_dial_hint(-fd, known ? st.st_mode : 0));
        return NULL;
    }
    ioc = qio_channel_socket_new_fd(fd, errp);
    if (!ioc) {
        close(fd);
    }
    return ioc;
}

static QIOChannelSocket *dial_other(SocketAddress *addr, Error **errp)
{
    g_autoptr(QIOChannelSocket) ioc = qio_channel_socket_new();
    Error *why = NULL;

    if (qio_channel_socket_connect_sync(ioc, addr, &why) < 0) {
        error_setg(errp, "cannot connect: %s", error_get_pretty(why));
        error_free(why);
        return NULL;
    }
    return g_steal_pointer(&ioc);
}

QIOChannelSocket *vfio_user_dial(SocketAddress *addr, unsigned timeout_ms,
                                 Error **errp)
{
    bool is_path = addr->type == SOCKET_ADDRESS_TYPE_UNIX &&
                   !addr->u.q_unix.abstract;
    QIOChannelSocket *ioc = is_path ?
        dial_path(addr->u.q_unix.path, timeout_ms, errp) :
        dial_other(addr, errp);

    if (ioc) {
        qio_channel_set_name(QIO_CHANNEL(ioc), "vfio-user");
    }
    return ioc;
}
