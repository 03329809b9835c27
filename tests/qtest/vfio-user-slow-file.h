/*
 * Descriptors that block their users
 *
 * Closing such a descriptor, or querying its type, blocks for as long as the
 * test chooses.  There are two kinds: a socket that lingers on close, and a
 * file of a FUSE file system that does not answer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_SLOW_FILE_H
#define TESTS_QTEST_VFIO_USER_SLOW_FILE_H

/**
 * vfio_user_lingering_new:
 * @peer: receives the other end
 *
 * Returns a socket whose last close blocks until @peer is closed.
 */
int vfio_user_lingering_new(int *peer);

typedef struct VFIOUserFuse VFIOUserFuse;

/**
 * vfio_user_fuse_new:
 * @pid: process whose requests are not answered
 *
 * Returns a file system with one file, or NULL if none can be mounted.
 */
VFIOUserFuse *vfio_user_fuse_new(pid_t pid);

/* Returns the file, open for reading and writing; owned by the file system. */
int vfio_user_fuse_fd(const VFIOUserFuse *fuse);

/* Waits until a request of the process has arrived; the process then blocks. */
void vfio_user_fuse_wait(VFIOUserFuse *fuse);

/* Fails pending requests. */
void vfio_user_fuse_free(VFIOUserFuse *fuse);

#endif /* TESTS_QTEST_VFIO_USER_SLOW_FILE_H */
