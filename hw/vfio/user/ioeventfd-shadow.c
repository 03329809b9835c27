/*
 * vfio-user ioeventfds: memory of the server that gets what was written
 *
 * The server can shrink its file at any time, and a store into a mapping of it
 * would then kill QEMU.  Where the file is sealed against that, the value is
 * stored in one piece, as a server likes that reads it meanwhile.  Elsewhere
 * the kernel stores it, which gets an error where we would get the signal;
 * whether that is done in one piece is the processor's choice.  pwrite() would
 * do as well, were there not the lock of the file, which a server can hold.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "hw/vfio/user/ioeventfd.h"

/* Nothing but tmpfs: other file systems can make us wait for a page. */
static bool check_file(int fd, uint64_t end, Error **errp)
{
    struct statfs fs;
    struct stat st;

    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0 || !S_ISREG(st.st_mode) ||
        fs.f_type != TMPFS_MAGIC) {
        error_setg(errp, "its shadow memory is no memfd and no file of tmpfs");
        return false;
    }
    if (end > st.st_size) {
        error_setg(errp, "its shadow is at 0x%" PRIx64 " of a memory of 0x%"
                   PRIx64 " bytes", end, (uint64_t)st.st_size);
        return false;
    }
    return true;
}

bool vfio_user_shadow_map(VFIOUserShadow *shadow, int fd, uint64_t offset,
                          unsigned size, Error **errp)
{
    uint64_t in_page = offset % qemu_real_host_page_size();
    int seals = fcntl(fd, F_GET_SEALS);
    void *page;

    if (!check_file(fd, offset + size, errp)) {
        return false;
    }
    page = mmap(NULL, qemu_real_host_page_size(), PROT_READ | PROT_WRITE,
                MAP_SHARED, fd, offset - in_page);
    if (page == MAP_FAILED) {
        error_setg_errno(errp, errno, "cannot map its shadow memory");
        return false;
    }
    shadow->page = page;
    shadow->address = (uint8_t *)page + in_page;
    shadow->sealed = seals >= 0 && seals & F_SEAL_SHRINK;
    return true;
}

void vfio_user_shadow_unmap(VFIOUserShadow *shadow)
{
    if (shadow->page) {
        munmap(shadow->page, qemu_real_host_page_size());
        shadow->page = NULL;
    }
}

static void store_here(void *address, unsigned size, uint64_t value)
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

bool vfio_user_shadow_store(const VFIOUserShadow *shadow, unsigned size,
                            uint64_t value)
{
    struct iovec from = { &value, size };
    struct iovec to = { shadow->address, size };

    if (shadow->sealed) {
        store_here(shadow->address, size, value);
        return true;
    }
    return process_vm_writev(getpid(), &from, 1, &to, 1, 0) == size;
}
