/*
 * vfio-user migration v1: the file of the migration region
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "qemu/mmap-alloc.h"
#include "hw/vfio/user/guard.h"
#include "hw/vfio/user/migration-window.h"

struct VFIOUserMigWindow {
    VFIOUserGuard guard;
    bool hit;                   /* a page of the file was missing */
};

/* In a signal handler. */
static void window_hit(VFIOUserGuard *guard)
{
    VFIOUserMigWindow *w = container_of(guard, VFIOUserMigWindow, guard);

    qatomic_set(&w->hit, true);
}

VFIOUserMigWindow *vfio_user_mig_window_new(int fd, uint64_t offset,
                                            uint64_t size)
{
    size_t page = fd < 0 ? 1 : qemu_fd_getpagesize(fd);
    VFIOUserMigWindow *w;
    void *start;

    assert(bql_locked());
    if (fd < 0 || offset % page) {
        return NULL;
    }
    size = ROUND_UP(size, page);
    start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
    if (start == MAP_FAILED) {
        return NULL;
    }
    w = g_new(VFIOUserMigWindow, 1);
    *w = (VFIOUserMigWindow) {
        .guard = {
            .start = start,
            .size = size,
            .page = page,
            .hit = window_hit,
        },
    };
    vfio_user_guard_add(&w->guard);
    return w;
}

void vfio_user_mig_window_free(VFIOUserMigWindow *w)
{
    assert(bql_locked());
    if (w) {
        vfio_user_guard_remove(&w->guard);
        munmap(w->guard.start, w->guard.size);
        g_free(w);
    }
}

bool vfio_user_mig_window_was_short(const VFIOUserMigWindow *w)
{
    return qatomic_read(&w->hit);
}

static bool copy(VFIOUserMigWindow *w, void *to, const void *from, size_t size)
{
    sigset_t mask;

    vfio_user_guard_begin_access(&mask);
    memcpy(to, from, size);
    vfio_user_guard_end_access(&mask);
    return !vfio_user_mig_window_was_short(w);
}

bool vfio_user_mig_window_read(VFIOUserMigWindow *w, uint64_t at, void *to,
                               size_t size)
{
    assert(at <= w->guard.size && size <= w->guard.size - at);
    return copy(w, to, (char *)w->guard.start + at, size);
}

bool vfio_user_mig_window_write(VFIOUserMigWindow *w, uint64_t at,
                                const void *from, size_t size)
{
    assert(at <= w->guard.size && size <= w->guard.size - at);
    return copy(w, (char *)w->guard.start + at, from, size);
}
