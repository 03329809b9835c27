/*
 * vfio-user PCI configuration cycles
 *
 * See the header for what this file is and is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qemu/main-loop.h"
#include "qemu/range.h"
#include "hw/vfio/pci.h"
#include "hw/vfio/user/device.h"
#include "hw/vfio/user/pci-config.h"
#include "hw/vfio/user/pci-restore.h"

static uint32_t read_through(VFIODevice *vbasedev, uint32_t addr, int len)
{
    uint32_t value = 0;
    int ret = vbasedev->io_ops->region_read(vbasedev,
                                            VFIO_PCI_CONFIG_REGION_INDEX, addr,
                                            len, &value);

    if (ret != len) {
        vfio_user_device_report(vbasedev, "cannot read %d bytes of"
                                " configuration space at 0x%x: %s", len, addr,
                                strreaderror(ret));
        value = UINT32_MAX;
    }
    return le32_to_cpu(value);
}

uint32_t vfio_user_pci_config_read(PCIDevice *pdev, uint32_t addr, int len)
{
    VFIODevice *vbasedev = &VFIO_PCI_DEVICE(pdev)->vbasedev;
    VFIOUserGap *gap = &vfio_user_device_of(vbasedev)->gap;
    uint32_t value = 0;
    uint64_t seen;

    assert(bql_locked());
    if (!vfio_pci_config_is_emulated(pdev, addr, len)) {
        seen = vfio_user_gap_returns(gap);
        value = read_through(vbasedev, addr, len);
        if (vfio_user_proxy_state(vfio_user_device_of(vbasedev)->proxy) !=
            VFIO_USER_UP) {
            vfio_user_gap_begin(gap, seen);
        }
        /* a guest takes all ones for D3cold, or for a device that is gone */
        if (vfio_user_gap_is_young(gap)) {
            value = pci_default_read_config(pdev, addr, len);
        }
    }
    return vfio_pci_config_merge(pdev, addr, len, value);
}

/* Whether a write sets a bit of the byte at an offset of a capability. */
static bool sets_bit(uint32_t addr, uint32_t value, int len, uint8_t cap,
                     unsigned offset, uint8_t bit)
{
    uint32_t byte = cap + offset;

    return cap && range_covers_byte(addr, len, byte) &&
           value >> 8 * (byte - addr) & bit;
}

/* Whether a write is a function-level reset (PCI Express, Advanced Features) */
static bool resets(PCIDevice *pdev, uint32_t addr, uint32_t value, int len)
{
    return sets_bit(addr, value, len, pdev->exp.exp_cap, PCI_EXP_DEVCTL + 1,
                    PCI_EXP_DEVCTL_BCR_FLR >> 8) ||
           sets_bit(addr, value, len,
                    pci_find_capability(pdev, PCI_CAP_ID_AF), PCI_AF_CTRL,
                    PCI_AF_CTRL_FLR);
}

/* Whether a write sets the power state D0 */
static bool powers_up(PCIDevice *pdev, uint32_t addr, uint32_t value, int len)
{
    uint8_t cap = pdev->pm_cap;
    uint32_t byte = cap + PCI_PM_CTRL;

    return cap && range_covers_byte(addr, len, byte) &&
           !(value >> 8 * (byte - addr) & PCI_PM_CTRL_STATE_MASK);
}

/* Whether the change from the power state in @before to D0 is a reset */
static bool resets_with_power(PCIDevice *pdev, const VFIOUserPCIConfig *before)
{
    uint16_t pmcsr = pci_get_word(before->bytes + pdev->pm_cap + PCI_PM_CTRL);

    /* D3hot */
    return (pmcsr & PCI_PM_CTRL_STATE_MASK) == 3 &&
           !(pmcsr & PCI_PM_CTRL_NO_SOFT_RESET);
}

static void write_through(PCIDevice *pdev, uint32_t addr, uint32_t value,
                          int len)
{
    VFIODevice *vbasedev = &VFIO_PCI_DEVICE(pdev)->vbasedev;
    uint32_t wire = cpu_to_le32(value);
    int ret = vbasedev->io_ops->region_write(vbasedev,
                                             VFIO_PCI_CONFIG_REGION_INDEX,
                                             addr, len, &wire, false);

    /* libvfio-user rejects the ROM's address; QEMU maps the ROM itself */
    if (ret != len && addr != PCI_ROM_ADDRESS) {
        vfio_user_device_report(vbasedev, "cannot write %d bytes of"
                                " configuration space at 0x%x: %s", len, addr,
                                strwriteerror(ret));
    }
}

void vfio_user_pci_config_write(PCIDevice *pdev, uint32_t addr, uint32_t value,
                                int len)
{
    VFIOPCIDevice *vdev = VFIO_PCI_DEVICE(pdev);
    bool reset = resets(pdev, addr, value, len);
    bool power = powers_up(pdev, addr, value, len);
    VFIOUserPCIConfig before;
    bool taken;

    assert(bql_locked());
    VFIO_USER_BUDGET_GUARD(vfio_user_device_of(&vdev->vbasedev)->proxy,
                           reset || power ? VFIO_USER_BUDGET_RESET
                                          : VFIO_USER_BUDGET_ORDINARY);
    taken = (reset || power) && vfio_user_pci_config_fetch(vdev, &before);
    write_through(pdev, addr, value, len);
    vfio_pci_config_written(pdev, addr, value, len);
    reset |= power && taken && resets_with_power(pdev, &before);
    if (reset) {
        vfio_user_pci_config_restore(vdev, taken ? &before : NULL);
        vfio_user_device_unmask_irqs(&vdev->vbasedev);
    }
}
