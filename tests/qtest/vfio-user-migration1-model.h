/*
 * Migration of the first generation, in the device behind the scripted server
 *
 * The migration region and the DIRTY_PAGES of version 0.9.1, as an ordinary
 * server has them, and stricter than one: it takes no arc between states that
 * the specification does not draw and no access to a register of another size.
 * Strict as libvfio-user: a stopped device takes no other command.
 *
 * Nothing here locks: the server calls with its own lock held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_MIGRATION1_MODEL_H
#define TESTS_QTEST_VFIO_USER_MIGRATION1_MODEL_H

#include "vfio-user-record.h"

/* Where it is: behind the regions that every PCI device has. */
#define VFIO_USER_MIGRATION1_REGION 9
#define VFIO_USER_MIGRATION1_DATA 4096  /* offset of the data in it */

typedef struct VFIOUserModelMigration1 {
    uint32_t chunk;             /* bytes of data in the region; pages */
    uint64_t pgsize;            /* of the record; 0: keeps none */
    uint64_t max_bitmap;        /* bytes; 0: any */
    uint64_t max_data;          /* bytes of a reply; 0: any */
    bool records_saving;        /* nothing but while the device is saved */
} VFIOUserModelMigration1;

typedef struct VFIOUserMigration1 VFIOUserMigration1;

/**
 * vfio_user_migration1_new:
 * @data: where the data of the region are
 * @state: of the device, which is saved and loaded
 * @size: bytes of it
 */
VFIOUserMigration1 *
vfio_user_migration1_new(const VFIOUserModelMigration1 *model, uint8_t *data,
                         uint8_t *state, size_t size);
void vfio_user_migration1_free(VFIOUserMigration1 *m);

/* As after a reset: runs. */
void vfio_user_migration1_reset(VFIOUserMigration1 *m);

/* Whether the device may work. */
bool vfio_user_migration1_runs(const VFIOUserMigration1 *m);

/* Whether the device takes the command in its state. */
bool vfio_user_migration1_takes(const VFIOUserMigration1 *m, uint16_t command);

/* A register: 0 or -errno. */
int vfio_user_migration1_read(VFIOUserMigration1 *m, uint64_t offset,
                              uint32_t count, void *bytes);
int vfio_user_migration1_write(VFIOUserMigration1 *m, uint64_t offset,
                               uint32_t count, const void *bytes);

/* Which memory the device wrote to. */
VFIOUserRecord *vfio_user_migration1_record(VFIOUserMigration1 *m);

/* Whether what it writes goes on record. */
bool vfio_user_migration1_records(const VFIOUserMigration1 *m);

/* DIRTY_PAGES: 0 or -errno. */
int vfio_user_migration1_dirty_pages(VFIOUserMigration1 *m,
                                     const VFIOUserPacket *request,
                                     VFIOUserPacket *reply);

#endif /* TESTS_QTEST_VFIO_USER_MIGRATION1_MODEL_H */
