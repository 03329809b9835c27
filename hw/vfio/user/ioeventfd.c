/*
 * vfio-user ioeventfds: parses the server's reply
 *
 * Checks the reply to DEVICE_GET_REGION_IO_FDS.  Entries that KVM would reject
 * are rejected here, because QEMU aborts if KVM rejects an ioeventfd.  Pure
 * functions; see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qapi/error.h"
#include "hw/vfio/user/ioeventfd.h"
#include "hw/vfio/user/wire.h"

void vfio_user_io_fd_refusals_clear(VFIOUserIOFdRefusals *refusals)
{
    error_free(refusals->why);
    *refusals = (VFIOUserIOFdRefusals) { };
}

/* Takes ownership of @why. */
static void refuse(VFIOUserIOFdRefusals *refusals, Error *why)
{
    refusals->refused++;
    error_propagate(&refusals->why, why);
}

/*
 * Returns the size of an entry in bytes, 0 if there are none, or -1 with @errp
 * set.
 */
static int64_t entry_size(const VFIOUserRegionIOFds *head, size_t payload,
                          Error **errp)
{
    size_t bytes = payload - sizeof(*head);
    size_t size;

    if (!head->count) {
        return 0;
    }
    size = bytes / head->count;
    if (size < VFIO_USER_IO_FD_SHORT || size % 8 ||
        bytes != (uint64_t)size * head->count) {
        error_setg(errp, "%u entries cannot have %zu bytes", head->count,
                   bytes);
        return -1;
    }
    return size;
}

static bool check_place(const VFIOUserIOFdRegion *region,
                        const VFIOUserIOFd *wire, Error **errp)
{
    if (wire->size > 8 || ctpop64(wire->size) > 1) {
        error_setg(errp, "invalid size 0x%" PRIx64, wire->size);
    } else if (wire->offset >= region->size ||
               wire->size > region->size - wire->offset) {
        error_setg(errp, "outside the region of 0x%" PRIx64 " bytes",
                   region->size);
    } else {
        return true;
    }
    return false;
}

static bool check_flags(const VFIOUserIOFdRegion *region,
                        const VFIOUserIOFd *wire, Error **errp)
{
    uint32_t unknown = wire->flags & ~(VFIO_USER_IO_FD_DATAMATCH |
                                       VFIO_USER_IO_FD_PIO);
    bool match = wire->flags & VFIO_USER_IO_FD_DATAMATCH;

    if (unknown) {
        error_setg(errp, "unknown flags 0x%x", unknown);
    } else if (!(wire->flags & VFIO_USER_IO_FD_PIO) != !region->ports) {
        error_setg(errp, "its PIO flag does not match the BAR type");
    } else if (match && !wire->size) {
        error_setg(errp, "datamatch without a size");
    } else if (match && wire->size < 8 &&
               wire->datamatch >> (8 * wire->size)) {
        error_setg(errp, "datamatch 0x%" PRIx64 " does not fit into %" PRIu64
                   " bytes", wire->datamatch, wire->size);
    } else {
        return true;
    }
    return false;
}

static bool ioeventfd_check_fds(const VFIOUserIOFd *wire, size_t size,
                                size_t nfds, Error **errp)
{
    bool shadow = wire->type == VFIO_USER_IO_FD_SHADOW;

    if (wire->type > VFIO_USER_IO_FD_SHADOW) {
        error_setg(errp, "unknown type %u", wire->type);
    } else if (wire->fd_index >= nfds ||
               (shadow && wire->shadow_fd_index >= nfds)) {
        error_setg(errp, "invalid descriptor index, the reply has %zu"
                   " descriptors", nfds);
    } else if (shadow && size < sizeof(*wire)) {
        error_setg(errp, "%zu bytes are too few for a shadow ioeventfd", size);
    } else if (shadow && (wire->shadow_offset > INT64_MAX - 8 ||
                          wire->shadow_offset % (wire->size ?: 8))) {
        error_setg(errp, "invalid shadow offset 0x%" PRIx64,
                   wire->shadow_offset);
    } else {
        return true;
    }
    return false;
}

/*
 * An entry of 48 bytes has the datamatch at its end, whatever its type.  An
 * entry of 0.9.1, even if it is padded, has the datamatch where shadow_offset
 * is now.
 */
