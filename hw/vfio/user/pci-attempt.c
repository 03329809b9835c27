/*
 * vfio-user PCI device: the examination of another server
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-sockets.h"
#include "hw/vfio/user/address.h"
#include "hw/vfio/user/dial.h"
#include "hw/vfio/user/pci-attempt.h"

/* What the server's device loses by a reset, it is told when it is used. */
static void on_reset(VFIOUserDevice *udev)
{
}

static const VFIOUserDeviceOps attempt_ops = {
    .was_reset = on_reset,
};

VFIOUserAttempt *vfio_user_attempt_new(VFIOUserPCIDevice *vudev,
                                       SocketAddress *addr, bool resets)
{
    VFIOUserAttempt *a = g_new0(VFIOUserAttempt, 1);

    a->vudev = VFIO_USER_PCI(object_ref(OBJECT(vudev)));
    a->addr = QAPI_CLONE(SocketAddress, addr);
    a->name = vfio_user_address_name(addr);
    a->resets = resets;
    a->written = vudev->written.mask;
    a->device.ops = &attempt_ops;
    a->device.no_device_feature = vudev->user.no_device_feature;
    return a;
}

void vfio_user_attempt_free(VFIOUserAttempt *a)
{
    if (a->link) {
        vfio_user_link_hang_up(a->link);
        vfio_user_link_free(a->link);
    }
    if (a->ioc) {
        object_unref(OBJECT(a->ioc));
    }
    g_clear_pointer(&a->was, vfio_user_profile_free);
    g_clear_pointer(&a->profile, vfio_user_profile_free);
    qapi_free_SocketAddress(a->addr);
    g_free(a->name);
    g_free(a->difference);
    error_free(a->err);
    object_unref(OBJECT(a->vudev));
    g_free(a);
}

bool vfio_user_attempt_take_fd(VFIOUserAttempt *a, Error **errp)
{
    if (a->addr->type != SOCKET_ADDRESS_TYPE_FD) {
        return true;
    }
    a->ioc = vfio_user_dial(a->addr, a->vudev->timeout_ms, errp);
    return a->ioc != NULL;
}

void vfio_user_attempt_cancel(VFIOUserAttempt *a)
{
    VFIOUserLink *link;

    qatomic_set_mb(&a->canceled, true);
    link = qatomic_load_acquire(&a->link);
    if (link) {
        vfio_user_link_fail(link, "the attempt was canceled");
    }
}

static bool attempt_connect(VFIOUserAttempt *a)
{
    VFIOUserPCIDevice *vudev = a->vudev;
    QIOChannelSocket *ioc;
    VFIOUserLink *link;

    ioc = a->ioc ? g_steal_pointer(&a->ioc) :
                   vfio_user_dial(a->addr, vudev->timeout_ms, &a->err);
    if (!ioc) {
        return false;
    }
    link = vfio_user_link_new(ioc, a->name, vudev->timeout_ms,
                              &vfio_user_pci_link_ops, vudev, &a->err);
    object_unref(OBJECT(ioc));
    if (!link) {
        return false;
    }
    /* one of the two threads sees what the other has set */
    qatomic_set_mb(&a->link, link);
    if (qatomic_read(&a->canceled)) {
        error_setg(&a->err, "the attempt was canceled");
        return false;
    }
    a->device.proxy = link->proxy;
    return vfio_user_link_negotiate(link, &a->device, &a->err);
}

/* The device that the guest knows; asks the present server if need be. */
static const VFIOUserProfile *known_profile(VFIOUserAttempt *a)
{
    VFIOUserPCIDevice *vudev = a->vudev;

    if (vudev->reconnect.profile) {
        return vudev->reconnect.profile;
    }
    a->was = vfio_user_profile_take(&vudev->user, VFIO_PCI_CONFIG_REGION_INDEX,
                                    &a->err);
    if (a->was) {
        vfio_user_profile_close(a->was);
    }
    return a->was;
}

int vfio_user_attempt_run(void *attempt)
{
    VFIOUserAttempt *a = attempt;
    const VFIOUserProfile *was;

    if (!attempt_connect(a)) {
        return -ECONNREFUSED;
    }
    a->profile = vfio_user_profile_take(&a->device,
                                        VFIO_PCI_CONFIG_REGION_INDEX, &a->err);
    was = a->profile ? known_profile(a) : NULL;
    if (!was) {
        return -EIO;
    }
    a->difference = vfio_user_profile_diff(was, a->profile, a->written.bytes);
    if (a->difference) {
        return -ENODEV;
    }
    if (a->resets && a->device.can_reset) {
        return vfio_user_device_reset(&a->device, &a->err);
    }
    return 0;
}

const char *vfio_user_attempt_why_not(const VFIOUserAttempt *a)
{
    return a->difference ?: a->err ? error_get_pretty(a->err) :
                                     "the connection was lost";
}
