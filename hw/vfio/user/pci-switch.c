/*
 * vfio-user PCI device: replacing its server while the VM runs
 *
 * The new server is examined and prepared while the old one serves.  Then the
 * vCPUs pause, the rest of the state is moved, and the new server gets guest
 * memory and interrupts as the old one had them.  Until the new server has
 * confirmed that its device runs, everything can be undone: the old device is
 * only stopped.
 *
 * Threads: the main loop, in a coroutine; see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-sockets.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "system/cpus.h"
#include "system/runstate.h"
#include "hw/vfio/user/address.h"
#include "hw/vfio/user/migration-switch.h"
#include "hw/vfio/user/pci-attempt.h"
#include "hw/vfio/user/pci-switch.h"
#include "hw/vfio/user/worker.h"

typedef struct Switch {
    VFIOUserPCIDevice *vudev;
    VFIOUserAttempt *a;
    VFIOUserLink *old;
    VFIOUserMigSwitch move;
    Error *err;                 /* of the thread that moves ahead */
    Notifier shutdown;
    bool shut_down;             /* the VM; QEMU may be about to exit */
} Switch;

/*
 * When QEMU exits, it frees the state of migration first, and waits for monitor
 * commands later.
 */
static void on_shutdown(Notifier *notifier, void *cause)
{
    Switch *s = container_of(notifier, Switch, shutdown);

    s->shut_down = true;
    vfio_user_attempt_cancel(s->a);
}

static int region_fd(void *opaque, unsigned nr)
{
    const VFIOUserProfile *profile = opaque;

    return profile->regions[nr].fd;
}

static int move_ahead(void *opaque)
{
    Switch *s = opaque;

    return vfio_user_migration_switch_ahead(&s->move, &s->err);
}

/* The device may be unplugged, or lose its server, while a thread works. */
static bool check_device(Switch *s, Error **errp)
{
    VFIOUserPCIDevice *vudev = s->vudev;

    if (s->shut_down) {
        error_setg(errp, "the VM was shut down");
        return false;
    }
    if (!vudev->in_use) {
        error_setg(errp, "the device was unplugged");
        return false;
    }
    if (vfio_user_gap_is_open(&vudev->user.gap) || vudev->link != s->old) {
        error_setg(errp, "the present server was lost");
        return false;
    }
    return vfio_user_proxy_check(s->old->proxy, errp);
}

/* A device that is stopped, as in a paused VM, answers no questions. */
static bool check_known(VFIOUserPCIDevice *vudev, Error **errp)
{
    if (vudev->reconnect.profile || vfio_user_devices_run()) {
        return true;
    }
    error_setg(errp, "the VM is paused, and QEMU does not know all of the"
               " device that it has to compare; continue the VM first, or"
               " create the device with reconnect-ms");
    return false;
}

static bool coroutine_fn examine(Switch *s, Error **errp)
{
    if (vfio_user_worker_await("vfio-user-try", vfio_user_attempt_run,
                               s->a) < 0) {
        error_setg(errp, "%s", vfio_user_attempt_why_not(s->a));
        return false;
    }
    return check_device(s, errp);
}

static bool coroutine_fn prepare(Switch *s, Error **errp)
{
    int ret = vfio_user_worker_await("vfio-user-mig", move_ahead, s);

    if (ret < 0) {
        error_propagate(errp, g_steal_pointer(&s->err));
        return false;
    }
    return check_device(s, errp);
}

/* Tells a server what the other one knows, and lets its device run. */
static bool use_server(Switch *s, VFIOUserLink *link, bool is_return,
                       Error **errp)
{
    VFIOUserResume how = {
        .profile = s->a->profile,
        .move = &s->move,
        .is_return = is_return,
    };

    vfio_user_pci_use_link(s->vudev, link);
    return vfio_user_pci_resume(s->vudev, &how, errp);
}

static void undo(Switch *s)
{
    Error *err = NULL;

    if (!use_server(s, s->old, true, &err)) {
        vfio_user_link_fail(s->old, error_get_pretty(err));
        error_free(err);
    }
}

