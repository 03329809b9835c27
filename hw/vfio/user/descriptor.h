/*
 * vfio-user descriptors of a server
 *
 * A descriptor from a server may be of any kind.  Getting its size or closing
 * it may block, for example on a FUSE file system of the server or on a socket
 * with SO_LINGER.  This file recognizes memory, which never blocks, and closes
 * other descriptors without waiting.  Does not read or write.
 *
 * Threads: any, with any lock held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_DESCRIPTOR_H
#define HW_VFIO_USER_DESCRIPTOR_H

/**
 * vfio_user_fd_is_memory:
 *
 * Returns whether @fd is a memfd, or a regular file on tmpfs or hugetlbfs.
 * Getting the size of such a file, mapping it, accessing the mapping and
 * unmapping it depend on no other process.  Never blocks itself.
 */
bool vfio_user_fd_is_memory(int fd);

/**
 * vfio_user_close_fds:
 *
 * Closes @nfds descriptors: memory immediately, others in a new thread.  If the
 * thread cannot be created, they stay open.
 */
void vfio_user_close_fds(const int *fds, size_t nfds);

#endif /* HW_VFIO_USER_DESCRIPTOR_H */
