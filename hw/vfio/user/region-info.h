/*
 * vfio-user region information checks
 *
 * What hw/vfio takes from a region's description without asking is asked here
 * first, and whether the descriptor that came with it may be mapped: a wrong
 * mapping is a crash of the VM.  Keeps nothing and maps nothing; any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_REGION_INFO_H
#define HW_VFIO_USER_REGION_INFO_H

#include "qemu/units.h"
#include "hw/vfio/user/wire.h"

/* Areas of one region: each is a region of memory to QEMU, a slot to KVM. */
#define VFIO_USER_REGION_AREAS 64

/*
 * Bytes of one region that are mapped.  For each TiB, QEMU makes 96 MiB of
 * bitmaps with its big lock held, which takes it a second or more.
 */
#define VFIO_USER_REGION_MAPPED_MAX (64 * GiB)

/**
 * vfio_user_region_info_check:
 * @reply: payload of the reply, VFIOUserRegionInfo and capabilities
 * @size: bytes of it, at least those of VFIOUserRegionInfo
 * @asked: the request
 *
 * Checks that the reply is about the region asked for, that it is as long as
 * it says, and that its capabilities lie inside, each complete, in a list that
 * ends.  To a request without room for capabilities a reply may say how large
 * an argsz it wants; it is to be asked for again and not looked at further.
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
 * Returns whether the region has a list of areas to map in which there is
 * nothing: its server wants all of it accessed by message.
 */
bool vfio_user_region_info_is_empty(const void *reply);

/**
 * vfio_user_region_info_mappable:
 * @reply: as checked, complete
 * @fd: the descriptor that came with it, or -1
 *
 * Checks that what the region wants to have mapped, its areas or the whole of
 * it, consists of pages inside the region, none of them twice and no more than
 * VFIO_USER_REGION_MAPPED_MAX bytes, which are in the file now; and that the
 * file is memory.  Areas of size 0 are left out.  Never waits.
 *
 * That the file does not shrink later is not known here.
 *
 * Returns true, or false with the reason in @errp.
 */
bool vfio_user_region_info_mappable(const void *reply, int fd, Error **errp);

#endif /* HW_VFIO_USER_REGION_INFO_H */
