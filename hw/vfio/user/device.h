/*
 * vfio-user device
 *
 * A device behind a connection, as hw/vfio sees one: the implementation of
 * VFIODeviceIOOps by messages, the handshake and the reset.  Knows no PCI:
 * what a region or an interrupt index means is not its business.
 *
 * Threads: the io ops are called from the main loop and from vCPUs, with the
 * big QEMU lock or without.  See unlocked_regions for who lets it go.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_DEVICE_H
#define HW_VFIO_USER_DEVICE_H

#include "hw/vfio/vfio-common.h"
#include "hw/vfio/user/caps.h"
#include "hw/vfio/user/proxy.h"

/* The opaque of a VFIODevice whose io_ops are vfio_user_device_io_ops. */
typedef struct VFIOUserDevice {
    VFIOUserProxy *proxy;
    VFIOUserCaps caps;          /* agreed, constant after the handshake */
    /* Bit per region: an access by a vCPU lets the big QEMU lock go. */
    uint64_t unlocked_regions;
} VFIOUserDevice;

extern const VFIODeviceIOOps vfio_user_device_io_ops;

/**
 * vfio_user_device_handshake:
 *
 * Proposes a version and capabilities and takes the server's answer.
 * Specification: "VFIO_USER_VERSION".
 *
 * Returns true with @udev->caps filled and the proxy UP, or false with @errp.
 */
bool vfio_user_device_handshake(VFIOUserDevice *udev, Error **errp);

/**
 * vfio_user_device_get_info:
 * @info: filled, but for capabilities
 *
 * Specification: "VFIO_USER_DEVICE_GET_INFO".
 */
bool vfio_user_device_get_info(VFIOUserDevice *udev,
                               struct vfio_device_info *info, Error **errp);

/**
 * vfio_user_device_reset:
 *
 * Returns 0 or -errno; a lost device counts as reset.
 * Specification: "VFIO_USER_DEVICE_RESET".
 */
int vfio_user_device_reset(VFIOUserDevice *udev, Error **errp);

/**
 * vfio_user_device_unlock:
 *
 * Lets the big QEMU lock go where a vCPU has it, for the time that the server
 * takes: afterwards anything may have changed that the lock protects.
 *
 * Returns what vfio_user_device_relock() takes.
 */
bool vfio_user_device_unlock(void);
void vfio_user_device_relock(bool unlocked);

#endif /* HW_VFIO_USER_DEVICE_H */
