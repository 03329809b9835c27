/*
 * vfio-user PCI device: the order of its writes
 *
 * See the header for what this file is and is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vfio/user/pci-order.h"
#include "trace.h"

static bool is_mapped(const VFIORegion *region)
{
    for (int i = 0; i < region->nr_mmaps; i++) {
        if (region->mmaps[i].mmap) {
            return true;
        }
    }
    return false;
}

/* Whether writes may reach the device by other means than messages. */
static bool has_direct_path(const VFIOPCIDevice *vdev,
                            const VFIOUserDevice *user)
{
    for (int i = 0; i < PCI_ROM_SLOT; i++) {
        if (is_mapped(&vdev->bars[i].region)) {
            return true;
        }
    }
    for (int i = 0; i < VFIO_USER_IOEVENTFD_REGIONS; i++) {
        if (user->ioeventfds[i]) {
            return true;
        }
    }
    return false;
}

void vfio_user_pci_order_writes(VFIOPCIDevice *vdev, VFIOUserDevice *user,
                                bool post)
{
    user->direct_path = has_direct_path(vdev, user);
    trace_vfio_user_pci_order(vfio_user_proxy_name(user->proxy),
                              user->direct_path);
    for (int i = 0; i < PCI_ROM_SLOT; i++) {
        vdev->bars[i].region.post_wr = post && !user->direct_path;
    }
}
