/*
 * Interrupts of a vfio-user device
 *
 * Private to device*.c: the member of VFIODeviceIOOps that sets interrupts.
 * The functions for other files are in device.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_DEVICE_IRQS_H
#define HW_VFIO_USER_DEVICE_IRQS_H

#include "hw/vfio/user/device.h"

int vfio_user_device_set_irqs(VFIODevice *vbasedev, struct vfio_irq_set *irqs);

#endif /* HW_VFIO_USER_DEVICE_IRQS_H */
