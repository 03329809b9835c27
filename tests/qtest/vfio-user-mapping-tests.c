/*
 * qtest of the vfio-user client: mapped regions accessed by a vCPU
 *
 * A small guest accesses registers in a file that the server shares, under TCG
 * and, if available, KVM.  The server then truncates the file, which causes
 * SIGBUS in QEMU and EFAULT in KVM.  The VM must keep running.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-mailbox.h"
#include "vfio-user-tests.h"

#define PAGE 0x1000
#define MAPPED (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | \
                VFIO_REGION_INFO_FLAG_MMAP)

static VFIOUserModel model;     /* device with BAR 0 mapped */

static VFIOUserRig *mapping_begin(const char *accel)
{
    model = vfio_user_model;
    model.region[0] = (VFIOUserModelRegion) { 4 * PAGE, MAPPED };
    return vfio_user_mailbox_begin(accel, "", &model, NULL, 0);
}

static unsigned accesses(VFIOUserServer *server)
{
    return vfio_user_server_saw(server, VFIO_USER_REGION_READ, AT(0)) +
           vfio_user_server_saw(server, VFIO_USER_REGION_WRITE, AT(0));
}

static void test_access(const void *accel)
{
    VFIOUserRig *rig = mapping_begin(accel);
    const uint32_t value = 0x12345678;
    uint32_t is;

    if (!rig) {
        return;
    }
    vfio_user_server_forget(rig->server);
    vfio_user_server_poke(rig->server, 0, PAGE, &value, sizeof(value));
    g_assert_cmphex(vfio_user_mailbox_read(rig, rig->bar[0].addr + PAGE), ==,
                    value);
    vfio_user_mailbox_write(rig, rig->bar[0].addr + 2 * PAGE, ~value);
    vfio_user_server_peek(rig->server, 0, 2 * PAGE, &is, sizeof(is));
    g_assert_cmphex(is, ==, ~value);
    g_assert_cmpuint(accesses(rig->server), ==, 0);

    /* another region is accessed by message */
    vfio_user_mailbox_write(rig, rig->bar[2].addr + PAGE, value);
    g_assert_cmphex(vfio_user_mailbox_read(rig, rig->bar[2].addr + PAGE), ==,
                    value);
    vfio_user_rig_end(rig);
}

/* Checks that reads return all ones and the device is dead. */
static void mapping_check_gone(VFIOUserRig *rig)
{
    const uint64_t at = rig->bar[0].addr;

    vfio_user_rig_wait(rig, vfio_user_mailbox_read(rig, at) == UINT32_MAX);
    vfio_user_mailbox_write(rig, at, 0);
    g_assert_cmphex(vfio_user_mailbox_read(rig, at), ==, UINT32_MAX);
    g_assert_cmphex(vfio_user_mailbox_read(rig, rig->bar[2].addr), ==,
                    UINT32_MAX);
    vfio_user_rig_ping(rig);
}

static void test_death(const void *accel)
{
    VFIOUserRig *rig = mapping_begin(accel);

    if (!rig) {
        return;
    }
    g_assert_cmphex(vfio_user_mailbox_read(rig, rig->bar[0].addr), ==, 0);
    vfio_user_server_hang_up(rig->server);
    mapping_check_gone(rig);
    vfio_user_rig_end(rig);
}

static void test_truncated_read(const void *accel)
{
    VFIOUserRig *rig = mapping_begin(accel);

    if (!rig) {
        return;
    }
    g_assert_cmphex(vfio_user_mailbox_read(rig, rig->bar[0].addr + 2 * PAGE),
                    ==, 0);
    vfio_user_server_truncate(rig->server, 0, PAGE);
    g_assert_cmphex(vfio_user_mailbox_read(rig, rig->bar[0].addr + 2 * PAGE),
                    ==, UINT32_MAX);
    mapping_check_gone(rig);
    vfio_user_rig_end(rig);
}

static void test_truncated_write(const void *accel)
{
    VFIOUserRig *rig = mapping_begin(accel);

    if (!rig) {
        return;
    }
    vfio_user_server_truncate(rig->server, 0, 0);
    vfio_user_mailbox_write(rig, rig->bar[0].addr + 4 * PAGE - 4, 0x1234);
    mapping_check_gone(rig);
    vfio_user_rig_end(rig);
}

#define OTHER_SLOT 9

/* A server that truncates its file does not affect another server's device. */
static void test_truncated_beside(const void *accel)
{
    VFIOUserRig *rig = mapping_begin(accel);
    g_autofree QPCIDevice *dev = NULL;
    VFIOUserServer *server;
    uint32_t is, value = 0x5678;
    QPCIBar bar;

    if (!rig) {
        return;
    }
    server = vfio_user_server_new(&model, NULL);
    qtest_qmp_device_add(rig->qts, "vfio-user-pci", "other",
                         "{'addr': %s, 'socket': %s}", stringify(OTHER_SLOT),
                         vfio_user_server_path(server));
    dev = qpci_device_find(rig->bus, QPCI_DEVFN(OTHER_SLOT, 0));
    g_assert_nonnull(dev);
    bar = qpci_iomap(dev, 0, NULL);
    qpci_device_enable(dev);
    vfio_user_mailbox_write(rig, bar.addr + PAGE, value);
    vfio_user_server_forget(server);

    vfio_user_server_truncate(rig->server, 0, 0);
    mapping_check_gone(rig);
    g_assert_cmphex(vfio_user_mailbox_read(rig, bar.addr + PAGE), ==, value);
    vfio_user_mailbox_write(rig, bar.addr + 3 * PAGE, ~value);
    vfio_user_server_peek(server, 0, 3 * PAGE, &is, sizeof(is));
    g_assert_cmphex(is, ==, ~value);
    g_assert_cmpuint(accesses(server), ==, 0);

    qpci_unplug_acpi_device_test(rig->qts, "other", OTHER_SLOT);
    vfio_user_server_wait_client(server, false);
    vfio_user_server_free(server);
    vfio_user_rig_end(rig);
}

/* The same in QEMU's main loop, as for DMA of another device. */
static void test_truncated_in_main_loop(void)
{
    VFIOUserRig *rig = mapping_begin("tcg");

    vfio_user_server_truncate(rig->server, 0, PAGE);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 2 * PAGE), ==,
                    UINT32_MAX);
    qpci_io_writel(rig->dev, rig->bar[0], 3 * PAGE, 0);
    mapping_check_gone(rig);
    vfio_user_rig_end(rig);
}

static const struct {
    const char *name;
    GTestDataFunc function;
} tests[] = {
    { "access", test_access },
    { "death", test_death },
    { "truncated-read", test_truncated_read },
    { "truncated-write", test_truncated_write },
    { "truncated-beside", test_truncated_beside },
};

void vfio_user_add_mapping_tests(void)
{
    static const char *const accels[] = { "tcg", "kvm" };
    unsigned i, j;

    for (i = 0; i < ARRAY_SIZE(accels); i++) {
        for (j = 0; j < ARRAY_SIZE(tests); j++) {
            g_autofree char *path =
                g_strdup_printf("/vfio-user/mapping/%s/%s", accels[i],
                                tests[j].name);

            qtest_add_data_func(path, accels[i], tests[j].function);
        }
    }
    qtest_add_func("/vfio-user/mapping/truncated-in-main-loop",
                   test_truncated_in_main_loop);
}
