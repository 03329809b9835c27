/*
 * vfio-user wire format
 *
 * The messages of the protocol as packed structures, and one table row per
 * command.  Pure data: no socket, no state; any thread may use it.
 *
 * Integers are little-endian (0.9.1) or in host byte order (later versions of
 * the specification); the client is built only for hosts where these are the
 * same.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_WIRE_H
#define HW_VFIO_USER_WIRE_H

#include "qemu/units.h"

/* Protocol version that the client proposes. */
#define VFIO_USER_MAJOR 0
#define VFIO_USER_MINOR 1

/* Most descriptors in a message, both ways: the limit of QIOChannelSocket. */
#define VFIO_USER_MAX_FDS 16
/*
 * Most bytes of data in a request, whatever was negotiated.  libvfio-user reads
 * the payload of a request with one recv() and assumes that it is complete; it
 * would parse the rest as the next header.  The kernel queues the bytes of
 * a UNIX socket in pieces of about 36 KiB, which may arrive separately.
 */
#define VFIO_USER_MAX_REQUEST_DATA (32 * KiB)
/* Most bytes of JSON in a VERSION reply. */
#define VFIO_USER_MAX_VERSION_DATA (64 * KiB)
/* Most bytes after the head of replies with lists: regions, region io fds. */
#define VFIO_USER_MAX_INFO (64 * KiB)

/* "Commands"; numbers above 14 were added after version 0.9.1. */
typedef enum VFIOUserCommand {
    VFIO_USER_VERSION = 1,
    VFIO_USER_DMA_MAP = 2,
    VFIO_USER_DMA_UNMAP = 3,
    VFIO_USER_DEVICE_GET_INFO = 4,
    VFIO_USER_DEVICE_GET_REGION_INFO = 5,
    VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6,
    VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
    VFIO_USER_DEVICE_SET_IRQS = 8,
    VFIO_USER_REGION_READ = 9,
    VFIO_USER_REGION_WRITE = 10,
    VFIO_USER_DMA_READ = 11,
    VFIO_USER_DMA_WRITE = 12,
    VFIO_USER_DEVICE_RESET = 13,
    VFIO_USER_DIRTY_PAGES = 14,
    VFIO_USER_REGION_WRITE_MULTI = 15,
    VFIO_USER_DEVICE_FEATURE = 16,
    VFIO_USER_MIG_DATA_READ = 17,
    VFIO_USER_MIG_DATA_WRITE = 18,
    VFIO_USER_COMMANDS
} VFIOUserCommand;

/* "Header" */
typedef struct QEMU_PACKED VFIOUserHeader {
    uint16_t id;
    uint16_t command;
    uint32_t size;              /* of the whole message, header included */
    uint32_t flags;
    uint32_t error;             /* errno of a reply with VFIO_USER_ERROR */
} VFIOUserHeader;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserHeader) != 16);
QEMU_BUILD_BUG_ON(offsetof(VFIOUserHeader, error) != 12);

#define VFIO_USER_TYPE_MASK     0xf
#define VFIO_USER_TYPE_COMMAND  0
#define VFIO_USER_TYPE_REPLY    1
#define VFIO_USER_NO_REPLY      (1u << 4)
#define VFIO_USER_ERROR         (1u << 5)

/* "VFIO_USER_VERSION", both ways; JSON follows */
typedef struct QEMU_PACKED VFIOUserVersion {
    uint16_t major;
    uint16_t minor;
} VFIOUserVersion;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserVersion) != 4);

/* "VFIO_USER_DMA_MAP" request */
typedef struct QEMU_PACKED VFIOUserDMAMap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t offset;            /* in the descriptor's file */
    uint64_t iova;
    uint64_t size;
} VFIOUserDMAMap;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserDMAMap) != 32);
QEMU_BUILD_BUG_ON(offsetof(VFIOUserDMAMap, iova) != 16);

#define VFIO_USER_DMA_READABLE  (1u << 0)
#define VFIO_USER_DMA_WRITEABLE (1u << 1)

/* "VFIO_USER_DMA_UNMAP" request, and head of its reply */
typedef struct QEMU_PACKED VFIOUserDMAUnmap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t iova;
    uint64_t size;
} VFIOUserDMAUnmap;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserDMAUnmap) != 24);
QEMU_BUILD_BUG_ON(offsetof(VFIOUserDMAUnmap, iova) != 8);

