/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hw/vfio/vfio-container.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_HW_VFIO_VFIO_CONTAINER_H
#define BASE_HW_VFIO_VFIO_CONTAINER_H

#include "hw/vfio/vfio-common.h"

/*
 * In QEMU 10.0, VFIOContainer is the kernel's type of container.  Redefine the
 * name after all headers that use it in that sense.
 */
#define VFIOContainer VFIOContainerBase
#define vfio_address_space_get vfio_get_address_space
#define vfio_address_space_put vfio_put_address_space

#define TYPE_VFIO_IOMMU_USER TYPE_VFIO_IOMMU "-user"

#endif /* BASE_HW_VFIO_VFIO_CONTAINER_H */
