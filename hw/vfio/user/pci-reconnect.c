/*
 * vfio-user PCI device: the return of its server
 *
 * Loss -> wait -> attempt -> comparison -> resume.  An attempt runs in a thread
 * of its own: it connects, negotiates, asks for everything that is compared,
 * and resets the device.  The main loop does the rest with the big QEMU lock
 * held and within one budget, so that nobody sees a server that knows only a
 * part.
 *
 * The delay before an attempt doubles, from FIRST_DELAY_MS to the property
 * reconnect-ms.  It begins anew only if the server has stayed for a while.
 *
 * Threads: see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-sockets.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/dial.h"
#include "hw/vfio/user/pci-internal.h"
#include "hw/vfio/user/worker.h"
#include "trace.h"

#define FIRST_DELAY_MS 10

/* How soon to look again at what keeps a server from being used, ms. */
#define LOOK_MS 10

/* A server that is examined. */
typedef struct VFIOUserAttempt {
    VFIOUserPCIDevice *vudev;   /* a reference */
    SocketAddress *addr;
    bool canceled;              /* atomic */
    bool done;                  /* the thread has ended */
    VFIOUserLink *link;         /* atomic */
    VFIOUserDevice device;      /* only what a call needs */
    VFIOUserProfile *profile;
    char *difference;           /* to the device that the guest knows */
    Error *err;
} VFIOUserAttempt;

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

static void attempt_free(VFIOUserAttempt *a)
{
    if (a->link) {
        vfio_user_link_hang_up(a->link);
        vfio_user_link_free(a->link);
    }
    g_clear_pointer(&a->profile, vfio_user_profile_free);
    qapi_free_SocketAddress(a->addr);
    g_free(a->difference);
    error_free(a->err);
    object_unref(OBJECT(a->vudev));
    g_free(a);
}

/* In the attempt's thread: returns false with a->err set. */
static bool examine(VFIOUserAttempt *a)
{
    VFIOUserPCIDevice *vudev = a->vudev;
    VFIOUserLink *link;
    QIOChannelSocket *ioc;

    ioc = vfio_user_dial(a->addr, vudev->timeout_ms, &a->err);
    if (!ioc) {
        return false;
    }
    link = vfio_user_link_new(ioc, vudev->socket_name, vudev->timeout_ms,
                              &vfio_user_pci_link_ops, vudev, &a->err);
    object_unref(OBJECT(ioc));
    if (!link) {
        return false;
    }
    qatomic_store_release(&a->link, link);
    if (qatomic_load_acquire(&a->canceled)) {
        error_setg(&a->err, "canceled");
        return false;
    }
    a->device.proxy = link->proxy;
    if (!vfio_user_link_negotiate(link, &a->device, &a->err)) {
        return false;
    }
    a->profile = vfio_user_profile_take(&a->device,
                                        VFIO_PCI_CONFIG_REGION_INDEX, &a->err);
    if (!a->profile) {
        return false;
    }
    a->difference = vfio_user_profile_diff(vudev->reconnect.profile,
                                           a->profile);
    return a->difference ||
           !(a->profile->info.flags & VFIO_DEVICE_FLAGS_RESET) ||
           vfio_user_device_reset(&a->device, &a->err) == 0;
}

static int attempt_run(void *opaque)
{
    examine(opaque);
    return 0;
}

/* Waits before the next attempt, for longer each time. */
static void schedule(VFIOUserPCIReconnect *r)
{
    timer_mod(r->timer, now_ms() + r->delay_ms);
    r->delay_ms = MIN(r->delay_ms * 2, r->ms);
}

static void attempt_failed(VFIOUserPCIDevice *vudev, const VFIOUserAttempt *a)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;
    const char *why = a->difference ?: error_get_pretty(a->err);

    trace_vfio_user_pci_attempt_failed(vudev->socket_name, why);
    if (a->difference) {
        r->rejected = true;
        vfio_user_gap_give_up(&vudev->user.gap);
        error_report("vfio-user %s: the server that came back has a different"
                     " device: %s; it is not used, and no other is looked for",
                     vudev->socket_name, why);
        return;
    }
    schedule(r);
}

/*
 * The link that was used may still be in use by threads that were in the middle
 * of a call, and QEMU may be saving the device.
 */
static bool may_resume(VFIOUserPCIDevice *vudev)
{
    return vfio_user_link_is_idle(vudev->link) &&
           !vfio_user_migration_is_busy(vudev->migration);
}

