/*
 * vfio-user: types and calls whose shape depends on the version of QEMU
 *
 * For QEMU 11.1, whose names the client uses.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_BASE_H
#define HW_VFIO_USER_BASE_H

/* What a type's class_init() is given. */
typedef const void VFIOUserClassData;

#endif /* HW_VFIO_USER_BASE_H */
