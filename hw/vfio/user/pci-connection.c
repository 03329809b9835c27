/*
 * vfio-user PCI device: its connection
 *
 * The steps of realize that connect to the server, and what happens when the
 * server is lost.  The sockets and their callbacks are in pci-link.c, the
 * return of a server in pci-reconnect.c.  Knows neither regions nor
 * configuration space.
 *
 * Threads: the main loop, with the big QEMU lock; the callbacks run in other
 * threads, see proxy.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-vfio-user.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/dial.h"
#include "hw/vfio/user/pci-internal.h"

/* Callbacks */

static bool may_dma(void *opaque)
{
    VFIOUserPCIDevice *vudev = opaque;

    return vfio_user_pci_master_is_on(&vudev->master);
}

static void note_loss(VFIOUserPCIDevice *vudev)
{
    g_autofree char *path = object_get_canonical_path(OBJECT(vudev));
    g_autofree char *cause = vfio_user_proxy_cause(vudev->user.proxy);

    vudev->losses++;
    qapi_event_send_vfio_user_disconnected(DEVICE(vudev)->id, path, cause,
                                           vudev->reconnect.ms != 0);
}

/*
 * Stops using the files and the eventfds of a lost server.  There is no event
 * if the server was lost in realize, which fails with the cause, if the device
 * has been unplugged since, or if it is without a server already.
 */
static void detach_server(void *opaque)
{
    VFIOUserPCIDevice *vudev = opaque;

    /* another server may have taken over meanwhile */
    if (!vfio_user_proxy_check(vudev->user.proxy, NULL)) {
        if (vudev->mappings.areas) {
            vfio_user_mappings_off(&vudev->mappings);
        }
        vfio_user_pci_ioeventfds_update(&vudev->ioeventfds);
        if (DEVICE(vudev)->realized && !vudev->reconnect.in_gap) {
            note_loss(vudev);
        }
        vfio_user_pci_reconnect_begin(vudev);
    }
    object_unref(OBJECT(vudev));
}

static void report_loss(VFIOUserPCIDevice *vudev, VFIOUserLink *link,
                        const char *cause)
{
    const char *name = vfio_user_proxy_name(link->proxy);

    if (vudev->reconnect.ms) {
        warn_report("vfio-user %s: connection lost: %s; the VM continues, the"
                    " device waits for a server", name, cause);
    } else {
        error_report("vfio-user %s: connection lost: %s; the VM continues, but"
                     " the device no longer works and should be unplugged",
                     name, cause);
    }
}

static void handle_loss(VFIOUserLink *link, const char *cause)
{
    VFIOUserPCIDevice *vudev = link->opaque;

    if (qatomic_xchg(&link->loss_seen, true)) {
        return;
    }
    if (qatomic_read(&vudev->in_use)) {
        vfio_user_gap_begin(&vudev->user.gap, link->returns);
        report_loss(vudev, link, cause);
    }
    object_ref(OBJECT(vudev));
    aio_bh_schedule_oneshot(qemu_get_aio_context(), detach_server, vudev);
}

static void on_lost(VFIOUserLink *link, const char *cause)
{
    if (qatomic_load_acquire(&link->adopted)) {
        handle_loss(link, cause);
    }
}

void vfio_user_pci_adopt_link(VFIOUserPCIDevice *vudev, VFIOUserLink *link)
{
    g_autofree char *cause = NULL;

    link->returns = vfio_user_gap_returns(&vudev->user.gap);
    /* on_lost() sees this, or the check below the loss */
    qatomic_set_mb(&link->adopted, true);
    if (vfio_user_proxy_state(link->proxy) == VFIO_USER_LOST) {
        cause = vfio_user_proxy_cause(link->proxy);
        handle_loss(link, cause);
    }
}

void vfio_user_pci_disown_link(VFIOUserLink *link)
{
    qatomic_set_mb(&link->adopted, false);
}

