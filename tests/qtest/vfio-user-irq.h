/*
 * Interrupts of a vfio-user device, as its driver sees them
 *
 * What a driver does to have them, and what of it the server was told.  The
 * rig's device is the model of vfio-user-model.h or one much like it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_IRQ_H
#define TESTS_QTEST_VFIO_USER_IRQ_H

#include "vfio-user-rig.h"

/* An address in memory, far from anything, where MSI messages go. */
#define VFIO_USER_IRQ_RAM 0x200000

/* Begins and plugs; see vfio_user_rig_begin(). */
VFIOUserRig *vfio_user_irq_plugged(const VFIOUserModel *model,
                                   const VFIOUserRule *rules,
                                   unsigned timeout_ms);

/* The usual model, but for one index. */
VFIOUserModel vfio_user_irq_model(uint32_t index, uint32_t count,
                                  uint32_t flags);

/* What the server was told */

typedef struct VFIOUserIRQSets {
    unsigned messages;
    unsigned fds;
    unsigned most_fds;          /* of one message */
    unsigned no_reply;          /* messages that want none */
    VFIOUserIRQSet last;
} VFIOUserIRQSets;

/* The SET_IRQS of one index that have these flags. */
VFIOUserIRQSets vfio_user_irq_sets(VFIOUserRig *rig, uint32_t index,
                                   uint32_t flags);

/* Whether it has an eventfd. */
bool vfio_user_irq_armed(VFIOUserRig *rig, uint32_t index, uint32_t vector);

/* MSI-X: each vector has a word at VFIO_USER_IRQ_RAM for its message. */

/* Fills an entry of the table, which is @bar's beginning. */
void vfio_user_irq_write(VFIOUserRig *rig, QPCIBar bar, unsigned vector,
                         bool masked);
/* After qpci_msix_enable(): likewise, unmasked. */
void vfio_user_irq_use(VFIOUserRig *rig, unsigned vector);
void vfio_user_irq_mask(VFIOUserRig *rig, unsigned vector, bool masked);
bool vfio_user_irq_arrived(VFIOUserRig *rig, unsigned vector);

/* Has the server signal a vector and waits until its message is there. */
void vfio_user_irq_check(VFIOUserRig *rig, unsigned vector);

/* MSI: the messages are 0x4560 and so on, all at VFIO_USER_IRQ_RAM. */
void vfio_user_irq_enable_msi(VFIOUserRig *rig, bool on);

/* INTx */

#define VFIO_USER_IRQ_PIN 10    /* the interrupt controller's */

/* Routes the pins of all slots to one interrupt that is watched. */
void vfio_user_irq_route_intx(VFIOUserRig *rig);

/* Asserted, and gone with the driver's first look at its device. */
void vfio_user_irq_check_intx(VFIOUserRig *rig);

#endif /* TESTS_QTEST_VFIO_USER_IRQ_H */
