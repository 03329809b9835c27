/*
 * vfio-user ioeventfds: stores written values in shadow memory of the server
 *
 * A value is stored atomically, because the server may read it at any time.
 * The server may also truncate its file at any time; a guard turns the fault
 * into an error.  pwrite() would not be atomic, and would wait for the inode
 * lock, which a server can hold.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "hw/vfio/user/descriptor.h"
#include "hw/vfio/user/ioeventfd.h"

/* Only tmpfs: a page fault on another file system may block. */
static bool shadow_check_file(int fd, uint64_t end, Error **errp)
{
    struct statfs fs;
    struct stat st;

    if (!vfio_user_fd_is_memory(fd) || fstat(fd, &st) < 0 ||
        fstatfs(fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC) {
        error_setg(errp, "its shadow memory is not a memfd or a tmpfs file");
        return false;
    }
    if (end > st.st_size) {
        error_setg(errp, "its shadow ends at 0x%" PRIx64 " in a file of 0x%"
                   PRIx64 " bytes", end, (uint64_t)st.st_size);
        return false;
    }
    return true;
}

static void on_hit(VFIOUserGuard *guard)
{
    VFIOUserShadow *shadow = container_of(guard, VFIOUserShadow, guard);

    qatomic_set(&shadow->gone, true);
}

bool vfio_user_shadow_map(VFIOUserShadow *shadow, int fd, uint64_t offset,
                          unsigned size, Error **errp)
{
    size_t page_size = qemu_real_host_page_size();
    uint64_t in_page = offset % page_size;
    void *page;

    if (!shadow_check_file(fd, offset + size, errp)) {
        return false;
    }
    page = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                offset - in_page);
    if (page == MAP_FAILED) {
        error_setg_errno(errp, errno, "cannot map its shadow memory");
        return false;
    }
    *shadow = (VFIOUserShadow) {
        .guard = { page, page_size, page_size, .hit = on_hit },
        .address = (uint8_t *)page + in_page,
    };
    vfio_user_guard_add(&shadow->guard);
    return true;
}

void vfio_user_shadow_unmap(VFIOUserShadow *shadow)
{
    if (shadow->address) {
        vfio_user_guard_remove(&shadow->guard);
        munmap(shadow->guard.start, shadow->guard.size);
        shadow->address = NULL;
    }
}

static void store(void *address, unsigned size, uint64_t value)
{
    switch (size) {
    case 1:
        qatomic_set((uint8_t *)address, value);
        break;
    case 2:
        qatomic_set((uint16_t *)address, value);
        break;
    case 4:
        qatomic_set((uint32_t *)address, value);
        break;
    default:
        qatomic_set((uint64_t *)address, value);
        break;
    }
}

bool vfio_user_shadow_store(VFIOUserShadow *shadow, unsigned size,
                            uint64_t value)
{
    sigset_t mask;

    vfio_user_guard_begin_access(&mask);
    store(shadow->address, size, value);
    vfio_user_guard_end_access(&mask);
    return !qatomic_read(&shadow->gone);
}