/* "VFIO Bitmap Format"; the bits follow */
typedef struct QEMU_PACKED VFIOUserBitmap {
    uint64_t pgsize;
    uint64_t size;              /* of the bitmap, in bytes */
} VFIOUserBitmap;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserBitmap) != 16);

/* "VFIO_USER_DEVICE_GET_INFO", both ways */
typedef struct QEMU_PACKED VFIOUserDeviceInfo {
    uint32_t argsz;
    uint32_t flags;
    uint32_t num_regions;
    uint32_t num_irqs;
} VFIOUserDeviceInfo;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserDeviceInfo) != 16);

/* "VFIO_USER_DEVICE_GET_REGION_INFO", both ways; capabilities follow */
typedef struct QEMU_PACKED VFIOUserRegionInfo {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t cap_offset;
    uint64_t size;
    uint64_t offset;            /* of the region in its descriptor's file */
} VFIOUserRegionInfo;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserRegionInfo) != 32);
QEMU_BUILD_BUG_ON(offsetof(VFIOUserRegionInfo, size) != 16);

/* "VFIO_USER_DEVICE_GET_REGION_IO_FDS", both ways; entries follow */
typedef struct QEMU_PACKED VFIOUserRegionIOFds {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count;
} VFIOUserRegionIOFds;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserRegionIOFds) != 16);

/*
 * "Sub-Region IO FD info format".  In 0.9.1 it has 40 bytes, with the datamatch
 * at the offset of @shadow_offset; newer versions of libvfio-user use 48 bytes
 * for every type.
 */
typedef struct QEMU_PACKED VFIOUserIOFd {
    uint64_t offset;            /* in the region */
    uint64_t size;              /* of the access; 0: any */
    uint32_t fd_index;
    uint32_t type;
    uint32_t flags;
    uint32_t shadow_fd_index;   /* padding, except for the shadow type */
    uint64_t shadow_offset;
    uint64_t datamatch;
} VFIOUserIOFd;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserIOFd) != 48);
QEMU_BUILD_BUG_ON(offsetof(VFIOUserIOFd, shadow_offset) != 32);

#define VFIO_USER_IO_FD_SHORT 40    /* bytes of an entry of 0.9.1 */

#define VFIO_USER_IO_FD_IOEVENTFD   0
#define VFIO_USER_IO_FD_IOREGIONFD  1
#define VFIO_USER_IO_FD_SHADOW      2   /* later than 0.9.1 */

/* Flags of an ioeventfd */
#define VFIO_USER_IO_FD_DATAMATCH   (1u << 0)
#define VFIO_USER_IO_FD_PIO         (1u << 1)

/* "VFIO_USER_DEVICE_GET_IRQ_INFO", both ways */
typedef struct QEMU_PACKED VFIOUserIRQInfo {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count;
} VFIOUserIRQInfo;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserIRQInfo) != 16);

/* "VFIO_USER_DEVICE_SET_IRQS" request; booleans may follow */
typedef struct QEMU_PACKED VFIOUserIRQSet {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t start;
    uint32_t count;
} VFIOUserIRQSet;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserIRQSet) != 20);

/* "VFIO_USER_REGION_READ" and "_WRITE", both ways; data may follow */
typedef struct QEMU_PACKED VFIOUserRegionRW {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
} VFIOUserRegionRW;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserRegionRW) != 16);
QEMU_BUILD_BUG_ON(offsetof(VFIOUserRegionRW, count) != 12);

/* "VFIO_USER_DMA_READ" and "_WRITE", both ways; data may follow */
typedef struct QEMU_PACKED VFIOUserDMARW {
    uint64_t address;
    uint64_t count;
} VFIOUserDMARW;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserDMARW) != 16);

/* "VFIO_USER_DIRTY_PAGES", both ways */
typedef struct QEMU_PACKED VFIOUserDirtyPages {
    uint32_t argsz;
    uint32_t flags;
} VFIOUserDirtyPages;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserDirtyPages) != 8);

/* "VFIO Bitmap Range Format"; follows VFIOUserDirtyPages with GET_BITMAP */
typedef struct QEMU_PACKED VFIOUserBitmapRange {
    uint64_t iova;
    uint64_t size;
    VFIOUserBitmap bitmap;
} VFIOUserBitmapRange;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserBitmapRange) != 32);

