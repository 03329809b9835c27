/*
 * The big QEMU lock, for unit tests
 *
 * There is none: each thread says whether it would have it.  In place of the
 * stub, which has one answer for all threads; for one file of a program.
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
