/*
 * vfio-user PCI configuration cycles
 *
 * See the header for what this file is and is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qemu/error-report.h"
#include "qemu/range.h"
#include "hw/vfio/pci.h"
#include "hw/vfio/user/device.h"
#include "hw/vfio/user/pci-config.h"

uint32_t vfio_user_pci_config_read(PCIDevice *pdev, uint32_t addr, int len)
{
    VFIODevice *vbasedev = &VFIO_PCI_DEVICE(pdev)->vbasedev;
    uint32_t value = 0;

    if (!vfio_pci_config_is_emulated(pdev, addr, len)) {
        bool unlocked;
        int ret;

        object_ref(OBJECT(pdev));       /* may be unplugged in the meantime */
        unlocked = vfio_user_device_unlock();
        ret = vbasedev->io_ops->region_read(vbasedev,
                                            VFIO_PCI_CONFIG_REGION_INDEX,
                                            addr, len, &value);
        vfio_user_device_relock(unlocked);
        if (ret != len) {
            error_report("%s: cannot read %d bytes of configuration space at"
                         " 0x%x: %s", vbasedev->name, len, addr,
                         vfio_io_strerror(ret));
            value = UINT32_MAX;
        }
        value = vfio_pci_config_merge(pdev, addr, len, le32_to_cpu(value));
        object_unref(OBJECT(pdev));
        return value;
    }
    return vfio_pci_config_merge(pdev, addr, len, 0);
}

/* Whether a write sets a bit of the byte at an offset of a capability. */
static bool sets_bit(uint32_t addr, uint32_t value, int len, uint8_t cap,
                     unsigned offset, uint8_t bit)
{
    uint32_t byte = cap + offset;

    return cap && range_covers_byte(addr, len, byte) &&
           value >> 8 * (byte - addr) & bit;
}

/* A function-level reset, by PCI Express or by Advanced Features */
static bool resets(PCIDevice *pdev, uint32_t addr, uint32_t value, int len)
{
    return sets_bit(addr, value, len, pdev->exp.exp_cap, PCI_EXP_DEVCTL + 1,
                    PCI_EXP_DEVCTL_BCR_FLR >> 8) ||
           sets_bit(addr, value, len,
                    pci_find_capability(pdev, PCI_CAP_ID_AF), PCI_AF_CTRL,
                    PCI_AF_CTRL_FLR);
}

void vfio_user_pci_config_write(PCIDevice *pdev, uint32_t addr, uint32_t value,
                                int len)
{
    VFIODevice *vbasedev = &VFIO_PCI_DEVICE(pdev)->vbasedev;
    uint32_t wire = cpu_to_le32(value);
    bool unlocked;
    int ret;

    object_ref(OBJECT(pdev));
    unlocked = vfio_user_device_unlock();
    ret = vbasedev->io_ops->region_write(vbasedev,
                                         VFIO_PCI_CONFIG_REGION_INDEX, addr,
                                         len, &wire, false);
    vfio_user_device_relock(unlocked);
    /* libvfio-user refuses the ROM's address; QEMU maps the ROM itself */
    if (ret != len && addr != PCI_ROM_ADDRESS) {
        error_report("%s: cannot write %d bytes of configuration space at"
                     " 0x%x: %s", vbasedev->name, len, addr,
                     vfio_io_strerror(ret));
    }
    if (qatomic_read(&pdev->qdev.realized)) {
        vfio_pci_config_written(pdev, addr, value, len);
        if (resets(pdev, addr, value, len)) {
            vfio_user_device_unmask_irqs(vbasedev);
        }
    }
    object_unref(OBJECT(pdev));
}
