/*
 * Log of the scripted vfio-user server
 *
 * Records the messages received from the client, in order.  Does not lock and
 * does not wait; the server does both.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_LOG_H
#define TESTS_QTEST_VFIO_USER_LOG_H

#include "vfio-user-rules.h"

/* A message received from the client. */
typedef struct VFIOUserSeen {
    VFIOUserHeader header;
    uint32_t length;            /* of the payload */
    uint32_t nfds;
    uint8_t payload[64];        /* the first bytes */
} VFIOUserSeen;

/* Returns an empty log, an array of VFIOUserSeen. */
GArray *vfio_user_log_new(void);
GArray *vfio_user_log_copy(const GArray *log);
void vfio_user_log_append(GArray *log, const VFIOUserPacket *packet);

/* Returns how many messages match; when.nth is ignored. */
unsigned vfio_user_log_count(const GArray *log, const VFIOUserWhen *when);

/* Returns the nth matching message (0 means the first), or NULL. */
const VFIOUserSeen *vfio_user_log_find(const GArray *log,
                                       const VFIOUserWhen *when);

/* Prints the log to stderr. */
void vfio_user_log_print(const GArray *log);

#endif /* TESTS_QTEST_VFIO_USER_LOG_H */
