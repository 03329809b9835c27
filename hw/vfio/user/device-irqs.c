/*
 * Interrupts of a vfio-user device
 *
 * Queries the interrupts of the server, passes eventfds to it, and masks and
 * unmasks.  An interrupt of a server is just an eventfd: the server does not
 * know whether QEMU or KVM listens to it.
 *
 * Threads: the main loop and vCPUs, with the big QEMU lock.  A vCPU waits for
 * the server only if it passes descriptors to a device with a direct path.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "hw/core/cpu.h"
#include "hw/vfio/user/device-irqs.h"

/* Maximum number of interrupts per index: that of MSI-X. */
#define MAX_IRQS 2048

/* Returns 0 or -errno; -EPROTO if the reply is invalid. */
static int ask_irq_info(VFIOUserDevice *udev, uint32_t index,
                        VFIOUserIRQInfo *info, Error **errp)
{
    VFIOUserIRQInfo msg = { .argsz = sizeof(msg), .index = index };
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DEVICE_GET_IRQ_INFO,
        .head = &msg,
        .head_size = sizeof(msg),
        .reply_max = sizeof(msg),
    };
    int ret;

    ret = vfio_user_proxy_call(udev->proxy, &call, errp);
    if (ret < 0) {
        return ret;
    }
    memcpy(info, call.reply, sizeof(*info));
    if (info->index != index || info->count > MAX_IRQS) {
        error_setg(errp, "vfio-user %s: DEVICE_GET_IRQ_INFO: asked for index"
                   " %u, the reply has index %u with %u interrupts",
                   vfio_user_proxy_name(udev->proxy), index, info->index,
                   info->count);
        return -EPROTO;
    }
    return 0;
}

int vfio_user_device_get_irq_info(VFIOUserDevice *udev, uint32_t index,
                                  struct vfio_irq_info *info)
{
    VFIOUserIRQInfo msg;
    int ret = ask_irq_info(udev, index, &msg, NULL);

    if (ret == 0) {
        info->flags = msg.flags;
        info->count = msg.count;
    }
    return ret;
}

/*
 * Sends one message.  A vCPU does not wait for the reply or for free space: an
 * error is reported when it arrives, and a later command cannot overtake this
 * one.  With a direct path, a doorbell could overtake it: the device would
 * finish its work before it has the descriptor, and lose the interrupt.  Then
 * the vCPU waits.
 */
static int send_irq_set(VFIOUserDevice *udev, VFIOUserIRQSet *msg,
                        const void *data, size_t size,
                        const int *fds, size_t nfds, Error **errp)
{
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DEVICE_SET_IRQS,
        .head = msg,
        .head_size = sizeof(*msg),
        .data = data,
        .data_size = size,
        .fds = fds,
        .nfds = nfds,
    };

    assert(bql_locked());
    msg->argsz = sizeof(*msg) + size;
    return current_cpu && !(nfds && udev->direct_path) ?
        vfio_user_proxy_notify(udev->proxy, &call, errp) :
        vfio_user_proxy_call(udev->proxy, &call, errp);
}

/*
 * MASK and UNMASK are posted: the guest need not wait for them, and the error
 * of a server that does not support them is ignored.
 */
static int post_irq_set(VFIOUserDevice *udev, uint32_t flags, uint32_t index,
                        uint32_t count)
{
    /* always start 0: QEMU's own server takes count for the end of the range */
    VFIOUserIRQSet msg = {
        .argsz = sizeof(msg),
        .flags = VFIO_IRQ_SET_DATA_NONE | flags,
        .index = index,
        .count = count,
    };
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DEVICE_SET_IRQS,
        .head = &msg,
        .head_size = sizeof(msg),
    };

    assert(bql_locked());
    return vfio_user_proxy_post(udev->proxy, &call, NULL);
}

static void unmask_all(VFIOUserDevice *udev, uint32_t index)
{
    const VFIOUserIRQs *irqs = &udev->irqs[index];

    if (irqs->armed && irqs->unmask && irqs->count) {
        post_irq_set(udev, VFIO_IRQ_SET_ACTION_UNMASK, index, irqs->count);
    }
}

void vfio_user_device_unmask_irqs(VFIODevice *vbasedev)
{
    for (uint32_t i = 0; i < VFIO_USER_IRQ_INDEXES; i++) {
        unmask_all(vfio_user_device_of(vbasedev), i);
    }
}

