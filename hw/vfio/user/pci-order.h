/*
 * vfio-user PCI device: the order of its writes
 *
 * PCI delivers the writes of a processor to a device in order.  A posted
 * message keeps that order among messages.  A write that signals an eventfd or
 * reaches mapped memory does not wait for messages: where a device has such a
 * register, its other writes are awaited.
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
 * @vdev: with its BARs registered
 * @user: with its ioeventfds
 * @post: false: the user wants all writes to be awaited
 *
 * Decides once whether writes to the BARs are posted, before the guest can
 * write.  Mappings and ioeventfds that are off for a while, as for INTx, come
 * back between two writes of the guest, so it is enough that they exist.
 */
void vfio_user_pci_order_writes(VFIOPCIDevice *vdev, VFIOUserDevice *user,
                                bool post);

#endif /* HW_VFIO_USER_PCI_ORDER_H */
