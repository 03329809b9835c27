/* SPDX-License-Identifier: GPL-2.0-or-later */
/* system/ramblock.h of QEMU 11.1, as QEMU 10.0 has it */

#ifndef BASE_SYSTEM_RAMBLOCK_H
#define BASE_SYSTEM_RAMBLOCK_H

#include "exec/ramblock.h"

#endif /* BASE_SYSTEM_RAMBLOCK_H */
