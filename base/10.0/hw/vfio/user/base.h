/*
 * vfio-user: types and calls whose shape depends on the version of QEMU
 *
 * For QEMU 10.0.  What has only another name there is in include/ beside this.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_BASE_H
#define HW_VFIO_USER_BASE_H

#include "migration/misc.h"
#include "system/runstate.h"

/* What a type's class_init() is given. */
typedef void VFIOUserClassData;

#define MIG_EVENT_SETUP MIG_EVENT_PRECOPY_SETUP

/* Without the handler that may refuse to stop, which 10.0 has not. */
#define qdev_add_vm_change_state_handler(dev, cb, cb_ret, opaque) \
    (qdev_add_vm_change_state_handler)(dev, cb, opaque)

#endif /* HW_VFIO_USER_BASE_H */
