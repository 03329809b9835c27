/*
 * Test rig: a QEMU whose stderr can be read
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "vfio-user-said.h"

VFIOUserSaid *vfio_user_said_new(const char *format, ...)
{
    VFIOUserSaid *said = g_new0(VFIOUserSaid, 1);
    g_autofree char *args = NULL;
    va_list ap;

    va_start(ap, format);
    args = g_strdup_vprintf(format, ap);
    va_end(ap);
    said->dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    g_assert_nonnull(said->dir);
    said->path = g_build_filename(said->dir, "stderr", NULL);
    said->qts = qtest_initf("%s 2>%s", args, said->path);
    return said;
}

char *vfio_user_said_text(VFIOUserSaid *said)
{
    char *text;

    g_assert_true(g_file_get_contents(said->path, &text, NULL, NULL));
    return text;
}

unsigned vfio_user_said_count(VFIOUserSaid *said, const char *text)
{
    g_autofree char *all = vfio_user_said_text(said);
    unsigned n = 0;

    for (const char *at = all; (at = strstr(at, text)); at++) {
        n++;
    }
    return n;
}

void vfio_user_said_free(VFIOUserSaid *said)
{
    g_autofree char *text = NULL;

    qtest_quit(said->qts);
    text = vfio_user_said_text(said);
    g_test_message("QEMU said: %s", text);
    g_unlink(said->path);
    g_assert_cmpint(g_rmdir(said->dir), ==, 0);
    g_free(said->path);
    g_free(said->dir);
    g_free(said);
}
