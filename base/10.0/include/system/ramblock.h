/* SPDX-License-Identifier: GPL-2.0-or-later */
/* system/ramblock.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_SYSTEM_RAMBLOCK_H
#define BASE_SYSTEM_RAMBLOCK_H

#include "exec/ramblock.h"

#endif /* BASE_SYSTEM_RAMBLOCK_H */
