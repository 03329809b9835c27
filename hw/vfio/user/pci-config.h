/*
 * vfio-user PCI configuration cycles
 *
 * The guest's reads and writes of configuration space.  Registers that hw/vfio
 * emulates come from QEMU's copy, the others from the server.  After a write
 * that resets the function, the previous settings are restored in the server,
 * see pci-restore.h.  Nothing is checked here; that was done once, when the
 * device was realized.
 *
 * Threads: the main loop and vCPUs, with the big QEMU lock, which is held until
 * the server replies: a cycle runs in a handler of the host bridge, which
 * rejects all other cycles meanwhile and uses the device afterwards.  Each
 * cycle has a budget.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_CONFIG_H
#define HW_VFIO_USER_PCI_CONFIG_H

#include "hw/pci/pci.h"

/* Implement PCIDeviceClass.config_read and config_write; @len is 1, 2 or 4. */
uint32_t vfio_user_pci_config_read(PCIDevice *pdev, uint32_t addr, int len);
void vfio_user_pci_config_write(PCIDevice *pdev, uint32_t addr, uint32_t value,
                                int len);

#endif /* HW_VFIO_USER_PCI_CONFIG_H */
