/*
 * Test rig: two VMs, each with a device and a server of its own
 *
 * What a migration test needs: a running source, a waiting destination, and
 * the QMP commands to migrate.  Does not know what the device should migrate;
 * the tests do.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_PAIR_H
#define TESTS_QTEST_VFIO_USER_PAIR_H

#include "libqtest.h"
#include "vfio-user-server.h"

/* Bytes of memory of each VM.  QEMU uses nothing in it above 1 MiB. */
#define VFIO_USER_PAIR_RAM (64 * MiB)

/* Timeout of a call, unless -global sets another. */
#define VFIO_USER_PAIR_TIMEOUT_MS 2000

typedef enum VFIOUserSide {
    VFIO_USER_SOURCE,
    VFIO_USER_DESTINATION,
} VFIOUserSide;

typedef struct VFIOUserPair {
    bool shared;
    char *args;                 /* options of each QEMU, or NULL */
    QTestState *qts[2];         /* NULL: has quit */
    VFIOUserServer *server[2];
    char *dir;
    char *uri;                  /* address the destination listens on */
    char *errors[2];            /* files with what each wrote to stderr */
} VFIOUserPair;

/**
 * vfio_user_pair_new:
 * @shared: memory is shared with the servers; if false, DMA is by message
 * @source: model of the source's device
 * @destination: model of the destination's device; NULL: no destination yet
 */
VFIOUserPair *vfio_user_pair_new(bool shared, const VFIOUserModel *source,
                                 const VFIOUserModel *destination);

/* The same with shared memory; @args are further options of each QEMU. */
VFIOUserPair *vfio_user_pair_new_with(const char *args,
                                      const VFIOUserModel *source,
                                      const VFIOUserModel *destination);

/* Adds a destination with "-incoming @from". */
void vfio_user_pair_add(VFIOUserPair *pair, const VFIOUserModel *destination,
                        const char *from);

/* Ends both VMs. */
void vfio_user_pair_free(VFIOUserPair *pair);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserPair, vfio_user_pair_free)

/* Sets a parameter of the source's migration. */
void vfio_user_pair_set(VFIOUserPair *pair, const char *name, int64_t value);

/*
 * Enables the return path, so that the source learns whether the destination
 * has taken over.
 */
void vfio_user_pair_return_path(VFIOUserPair *pair);

/* Sends "migrate" to pair->uri; the command must succeed. */
void vfio_user_pair_start(VFIOUserPair *pair);

/* Waits until the source's migration has status @status. */
void vfio_user_pair_wait(VFIOUserPair *pair, const char *status);

/*
 * Waits until the destination has loaded everything, whether or not its VM
 * runs.
 */
void vfio_user_pair_wait_loaded(VFIOUserPair *pair);

/* Returns how many times the source has synchronized the dirty bitmap. */
unsigned vfio_user_pair_passes(VFIOUserPair *pair);

/* Returns how many bytes of nonzero memory were sent. */
uint64_t vfio_user_pair_sent(VFIOUserPair *pair);

/* Waits until @size bytes of nonzero memory were sent. */
void vfio_user_pair_wait_sent(VFIOUserPair *pair, uint64_t size);

/* Migrates and waits for completion; the destination then runs. */
void vfio_user_pair_migrate(VFIOUserPair *pair);

/* Fails the test unless the VM on @side has status @status. */
void vfio_user_pair_check_status(VFIOUserPair *pair, VFIOUserSide side,
                                 const char *status);

/*
 * Waits until the destination fails to load and exits with a message and
 * status 1.
 */
void vfio_user_pair_destination_fails(VFIOUserPair *pair);

/* Returns how often @text occurs in what a VM wrote to stderr. */
unsigned vfio_user_pair_said(VFIOUserPair *pair, VFIOUserSide side,
                             const char *text);

#endif /* TESTS_QTEST_VFIO_USER_PAIR_H */
