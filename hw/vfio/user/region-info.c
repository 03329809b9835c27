/*
 * vfio-user region information checks
 *
 * See the header for what this file is and is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qemu/bswap.h"
#include "qemu/mmap-alloc.h"
#include "qapi/error.h"
#include "hw/vfio/user/descriptor.h"
#include "hw/vfio/user/region-info.h"

/* Capabilities have 64-bit members and are accessed in place. */
#define CAP_ALIGN 8

#define CAP_HEADER  sizeof(struct vfio_info_cap_header)
#define SPARSE_HEAD sizeof(struct vfio_region_info_cap_sparse_mmap)
#define SPARSE_AREA sizeof(struct vfio_region_sparse_mmap_area)

typedef struct Area {
    uint64_t offset;            /* in the region */
    uint64_t size;
} Area;

static uint16_t cap_id(const uint8_t *reply, uint32_t at)
{
    return lduw_le_p(reply + at +
                     offsetof(struct vfio_info_cap_header, id));
}

static uint32_t cap_next(const uint8_t *reply, uint32_t at)
{
    return ldl_le_p(reply + at +
                    offsetof(struct vfio_info_cap_header, next));
}

static uint32_t sparse_areas(const uint8_t *reply, uint32_t at)
{
    return ldl_le_p(reply + at +
                    offsetof(struct vfio_region_info_cap_sparse_mmap,
                             nr_areas));
}

/* Bytes of a capability that QEMU may read; @room: bytes left in the reply */
static uint64_t region_cap_size(const uint8_t *reply, uint32_t at,
                                uint32_t room)
{
    switch (cap_id(reply, at)) {
    case VFIO_REGION_INFO_CAP_SPARSE_MMAP:
        if (room < SPARSE_HEAD) {
            return SPARSE_HEAD;
        }
        return SPARSE_HEAD + (uint64_t)sparse_areas(reply, at) * SPARSE_AREA;
    case VFIO_REGION_INFO_CAP_TYPE:
        return sizeof(struct vfio_region_info_cap_type);
    default:
        return CAP_HEADER;
    }
}

static bool region_check_caps(const uint8_t *reply,
                              const VFIOUserRegionInfo *info, Error **errp)
{
    uint32_t left = info->argsz / CAP_HEADER;
    uint32_t at;

    for (at = info->cap_offset; at; at = cap_next(reply, at)) {
        if (at < sizeof(*info) || at % CAP_ALIGN ||
            at > info->argsz - CAP_HEADER) {
            error_setg(errp, "the capability at 0x%x is outside of the reply or"
                       " not aligned", at);
            return false;
        }
        if (region_cap_size(reply, at, info->argsz - at) > info->argsz - at) {
            error_setg(errp, "capability %u at 0x%x ends outside of the reply",
                       cap_id(reply, at), at);
            return false;
        }
        if (!left--) {
            error_setg(errp, "the list of capabilities loops");
            return false;
        }
    }
    return true;
}

bool vfio_user_region_info_check(const void *reply, size_t size,
                                 const VFIOUserRegionInfo *asked,
                                 Error **errp)
{
    VFIOUserRegionInfo info;

    memcpy(&info, reply, sizeof(info));
    if (info.index != asked->index) {
        error_setg(errp, "the reply is about region %u", info.index);
        return false;
    }
    if (info.size > INT64_MAX || info.offset > INT64_MAX) {
        error_setg(errp, "the size 0x%" PRIx64 " or the file offset 0x%" PRIx64
                   " is too large", info.size, info.offset);
        return false;
    }
    if (info.argsz < sizeof(info)) {
        error_setg(errp, "argsz %u is smaller than the structure", info.argsz);
        return false;
    }
    if (info.argsz > asked->argsz) {
        if (asked->argsz > sizeof(info) || info.argsz > VFIO_USER_MAX_INFO) {
            error_setg(errp, "argsz %u, but %u bytes were requested",
                       info.argsz, asked->argsz);
            return false;
        }
        return true;
    }
    if (info.argsz > size) {
        error_setg(errp, "argsz %u, but the reply has %zu bytes", info.argsz,
                   size);
        return false;
    }
    return !(info.flags & VFIO_REGION_INFO_FLAG_CAPS) ||
           region_check_caps(reply, &info, errp);
}

/* @at: offset of the capability */
static Area area_at(const uint8_t *reply, uint32_t at, uint32_t i)
{
    const uint8_t *area = reply + at + SPARSE_HEAD + i * SPARSE_AREA;

    return (Area) { ldq_le_p(area), ldq_le_p(area + sizeof(uint64_t)) };
}

/* Returns the offset of the sparse mmap capability; 0 if there is none. */
static uint32_t find_sparse(const uint8_t *reply,
                            const VFIOUserRegionInfo *info)
{
    uint32_t at = info->flags & VFIO_REGION_INFO_FLAG_CAPS ?
                  info->cap_offset : 0;

    while (at && cap_id(reply, at) != VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
        at = cap_next(reply, at);
    }
    return at;
}

