/*
 * Migration v1 of the device behind the scripted vfio-user server
 *
 * The migration region and DIRTY_PAGES of version 0.9.1.  Stricter than an
 * ordinary server: it rejects state transitions that the specification does
 * not list, and register accesses of another size.  As strict as libvfio-user:
 * a stopped device accepts no other command.
 *
 * Takes no lock: the server calls with its own lock held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_MIGRATION1_MODEL_H
#define TESTS_QTEST_VFIO_USER_MIGRATION1_MODEL_H

#include "vfio-user-record.h"

/*
 * Index of the migration region, after the regions that every PCI device has.
 */
#define VFIO_USER_MIGRATION1_REGION 9
#define VFIO_USER_MIGRATION1_DATA 4096  /* offset of the data in it */

typedef struct VFIOUserModelMigration1 {
    uint32_t chunk;             /* bytes of data in the region; pages */
    uint64_t pgsize;            /* of the dirty bitmap; 0: no dirty tracking */
    uint64_t max_bitmap;        /* bytes; 0: no limit */
    uint64_t max_data;          /* bytes in a reply; 0: no limit */
    bool records_saving;        /* tracks only while the device is saved */
} VFIOUserModelMigration1;

typedef struct VFIOUserMigration1 VFIOUserMigration1;

/**
 * vfio_user_migration1_new:
 * @data: data of the region
 * @state: device memory that is saved and loaded
 * @size: bytes of @state
 */
VFIOUserMigration1 *
vfio_user_migration1_new(const VFIOUserModelMigration1 *model, uint8_t *data,
                         uint8_t *state, size_t size);
void vfio_user_migration1_free(VFIOUserMigration1 *m);

/* Resets the device, which then runs. */
void vfio_user_migration1_reset(VFIOUserMigration1 *m);

/* Whether the device runs, so that it may do DMA and signal interrupts. */
bool vfio_user_migration1_runs(const VFIOUserMigration1 *m);

/* Whether the device accepts the command in its state. */
bool vfio_user_migration1_accepts(const VFIOUserMigration1 *m,
                                  uint16_t command);

/* Accesses a register.  Returns 0 or -errno. */
int vfio_user_migration1_read(VFIOUserMigration1 *m, uint64_t offset,
                              uint32_t count, void *bytes);
int vfio_user_migration1_write(VFIOUserMigration1 *m, uint64_t offset,
                               uint32_t count, const void *bytes);

/* Returns the dirty tracking of the device. */
VFIOUserRecord *vfio_user_migration1_record(VFIOUserMigration1 *m);

/* Whether writes of the device are tracked at present. */
bool vfio_user_migration1_records(const VFIOUserMigration1 *m);

/* Handles DIRTY_PAGES.  Returns 0 or -errno. */
int vfio_user_migration1_dirty_pages(VFIOUserMigration1 *m,
                                     const VFIOUserPacket *request,
                                     VFIOUserPacket *reply);

#endif /* TESTS_QTEST_VFIO_USER_MIGRATION1_MODEL_H */
