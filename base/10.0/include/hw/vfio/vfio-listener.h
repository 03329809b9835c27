/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hw/vfio/vfio-listener.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_HW_VFIO_VFIO_LISTENER_H
#define BASE_HW_VFIO_VFIO_LISTENER_H

#include "hw/vfio/vfio-container.h"

#endif /* BASE_HW_VFIO_VFIO_LISTENER_H */
