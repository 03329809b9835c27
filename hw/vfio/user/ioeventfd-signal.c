/*
 * vfio-user ioeventfds: a signal that cannot block
 *
 * A write to an eventfd blocks while its counter is full, unless O_NONBLOCK is
 * set, and both are the server's: a vCPU would wait for as long as a server
 * likes.  The kernel itself signals eventfds without blocking, for KVM and for
 * those who ask to be told when their asynchronous input is done.  So here an
 * empty file of ours is read asynchronously, which is done at once, and the
 * server's eventfd is told.
 *
 * Nothing here waits; completions are dropped when the kernel has no more room
 * for them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "qapi/error.h"
#include "hw/vfio/user/ioeventfd.h"

/* Completions between two times that they are dropped, roughly. */
#define EVENTS 64

struct VFIOUserSignaller {
    aio_context_t context;
    int empty;                  /* file without a byte */
};

VFIOUserSignaller *vfio_user_signaller_new(Error **errp)
{
    VFIOUserSignaller *s = g_new0(VFIOUserSignaller, 1);

    s->empty = memfd_create("vfio-user-signal", MFD_CLOEXEC);
    if (s->empty < 0) {
        error_setg_errno(errp, errno, "no memory file");
    } else if (syscall(SYS_io_setup, EVENTS, &s->context) < 0) {
        error_setg_errno(errp, errno, "no context for asynchronous I/O, is"
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

bool vfio_user_signaller_takes(VFIOUserSignaller *s, int fd)
{
    /* the kernel looks at the eventfd first, and then at the address */
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
