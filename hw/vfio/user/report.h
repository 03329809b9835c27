/*
 * vfio-user reports
 *
 * Errors that a guest or a server can bring about as often as it likes: of
 * those of one device a few are printed in a while, and of the others how many
 * there were.  What can happen only once is not reported here.
 *
 * Threads: vfio_user_report() any, the others the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_REPORT_H
#define HW_VFIO_USER_REPORT_H

#include "qemu/ratelimit.h"

typedef struct VFIOUserReports {
    const char *name;           /* of the device, the owner's */
    RateLimit limit;
    QEMUTimer *timer;           /* says how many were dropped */
    unsigned dropped;           /* since it was said; atomic */
} VFIOUserReports;

void vfio_user_reports_init(VFIOUserReports *r);
void vfio_user_reports_destroy(VFIOUserReports *r);

/**
 * vfio_user_report:
 * @err: names the device; taken
 *
 * Prints the error, or counts it.
 */
void vfio_user_report(VFIOUserReports *r, Error *err);

/* Says how many were dropped, if any. */
void vfio_user_reports_flush(VFIOUserReports *r);

#endif /* HW_VFIO_USER_REPORT_H */
