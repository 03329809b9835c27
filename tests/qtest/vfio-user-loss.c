/*
 * Test rig: a device that loses its server
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci_regs.h"
#include "vfio-user-errors.h"
#include "vfio-user-loss.h"

#define REGISTER 0x18

const VFIOUserRule vfio_user_loss_hold[] = {
    { ON(VFIO_USER_VERSION), DO_HOLD },
    { }
};

VFIOUserRig *vfio_user_loss_begin(const char *args, const VFIOUserModel *model,
                                  unsigned timeout_ms)
{
    g_autofree char *redirected = vfio_user_errors_args(args);
    VFIOUserRig *rig = vfio_user_rig_begin(redirected, model, NULL);

    vfio_user_rig_plug(rig, timeout_ms);
    vfio_user_errors_forget();
    return rig;
}

void vfio_user_loss_happen(VFIOUserRig *rig, const VFIOUserRule *rules)
{
    if (rig->dev) {
        /* all earlier messages have arrived when this read returns */
        qpci_config_readb(rig->dev, PCI_LATENCY_TIMER);
    }
    vfio_user_server_forget(rig->server);
    vfio_user_server_set_rules(rig->server, rules);
    vfio_user_server_hang_up(rig->server);
}

void vfio_user_loss_open_gap(VFIOUserRig *rig)
{
    vfio_user_loss_happen(rig, vfio_user_loss_hold);
    vfio_user_server_see(rig->server, VFIO_USER_VERSION);
}

void vfio_user_loss_let_go(VFIOUserRig *rig, const VFIOUserRule *rules)
{
    vfio_user_server_set_rules(rig->server, rules);
    vfio_user_server_release(rig->server);
}

unsigned vfio_user_loss_losses(void)
{
    return vfio_user_errors_count("connection lost");
}

unsigned vfio_user_loss_returns(void)
{
    return vfio_user_errors_count("connected again");
}

unsigned vfio_user_loss_rejections(void)
{
    return vfio_user_errors_count("has a different device");
}

void vfio_user_loss_wait_return(VFIOUserRig *rig, unsigned nth)
{
    vfio_user_loss_wait(rig, vfio_user_loss_returns() >= nth);
}

static uint32_t guest_reads(VFIOUserRig *rig)
{
    return qpci_io_readl(rig->dev, rig->bar[0], REGISTER);
}

void vfio_user_loss_check_works(VFIOUserRig *rig)
{
    const uint32_t value = 0x60061e5;

    vfio_user_server_poke(rig->server, VFIO_PCI_BAR0_REGION_INDEX, REGISTER,
                          &value, sizeof(value));
    g_assert_cmphex(guest_reads(rig), ==, value);
}

void vfio_user_loss_check_gone(VFIOUserRig *rig)
{
    const uint32_t value = 0x60061e5;

    vfio_user_server_poke(rig->server, VFIO_PCI_BAR0_REGION_INDEX, REGISTER,
                          &value, sizeof(value));
    g_assert_cmphex(guest_reads(rig), ==, UINT32_MAX);
}

uint64_t vfio_user_loss_dropped_writes(VFIOUserRig *rig)
{
    QDict *answer = qtest_qmp(rig->qts, "{'execute': 'qom-get', 'arguments':"
                              " {'path': '/machine/peripheral/dut',"
                              " 'property': 'counters'}}");
    uint64_t value = qdict_get_int(qdict_get_qdict(answer, "return"),
                                   "dropped-writes");

    qobject_unref(answer);
    return value;
}