bool vfio_user_region_info_is_empty(const void *reply)
{
    VFIOUserRegionInfo info;
    uint32_t at;

    memcpy(&info, reply, sizeof(info));
    at = find_sparse(reply, &info);
    for (uint32_t i = 0; at && i < sparse_areas(reply, at); i++) {
        if (area_at(reply, at, i).size) {
            return false;
        }
    }
    return at;
}

/*
 * Fills @areas with the areas that are not empty and returns their number; 0
 * with @errp set on failure.
 */
static uint32_t get_areas(const uint8_t *reply, const VFIOUserRegionInfo *info,
                          Area *areas, Error **errp)
{
    uint32_t at = find_sparse(reply, info);
    uint32_t n, found = 0;

    if (!at) {
        areas[0] = (Area) { 0, info->size };
        return 1;
    }
    n = sparse_areas(reply, at);
    if (!n || n > VFIO_USER_REGION_AREAS) {
        error_setg(errp, "%u areas to map, 1 to %d are supported", n,
                   VFIO_USER_REGION_AREAS);
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        Area area = area_at(reply, at, i);

        /* hw/vfio ignores empty areas, too */
        if (area.size) {
            areas[found++] = area;
        }
    }
    if (!found) {
        error_setg(errp, "all its areas are empty");
    }
    return found;
}

static bool overlap(const Area *a, const Area *b)
{
    return a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

/* @file_size: bytes of the file from the region's offset on */
static bool check_areas(const Area *areas, uint32_t n, uint64_t region_size,
                        uint64_t file_size, uint64_t page, Error **errp)
{
    for (uint32_t i = 0; i < n; i++) {
        const Area *a = &areas[i];
        const char *wrong = NULL;

        if (!a->size || !QEMU_IS_ALIGNED(a->offset | a->size, page)) {
            wrong = "does not consist of whole pages";
        } else if (a->offset > region_size ||
                   a->size > region_size - a->offset) {
            wrong = "is not inside the region";
        } else if (a->offset + a->size > file_size) {
            wrong = "is not inside the file";
        }
        for (uint32_t j = 0; j < i && !wrong; j++) {
            if (overlap(a, &areas[j])) {
                wrong = "overlaps another area";
            }
        }
        if (wrong) {
            error_setg(errp, "the area of 0x%" PRIx64 " bytes at 0x%" PRIx64
                       " %s", a->size, a->offset, wrong);
            return false;
        }
    }
    return true;
}

/* QEMU allocates bitmaps for mapped areas with the big QEMU lock held. */
static bool check_total(const Area *areas, uint32_t n, Error **errp)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < n; i++) {
        total += areas[i].size;
    }
    if (total > VFIO_USER_REGION_MAPPED_MAX) {
        error_setg(errp, "0x%" PRIx64 " bytes to map, at most 0x%" PRIx64
                   " are supported", total,
                   (uint64_t)VFIO_USER_REGION_MAPPED_MAX);
        return false;
    }
    return true;
}

/*
 * Returns the size of a file that can be mapped for reading and writing, or -1.
 * The file must be memory; with other files, a vCPU might wait for each page,
 * and QEMU for the size, as long as a server or a disk takes.
 */
static int64_t region_check_file(int fd, Error **errp)
{
    struct stat st;
    int mode;

    if (fd < 0) {
        error_setg(errp, "the server sent no descriptor");
        return -1;
    }
    if (!vfio_user_fd_is_memory(fd) || fstat(fd, &st) < 0) {
        error_setg(errp, "its descriptor is neither a memfd nor a file of tmpfs"
                   " or hugetlbfs");
        return -1;
    }
    mode = fcntl(fd, F_GETFL);
    if (mode < 0 || (mode & O_ACCMODE) != O_RDWR) {
        error_setg(errp, "its file is not open for reading and writing");
        return -1;
    }
    return st.st_size;
}

bool vfio_user_region_info_mappable(const void *reply, int fd, Error **errp)
{
    const uint32_t rw = VFIO_REGION_INFO_FLAG_READ |
                        VFIO_REGION_INFO_FLAG_WRITE;
    Area areas[VFIO_USER_REGION_AREAS];
    VFIOUserRegionInfo info;
    uint64_t page;
    int64_t file_size;
    uint32_t n;

    memcpy(&info, reply, sizeof(info));
    /* the guest may do both, and a fault in a mapping would hit QEMU */
    if ((info.flags & rw) != rw) {
        error_setg(errp, "it is not readable and writable");
        return false;
    }
    file_size = region_check_file(fd, errp);
    if (file_size < 0) {
        return false;
    }
    page = MAX(qemu_real_host_page_size(), qemu_fd_getpagesize(fd));
    if (!QEMU_IS_ALIGNED(info.offset, page) || info.offset > file_size) {
        error_setg(errp, "its file offset 0x%" PRIx64 " is not aligned or not"
                   " inside the file", info.offset);
        return false;
    }
    n = get_areas(reply, &info, areas, errp);
    return n &&
           check_areas(areas, n, info.size, file_size - info.offset, page,
                       errp) &&
           check_total(areas, n, errp);
}
