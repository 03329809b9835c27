/*
 * vfio-user: a thread that calls the server for the main loop
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "block/thread-pool.h"
#include "hw/vfio/user/worker.h"

typedef struct Worker {
    VFIOUserWork *work;
    void (*done)(void *opaque);
    void *opaque;
} Worker;

static int work(void *opaque)
{
    const Worker *w = opaque;
    int ret;

    /* a thread that waits for a reply may serve requests of the server */
    rcu_register_thread();
    ret = w->work(w->opaque);
    rcu_unregister_thread();
    return ret;
}

int coroutine_fn vfio_user_worker_run(VFIOUserWork *what, void *opaque)
{
    Worker w = { .work = what, .opaque = opaque };

    return thread_pool_submit_co(work, &w);
}

static void done(void *opaque)
{
    g_autofree Worker *w = opaque;

    w->done(w->opaque);
}

static void *run_thread(void *opaque)
{
    work(opaque);
    aio_bh_schedule_oneshot(qemu_get_aio_context(), done, opaque);
    return NULL;
}

/* The thread pool starts threads in the main loop, which may be blocked. */
void vfio_user_worker_start(const char *name, VFIOUserWork *what,
                            void (*then)(void *opaque), void *opaque)
{
    Worker *w = g_new(Worker, 1);
    QemuThread thread;

    *w = (Worker) { what, then, opaque };
    qemu_thread_create(&thread, name, run_thread, w, QEMU_THREAD_DETACHED);
}

typedef struct Awaited {
    VFIOUserWork *work;
    void *opaque;
    int ret;
    Coroutine *co;
} Awaited;

static int work_awaited(void *opaque)
{
    Awaited *a = opaque;

    a->ret = a->work(a->opaque);
    return 0;
}

static void wake(void *opaque)
{
    Awaited *a = opaque;

    aio_co_wake(a->co);
}

int coroutine_fn vfio_user_worker_await(const char *name, VFIOUserWork *what,
                                        void *opaque)
{
    Awaited a = { what, opaque, .co = qemu_coroutine_self() };

    vfio_user_worker_start(name, work_awaited, wake, &a);
    qemu_coroutine_yield();
    return a.ret;
}
