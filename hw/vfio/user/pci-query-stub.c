/*
 * vfio-user PCI device: what the monitor shows if QEMU has no such device
 *
 * For targets and configurations without CONFIG_VFIO_USER.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/qapi-commands-vfio-user.h"

VfioUserInfoList *qmp_x_query_vfio_user(Error **errp)
{
    return NULL;
}
