/*
 * Test rig: two VMs, and a device of a server of its own in each
 *
 * What migration needs: a source that runs, a destination that waits, and the
 * orders that bring the one to the other.  It says nothing of what a device
 * should bring along; that is for the tests.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_PAIR_H
#define TESTS_QTEST_VFIO_USER_PAIR_H

#include "libqtest.h"
#include "vfio-user-server.h"

/* Bytes of memory of each VM; from 1 MiB on nothing of QEMU's is in it. */
#define VFIO_USER_PAIR_RAM (64 * MiB)

/* How long a call may take, unless a -global says otherwise. */
#define VFIO_USER_PAIR_TIMEOUT_MS 2000

typedef enum VFIOUserSide {
    VFIO_USER_SOURCE,
    VFIO_USER_DESTINATION,
} VFIOUserSide;

typedef struct VFIOUserPair {
    bool shared;
    char *args;                 /* of each QEMU, or NULL */
    QTestState *qts[2];         /* NULL: has been ended */
    VFIOUserServer *server[2];
    char *dir;
    char *uri;                  /* where the destination listens */
    char *errors[2];            /* files with what each wrote to stderr */
} VFIOUserPair;

/**
 * vfio_user_pair_new:
 * @shared: memory is shared with the servers; else by message
 * @source: model of the one device
 * @destination: of the other; NULL: no destination yet
 */
VFIOUserPair *vfio_user_pair_new(bool shared, const VFIOUserModel *source,
                                 const VFIOUserModel *destination);

/* Likewise, shared; @args are what each QEMU gets as well. */
VFIOUserPair *vfio_user_pair_new_with(const char *args,
                                      const VFIOUserModel *source,
                                      const VFIOUserModel *destination);

/* A destination that takes a VM from @from, in QEMU's words. */
void vfio_user_pair_add(VFIOUserPair *pair, const VFIOUserModel *destination,
                        const char *from);

/* Ends both VMs. */
void vfio_user_pair_free(VFIOUserPair *pair);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserPair, vfio_user_pair_free)

/* Sets a parameter of the source's migration. */
void vfio_user_pair_set(VFIOUserPair *pair, const char *name, int64_t value);

/* The source hears from the destination whether it has taken over. */
void vfio_user_pair_return_path(VFIOUserPair *pair);

/* The order "migrate" to pair->uri, which must be taken. */
void vfio_user_pair_start(VFIOUserPair *pair);

/* Waits until the source's migration has this status. */
void vfio_user_pair_wait(VFIOUserPair *pair, const char *status);

/* Waits until the destination has loaded all, whether or not its VM runs. */
void vfio_user_pair_wait_loaded(VFIOUserPair *pair);

/* Returns how often the source has looked for dirty pages. */
unsigned vfio_user_pair_passes(VFIOUserPair *pair);

/* Returns how many bytes of memory that is not zero were sent. */
uint64_t vfio_user_pair_sent(VFIOUserPair *pair);

/* Waits until there are as many. */
void vfio_user_pair_wait_sent(VFIOUserPair *pair, uint64_t size);

/* Starts and waits for the end; the destination runs. */
void vfio_user_pair_migrate(VFIOUserPair *pair);

/* Fails the test unless the VM on a side has this status. */
void vfio_user_pair_check_status(VFIOUserPair *pair, VFIOUserSide side,
                                 const char *status);

/* Waits for a destination that gives up: with a message and status 1. */
void vfio_user_pair_destination_fails(VFIOUserPair *pair);

/* Returns how often @text is in what a VM wrote to stderr. */
unsigned vfio_user_pair_said(VFIOUserPair *pair, VFIOUserSide side,
                             const char *text);

#endif /* TESTS_QTEST_VFIO_USER_PAIR_H */
