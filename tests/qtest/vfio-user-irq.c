/*
 * Interrupts of a vfio-user device, as its driver sees them
 *
 * Test thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "vfio-user-irq.h"

#define MSIX VFIO_PCI_MSIX_IRQ_INDEX
#define INTX VFIO_PCI_INTX_IRQ_INDEX

VFIOUserRig *vfio_user_irq_plugged(const VFIOUserModel *model,
                                   const VFIOUserRule *rules,
                                   unsigned timeout_ms)
{
    VFIOUserRig *rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, model, rules);

    vfio_user_rig_plug(rig, timeout_ms);
    return rig;
}

VFIOUserModel vfio_user_irq_model(uint32_t index, uint32_t count,
                                  uint32_t flags)
{
    VFIOUserModel model = vfio_user_model;

    model.irq[index].count = count;
    model.irq[index].flags = flags;
    return model;
}

/* DEVICE_SET_IRQS received by the server */

VFIOUserIRQSets vfio_user_irq_sets(VFIOUserRig *rig, uint32_t index,
                                   uint32_t flags)
{
    g_autoptr(GArray) log = vfio_user_server_log(rig->server);
    VFIOUserIRQSets sets = { 0 };
    unsigned i;

    for (i = 0; i < log->len; i++) {
        const VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);
        const VFIOUserIRQSet *set = (const void *)seen->payload;

        if (seen->header.command == VFIO_USER_DEVICE_SET_IRQS &&
            set->index == index && set->flags == flags) {
            sets.messages++;
            sets.fds += seen->nfds;
            sets.most_fds = MAX(sets.most_fds, seen->nfds);
            sets.no_reply += !!(seen->header.flags & VFIO_USER_NO_REPLY);
            sets.last = *set;
        }
    }
    return sets;
}

bool vfio_user_irq_armed(VFIOUserRig *rig, uint32_t index, uint32_t vector)
{
    int fd = vfio_user_server_eventfd(rig->server, index, vector);

    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

/* MSI-X */

void vfio_user_irq_write(VFIOUserRig *rig, QPCIBar bar, unsigned vector,
                         bool masked)
{
    uint64_t entry = vector * PCI_MSIX_ENTRY_SIZE;

    qpci_io_writel(rig->dev, bar, entry + PCI_MSIX_ENTRY_LOWER_ADDR,
                   VFIO_USER_IRQ_RAM + 4 * vector);
    qpci_io_writel(rig->dev, bar, entry + PCI_MSIX_ENTRY_UPPER_ADDR, 0);
    qpci_io_writel(rig->dev, bar, entry + PCI_MSIX_ENTRY_DATA,
                   0xabc000 + vector);
    qpci_io_writel(rig->dev, bar, entry + PCI_MSIX_ENTRY_VECTOR_CTRL,
                   masked);
}

void vfio_user_irq_use(VFIOUserRig *rig, unsigned vector)
{
    vfio_user_irq_write(rig, rig->dev->msix_table_bar, vector, false);
}

void vfio_user_irq_mask(VFIOUserRig *rig, unsigned vector, bool masked)
{
    qpci_io_writel(rig->dev, rig->dev->msix_table_bar,
                   vector * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL,
                   masked);
}

bool vfio_user_irq_arrived(VFIOUserRig *rig, unsigned vector)
{
    return qtest_readl(rig->qts, VFIO_USER_IRQ_RAM + 4 * vector) ==
           0xabc000 + vector;
}

void vfio_user_irq_check(VFIOUserRig *rig, unsigned vector)
{
    qtest_writel(rig->qts, VFIO_USER_IRQ_RAM + 4 * vector, 0);
    vfio_user_server_trigger(rig->server, MSIX, vector);
    vfio_user_rig_wait(rig, vfio_user_irq_arrived(rig, vector));
}

void vfio_user_irq_enable_msi(VFIOUserRig *rig, bool on)
{
    const uint8_t cap = VFIO_USER_MODEL_MSI;
    uint16_t flags = qpci_config_readw(rig->dev, cap + PCI_MSI_FLAGS);

    qpci_config_writel(rig->dev, cap + PCI_MSI_ADDRESS_LO, VFIO_USER_IRQ_RAM);
    qpci_config_writew(rig->dev, cap + PCI_MSI_DATA_64, 0x4560);
    flags &= ~(PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
    qpci_config_writew(rig->dev, cap + PCI_MSI_FLAGS, flags |
                       (on ? PCI_MSI_FLAGS_ENABLE : 0) |
                       VFIO_USER_MODEL_MSI_VECTORS_LOG << 4);
}

/* INTx */

void vfio_user_irq_route_intx(VFIOUserRig *rig)
{
    QPCIDevice *piix3 = qpci_device_find(rig->bus, QPCI_DEVFN(1, 0));
    unsigned pin;

    for (pin = 0; pin < 4; pin++) {
        qpci_config_writeb(piix3, 0x60 + pin, VFIO_USER_IRQ_PIN);
    }
    g_free(piix3);
    qtest_irq_intercept_in(rig->qts, "ioapic");
}

void vfio_user_irq_check_intx(VFIOUserRig *rig)
{
    vfio_user_server_trigger(rig->server, INTX, 0);
    vfio_user_rig_wait(rig, qtest_get_irq(rig->qts, VFIO_USER_IRQ_PIN));
    vfio_user_server_lower(rig->server);
    qpci_io_readl(rig->dev, rig->bar[0], 0);
    g_assert_false(qtest_get_irq(rig->qts, VFIO_USER_IRQ_PIN));
}
