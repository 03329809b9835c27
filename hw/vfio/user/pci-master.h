/*
 * vfio-user PCI bus mastering
 *
 * Whether the guest lets the device reach memory: the bit Bus Master of its
 * command register.  A server that asks for memory by message is refused
 * without it, as the bus would refuse its device.
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
    unsigned setting;           /* writes under way that set it; atomic */
} VFIOUserPCIMaster;

void vfio_user_pci_master_init(VFIOUserPCIMaster *m, PCIDevice *pdev);

/* Whether the device may do DMA now. */
bool vfio_user_pci_master_is_on(VFIOUserPCIMaster *m);

/**
 * vfio_user_pci_master_begin:
 *
 * A configuration write is about to be sent.  The server may act on it before
 * it answers, so that a bit that it sets counts from now on.
 *
 * Returns what vfio_user_pci_master_end() takes, once the write is done and
 * QEMU's copy of the register has followed.
 */
bool vfio_user_pci_master_begin(VFIOUserPCIMaster *m, uint32_t addr,
                                uint32_t value, int len);
void vfio_user_pci_master_end(VFIOUserPCIMaster *m, bool sets);

#endif /* HW_VFIO_USER_PCI_MASTER_H */
