/*
 * Test rig: what the rig's QEMU has written to stderr
 *
 * QEMU appends to a memory file of this process, which it opens by its name
 * under /proc.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>

#include "libqtest.h"
#include "vfio-user-errors.h"

static int errors_fd = -1;

/* The test has failed; QEMU may have said why. */
static void print_errors(void *opaque)
{
    g_autofree char *text = vfio_user_errors_text();

    fprintf(stderr, "# QEMU's messages:\n%s", text);
}

char *vfio_user_errors_args(const char *args)
{
    if (errors_fd < 0) {
        errors_fd = memfd_create("vfio-user-errors", MFD_CLOEXEC);
        g_assert_cmpint(errors_fd, >=, 0);
        qtest_add_abrt_handler(print_errors, &errors_fd);
    }
    return g_strdup_printf("%s 2>>/proc/%d/fd/%d", args, getpid(), errors_fd);
}

void vfio_user_errors_forget(void)
{
    g_assert_cmpint(ftruncate(errors_fd, 0), ==, 0);
}

char *vfio_user_errors_text(void)
{
    off_t size = lseek(errors_fd, 0, SEEK_END);
    char *text = g_malloc0(size + 1);

    g_assert_cmpint(pread(errors_fd, text, size, 0), ==, size);
    return text;
}

unsigned vfio_user_errors_count(const char *text)
{
    g_autofree char *all = vfio_user_errors_text();
    unsigned n = 0;

    for (const char *at = all; (at = strstr(at, text)); at++) {
        n++;
    }
    return n;
}

unsigned vfio_user_errors_lines(void)
{
    return vfio_user_errors_count("\n");
}
