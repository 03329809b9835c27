/* SPDX-License-Identifier: GPL-2.0-or-later */
/* system/address-spaces.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_SYSTEM_ADDRESS_SPACES_H
#define BASE_SYSTEM_ADDRESS_SPACES_H

#include "exec/address-spaces.h"

#endif /* BASE_SYSTEM_ADDRESS_SPACES_H */
