/*
 * vfio-user PCI device: the return of its server
 *
 * Loss -> delay -> attempt -> resume.  The attempt runs in a thread, see
 * pci-attempt.h.  The main loop does the rest with the big QEMU lock held and
 * within one budget, so that nobody sees a server that knows only a part.
 *
 * The delay before an attempt doubles, from FIRST_DELAY_MS to the property
 * reconnect-ms.  It begins anew only if the server has stayed for a while.
 *
 * Threads: see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-vfio-user.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/pci-attempt.h"
#include "hw/vfio/user/worker.h"
#include "trace.h"

#define FIRST_DELAY_MS 10

/* How soon to look again at what keeps a server from being used, ms. */
#define LOOK_MS 10

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

/* Waits before the next attempt, for longer each time. */
static void schedule(VFIOUserPCIReconnect *r)
{
    timer_mod(r->timer, now_ms() + r->delay_ms);
    r->delay_ms = MIN(r->delay_ms * 2, r->ms);
}

/* @what: is wrong with the server */
static void reject(VFIOUserPCIDevice *vudev, const char *what, const char *why)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;
    g_autofree char *path = object_get_canonical_path(OBJECT(vudev));

    r->rejected = true;
    g_free(r->why_not);
    r->why_not = g_strdup_printf("the server %s: %s", what, why);
    vfio_user_gap_give_up(&vudev->user.gap);
    error_report("vfio-user %s: %s; it is not used, and QEMU does not connect"
                 " again by itself", vudev->socket_name, r->why_not);
    qapi_event_send_vfio_user_disconnected(DEVICE(vudev)->id, path, r->why_not,
                                           false);
}

/* Only the first failure after a loss is reported; QEMU may try often. */
static void note_failure(VFIOUserPCIDevice *vudev, const char *why)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;
    g_autofree char *name = g_strdup_printf("vfio-user %s: ",
                                            vudev->socket_name);

    if (g_str_has_prefix(why, name)) {
        why += strlen(name);
    }
    if (!r->why_not) {
        warn_report("vfio-user %s: a server came back but cannot be used: %s;"
                    " QEMU tries again", vudev->socket_name, why);
    }
    g_free(r->why_not);
    r->why_not = g_strdup(why);
}

static void attempt_failed(VFIOUserPCIDevice *vudev, const VFIOUserAttempt *a)
{
    const char *why = vfio_user_attempt_why_not(a);

    trace_vfio_user_pci_attempt_failed(vudev->socket_name, why);
    if (a->difference) {
        reject(vudev, "has a different device", why);
        return;
    }
    if (a->link) {
        note_failure(vudev, why);
    }
    schedule(&vudev->reconnect);
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

/* The main loop does not wait for a server that was late a second time. */
static void resume_failed(VFIOUserPCIDevice *vudev, VFIOUserLink *link,
                          const char *why)
{
    bool was_late = vfio_user_link_was_late(link);
    g_autofree char *cause = NULL;

    trace_vfio_user_pci_attempt_failed(vudev->socket_name, why);
    vfio_user_gap_set_ending(&vudev->user.gap, false);
    vfio_user_link_fail(link, why);
    if (was_late) {
        cause = vfio_user_proxy_cause(link->proxy);
        reject(vudev, "is too slow", cause);
    } else {
        note_failure(vudev, why);
    }
    /* the link was not adopted, so nothing else begins this */
    vfio_user_pci_reconnect_begin(vudev);
}

static void resume(VFIOUserPCIDevice *vudev, VFIOUserAttempt *a)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;
    VFIOUserLink *link = g_steal_pointer(&a->link);
    VFIOUserLink *last = vudev->link;
    const VFIOUserResume how = { .profile = a->profile };
    g_autofree char *path = NULL;
    Error *err = NULL;
    int64_t gap_ms;

    vfio_user_gap_set_ending(&vudev->user.gap, true);
    vfio_user_pci_use_link(vudev, link);
    vfio_user_pci_retire_link(vudev, last);
    if (!vfio_user_pci_resume(vudev, &how, &err)) {
        resume_failed(vudev, link, error_get_pretty(err));
        error_free(err);
        return;
    }
    r->in_gap = false;
    r->since_ms = now_ms();
    r->returns++;
    g_clear_pointer(&r->why_not, g_free);
    gap_ms = vfio_user_gap_end(&vudev->user.gap);
    path = object_get_canonical_path(OBJECT(vudev));
    qapi_event_send_vfio_user_reconnected(DEVICE(vudev)->id, path, gap_ms);
    info_report("vfio-user %s: connected again after %" PRId64 " ms",
                vudev->socket_name, gap_ms);
    vfio_user_pci_adopt_link(vudev, link);
}

/*
 * The main loop waits for slow servers, so it rests for as long after each one:
 * with many devices, the monitor answers in between.
 */
static void attempt_end(VFIOUserPCIDevice *vudev)
{
    static int64_t rested_ms;
    VFIOUserPCIReconnect *r = &vudev->reconnect;
    g_autoptr(VFIOUserAttempt) a = NULL;
    int64_t begun_ms = now_ms();

    if (begun_ms < rested_ms || !may_resume(vudev)) {
        timer_mod(r->timer, begun_ms + LOOK_MS);
        return;
    }
    a = g_steal_pointer(&r->attempt);
    resume(vudev, a);
    rested_ms = 2 * now_ms() - begun_ms;
}

static void attempt_done(void *opaque)
{
    VFIOUserAttempt *a = opaque;
    VFIOUserPCIDevice *vudev = a->vudev;
    VFIOUserPCIReconnect *r = &vudev->reconnect;

    a->done = true;
    if (a->canceled) {
        vfio_user_attempt_free(a);
    } else if (a->err || a->difference ||
               !vfio_user_proxy_check(a->link->proxy, NULL)) {
        r->attempt = NULL;
        attempt_failed(vudev, a);
        vfio_user_attempt_free(a);
    } else {
        attempt_end(vudev);
    }
}

static void attempt_begin(VFIOUserPCIDevice *vudev)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;

    r->attempt = vfio_user_attempt_new(vudev, vudev->socket, true);
    vfio_user_worker_start("vfio-user-try", vfio_user_attempt_run, attempt_done,
                           r->attempt);
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
        if (now_ms() - r->since_ms > r->ms) {
            r->delay_ms = MIN(FIRST_DELAY_MS, r->ms);
        }
    }
    if (!r->attempt && !r->rejected && !timer_pending(r->timer)) {
        schedule(r);
    }
}

bool vfio_user_pci_reconnect_retry(VFIOUserPCIDevice *vudev, Error **errp)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;

    if (!r->in_gap) {
        error_setg(errp, "the device has a server, or does not connect to"
                   " another one (reconnect-ms)");
        return false;
    }
    if (!r->attempt) {
        r->rejected = false;
        r->delay_ms = MIN(FIRST_DELAY_MS, r->ms);
        schedule(r);
    }
    return true;
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
        vfio_user_attempt_free(a);
    } else if (a) {
        vfio_user_attempt_cancel(a);
    }
}

void vfio_user_pci_reconnect_cleanup(VFIOUserPCIDevice *vudev)
{
    VFIOUserPCIReconnect *r = &vudev->reconnect;

    timer_free(r->timer);
    g_free(r->why_not);
    g_clear_pointer(&r->profile, vfio_user_profile_free);
}
