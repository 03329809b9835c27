/*
 * vfio-user PCI device: its ioeventfds in KVM
 *
 * Asks the server for the ioeventfds of the BARs and registers those that KVM
 * supports with KVM, so that a guest's write signals the server without leaving
 * the kernel.  Region writes use the others, or all of them without KVM, see
 * device.h.  QEMU's memory core could handle them without KVM as well, but
 * would block on a full eventfd.
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
    /* one per entry, for QEMU's memory core; descriptors are not owned */
    EventNotifier *notifiers[VFIO_USER_IOEVENTFD_REGIONS];
    bool in_kvm;
} VFIOUserPCIIoeventfds;

/**
 * vfio_user_pci_ioeventfds_setup:
 * @vdev: its BARs are registered
 *
 * Asks the server for ioeventfds and registers them.  Returns true; or false
 * with @errp set and nothing registered.
 */
bool vfio_user_pci_ioeventfds_setup(VFIOUserPCIIoeventfds *pci,
                                    VFIOPCIDevice *vdev, VFIOUserDevice *user,
                                    Error **errp);
void vfio_user_pci_ioeventfds_teardown(VFIOUserPCIIoeventfds *pci);

/**
 * vfio_user_pci_ioeventfds_resume:
 *
 * Asks another server, as vfio_user_pci_ioeventfds_setup() does, and replaces
 * the ioeventfds of the last one.
 */
bool vfio_user_pci_ioeventfds_resume(VFIOUserPCIIoeventfds *pci, Error **errp);

/**
 * vfio_user_pci_ioeventfds_update:
 *
 * Registers the ioeventfds with KVM or unregisters them.  Must be called after
 * changes of the interrupt setup and when the connection is lost.
 */
void vfio_user_pci_ioeventfds_update(VFIOUserPCIIoeventfds *pci);

#endif /* HW_VFIO_USER_PCI_IOEVENTFD_H */
