/*
 * vfio-user: what is said of a server that cannot be dialled
 *
 * That the hints fit what the kernel answers is for qtest, which dials.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vfio/user/dial.h"

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
    { "nobody-listens", ECONNREFUSED, S_IFSOCK, "no server listens" },
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

int main(int argc, char **argv)
{
    size_t i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/dial/hint/%s",
                                                rows[i].name);

        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_hint);
    }
    return g_test_run();
}
