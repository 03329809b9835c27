/*
 * Guests of a few bytes
 *
 * See the header for what this file is and is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "qemu/atomic.h"
#include "vfio-user-guest.h"

#define ROM_SIZE (64 * KiB)
#define RESET_VECTOR (ROM_SIZE - 16)

static const uint8_t reset_vector[] = {
    0xea, 0x00, 0x00, 0x00, 0xf0,            /* ljmp $0xf000,$0 */
};

static char *write_guest(const uint8_t *code, size_t size)
{
    g_autofree uint8_t *rom = g_malloc0(ROM_SIZE);
    char *path = NULL;
    int fd = g_file_open_tmp("vfio-user-guest-XXXXXX", &path, NULL);

    memcpy(rom, code, size);
    memcpy(rom + RESET_VECTOR, reset_vector, sizeof(reset_vector));
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, rom, ROM_SIZE), ==, ROM_SIZE);
    close(fd);
    return path;
}

uint32_t vfio_user_guest_word(const VFIOUserGuest *guest, uint64_t address)
{
    return qatomic_read((uint32_t *)(guest->memory.memory + address -
                                     guest->memory.address));
}

bool vfio_user_guest_becomes(const VFIOUserGuest *guest, uint64_t address,
                             uint32_t value, gint64 deadline)
{
    while (vfio_user_guest_word(guest, address) != value) {
        if (g_get_monotonic_time() >= deadline) {
            return false;
        }
        g_usleep(100);
    }
    return true;
}

gint64 vfio_user_guest_soon(void)
{
    return g_get_monotonic_time() + 10 * G_TIME_SPAN_SECOND;
}

void vfio_user_guest_check(const VFIOUserGuest *guest, uint64_t address,
                           uint32_t value)
{
    g_assert_true(vfio_user_guest_becomes(guest, address, value,
                                          vfio_user_guest_soon()));
}

void vfio_user_guest_begin(VFIOUserGuest *guest, const char *accel,
                           const uint8_t *code, size_t size,
                           const VFIOUserRule *rules)
{
    g_autofree char *path = write_guest(code, size);
    g_autofree char *args = g_strdup_printf("%s " VFIO_USER_RIG_SHARED
                                            "-bios %s", accel, path);

    guest->rig = vfio_user_rig_begin(args, NULL, rules);
    vfio_user_rig_plug(guest->rig, 0);
    g_unlink(path);
    g_assert_true(vfio_user_server_map(guest->rig->server, 0,
                                       &guest->memory));
    g_assert_nonnull(guest->memory.memory);
}

void vfio_user_guest_end(VFIOUserGuest *guest)
{
    vfio_user_rig_end(guest->rig);
    vfio_user_rig_quit();
}
