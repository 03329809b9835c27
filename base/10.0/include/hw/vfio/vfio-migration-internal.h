/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hw/vfio/vfio-migration-internal.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_HW_VFIO_VFIO_MIGRATION_INTERNAL_H
#define BASE_HW_VFIO_VFIO_MIGRATION_INTERNAL_H

#include "hw/vfio/vfio-migration.h"

#endif /* BASE_HW_VFIO_VFIO_MIGRATION_INTERNAL_H */
