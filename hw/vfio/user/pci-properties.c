/*
 * vfio-user PCI device: its properties
 *
 * Defines the properties that users can set, and those that they can only read.
 * Other files implement their effects, and find out the values to read.
 *
 * Threads: the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/qapi-visit-vfio-user.h"
#include "hw/core/qdev-properties.h"
#include "hw/vfio/user/address.h"
#include "hw/vfio/user/pci-internal.h"

static void get_socket(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    VFIOUserPCIDevice *vudev = VFIO_USER_PCI(obj);

    visit_type_str(v, name, &vudev->socket_name, errp);
}

static void set_socket(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    VFIOUserPCIDevice *vudev = VFIO_USER_PCI(obj);
    VFIODevice *vbasedev = &vudev->parent_obj.vbasedev;
    SocketAddress *addr = vfio_user_address_visit(v, name, errp);

    if (!addr) {
        return;
    }
    qapi_free_SocketAddress(vudev->socket);
    vudev->socket = addr;
    g_free(vudev->socket_name);
    vudev->socket_name = vfio_user_address_name(addr);
    g_free(vbasedev->name);
    vbasedev->name = g_strdup_printf("vfio-user %s", vudev->socket_name);
}

/* "info qtree" shows only properties that have such a struct. */
static const PropertyInfo prop_socket = {
    .type = "SocketAddress",
    .get = get_socket,
    .set = set_socket,
};

static const Property vfio_user_pci_properties[] = {
    DEFINE_PROP("socket", VFIOUserPCIDevice, socket, prop_socket,
                SocketAddress *),
    DEFINE_PROP_UINT32("x-timeout-ms", VFIOUserPCIDevice, timeout_ms,
                       VFIO_USER_TIMEOUT_MS),
    DEFINE_PROP_UINT32("reconnect-ms", VFIOUserPCIDevice, reconnect.ms, 0),
    DEFINE_PROP_UINT32("reconnect-wait-ms", VFIOUserPCIDevice,
                       user.gap.wait_ms, 5000),
    DEFINE_PROP_BOOL("reconnect-aer", VFIOUserPCIDevice, reconnect.aer, false),
    DEFINE_PROP_UINT32("x-intx-mmap-timeout-ms", VFIOUserPCIDevice,
                       parent_obj.intx.mmap_timeout, 1100),
    DEFINE_PROP_BIT("x-req", VFIOUserPCIDevice, parent_obj.features,
                    VFIO_FEATURE_ENABLE_REQ_BIT, true),
    DEFINE_PROP_BOOL("x-no-mmap", VFIOUserPCIDevice,
                     parent_obj.vbasedev.no_mmap, false),
    DEFINE_PROP_BOOL("x-no-kvm-intx", VFIOUserPCIDevice,
                     parent_obj.no_kvm_intx, false),
    DEFINE_PROP_BOOL("x-no-kvm-msi", VFIOUserPCIDevice,
                     parent_obj.no_kvm_msi, false),
    DEFINE_PROP_BOOL("x-no-kvm-msix", VFIOUserPCIDevice,
                     parent_obj.no_kvm_msix, false),
    DEFINE_PROP_BOOL("x-no-kvm-ioeventfd", VFIOUserPCIDevice,
                     parent_obj.no_kvm_ioeventfd, false),
    DEFINE_PROP_BOOL("x-no-region-io-fds", VFIOUserPCIDevice,
                     user.no_region_io_fds, false),
    DEFINE_PROP_BOOL("x-no-device-feature", VFIOUserPCIDevice,
                     user.no_device_feature, false),
    DEFINE_PROP_UINT32("x-pci-vendor-id", VFIOUserPCIDevice,
                       parent_obj.vendor_id, PCI_ANY_ID),
    DEFINE_PROP_UINT32("x-pci-device-id", VFIOUserPCIDevice,
                       parent_obj.device_id, PCI_ANY_ID),
    DEFINE_PROP_UINT32("x-pci-sub-vendor-id", VFIOUserPCIDevice,
                       parent_obj.sub_vendor_id, PCI_ANY_ID),
    DEFINE_PROP_UINT32("x-pci-sub-device-id", VFIOUserPCIDevice,
                       parent_obj.sub_device_id, PCI_ANY_ID),
    DEFINE_PROP_UINT32("x-pci-class-code", VFIOUserPCIDevice,
                       parent_obj.class_code, PCI_ANY_ID),
    DEFINE_PROP_BOOL("x-no-posted-writes", VFIOUserPCIDevice,
                     no_posted_writes, false),
    DEFINE_PROP_BOOL("x-send-queued", VFIOUserPCIDevice, send_queued, false),
};

/*
 * The manual repeats these, with what there is to add;
 * scripts/check-manual compares the two.
 */
