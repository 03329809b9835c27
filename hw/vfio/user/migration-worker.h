/*
 * vfio-user migration: a thread that calls the server for the main loop
 *
 * QEMU loads a VM in the main loop, and cleans up there after saving one.  A
 * server may be slow, and the monitor is not to wait for it: another thread
 * does, without the big QEMU lock.
 *
 * Threads: the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_WORKER_H
#define HW_VFIO_USER_MIGRATION_WORKER_H

#include "qemu/coroutine.h"

/* Returns 0 or -errno. */
typedef int VFIOUserMigWork(void *opaque);

/**
 * vfio_user_mig_worker_run:
 *
 * Yields until @work is done.  Returns what it has returned.
 */
int coroutine_fn vfio_user_mig_worker_run(VFIOUserMigWork *work, void *opaque);

/**
 * vfio_user_mig_worker_start:
 * @done: called by the main loop once @work is done
 */
void vfio_user_mig_worker_start(VFIOUserMigWork *work,
                                void (*done)(void *opaque), void *opaque);

#endif /* HW_VFIO_USER_MIGRATION_WORKER_H */
