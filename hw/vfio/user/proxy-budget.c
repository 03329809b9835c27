/*
 * vfio-user connection: the budget of an operation under the big QEMU lock
 *
 * While a thread waits with the big QEMU lock, the VM and its monitor stand
 * still.  How long a server can make them do so is decided here: each call is
 * charged with the time that it waited, and the connection fails when an
 * operation has nothing left, or when one call is not answered in time.  Then
 * nobody waits for that server again.
 *
 * Threads: whoever holds the big QEMU lock, which owns the fields.  For any
 * other thread nothing is charged, and nothing here does anything.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/proxy-internal.h"
#include "trace.h"

/* @spent: of an operation in parts, or NULL */
static void budget_begin(VFIOUserProxy *p, VFIOUserBudgetFactor factor,
                         int64_t *spent)
{
    ProxyBudget *budget = &p->budget;

    if (!bql_locked() || budget->depth++) {
        return;
    }
    budget->total = (int64_t)qatomic_read(&p->timeout_ms) * factor * SCALE_MS;
    budget->left = budget->total - (spent ? *spent : 0);
    budget->spent = spent;
}

void vfio_user_budget_begin(VFIOUserProxy *p, VFIOUserBudgetFactor factor)
{
    budget_begin(p, factor, NULL);
}

void vfio_user_budget_begin_part(VFIOUserProxy *p, int64_t *spent)
{
    budget_begin(p, VFIO_USER_BUDGET_ORDINARY, spent);
}

void vfio_user_budget_end(VFIOUserProxy *p)
{
    ProxyBudget *budget = &p->budget;

    if (!bql_locked()) {
        return;
    }
    assert(budget->depth);
    if (!--budget->depth) {
        if (budget->spent) {
            *budget->spent = budget->total - budget->left;
        }
        trace_vfio_user_proxy_budget(p->name,
                                     (budget->total - budget->left) / SCALE_MS,
                                     budget->total / SCALE_MS);
    }
}

unsigned vfio_user_budget_left_ms(VFIOUserProxy *p)
{
    unsigned timeout = qatomic_read(&p->timeout_ms);

    assert(bql_locked());
    return p->budget.depth ? MIN(timeout, MAX(p->budget.left, 0) / SCALE_MS)
                           : timeout;
}

void vfio_user_budget_charge(VFIOUserProxy *p, int64_t waited)
{
    assert(bql_locked());
    if (p->budget.depth) {
        p->budget.left -= waited;
    }
}

VFIOUserProxy *vfio_user_budget_guard(VFIOUserProxy *p,
                                      VFIOUserBudgetFactor factor)
{
    if (!p || !bql_locked()) {
        return NULL;
    }
    vfio_user_budget_begin(p, factor);
    return VFIO_USER_PROXY(object_ref(OBJECT(p)));
}

void vfio_user_budget_unguard(VFIOUserProxy *p)
{
    if (p) {
        assert(bql_locked());           /* it was when this was begun */
        vfio_user_budget_end(p);
        object_unref(OBJECT(p));
    }
}

void proxy_budget_limit(VFIOUserProxy *p, VFIOUserCall *call, int64_t now)
{
    const ProxyBudget *budget = &p->budget;

    if (!bql_locked() || !budget->depth ||
        call->deadline <= now + budget->left) {
        return;
    }
    call->deadline = now + MAX(budget->left, 0);
    /* the first call of an operation is late by itself */
    call->is_short = budget->left < budget->total - SCALE_MS;
}

void proxy_budget_charge(VFIOUserProxy *p, int64_t since)
{
    if (bql_locked() && p->budget.depth) {
        p->budget.left -= proxy_clock_ns() - since;
    }
}

bool proxy_budget_is_short(const VFIOUserProxy *p, const VFIOUserCall *call)
{
    return bql_locked() && p->budget.depth && call->is_short;
}