static const struct {
    const char *name;
    const char *description;
} descriptions[] = {
    { "socket", "Address of the server's socket: a path, unix:PATH, HOST:PORT,"
                " vsock:CID:PORT, fd:NAME, or a SocketAddress in JSON" },
    { "x-timeout-ms", "Milliseconds to wait for the connection, and for the"
                      " reply to each message" },
    { "reconnect-ms", "Longest time in milliseconds between two attempts to"
                      " connect to a server that was lost (0: do not try)" },
    { "reconnect-wait-ms", "Milliseconds after the loss of a server for which a"
                           " guest's register reads wait for its return" },
    { "reconnect-aer", "Report a PCI Express error to the guest when a lost"
                       " server is back, so that its driver recovers" },
    { "x-intx-mmap-timeout-ms", "Milliseconds after an INTx interrupt before"
                                " regions are mapped again" },
    { "x-req", "Let the server request that its device is unplugged" },
    { "x-no-mmap", "Access all regions by message, even if the server shares"
                   " them" },
    { "x-no-kvm-intx", "Deliver INTx interrupts through QEMU, not KVM" },
    { "x-no-kvm-msi", "Deliver MSI interrupts through QEMU, not KVM" },
    { "x-no-kvm-msix", "Deliver MSI-X interrupts through QEMU, not KVM" },
    { "x-no-kvm-ioeventfd", "Signal the server's eventfds from QEMU, not KVM" },
    { "x-no-region-io-fds", "Do not ask the server for eventfds of registers" },
    { "x-no-device-feature", "Do not use DEVICE_FEATURE, which migration v2"
                             " needs" },
    { "x-pci-vendor-id", "PCI vendor ID that replaces the server's"
                         " (4294967295: do not replace)" },
    { "x-pci-device-id", "PCI device ID that replaces the server's"
                         " (4294967295: do not replace)" },
    { "x-pci-sub-vendor-id", "PCI subsystem vendor ID that replaces the"
                             " server's (4294967295: do not replace)" },
    { "x-pci-sub-device-id", "PCI subsystem device ID that replaces the"
                             " server's (4294967295: do not replace)" },
    { "x-pci-class-code", "PCI class code that replaces the server's"
                          " (4294967295: do not replace)" },
    { "x-no-posted-writes", "Wait for the server to confirm each register"
                            " write" },
    { "x-send-queued", "No effect; accepted for command lines of other"
                       " versions of QEMU" },
};

void vfio_user_pci_add_properties(DeviceClass *dc)
{
    ObjectClass *klass = OBJECT_CLASS(dc);

    device_class_set_props(dc, vfio_user_pci_properties);
    for (size_t i = 0; i < ARRAY_SIZE(descriptions); i++) {
        object_class_property_set_description(klass, descriptions[i].name,
                                              descriptions[i].description);
    }
}

void vfio_user_pci_add_aliases(Object *obj)
{
    /* the name of this property in later versions of QEMU */
    object_property_add_alias(obj, "x-msg-timeout", obj, "x-timeout-ms");
    object_property_set_description(obj, "x-msg-timeout",
                                    "Alias of x-timeout-ms");
}

/* Properties that can only be read: parts of vfio_user_pci_query() */

static void get_state(Object *obj, Visitor *v, const char *name,
                      void *opaque, Error **errp)
{
    g_autoptr(VfioUserInfo) info = vfio_user_pci_query(VFIO_USER_PCI(obj));

    visit_type_VfioUserState(v, name, &info->state, errp);
}

static void get_reason(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    g_autoptr(VfioUserInfo) info = vfio_user_pci_query(VFIO_USER_PCI(obj));

    if (!info->reason) {
        info->reason = g_strdup("");
    }
    visit_type_str(v, name, &info->reason, errp);
}

static void get_migration_version(Object *obj, Visitor *v, const char *name,
                                  void *opaque, Error **errp)
{
    g_autoptr(VfioUserInfo) info = vfio_user_pci_query(VFIO_USER_PCI(obj));

    visit_type_uint8(v, name, &info->migration_version, errp);
}

static void get_capabilities(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    g_autoptr(VfioUserInfo) info = vfio_user_pci_query(VFIO_USER_PCI(obj));

    visit_type_VfioUserCapabilities(v, name, &info->capabilities, errp);
}

static void get_counters(Object *obj, Visitor *v, const char *name,
                         void *opaque, Error **errp)
{
    g_autoptr(VfioUserInfo) info = vfio_user_pci_query(VFIO_USER_PCI(obj));

    visit_type_VfioUserCounters(v, name, &info->counters, errp);
}

static const struct {
    const char *name;
    const char *type;
    ObjectPropertyAccessor *get;
} status[] = {
    { "state", "VfioUserState", get_state },
    { "reason", "str", get_reason },
    { "migration-version", "uint8", get_migration_version },
    { "capabilities", "VfioUserCapabilities", get_capabilities },
    { "counters", "VfioUserCounters", get_counters },
};

bool vfio_user_pci_add_status(VFIOUserPCIDevice *vudev, Error **errp)
{
    for (size_t i = 0; i < ARRAY_SIZE(status); i++) {
        object_property_add(OBJECT(vudev), status[i].name, status[i].type,
                            status[i].get, NULL, NULL, NULL);
    }
    return true;
}

void vfio_user_pci_remove_status(VFIOUserPCIDevice *vudev)
{
    for (size_t i = 0; i < ARRAY_SIZE(status); i++) {
        object_property_del(OBJECT(vudev), status[i].name);
    }
}
