/*
 * vfio-user wire format: the table of commands
 *
 * Length, direction and number of descriptors of every message are checked
 * against this table before other code sees the message.  Pure data; any thread
 * may call.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vfio/user/wire.h"

#define FIXED(type)         { sizeof(type), sizeof(type), false, 0 }
#define FIXED_FDS(type, n)  { sizeof(type), sizeof(type), false, n }
#define UPTO(type, n, nfds) { sizeof(type), sizeof(type) + (n), false, nfds }
#define DATA(type)          { sizeof(type), sizeof(type), true, 0 }
#define NOTHING             { 0, 0, false, 0 }

static const VFIOUserCommandInfo commands[VFIO_USER_COMMANDS] = {
    [VFIO_USER_VERSION] = {
        .name = "VERSION",
        .request = UPTO(VFIOUserVersion, VFIO_USER_MAX_VERSION_DATA, 0),
        /* descriptors: the twin socket of servers later than 0.9.1 */
        .reply = UPTO(VFIOUserVersion, VFIO_USER_MAX_VERSION_DATA,
                      VFIO_USER_MAX_FDS),
    },
    [VFIO_USER_DMA_MAP] = {
        .name = "DMA_MAP",
        .request = FIXED_FDS(VFIOUserDMAMap, 1),
        .reply = NOTHING,
    },
    [VFIO_USER_DMA_UNMAP] = {
        .name = "DMA_UNMAP",
        .request = UPTO(VFIOUserDMAUnmap, sizeof(VFIOUserBitmap), 0),
        /*
         * or_nothing: libvfio-user without vfu_setup_device_dma() replies with
         * only a header (/vfio-user/library/no-dma).  Callers that request a
         * bitmap must check that the reply contains it.
         */
        .reply = { sizeof(VFIOUserDMAUnmap),
                   sizeof(VFIOUserDMAUnmap) + sizeof(VFIOUserBitmap),
                   true, 0, .or_nothing = true },
    },
    [VFIO_USER_DEVICE_GET_INFO] = {
        .name = "DEVICE_GET_INFO",
        .request = FIXED(VFIOUserDeviceInfo),
        /* <linux/vfio.h> has since appended fields, which are ignored */
        .reply = UPTO(VFIOUserDeviceInfo, VFIO_USER_MAX_INFO, 0),
    },
    [VFIO_USER_DEVICE_GET_REGION_INFO] = {
        .name = "DEVICE_GET_REGION_INFO",
        .request = FIXED(VFIOUserRegionInfo),
        .reply = UPTO(VFIOUserRegionInfo, VFIO_USER_MAX_INFO,
                      VFIO_USER_MAX_FDS),
    },
    [VFIO_USER_DEVICE_GET_REGION_IO_FDS] = {
        .name = "DEVICE_GET_REGION_IO_FDS",
        .request = FIXED(VFIOUserRegionIOFds),
        .reply = UPTO(VFIOUserRegionIOFds, VFIO_USER_MAX_INFO,
                      VFIO_USER_MAX_FDS),
    },
    [VFIO_USER_DEVICE_GET_IRQ_INFO] = {
        .name = "DEVICE_GET_IRQ_INFO",
        .request = FIXED(VFIOUserIRQInfo),
        .reply = FIXED(VFIOUserIRQInfo),
    },
    [VFIO_USER_DEVICE_SET_IRQS] = {
        .name = "DEVICE_SET_IRQS",
        .request = UPTO(VFIOUserIRQSet, VFIO_USER_MAX_INFO,
                        VFIO_USER_MAX_FDS),
        .reply = NOTHING,
    },
    [VFIO_USER_REGION_READ] = {
        .name = "REGION_READ",
        .request = FIXED(VFIOUserRegionRW),
        .reply = DATA(VFIOUserRegionRW),
    },
    [VFIO_USER_REGION_WRITE] = {
        .name = "REGION_WRITE",
        .request = DATA(VFIOUserRegionRW),
        .reply = FIXED(VFIOUserRegionRW),
    },
    [VFIO_USER_DMA_READ] = {
        .name = "DMA_READ",
        .from_server = true,
        .request = FIXED(VFIOUserDMARW),
        .reply = DATA(VFIOUserDMARW),
    },
    [VFIO_USER_DMA_WRITE] = {
        .name = "DMA_WRITE",
        .from_server = true,
        .request = DATA(VFIOUserDMARW),
        /* 0.9.1 has a count of 4 bytes; libvfio-user expects 8 */
        .reply = FIXED(VFIOUserDMARW),
    },
    [VFIO_USER_DEVICE_RESET] = {
        .name = "DEVICE_RESET",
        .request = NOTHING,
        .reply = NOTHING,
    },
    [VFIO_USER_DIRTY_PAGES] = {
        .name = "DIRTY_PAGES",
        .request = UPTO(VFIOUserDirtyPages, sizeof(VFIOUserBitmapRange), 0),
        .reply = { 0, sizeof(VFIOUserDirtyPages) + sizeof(VFIOUserBitmapRange),
                   true, 0 },
    },
    [VFIO_USER_REGION_WRITE_MULTI] = {
        .name = "REGION_WRITE_MULTI",
        .request = DATA(VFIOUserWriteMulti),
        .reply = FIXED(VFIOUserWriteMulti),
    },
    [VFIO_USER_DEVICE_FEATURE] = {
        .name = "DEVICE_FEATURE",
        .request = DATA(VFIOUserDeviceFeature),
        .reply = DATA(VFIOUserDeviceFeature),
    },
    [VFIO_USER_MIG_DATA_READ] = {
        .name = "MIG_DATA_READ",
        .request = FIXED(VFIOUserMigData),
        .reply = DATA(VFIOUserMigData),
    },
    [VFIO_USER_MIG_DATA_WRITE] = {
        .name = "MIG_DATA_WRITE",
        .request = DATA(VFIOUserMigData),
        .reply = NOTHING,
    },
};

const VFIOUserCommandInfo *vfio_user_command_info(uint16_t command)
{
    if (command >= ARRAY_SIZE(commands) || !commands[command].name) {
        return NULL;
    }
    return &commands[command];
}

const char *vfio_user_command_name(uint16_t command)
{
    const VFIOUserCommandInfo *info = vfio_user_command_info(command);

    return info ? info->name : "unknown command";
}

bool vfio_user_shape_fits(const VFIOUserShape *shape, uint64_t size,
                          uint64_t max_data)
{
    return (shape->or_nothing && !size) ||
           (size >= shape->min &&
            size <= shape->max + (shape->data ? max_data : 0));
}

int vfio_user_errno(uint32_t error)
{
    return error >= 1 && error <= 4095 ? error : EIO;
}
