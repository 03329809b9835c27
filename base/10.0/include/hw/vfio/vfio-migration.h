/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hw/vfio/vfio-migration.h of QEMU 11.1, implemented for QEMU 10.0 */

#ifndef BASE_HW_VFIO_VFIO_MIGRATION_H
#define BASE_HW_VFIO_VFIO_MIGRATION_H

#include "hw/vfio/vfio-device.h"

#define vfio_migration_reset_bytes_transferred vfio_reset_bytes_transferred
#define vfio_migration_add_bytes_transferred vfio_mig_add_bytes_transferred

#endif /* BASE_HW_VFIO_VFIO_MIGRATION_H */