static void resume(VFIOUserPCIDevice *vudev, VFIOUserAttempt *a)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;
    VFIOUserLink *link = g_steal_pointer(&a->link);
    Error *err = NULL;
    int64_t gap_ms;

    vfio_user_link_retire(vudev->link);
    vfio_user_pci_use_link(vudev, link);
    if (!vfio_user_pci_resume(vudev, a->profile, &err)) {
        /* if the link is not lost already, this begins the next attempt */
        trace_vfio_user_pci_attempt_failed(vudev->socket_name,
                                           error_get_pretty(err));
        vfio_user_link_fail(link, error_get_pretty(err));
        error_free(err);
        return;
    }
    r->in_gap = false;
    r->since_ms = now_ms();
    r->returns++;
    gap_ms = vfio_user_gap_end(&vudev->user.gap);
    /* as the number of gaps has changed since the link came into use */
    link->returns = vfio_user_gap_returns(&vudev->user.gap);
    info_report("vfio-user %s: connected again after %" PRId64 " ms",
                vudev->socket_name, gap_ms);
    if (!vfio_user_proxy_check(link->proxy, NULL)) {
        /* lost in between, when the gap was still open */
        vfio_user_gap_begin(&vudev->user.gap, link->returns);
        vfio_user_pci_reconnect_begin(vudev);
    }
}

static void attempt_end(VFIOUserPCIDevice *vudev)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;

    if (!may_resume(vudev)) {
        timer_mod(r->timer, now_ms() + LOOK_MS);
        return;
    }
    resume(vudev, r->attempt);
    attempt_free(g_steal_pointer(&r->attempt));
    if (r->in_gap) {
        /* as on_lost() ignores a server that is lost before it is used */
        vfio_user_pci_reconnect_begin(vudev);
    }
}

static void attempt_done(void *opaque)
{
    VFIOUserAttempt *a = opaque;
    VFIOUserPCIDevice *vudev = a->vudev;
    VFIOUserPCIReconnect *r = &vudev->reconnect;

    a->done = true;
    if (a->canceled) {
        attempt_free(a);
    } else if (a->err || a->difference) {
        r->attempt = NULL;
        attempt_failed(vudev, a);
        attempt_free(a);
    } else {
        attempt_end(vudev);
    }
}

static void attempt_begin(VFIOUserPCIDevice *vudev)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;
    VFIOUserAttempt *a = g_new0(VFIOUserAttempt, 1);

    a->vudev = VFIO_USER_PCI(object_ref(OBJECT(vudev)));
    a->addr = QAPI_CLONE(SocketAddress, vudev->socket);
    a->device.no_device_feature = vudev->user.no_device_feature;
    r->attempt = a;
    vfio_user_worker_start("vfio-user-try", attempt_run, attempt_done, a);
}

static void on_timer(void *opaque)
{
    VFIOUserPCIDevice *vudev = opaque;

    if (vudev->reconnect.attempt) {
        attempt_end(vudev);
    } else {
        attempt_begin(vudev);
    }
}

void vfio_user_pci_reconnect_begin(VFIOUserPCIDevice *vudev)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;

    if (!r->ms || !vudev->in_use) {
        return;
    }
    vfio_user_link_hang_up(vudev->link);
    if (!r->in_gap) {
        r->in_gap = true;
        r->losses++;
        if (now_ms() - r->since_ms > r->ms) {
            r->delay_ms = MIN(FIRST_DELAY_MS, r->ms);
        }
    }
    if (!r->attempt && !r->rejected && !timer_pending(r->timer)) {
        schedule(r);
    }
}

bool vfio_user_pci_reconnect_setup(VFIOUserPCIDevice *vudev, Error **errp)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;

    if (!r->ms) {
        return true;
    }
    r->profile = vfio_user_profile_take(&vudev->user,
                                        VFIO_PCI_CONFIG_REGION_INDEX, errp);
    if (!r->profile) {
        return false;
    }
    vfio_user_profile_close(r->profile);
    r->timer = timer_new_ms(QEMU_CLOCK_REALTIME, on_timer, vudev);
    r->since_ms = now_ms();
    r->delay_ms = MIN(FIRST_DELAY_MS, r->ms);
    vudev->user.gap.expected = true;
    return true;
}

void vfio_user_pci_reconnect_stop(VFIOUserPCIDevice *vudev)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;
    VFIOUserAttempt *a = g_steal_pointer(&r->attempt);

    vfio_user_gap_give_up(&vudev->user.gap);
    if (r->timer) {
        timer_del(r->timer);
    }
    if (a && a->done) {
        attempt_free(a);
    } else if (a) {
        VFIOUserLink *link;

        qatomic_set_mb(&a->canceled, true);
        link = qatomic_load_acquire(&a->link);
        if (link) {
            vfio_user_link_fail(link, "the device is unplugged");
        }
    }
}

void vfio_user_pci_reconnect_cleanup(VFIOUserPCIDevice *vudev)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;

    timer_free(r->timer);
    g_clear_pointer(&r->profile, vfio_user_profile_free);
}
