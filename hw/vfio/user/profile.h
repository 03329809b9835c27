/*
 * vfio-user profile: what a device looks like to the guest
 *
 * Everything that a server says about its device and that QEMU and the guest
 * rely on for as long as the device exists.  A server that comes back, or that
 * replaces another, must offer the same device.  Asks and compares; does not
 * decide what happens to a server with a different device.
 *
 * Threads: any, with the big QEMU lock or without.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_PROFILE_H
#define HW_VFIO_USER_PROFILE_H

#include "hw/vfio/user/device.h"

/* Only interrupt indexes below this are compared. */
#define VFIO_USER_PROFILE_IRQS VFIO_USER_IRQ_INDEXES

typedef struct VFIOUserProfileRegion {
    GBytes *info;               /* VFIOUserRegionInfo and its capabilities */
    bool mappable;
    int fd;                     /* to map the region, owned; or -1 */
    bool exchanged;             /* @fd is another server's, see its user */
} VFIOUserProfileRegion;

typedef struct VFIOUserProfile {
    VFIOUserCaps caps;
    struct vfio_device_info info;
    VFIOUserProfileRegion *regions;     /* info.num_regions */
    VFIOUserIRQInfo irqs[VFIO_USER_PROFILE_IRQS];
    uint64_t migration_flags;   /* of migration v2; 0: not supported */
    uint32_t config_size;       /* bytes, 256 or 4096 */
    uint8_t config[4096];
} VFIOUserProfile;

/**
 * vfio_user_profile_take:
 * @udev: the connection is UP, and its @caps are those that were agreed
 * @config_region: index of the region that is PCI configuration space
 *
 * Asks the server for everything that is compared.
 *
 * Returns the profile, or NULL with @errp set.
 */
VFIOUserProfile *vfio_user_profile_take(VFIOUserDevice *udev,
                                        unsigned config_region, Error **errp);
void vfio_user_profile_free(VFIOUserProfile *p);

/* Closes the descriptors.  They are not compared. */
void vfio_user_profile_close(VFIOUserProfile *p);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserProfile, vfio_user_profile_free)

/**
 * vfio_user_profile_diff:
 *
 * Pure function.  Compares the agreed capabilities; number, flags and sizes of
 * regions, their capabilities, such as mappable areas, and their offsets in
 * files that are mapped; interrupts; of
 * configuration space the IDs, the kinds of BARs, and the place, kind and size
 * of each capability; and support for migration v2.
 *
 * @written: a byte for each of the first 256 bytes of configuration space, not
 *           0 if the guest has written to it.  Some servers store what they
 *           should not, so such bytes of a capability are not compared.
 *
 * Returns NULL if a guest cannot tell the devices apart, or the first
 * difference, on one line, to be freed by the caller.
 */
char *vfio_user_profile_diff(const VFIOUserProfile *was,
                             const VFIOUserProfile *is,
                             const uint8_t written[256]);

#endif /* HW_VFIO_USER_PROFILE_H */
