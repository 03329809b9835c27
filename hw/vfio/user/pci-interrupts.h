/*
 * Interrupts of a vfio-user PCI device
 *
 * The parts that hw/vfio does not provide: finding out which interrupts the
 * server has; signaling an INTx again that stays asserted; the IRQ index ERR,
 * with which the server reports that its device is broken; and the IRQ index
 * REQ, with which it requests to unplug the device.  ERR and REQ do not reach
 * the guest; they are optional.
 *
 * Threads: the main loop, and vCPUs that end an INTx; with the big QEMU lock,
 * except where noted.
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
    int64_t asked_ms;           /* when REQ was last handled, 0: never */
    bool refusal_reported;
} VFIOUserPCISignals;

/**
 * vfio_user_pci_learn_interrupts:
 * @vdev: its capabilities are set up, its interrupts are not
 *
 * Asks the server for its INTx, MSI and MSI-X interrupts.  Without INTx the
 * guest sees no interrupt pin.  QEMU's own MSI state and MSI-X table decide
 * which interrupts arrive, so vectors are unmasked in the server.
 *
 * Specification: "VFIO_USER_DEVICE_GET_IRQ_INFO".
 */
void vfio_user_pci_learn_interrupts(VFIOPCIDevice *vdev, VFIOUserDevice *user);

/**
 * vfio_user_pci_interrupts_resume:
 *
 * Gives a server that knows no eventfds those that the guest's interrupts use
 * now, INTx, MSI or MSI-X.
 */
void vfio_user_pci_interrupts_resume(VFIOPCIDevice *vdev,
                                     VFIOUserDevice *user);

/**
 * vfio_user_pci_intx_eoi:
 *
 * Called when the guest has accessed a register, which means that it has served
 * INTx.  With or without the big QEMU lock.
 */
void vfio_user_pci_intx_eoi(VFIODevice *vbasedev);

/**
 * vfio_user_pci_intx_loaded:
 * @vdev: its state has been loaded
 *
 * Marks an INTx that is asserted in the loaded state as pending.
 */
void vfio_user_pci_intx_loaded(VFIOPCIDevice *vdev);

/**
 * vfio_user_pci_drain_interrupts:
 * @vdev: the device, which has stopped
 *
 * Delivers the interrupts that the device signaled before it stopped and that
 * the main loop has not handled yet.  They are pending in eventfds, which are
 * not migrated.
 */
void vfio_user_pci_drain_interrupts(VFIOPCIDevice *vdev);

/**
 * vfio_user_pci_intx_unmasked:
 * @vdev: the device; the server was asked to unmask its INTx
 *
 * Signals INTx if the pin is asserted according to the server's configuration
 * space.  Needs one message and its reply; a vCPU waits without the big QEMU
 * lock.
 */
void vfio_user_pci_intx_unmasked(VFIOPCIDevice *vdev);

/**
 * vfio_user_pci_signals_arm:
 * @vdev: the device; REQ is armed if its property x-req is on
 * @proxy: the connection of @vdev, which ERR fails
 *
 * Specification: "VFIO_USER_DEVICE_SET_IRQS".
 */
void vfio_user_pci_signals_arm(VFIOUserPCISignals *signals,
                               VFIOPCIDevice *vdev, VFIOUserProxy *proxy);
void vfio_user_pci_signals_disarm(VFIOUserPCISignals *signals);

/* Gives another server, at @proxy, the eventfds of the signals. */
void vfio_user_pci_signals_resume(VFIOUserPCISignals *signals,
                                  VFIOUserProxy *proxy);

#endif /* HW_VFIO_USER_PCI_INTERRUPTS_H */
