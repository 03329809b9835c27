/*
 * vfio-user PCI device: its ioeventfds in KVM
 *
 * Asks for the ioeventfds of the BARs and gives KVM those that it can take, so
 * that a guest's write signals the server without leaving the kernel.  All
 * others, and all where there is no KVM, are for the region's write, see
 * device.h.  QEMU's memory core would do without KVM as well, but blocks on an
 * eventfd that is full.
 *
 * Threads: those that have the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_IOEVENTFD_H
#define HW_VFIO_USER_PCI_IOEVENTFD_H

#include "hw/vfio/pci.h"
#include "hw/vfio/user/device.h"

typedef struct VFIOUserPCIIoeventfds {
    VFIOPCIDevice *vdev;
    VFIOUserDevice *user;
    /* of each entry, as QEMU's memory core wants it; descriptors not owned */
    EventNotifier *notifiers[VFIO_USER_IOEVENTFD_REGIONS];
    bool in_kvm;
} VFIOUserPCIIoeventfds;

/**
 * vfio_user_pci_ioeventfds_setup:
 * @vdev: with its BARs registered
 *
 * Asks the server.  Returns true, or false with @errp set and nothing taken.
 */
bool vfio_user_pci_ioeventfds_setup(VFIOUserPCIIoeventfds *pci,
                                    VFIOPCIDevice *vdev, VFIOUserDevice *user,
                                    Error **errp);
void vfio_user_pci_ioeventfds_teardown(VFIOUserPCIIoeventfds *pci);

/**
 * vfio_user_pci_ioeventfds_update:
 *
 * To be called when interrupts may have been set up otherwise, and when the
 * connection is lost: gives KVM the ioeventfds, or takes them back.
 */
void vfio_user_pci_ioeventfds_update(VFIOUserPCIIoeventfds *pci);

#endif /* HW_VFIO_USER_PCI_IOEVENTFD_H */
