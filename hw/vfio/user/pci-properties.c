/*
 * vfio-user PCI device: its properties
 *
 * Defines the properties that users can set and read.  Other files implement
 * their effects.
 *
 * Threads: the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
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
    SocketAddress *addr;

    if (DEVICE(obj)->realized) {
        qdev_prop_set_after_realize(DEVICE(obj), name, errp);
        return;
    }
    addr = vfio_user_address_visit(v, name, errp);
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

static uint64_t proxy_counter(VFIOUserProxy *proxy, size_t offset)
{
    VFIOUserProxyStats stats = { };

    if (proxy) {
        vfio_user_proxy_get_stats(proxy, &stats);
    }
    return *(uint64_t *)((char *)&stats + offset);
}

/* @opaque: offset of the counter in VFIOUserProxyStats */
static void get_counter(Object *obj, Visitor *v, const char *name,
                        void *opaque, Error **errp)
{
    VFIOUserPCIDevice *vudev = VFIO_USER_PCI(obj);
    size_t offset = GPOINTER_TO_SIZE(opaque);
    uint64_t value = proxy_counter(vudev->user.proxy, offset) +
                     proxy_counter(vudev->link ? vudev->link->twin : NULL,
                                   offset);

    visit_type_uint64(v, name, &value, errp);
}

static void get_dropped_writes(Object *obj, Visitor *v, const char *name,
                               void *opaque, Error **errp)
{
    VFIOUserPCIDevice *vudev = VFIO_USER_PCI(obj);
    uint64_t value = vfio_user_gap_dropped_writes(&vudev->user.gap);

    visit_type_uint64(v, name, &value, errp);
}

static const struct {
    const char *name;
    const char *description;
    size_t offset;
} counters[] = {
    { "x-calls", "Read-only counter: messages sent that expect a reply",
      offsetof(VFIOUserProxyStats, calls) },
    { "x-posts", "Read-only counter: messages sent that expect no reply",
      offsetof(VFIOUserProxyStats, posts) },
    { "x-requests", "Read-only counter: requests received from the server",
      offsetof(VFIOUserProxyStats, requests) },
    { "x-receive-wakeups",
      "Read-only counter: wakeups of the thread that receives messages",
      offsetof(VFIOUserProxyStats, receive_wakeups) },
};

static const Property vfio_user_pci_properties[] = {
    DEFINE_PROP_UINT32("x-timeout-ms", VFIOUserPCIDevice, timeout_ms,
                       VFIO_USER_TIMEOUT_MS),
    DEFINE_PROP_UINT32("reconnect-ms", VFIOUserPCIDevice, reconnect.ms, 0),
    DEFINE_PROP_UINT32("reconnect-wait-ms", VFIOUserPCIDevice,
                       user.gap.wait_ms, 1000),
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
    object_class_property_add(klass, "socket", "SocketAddress", get_socket,
                              set_socket, NULL, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(descriptions); i++) {
        object_class_property_set_description(klass, descriptions[i].name,
                                              descriptions[i].description);
    }
    for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
        object_class_property_add(klass, counters[i].name, "uint64",
                                  get_counter, NULL, NULL,
                                  GSIZE_TO_POINTER(counters[i].offset));
        object_class_property_set_description(klass, counters[i].name,
                                              counters[i].description);
    }
    object_class_property_add(klass, "x-dropped-writes", "uint64",
                              get_dropped_writes, NULL, NULL, NULL);
    object_class_property_set_description(klass, "x-dropped-writes",
                                          "Read-only counter: register writes"
                                          " that were lost because there was"
                                          " no server");
}

void vfio_user_pci_add_aliases(Object *obj)
{
    /* the name of this property in later versions of QEMU */
    object_property_add_alias(obj, "x-msg-timeout", obj, "x-timeout-ms");
    object_property_set_description(obj, "x-msg-timeout",
                                    "Alias of x-timeout-ms");
}
