/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hw/core/vmstate-if.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_HW_CORE_VMSTATE_IF_H
#define BASE_HW_CORE_VMSTATE_IF_H

#include "hw/vmstate-if.h"

#endif /* BASE_HW_CORE_VMSTATE_IF_H */
