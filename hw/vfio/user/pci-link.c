/*
 * vfio-user PCI device: its connection to one server
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/processor.h"
#include "hw/core/cpu.h"
#include "hw/vfio/user/migration.h"
#include "hw/vfio/user/pci-link.h"
#include "hw/vfio/user/twin.h"
#include "system/cpus.h"

/* Callbacks */

static void on_request(void *opaque, VFIOUserProxy *proxy,
                       const VFIOUserMessage *msg)
{
    VFIOUserLink *link = opaque;
    VFIOUserServe *serve;

    qatomic_inc(&link->serving);
    serve = qatomic_read(&link->serve);
    if (serve) {
        vfio_user_serve(serve, proxy, msg);
    } else {
        vfio_user_proxy_reply_error(proxy, &msg->header, EAGAIN);
    }
    qatomic_dec(&link->serving);
}

static void fail_proxy(VFIOUserProxy *proxy, const char *cause)
{
    Error *err = NULL;

    error_setg(&err, "%s", cause);
    vfio_user_proxy_fail(proxy, err);
}

/* If one of the two sockets is lost, the other one fails, too. */
static void on_lost(void *opaque, const char *cause)
{
    VFIOUserLink *link = opaque;
    VFIOUserProxy *twin = qatomic_read(&link->twin);

    if (twin) {
        fail_proxy(twin, cause);
    }
    link->ops->lost(link, cause);
}

static void on_twin_lost(void *opaque, const char *cause)
{
    VFIOUserLink *link = opaque;
    g_autofree char *which = g_strdup_printf("twin socket: %s", cause);

    fail_proxy(link->proxy, which);
}

static void on_failed(void *opaque, Error *err)
{
    VFIOUserLink *link = opaque;

    link->ops->failed(link, err);
}

/* A thread of TCG may run several vCPUs. */
VFIOUserWanted vfio_user_link_wanted(void)
{
    VFIOUserWanted wanted = VFIO_USER_WANTED_NOT;
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        if (!qemu_cpu_is_self(cpu)) {
            continue;
        }
        if (cpu->stop) {
            return VFIO_USER_WANTED_STOP;
        }
        if (!cpu_work_list_empty(cpu)) {
            wanted = VFIO_USER_WANTED_WORK;
        }
    }
    return wanted;
}

static bool is_waited_for(void)
{
    return vfio_user_link_wanted() != VFIO_USER_WANTED_NOT;
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
    VFIOUserLink *link = opaque;

    if (current_cpu && !will_give_way) {
        will_give_way = true;
        object_ref(OBJECT(link->proxy));
        async_run_on_cpu(current_cpu, give_way,
                         RUN_ON_CPU_HOST_PTR(link->proxy));
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

static const VFIOUserProxyOps twin_ops = {
    .request = on_request,
    .lost = on_twin_lost,
};

/* Lifecycle */

VFIOUserLink *vfio_user_link_new(QIOChannelSocket *ioc, const char *name,
                                 unsigned timeout_ms,
                                 const VFIOUserLinkOps *ops, void *opaque,
                                 Error **errp)
{
    VFIOUserLink *link = g_new0(VFIOUserLink, 1);

    link->ops = ops;
    link->opaque = opaque;
    link->proxy = vfio_user_proxy_new(ioc, name, &proxy_ops, link, errp);
    if (!link->proxy) {
        g_free(link);
        return NULL;
    }
    vfio_user_proxy_set_timeout(link->proxy, timeout_ms);
    return link;
}

/* @fd: -1 if the server uses no twin socket */
static bool open_twin(VFIOUserLink *link, int fd, uint64_t max_data,
                      Error **errp)
{
    VFIOUserProxy *twin;

    if (fd < 0) {
        return true;
    }
    twin = vfio_user_twin_new(fd, vfio_user_proxy_name(link->proxy), max_data,
                              &twin_ops, link, errp);
    qatomic_store_release(&link->twin, twin);
    /* on_lost() may have run before link->twin was set */
    return twin && vfio_user_proxy_check(link->proxy, errp);
}

bool vfio_user_link_negotiate(VFIOUserLink *link, VFIOUserDevice *udev,
                              Error **errp)
{
    ERRP_GUARD();
    Error *why;
    int twin_fd;

    if (vfio_user_device_handshake(udev, &twin_fd, errp) &&
        open_twin(link, twin_fd, udev->caps.max_data_xfer_size, errp)) {
        return true;
    }
    why = *errp;
    *errp = NULL;               /* no hint, to have the message on one line */
    error_setg(errp, "%s; is a vfio-user server listening on that socket?",
               error_get_pretty(why));
    error_free(why);
    /* close, so that a later cause does not replace this error */
    vfio_user_link_hang_up(link);
    return false;
}

void vfio_user_link_serve(VFIOUserLink *link, VFIOUserServe *serve)
{
    qatomic_set_mb(&link->serve, serve);
    while (!serve && qatomic_read(&link->serving)) {
        cpu_relax();
    }
}

void vfio_user_link_fail(VFIOUserLink *link, const char *cause)
{
    fail_proxy(link->proxy, cause);
}

void vfio_user_link_hang_up(VFIOUserLink *link)
{
    if (link->twin) {
        vfio_user_proxy_close(link->twin);
    }
    vfio_user_proxy_close(link->proxy);
}

bool vfio_user_link_was_late(const VFIOUserLink *link)
{
    VFIOUserProxyStats stats;

    vfio_user_proxy_get_stats(link->proxy, &stats);
    return stats.timeouts;
}

bool vfio_user_link_is_idle(VFIOUserLink *link)
{
    return vfio_user_proxy_is_idle(link->proxy) &&
           (!link->twin || vfio_user_proxy_is_idle(link->twin));
}

void vfio_user_link_free(VFIOUserLink *link)
{
    if (link) {
        object_unref(OBJECT(link->twin));
        object_unref(OBJECT(link->proxy));
        g_free(link);
    }
}

void vfio_user_link_retire(VFIOUserLink *link)
{
    call_rcu(link, vfio_user_link_free, rcu);
}
