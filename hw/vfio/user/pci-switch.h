/*
 * vfio-user PCI device: replacing its server while the VM runs
 *
 * Moves the state of the device from one server to another.  Does not begin
 * that by itself, and does not handle the loss of a server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_SWITCH_H
#define HW_VFIO_USER_PCI_SWITCH_H

#include "qemu/coroutine.h"
#include "hw/vfio/user/pci-internal.h"

/**
 * vfio_user_pci_switch:
 * @addr: of the new server, which must offer the same device; not taken
 *
 * Yields while threads connect and move what can be moved while the guest runs.
 * Under the big QEMU lock, the servers are waited for no longer than in the
 * completion of a migration.
 *
 * Returns how long the guest did not run, in ms; or -1 with @errp set, and the
 * device continues with the server that it had.
 */
int64_t coroutine_fn vfio_user_pci_switch(VFIOUserPCIDevice *vudev,
                                          SocketAddress *addr, Error **errp);

#endif /* HW_VFIO_USER_PCI_SWITCH_H */
