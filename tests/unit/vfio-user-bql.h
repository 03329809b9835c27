/*
 * The big QEMU lock, for unit tests
 *
 * Unit tests do not have this lock: a thread sets @locked to pretend that it
 * holds the lock.  This replaces the stub, which returns the same value in all
 * threads.  Only one file of a program may include it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_UNIT_VFIO_USER_BQL_H
#define TESTS_UNIT_VFIO_USER_BQL_H

#include "qemu/main-loop.h"

static __thread bool locked;

bool bql_locked(void)
{
    return locked;
}

void bql_lock_impl(const char *file, int line)
{
}

void bql_unlock(void)
{
}

void bql_block_unlock(bool increase)
{
}

#endif /* TESTS_UNIT_VFIO_USER_BQL_H */
