/* SPDX-License-Identifier: GPL-2.0-or-later */
/* system/memory.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_SYSTEM_MEMORY_H
#define BASE_SYSTEM_MEMORY_H

#include "exec/memory.h"

#endif /* BASE_SYSTEM_MEMORY_H */