void vfio_user_device_forget_irqs(VFIOUserDevice *udev)
{
    for (uint32_t i = 0; i < VFIO_USER_IRQ_INDEXES; i++) {
        udev->irqs[i].armed = false;
    }
}

/* Updates armed after a SET_IRQS, and unmasks if it armed the first one. */
static void update_armed(VFIOUserDevice *udev, const VFIOUserIRQSet *set,
                         const int32_t *fds)
{
    VFIOUserIRQs *irqs;
    bool armed = false;

    if (set->index >= VFIO_USER_IRQ_INDEXES ||
        !(set->flags & VFIO_IRQ_SET_ACTION_TRIGGER)) {
        return;
    }
    irqs = &udev->irqs[set->index];
    if (!set->count) {
        irqs->armed = false;
        return;
    }
    for (uint32_t i = 0; fds && i < set->count; i++) {
        armed |= fds[i] >= 0;
    }
    if (armed && !irqs->armed) {
        irqs->armed = true;
        unmask_all(udev, set->index);
    }
}

static int post_mask(VFIOUserDevice *udev, uint32_t flags, uint32_t index,
                     uint32_t count)
{
    int ret = post_irq_set(udev, flags, index, count);

    if (flags & VFIO_IRQ_SET_ACTION_UNMASK) {
        udev->ops->unmasked(udev, index);
    }
    return ret;
}

/*
 * KVM signals the unmask eventfd when the guest has handled the interrupt.  It
 * is not passed to the server, which would write to it instead of reading from
 * it.  QEMU reads it and sends an UNMASK for each signal.
 */
static void on_unmask_fd(void *opaque)
{
    VFIOUserDevice *udev = opaque;
    uint64_t count;

    VFIO_USER_BUDGET_GUARD(udev->proxy, VFIO_USER_BUDGET_ORDINARY);
    if (read(udev->unmask_fd, &count, sizeof(count)) == sizeof(count)) {
        post_mask(udev, VFIO_IRQ_SET_ACTION_UNMASK, udev->unmask_index, 1);
    }
}

static void drop_unmask_fd(VFIOUserDevice *udev)
{
    if (udev->unmask_fd >= 0) {
        qemu_set_fd_handler(udev->unmask_fd, NULL, NULL, NULL);
        close(udev->unmask_fd);
        udev->unmask_fd = -1;
    }
}

static int set_unmask_fd(VFIOUserDevice *udev, uint32_t index, int fd)
{
    drop_unmask_fd(udev);
    if (fd >= 0) {
        /* hw/vfio closes its own without notice when it stops using KVM */
        udev->unmask_fd = qemu_dup(fd);
        if (udev->unmask_fd < 0) {
            return -errno;
        }
        udev->unmask_index = index;
        qemu_set_fd_handler(udev->unmask_fd, on_unmask_fd, NULL, udev);
    }
    return 0;
}

static int no_descriptors(VFIOUserDevice *udev, const char *why, Error **errp)
{
    error_setg(errp, "vfio-user %s: no interrupts: %s",
               vfio_user_proxy_name(udev->proxy), why);
    return -EOPNOTSUPP;
}

/*
 * Splits the descriptors into runs.  Valid descriptors are sent in messages
 * with as many as the server accepts.  A run of -1 is sent in one message
 * without descriptors, which de-assigns them.
 */
static int send_irq_fds(VFIOUserDevice *udev, const VFIOUserIRQSet *set,
                        const int32_t *fds, Error **errp)
{
    uint32_t done = 0;

    while (done < set->count) {
        bool present = fds[done] >= 0;
        uint32_t most = present ? udev->caps.max_msg_fds : set->count;
        VFIOUserIRQSet msg = *set;
        uint32_t run = 0;
        int ret;

        while (run < most && done + run < set->count &&
               (fds[done + run] >= 0) == present) {
            run++;
        }
        if (!run) {
            return no_descriptors(udev, "the server accepts no descriptors",
                                  errp);
        }
        msg.start += done;
        msg.count = run;
        ret = send_irq_set(udev, &msg, NULL, 0, fds + done, present ? run : 0,
                           errp);
        if (ret < 0) {
            return ret;
        }
        done += run;
    }
    return 0;
}

/*
 * Truncates SET_IRQS to the interrupts that the server has.  Returns false if
 * nothing is left to be sent.
 */