/* REGION_WRITE_MULTI (later than 0.9.1) */
typedef struct QEMU_PACKED VFIOUserWriteMulti {
    uint64_t wr_cnt;
} VFIOUserWriteMulti;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserWriteMulti) != 8);

/* One write in a REGION_WRITE_MULTI */
typedef struct QEMU_PACKED VFIOUserWriteMultiEntry {
    uint64_t offset;
    uint32_t region;
    uint32_t count;             /* at most 8 */
    uint64_t data;              /* only the first @count bytes are used */
} VFIOUserWriteMultiEntry;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserWriteMultiEntry) != 24);
QEMU_BUILD_BUG_ON(offsetof(VFIOUserWriteMultiEntry, data) != 16);

/* DEVICE_FEATURE (later than 0.9.1), both ways; the feature's data follow */
typedef struct QEMU_PACKED VFIOUserDeviceFeature {
    uint32_t argsz;
    uint32_t flags;
} VFIOUserDeviceFeature;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserDeviceFeature) != 8);

/* Features by number, as in <linux/vfio.h> */
#define VFIO_USER_FEATURE_DMA_LOGGING_START     6
#define VFIO_USER_FEATURE_DMA_LOGGING_STOP      7
#define VFIO_USER_FEATURE_DMA_LOGGING_REPORT    8

/* DMA_LOGGING_START, both ways; ranges follow */
typedef struct QEMU_PACKED VFIOUserLoggingStart {
    uint64_t page_size;         /* requested; in the reply: chosen by server */
    uint32_t num_ranges;
    uint32_t reserved;
} VFIOUserLoggingStart;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserLoggingStart) != 16);

typedef struct QEMU_PACKED VFIOUserLoggingRange {
    uint64_t iova;
    uint64_t length;
} VFIOUserLoggingRange;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserLoggingRange) != 16);

/* DMA_LOGGING_REPORT, both ways; the bits follow in the reply */
typedef struct QEMU_PACKED VFIOUserLoggingReport {
    uint64_t iova;
    uint64_t length;
    uint64_t page_size;
} VFIOUserLoggingReport;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserLoggingReport) != 24);

/* MIG_DATA_READ and MIG_DATA_WRITE (later than 0.9.1), both ways */
typedef struct QEMU_PACKED VFIOUserMigData {
    uint32_t argsz;
    uint32_t size;
} VFIOUserMigData;
QEMU_BUILD_BUG_ON(sizeof(VFIOUserMigData) != 8);

/* Payload of one direction of a command, without the header. */
typedef struct VFIOUserShape {
    uint32_t min;               /* bytes */
    uint32_t max;               /* bytes, data excluded */
    bool data;                  /* plus up to max_data_xfer_size bytes */
    uint8_t fds;                /* maximum number of descriptors */
    bool or_nothing;            /* an empty payload is valid, too */
} VFIOUserShape;

typedef struct VFIOUserCommandInfo {
    const char *name;
    bool from_server;           /* the server sends the request */
    VFIOUserShape request;
    VFIOUserShape reply;        /* of a reply without VFIO_USER_ERROR */
} VFIOUserCommandInfo;

/**
 * vfio_user_command_info:
 * @command: number from a header, not trusted
 *
 * Returns the table's row, or NULL for an unknown command.
 */
const VFIOUserCommandInfo *vfio_user_command_info(uint16_t command);

/**
 * vfio_user_command_name:
 *
 * Returns the command's name without its prefix, or "unknown command".
 */
const char *vfio_user_command_name(uint16_t command);

/**
 * vfio_user_shape_fits:
 * @shape: from the table
 * @size: bytes of payload, header excluded
 * @max_data: negotiated max_data_xfer_size, bytes
 *
 * Returns whether @size is valid for @shape.
 */
bool vfio_user_shape_fits(const VFIOUserShape *shape, uint64_t size,
                          uint64_t max_data);

/**
 * vfio_user_errno:
 * @error: from the header of an error reply
 *
 * Returns @error if it is in 1..4095, else EIO.  The specification says that it
 * "may be zero even if the Error bit is set", and servers send other values.
 */
int vfio_user_errno(uint32_t error);

#endif /* HW_VFIO_USER_WIRE_H */
