/* SPDX-License-Identifier: GPL-2.0-or-later */
/* system/ram_addr.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_SYSTEM_RAM_ADDR_H
#define BASE_SYSTEM_RAM_ADDR_H

#include "exec/ram_addr.h"

#endif /* BASE_SYSTEM_RAM_ADDR_H */
