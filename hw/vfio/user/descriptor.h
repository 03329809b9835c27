/*
 * vfio-user descriptors of a server
 *
 * A descriptor that a server sent may be anything: to ask for its size, or to
 * close it, may wait for whoever is behind it, such as a FUSE file system of
 * the server or a socket that lingers.  Here they are told from memory, which
 * nobody stands behind, and closed without waiting.  Reads and writes none.
 *
 * Threads: any, with any lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_DESCRIPTOR_H
#define HW_VFIO_USER_DESCRIPTOR_H

/**
 * vfio_user_fd_is_memory:
 *
 * Returns whether @fd is a memfd, or a regular file of tmpfs or hugetlbfs: its
 * size can be asked for, it can be mapped, and the mapping be accessed and
 * taken away, and nobody but the kernel is waited for.  Never waits itself.
 */
bool vfio_user_fd_is_memory(int fd);

/**
 * vfio_user_close_fds:
 *
 * Closes @nfds descriptors: memory at once, others in a thread that lives for
 * as long as that takes.  If there can be no thread they stay open.
 */
void vfio_user_close_fds(const int *fds, size_t nfds);

#endif /* HW_VFIO_USER_DESCRIPTOR_H */
