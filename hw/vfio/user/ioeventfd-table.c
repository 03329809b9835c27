/*
 * vfio-user ioeventfds: the ioeventfds of one region
 *
 * Owns the descriptors, finds the entry for a write, stores the value and
 * signals.  A server may pass any descriptor; entries whose descriptor is not
 * an eventfd are refused.
 *
 * Threads: see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/vfio/user/descriptor.h"
#include "hw/vfio/user/ioeventfd.h"
#include "hw/vfio/user/wire.h"

struct VFIOUserIoeventfds {
    GArray *entries;            /* VFIOUserIoeventfd, by offset */
    VFIOUserShadow *shadows;    /* one per entry, unused if it has none */
    VFIOUserSignaller *signaller;
    size_t nfds;
    int fds[VFIO_USER_MAX_FDS];
};

static bool add_entry(VFIOUserIoeventfds *table,
                      const VFIOUserIoeventfd *entry, Error **errp)
{
    unsigned i = table->entries->len;

    if (!vfio_user_signaller_accepts(table->signaller, table->fds[entry->fd])) {
        error_setg(errp, "its descriptor is not an eventfd");
        return false;
    }
    if (entry->shadow &&
        !vfio_user_shadow_map(&table->shadows[i],
                              table->fds[entry->shadow_fd],
                              entry->shadow_offset, entry->size ?: 8, errp)) {
        return false;
    }
    g_array_append_val(table->entries, *entry);
    return true;
}

VFIOUserIoeventfds *vfio_user_ioeventfds_new(const GArray *entries,
                                             const int *fds, size_t nfds,
                                             VFIOUserIOFdRefusals *refusals)
{
    g_autoptr(VFIOUserIoeventfds) table = g_new0(VFIOUserIoeventfds, 1);
    unsigned i;

    table->entries = g_array_new(false, false, sizeof(VFIOUserIoeventfd));
    table->shadows = g_new0(VFIOUserShadow, entries->len);
    table->nfds = nfds;
    if (nfds) {
        memcpy(table->fds, fds, nfds * sizeof(fds[0]));
    }
    if (entries->len) {
        Error *why = NULL;

        table->signaller = vfio_user_signaller_new(&why);
        if (!table->signaller) {
            refusals->refused += entries->len;
            error_propagate(&refusals->why, why);
            return NULL;
        }
    }
    for (i = 0; i < entries->len; i++) {
        const VFIOUserIoeventfd *entry = &g_array_index(entries,
                                                        VFIOUserIoeventfd, i);
        Error *why = NULL;

        if (!add_entry(table, entry, &why)) {
            error_prepend(&why, "offset 0x%" PRIx64 ": ", entry->offset);
            refusals->refused++;
            error_propagate(&refusals->why, why);
        }
    }
    return table->entries->len ? g_steal_pointer(&table) : NULL;
}

void vfio_user_ioeventfds_free(VFIOUserIoeventfds *table)
{
    unsigned i;

    for (i = 0; i < table->entries->len; i++) {
        vfio_user_shadow_unmap(&table->shadows[i]);
    }
    vfio_user_signaller_free(table->signaller);
    vfio_user_close_fds(table->fds, table->nfds);
    g_array_unref(table->entries);
    g_free(table->shadows);
    g_free(table);
}

unsigned vfio_user_ioeventfds_count(const VFIOUserIoeventfds *table)
{
    return table->entries->len;
}

const VFIOUserIoeventfd *vfio_user_ioeventfds_at(
    const VFIOUserIoeventfds *table, unsigned i)
{
    return &g_array_index(table->entries, VFIOUserIoeventfd, i);
}

int vfio_user_ioeventfds_fd(const VFIOUserIoeventfds *table,
                            const VFIOUserIoeventfd *entry)
{
    return table->fds[entry->fd];
}

/* Returns the index of the first entry at or above @offset. */
static unsigned first_from(const VFIOUserIoeventfds *table, uint64_t offset)
{
    unsigned low = 0, high = table->entries->len;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (vfio_user_ioeventfds_at(table, middle)->offset < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const VFIOUserIoeventfd *vfio_user_ioeventfds_find(
    const VFIOUserIoeventfds *table, uint64_t offset, unsigned size,
    uint64_t value)
{
    unsigned i;

    for (i = first_from(table, offset); i < table->entries->len; i++) {
        const VFIOUserIoeventfd *entry = vfio_user_ioeventfds_at(table, i);

        if (entry->offset != offset) {
            break;
        }
        if ((!entry->size || entry->size == size) &&
            (!entry->match || entry->datamatch == value)) {
            return entry;
        }
    }
    return NULL;
}

bool vfio_user_ioeventfds_signal(VFIOUserIoeventfds *table,
                                 const VFIOUserIoeventfd *entry,
                                 unsigned size, uint64_t value)
{
    const VFIOUserIoeventfd *first = vfio_user_ioeventfds_at(table, 0);

    if (entry->shadow &&
        !vfio_user_shadow_store(&table->shadows[entry - first], size, value)) {
        return false;
    }
    return vfio_user_signaller_signal(table->signaller,
                                      table->fds[entry->fd]) == 0;
}
