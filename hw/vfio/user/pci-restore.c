/*
 * vfio-user PCI configuration space after a reset
 *
 * Registers are written as a driver writes them, each with its own size: that
 * is how libvfio-user identifies them.  Only registers that differ are written,
 * so that a server that keeps them during a reset sees no writes.
 *
 * Threads: see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qemu/main-loop.h"
#include "hw/vfio/user/device.h"
#include "hw/vfio/user/pci-restore.h"
#include "trace.h"

typedef struct Register {
    uint8_t offset;
    uint8_t size;
    bool copied;                /* the writable bits come from QEMU's copy */
} Register;

/* Backwards, as the kernel does: BARs before the bits that enable decoding */
static const Register header[] = {
    { PCI_INTERRUPT_LINE, 1 },
    { PCI_ROM_ADDRESS, 4, true },
    { PCI_BASE_ADDRESS_5, 4, true },
    { PCI_BASE_ADDRESS_4, 4, true },
    { PCI_BASE_ADDRESS_3, 4, true },
    { PCI_BASE_ADDRESS_2, 4, true },
    { PCI_BASE_ADDRESS_1, 4, true },
    { PCI_BASE_ADDRESS_0, 4, true },
    { PCI_LATENCY_TIMER, 1 },
    { PCI_CACHE_LINE_SIZE, 1 },
    { PCI_COMMAND, 2, true },
};

/* The last two exist only in version 2 of the capability */
static const Register express[] = {
    { PCI_EXP_DEVCTL, 2 },
    { PCI_EXP_LNKCTL, 2 },
    { PCI_EXP_DEVCTL2, 2 },
    { PCI_EXP_LNKCTL2, 2 },
};

#define MAX_REGISTERS 24

/* Registers and their target values */
typedef struct Plan {
    Register reg[MAX_REGISTERS];
    unsigned n;
    VFIOUserPCIConfig wanted;
} Plan;

static void plan_add(Plan *plan, uint8_t base, const Register *reg, unsigned n)
{
    assert(plan->n + n <= MAX_REGISTERS);
    for (unsigned i = 0; i < n; i++) {
        plan->reg[plan->n] = reg[i];
        plan->reg[plan->n++].offset += base;
    }
}

static void plan_msi(Plan *plan, PCIDevice *pdev)
{
    uint8_t cap = pdev->msi_cap;
    uint16_t flags = pci_get_word(pdev->config + cap + PCI_MSI_FLAGS);
    bool wide = flags & PCI_MSI_FLAGS_64BIT;
    const Register address = { PCI_MSI_ADDRESS_LO, 4, true };
    const Register upper = { PCI_MSI_ADDRESS_HI, 4, true };
    const Register data = { wide ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32, 2,
                            true };
    const Register mask = { wide ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32, 4,
                            true };
    const Register control = { PCI_MSI_FLAGS, 2, true };

    plan_add(plan, cap, &address, 1);
    if (wide) {
        plan_add(plan, cap, &upper, 1);
    }
    plan_add(plan, cap, &data, 1);
    if (flags & PCI_MSI_FLAGS_MASKBIT) {
        plan_add(plan, cap, &mask, 1);
    }
    plan_add(plan, cap, &control, 1);
}

static void plan_registers(Plan *plan, PCIDevice *pdev)
{
    static const Register msix_control = { PCI_MSIX_FLAGS, 2, true };
    uint8_t cap = pdev->exp.exp_cap;
    bool v2;

    if (cap) {
        v2 = (pci_get_word(pdev->config + cap + PCI_EXP_FLAGS) &
              PCI_EXP_FLAGS_VERS) > 1;
        plan_add(plan, cap, express, ARRAY_SIZE(express) - (v2 ? 0 : 2));
    }
    plan_add(plan, 0, header, ARRAY_SIZE(header));
    if (pdev->cap_present & QEMU_PCI_CAP_MSI) {
        plan_msi(plan, pdev);
    }
    if (pdev->cap_present & QEMU_PCI_CAP_MSIX) {
        plan_add(plan, pdev->msix_cap, &msix_control, 1);
    }
}