/* A notify failed. */
static void on_failed(VFIOUserLink *link, Error *err)
{
    VFIOUserPCIDevice *vudev = link->opaque;

    vfio_user_report(&vudev->user.reports, err);
}

const VFIOUserLinkOps vfio_user_pci_link_ops = {
    .lost = on_lost,
    .failed = on_failed,
};

bool vfio_user_pci_check_address(const VFIOUserPCIDevice *vudev,
                                 const SocketAddress *addr, Error **errp)
{
    if (!vudev->reconnect.ms || addr->type != SOCKET_ADDRESS_TYPE_FD) {
        return true;
    }
    error_setg(errp, "reconnect-ms needs a socket that QEMU can connect to"
               " again, not a file descriptor");
    return false;
}

/* Steps of realize */

bool vfio_user_pci_dial(VFIOUserPCIDevice *vudev, Error **errp)
{
    if (!vudev->socket) {
        error_setg(errp, "'socket' is required, for example"
                   " socket=/run/device.sock");
        return false;
    }
    if (!vudev->timeout_ms) {
        error_setg(errp, "x-timeout-ms must not be 0");
        return false;
    }
    if (!vfio_user_pci_check_address(vudev, vudev->socket, errp)) {
        return false;
    }
    vudev->channel = vfio_user_dial(vudev->socket, vudev->timeout_ms, errp);
    return vudev->channel != NULL;
}

void vfio_user_pci_hang_up(VFIOUserPCIDevice *vudev)
{
    vfio_user_link_hang_up(vudev->link);
    vfio_user_reports_flush(&vudev->user.reports);
}

void vfio_user_pci_use_link(VFIOUserPCIDevice *vudev, VFIOUserLink *link)
{
    /* the container serves one request at a time */
    if (vudev->link) {
        vfio_user_link_serve(vudev->link, NULL);
    }
    qatomic_rcu_set(&vudev->link, link);
    qatomic_rcu_set(&vudev->user.proxy, link->proxy);
    vfio_user_link_serve(link, &vudev->serve);
}

static void add_stats(VFIOUserProxyStats *sum, VFIOUserProxy *proxy)
{
    VFIOUserProxyStats stats;

    if (proxy) {
        vfio_user_proxy_get_stats(proxy, &stats);
        vfio_user_proxy_add_stats(sum, &stats);
    }
}

void vfio_user_pci_retire_link(VFIOUserPCIDevice *vudev, VFIOUserLink *link)
{
    vfio_user_link_hang_up(link);
    add_stats(&vudev->past, link->proxy);
    add_stats(&vudev->past, link->twin);
    vfio_user_link_retire(link);
}

/* Creates the proxy; sends nothing. */
bool vfio_user_pci_connect(VFIOUserPCIDevice *vudev, Error **errp)
{
    VFIOUserDevice *user = &vudev->user;
    VFIOUserLink *link;

    link = vfio_user_link_new(vudev->channel, vudev->socket_name,
                              vudev->timeout_ms, &vfio_user_pci_link_ops,
                              vudev, errp);
    g_clear_pointer(&vudev->channel, object_unref);
    if (!link) {
        return false;
    }
    user->reports.name = vudev->parent_obj.vbasedev.name;
    vfio_user_pci_master_init(&vudev->master, PCI_DEVICE(vudev));
    vudev->container = vfio_user_container_new(link->proxy, &user->caps);
    vudev->serve = (VFIOUserServe) {
        .memory = &vfio_user_container_memory_ops,
        .opaque = vudev->container,
        .may_dma = may_dma,
        .device = vudev,
        .max_data = vfio_user_caps_proposed.max_data_xfer_size,
    };
    vfio_user_pci_use_link(vudev, link);
    vfio_user_pci_adopt_link(vudev, link);
    return true;
}

bool vfio_user_pci_handshake(VFIOUserPCIDevice *vudev, Error **errp)
{
    if (!vfio_user_link_negotiate(vudev->link, &vudev->user, errp)) {
        vfio_user_reports_flush(&vudev->user.reports);
        return false;
    }
    return true;
}
