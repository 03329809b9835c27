/*
 * Interrupts of a vfio-user PCI device
 *
 * The handlers of hw/vfio for ERR and REQ are not used: a server must not be
 * able to stop the VM, as the handler for ERR does, nor to repeat unplug
 * requests and messages without limit, as the handler for REQ does.
 *
 * Threads: see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "hw/vfio/user/pci-config.h"
#include "hw/vfio/user/pci-interrupts.h"
#include "trace.h"

/* Requests to unplug that follow within this time are ignored, ms. */
#define ASK_AGAIN_MS 1000

/* INTx, MSI and MSI-X */

void vfio_user_pci_learn_interrupts(VFIOPCIDevice *vdev, VFIOUserDevice *user)
{
    PCIDevice *pdev = PCI_DEVICE(vdev);
    uint32_t flags;

    /* the pin is constant, so take it from QEMU's copy when INTx is enabled */
    vdev->emulated_config_bits[PCI_INTERRUPT_PIN] = 0xff;
    if (pdev->config[PCI_INTERRUPT_PIN] &&
        !vfio_user_device_learn_irqs(user, VFIO_PCI_INTX_IRQ_INDEX, 1,
                                     false)) {
        pdev->config[PCI_INTERRUPT_PIN] = 0;
    }
    if (msi_present(pdev)) {
        flags = pci_get_word(pdev->config + pdev->msi_cap + PCI_MSI_FLAGS);
        vfio_user_device_learn_irqs(user, VFIO_PCI_MSI_IRQ_INDEX,
                                    1 << ((flags & PCI_MSI_FLAGS_QMASK) >> 1),
                                    true);
    }
    if (msix_present(pdev)) {
        flags = vfio_user_device_learn_irqs(user, VFIO_PCI_MSIX_IRQ_INDEX,
                                            vdev->msix->entries, true);
        vdev->msix->noresize = flags & VFIO_IRQ_INFO_NORESIZE;
    }
}

/* The descriptor that the server signals for a vector, or -1 */
static int vector_fd(VFIOPCIDevice *vdev, unsigned nr, bool msix)
{
    VFIOMSIVector *vector = &vdev->msi_vectors[nr];

    if (!vector->use) {
        return -1;
    }
    /* as in hw/vfio: a masked vector of MSI-X is delivered by QEMU */
    return event_notifier_get_fd(vector->virq < 0 ||
                                 (msix &&
                                  msix_is_masked(PCI_DEVICE(vdev), nr)) ?
                                 &vector->interrupt : &vector->kvm_interrupt);
}

static void resume_vectors(VFIOPCIDevice *vdev, bool msix)
{
    size_t size = sizeof(struct vfio_irq_set) +
                  vdev->nr_vectors * sizeof(int32_t);
    g_autofree struct vfio_irq_set *set = g_malloc0(size);

    *set = (struct vfio_irq_set) {
        .argsz = size,
        .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = msix ? VFIO_PCI_MSIX_IRQ_INDEX : VFIO_PCI_MSI_IRQ_INDEX,
        .count = vdev->nr_vectors,
    };
    for (int i = 0; i < vdev->nr_vectors; i++) {
        ((int32_t *)set->data)[i] = vector_fd(vdev, i, msix);
    }
    vdev->vbasedev.io_ops->set_irqs(&vdev->vbasedev, set);
}

void vfio_user_pci_interrupts_resume(VFIOPCIDevice *vdev, VFIOUserDevice *user)
{
    vfio_user_device_forget_irqs(user);
    if (vdev->interrupt == VFIO_INT_INTx) {
        /* a failure has been reported */
        vfio_device_irq_set_signaling(&vdev->vbasedev, VFIO_PCI_INTX_IRQ_INDEX,
                                      0, VFIO_IRQ_SET_ACTION_TRIGGER,
                                      event_notifier_get_fd(
                                          &vdev->intx.interrupt), NULL);
    } else if (vdev->nr_vectors) {
        resume_vectors(vdev, vdev->interrupt == VFIO_INT_MSIX);
    }
}

