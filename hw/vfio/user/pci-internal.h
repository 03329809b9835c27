/*
 * vfio-user PCI device: its struct
 *
 * Private to pci.c, pci-connection.c, pci-properties.c and pci-query.c.  The
 * other pci-*.c files use only the parts that are passed to them.
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
#include "hw/vfio/user/pci-master.h"

#define TYPE_VFIO_USER_PCI "vfio-user-pci"
OBJECT_DECLARE_SIMPLE_TYPE(VFIOUserPCIDevice, VFIO_USER_PCI)

struct VFIOUserPCIDevice {
    VFIOPCIDevice parent_obj;

    SocketAddress *socket;
    char *socket_name;          /* name of @socket, for messages */
    uint32_t timeout_ms;
    bool no_posted_writes;
    bool send_queued;           /* has no effect */

    QIOChannelSocket *channel;  /* from vfio_user_pci_dial() to _connect() */
    VFIOUserDevice user;
    VFIOUserProxy *twin;        /* twin socket, for the server's requests */
    VFIOUserContainer *container;
    VFIOUserServe serve;
    VFIOUserPCIMaster master;
    VFIOUserMappings mappings;
    VFIOUserPCIIoeventfds ioeventfds;
    VFIOUserPCISignals signals;
    VFIOUserMigration *migration;               /* NULL: not supported */
    VMChangeStateEntry *vm_change;
    Notifier machine_done;
    unsigned steps_done;
    bool in_use;                /* realized: report a lost connection */
    unsigned losses;            /* of the connection, once realized */
};

/* pci-connection.c: steps of realize, see pci.c */
bool vfio_user_pci_dial(VFIOUserPCIDevice *vudev, Error **errp);
bool vfio_user_pci_connect(VFIOUserPCIDevice *vudev, Error **errp);
bool vfio_user_pci_handshake(VFIOUserPCIDevice *vudev, Error **errp);
void vfio_user_pci_hang_up(VFIOUserPCIDevice *vudev);

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
