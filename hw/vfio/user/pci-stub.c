/*
 * vfio-user PCI device: QMP commands if QEMU has no such device
 *
 * For targets and configurations without CONFIG_VFIO_USER.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vfio-user.h"

VfioUserInfoList *qmp_x_query_vfio_user(Error **errp)
{
    return NULL;
}

void qmp_x_vfio_user_reconnect(const char *id, Error **errp)
{
    error_setg(errp, "QEMU has no vfio-user devices");
}

VfioUserSwitchInfo *coroutine_fn
qmp_x_vfio_user_switch(const char *id, SocketAddress *socket, Error **errp)
{
    error_setg(errp, "QEMU has no vfio-user devices");
    return NULL;
}