static void read_entry(VFIOUserIOFd *wire, const uint8_t *bytes, size_t size)
{
    *wire = (VFIOUserIOFd) { };
    memcpy(wire, bytes, MIN(size, sizeof(*wire)));
    if (wire->type != VFIO_USER_IO_FD_SHADOW && !wire->datamatch) {
        wire->datamatch = wire->shadow_offset;
    }
}

static void parse_entry(const VFIOUserIOFdRegion *region,
                        const uint8_t *bytes, size_t size, size_t nfds,
                        GArray *entries, VFIOUserIOFdRefusals *refusals)
{
    VFIOUserIoeventfd entry;
    VFIOUserIOFd wire;
    Error *why = NULL;

    read_entry(&wire, bytes, size);
    if (wire.type == VFIO_USER_IO_FD_IOREGIONFD) {
        refusals->ioregionfds++;
        return;
    }
    if (!check_place(region, &wire, &why) ||
        !check_flags(region, &wire, &why) ||
        !ioeventfd_check_fds(&wire, size, nfds, &why)) {
        error_prepend(&why, "offset 0x%" PRIx64 ": ", wire.offset);
        refuse(refusals, why);
        return;
    }
    entry = (VFIOUserIoeventfd) {
        .offset = wire.offset,
        .size = wire.size,
        .match = wire.flags & VFIO_USER_IO_FD_DATAMATCH,
        .datamatch = wire.datamatch,
        .fd = wire.fd_index,
        .shadow = wire.type == VFIO_USER_IO_FD_SHADOW,
        .shadow_fd = wire.shadow_fd_index,
        .shadow_offset = wire.shadow_offset,
    };
    g_array_append_val(entries, entry);
}

static gint compare_offsets(gconstpointer a, gconstpointer b)
{
    const VFIOUserIoeventfd *x = a, *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Whether a write can match both. */
static bool conflict(const VFIOUserIoeventfd *a, const VFIOUserIoeventfd *b)
{
    return a->offset == b->offset &&
           (!a->size || !b->size || a->size == b->size) &&
           (!a->match || !b->match || a->datamatch == b->datamatch);
}

static bool has_conflict(const GArray *entries, unsigned i)
{
    const VFIOUserIoeventfd *all = (const void *)entries->data;
    unsigned j;

    for (j = i; j-- && all[j].offset == all[i].offset; ) {
        if (conflict(&all[i], &all[j])) {
            return true;
        }
    }
    for (j = i + 1; j < entries->len && all[j].offset == all[i].offset; j++) {
        if (conflict(&all[i], &all[j])) {
            return true;
        }
    }
    return false;
}

/* Removes all conflicting entries: we cannot know which one is right. */
static GArray *remove_conflicts(GArray *entries,
                                VFIOUserIOFdRefusals *refusals)
{
    GArray *kept = g_array_new(false, false, sizeof(VFIOUserIoeventfd));
    unsigned i;

    for (i = 0; i < entries->len; i++) {
        VFIOUserIoeventfd *entry = &g_array_index(entries, VFIOUserIoeventfd,
                                                  i);
        Error *why = NULL;

        if (has_conflict(entries, i)) {
            error_setg(&why, "offset 0x%" PRIx64 ": conflicts with another"
                       " entry", entry->offset);
            refuse(refusals, why);
        } else {
            g_array_append_val(kept, *entry);
        }
    }
    return kept;
}

GArray *vfio_user_ioeventfds_parse(const VFIOUserIOFdRegion *region,
                                   const void *payload, size_t size,
                                   size_t nfds,
                                   VFIOUserIOFdRefusals *refusals,
                                   Error **errp)
{
    const uint8_t *bytes = payload;
    g_autoptr(GArray) entries =
        g_array_new(false, false, sizeof(VFIOUserIoeventfd));
    VFIOUserRegionIOFds head;
    int64_t each;
    uint32_t i;

    memcpy(&head, bytes, sizeof(head));
    if (head.index != region->index || head.flags) {
        error_setg(errp, "the reply is for region %u, flags 0x%x, asked for"
                   " region %u", head.index, head.flags, region->index);
        return NULL;
    }
    each = entry_size(&head, size, errp);
    if (each < 0) {
        return NULL;
    }
    refusals->entries = head.count;
    for (i = 0; i < head.count; i++) {
        parse_entry(region, bytes + sizeof(head) + i * each, each, nfds,
                    entries, refusals);
    }
    g_array_sort(entries, compare_offsets);
    return remove_conflicts(entries, refusals);
}
