/*
 * vfio-user guards of mapped files
 *
 * See the header for the purpose of this file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/atomic.h"
#include "hw/vfio/user/guard.h"

static struct {
    struct sigaction before;    /* the previous handler */
    bool installed;             /* never uninstalled */
    /*
     * Read by signal handlers at any time, without a lock.  A guard may be
     * freed when it is removed from the list and no handler uses it any more.
     */
    VFIOUserGuard *first;
    unsigned readers;
} guards;

/*
 * Replaces the page atomically: no thread sees the zeros of a new page or an
 * unmapped hole.  mmap() and mremap() are plain system calls, so they may be
 * called in a signal handler.
 */
static bool replace_page(const VFIOUserGuard *guard, uintptr_t addr)
{
    void *page = (void *)QEMU_ALIGN_DOWN(addr, (uintptr_t)guard->page);
    void *ones = mmap(NULL, guard->page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (ones == MAP_FAILED) {
        return false;
    }
    memset(ones, 0xff, guard->page);
    if (mremap(ones, guard->page, guard->page,
               MREMAP_MAYMOVE | MREMAP_FIXED, page) == MAP_FAILED) {
        munmap(ones, guard->page);
        return false;
    }
    return true;
}

static bool handle(const siginfo_t *info)
{
    uintptr_t addr = (uintptr_t)info->si_addr;
    bool handled = false;
    VFIOUserGuard *guard;

    if (info->si_code != BUS_ADRERR) {
        return false;           /* a memory failure, or sent by kill() */
    }
    qatomic_inc(&guards.readers);
    for (guard = qatomic_load_acquire(&guards.first); guard;
         guard = qatomic_load_acquire(&guard->next)) {
        if (addr - (uintptr_t)guard->start < guard->size) {
            handled = replace_page(guard, addr);
            break;
        }
    }
    if (handled) {
        guard->hit(guard);
    }
    qatomic_dec(&guards.readers);
    return handled;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    int saved_errno = errno;

    if (!handle(info)) {
        if (guards.before.sa_flags & SA_SIGINFO) {
            guards.before.sa_sigaction(sig, info, context);
        } else {
            /* delivered on return, as if this handler had not existed */
            sigaction(sig, &guards.before, NULL);
            raise(sig);
        }
    }
    errno = saved_errno;
}

void vfio_user_guard_add(VFIOUserGuard *guard)
{
    if (!guards.installed) {
        struct sigaction action = {
            .sa_sigaction = on_sigbus,
            .sa_flags = SA_SIGINFO,
        };

        sigaction(SIGBUS, &action, &guards.before);
        guards.installed = true;
    }
    guard->next = guards.first;
    qatomic_store_release(&guards.first, guard);
}

void vfio_user_guard_remove(VFIOUserGuard *guard)
{
    VFIOUserGuard **link = &guards.first;

    while (*link != guard) {
        link = &(*link)->next;
    }
    qatomic_set(link, guard->next);
    smp_mb();                   /* a later reader does not find the guard */
    while (qatomic_read(&guards.readers)) {
        sched_yield();
    }
}

void vfio_user_guard_begin_access(sigset_t *mask)
{
    sigset_t bus;

    sigemptyset(&bus);
    sigaddset(&bus, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &bus, mask);
}

void vfio_user_guard_end_access(const sigset_t *mask)
{
    pthread_sigmask(SIG_SETMASK, mask, NULL);
}
