/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hw/core/qdev-properties.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_HW_CORE_QDEV_PROPERTIES_H
#define BASE_HW_CORE_QDEV_PROPERTIES_H

#include "hw/qdev-properties.h"

#endif /* BASE_HW_CORE_QDEV_PROPERTIES_H */
