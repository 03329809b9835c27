/*
 * vfio-user PCI configuration space after a reset
 *
 * A device that the guest resets, or that QEMU resets while the guest uses it,
 * forgets what was programmed, while QEMU goes on to show and to act on its
 * own copy of BARs, command register, MSI and MSI-X.  This writes back what
 * the server has lost, as the kernel does for a device of the host.
 *
 * Threads: the main loop and vCPUs, with the big QEMU lock throughout.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_RESTORE_H
#define HW_VFIO_USER_PCI_RESTORE_H

#include "hw/vfio/pci.h"

/* The server's configuration space at some time, without the extended one. */
typedef struct VFIOUserPCIConfig {
    uint8_t bytes[PCI_CONFIG_SPACE_SIZE];
} VFIOUserPCIConfig;

/**
 * vfio_user_pci_config_take:
 *
 * Reads the server's configuration space.
 *
 * Returns true, or false with the failure reported.
 */
bool vfio_user_pci_config_take(VFIOPCIDevice *vdev, VFIOUserPCIConfig *config);

/**
 * vfio_user_pci_config_restore:
 * @before: taken before the reset; NULL: restore only what QEMU has a copy of
 *
 * Writes the registers that the reset has changed: those of the header, the
 * controls of PCI Express, MSI and MSI-X.  A failure is reported; the guest
 * then has a device that was reset.
 */
void vfio_user_pci_config_restore(VFIOPCIDevice *vdev,
                                  const VFIOUserPCIConfig *before);

/**
 * vfio_user_pci_config_forget:
 *
 * For a reset that clears QEMU's copy, before it does: clears what the server
 * may have kept of MSI, MSI-X and the address of the option ROM.
 */
void vfio_user_pci_config_forget(VFIOPCIDevice *vdev);

#endif /* HW_VFIO_USER_PCI_RESTORE_H */
