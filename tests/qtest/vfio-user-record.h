/*
 * Dirty page tracking in the device behind the scripted vfio-user server
 *
 * Knows which pages the device wrote, for migration v1 and v2.  Stricter
 * than a released server: a request must have exactly the form that the range
 * needs, no pages are reported twice, and none outside the ranges that
 * DMA_LOGGING started with.
 *
 * Takes no lock: the server calls with its own lock held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_RECORD_H
#define TESTS_QTEST_VFIO_USER_RECORD_H

#include "vfio-user-packet.h"

typedef struct VFIOUserRecordModel {
    uint64_t pgsize;            /* page size of a bit; 0: no tracking */
    uint64_t max_bitmap;        /* bytes; 0: no limit */
    uint64_t max_data;          /* bytes in a message; 0: no limit */
} VFIOUserRecordModel;

typedef struct VFIOUserRecord VFIOUserRecord;

VFIOUserRecord *vfio_user_record_new(const VFIOUserRecordModel *model);
void vfio_user_record_free(VFIOUserRecord *r);

/* Starts dirty tracking of all memory, with no page dirty; or stops it. */
void vfio_user_record_begin(VFIOUserRecord *r);
void vfio_user_record_end(VFIOUserRecord *r);

/* The device wrote: marks the pages dirty. */
void vfio_user_record_wrote(VFIOUserRecord *r, uint64_t address,
                            uint64_t count);

/**
 * vfio_user_record_bitmap:
 *
 * Appends the dirty bitmap of a range to a reply and clears it.
 */
int vfio_user_record_bitmap(VFIOUserRecord *r, uint64_t address, uint64_t size,
                            const VFIOUserBitmap *bitmap,
                            VFIOUserPacket *reply);

/* Handles DEVICE_FEATURE with a DMA_LOGGING feature.  Returns 0 or -errno. */
int vfio_user_record_logging(VFIOUserRecord *r, const VFIOUserPacket *request,
                             VFIOUserPacket *reply);

#endif /* TESTS_QTEST_VFIO_USER_RECORD_H */
