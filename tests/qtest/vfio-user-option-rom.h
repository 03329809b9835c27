/*
 * Definitions shared by the option ROM and its test
 *
 * Also included by the assembler.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_OPTION_ROM_H
#define TESTS_QTEST_VFIO_USER_OPTION_ROM_H

#define VFIO_USER_OPTION_ROM_SIZE 512

/* IDs of the device that the ROM belongs to */
#define VFIO_USER_OPTION_ROM_VENDOR 0x1234
#define VFIO_USER_OPTION_ROM_DEVICE 0xfeed

/* What it writes, and where: the inter-application communication area */
#define VFIO_USER_OPTION_ROM_MARK 0xcafe
#define VFIO_USER_OPTION_ROM_MARK_AT 0x4f0

#endif /* TESTS_QTEST_VFIO_USER_OPTION_ROM_H */
