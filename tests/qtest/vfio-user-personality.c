/*
 * Personalities of the scripted vfio-user server
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"

#include "vfio-user-personality.h"

/* VERSION data of a device that supports migration. */
#define LIBVFIO_USER_VERSION \
    "{ \"capabilities\": { \"max_msg_fds\": 8," \
    " \"max_data_xfer_size\": 1048576, \"migration\": {" \
    " \"pgsize\": 4096 } } }"

const VFIOUserPersonality vfio_user_personalities[] = {
    {
        .name = "libvfio-user-2022",
        .version = LIBVFIO_USER_VERSION,
        .one_recv = true,
        .no_migration2 = true,
        .fixed_rom = true,
    },
    {
        .name = "libvfio-user-2026",
        .version = LIBVFIO_USER_VERSION,
        .one_recv = true,
        .pads_reads = true,
        .most_read = 100000,
        .keeps_state = true,
        .no_migration1 = true,
        .fixed_rom = true,
    },
    {
        /* a device that never called vfu_setup_device_dma() */
        .name = "libvfio-user-no-dma",
        .one_recv = true,
        .no_migration1 = true,
        .no_migration2 = true,
        .short_unmap = true,
        .fixed_rom = true,
    },
    {
        .name = "rust-vmm",
        .undrained = true,
        .no_migration1 = true,
        .no_migration2 = true,
        .flagless_msix = true,
    },
    {
        .name = "spdk",
        .one_recv = true,
        .no_migration1 = true,
        .no_migration2 = true,
        .map_align = 2 * MiB,
        .most_maps = 64,
    },
    {
        .name = "x-vfio-user-server",
        .one_recv = true,
        .no_migration1 = true,
        .no_migration2 = true,
        .most_maps = 16,
        .no_messages = true,
        .resets_config = true,
        .signals_rise = true,
        .no_msi_beside = true,
    },
    { }
};

const VFIOUserPersonality *vfio_user_personality(const char *name)
{
    const VFIOUserPersonality *p = vfio_user_personalities;

    while (p->name && strcmp(p->name, name)) {
        p++;
    }
    g_assert_nonnull(p->name);
    return p;
}

bool vfio_user_personality_meets(const VFIOUserPersonality *p,
                                 VFIOUserNeeds needs)
{
    return !(needs & VFIO_USER_NEEDS_MAPS && p->map_align) &&
           !(needs & VFIO_USER_NEEDS_MESSAGES && p->no_messages) &&
           !(needs & VFIO_USER_NEEDS_MIGRATION1 && p->no_migration1) &&
           !(needs & VFIO_USER_NEEDS_MIGRATION2 && p->no_migration2);
}
