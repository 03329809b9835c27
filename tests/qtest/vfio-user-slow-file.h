/*
 * Descriptors that make others wait
 *
 * Who closes such a descriptor, or asks what it is, waits for as long as the
 * test likes: a socket that lingers, and a file of a FUSE file system that
 * does not answer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_SLOW_FILE_H
#define TESTS_QTEST_VFIO_USER_SLOW_FILE_H

/**
 * vfio_user_lingering_new:
 * @peer: gets the other end
 *
 * Returns a socket: who closes it last waits until @peer is closed.
 */
int vfio_user_lingering_new(int *peer);

typedef struct VFIOUserFuse VFIOUserFuse;

/**
 * vfio_user_fuse_new:
 * @pid: a process that gets no answer; others do
 *
 * Returns a file system with one file, or NULL where none can be mounted.
 */
VFIOUserFuse *vfio_user_fuse_new(pid_t pid);

/* The file, open for reading and writing; the file system's to close. */
int vfio_user_fuse_fd(const VFIOUserFuse *fuse);

/* Waits until the process has asked something, and so waits. */
void vfio_user_fuse_wait(VFIOUserFuse *fuse);

/* Whoever waits gets an error. */
void vfio_user_fuse_free(VFIOUserFuse *fuse);

#endif /* TESTS_QTEST_VFIO_USER_SLOW_FILE_H */
