/*
 * vfio-user PCI bus mastering
 *
 * The bit is read from QEMU's bus master region, which hw/pci/pci.c enables and
 * disables in configuration cycles, resets and migration.  The region is valid
 * as long as the device object, unlike the configuration space.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/range.h"
#include "hw/pci/pci_device.h"
#include "hw/vfio/user/pci-master.h"

void vfio_user_pci_master_init(VFIOUserPCIMaster *m, PCIDevice *pdev)
{
    *m = (VFIOUserPCIMaster) { .pdev = pdev };
}

static bool is_set(VFIOUserPCIMaster *m)
{
    return qatomic_read(&m->pdev->bus_master_enable_region.enabled);
}

bool vfio_user_pci_master_is_on(VFIOUserPCIMaster *m)
{
    /* in this order: when @setting drops to 0, the bit is already set */
    return qatomic_load_acquire(&m->setting) || is_set(m);
}

bool vfio_user_pci_master_begin(VFIOUserPCIMaster *m, uint32_t addr,
                                uint32_t value, int len)
{
    bool sets = range_covers_byte(addr, len, PCI_COMMAND) &&
                value >> 8 * (PCI_COMMAND - addr) & PCI_COMMAND_MASTER;

    if (sets) {
        qatomic_inc(&m->setting);
    }
    return sets;
}

void vfio_user_pci_master_end(VFIOUserPCIMaster *m, bool sets)
{
    if (sets) {
        qatomic_dec(&m->setting);
    }
}
