/*
 * vfio-user PCI configuration space after a reset
 *
 * If the guest resets a device, or QEMU resets it while the guest uses it, the
 * device loses its settings.  But QEMU still shows and uses its own copy of
 * BARs, command register, MSI and MSI-X.  The functions below restore the
 * settings in the server, as the kernel does for devices of the host.
 *
 * Threads: the main loop and vCPUs, with the big QEMU lock throughout.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_RESTORE_H
#define HW_VFIO_USER_PCI_RESTORE_H

#include "hw/vfio/pci.h"

/* A copy of the server's configuration space, without the extended space. */
typedef struct VFIOUserPCIConfig {
    uint8_t bytes[PCI_CONFIG_SPACE_SIZE];
} VFIOUserPCIConfig;

/**
 * vfio_user_pci_config_fetch:
 *
 * Reads the server's configuration space.
 *
 * Returns true, or false after reporting the failure.
 */
bool vfio_user_pci_config_fetch(VFIOPCIDevice *vdev, VFIOUserPCIConfig *config);

/**
 * vfio_user_pci_config_restore:
 * @before: fetched before the reset; NULL: restore only the registers of which
 *          QEMU has a copy
 *
 * Writes the registers that the reset has changed: those of the header, and the
 * control registers of PCI Express, MSI and MSI-X.  Failures are reported; the
 * device then stays as the reset has left it.
 */
void vfio_user_pci_config_restore(VFIOPCIDevice *vdev,
                                  const VFIOUserPCIConfig *before);

/* What the guest has written to the server's registers since the last reset. */
typedef struct VFIOUserPCIWritten {
    VFIOUserPCIConfig value;
    VFIOUserPCIConfig mask;     /* a byte is not 0 if it was written */
} VFIOUserPCIWritten;

/* The guest writes the @len low bytes of @value at @addr. */
void vfio_user_pci_written_note(VFIOUserPCIWritten *w, uint32_t addr,
                                uint32_t value, int len);

/**
 * vfio_user_pci_config_resume:
 * @written: what the guest has written to the last server
 *
 * Writes the settings of the guest to a server that has just begun: those that
 * vfio_user_pci_config_restore() restores, and the power state, which is last.
 *
 * Returns true, or false after reporting that nothing could be read.
 */
bool vfio_user_pci_config_resume(VFIOPCIDevice *vdev,
                                 const VFIOUserPCIWritten *written);

/**
 * vfio_user_pci_config_forget:
 *
 * Called in a reset that will clear QEMU's copy: clears the settings of MSI,
 * MSI-X and the option ROM's address that the server may have kept.
 */
void vfio_user_pci_config_forget(VFIOPCIDevice *vdev);

#endif /* HW_VFIO_USER_PCI_RESTORE_H */
