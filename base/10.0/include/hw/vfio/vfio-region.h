/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hw/vfio/vfio-region.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_HW_VFIO_VFIO_REGION_H
#define BASE_HW_VFIO_VFIO_REGION_H

#include "hw/vfio/vfio-device.h"

#endif /* BASE_HW_VFIO_VFIO_REGION_H */
