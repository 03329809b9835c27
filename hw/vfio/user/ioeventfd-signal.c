/*
 * vfio-user ioeventfds: signals an eventfd without blocking
 *
 * A write to an eventfd blocks while its counter is full, unless O_NONBLOCK is
 * set.  The server controls both, so a vCPU could block forever.  The kernel
 * itself signals eventfds without blocking, for KVM and for completions of
 * asynchronous I/O.  This file therefore reads asynchronously from an empty
 * file.  The read completes immediately, and the kernel signals the server's
 * eventfd.
 *
 * Nothing here blocks.  Completions are discarded when the kernel has no more
 * room for them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "qapi/error.h"
#include "hw/vfio/user/ioeventfd.h"

/* Approximate number of completions before they are discarded. */
#define EVENTS 64

struct VFIOUserSignaller {
    aio_context_t context;
    int empty;                  /* descriptor of an empty file */
};

VFIOUserSignaller *vfio_user_signaller_new(Error **errp)
{
    VFIOUserSignaller *s = g_new0(VFIOUserSignaller, 1);

    s->empty = memfd_create("vfio-user-signal", MFD_CLOEXEC);
    if (s->empty < 0) {
        error_setg_errno(errp, errno, "cannot create a memfd");
    } else if (syscall(SYS_io_setup, EVENTS, &s->context) < 0) {
        error_setg_errno(errp, errno, "cannot create an AIO context, is"
                         " fs.aio-max-nr too small?");
        close(s->empty);
    } else {
        return s;
    }
    g_free(s);
    return NULL;
}

void vfio_user_signaller_free(VFIOUserSignaller *s)
{
    if (s) {
        syscall(SYS_io_destroy, s->context);
        close(s->empty);
        g_free(s);
    }
}

static int submit(VFIOUserSignaller *s, int fd, uintptr_t buffer)
{
    struct iocb iocb = {
        .aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = s->empty,
        .aio_buf = buffer,
        .aio_nbytes = 1,
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = fd,
    };
    struct iocb *list = &iocb;

    return syscall(SYS_io_submit, s->context, 1, &list) == 1 ? 0 : -errno;
}

bool vfio_user_signaller_accepts(VFIOUserSignaller *s, int fd)
{
    /* the kernel checks the eventfd first, and then the address */
    return submit(s, fd, UINTPTR_MAX) == -EFAULT;
}

int vfio_user_signaller_signal(VFIOUserSignaller *s, int fd)
{
    uint8_t byte;
    int ret = submit(s, fd, (uintptr_t)&byte);

    if (ret == -EAGAIN) {
        struct io_event events[EVENTS];
        struct timespec now = { 0 };

        syscall(SYS_io_getevents, s->context, 0, EVENTS, events, &now);
        ret = submit(s, fd, (uintptr_t)&byte);
    }
    return ret;
}
