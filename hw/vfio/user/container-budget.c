/*
 * vfio-user container: how long changes of memory may wait for the server
 *
 * A vIOMMU, virtio-mem or a section of a dirty bitmap comes singly, and nobody
 * says which is the last.  What comes before the main loop has its turn is one
 * operation: so long the monitor has waited.
 *
 * Threads: any, with the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/container-internal.h"

/* Nobody has waited for the next operation yet. */
static void budget_renew(void *opaque)
{
    VFIOUserContainer *c = opaque;

    c->waited = 0;
}

void vfio_user_container_open_budget(VFIOUserContainer *c)
{
    c->renew = qemu_bh_new(budget_renew, c);
    c->waited = 0;
}

void vfio_user_container_close_budget(VFIOUserContainer *c)
{
    g_clear_pointer(&c->renew, qemu_bh_delete);
}

void vfio_user_container_begin(VFIOUserContainer *c)
{
    assert(bql_locked());
    vfio_user_budget_begin_part(c->proxy, &c->waited);
}

void vfio_user_container_end(VFIOUserContainer *c)
{
    bool first = !c->waited;

    vfio_user_budget_end(c->proxy);
    if (first && c->waited) {
        qemu_bh_schedule(c->renew);
    }
}
