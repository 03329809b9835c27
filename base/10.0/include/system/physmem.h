/* SPDX-License-Identifier: GPL-2.0-or-later */
/* system/physmem.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_SYSTEM_PHYSMEM_H
#define BASE_SYSTEM_PHYSMEM_H

#include "exec/ram_addr.h"

#define physical_memory_range_includes_clean \
    cpu_physical_memory_range_includes_clean
#define physical_memory_set_dirty_range cpu_physical_memory_set_dirty_range
#define physical_memory_set_dirty_lebitmap \
    cpu_physical_memory_set_dirty_lebitmap

#endif /* BASE_SYSTEM_PHYSMEM_H */