/* With the vCPUs paused. */
static bool replace(Switch *s, Error **errp)
{
    VFIOUserLink *link = s->a->link;

    VFIO_USER_BUDGET_GUARD(s->old->proxy, VFIO_USER_BUDGET_MIG_DATA);
    VFIO_USER_BUDGET_GUARD(link->proxy, VFIO_USER_BUDGET_MIG_DATA);
    if (vfio_user_migration_switch_move(&s->move, errp) < 0) {
        vfio_user_migration_switch_undo(&s->move);
        return false;
    }
    if (!use_server(s, link, false, errp)) {
        /* its device may run, which must end before the old one does */
        vfio_user_link_fail(link, "the device stays with its server");
        undo(s);
        return false;
    }
    s->a->link = NULL;
    return true;
}

/* While it is not clear which server is used, no loss is that of the device. */
static bool replace_disowned(Switch *s, Error **errp)
{
    bool ok;

    vfio_user_pci_disown_link(s->old);
    ok = check_device(s, errp) && replace(s, errp);
    vfio_user_pci_adopt_link(s->vudev, s->vudev->link);
    return ok;
}

/* Returns how long the guest did not run, ms; or -1. */
static int64_t replace_in_pause(Switch *s, Error **errp)
{
    bool running = runstate_is_running();
    int64_t begun = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    bool ok;

    if (running) {
        pause_all_vcpus();
    }
    /* to pause them, the big QEMU lock was released */
    ok = check_device(s, errp) && replace_disowned(s, errp);
    if (running) {
        resume_all_vcpus();
    }
    return ok ? (qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - begun) / SCALE_MS
              : -1;
}

static int64_t coroutine_fn move_device(Switch *s, Error **errp)
{
    int64_t pause_ms = -1;

    if (!vfio_user_migration_switch_begin(&s->move, s->vudev->migration,
                                          &s->a->device, region_fd,
                                          s->a->profile, errp)) {
        return -1;
    }
    if (prepare(s, errp)) {
        pause_ms = replace_in_pause(s, errp);
    } else if (s->vudev->in_use) {
        vfio_user_migration_switch_undo(&s->move);
    }
    vfio_user_migration_switch_end(&s->move);
    return pause_ms;
}

static void adopt_address(VFIOUserPCIDevice *vudev, SocketAddress *addr)
{
    VFIODevice *vbasedev = &vudev->parent_obj.vbasedev;

    qapi_free_SocketAddress(vudev->socket);
    vudev->socket = QAPI_CLONE(SocketAddress, addr);
    vudev->old_names = g_slist_prepend(vudev->old_names, vudev->socket_name);
    vudev->socket_name = vfio_user_address_name(addr);
    vudev->old_names = g_slist_prepend(vudev->old_names, vbasedev->name);
    vbasedev->name = g_strdup_printf("vfio-user %s", vudev->socket_name);
    vudev->user.reports.name = vbasedev->name;
    vfio_user_migration_rename(vudev->migration);
}

int64_t coroutine_fn vfio_user_pci_switch(VFIOUserPCIDevice *vudev,
                                          SocketAddress *addr, Error **errp)
{
    g_autoptr(VFIOUserAttempt) a = vfio_user_attempt_new(vudev, addr, false);
    Switch s = {
        .vudev = vudev,
        .a = a,
        .old = vudev->link,
        .shutdown.notify = on_shutdown,
    };
    int64_t pause_ms;

    if (vudev->is_switching) {
        error_setg(errp, "the device is being moved to another server");
        return -1;
    }
    if (!check_device(&s, errp) || !check_known(vudev, errp) ||
        !vfio_user_pci_check_address(vudev, addr, errp) ||
        !vfio_user_attempt_take_fd(a, errp)) {
        return -1;
    }
    vudev->is_switching = true;
    qemu_register_shutdown_notifier(&s.shutdown);
    pause_ms = examine(&s, errp) ? move_device(&s, errp) : -1;
    notifier_remove(&s.shutdown);
    vudev->is_switching = false;
    if (pause_ms >= 0) {
        vfio_user_pci_retire_link(vudev, s.old);
        adopt_address(vudev, addr);
        if (!vudev->reconnect.profile) {
            vudev->reconnect.profile = g_steal_pointer(&a->was);
        }
    }
    return pause_ms;
}
