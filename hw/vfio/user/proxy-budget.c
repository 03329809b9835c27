/*
 * vfio-user connection: the budget of an operation under the big QEMU lock
 *
 * While a thread waits with the big QEMU lock, the VM and its monitor stand
 * still.  How long a server can make them do so is decided here: each call is
 * charged with the time that it waited, and the connection fails when an
 * operation has nothing left, or when one call is not answered in time.  Then
 * nobody waits for that server again.
 *
 * Operations that the main loop has no turn between share a budget, that of
 * the largest: so long the monitor has waited.  Another device's handler may
 * access a BAR thousands of times, and a vIOMMU changes maps singly.  What a
 * large operation leaves over is not for those after it: they have as much as
 * an ordinary one.
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

/* What is waited for less than that makes nobody ask for a turn, ns. */
#define BUDGET_NOTICED SCALE_MS

/* ns */
static int64_t time_of(const VFIOUserProxy *p, VFIOUserBudgetFactor factor)
{
    return (int64_t)qatomic_read(&p->timeout_ms) * factor * SCALE_MS;
}

/* What may be waited, ns; may be less than 0. */
static int64_t budget_left(const VFIOUserProxy *p)
{
    return proxy_budget_total(p) - p->budget.waited;
}

void vfio_user_budget_begin(VFIOUserProxy *p, VFIOUserBudgetFactor factor)
{
    ProxyBudget *budget = &p->budget;

    if (bql_locked() && !budget->depth++) {
        budget->total = MAX(budget->total, time_of(p, factor));
    }
}

void vfio_user_budget_end(VFIOUserProxy *p)
{
    ProxyBudget *budget = &p->budget;

    if (!bql_locked()) {
        return;
    }
    assert(budget->depth);
    if (!--budget->depth) {
        trace_vfio_user_proxy_budget(p->name, budget->waited / SCALE_MS,
                                     proxy_budget_total(p) / SCALE_MS);
        budget->total = MIN(budget->total, budget->waited +
                            time_of(p, VFIO_USER_BUDGET_ORDINARY));
    }
}

unsigned vfio_user_budget_left_ms(VFIOUserProxy *p)
{
    assert(bql_locked());
    return MIN(qatomic_read(&p->timeout_ms),
               MAX(budget_left(p), 0) / SCALE_MS);
}

void vfio_user_budget_charge(VFIOUserProxy *p, int64_t waited)
{
    ProxyBudget *budget = &p->budget;

    assert(bql_locked());
    budget->waited += waited;
    if (budget->waited < BUDGET_NOTICED) {
        return;
    }
    if (!budget->asked) {
        budget->asked = true;
        proxy_ask_for_turn(p, proxy_clock_ns() - waited);
    }
    /* whoever is charged until then: each of them may take the lock first */
    if (p->ops->held_up) {
        p->ops->held_up(p->opaque);
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

int64_t proxy_budget_total(const VFIOUserProxy *p)
{
    return MAX(p->budget.total, time_of(p, VFIO_USER_BUDGET_ORDINARY));
}

void proxy_budget_limit(VFIOUserProxy *p, VFIOUserCall *call, int64_t now)
{
    if (bql_locked() && call->deadline > now + budget_left(p)) {
        call->deadline = now + MAX(budget_left(p), 0);
        /* the first call of an operation is late by itself */
        call->is_short = p->budget.asked;
    }
}

bool proxy_budget_is_short(const VFIOUserProxy *p, const VFIOUserCall *call)
{
    return bql_locked() && call->is_short;
}

void proxy_budget_charge(VFIOUserProxy *p, int64_t since)
{
    if (bql_locked()) {
        vfio_user_budget_charge(p, proxy_clock_ns() - since);
    }
}

void proxy_budget_renew(VFIOUserProxy *p)
{
    ProxyBudget *budget = &p->budget;

    if (bql_locked()) {
        budget->waited = 0;
        budget->asked = false;
        budget->total = budget->depth ? budget->total : 0;
    }
}
