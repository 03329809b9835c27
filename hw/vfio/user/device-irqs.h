/*
 * Interrupts of a vfio-user device
 *
 * The member of VFIODeviceIOOps that deals with interrupts; device.h has what
 * the rooms above call.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_DEVICE_IRQS_H
#define HW_VFIO_USER_DEVICE_IRQS_H

#include "hw/vfio/user/device.h"

int vfio_user_device_set_irqs(VFIODevice *vbasedev, struct vfio_irq_set *irqs);

#endif /* HW_VFIO_USER_DEVICE_IRQS_H */
