/*
 * vfio-user PCI bus mastering
 *
 * Whether the guest allows the device to access memory, that is, the Bus Master
 * bit in the command register.  If it is clear, DMA requests of the server are
 * rejected, as the bus would reject those of a device.
 *
 * Threads: vfio_user_pci_master_is_on() any; the others those that have the
 * big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_MASTER_H
#define HW_VFIO_USER_PCI_MASTER_H

#include "hw/pci/pci.h"

typedef struct VFIOUserPCIMaster {
    PCIDevice *pdev;
    unsigned setting;           /* writes in flight that set it; atomic */
} VFIOUserPCIMaster;

void vfio_user_pci_master_init(VFIOUserPCIMaster *m, PCIDevice *pdev);

/* Whether the device may do DMA now. */
bool vfio_user_pci_master_is_on(VFIOUserPCIMaster *m);

/**
 * vfio_user_pci_master_begin:
 *
 * Called before a configuration write is sent.  The server may act on the write
 * before it replies, so a bit that is being set counts from now on.
 *
 * Returns the argument of vfio_user_pci_master_end(), which must be called
 * after the write and after the update of QEMU's copy of the register.
 */
bool vfio_user_pci_master_begin(VFIOUserPCIMaster *m, uint32_t addr,
                                uint32_t value, int len);
void vfio_user_pci_master_end(VFIOUserPCIMaster *m, bool sets);

#endif /* HW_VFIO_USER_PCI_MASTER_H */
