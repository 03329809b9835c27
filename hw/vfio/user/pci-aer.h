/*
 * vfio-user PCI device: errors that are reported to its driver
 *
 * A server that has come back has reset its device, and the driver in the guest
 * notices that only when a request is late.  A PCI Express device behind a port
 * can report an error instead (Advanced Error Reporting), and the driver then
 * recovers.  QEMU emulates the registers, also those of a device that has its
 * own: no message of vfio-user reports an error of the device.
 *
 * Threads: the main loop and vCPUs, with the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_AER_H
#define HW_VFIO_USER_PCI_AER_H

#include "hw/vfio/pci.h"

/**
 * vfio_user_pci_aer_setup:
 *
 * Takes over the capability of a device that has its capabilities, or adds one.
 *
 * Returns true, or false with @errp set if the device is not PCI Express, is
 * not below a port, or has no room for a capability.
 */
bool vfio_user_pci_aer_setup(VFIOPCIDevice *vdev, Error **errp);
void vfio_user_pci_aer_cleanup(VFIOPCIDevice *vdev);

/*
 * Handles a write of the guest if it is one to the capability; returns whether
 * it is.
 */
bool vfio_user_pci_aer_write(PCIDevice *pdev, uint32_t addr, uint32_t value,
                             int len);

/*
 * Reports a fatal internal error to the guest, if that has enabled errors.  No
 * effect without vfio_user_pci_aer_setup().
 */
void vfio_user_pci_aer_report(VFIOPCIDevice *vdev);

#endif /* HW_VFIO_USER_PCI_AER_H */
