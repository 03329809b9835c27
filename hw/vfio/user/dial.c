/*
 * vfio-user: connecting to a server
 *
 * Looking up a name or path and connecting may block for any time, because of a
 * name server, the network, a file system, or a server that does not accept.
 * Therefore a thread connects.  After the timeout it is abandoned, and it exits
 * when the kernel gives up.  For a UNIX socket, that is also at the timeout.
 *
 * This file does not use QEMU's function to connect UNIX sockets: it does not
 * return the errno and has no timeout.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-sockets.h"
#include "qemu/atomic.h"
#include "qemu/lockable.h"
#include "qemu/sockets.h"
#include "qemu/thread.h"
#include "hw/vfio/user/dial.h"

/* connect(2) fails with ECONNREFUSED for all files but listening sockets. */
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

/* A connection attempt, shared by the thread and its waiting caller. */
typedef struct Dial {
    SocketAddress *addr;
    unsigned timeout_ms;
    int users;                  /* atomic: the last one frees it */

    QemuMutex lock;
    /* Protects the following fields.  @changed signals @done. */
    QemuCond changed;
    bool done;
    QIOChannelSocket *ioc;
    Error *err;
} Dial;

/* Returns the length of @sun, or -ENAMETOOLONG. */
static int fill_address(const UnixSocketAddress *addr, struct sockaddr_un *sun)
{
    bool abstract = addr->has_abstract && addr->abstract;
    bool tight = !addr->has_tight || addr->tight;
    size_t size = strlen(addr->path);

    *sun = (struct sockaddr_un) { .sun_family = AF_UNIX };
    /* an abstract name starts with a NUL byte */
    if (size + abstract > sizeof(sun->sun_path)) {
        return -ENAMETOOLONG;
    }
    memcpy(sun->sun_path + abstract, addr->path, size);
    return abstract && tight ?
           offsetof(struct sockaddr_un, sun_path) + 1 + size : sizeof(*sun);
}

static bool limit_sending(int fd, unsigned ms)
{
    const struct timeval limit = {
        .tv_sec = ms / 1000,
        .tv_usec = ms % 1000 * 1000,
    };

    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0;
}

/* Returns a connected descriptor or -errno. */
static int connect_unix(const UnixSocketAddress *addr, unsigned timeout_ms)
{
    struct sockaddr_un sun;
    int size = fill_address(addr, &sun);
    int fd, ret;

    if (size < 0) {
        return size;
    }
    fd = qemu_socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) {
        return -errno;
    }
    if (limit_sending(fd, timeout_ms) &&
        RETRY_ON_EINTR(connect(fd, (struct sockaddr *)&sun, size)) == 0 &&
        limit_sending(fd, 0)) {
        return fd;
    }
    ret = -errno;
    close(fd);
    return ret;
}

static QIOChannelSocket *dial_unix(const UnixSocketAddress *addr,
                                   unsigned timeout_ms, Error **errp)
{
    int fd = connect_unix(addr, timeout_ms);
    bool abstract = addr->has_abstract && addr->abstract;
    QIOChannelSocket *ioc;
    struct stat st = { .st_mode = abstract ? S_IFSOCK : 0 };

    if (fd < 0) {
        bool known = abstract || stat(addr->path, &st) == 0;

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

static void dial_unref(Dial *d)
{
    if (qatomic_fetch_dec(&d->users) > 1) {
        return;
    }
    qapi_free_SocketAddress(d->addr);
    qemu_mutex_destroy(&d->lock);
    qemu_cond_destroy(&d->changed);
    if (d->ioc) {
        object_unref(OBJECT(d->ioc));
    }
    error_free(d->err);
    g_free(d);
}

static void *dial_thread(void *opaque)
{
    Dial *d = opaque;
    QIOChannelSocket *ioc;
    Error *err = NULL;

    ioc = d->addr->type == SOCKET_ADDRESS_TYPE_UNIX ?
        dial_unix(&d->addr->u.q_unix, d->timeout_ms, &err) :
        dial_other(d->addr, &err);
    WITH_QEMU_LOCK_GUARD(&d->lock) {
        d->ioc = ioc;
        d->err = err;
        d->done = true;
        qemu_cond_signal(&d->changed);
    }
    dial_unref(d);
    return NULL;
}

static void set_timeout_error(const Dial *d, Error **errp)
{
    if (d->addr->type == SOCKET_ADDRESS_TYPE_UNIX) {
        error_setg(errp, "cannot connect: %s",
                   vfio_user_dial_hint(EAGAIN, S_IFSOCK));
    } else {
        error_setg(errp, "cannot connect: no answer within %u ms"
                   " (x-timeout-ms); is the server's host reachable?",
                   d->timeout_ms);
    }
}

static Dial *dial_begin(SocketAddress *addr, unsigned timeout_ms)
{
    Dial *d = g_new0(Dial, 1);
    QemuThread thread;

    d->addr = QAPI_CLONE(SocketAddress, addr);
    d->timeout_ms = timeout_ms;
    d->users = 2;
    qemu_mutex_init(&d->lock);
    qemu_cond_init(&d->changed);
    qemu_thread_create(&thread, "vfio-user-dial", dial_thread, d,
                       QEMU_THREAD_DETACHED);
    return d;
}

/* Returns NULL with @errp set if it failed or is not done at @end (us). */
static QIOChannelSocket *dial_finish(Dial *d, int64_t end, Error **errp)
{
    QIOChannelSocket *ioc = NULL;
    int64_t left;

    WITH_QEMU_LOCK_GUARD(&d->lock) {
        while (!d->done && (left = end - g_get_monotonic_time()) > 0) {
            qemu_cond_timedwait(&d->changed, &d->lock,
                                MIN(left / 1000 + 1, INT_MAX));
        }
        if (d->done) {
            ioc = g_steal_pointer(&d->ioc);
            error_propagate(errp, g_steal_pointer(&d->err));
        } else {
            set_timeout_error(d, errp);
        }
    }
    dial_unref(d);
    return ioc;
}

static QIOChannelSocket *dial_in_time(SocketAddress *addr,
                                      unsigned timeout_ms, Error **errp)
{
    int64_t end = g_get_monotonic_time() + (int64_t)timeout_ms * 1000;

    return dial_finish(dial_begin(addr, timeout_ms), end, errp);
}

QIOChannelSocket *vfio_user_dial(SocketAddress *addr, unsigned timeout_ms,
                                 Error **errp)
{
    /* fd:NAME needs the monitor of this thread, and is already connected */
    QIOChannelSocket *ioc = addr->type == SOCKET_ADDRESS_TYPE_FD ?
        dial_other(addr, errp) : dial_in_time(addr, timeout_ms, errp);

    if (ioc) {
        qio_channel_set_name(QIO_CHANNEL(ioc), "vfio-user");
    }
    return ioc;
}
