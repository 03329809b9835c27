/*
 * vfio-user PCI configuration cycles
 *
 * What the guest reads of configuration space and writes to it: the server's
 * bytes, with those of QEMU over them where hw/vfio emulates.  A write by which
 * the guest resets the function leaves the server with what was programmed
 * before, see pci-restore.h.  Checks nothing; that was done once, when the
 * device was realized.
 *
 * Threads: the main loop and vCPUs, with the big QEMU lock, which is kept
 * while the server answers: a cycle runs inside a handler of the host bridge,
 * which refuses all other cycles meanwhile and uses the device afterwards.
 * Each has a budget.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_CONFIG_H
#define HW_VFIO_USER_PCI_CONFIG_H

#include "hw/pci/pci.h"

/* As PCIDeviceClass has them; @len is 1, 2 or 4. */
uint32_t vfio_user_pci_config_read(PCIDevice *pdev, uint32_t addr, int len);
void vfio_user_pci_config_write(PCIDevice *pdev, uint32_t addr, uint32_t value,
                                int len);

#endif /* HW_VFIO_USER_PCI_CONFIG_H */
