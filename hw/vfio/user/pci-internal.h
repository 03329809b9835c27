/*
 * vfio-user PCI device: its struct
 *
 * Private to pci.c, pci-connection.c, pci-properties.c, pci-query.c,
 * pci-attempt.c, pci-commands.c, pci-reconnect.c and pci-switch.c.  The other
 * pci-*.c files use only the parts that are passed to them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PCI_INTERNAL_H
#define HW_VFIO_USER_PCI_INTERNAL_H

#include "qapi/qapi-types-vfio-user.h"
#include "hw/vfio/pci.h"
#include "hw/vfio/user/container.h"
#include "hw/vfio/user/device.h"
#include "hw/vfio/user/mapping.h"
#include "hw/vfio/user/migration.h"
#include "hw/vfio/user/pci-interrupts.h"
#include "hw/vfio/user/pci-ioeventfd.h"
#include "hw/vfio/user/pci-link.h"
#include "hw/vfio/user/pci-master.h"
#include "hw/vfio/user/pci-reconnect.h"
#include "hw/vfio/user/pci-restore.h"

#define TYPE_VFIO_USER_PCI "vfio-user-pci"
OBJECT_DECLARE_SIMPLE_TYPE(VFIOUserPCIDevice, VFIO_USER_PCI)

struct VFIOUserPCIDevice {
    VFIOPCIDevice parent_obj;

    SocketAddress *socket;
    char *socket_name;          /* name of @socket, for messages */
    GSList *old_names;          /* other threads may still print them */
    uint32_t timeout_ms;
    bool no_posted_writes;
    bool send_queued;           /* has no effect */

    QIOChannelSocket *channel;  /* from vfio_user_pci_dial() to _connect() */
    VFIOUserDevice user;
    VFIOUserLink *link;         /* of user.proxy, and changes as that does */
    VFIOUserPCIReconnect reconnect;
    VFIOUserContainer *container;
    VFIOUserServe serve;
    VFIOUserPCIMaster master;
    VFIOUserPCIWritten written;
    VFIOUserMappings mappings;
    VFIOUserPCIIoeventfds ioeventfds;
    VFIOUserPCISignals signals;
    VFIOUserMigration *migration;               /* NULL: not supported */
    VMChangeStateEntry *vm_change;
    Notifier machine_done;
    unsigned steps_done;
    bool in_use;                /* realized: report a lost connection */
    bool is_switching;          /* to another server */
    unsigned losses;            /* of the connection, once realized */
    VFIOUserProxyStats past;    /* of links that were replaced */
};

/* pci-connection.c: whether QEMU can connect to @addr as often as it has to */
bool vfio_user_pci_check_address(const VFIOUserPCIDevice *vudev,
                                 const SocketAddress *addr, Error **errp);

/* pci-connection.c: steps of realize, see pci.c */
bool vfio_user_pci_dial(VFIOUserPCIDevice *vudev, Error **errp);
bool vfio_user_pci_connect(VFIOUserPCIDevice *vudev, Error **errp);
bool vfio_user_pci_handshake(VFIOUserPCIDevice *vudev, Error **errp);
void vfio_user_pci_hang_up(VFIOUserPCIDevice *vudev);

extern const VFIOUserLinkOps vfio_user_pci_link_ops;

/*
 * Uses @link from now on, and serves its requests.  At realize, in a gap, or
 * while the vCPUs are paused.
 */
void vfio_user_pci_use_link(VFIOUserPCIDevice *vudev, VFIOUserLink *link);

/*
 * From now on the loss of @link, which is used, is that of the device; if it is
 * lost already, that is handled now.  Until then, or after
 * vfio_user_pci_disown_link(), the caller has to look whether it is lost.
 */
void vfio_user_pci_adopt_link(VFIOUserPCIDevice *vudev, VFIOUserLink *link);
void vfio_user_pci_disown_link(VFIOUserLink *link);

/* Hangs up a link that was replaced, and frees it when no vCPU uses it. */
void vfio_user_pci_retire_link(VFIOUserPCIDevice *vudev, VFIOUserLink *link);

/* pci-reconnect.c: a step of realize; what it creates, cleanup frees */
bool vfio_user_pci_reconnect_setup(VFIOUserPCIDevice *vudev, Error **errp);
void vfio_user_pci_reconnect_cleanup(VFIOUserPCIDevice *vudev);

/* Looks for no server any more; threads that wait for one continue. */
void vfio_user_pci_reconnect_stop(VFIOUserPCIDevice *vudev);

/* The server is lost: begins to look for it.  No effect if that is off. */
void vfio_user_pci_reconnect_begin(VFIOUserPCIDevice *vudev);

/* Looks for a server again after one with a different device was rejected. */
bool vfio_user_pci_reconnect_retry(VFIOUserPCIDevice *vudev, Error **errp);

/* How a server takes over from another one */
typedef struct VFIOUserResume {
    /* Its device; the descriptors are exchanged for those of the other one */
    VFIOUserProfile *profile;
    /* It gets the other one's state; NULL: its device was reset */
    struct VFIOUserMigSwitch *move;
    /* It was used before: the other one, with @profile, failed */
    bool is_return;
} VFIOUserResume;

/*
 * pci.c: tells the server of a link that is used what the last one knew.
 * Returns false with @errp set if it cannot be used.
 */
bool vfio_user_pci_resume(VFIOUserPCIDevice *vudev, const VFIOUserResume *how,
                          Error **errp);

/* pci-properties.c: class properties, and those that only an object can have */
void vfio_user_pci_add_properties(DeviceClass *dc);
void vfio_user_pci_add_aliases(Object *obj);

/*
 * pci-properties.c: a step of realize, which adds the properties that can only
 * be read.  Before, they would have no value; and -device help and device_add
 * do not know them.
 */
bool vfio_user_pci_add_status(VFIOUserPCIDevice *vudev, Error **errp);
void vfio_user_pci_remove_status(VFIOUserPCIDevice *vudev);

/**
 * vfio_user_pci_query:
 * @vudev: a device that is connected, or was
 *
 * Returns the state of the device, to be freed by the caller.  Called with the
 * big QEMU lock.
 */
VfioUserInfo *vfio_user_pci_query(VFIOUserPCIDevice *vudev);

#endif /* HW_VFIO_USER_PCI_INTERNAL_H */
