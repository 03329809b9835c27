/*
 * vfio-user: asserts that a lock is held
 *
 * For the first line of each function whose name ends in _locked.  A QemuMutex
 * does not know its holder: the assertion fails if no thread holds it, but not
 * if another thread does.  For the big QEMU lock, use bql_locked().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_LOCKED_H
#define HW_VFIO_USER_LOCKED_H

#include "qemu/thread.h"

/* @mutex is const so that functions with a const struct can use this. */
static inline void vfio_user_assert_locked(const QemuMutex *mutex)
{
    assert(qemu_mutex_trylock((QemuMutex *)mutex));
}

#endif /* HW_VFIO_USER_LOCKED_H */
