/*
 * vfio-user PCI device: its connection
 *
 * Connects to the server, negotiates the version, opens the twin socket, and
 * handles the events of the connection: requests of the server, errors of
 * notifies, and the loss.  Knows neither regions nor configuration space.
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
#include "hw/core/cpu.h"
#include "hw/vfio/user/dial.h"
#include "hw/vfio/user/pci-internal.h"
#include "hw/vfio/user/twin.h"
#include "system/cpus.h"

/* Callbacks */

static void on_request(void *opaque, VFIOUserProxy *proxy,
                       const VFIOUserMessage *msg)
{
    VFIOUserPCIDevice *vudev = opaque;

    vfio_user_serve(&vudev->serve, proxy, msg);
}

static bool may_dma(void *opaque)
{
    VFIOUserPCIDevice *vudev = opaque;

    return vfio_user_pci_master_is_on(&vudev->master);
}

/* If one of the two sockets is lost, the other one fails, too. */
static void fail_other(VFIOUserProxy *other, const char *cause)
{
    Error *err = NULL;

    if (other) {
        error_setg(&err, "%s", cause);
        vfio_user_proxy_fail(other, err);
    }
}

static void note_loss(VFIOUserPCIDevice *vudev)
{
    g_autofree char *path = object_get_canonical_path(OBJECT(vudev));
    g_autofree char *cause = vfio_user_proxy_cause(vudev->user.proxy);

    vudev->losses++;
    qapi_event_send_vfio_user_disconnected(DEVICE(vudev)->id, path, cause,
                                           false);
}

/*
 * Stops using the files and the eventfds of a lost server.  There is no event
 * if the server was lost in realize, which fails with the cause, or if the
 * device has been unplugged since.
 */
static void detach_server(void *opaque)
{
    VFIOUserPCIDevice *vudev = opaque;

    if (vudev->mappings.areas) {
        vfio_user_mappings_off(&vudev->mappings);
    }
    vfio_user_pci_ioeventfds_update(&vudev->ioeventfds);
    if (DEVICE(vudev)->realized) {
        note_loss(vudev);
    }
    object_unref(OBJECT(vudev));
}

static void on_lost(void *opaque, const char *cause)
{
    VFIOUserPCIDevice *vudev = opaque;

    fail_other(qatomic_read(&vudev->twin), cause);
    object_ref(OBJECT(vudev));
    aio_bh_schedule_oneshot(qemu_get_aio_context(), detach_server, vudev);
    if (qatomic_read(&vudev->in_use)) {
        error_report("vfio-user %s: connection lost: %s; the VM continues, but"
                     " the device no longer works and should be unplugged",
                     vudev->socket_name, cause);
    }
}

/* A notify failed. */
static void on_failed(void *opaque, Error *err)
{
    VFIOUserPCIDevice *vudev = opaque;

    vfio_user_report(&vudev->user.reports, err);
}

/* Whether this thread must stop one of its vCPUs, or has other work queued. */
static bool is_waited_for(void)
{
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        if (qemu_cpu_is_self(cpu) &&
            (cpu->stop || !cpu_work_list_empty(cpu))) {
            return true;
        }
    }
    return false;
}

static __thread bool will_give_way;

static void give_way(CPUState *cpu, run_on_cpu_data data)
{
    VFIOUserProxy *proxy = data.host_ptr;

    will_give_way = false;
    vfio_user_proxy_give_way(proxy, is_waited_for);
    object_unref(OBJECT(proxy));
}

/*
 * For vCPUs that access configuration space in a loop: the work item runs
 * between two instructions.
 */
static void on_held_up(void *opaque)
{
    VFIOUserPCIDevice *vudev = opaque;

    if (current_cpu && !will_give_way) {
        will_give_way = true;
        object_ref(OBJECT(vudev->user.proxy));
        async_run_on_cpu(current_cpu, give_way,
                         RUN_ON_CPU_HOST_PTR(vudev->user.proxy));
    }
}

static bool is_canceled(void *opaque)
{
    return vfio_user_migration_is_cancelled();
}

static const VFIOUserProxyOps proxy_ops = {
    .request = on_request,
    .lost = on_lost,
    .failed = on_failed,
    .held_up = on_held_up,
    .is_canceled = is_canceled,
};

static void on_twin_lost(void *opaque, const char *cause)
{
    VFIOUserPCIDevice *vudev = opaque;
    g_autofree char *which = g_strdup_printf("twin socket: %s", cause);

    fail_other(vudev->user.proxy, which);
}

static const VFIOUserProxyOps twin_ops = {
    .request = on_request,
    .lost = on_twin_lost,
};

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
    vudev->channel = vfio_user_dial(vudev->socket, vudev->timeout_ms, errp);
    return vudev->channel != NULL;
}

void vfio_user_pci_hang_up(VFIOUserPCIDevice *vudev)
{
    if (vudev->twin) {
        vfio_user_proxy_close(vudev->twin);
    }
    vfio_user_proxy_close(vudev->user.proxy);
    vfio_user_reports_flush(&vudev->user.reports);
}

/* @fd: -1 if the server uses no twin socket */
static bool open_twin(VFIOUserPCIDevice *vudev, int fd, Error **errp)
{
    VFIOUserProxy *twin;

    if (fd < 0) {
        return true;
    }
    twin = vfio_user_twin_new(fd, vudev->socket_name,
                              vudev->user.caps.max_data_xfer_size, &twin_ops,
                              vudev, errp);
    qatomic_store_release(&vudev->twin, twin);
    /* on_lost() may have run before vudev->twin was set */
    return twin && vfio_user_proxy_check(vudev->user.proxy, errp);
}

/* Creates the proxy; sends nothing. */
bool vfio_user_pci_connect(VFIOUserPCIDevice *vudev, Error **errp)
{
    VFIOUserDevice *user = &vudev->user;

    user->proxy = vfio_user_proxy_new(vudev->channel, vudev->socket_name,
                                      &proxy_ops, vudev, errp);
    g_clear_pointer(&vudev->channel, object_unref);
    if (!user->proxy) {
        return false;
    }
    vfio_user_proxy_set_timeout(user->proxy, vudev->timeout_ms);
    user->reports.name = vudev->parent_obj.vbasedev.name;
    vfio_user_pci_master_init(&vudev->master, PCI_DEVICE(vudev));
    vudev->container = vfio_user_container_new(user->proxy, &user->caps);
    vudev->serve = (VFIOUserServe) {
        .memory = &vfio_user_container_memory_ops,
        .opaque = vudev->container,
        .may_dma = may_dma,
        .device = vudev,
        .max_data = vfio_user_caps_proposed.max_data_xfer_size,
    };
    return true;
}

bool vfio_user_pci_handshake(VFIOUserPCIDevice *vudev, Error **errp)
{
    ERRP_GUARD();
    VFIOUserDevice *user = &vudev->user;
    int twin_fd;

    if (!vfio_user_device_handshake(user, &twin_fd, errp) ||
        !open_twin(vudev, twin_fd, errp)) {
        Error *why = *errp;

        *errp = NULL;           /* no hint, to have the message on one line */
        error_setg(errp, "%s; is a vfio-user server listening on that socket?",
                   error_get_pretty(why));
        error_free(why);
        /* close, so that a later cause does not replace this error */
        vfio_user_pci_hang_up(vudev);
        return false;
    }
    return true;
}
