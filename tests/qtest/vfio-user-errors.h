/*
 * Test rig: what the rig's QEMU has written to stderr
 *
 * For tests that share one VM and still count its messages.  A VM of its own
 * has VFIOUserSaid.  If a test fails, the messages are printed.  Test thread
 * only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_ERRORS_H
#define TESTS_QTEST_VFIO_USER_ERRORS_H

/*
 * Returns @args for vfio_user_rig_begin() with stderr redirected; to be freed
 * by the caller.  The same @args give the same result.
 */
char *vfio_user_errors_args(const char *args);

/* Forgets what was written until now. */
void vfio_user_errors_forget(void);

/* Returns everything that was written since. */
char *vfio_user_errors_text(void);

/* Returns how often @text occurs in it. */
unsigned vfio_user_errors_count(const char *text);

/* Returns how many lines were written since, warnings included. */
unsigned vfio_user_errors_lines(void);

#endif /* TESTS_QTEST_VFIO_USER_ERRORS_H */
