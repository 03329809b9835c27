/*
 * vfio-user PCI device: what the monitor shows of it
 *
 * Collects the state of a device for the QMP command and for the read-only
 * properties.  Changes nothing, and never calls the server.
 *
 * Threads: the main loop, with the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/qapi-commands-vfio-user.h"
#include "hw/vfio/user/pci-internal.h"

static VfioUserCapabilities *query_capabilities(const VFIOUserCaps *caps)
{
    VfioUserCapabilities *c = g_new0(VfioUserCapabilities, 1);

    *c = (VfioUserCapabilities) {
        .version = g_strdup_printf("%u.%u", caps->major, caps->minor),
        .max_msg_fds = caps->max_msg_fds,
        .max_data_xfer_size = caps->max_data_xfer_size,
        .max_dma_maps = caps->max_dma_maps,
        .pgsizes = caps->pgsizes,
        .twin_socket = caps->twin_socket,
        .write_multiple = caps->write_multiple,
        .has_migration_pgsize = caps->migration,
        .migration_pgsize = caps->migration_pgsize,
        .has_max_bitmap_size = caps->migration,
        .max_bitmap_size = caps->max_bitmap_size,
    };
    return c;
}

/* @proxy: NULL if there is no twin socket */
static void add_stats(VFIOUserProxyStats *sum, VFIOUserProxy *proxy)
{
    VFIOUserProxyStats stats;

    if (proxy) {
        vfio_user_proxy_get_stats(proxy, &stats);
        vfio_user_proxy_add_stats(sum, &stats);
    }
}

static VfioUserCounters *query_counters(VFIOUserPCIDevice *vudev)
{
    VfioUserCounters *c = g_new0(VfioUserCounters, 1);
    VFIOUserProxyStats stats = vudev->past;

    add_stats(&stats, vudev->link->proxy);
    add_stats(&stats, vudev->link->twin);
    *c = (VfioUserCounters) {
        .calls = stats.calls,
        .posts = stats.posts,
        .requests = stats.requests,
        .receive_wakeups = stats.receive_wakeups,
        .bytes_sent = stats.bytes_sent,
        .bytes_received = stats.bytes_received,
        .timeouts = stats.timeouts,
        .losses = vudev->losses,
        .reconnects = vudev->reconnect.returns,
        .dropped_writes = vfio_user_gap_dropped_writes(&vudev->user.gap),
    };
    return c;
}

static VfioUserState query_state(const VFIOUserPCIDevice *vudev,
                                 const char *reason)
{
    if (!reason) {
        return VFIO_USER_STATE_UP;
    }
    /* also before the main loop has noticed the loss */
    return vudev->reconnect.ms && !vudev->reconnect.rejected ?
           VFIO_USER_STATE_RECONNECTING : VFIO_USER_STATE_LOST;
}

VfioUserInfo *vfio_user_pci_query(VFIOUserPCIDevice *vudev)
{
    VfioUserInfo *info = g_new0(VfioUserInfo, 1);

    *info = (VfioUserInfo) {
        .id = g_strdup(DEVICE(vudev)->id),
        .qom_path = object_get_canonical_path(OBJECT(vudev)),
        .socket = g_strdup(vudev->socket_name),
        .reason = vfio_user_proxy_cause(vudev->user.proxy),
        .migration_version = vudev->migration ?
            vfio_user_migration_version(vudev->migration) : 0,
        .capabilities = query_capabilities(&vudev->user.caps),
        .counters = query_counters(vudev),
    };
    if (info->reason && vudev->reconnect.why_not) {
        g_free(info->reason);
        info->reason = g_strdup(vudev->reconnect.why_not);
    }
    info->state = query_state(vudev, info->reason);
    return info;
}

static int query_device(Object *obj, void *opaque)
{
    VfioUserInfoList ***tail = opaque;
    Object *dev = object_dynamic_cast(obj, TYPE_VFIO_USER_PCI);

    if (dev && DEVICE(dev)->realized) {
        QAPI_LIST_APPEND(*tail, vfio_user_pci_query(VFIO_USER_PCI(dev)));
    }
    return 0;
}

VfioUserInfoList *qmp_x_query_vfio_user(Error **errp)
{
    VfioUserInfoList *list = NULL, **tail = &list;

    object_child_foreach_recursive(qdev_get_machine(), query_device, &tail);
    return list;
}
