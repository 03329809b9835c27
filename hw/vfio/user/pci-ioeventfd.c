/*
 * vfio-user PCI device: its ioeventfds in KVM
 *
 * See the header.  QEMU aborts if KVM rejects an ioeventfd; ioeventfd.c has
 * checked the server's data with that in mind.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "system/kvm.h"
#include "hw/vfio/user/pci-ioeventfd.h"
#include "trace.h"

/* QEMU passes fewer bits of the datamatch to KVM than KVM compares. */
static bool kvm_accepts(const VFIOUserIoeventfd *entry, bool ports)
{
    return !entry->shadow &&
           (!entry->match ||
            entry->datamatch <= (ports ? UINT16_MAX : UINT32_MAX));
}

typedef void Change(MemoryRegion *mem, hwaddr offset, unsigned size,
                    bool match, uint64_t datamatch, EventNotifier *notifier);

/*
 * An entry for any size is registered once per size.  KVM supports "any size",
 * but then mistakes reads of that address for writes on some host CPUs.
 */
static void change_entry(Change *change, MemoryRegion *mem,
                         const VFIOUserIoeventfd *entry,
                         EventNotifier *notifier)
{
    if (entry->size) {
        change(mem, entry->offset, entry->size, entry->match,
               entry->datamatch, notifier);
        return;
    }
    for (unsigned size = 1; size <= 8; size *= 2) {
        change(mem, entry->offset, size, false, 0, notifier);
    }
}

static void change_all(VFIOUserPCIIoeventfds *pci, Change *change)
{
    memory_region_transaction_begin();
    for (int i = 0; i < VFIO_USER_IOEVENTFD_REGIONS; i++) {
        const VFIOUserIoeventfds *table = pci->user->ioeventfds[i];
        const VFIOBAR *bar = &pci->vdev->bars[i];
        unsigned count = table ? vfio_user_ioeventfds_count(table) : 0;

        for (unsigned j = 0; j < count; j++) {
            const VFIOUserIoeventfd *entry = vfio_user_ioeventfds_at(table, j);

            if (kvm_accepts(entry, bar->ioport)) {
                change_entry(change, bar->region.mem, entry,
                             &pci->notifiers[i][j]);
            }
        }
    }
    memory_region_transaction_commit();
}

/*
 * Without KVM's INTx support, QEMU uses accesses to BARs to detect that the
 * guest has served INTx, so it must see all of them.
 */
static bool should_use_kvm(const VFIOUserPCIIoeventfds *pci)
{
    const VFIOPCIDevice *vdev = pci->vdev;

    return kvm_enabled() && !vdev->no_kvm_ioeventfd &&
           !(vdev->interrupt == VFIO_INT_INTx && !vdev->intx.kvm_accel) &&
           vfio_user_proxy_check(pci->user->proxy, NULL);
}

static void set_in_kvm(VFIOUserPCIIoeventfds *pci, bool in_kvm)
{
    if (in_kvm != pci->in_kvm) {
        pci->in_kvm = in_kvm;
        trace_vfio_user_pci_ioeventfds(vfio_user_proxy_name(pci->user->proxy),
                                       in_kvm);
        change_all(pci, in_kvm ? memory_region_add_eventfd :
                                 memory_region_del_eventfd);
    }
}

void vfio_user_pci_ioeventfds_update(VFIOUserPCIIoeventfds *pci)
{
    bool any = false;

    for (int i = 0; i < VFIO_USER_IOEVENTFD_REGIONS; i++) {
        any |= pci->notifiers[i] != NULL;
    }
    if (any) {
        set_in_kvm(pci, should_use_kvm(pci));
    }
}

static void make_notifiers(VFIOUserPCIIoeventfds *pci, unsigned nr)
{
    const VFIOUserIoeventfds *table = pci->user->ioeventfds[nr];
    unsigned count = vfio_user_ioeventfds_count(table);

    pci->notifiers[nr] = g_new0(EventNotifier, count);
    for (unsigned i = 0; i < count; i++) {
        const VFIOUserIoeventfd *entry = vfio_user_ioeventfds_at(table, i);

        event_notifier_init_fd(&pci->notifiers[nr][i],
                               vfio_user_ioeventfds_fd(table, entry));
    }
}

static void drop_notifiers(VFIOUserPCIIoeventfds *pci)
{
    set_in_kvm(pci, false);
    for (int i = 0; i < VFIO_USER_IOEVENTFD_REGIONS; i++) {
        g_clear_pointer(&pci->notifiers[i], g_free);
    }
}

static bool query_all(VFIOUserPCIIoeventfds *pci, Error **errp)
{
    VFIOUserDevice *user = pci->user;

    if (!vfio_user_proxy_passes_fds(user->proxy) || user->no_region_io_fds) {
        return true;
    }
    for (int i = 0; i < VFIO_USER_IOEVENTFD_REGIONS; i++) {
        const VFIOBAR *bar = &pci->vdev->bars[i];
        VFIOUserIOFdRegion region = {
            .index = i,
            .size = bar->region.size,
            .ports = bar->ioport,
        };

        if (!bar->region.mem ||
            !(bar->region.flags & VFIO_REGION_INFO_FLAG_WRITE)) {
            continue;
        }
        if (!vfio_user_device_get_ioeventfds(user, &region, errp)) {
            return false;
        }
        if (user->ioeventfds[i]) {
            make_notifiers(pci, i);
        }
    }
    vfio_user_pci_ioeventfds_update(pci);
    return true;
}

bool vfio_user_pci_ioeventfds_setup(VFIOUserPCIIoeventfds *pci,
                                    VFIOPCIDevice *vdev, VFIOUserDevice *user,
                                    Error **errp)
{
    *pci = (VFIOUserPCIIoeventfds) { .vdev = vdev, .user = user };
    if (!query_all(pci, errp)) {
        vfio_user_pci_ioeventfds_teardown(pci);
        return false;
    }
    return true;
}

void vfio_user_pci_ioeventfds_teardown(VFIOUserPCIIoeventfds *pci)
{
    drop_notifiers(pci);
    vfio_user_device_drop_ioeventfds(pci->user);
}

bool vfio_user_pci_ioeventfds_resume(VFIOUserPCIIoeventfds *pci, Error **errp)
{
    drop_notifiers(pci);
    vfio_user_device_retire_ioeventfds(pci->user);
    return query_all(pci, errp);
}
