/*
 * vfio-user: connecting to a server
 *
 * Hints for failures to connect, and timeouts.  qtests check that the hints
 * match the errors that the kernel returns.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/un.h>
#include "qapi/error.h"
#include "hw/vfio/user/dial.h"
#include "vfio-user-peer.h"

static const struct {
    const char *name;
    int error;
    mode_t mode;
    const char *hint;           /* a part of it */
} rows[] = {
    { "permission", EACCES, S_IFSOCK, "writable by the user that runs QEMU" },
    { "permission-of-directory", EACCES, 0, "its directory must be" },
    { "directory-of-others", EACCES, S_IFDIR | 0755, "'cntrl' for SPDK" },
    { "file-of-others", EACCES, S_IFREG | 0644, "it is not a socket" },
    { "missing", ENOENT, 0, "does not exist; start the server first" },
    { "under-a-file", ENOTDIR, 0, "does not exist; start the server first" },
    { "no-listener", ECONNREFUSED, S_IFSOCK, "no server listens" },
    { "gone-since", ECONNREFUSED, 0, "no server listens" },
    { "directory", ECONNREFUSED, S_IFDIR | 0755, "'cntrl' for SPDK" },
    { "file", ECONNREFUSED, S_IFREG | 0644, "it is not a socket" },
    { "pipe", ECONNREFUSED, S_IFIFO | 0644, "it is not a socket" },
    { "backlog-full", EAGAIN, S_IFSOCK, "another client may be connected" },
    { "datagrams", EPROTOTYPE, S_IFSOCK, "not a stream socket" },
    { "long", ENAMETOOLONG, 0, "shorter" },
    { "other", EMFILE, S_IFSOCK, "Too many open files" },
};

static void test_hint(const void *opaque)
{
    size_t i = GPOINTER_TO_SIZE(opaque);
    const char *hint = vfio_user_dial_hint(rows[i].error, rows[i].mode);

    g_assert_nonnull(strstr(hint, rows[i].hint));
    g_assert_null(strchr(hint, '\n'));
}

#define SHORT_MS 20
#define LONG_MS 60000

/* A server in the abstract namespace with a backlog for one client. */
typedef struct Place {
    char name[32];
    int fd;
} Place;

static void place_init(Place *place)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int n = snprintf(place->name, sizeof(place->name), "vfio-user-dial-%d",
                     getpid());

    memcpy(addr.sun_path + 1, place->name, n);
    place->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(place->fd, (struct sockaddr *)&addr,
                         offsetof(struct sockaddr_un, sun_path) + 1 + n), ==,
                    0);
    g_assert_cmpint(listen(place->fd, 0), ==, 0);
}

static QIOChannelSocket *dial(Place *place, unsigned timeout_ms, Error **errp)
{
    SocketAddress addr = {
        .type = SOCKET_ADDRESS_TYPE_UNIX,
        .u.q_unix = {
            .path = place->name,
            .has_abstract = true,
            .abstract = true,
        },
    };

    return vfio_user_dial(&addr, timeout_ms, errp);
}

static void test_answered(void)
{
    PeerCounts before = peer_counts();
    QIOChannelSocket *ioc;
    Place place;

    place_init(&place);
    ioc = dial(&place, LONG_MS, &error_abort);
    object_unref(OBJECT(ioc));
    close(place.fd);
    peer_assert_counts(before);
}

/* The connecting thread and its caller time out together, in any order. */
static void test_late(void)
{
    PeerCounts before = peer_counts();
    QIOChannelSocket *ioc;
    Place place;

    place_init(&place);
    ioc = dial(&place, LONG_MS, &error_abort);
    for (int i = 0; i < 20; i++) {
        Error *err = NULL;

        g_assert_null(dial(&place, SHORT_MS, &err));
        peer_assert_error(err, "another client may be connected");
    }
    object_unref(OBJECT(ioc));
    close(place.fd);
    peer_assert_counts(before);
}

int main(int argc, char **argv)
{
    size_t i;

    module_call_init(MODULE_INIT_QOM);
    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/dial/hint/%s",
                                                rows[i].name);

        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_hint);
    }
    g_test_add_func("/vfio-user/dial/answered", test_answered);
    g_test_add_func("/vfio-user/dial/late", test_late);
    return g_test_run();
}