/* @base: the server's values; NULL: not known, QEMU's copy is used */
static void plan_values(Plan *plan, PCIDevice *pdev,
                        const VFIOUserPCIConfig *base)
{
    uint8_t *wanted = plan->wanted.bytes;

    memcpy(wanted, base ? base->bytes : pdev->config, sizeof(plan->wanted));
    for (unsigned i = 0; i < plan->n; i++) {
        const Register *reg = &plan->reg[i];

        for (unsigned at = reg->offset; reg->copied &&
             at < reg->offset + reg->size; at++) {
            wanted[at] = (wanted[at] & ~pdev->wmask[at]) |
                         (pdev->config[at] & pdev->wmask[at]);
        }
    }
    if (pdev->exp.exp_cap) {
        /* reads as 0; writing 1 would reset the function */
        pci_word_test_and_clear_mask(wanted + pdev->exp.exp_cap +
                                     PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
    }
}

static void restore_register(VFIOPCIDevice *vdev, const Register *reg,
                             const uint8_t *value)
{
    VFIODevice *vbasedev = &vdev->vbasedev;
    int ret = vbasedev->io_ops->region_write(vbasedev,
                                             VFIO_PCI_CONFIG_REGION_INDEX,
                                             reg->offset, reg->size,
                                             (void *)value, false);

    /* libvfio-user rejects the ROM's address; QEMU maps the ROM itself */
    if (ret != reg->size && reg->offset != PCI_ROM_ADDRESS) {
        vfio_user_device_report(vbasedev, "cannot restore %u bytes of"
                                " configuration space at 0x%x after a reset:"
                                " %s", reg->size, reg->offset,
                                strwriteerror(ret));
    }
}

/* @is: the server's values; NULL: not known, write those of QEMU's copy */
static void carry_out(VFIOPCIDevice *vdev, const Plan *plan,
                      const VFIOUserPCIConfig *is)
{
    for (unsigned i = 0; i < plan->n; i++) {
        const Register *reg = &plan->reg[i];
        const uint8_t *wanted = plan->wanted.bytes + reg->offset;
        bool differs = is ? memcmp(wanted, is->bytes + reg->offset, reg->size)
                          : reg->copied;

        if (differs) {
            restore_register(vdev, reg, wanted);
        }
    }
}

bool vfio_user_pci_config_fetch(VFIOPCIDevice *vdev, VFIOUserPCIConfig *config)
{
    VFIODevice *vbasedev = &vdev->vbasedev;
    int ret;

    assert(bql_locked());
    ret = vbasedev->io_ops->region_read(vbasedev, VFIO_PCI_CONFIG_REGION_INDEX,
                                        0, sizeof(config->bytes),
                                        config->bytes);
    if (ret != sizeof(config->bytes)) {
        vfio_user_device_report(vbasedev, "cannot read configuration space"
                                " before or after a reset: %s",
                                strreaderror(ret));
        return false;
    }
    return true;
}

void vfio_user_pci_config_restore(VFIOPCIDevice *vdev,
                                  const VFIOUserPCIConfig *before)
{
    PCIDevice *pdev = PCI_DEVICE(vdev);
    VFIOUserPCIConfig buffer;
    const VFIOUserPCIConfig *is =
        vfio_user_pci_config_fetch(vdev, &buffer) ? &buffer : NULL;
    Plan plan = { };

    VFIO_USER_BUDGET_GUARD(vfio_user_device_of(&vdev->vbasedev)->proxy,
                           VFIO_USER_BUDGET_RESET);
    trace_vfio_user_pci_restore(vdev->vbasedev.name);
    plan_registers(&plan, pdev);
    plan_values(&plan, pdev, before ?: is);
    carry_out(vdev, &plan, is);
}

void vfio_user_pci_written_note(VFIOUserPCIWritten *w, uint32_t addr,
                                uint32_t value, int len)
{
    for (int i = 0; i < len && addr + i < sizeof(w->value.bytes); i++) {
        w->value.bytes[addr + i] = value >> 8 * i;
        w->mask.bytes[addr + i] = 0xff;
    }
}

static void resume_power(VFIOPCIDevice *vdev, const VFIOUserPCIWritten *written)
{
    uint8_t cap = PCI_DEVICE(vdev)->pm_cap;
    const Register pmcsr = { cap + PCI_PM_CTRL, 2 };
    const uint8_t *value = written->value.bytes + cap + PCI_PM_CTRL;

    if (cap && *value & PCI_PM_CTRL_STATE_MASK) {
        restore_register(vdev, &pmcsr, value);
    }
}

bool vfio_user_pci_config_resume(VFIOPCIDevice *vdev,
                                 const VFIOUserPCIWritten *written)
{
    VFIOUserPCIConfig before;

    if (!vfio_user_pci_config_fetch(vdev, &before)) {
        return false;
    }
    for (unsigned i = 0; i < sizeof(before.bytes); i++) {
        before.bytes[i] = (before.bytes[i] & ~written->mask.bytes[i]) |
                          (written->value.bytes[i] & written->mask.bytes[i]);
    }
    vfio_user_pci_config_restore(vdev, &before);
    resume_power(vdev, written);
    return true;
}

/* Clears the writable bits of a register, if any is set. */
static void clear_register(VFIOPCIDevice *vdev, uint8_t offset, uint8_t size)
{
    const Register reg = { offset, size };
    const uint8_t *config = PCI_DEVICE(vdev)->config + offset;
    const uint8_t *wmask = PCI_DEVICE(vdev)->wmask + offset;
    uint8_t value[4], set = 0;

    for (unsigned i = 0; i < size; i++) {
        value[i] = config[i] & ~wmask[i];
        set |= config[i] & wmask[i];
    }
    if (set) {
        restore_register(vdev, &reg, value);
    }
}

void vfio_user_pci_config_forget(VFIOPCIDevice *vdev)
{
    PCIDevice *pdev = PCI_DEVICE(vdev);

    if (pdev->cap_present & QEMU_PCI_CAP_MSI) {
        clear_register(vdev, pdev->msi_cap + PCI_MSI_FLAGS, 2);
    }
    if (pdev->cap_present & QEMU_PCI_CAP_MSIX) {
        clear_register(vdev, pdev->msix_cap + PCI_MSIX_FLAGS, 2);
    }
    clear_register(vdev, PCI_ROM_ADDRESS, 4);
}
