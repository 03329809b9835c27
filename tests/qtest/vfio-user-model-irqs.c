/*
 * The device behind the scripted vfio-user server: interrupts
 *
 * The eventfds passed by the client, and which indices are masked.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-model-internal.h"

static void set_eventfd(int *slot, int fd)
{
    if (*slot >= 0) {
        close(*slot);
    }
    *slot = fd;
}

int vfio_user_device_eventfd(const VFIOUserDevice *dev, uint32_t index,
                             uint32_t vector)
{
    return dev->eventfd[index][vector];
}

bool vfio_user_device_trigger(VFIOUserDevice *dev, uint32_t index,
                              uint32_t vector)
{
    const uint64_t one = 1;
    int fd = dev->eventfd[index][vector];

    if (fd < 0 || dev->masked[index]) {
        return false;
    }
    if (device_habits(dev)->signals_rise && index == VFIO_PCI_INTX_IRQ_INDEX) {
        /* edge triggered, without automasking */
        return !device_config_raise(dev) ||
               write(fd, &one, sizeof(one)) == sizeof(one);
    }
    if (dev->model->irq[index].flags & VFIO_IRQ_INFO_AUTOMASKED) {
        dev->masked[index] = true;
    }
    return write(fd, &one, sizeof(one)) == sizeof(one);
}

static uint32_t count_of(const VFIOUserDevice *dev, uint32_t index)
{
    if (device_habits(dev)->no_msi_beside && index == VFIO_PCI_MSI_IRQ_INDEX &&
        dev->model->irq[VFIO_PCI_MSIX_IRQ_INDEX].count) {
        return 0;
    }
    return dev->model->irq[index].count;
}

int device_get_irq_info(VFIOUserDevice *dev, VFIOUserPacket *request,
                        VFIOUserPacket *reply)
{
    const VFIOUserIRQInfo *head = device_head_of(request, sizeof(*head));
    const VFIOUserPersonality *p = dev->model->personality;
    VFIOUserIRQInfo info;

    if (!head || head->index >= VFIO_PCI_NUM_IRQS) {
        return -EINVAL;
    }
    info = (VFIOUserIRQInfo) {
        .argsz = sizeof(info),
        .flags = dev->model->irq[head->index].flags,
        .index = head->index,
        .count = count_of(dev, head->index),
    };
    if (p && p->flagless_msix && info.index == VFIO_PCI_MSIX_IRQ_INDEX) {
        info.flags = 0;
    }
    vfio_user_packet_put(reply, &info, sizeof(info));
    return 0;
}

static int set_trigger(VFIOUserDevice *dev, const VFIOUserIRQSet *head,
                       VFIOUserPacket *request)
{
    int *eventfd = dev->eventfd[head->index];
    uint32_t i;

    if (head->flags & VFIO_IRQ_SET_DATA_EVENTFD) {
        if (request->fds->len && request->fds->len != head->count) {
            return -EINVAL;
        }
        for (i = 0; i < head->count; i++) {
            bool given = request->fds->len;

            set_eventfd(&eventfd[head->start + i],
                        given ? vfio_user_packet_take_fd(request, i) : -1);
        }
        return 0;
    }
    if (!(head->flags & VFIO_IRQ_SET_DATA_NONE)) {
        return -EINVAL;
    }
    if (!head->count) {
        for (i = 0; i < dev->model->irq[head->index].count; i++) {
            set_eventfd(&eventfd[i], -1);
        }
        dev->masked[head->index] = false;
    }
    for (i = 0; i < head->count; i++) {
        vfio_user_device_trigger(dev, head->index, head->start + i);
    }
    return 0;
}

int device_set_irqs(VFIOUserDevice *dev, VFIOUserPacket *request,
                    VFIOUserPacket *reply)
{
    const VFIOUserIRQSet *head = device_head_of(request, sizeof(*head));
    uint32_t count;

    if (!head || head->argsz != request->payload->len ||
        head->index >= VFIO_PCI_NUM_IRQS) {
        return -EINVAL;
    }
    count = count_of(dev, head->index);
    if (head->start > count || head->count > count - head->start) {
        return -EINVAL;
    }

    switch (head->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) {
    case VFIO_IRQ_SET_ACTION_TRIGGER:
        return set_trigger(dev, head, request);
    case VFIO_IRQ_SET_ACTION_MASK:
        dev->masked[head->index] = true;
        return 0;
    case VFIO_IRQ_SET_ACTION_UNMASK:
        dev->masked[head->index] = false;
        return 0;
    default:
        return -EINVAL;
    }
}

void device_drop_eventfds(VFIOUserDevice *dev)
{
    for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
        for (unsigned j = 0; j < dev->model->irq[i].count; j++) {
            set_eventfd(&dev->eventfd[i][j], -1);
        }
        dev->masked[i] = false;
    }
}
