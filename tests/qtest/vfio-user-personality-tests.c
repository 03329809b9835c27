/*
 * qtest of the vfio-user client: habits of released servers
 *
 * What a user is told of a server's habits, and what avoids them.  That the
 * device works all the same is for the rows of other tests.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define UNDRAINED "then took its payload for a command"
#define NO_PROBES ",x-no-region-io-fds=on,x-no-device-feature=on"

/*
 * Starts a QEMU with a device of rust-vmm's crate, and another without server
 * that ends it.  Returns what it said.
 */
static char *start_with(VFIOUserServer *server, const char *properties)
{
    g_autofree char *args = g_strdup_printf(
        "-machine pc -nodefaults -device vfio-user-pci,socket=%s%s -device"
        " vfio-user-pci,socket=/nowhere", vfio_user_server_path(server),
        properties);
    char *out;

    g_assert_cmpint(vfio_user_rig_run(args, &out), ==, 1);
    g_assert_nonnull(strstr(out, "/nowhere"));
    vfio_user_server_wait_client(server, false);
    return out;
}

static VFIOUserServer *undrained_server(void)
{
    static VFIOUserModel model;

    model = vfio_user_model;
    model.personality = vfio_user_personality("rust-vmm");
    return vfio_user_server_new(&model, NULL);
}

/* One warning, and each probe leaves the server in step. */
static void test_undrained(void)
{
    g_autoptr(VFIOUserServer) server = undrained_server();
    g_autofree char *out = start_with(server, "");
    g_auto(GStrv) parts = g_strsplit(out, UNDRAINED, -1);
    VFIOUserSeen seen = vfio_user_server_see(server, VFIO_USER_DEVICE_FEATURE);

    g_assert_cmpuint(g_strv_length(parts) - 1, ==, 1);
    g_assert_nonnull(strstr(out, "x-no-region-io-fds=on"));
    g_assert_cmpuint(seen.header.size, ==, 2 * sizeof(VFIOUserHeader));
}

/* The other probe is named where it is the first to be refused. */
static void test_undrained_feature(void)
{
    g_autoptr(VFIOUserServer) server = undrained_server();
    g_autofree char *out = start_with(server, ",x-no-region-io-fds=on");

    g_assert_nonnull(strstr(out, UNDRAINED));
    g_assert_nonnull(strstr(out, "x-no-device-feature=on"));
    g_assert_cmpuint(vfio_user_server_saw(server,
                                          VFIO_USER_DEVICE_GET_REGION_IO_FDS),
                     ==, 0);
}

static void test_no_probes(void)
{
    g_autoptr(VFIOUserServer) server = undrained_server();
    g_autofree char *out = start_with(server, NO_PROBES);

    g_assert_null(strstr(out, UNDRAINED));
    g_assert_cmpuint(vfio_user_server_saw(server,
                                          VFIO_USER_DEVICE_GET_REGION_IO_FDS),
                     ==, 0);
    g_assert_cmpuint(vfio_user_server_saw(server, VFIO_USER_DEVICE_FEATURE),
                     ==, 0);
}

void vfio_user_add_personality_tests(void)
{
    qtest_add_func("/vfio-user/undrained/warning", test_undrained);
    qtest_add_func("/vfio-user/undrained/feature", test_undrained_feature);
    qtest_add_func("/vfio-user/undrained/no-probes", test_no_probes);
}
