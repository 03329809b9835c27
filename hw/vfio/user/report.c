/*
 * vfio-user reports
 *
 * See the header for what this file is and is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/error-report.h"
#include "hw/vfio/user/report.h"

/* At most PER_SECOND * SECONDS errors are printed in a period of SECONDS. */
#define PER_SECOND 1
#define SECONDS 10

void vfio_user_reports_flush(VFIOUserReports *r)
{
    unsigned dropped = qatomic_xchg(&r->dropped, 0);

    if (dropped) {
        error_report("%s: %u more errors were not printed", r->name, dropped);
    }
}

static void on_timer(void *opaque)
{
    vfio_user_reports_flush(opaque);
}

void vfio_user_reports_init(VFIOUserReports *r)
{
    *r = (VFIOUserReports) { .name = "vfio-user" };
    ratelimit_init(&r->limit);
    ratelimit_set_speed(&r->limit, PER_SECOND,
                        SECONDS * NANOSECONDS_PER_SECOND);
    r->timer = timer_new_ns(QEMU_CLOCK_REALTIME, on_timer, r);
}

void vfio_user_reports_destroy(VFIOUserReports *r)
{
    timer_free(r->timer);
    ratelimit_destroy(&r->limit);
}

void vfio_user_report(VFIOUserReports *r, Error *err)
{
    int64_t delay = ratelimit_calculate_delay(&r->limit, 0);

    if (delay) {
        error_free(err);
        if (!qatomic_fetch_inc(&r->dropped)) {
            timer_mod(r->timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                                delay);
        }
        return;
    }
    ratelimit_calculate_delay(&r->limit, 1);
    vfio_user_reports_flush(r);
    error_report_err(err);
}
