/*
 * vfio-user: types and calls that depend on the version of QEMU
 *
 * For QEMU 10.0.  Headers and functions that only have another name there are
 * in base/10.0/include.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_BASE_H
#define HW_VFIO_USER_BASE_H

#include "migration/misc.h"
#include "system/runstate.h"

/* Type of the data argument of class_init(). */
typedef void VFIOUserClassData;

#define MIG_EVENT_SETUP MIG_EVENT_PRECOPY_SETUP

/* QEMU 10.0 has no cb_ret, a handler that can fail. */
#define qdev_add_vm_change_state_handler(dev, cb, cb_ret, opaque) \
    (qdev_add_vm_change_state_handler)(dev, cb, opaque)

#endif /* HW_VFIO_USER_BASE_H */
