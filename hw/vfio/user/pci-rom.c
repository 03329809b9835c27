/*
 * Option ROM of a vfio-user PCI device
 *
 * Some servers implement sizing of the BAR as a device does.  Servers based on
 * libvfio-user ignore the write; then the region's size is used.
 *
 * Threads: see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"
#include "qemu/units.h"
#include "hw/vfio/user/pci-rom.h"

/* The largest that the PCI specification allows */
#define MAX_ROM (16 * MiB)

/* The smallest that fits the register */
#define MIN_ROM 2048

static bool access_bar(VFIODevice *vbasedev, uint32_t *value, bool write)
{
    VFIODeviceIOOps *ops = vbasedev->io_ops;
    uint32_t wire = cpu_to_le32(*value);
    int ret = write ?
        ops->region_write(vbasedev, VFIO_PCI_CONFIG_REGION_INDEX,
                          PCI_ROM_ADDRESS, sizeof(wire), &wire, false) :
        ops->region_read(vbasedev, VFIO_PCI_CONFIG_REGION_INDEX,
                         PCI_ROM_ADDRESS, sizeof(wire), &wire);

    *value = le32_to_cpu(wire);
    return ret == sizeof(wire);
}

/* Sets @is to the value of the BAR after writing all ones to its address. */
static bool ask_bar(VFIODevice *vbasedev, uint32_t was, uint32_t *is)
{
    uint32_t ones = PCI_ROM_ADDRESS_MASK;

    if (access_bar(vbasedev, &ones, true) &&
        access_bar(vbasedev, is, false) &&
        (*is == was || access_bar(vbasedev, &was, true))) {
        return true;
    }
    warn_report("%s: option ROM disabled: the size of its BAR cannot be read",
                vbasedev->name);
    return false;
}

static uint64_t region_size(VFIODevice *vbasedev)
{
    struct vfio_region_info *info;

    return vfio_device_get_region_info(vbasedev, VFIO_PCI_ROM_REGION_INDEX,
                                       &info) == 0 ? info->size : 0;
}

/* Returns the size of the BAR, a power of two; 0 without a ROM. */
static uint32_t rom_size(VFIODevice *vbasedev, uint32_t was)
{
    uint64_t region = region_size(vbasedev);
    uint32_t is, size;

    if (!ask_bar(vbasedev, was, &is)) {
        return 0;
    }
    size = -(is & PCI_ROM_ADDRESS_MASK);
    if (is == was) {
        size = region ? MAX(pow2ceil(MIN(region, MAX_ROM)), MIN_ROM) : 0;
    }
    if (size && !is_power_of_2(size)) {
        warn_report("%s: option ROM disabled: 0x%x bytes is not a valid size of"
                    " its BAR", vbasedev->name, size);
        return 0;
    }
    if (size && region > MAX_ROM) {
        warn_report("%s: option ROM not shown: its region has 0x%" PRIx64
                    " bytes, more than 16 MiB", vbasedev->name, region);
        return 0;
    }
    return size;
}

void vfio_user_pci_size_rom(VFIOPCIDevice *vdev, VFIOUserDevice *user)
{
    PCIDevice *pdev = PCI_DEVICE(vdev);
    VFIOUserRegionCopy copy = user->copy;
    uint32_t size;

    if (pdev->romfile || !pdev->rom_bar) {
        return;                 /* hw/vfio does not read the size either */
    }
    /* remove the copy temporarily, so that accesses go to the server */
    user->copy.bytes = NULL;
    size = rom_size(&vdev->vbasedev, ldl_le_p(copy.bytes + PCI_ROM_ADDRESS));
    user->copy = copy;
    stl_le_p(copy.bytes + PCI_ROM_ADDRESS, 0);
    stl_le_p(copy.wmask + PCI_ROM_ADDRESS, size ? -size : 0);
}
