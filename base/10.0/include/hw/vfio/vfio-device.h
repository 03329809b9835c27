/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hw/vfio/vfio-device.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_HW_VFIO_VFIO_DEVICE_H
#define BASE_HW_VFIO_VFIO_DEVICE_H

#include "hw/vfio/vfio-container.h"

#define vfio_device_irq_set_signaling vfio_set_irq_signaling

#endif /* BASE_HW_VFIO_VFIO_DEVICE_H */
