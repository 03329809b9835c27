/*
 * vfio-user region information checks
 *
 * Checks the region information that hw/vfio uses without checks of its own,
 * and whether the descriptor that came with it can be mapped: a wrong mapping
 * would crash the VM.  Keeps no state and maps nothing; any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_REGION_INFO_H
#define HW_VFIO_USER_REGION_INFO_H

#include "qemu/units.h"
#include "hw/vfio/user/wire.h"

/* Most areas in a region: each is a memory region in QEMU and a slot in KVM. */
#define VFIO_USER_REGION_AREAS 64

/*
 * Most bytes of one region that are mapped.  For each TiB, QEMU allocates
 * 96 MiB of bitmaps with the big QEMU lock held, which takes a second or more.
 */
#define VFIO_USER_REGION_MAPPED_MAX (64 * GiB)

/**
 * vfio_user_region_info_check:
 * @reply: payload of the reply, VFIOUserRegionInfo and capabilities
 * @size: bytes of @reply, at least those of VFIOUserRegionInfo
 * @asked: the request
 *
 * Checks that the reply is about the requested region, that it has the length
 * that it claims, and that its capabilities are complete and form a list that
 * ends.  If the request had no room for capabilities, the reply may contain a
 * larger argsz.  The caller must then repeat the request with that argsz and
 * ignore the rest of the reply.
 * Specification: "VFIO_USER_DEVICE_GET_REGION_INFO".
 *
 * Returns true, or false with @errp set: the server breaks the protocol.
 */
bool vfio_user_region_info_check(const void *reply, size_t size,
                                 const VFIOUserRegionInfo *asked,
                                 Error **errp);

/**
 * vfio_user_region_info_is_empty:
 * @reply: as checked, complete
 *
 * Returns whether the region has a list of mappable areas that is empty or has
 * only empty areas: the server requires access by messages.
 */
bool vfio_user_region_info_is_empty(const void *reply);

/**
 * vfio_user_region_info_mappable:
 * @reply: as checked, complete
 * @fd: the descriptor that came with it, or -1
 *
 * Checks that the mappable areas, or the whole region if it lists none, consist
 * of pages inside the region and inside the file, do not overlap and have at
 * most VFIO_USER_REGION_MAPPED_MAX bytes; and that the file is memory.  Areas
 * of size 0 are ignored.  Never waits.
 *
 * The file may still shrink later.
 *
 * Returns true, or false with the reason in @errp.
 */
bool vfio_user_region_info_mappable(const void *reply, int fd, Error **errp);

#endif /* HW_VFIO_USER_REGION_INFO_H */
