/*
 * The bare guest
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qemu/atomic.h"
#include "vfio-user-guest-image.h"
#include "vfio-user-guest.h"

const char *vfio_user_guest_image(void)
{
    return VFIO_USER_GUEST_IMAGE;
}

uint32_t vfio_user_guest_word(const VFIOUserGuest *guest, uint64_t address)
{
    return qatomic_read((uint32_t *)(guest->memory.memory + address -
                                     guest->memory.address));
}

uint32_t vfio_user_guest_done(const VFIOUserGuest *guest, unsigned cpu)
{
    return vfio_user_guest_word(guest, VFIO_USER_GUEST_CPU(cpu, done));
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

gint64 vfio_user_guest_check_working(const VFIOUserGuest *guest, unsigned cpu,
                                     unsigned orders)
{
    uint32_t end = vfio_user_guest_done(guest, cpu) + orders;
    gint64 deadline = vfio_user_guest_soon(), slowest = 0;

    while ((int32_t)(vfio_user_guest_done(guest, cpu) - end) < 0) {
        gint64 begun = g_get_monotonic_time();

        g_assert_cmpint(begun, <, deadline);
        vfio_user_rig_ping(guest->rig);
        slowest = MAX(slowest, g_get_monotonic_time() - begun);
    }
    return slowest;
}

void vfio_user_guest_stop(QTestState *qts, unsigned cpu)
{
    qtest_writel(qts, VFIO_USER_GUEST_CPU(cpu, order.command),
                 VFIO_USER_GUEST_IDLE);
}

void vfio_user_guest_order(QTestState *qts, unsigned cpu,
                           VFIOUserGuestOrder order)
{
    gint64 deadline = vfio_user_guest_soon();
    const size_t size = sizeof(order.command);

    vfio_user_guest_stop(qts, cpu);
    while (!qtest_readl(qts, VFIO_USER_GUEST_CPU(cpu, resting))) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
    qtest_memwrite(qts, VFIO_USER_GUEST_CPU(cpu, order) + size,
                   (uint8_t *)&order + size, sizeof(order) - size);
    qtest_writel(qts, VFIO_USER_GUEST_CPU(cpu, order), order.command);
}

void vfio_user_guest_begin(VFIOUserGuest *guest, const char *accel,
                           unsigned cpus, const VFIOUserModel *model,
                           const VFIOUserRule *rules)
{
    g_autofree char *args = g_strdup_printf("%s -smp %u " VFIO_USER_RIG_SHARED
                                            "-bios " VFIO_USER_GUEST_IMAGE,
                                            accel, cpus);

    g_assert_cmpuint(cpus, <=, VFIO_USER_GUEST_CPUS);
    guest->rig = vfio_user_rig_begin(args, model, rules);
    vfio_user_rig_plug(guest->rig, 0);
    g_assert_true(vfio_user_server_map(guest->rig->server, 0,
                                       &guest->memory));
    g_assert_nonnull(guest->memory.memory);
    for (unsigned i = 0; i < cpus && strstr(accel, "tcg"); i++) {
        vfio_user_guest_check(guest, VFIO_USER_GUEST_CPU(i, boots), 1);
    }
}

void vfio_user_guest_end(VFIOUserGuest *guest)
{
    vfio_user_rig_end(guest->rig);
    vfio_user_rig_quit();
}
