/*
 * Option ROM of a vfio-user PCI device
 *
 * How large it is, which the server is asked once and hw/vfio finds in the copy
 * of configuration space.  Does not read the ROM.
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
 * @user: with a copy of configuration space
 *
 * Makes the ROM's BAR in the copy one that can be sized.  A ROM that is no ROM
 * is warned of, and the device has none.
 */
void vfio_user_pci_size_rom(VFIOPCIDevice *vdev, VFIOUserDevice *user);

#endif /* HW_VFIO_USER_PCI_ROM_H */
