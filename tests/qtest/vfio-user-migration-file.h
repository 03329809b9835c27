/*
 * A VM that is saved to a file, for tests that change it
 *
 * Knows where the records of the first device are.
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
    uint64_t bar;               /* where the guest has what is saved */
    size_t magic;               /* where the device begins */
    struct {
        size_t at, size;        /* with its head */
        VFIOUserMigRecord kind;
    } record[VFIO_USER_MIG_FILE_RECORDS];
    unsigned records;
} VFIOUserMigFile;

/* Of a VM with one device, filled from @seed. */
VFIOUserMigFile *vfio_user_mig_file_new(const VFIOUserModel *model,
                                        uint32_t seed);
void vfio_user_mig_file_free(VFIOUserMigFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserMigFile, vfio_user_mig_file_free)

/* Where the @nth record of a kind is, counted from 1. */
size_t vfio_user_mig_file_find(const VFIOUserMigFile *file,
                               VFIOUserMigRecord kind, unsigned nth);

/*
 * Puts a record of kind @word, with @size bytes of payload, before the one at
 * @before: as if it had been there when the stream was written.
 */
void vfio_user_mig_file_insert(VFIOUserMigFile *file, size_t before,
                               uint32_t word, uint32_t size);

/* A VM with such a device begins to load @length bytes of what is there now. */
VFIOUserMigVM *vfio_user_mig_file_load(VFIOUserMigFile *file,
                                       const VFIOUserModel *model,
                                       gsize length);

/*
 * Likewise; it must end with a message, and without that its server has gone to
 * a state in which it would use what it was given.  Returns what it said.
 */
char *vfio_user_mig_file_refused(VFIOUserMigFile *file,
                                 const VFIOUserModel *model, gsize length);

#endif /* TESTS_QTEST_VFIO_USER_MIGRATION_FILE_H */
