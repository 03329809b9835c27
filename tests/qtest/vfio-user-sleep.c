/*
 * Test rig: suspends a guest on the machine "pc" (S3)
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "libqos/pci-pc.h"
#include "vfio-user-sleep.h"

/* Power management of PIIX4 */
#define PM_DEVICE QPCI_DEVFN(1, 3)
#define PM_BASE 0x40
#define PM_PORTS 0x600
#define PM_ENABLE 0x80
#define PM_CONTROL 4
#define SLEEP_TYPE_S3 (1 << 10)
#define SLEEP_ENABLE (1 << 13)

void vfio_user_sleep(QTestState *qts)
{
    QPCIBus *bus = qpci_new_pc(qts, NULL);

    bus->config_writel(bus, PM_DEVICE, PM_BASE, PM_PORTS);
    bus->config_writeb(bus, PM_DEVICE, PM_ENABLE, 1);
    qpci_free_pc(bus);
    qtest_outw(qts, PM_PORTS + PM_CONTROL, SLEEP_TYPE_S3 | SLEEP_ENABLE);
    qtest_qmp_eventwait(qts, "SUSPEND");
}
