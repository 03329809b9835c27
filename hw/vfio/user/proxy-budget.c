/*
 * vfio-user connection: the budget of an operation under the big QEMU lock
 *
 * While a thread waits with the big QEMU lock, the VM and its monitor stop.
 * The budget limits how long a server can cause that: the time that each call
 * waits is charged to it, and the connection fails when the budget is used up
 * or when a single call times out.  QEMU does not wait for that server again.
 *
 * Operations between which the main loop does not run share the largest of
 * their budgets, because the monitor waits for all of them.  For example,
 * a handler of another device may access a BAR thousands of times, and
 * a vIOMMU changes maps one by one.  The rest of a large operation's budget is
 * not passed on: later operations get an ordinary budget.
 *
 * Threads: the holder of the big QEMU lock, which protects the fields.  The
 * proxy_budget_*() functions do nothing in other threads.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/proxy-internal.h"
#include "trace.h"

/* Shorter waits do not make a thread ask for a turn of the main loop, ns. */
#define BUDGET_NOTICED SCALE_MS

/* ns */
static int64_t budget_time(const VFIOUserProxy *p, VFIOUserBudgetFactor factor)
{
    return (int64_t)qatomic_read(&p->timeout_ms) * factor * SCALE_MS;
}

/* How long the operation may still wait, ns; may be negative. */
static int64_t budget_left(const VFIOUserProxy *p)
{
    return proxy_budget_total(p) - p->budget.waited;
}

void vfio_user_budget_begin(VFIOUserProxy *p, VFIOUserBudgetFactor factor)
{
    ProxyBudget *budget = &p->budget;

    if (bql_locked() && !budget->depth++) {
        budget->total = MAX(budget->total, budget_time(p, factor));
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
                            budget_time(p, VFIO_USER_BUDGET_ORDINARY));
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
    /* every thread charged before that turn could take the lock again first */
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
        assert(bql_locked());           /* as in vfio_user_budget_guard() */
        vfio_user_budget_end(p);
        object_unref(OBJECT(p));
    }
}

int64_t proxy_budget_total(const VFIOUserProxy *p)
{
    return MAX(p->budget.total, budget_time(p, VFIO_USER_BUDGET_ORDINARY));
}

void proxy_budget_limit(VFIOUserProxy *p, VFIOUserCall *call, int64_t now)
{
    if (bql_locked() && call->deadline > now + budget_left(p)) {
        call->deadline = now + MAX(budget_left(p), 0);
        /* without earlier waits, this call alone is late */
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
