/*
 * vfio-user: types and calls that depend on the version of QEMU
 *
 * For QEMU 11.1.  The client uses the names of this version.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_BASE_H
#define HW_VFIO_USER_BASE_H

/* Type of the data argument of class_init(). */
typedef const void VFIOUserClassData;

#endif /* HW_VFIO_USER_BASE_H */
