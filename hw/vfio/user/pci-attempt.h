/*
 * vfio-user PCI device: the examination of another server
 *
 * An attempt to use a server: connects, negotiates, asks for everything that
 * the guest can see of the device, and compares.  The device is not changed; it
 * continues to use the server that it has, if it has one.  Does not decide when
 * to try, or what becomes of the server.
 *
 * Threads: vfio_user_attempt_run() runs in a thread without the big QEMU lock,
 * the others in the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_ATTEMPT_H
#define HW_VFIO_USER_PCI_ATTEMPT_H

#include "hw/vfio/user/pci-internal.h"

typedef struct VFIOUserAttempt {
    VFIOUserPCIDevice *vudev;   /* a reference */
    SocketAddress *addr;
    char *name;                 /* of @addr, for messages */
    bool resets;                /* reset the server's device */
    bool canceled;              /* atomic */
    bool done;                  /* set by the owner, for itself */
    QIOChannelSocket *ioc;      /* passed as a descriptor, or NULL */
    VFIOUserLink *link;         /* atomic; not used by the device */
    VFIOUserDevice device;      /* what calls need, and no more */
    VFIOUserPCIConfig written;  /* bytes that the guest has written */
    VFIOUserProfile *was;       /* of the present server, if asked here */
    VFIOUserProfile *profile;
    char *difference;           /* to the device that the guest knows */
    Error *err;
} VFIOUserAttempt;

/**
 * vfio_user_attempt_new:
 * @addr: of the server, not taken
 * @resets: reset the server's device if it is the same
 */
VFIOUserAttempt *vfio_user_attempt_new(VFIOUserPCIDevice *vudev,
                                       SocketAddress *addr, bool resets);

/*
 * Hangs up, unless @a->link was taken.  The attempt's thread must have ended.
 */
void vfio_user_attempt_free(VFIOUserAttempt *a);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserAttempt, vfio_user_attempt_free)

/**
 * vfio_user_attempt_take_fd:
 *
 * If the address is the name of a descriptor, gets it from the monitor.  The
 * thread of vfio_user_attempt_run() could not do that.
 *
 * Returns true, or false with @errp set if there is no such descriptor.
 */
bool vfio_user_attempt_take_fd(VFIOUserAttempt *a, Error **errp);

/* Makes the attempt's thread end soon. */
void vfio_user_attempt_cancel(VFIOUserAttempt *a);

/**
 * vfio_user_attempt_run:
 *
 * A VFIOUserWork.  Returns 0 if the server can be used; or -errno with @a->err
 * or @a->difference set.
 */
int vfio_user_attempt_run(void *attempt);

/* Why the server cannot be used, on one line. */
const char *vfio_user_attempt_why_not(const VFIOUserAttempt *a);

#endif /* HW_VFIO_USER_PCI_ATTEMPT_H */
