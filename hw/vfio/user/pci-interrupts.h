/*
 * Interrupts of a vfio-user PCI device
 *
 * What hw/vfio does not do of them: to ask which there are; to see that an
 * INTx that stays up is signalled again; the index ERR, by which a server says
 * that its device is broken, and REQ, by which it asks to have it unplugged.
 * Those two do not reach the guest; a device whose server has neither, or
 * refuses them, goes on without.
 *
 * Threads: the main loop, and vCPUs that end an INTx; with the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_INTERRUPTS_H
#define HW_VFIO_USER_PCI_INTERRUPTS_H

#include "qemu/event_notifier.h"
#include "hw/vfio/pci.h"
#include "hw/vfio/user/device.h"

typedef struct VFIOUserPCISignal {
    EventNotifier notifier;
    bool armed;
} VFIOUserPCISignal;

typedef struct VFIOUserPCISignals {
    VFIOPCIDevice *vdev;
    VFIOUserProxy *proxy;
    VFIOUserPCISignal err;
    VFIOUserPCISignal req;
    int64_t asked_ms;           /* when REQ was last heeded, 0: never */
    bool refusal_told;
} VFIOUserPCISignals;

/**
 * vfio_user_pci_learn_interrupts:
 * @vdev: with its capabilities set up, and its interrupts not yet
 *
 * Asks what the server has of INTx, MSI and MSI-X; without INTx the guest sees
 * no pin.  QEMU's own MSI state and MSI-X table decide what arrives, so masks
 * of the server are taken away.
 *
 * Specification: "VFIO_USER_DEVICE_GET_IRQ_INFO".
 */
void vfio_user_pci_learn_interrupts(VFIOPCIDevice *vdev, VFIOUserDevice *user);

/**
 * vfio_user_pci_intx_eoi:
 *
 * The guest has accessed a register, so it has served INTx; with or without the
 * big QEMU lock.
 */
void vfio_user_pci_intx_eoi(VFIODevice *vbasedev);

/**
 * vfio_user_pci_intx_loaded:
 * @vdev: whose state has been loaded
 *
 * An INTx that came with that state is one to be ended.
 */
void vfio_user_pci_intx_loaded(VFIOPCIDevice *vdev);

/**
 * vfio_user_pci_drain_interrupts:
 * @vdev: which has stopped
 *
 * What a device signalled before it stopped, and the main loop has not come to,
 * is in a descriptor, which does not migrate: puts it where it does.
 */
void vfio_user_pci_drain_interrupts(VFIOPCIDevice *vdev);

/**
 * vfio_user_pci_intx_unmasked:
 * @vdev: whose INTx the server was asked to unmask
 *
 * Signals INTx if the server's configuration space says that the pin is up.
 * One message and its reply; a vCPU waits without the big QEMU lock.
 */
void vfio_user_pci_intx_unmasked(VFIOPCIDevice *vdev);

/**
 * vfio_user_pci_signals_arm:
 * @vdev: the device; REQ is armed where its property x-req is on
 * @proxy: of @vdev; ERR fails it
 *
 * Specification: "VFIO_USER_DEVICE_SET_IRQS".
 */
void vfio_user_pci_signals_arm(VFIOUserPCISignals *signals,
                               VFIOPCIDevice *vdev, VFIOUserProxy *proxy);
void vfio_user_pci_signals_disarm(VFIOUserPCISignals *signals);

#endif /* HW_VFIO_USER_PCI_INTERRUPTS_H */
