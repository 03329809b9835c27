/*
 * vfio-user reports
 *
 * Rate-limited reports of errors that a guest or a server can cause arbitrarily
 * often.  Per device, some errors are printed and the others are counted.
 * Errors that can happen only once are reported elsewhere.
 *
 * Threads: any for vfio_user_report(), the main loop for the other functions.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_REPORT_H
#define HW_VFIO_USER_REPORT_H

#include "qemu/ratelimit.h"

typedef struct VFIOUserReports {
    const char *name;           /* of the device; not owned */
    RateLimit limit;
    QEMUTimer *timer;           /* prints the number of dropped errors */
    unsigned dropped;           /* not printed and not yet reported; atomic */
} VFIOUserReports;

void vfio_user_reports_init(VFIOUserReports *r);
void vfio_user_reports_destroy(VFIOUserReports *r);

/**
 * vfio_user_report:
 * @err: must name the device; taken
 *
 * Prints the error, or drops and counts it.
 */
void vfio_user_report(VFIOUserReports *r, Error *err);

/* Prints how many errors were dropped, if any. */
void vfio_user_reports_flush(VFIOUserReports *r);

#endif /* HW_VFIO_USER_REPORT_H */
