/*
 * vfio-user migration v1: the file of the migration region
 *
 * Maps the file and copies the device's data from and to it.  A server may
 * truncate the file at any time, so the mapping is guarded (guard.h).  Knows
 * neither registers nor chunks.
 *
 * Threads: a window is created and freed with the big QEMU lock, when nobody
 * uses it; used by one thread at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_WINDOW_H
#define HW_VFIO_USER_MIGRATION_WINDOW_H

typedef struct VFIOUserMigWindow VFIOUserMigWindow;

/**
 * vfio_user_mig_window_new:
 * @fd: of the region; or -1.  Not needed any more afterwards
 * @offset: of the region in the file
 * @size: of the region; parts of it may not be in the file
 *
 * Returns NULL if there is no file, or none that can be mapped.
 */
VFIOUserMigWindow *vfio_user_mig_window_new(int fd, uint64_t offset,
                                            uint64_t size);
void vfio_user_mig_window_free(VFIOUserMigWindow *w);

/**
 * vfio_user_mig_window_read:
 * @at: offset in the region
 *
 * Returns false if the file is too short, now or at an earlier access.
 */
bool vfio_user_mig_window_read(VFIOUserMigWindow *w, uint64_t at, void *to,
                               size_t size);
bool vfio_user_mig_window_write(VFIOUserMigWindow *w, uint64_t at,
                                const void *from, size_t size);

/**
 * vfio_user_mig_window_was_short:
 *
 * Returns whether an access has found the file too short.  Then all accesses
 * fail, even if the file is whole again.
 */
bool vfio_user_mig_window_was_short(const VFIOUserMigWindow *w);

#endif /* HW_VFIO_USER_MIGRATION_WINDOW_H */
