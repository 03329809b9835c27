/*
 * Log of the scripted vfio-user server
 *
 * What came from the client, message after message.  It does not lock and
 * does not wait; its server does.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_LOG_H
#define TESTS_QTEST_VFIO_USER_LOG_H

#include "vfio-user-rules.h"

/* A message that came from the client. */
typedef struct VFIOUserSeen {
    VFIOUserHeader header;
    uint32_t length;            /* of the payload */
    uint32_t nfds;
    uint8_t payload[64];        /* its beginning */
} VFIOUserSeen;

/* Returns an empty log, VFIOUserSeen after VFIOUserSeen. */
GArray *vfio_user_log_new(void);
GArray *vfio_user_log_copy(const GArray *log);
void vfio_user_log_append(GArray *log, const VFIOUserPacket *packet);

/* Returns how often such a message is there; when.nth is not looked at. */
unsigned vfio_user_log_count(const GArray *log, const VFIOUserWhen *when);

/* Returns the nth such message, the first where nth is 0; NULL: not there. */
const VFIOUserSeen *vfio_user_log_find(const GArray *log,
                                       const VFIOUserWhen *when);

/* To stderr. */
void vfio_user_log_print(const GArray *log);

#endif /* TESTS_QTEST_VFIO_USER_LOG_H */
