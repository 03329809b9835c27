/*
 * vfio-user PCI device: its connection to one server
 *
 * A link is a socket to a server, with its twin socket if the server uses one,
 * and the callbacks of both.  A device uses one link at a time.  While another
 * server is examined there is a second link, which serves no requests.  This
 * file does not decide which link a device uses, or what happens when a link is
 * lost.
 *
 * Threads: any, with the big QEMU lock or without; the callbacks run in the
 * threads that read the sockets.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_LINK_H
#define HW_VFIO_USER_PCI_LINK_H

#include "io/channel-socket.h"
#include "qemu/rcu.h"
#include "hw/vfio/user/device.h"
#include "hw/vfio/user/serve.h"

typedef struct VFIOUserLink VFIOUserLink;

/* Implemented by the owner of a link.  See VFIOUserProxyOps. */
typedef struct VFIOUserLinkOps {
    void (*lost)(VFIOUserLink *link, const char *cause);
    void (*failed)(VFIOUserLink *link, Error *err);
} VFIOUserLinkOps;

struct VFIOUserLink {
    struct rcu_head rcu;
    const VFIOUserLinkOps *ops;
    void *opaque;               /* of the owner */
    VFIOUserProxy *proxy;
    VFIOUserProxy *twin;        /* atomic; for the server's requests, or NULL */
    VFIOUserServe *serve;       /* atomic; NULL: requests are refused */
    unsigned serving;           /* atomic; requests that are being served */
    uint64_t returns;           /* of the gap, when this was adopted */
    bool adopted;               /* atomic; its loss is the device's */
    bool loss_seen;             /* atomic; its loss was handled */
};

/**
 * vfio_user_link_new:
 * @ioc: a connected socket
 * @name: of the socket, for messages
 * @timeout_ms: how long a call waits, 1 or more
 *
 * Sends nothing.  Returns NULL with @errp set if the host is out of file
 * descriptors.
 */
VFIOUserLink *vfio_user_link_new(QIOChannelSocket *ioc, const char *name,
                                 unsigned timeout_ms,
                                 const VFIOUserLinkOps *ops, void *opaque,
                                 Error **errp);

/**
 * vfio_user_link_negotiate:
 * @udev: its proxy is that of @link; gets the negotiated capabilities
 *
 * Returns true, or false with @errp set and the link closed.
 * Specification: "VFIO_USER_VERSION".
 */
bool vfio_user_link_negotiate(VFIOUserLink *link, VFIOUserDevice *udev,
                              Error **errp);

/*
 * Serves the server's requests from now on; NULL: refuses them.  Waits for one
 * that is being served, which does not block.
 */
void vfio_user_link_serve(VFIOUserLink *link, VFIOUserServe *serve);

/* Both sockets fail with @cause, which is not taken. */
void vfio_user_link_fail(VFIOUserLink *link, const char *cause);

/* Closes both sockets; calls in flight fail. */
void vfio_user_link_hang_up(VFIOUserLink *link);

/* Whether any call was not answered in time. */
bool vfio_user_link_was_late(const VFIOUserLink *link);

/* For a link that is lost or closed: whether no thread uses it any more. */
bool vfio_user_link_is_idle(VFIOUserLink *link);

/* Frees a link that was hung up and that no thread uses. */
void vfio_user_link_free(VFIOUserLink *link);

/* As vfio_user_link_free(), when RCU readers that may use it have ended. */
void vfio_user_link_retire(VFIOUserLink *link);

/* What other threads want of this one, if it is a vCPU's. */
VFIOUserWanted vfio_user_link_wanted(void);

#endif /* HW_VFIO_USER_PCI_LINK_H */
