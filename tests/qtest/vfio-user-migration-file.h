/*
 * A VM saved to a file, for tests that modify the file
 *
 * Finds the records of the first device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_MIGRATION_FILE_H
#define TESTS_QTEST_VFIO_USER_MIGRATION_FILE_H

#include "hw/vfio/user/migration-stream.h"
#include "vfio-user-migration-rig.h"

#define VFIO_USER_MIG_FILE_RECORDS 64

typedef struct VFIOUserMigFile {
    const VFIOUserModel *model;
    char *dir;
    char *name;
    char *text;
    gsize length;
    uint64_t bar;               /* address of the BAR that is saved */
    size_t magic;               /* offset of the device's data */
    struct {
        size_t at, size;        /* header included */
        VFIOUserMigRecord kind;
    } record[VFIO_USER_MIG_FILE_RECORDS];
    unsigned records;
} VFIOUserMigFile;

/* Saves a VM with one device, filled from @seed. */
VFIOUserMigFile *vfio_user_mig_file_new(const VFIOUserModel *model,
                                        uint32_t seed);
void vfio_user_mig_file_free(VFIOUserMigFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserMigFile, vfio_user_mig_file_free)

/* Returns the offset of the @nth record of @kind, counted from 1. */
size_t vfio_user_mig_file_find(const VFIOUserMigFile *file,
                               VFIOUserMigRecord kind, unsigned nth);

/*
 * Inserts a record of kind @word with @size bytes of payload before offset
 * @before, as if the source had written it.
 */
void vfio_user_mig_file_insert(VFIOUserMigFile *file, size_t before,
                               uint32_t word, uint32_t size);

/*
 * Returns a VM with the device @model that starts to load the first @length
 * bytes of the (modified) file.
 */
VFIOUserMigVM *vfio_user_mig_file_load(VFIOUserMigFile *file,
                                       const VFIOUserModel *model,
                                       gsize length);

/*
 * The same, and the load must fail: QEMU exits with a message, and its server
 * never reaches a state in which it would use the loaded data.  Returns the
 * messages.
 */
char *vfio_user_mig_file_refused(VFIOUserMigFile *file,
                                 const VFIOUserModel *model, gsize length);

#endif /* TESTS_QTEST_VFIO_USER_MIGRATION_FILE_H */
