/*
 * vfio-user: locks that must be held
 *
 * For the first line of each function that ends in _locked.  A mutex cannot
 * tell who holds it: what is found out is that nobody does.  For the big QEMU
 * lock there is bql_locked(), which knows.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_LOCKED_H
#define HW_VFIO_USER_LOCKED_H

#include "qemu/thread.h"

/* @mutex is constant for who asks, whatever its struct is to the caller. */
static inline void vfio_user_assert_locked(const QemuMutex *mutex)
{
    assert(qemu_mutex_trylock((QemuMutex *)mutex));
}

#endif /* HW_VFIO_USER_LOCKED_H */
