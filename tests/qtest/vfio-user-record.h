/*
 * Record of dirty pages in the device behind the scripted vfio-user server
 *
 * Which pages the device wrote to, as a server of either generation keeps it,
 * and stricter than one: it gives no bits in a form that is not exactly what
 * the range needs, none twice, and none outside the ranges that the second
 * generation began with.
 *
 * Nothing here locks: the server calls with its own lock held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_RECORD_H
#define TESTS_QTEST_VFIO_USER_RECORD_H

#include "vfio-user-packet.h"

typedef struct VFIOUserRecordModel {
    uint64_t pgsize;            /* of a bit; 0: keeps none */
    uint64_t max_bitmap;        /* bytes; 0: any */
    uint64_t max_data;          /* bytes of a message; 0: any */
} VFIOUserRecordModel;

typedef struct VFIOUserRecord VFIOUserRecord;

VFIOUserRecord *vfio_user_record_new(const VFIOUserRecordModel *model);
void vfio_user_record_free(VFIOUserRecord *r);

/* Begins anew, with all memory; or ends. */
void vfio_user_record_begin(VFIOUserRecord *r);
void vfio_user_record_end(VFIOUserRecord *r);

/* The device wrote to its memory. */
void vfio_user_record_wrote(VFIOUserRecord *r, uint64_t address,
                            uint64_t count);

/**
 * vfio_user_record_bitmap:
 *
 * Appends the bits of a range to a reply and forgets them.
 * Returns 0 or -errno.
 */
int vfio_user_record_bitmap(VFIOUserRecord *r, uint64_t address, uint64_t size,
                            const VFIOUserBitmap *bitmap,
                            VFIOUserPacket *reply);

/* DEVICE_FEATURE with a feature of DMA_LOGGING: 0 or -errno. */
int vfio_user_record_logging(VFIOUserRecord *r, const VFIOUserPacket *request,
                             VFIOUserPacket *reply);

#endif /* TESTS_QTEST_VFIO_USER_RECORD_H */
