/*
 * Interrupts of a vfio-user device, as its driver sees them
 *
 * Helpers that program interrupts as a driver does, and that check the
 * DEVICE_SET_IRQS messages which the server received.  The rig's device is the
 * model of vfio-user-model.h or a variant of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_IRQ_H
#define TESTS_QTEST_VFIO_USER_IRQ_H

#include "vfio-user-rig.h"

/* RAM address that MSI messages are written to, unused otherwise. */
#define VFIO_USER_IRQ_RAM 0x200000

/* Calls vfio_user_rig_begin() and plugs the device. */
VFIOUserRig *vfio_user_irq_plugged(const VFIOUserModel *model,
                                   const VFIOUserRule *rules,
                                   unsigned timeout_ms);

/* The default model with one IRQ index replaced. */
VFIOUserModel vfio_user_irq_model(uint32_t index, uint32_t count,
                                  uint32_t flags);

/* DEVICE_SET_IRQS messages received by the server */

typedef struct VFIOUserIRQSets {
    unsigned messages;
    unsigned fds;
    unsigned most_fds;          /* in one message */
    unsigned no_reply;          /* messages with No_reply set */
    VFIOUserIRQSet last;
} VFIOUserIRQSets;

/* Counts the DEVICE_SET_IRQS of one index whose flags equal @flags. */
VFIOUserIRQSets vfio_user_irq_sets(VFIOUserRig *rig, uint32_t index,
                                   uint32_t flags);

/* Whether the server has an eventfd for the vector. */
bool vfio_user_irq_armed(VFIOUserRig *rig, uint32_t index, uint32_t vector);

/*
 * MSI-X: the message of each vector is written to its own word at
 * VFIO_USER_IRQ_RAM.
 */

/* Fills an entry of the MSI-X table, which is at the start of @bar. */
void vfio_user_irq_write(VFIOUserRig *rig, QPCIBar bar, unsigned vector,
                         bool masked);
/* After qpci_msix_enable(): fills an entry, unmasked. */
void vfio_user_irq_use(VFIOUserRig *rig, unsigned vector);
void vfio_user_irq_mask(VFIOUserRig *rig, unsigned vector, bool masked);
bool vfio_user_irq_arrived(VFIOUserRig *rig, unsigned vector);

/* Makes the server signal a vector and waits for its message. */
void vfio_user_irq_check(VFIOUserRig *rig, unsigned vector);

/* MSI: the messages are 0x4560 + vector, all at VFIO_USER_IRQ_RAM. */
void vfio_user_irq_enable_msi(VFIOUserRig *rig, bool on);

/* INTx */

#define VFIO_USER_IRQ_PIN 10    /* input of the interrupt controller */

/* Routes the pins of all slots to VFIO_USER_IRQ_PIN and intercepts it. */
void vfio_user_irq_route_intx(VFIOUserRig *rig);

/*
 * Checks that INTx is asserted, and deasserted by the driver's first access to
 * its device.
 */
void vfio_user_irq_check_intx(VFIOUserRig *rig);

#endif /* TESTS_QTEST_VFIO_USER_IRQ_H */
