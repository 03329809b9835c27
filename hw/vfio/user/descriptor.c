/*
 * vfio-user descriptors of a server
 *
 * See the header for the purpose of this file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/prctl.h>
#include "qemu/error-report.h"
#include "hw/vfio/user/descriptor.h"

typedef struct Batch {
    size_t nfds;
    int fds[];
} Batch;

bool vfio_user_fd_is_memory(int fd)
{
    /* fails for all other files, and never blocks */
    return fcntl(fd, F_GET_SEALS) >= 0;
}

static void *close_thread(void *opaque)
{
    g_autofree Batch *batch = opaque;

    prctl(PR_SET_NAME, "vfio-user-close");
    for (size_t i = 0; i < batch->nfds; i++) {
        close(batch->fds[i]);
    }
    return NULL;
}

/*
 * qemu_thread_create() terminates QEMU if it fails, and a server could make it
 * fail.
 */
static bool start_thread(Batch *batch)
{
    sigset_t all, before;
    pthread_t thread;
    int ret;

    /* the other threads handle signals */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ret = pthread_create(&thread, NULL, close_thread, batch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ret == 0) {
        pthread_detach(thread);
    }
    return ret == 0;
}

void vfio_user_close_fds(const int *fds, size_t nfds)
{
    Batch *batch = NULL;

    for (size_t i = 0; i < nfds; i++) {
        if (vfio_user_fd_is_memory(fds[i])) {
            close(fds[i]);
            continue;
        }
        if (!batch) {
            batch = g_malloc(sizeof(*batch) + nfds * sizeof(fds[0]));
            batch->nfds = 0;
        }
        batch->fds[batch->nfds++] = fds[i];
    }
    if (batch && !start_thread(batch)) {
        warn_report_once("vfio-user: cannot create a thread to close"
                         " descriptors: they stay open");
        g_free(batch);
    }
}