/* Does what hw/vfio does when INTx arrives. */
static void set_intx_pending(VFIOPCIDevice *vdev)
{
    vdev->intx.pending = true;
    pci_irq_assert(PCI_DEVICE(vdev));
    for (int i = 0; i < PCI_ROM_SLOT; i++) {
        vfio_region_mmaps_set_enabled(&vdev->bars[i].region, false);
    }
    if (vdev->intx.mmap_timeout) {
        timer_mod(vdev->intx.mmap_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL) +
                  vdev->intx.mmap_timeout);
    }
}

void vfio_user_pci_intx_eoi(VFIODevice *vbasedev)
{
    VFIOPCIDevice *vdev = container_of(vbasedev, VFIOPCIDevice, vbasedev);

    if (qatomic_read(&vdev->intx.pending)) {
        BQL_LOCK_GUARD();
        vfio_pci_intx_eoi(vbasedev);
    }
}

void vfio_user_pci_intx_loaded(VFIOPCIDevice *vdev)
{
    if (vdev->interrupt == VFIO_INT_INTx && PCI_DEVICE(vdev)->irq_state) {
        set_intx_pending(vdev);
    }
}

static void deliver(VFIOPCIDevice *vdev, unsigned nr)
{
    PCIDevice *pdev = PCI_DEVICE(vdev);

    if (vdev->interrupt == VFIO_INT_MSI) {
        msi_notify(pdev, nr);
        return;
    }
    if (msix_is_masked(pdev, nr)) {
        /* show it in the pending bits, and emulate these from now on */
        set_bit(nr, vdev->msix->pending);
        memory_region_set_enabled(&pdev->msix_pba_mmio, true);
    }
    msix_notify(pdev, nr);
}

void vfio_user_pci_drain_interrupts(VFIOPCIDevice *vdev)
{
    if (vdev->interrupt == VFIO_INT_INTx &&
        event_notifier_test_and_clear(&vdev->intx.interrupt)) {
        set_intx_pending(vdev);
    }
    for (int i = 0; i < vdev->nr_vectors; i++) {
        VFIOMSIVector *vector = &vdev->msi_vectors[i];

        if (vector->use &&
            event_notifier_test_and_clear(&vector->interrupt)) {
            deliver(vdev, i);
        }
    }
}

/*
 * A server must signal INTx again when it is unmasked while the pin is still
 * asserted.  QEMU's own server does not, and the guest would wait forever, for
 * example after an interrupt that arrived while the guest served another one
 * and that was ended by the guest's next access to a BAR.  So the client checks
 * the pin and signals INTx instead of the server.  It does that immediately:
 * once the guest has served the interrupt, the signal would be spurious.
 */
void vfio_user_pci_intx_unmasked(VFIOPCIDevice *vdev)
{
    PCIDevice *pdev = PCI_DEVICE(vdev);
    uint16_t status = vfio_user_pci_config_read(pdev, PCI_STATUS,
                                                sizeof(status));

    /* all ones: the server is gone */
    if (status & PCI_STATUS_INTERRUPT && status != UINT16_MAX &&
        vdev->interrupt == VFIO_INT_INTx && !pci_irq_disabled(pdev)) {
        trace_vfio_user_pci_intx_again(vdev->vbasedev.name);
        if (vdev->intx.kvm_accel) {
            /* does not block: KVM empties the eventfd, so it is never full */
            event_notifier_set(&vdev->intx.interrupt);
        } else {
            set_intx_pending(vdev);
        }
    }
}

/* ERR and REQ */

static void disarm(VFIOUserPCISignals *s, VFIOUserPCISignal *signal,
                   uint32_t index)
{
    if (!signal->armed) {
        return;
    }
    /* if the server rejects this, it keeps a descriptor that is not read */
    vfio_device_irq_set_signaling(&s->vdev->vbasedev, index, 0,
                                  VFIO_IRQ_SET_ACTION_TRIGGER, -1, NULL);
    event_notifier_set_handler(&signal->notifier, NULL);
    event_notifier_cleanup(&signal->notifier);
    signal->armed = false;
}

static bool has_irq_index(VFIODevice *vbasedev, uint32_t index)
{
    struct vfio_irq_info info;

    return index < vbasedev->num_irqs &&
           vfio_user_device_get_irq_info(vfio_user_device_of(vbasedev), index,
                                         &info) == 0 &&
           info.count;
}