static bool clip_irqs(VFIOUserDevice *udev, VFIOUserIRQSet *msg)
{
    uint32_t wanted = msg->count, most;

    if (msg->index >= VFIO_USER_IRQ_INDEXES || !udev->irqs[msg->index].known) {
        return true;
    }
    most = udev->irqs[msg->index].count;
    msg->count = MIN(wanted, most - MIN(msg->start, most));
    /* a count of 0 means all interrupts of the index */
    return most && (msg->count || !wanted);
}

static int set_irq_fds(VFIOUserDevice *udev, VFIOUserIRQSet *msg,
                       const int32_t *fds, Error **errp)
{
    int ret;

    if (!vfio_user_proxy_passes_fds(udev->proxy)) {
        return no_descriptors(udev, "the socket cannot pass descriptors", errp);
    }
    ret = send_irq_fds(udev, msg, fds, errp);
    if (ret == 0) {
        update_armed(udev, msg, fds);
    }
    return ret;
}

static int set_irqs(VFIOUserDevice *udev, const struct vfio_irq_set *irqs,
                    Error **errp)
{
    VFIOUserIRQSet msg = {
        .flags = irqs->flags,
        .index = irqs->index,
        .start = irqs->start,
        .count = irqs->count,
    };
    bool bools = irqs->flags & VFIO_IRQ_SET_DATA_BOOL;
    const int32_t *fds = irqs->flags & VFIO_IRQ_SET_DATA_EVENTFD ?
        (const int32_t *)irqs->data : NULL;
    bool all_off = !irqs->count && irqs->flags & VFIO_IRQ_SET_ACTION_TRIGGER;
    int ret;

    if (all_off && irqs->index == udev->unmask_index) {
        drop_unmask_fd(udev);
    }
    if (vfio_user_proxy_state(udev->proxy) != VFIO_USER_UP ||
        !clip_irqs(udev, &msg)) {
        return 0;
    }
    if (fds && irqs->flags & VFIO_IRQ_SET_ACTION_UNMASK && irqs->count == 1) {
        return set_unmask_fd(udev, irqs->index, fds[0]);
    }
    if (fds) {
        return set_irq_fds(udev, &msg, fds, errp);
    }
    if (!bools && !(irqs->flags & VFIO_IRQ_SET_ACTION_TRIGGER)) {
        return post_mask(udev, irqs->flags, irqs->index, msg.count);
    }
    ret = send_irq_set(udev, &msg, bools ? irqs->data : NULL,
                       bools ? msg.count : 0, NULL, 0, errp);
    if (ret == 0) {
        update_armed(udev, &msg, NULL);
    }
    return ret;
}

int vfio_user_device_set_irqs(VFIODevice *vbasedev, struct vfio_irq_set *irqs)
{
    VFIOUserDevice *udev = vfio_user_device_of(vbasedev);
    Error *err = NULL;
    int ret;

    VFIO_USER_BUDGET_GUARD(udev->proxy, VFIO_USER_BUDGET_ORDINARY);
    ret = set_irqs(udev, irqs, &err);
    if (!err || !vbasedev->dev->realized) {
        error_free(err);
        return ret;
    }
    /* return 0: hw/vfio would report every attempt of the guest */
    if (vfio_user_proxy_state(udev->proxy) == VFIO_USER_UP) {
        vfio_user_report(&udev->reports, err);
    } else {
        error_free(err);        /* the lost connection has been reported */
    }
    return 0;
}

uint32_t vfio_user_device_learn_irqs(VFIOUserDevice *udev, uint32_t index,
                                     uint32_t wanted, bool unmask)
{
    VFIOUserIRQs *irqs = &udev->irqs[index];
    const char *name = vfio_user_proxy_name(udev->proxy);
    VFIOUserIRQInfo info = { };
    Error *err = NULL;

    *irqs = (VFIOUserIRQs) { .unmask = unmask };
    if (ask_irq_info(udev, index, &info, &err) < 0) {
        warn_report_err(err);
        return VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE;
    }
    irqs->known = true;
    irqs->count = info.count;
    if (info.count < wanted) {
        warn_report("vfio-user %s: DEVICE_GET_IRQ_INFO: interrupt index %u has"
                    " %u interrupts, but the device has %u: the others are"
                    " never delivered", name, index, info.count, wanted);
    }
    /* usbvfiod returns flags 0, but vfio-user interrupts are always eventfds */
    return info.count ? info.flags | VFIO_IRQ_INFO_EVENTFD : 0;
}
