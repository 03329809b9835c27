/*
 * vfio-user guards of mapped files
 *
 * Mappings of files that are truncated, accessed by several threads, some of
 * which block SIGBUS; and faults outside guarded mappings, which must still end
 * the program.  Faults that end the program happen in a child process.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/wait.h>
#include "qemu/atomic.h"
#include "hw/vfio/user/guard.h"

#define PAGE qemu_real_host_page_size()
#define PAGES 8

typedef struct Mapping {
    VFIOUserGuard guard;
    uint8_t *bytes;
    int fd;
    int hits;
} Mapping;

static void on_hit(VFIOUserGuard *guard)
{
    qatomic_inc(&container_of(guard, Mapping, guard)->hits);
}

static Mapping *mapping_new(bool guarded)
{
    Mapping *m = g_new0(Mapping, 1);

    m->fd = memfd_create("guard", MFD_CLOEXEC);
    g_assert_cmpint(m->fd, >=, 0);
    g_assert_cmpint(ftruncate(m->fd, PAGES * PAGE), ==, 0);
    m->bytes = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
                    m->fd, 0);
    g_assert(m->bytes != MAP_FAILED);
    m->guard = (VFIOUserGuard) {
        .start = m->bytes,
        .size = PAGES * PAGE,
        .page = PAGE,
        .hit = on_hit,
    };
    if (guarded) {
        vfio_user_guard_add(&m->guard);
    }
    return m;
}

static void mapping_free(Mapping *m, bool guarded)
{
    if (guarded) {
        vfio_user_guard_remove(&m->guard);
    }
    munmap(m->bytes, PAGES * PAGE);
    close(m->fd);
    g_free(m);
}

static uint8_t get(const Mapping *m, size_t at)
{
    return qatomic_read(m->bytes + at);
}

static void put(Mapping *m, size_t at, uint8_t byte)
{
    qatomic_set(m->bytes + at, byte);
}

static void shorten(Mapping *m, size_t pages)
{
    g_assert_cmpint(ftruncate(m->fd, pages * PAGE), ==, 0);
}

static void test_read(void)
{
    Mapping *m = mapping_new(true);

    put(m, 0, 1);
    put(m, 3 * PAGE, 2);
    shorten(m, 1);
    g_assert_cmphex(get(m, 3 * PAGE), ==, 0xff);
    g_assert_cmphex(get(m, 3 * PAGE + PAGE - 1), ==, 0xff);
    g_assert_cmpint(qatomic_read(&m->hits), ==, 1);
    g_assert_cmphex(get(m, PAGES * PAGE - 1), ==, 0xff);
    g_assert_cmpint(qatomic_read(&m->hits), ==, 2);
    /* pages that still exist are unchanged */
    g_assert_cmphex(get(m, 0), ==, 1);
    g_assert_cmpint(qatomic_read(&m->hits), ==, 2);
    mapping_free(m, true);
}

static void test_write(void)
{
    Mapping *m = mapping_new(true);

    shorten(m, 0);
    put(m, PAGE + 5, 7);
    g_assert_cmpint(qatomic_read(&m->hits), ==, 1);
    g_assert_cmphex(get(m, PAGE + 4), ==, 0xff);
    g_assert_cmphex(get(m, PAGE + 5), ==, 7);
    g_assert_cmpint(qatomic_read(&m->hits), ==, 1);
    mapping_free(m, true);
}

/* Guards are added and removed in any order; each fault hits the right one. */
static void test_several(void)
{
    Mapping *m[5];

    for (unsigned i = 0; i < ARRAY_SIZE(m); i++) {
        m[i] = mapping_new(true);
        shorten(m[i], 0);
    }
    mapping_free(m[2], true);
    mapping_free(m[4], true);
    mapping_free(m[0], true);
    g_assert_cmphex(get(m[3], PAGE), ==, 0xff);
    g_assert_cmpint(qatomic_read(&m[3]->hits), ==, 1);
    g_assert_cmpint(qatomic_read(&m[1]->hits), ==, 0);
    mapping_free(m[3], true);
    m[0] = mapping_new(true);
    g_assert_cmphex(get(m[1], 0), ==, 0xff);
    g_assert_cmpint(qatomic_read(&m[1]->hits), ==, 1);
    mapping_free(m[0], true);
    mapping_free(m[1], true);
}

