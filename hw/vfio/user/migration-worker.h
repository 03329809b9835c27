/*
 * vfio-user migration: a thread that calls the server for the main loop
 *
 * QEMU loads a VM in the main loop and cleans up there after saving a VM.
 * Servers may be slow, and the monitor must not wait for them.  So another
 * thread makes the calls, without the big QEMU lock.
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
 * Yields until @work is done.  Returns the result of @work.
 */
int coroutine_fn vfio_user_mig_worker_run(VFIOUserMigWork *work, void *opaque);

/**
 * vfio_user_mig_worker_start:
 * @done: called by the main loop once @work is done
 */
void vfio_user_mig_worker_start(VFIOUserMigWork *work,
                                void (*done)(void *opaque), void *opaque);

#endif /* HW_VFIO_USER_MIGRATION_WORKER_H */
