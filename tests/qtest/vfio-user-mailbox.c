/*
 * A guest that accesses registers on the test's behalf
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qobject/qdict.h"
#include "vfio-user-guest.h"
#include "vfio-user-mailbox.h"

/* Waits until a word is 0 (@zero) or nonzero; returns false after @us. */
static bool becomes(VFIOUserRig *rig, uint64_t address, bool zero, gint64 us)
{
    gint64 deadline = g_get_monotonic_time() + us;

    while (!qtest_readl(rig->qts, address) != zero) {
        if (g_get_monotonic_time() > deadline) {
            return false;
        }
    }
    return true;
}

/* Whether the guest has started, in this test or an earlier one. */
static bool has_booted(VFIOUserRig *rig, gint64 us)
{
    return becomes(rig, VFIO_USER_GUEST_CPU(0, boots), false, us);
}

void vfio_user_mailbox_wait(VFIOUserRig *rig)
{
    g_assert_true(becomes(rig, VFIO_USER_GUEST_CPU(0, order.command), true,
                          VFIO_USER_SERVER_DEADLINE));
}

uint32_t vfio_user_mailbox_read(VFIOUserRig *rig, uint64_t address)
{
    vfio_user_guest_order(rig->qts, 0, (VFIOUserGuestOrder) {
        .command = VFIO_USER_GUEST_READ, .address = address,
    });
    vfio_user_mailbox_wait(rig);
    return qtest_readl(rig->qts, VFIO_USER_GUEST_CPU(0, order.value));
}

void vfio_user_mailbox_write(VFIOUserRig *rig, uint64_t address,
                             uint32_t value)
{
    vfio_user_guest_order(rig->qts, 0, (VFIOUserGuestOrder) {
        .command = VFIO_USER_GUEST_WRITE, .address = address, .value = value,
    });
    vfio_user_mailbox_wait(rig);
}

void vfio_user_mailbox_write_both(VFIOUserRig *rig,
                                  VFIOUserMailboxWrite first,
                                  VFIOUserMailboxWrite second)
{
    vfio_user_guest_order(rig->qts, 0, (VFIOUserGuestOrder) {
        .command = VFIO_USER_GUEST_WRITE_BOTH,
        .address = first.address, .value = first.value,
        .address2 = second.address, .value2 = second.value,
    });
}

static bool has_kvm(VFIOUserRig *rig)
{
    QDict *response = qtest_qmp(rig->qts, "{'execute': 'query-kvm'}");
    bool enabled = qdict_get_bool(qdict_get_qdict(response, "return"),
                                  "enabled");

    qobject_unref(response);
    return enabled;
}

VFIOUserRig *vfio_user_mailbox_begin(const char *accel, const char *more,
                                     const VFIOUserModel *model,
                                     const VFIOUserRule *rules,
                                     unsigned timeout_ms)
{
    g_autofree char *args = NULL;
    bool kvm = !strcmp(accel, "kvm");
    VFIOUserRig *rig;

    args = g_strdup_printf(VFIO_USER_RIG_RAM "-accel %s -bios %s %s", accel,
                           vfio_user_guest_image(), more);
    rig = vfio_user_rig_begin(args, model, rules);
    vfio_user_rig_plug(rig, timeout_ms);
    if (kvm && (!has_kvm(rig) || !has_booted(rig, 5 * G_TIME_SPAN_SECOND))) {
        vfio_user_rig_end(rig);
        g_test_skip("/dev/kvm runs no guest");
        return NULL;
    }
    g_assert_true(has_booted(rig, VFIO_USER_SERVER_DEADLINE));
    return rig;
}
