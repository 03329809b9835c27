/*
 * The big QEMU lock, for unit tests
 *
 * Unit tests have no such lock: each thread sets @locked to say that it holds
 * one.  This replaces the stub, which gives all threads the same answer.  To be
 * included by one file of a program.
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
