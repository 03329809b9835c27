/*
 * Test rig: suspends a guest on the machine "pc" (S3)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_SLEEP_H
#define TESTS_QTEST_VFIO_USER_SLEEP_H

#include "libqtest.h"

/*
 * Does what firmware and an ACPI driver do; returns when the guest is
 * suspended.
 */
void vfio_user_sleep(QTestState *qts);

#endif /* TESTS_QTEST_VFIO_USER_SLEEP_H */
