/*
 * Test rig: a guest of the machine pc that sleeps (S3)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_SLEEP_H
#define TESTS_QTEST_VFIO_USER_SLEEP_H

#include "libqtest.h"

/* What firmware and a driver of ACPI do; returns when the guest sleeps. */
void vfio_user_sleep(QTestState *qts);

#endif /* TESTS_QTEST_VFIO_USER_SLEEP_H */