/* Threads fault on the same pages while other guards are added and removed. */
static void *fault_all(void *opaque)
{
    Mapping *m = opaque;

    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < PAGES; i++) {
            g_assert_cmphex(get(m, i * PAGE + round), ==, 0xff);
        }
    }
    return NULL;
}

static void test_threads(void)
{
    for (unsigned round = 0; round < 50; round++) {
        Mapping *m = mapping_new(true);
        GThread *threads[4];

        shorten(m, 0);
        for (unsigned i = 0; i < ARRAY_SIZE(threads); i++) {
            threads[i] = g_thread_new("fault", fault_all, m);
        }
        for (unsigned i = 0; i < 20; i++) {
            mapping_free(mapping_new(true), true);
        }
        for (unsigned i = 0; i < ARRAY_SIZE(threads); i++) {
            g_thread_join(threads[i]);
        }
        g_assert_cmpint(qatomic_read(&m->hits), >=, PAGES);
        mapping_free(m, true);
    }
}

/* SIGBUS is blocked as in QEMU's main loop, which uses a signalfd. */
static void test_blocked(void)
{
    Mapping *m = mapping_new(true);
    sigset_t bus, before, now;

    sigemptyset(&bus);
    sigaddset(&bus, SIGBUS);
    pthread_sigmask(SIG_BLOCK, &bus, NULL);
    shorten(m, 0);
    vfio_user_guard_begin_access(&before);
    g_assert_cmphex(get(m, 0), ==, 0xff);
    vfio_user_guard_end_access(&before);
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    g_assert_true(sigismember(&now, SIGBUS));
    g_assert_cmpint(qatomic_read(&m->hits), ==, 1);
    pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
    mapping_free(m, true);
}

/* Faults outside guarded mappings */

static void die(void)
{
    Mapping *m = mapping_new(true);
    Mapping *other = mapping_new(false);

    shorten(other, 0);
    get(other, 0);
    mapping_free(m, true);      /* not reached */
}

static void die_of_kill(void)
{
    mapping_free(mapping_new(true), true);
    raise(SIGBUS);
}

static void die_after_remove(void)
{
    Mapping *m = mapping_new(true);

    vfio_user_guard_remove(&m->guard);
    shorten(m, 0);
    get(m, 0);
}

static void exit_with_address(int sig, siginfo_t *info, void *context)
{
    _exit(info->si_code == BUS_ADRERR && info->si_addr ? 42 : 43);
}

/* The previous handler is called for faults outside guarded mappings. */
static void die_with_handler(void)
{
    struct sigaction action = {
        .sa_sigaction = exit_with_address,
        .sa_flags = SA_SIGINFO,
    };

    sigaction(SIGBUS, &action, NULL);
    die();
}

static const struct {
    const char *name;
    void (*function)(void);
    int signal;
    int status;
} deaths[] = {
    { "unguarded", die, SIGBUS },
    { "kill", die_of_kill, SIGBUS },
    { "removed", die_after_remove, SIGBUS },
    { "previous-handler", die_with_handler, 0, 42 },
};

static void test_deaths(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(deaths); i++) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            signal(SIGBUS, SIG_DFL);
            deaths[i].function();
            _exit(0);
        }
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_test_message("%s: status 0x%x", deaths[i].name, status);
        if (deaths[i].signal) {
            g_assert_true(WIFSIGNALED(status));
            g_assert_cmpint(WTERMSIG(status), ==, deaths[i].signal);
        } else {
            g_assert_true(WIFEXITED(status));
            g_assert_cmpint(WEXITSTATUS(status), ==, deaths[i].status);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* this is first, because no handler must be installed yet */
    g_test_add_func("/vfio-user/guard/deaths", test_deaths);
    g_test_add_func("/vfio-user/guard/read", test_read);
    g_test_add_func("/vfio-user/guard/write", test_write);
    g_test_add_func("/vfio-user/guard/several", test_several);
    g_test_add_func("/vfio-user/guard/threads", test_threads);
    g_test_add_func("/vfio-user/guard/blocked", test_blocked);
    return g_test_run();
}
