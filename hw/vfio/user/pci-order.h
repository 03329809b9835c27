/*
 * vfio-user PCI device: the order of its writes
 *
 * PCI delivers the writes of a CPU to a device in order.  Posted messages keep
 * that order among themselves.  A write that signals an eventfd or goes to
 * mapped memory does not wait for messages.  So if a device has such registers,
 * QEMU does not post the other writes, but waits for their replies.
 *
 * Threads: those that have the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_ORDER_H
#define HW_VFIO_USER_PCI_ORDER_H

#include "hw/vfio/pci.h"
#include "hw/vfio/user/device.h"

/**
 * vfio_user_pci_order_writes:
 * @vdev: its BARs are registered
 * @user: its ioeventfds are set up
 * @post: false: the user has disabled posted writes
 *
 * Decides once, before the guest can write, whether writes to the BARs are
 * posted.  Existing mappings and ioeventfds count even if they are temporarily
 * disabled, as for INTx: they may be enabled between two writes of the guest.
 */
void vfio_user_pci_order_writes(VFIOPCIDevice *vdev, VFIOUserDevice *user,
                                bool post);

#endif /* HW_VFIO_USER_PCI_ORDER_H */
