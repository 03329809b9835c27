/*
 * Test rig: a QEMU whose stderr can be read
 *
 * For tests that count messages to the user while QEMU runs.  Test thread
 * only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_SAID_H
#define TESTS_QTEST_VFIO_USER_SAID_H

#include "libqtest.h"

typedef struct VFIOUserSaid {
    QTestState *qts;
    char *dir;
    char *path;
} VFIOUserSaid;

/* Starts QEMU with the given arguments. */
VFIOUserSaid *vfio_user_said_new(const char *format, ...)
    G_GNUC_PRINTF(1, 2);

/* Returns everything written to stderr so far. */
char *vfio_user_said_text(VFIOUserSaid *said);

/* Returns how often @text occurs in it. */
unsigned vfio_user_said_count(VFIOUserSaid *said, const char *text);

void vfio_user_said_free(VFIOUserSaid *said);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserSaid, vfio_user_said_free)

#endif /* TESTS_QTEST_VFIO_USER_SAID_H */
