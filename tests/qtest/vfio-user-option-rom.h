/*
 * What the option ROM and its test share
 *
 * Read by the assembler, too.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_OPTION_ROM_H
#define TESTS_QTEST_VFIO_USER_OPTION_ROM_H

#define VFIO_USER_OPTION_ROM_SIZE 512

/* Of the device that it belongs to */
#define VFIO_USER_OPTION_ROM_VENDOR 0x1234
#define VFIO_USER_OPTION_ROM_DEVICE 0xfeed

/* What it writes, and where: RAM for communication between applications */
#define VFIO_USER_OPTION_ROM_MARK 0xcafe
#define VFIO_USER_OPTION_ROM_MARK_AT 0x4f0

#endif /* TESTS_QTEST_VFIO_USER_OPTION_ROM_H */
