/* SPDX-License-Identifier: GPL-2.0-or-later */
/* system/ramlist.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_SYSTEM_RAMLIST_H
#define BASE_SYSTEM_RAMLIST_H

#include "exec/ramlist.h"

#endif /* BASE_SYSTEM_RAMLIST_H */
