/*
 * Option ROM of a vfio-user PCI device
 *
 * Asks the server once for the size of the ROM and stores it in the copy of
 * configuration space, where hw/vfio finds it.  Does not read the ROM.
 *
 * Threads: the main loop, with the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_ROM_H
#define HW_VFIO_USER_PCI_ROM_H

#include "hw/vfio/pci.h"
#include "hw/vfio/user/device.h"

/**
 * vfio_user_pci_size_rom:
 * @user: has a copy of configuration space
 *
 * Makes the ROM's BAR in the copy writable according to its size.  If the size
 * is invalid, warns and disables the ROM.
 */
void vfio_user_pci_size_rom(VFIOPCIDevice *vdev, VFIOUserDevice *user);

#endif /* HW_VFIO_USER_PCI_ROM_H */
