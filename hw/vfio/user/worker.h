/*
 * vfio-user: a thread that calls the server for the main loop
 *
 * QEMU loads a VM in the main loop, cleans up there after saving a VM, and
 * there decides to connect to a server again.  Servers may be slow, and the
 * monitor must not wait for them.  So another thread makes the calls, without
 * the big QEMU lock.  Does not know what the calls are.
 *
 * Threads: the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_WORKER_H
#define HW_VFIO_USER_WORKER_H

#include "qemu/coroutine.h"

/* Returns 0 or -errno. */
typedef int VFIOUserWork(void *opaque);

/**
 * vfio_user_worker_run:
 *
 * Yields until @work is done.  Returns the result of @work.
 */
int coroutine_fn vfio_user_worker_run(VFIOUserWork *work, void *opaque);

/**
 * vfio_user_worker_await:
 * @name: as for vfio_user_worker_start()
 *
 * As vfio_user_worker_run(), for work that is rare: its thread ends with it,
 * while the threads of a pool stay for a while.
 */
int coroutine_fn vfio_user_worker_await(const char *name, VFIOUserWork *work,
                                        void *opaque);

/**
 * vfio_user_worker_start:
 * @name: of the thread, less than 16 bytes
 * @done: called by the main loop once @work is done; its result is not used
 */
void vfio_user_worker_start(const char *name, VFIOUserWork *work,
                            void (*done)(void *opaque), void *opaque);

#endif /* HW_VFIO_USER_WORKER_H */