static bool pass_signal(VFIOUserPCISignals *s, VFIOUserPCISignal *signal,
                        uint32_t index)
{
    VFIODevice *vbasedev = &s->vdev->vbasedev;
    Error *err = NULL;

    if (!vfio_device_irq_set_signaling(vbasedev, index, 0,
                                       VFIO_IRQ_SET_ACTION_TRIGGER,
                                       event_notifier_get_fd(&signal->notifier),
                                       &err)) {
        warn_reportf_err(err, "%s: continuing without interrupt index %u: ",
                         vbasedev->name, index);
        return false;
    }
    return true;
}

static void arm(VFIOUserPCISignals *s, VFIOUserPCISignal *signal,
                uint32_t index, EventNotifierHandler *handler)
{
    VFIODevice *vbasedev = &s->vdev->vbasedev;
    int ret;

    if (!has_irq_index(vbasedev, index)) {
        return;
    }
    ret = event_notifier_init(&signal->notifier, false);
    if (ret < 0) {
        warn_report("%s: continuing without interrupt index %u: %s",
                    vbasedev->name, index, strerror(-ret));
        return;
    }
    event_notifier_set_handler(&signal->notifier, handler);
    signal->armed = true;
    if (!pass_signal(s, signal, index)) {
        event_notifier_set_handler(&signal->notifier, NULL);
        event_notifier_cleanup(&signal->notifier);
        signal->armed = false;
    }
}

/* Handlers */

static void on_device_error(EventNotifier *notifier)
{
    VFIOUserPCISignals *s = container_of(notifier, VFIOUserPCISignals,
                                         err.notifier);
    Error *cause = NULL;

    if (!event_notifier_test_and_clear(notifier)) {
        return;
    }
    trace_vfio_user_pci_error(s->vdev->vbasedev.name);
    /* handle it only once */
    event_notifier_set_handler(notifier, NULL);
    error_setg(&cause, "the server signalled an unrecoverable error");
    vfio_user_proxy_fail(s->proxy, cause);
}

static void on_unplug_request(EventNotifier *notifier)
{
    VFIOUserPCISignals *s = container_of(notifier, VFIOUserPCISignals,
                                         req.notifier);
    const char *name = s->vdev->vbasedev.name;
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    Error *err = NULL;

    if (!event_notifier_test_and_clear(notifier) ||
        (s->asked_ms && now - s->asked_ms < ASK_AGAIN_MS)) {
        return;
    }
    trace_vfio_user_pci_unplug_request(name);
    s->asked_ms = now;
    qdev_unplug(DEVICE(s->vdev), &err);
    if (err && !s->refusal_reported) {
        warn_reportf_err(g_steal_pointer(&err), "%s: cannot unplug the device"
                         " as the server requested: ", name);
        s->refusal_reported = true;
    }
    error_free(err);
}

void vfio_user_pci_signals_arm(VFIOUserPCISignals *s, VFIOPCIDevice *vdev,
                               VFIOUserProxy *proxy)
{
    s->vdev = vdev;
    s->proxy = proxy;
    arm(s, &s->err, VFIO_PCI_ERR_IRQ_INDEX, on_device_error);
    if (vdev->features & VFIO_FEATURE_ENABLE_REQ) {
        arm(s, &s->req, VFIO_PCI_REQ_IRQ_INDEX, on_unplug_request);
    }
}

void vfio_user_pci_signals_disarm(VFIOUserPCISignals *s)
{
    disarm(s, &s->req, VFIO_PCI_REQ_IRQ_INDEX);
    disarm(s, &s->err, VFIO_PCI_ERR_IRQ_INDEX);
}

static void resume_signal(VFIOUserPCISignals *s, VFIOUserPCISignal *signal,
                          uint32_t index, EventNotifierHandler *handler)
{
    if (signal->armed) {
        /* the last server may have signaled after it was lost */
        event_notifier_test_and_clear(&signal->notifier);
        event_notifier_set_handler(&signal->notifier, handler);
        pass_signal(s, signal, index);
    }
}

void vfio_user_pci_signals_resume(VFIOUserPCISignals *s, VFIOUserProxy *proxy)
{
    s->proxy = proxy;
    resume_signal(s, &s->err, VFIO_PCI_ERR_IRQ_INDEX, on_device_error);
    resume_signal(s, &s->req, VFIO_PCI_REQ_IRQ_INDEX, on_unplug_request);
}
