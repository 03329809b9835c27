/*
 * vfio-user PCI device: QMP commands that change a device
 *
 * Finds the device that a command names.  What the commands do is in
 * pci-reconnect.c and pci-switch.c.
 *
 * Threads: the main loop, with the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vfio-user.h"
#include "qapi/qapi-events-vfio-user.h"
#include "hw/vfio/user/pci-switch.h"

/* Returns a reference, because the device may be unplugged meanwhile. */
static VFIOUserPCIDevice *find_device(const char *id, Error **errp)
{
    Object *obj = object_resolve_path(id, NULL);
    Object *dev = obj ? object_dynamic_cast(obj, TYPE_VFIO_USER_PCI) : NULL;

    if (!dev || !DEVICE(dev)->realized) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
                  "'%s' is not a vfio-user device", id);
        return NULL;
    }
    return VFIO_USER_PCI(object_ref(dev));
}

void qmp_x_vfio_user_reconnect(const char *id, Error **errp)
{
    g_autoptr(VFIOUserPCIDevice) vudev = find_device(id, errp);

    if (vudev) {
        vfio_user_pci_reconnect_retry(vudev, errp);
    }
}

VfioUserSwitchInfo *coroutine_fn
qmp_x_vfio_user_switch(const char *id, SocketAddress *socket, Error **errp)
{
    g_autoptr(VFIOUserPCIDevice) vudev = find_device(id, errp);
    g_autofree char *path = NULL;
    VfioUserSwitchInfo *info;
    int64_t pause_ms;

    pause_ms = vudev ? vfio_user_pci_switch(vudev, socket, errp) : -1;
    if (pause_ms < 0) {
        return NULL;
    }
    path = object_get_canonical_path(OBJECT(vudev));
    qapi_event_send_vfio_user_switched(DEVICE(vudev)->id, path,
                                       vudev->socket_name, pause_ms);
    info = g_new0(VfioUserSwitchInfo, 1);
    info->pause = pause_ms;
    return info;
}
