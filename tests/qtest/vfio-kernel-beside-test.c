/*
 * vfio-pci with a simulated VFIO kernel driver, together with a vfio-user
 * device
 *
 * Both devices are in one address space, each with its own container, and must
 * not be mixed up.  Whatever the order in which they are plugged and
 * unplugged, the remaining device must keep working.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qemu/rcu.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "vfio-kernel.h"
#include "vfio-user-server.h"

#define USER_ID "user"
#define USER_SLOT 5

typedef struct Both {
    VFIOKernel *kernel;
    VFIOUserServer *server;
} Both;

static void plug_user(Both *both)
{
    qtest_qmp_device_add(both->kernel->qts, "vfio-user-pci", USER_ID,
                         "{'socket': %s, 'addr': %s}",
                         vfio_user_server_path(both->server),
                         stringify(USER_SLOT));
}

static void plug_kernel(Both *both)
{
    vfio_kernel_plug(both->kernel);
}

static unsigned logged(Both *both, const char *prefix)
{
    g_auto(GStrv) lines = NULL;

    both->kernel->seen = 0;
    lines = vfio_kernel_calls(both->kernel);
    return vfio_kernel_count(lines, prefix);
}

/* Checks that a register of BAR 0 keeps what the guest wrote. */
static void check_register(Both *both, int slot)
{
    QPCIDevice *dev = qpci_device_find(&both->kernel->bus.bus,
                                       QPCI_DEVFN(slot, 0));
    QPCIBar bar;

    g_assert_nonnull(dev);
    bar = qpci_iomap(dev, 0, NULL);
    qpci_device_enable(dev);
    qpci_io_writel(dev, bar, 0x20, 0x12345678 + slot);
    g_assert_cmphex(qpci_io_readl(dev, bar, 0x20), ==, 0x12345678 + slot);
    qpci_iounmap(dev, bar);
    g_free(dev);
}

/*
 * Checks that the server has DMA maps and that the guest can access the
 * device.
 */
static void check_user(Both *both)
{
    check_register(both, USER_SLOT);
    g_assert_cmpuint(vfio_user_server_maps(both->server), >, 0);
}

static void check_kernel(Both *both)
{
    check_register(both, VFIO_KERNEL_SLOT);
    g_assert_cmpuint(logged(both, "MAP_DMA"), >, logged(both, "UNMAP_DMA"));
}

static void unplug_user(Both *both)
{
    qpci_unplug_acpi_device_test(both->kernel->qts, USER_ID, USER_SLOT);
    vfio_user_server_wait_client(both->server, false);
}

static void unplug_kernel(Both *both)
{
    qpci_unplug_acpi_device_test(both->kernel->qts, VFIO_KERNEL_ID,
                                 VFIO_KERNEL_SLOT);
    g_strfreev(vfio_kernel_wait_for_end(both->kernel));
    g_assert_cmpuint(logged(both, "MAP_DMA"), ==, logged(both, "UNMAP_DMA"));
}

static Both beside_begin(void)
{
    return (Both) { vfio_kernel_start(NULL), vfio_user_server_new(NULL, NULL) };
}

static void beside_end(Both *both)
{
    vfio_kernel_stop(both->kernel);
    vfio_user_server_free(both->server);
}

typedef struct Order {
    const char *name;
    bool kernel_joins_first;
    bool kernel_leaves_first;
} Order;

static const Order orders[] = {
    { "kernel-joins-kernel-leaves", true, true },
    { "kernel-joins-user-leaves", true, false },
    { "user-joins-kernel-leaves", false, true },
    { "user-joins-user-leaves", false, false },
};

static void test_order(const void *opaque)
{
    const Order *order = opaque;
    Both both = beside_begin();

    (order->kernel_joins_first ? plug_kernel : plug_user)(&both);
    (order->kernel_joins_first ? plug_user : plug_kernel)(&both);
    check_kernel(&both);
    check_user(&both);
    /* only the kernel's container is set for the group */
    g_assert_cmpuint(logged(&both, "SET_CONTAINER"), ==, 1);

    if (order->kernel_leaves_first) {
        unplug_kernel(&both);
        check_user(&both);
        plug_kernel(&both);
        check_user(&both);
    } else {
        unplug_user(&both);
        check_kernel(&both);
        plug_user(&both);
        check_kernel(&both);
    }
    (order->kernel_leaves_first ? unplug_user : unplug_kernel)(&both);
    beside_end(&both);
}

/* Migration */

/* Returns why migration is blocked, or NULL if it is not. */
static char *why_blocked(Both *both)
{
    QDict *response = qtest_qmp(both->kernel->qts,
                                "{'execute': 'query-migrate'}");
    QDict *info = qdict_get_qdict(response, "return");
    g_autoptr(GString) why = g_string_new(NULL);
    const QListEntry *entry;

    g_assert_nonnull(info);
    if (qdict_haskey(info, "blocked-reasons")) {
        QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "blocked-reasons"), entry) {
            QString *text = qobject_to(QString, qlist_entry_obj(entry));

            g_string_append_printf(why, "%s\n", qstring_get_str(text));
        }
    }
    qobject_unref(response);
    return why->len ? g_strdup(why->str) : NULL;
}

/*
 * hw/vfio requires P2P states for migrating several devices.  This applies to
 * kernel devices only: a vfio-user server without P2P states next to one does
 * not block migration.
 */
static void test_migration(void)
{
    VFIOUserModel model = vfio_user_model;
    g_autofree char *why = NULL;
    Both both;

    model.migration.flags = VFIO_USER_MODEL_STOP_COPY;
    g_setenv("VFIO_KERNEL_SHIM_MIGRATES", "1", true);
    both = (Both) { vfio_kernel_start(NULL),
                    vfio_user_server_new(&model, NULL) };
    g_unsetenv("VFIO_KERNEL_SHIM_MIGRATES");
    plug_user(&both);
    qtest_qmp_device_add(both.kernel->qts, "vfio-pci", VFIO_KERNEL_ID,
                         "{'sysfsdev': %s, 'addr': %s,"
                         " 'enable-migration': 'on'}", both.kernel->sysfs,
                         stringify(VFIO_KERNEL_SLOT));
    why = why_blocked(&both);
    g_assert_cmpstr(why, ==, NULL);
    beside_end(&both);
}

/* Only the device that cannot migrate is named in the reason. */
static void test_no_migration(void)
{
    VFIOUserModel model = vfio_user_model;
    g_autofree char *why = NULL;
    Both both;

    model.migration.flags = VFIO_USER_MODEL_STOP_COPY;
    both = (Both) { vfio_kernel_start(NULL),
                    vfio_user_server_new(&model, NULL) };
    plug_user(&both);
    plug_kernel(&both);
    why = why_blocked(&both);
    g_assert_nonnull(why);
    g_test_message("%s", why);
    g_assert_nonnull(strstr(why, VFIO_KERNEL_NAME));
    g_assert_null(strstr(why, "P2P"));
    beside_end(&both);
}

int main(int argc, char **argv)
{
    rcu_disable_atfork();       /* as in vfio-user-test.c */
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
        g_autofree char *path = g_strdup_printf("/vfio/kernel-beside/%s",
                                                orders[i].name);

        qtest_add_data_func(path, &orders[i], test_order);
    }
    qtest_add_func("/vfio/kernel-beside/migration", test_migration);
    qtest_add_func("/vfio/kernel-beside/no-migration", test_no_migration);
    return g_test_run();
}
