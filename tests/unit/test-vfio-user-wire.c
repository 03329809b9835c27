/*
 * Unit test for the vfio-user wire format
 *
 * Compares the structures and the table of commands with numbers that were
 * copied from the specification by hand, not computed from wire.h.  Opens no
 * socket; one thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vfio/user/wire.h"

#define SIZE(type, n) { #type, sizeof(type), n }
#define OFFSET(type, member, n) \
    { #type "." #member, offsetof(type, member), n }

static const struct {
    const char *what;
    size_t is;
    size_t wanted;
} layout[] = {
    SIZE(VFIOUserHeader, 16),
    OFFSET(VFIOUserHeader, id, 0),
    OFFSET(VFIOUserHeader, command, 2),
    OFFSET(VFIOUserHeader, size, 4),
    OFFSET(VFIOUserHeader, flags, 8),
    OFFSET(VFIOUserHeader, error, 12),

    SIZE(VFIOUserVersion, 4),
    OFFSET(VFIOUserVersion, major, 0),
    OFFSET(VFIOUserVersion, minor, 2),

    SIZE(VFIOUserDMAMap, 32),
    OFFSET(VFIOUserDMAMap, argsz, 0),
    OFFSET(VFIOUserDMAMap, flags, 4),
    OFFSET(VFIOUserDMAMap, offset, 8),
    OFFSET(VFIOUserDMAMap, iova, 16),
    OFFSET(VFIOUserDMAMap, size, 24),

    SIZE(VFIOUserDMAUnmap, 24),
    OFFSET(VFIOUserDMAUnmap, argsz, 0),
    OFFSET(VFIOUserDMAUnmap, flags, 4),
    OFFSET(VFIOUserDMAUnmap, iova, 8),
    OFFSET(VFIOUserDMAUnmap, size, 16),

    SIZE(VFIOUserBitmap, 16),
    OFFSET(VFIOUserBitmap, pgsize, 0),
    OFFSET(VFIOUserBitmap, size, 8),

    SIZE(VFIOUserDeviceInfo, 16),
    OFFSET(VFIOUserDeviceInfo, argsz, 0),
    OFFSET(VFIOUserDeviceInfo, flags, 4),
    OFFSET(VFIOUserDeviceInfo, num_regions, 8),
    OFFSET(VFIOUserDeviceInfo, num_irqs, 12),

    SIZE(VFIOUserRegionInfo, 32),
    OFFSET(VFIOUserRegionInfo, argsz, 0),
    OFFSET(VFIOUserRegionInfo, flags, 4),
    OFFSET(VFIOUserRegionInfo, index, 8),
    OFFSET(VFIOUserRegionInfo, cap_offset, 12),
    OFFSET(VFIOUserRegionInfo, size, 16),
    OFFSET(VFIOUserRegionInfo, offset, 24),

    SIZE(VFIOUserRegionIOFds, 16),
    OFFSET(VFIOUserRegionIOFds, argsz, 0),
    OFFSET(VFIOUserRegionIOFds, flags, 4),
    OFFSET(VFIOUserRegionIOFds, index, 8),
    OFFSET(VFIOUserRegionIOFds, count, 12),

    SIZE(VFIOUserIRQInfo, 16),
    OFFSET(VFIOUserIRQInfo, argsz, 0),
    OFFSET(VFIOUserIRQInfo, flags, 4),
    OFFSET(VFIOUserIRQInfo, index, 8),
    OFFSET(VFIOUserIRQInfo, count, 12),

    SIZE(VFIOUserIRQSet, 20),
    OFFSET(VFIOUserIRQSet, argsz, 0),
    OFFSET(VFIOUserIRQSet, flags, 4),
    OFFSET(VFIOUserIRQSet, index, 8),
    OFFSET(VFIOUserIRQSet, start, 12),
    OFFSET(VFIOUserIRQSet, count, 16),

    SIZE(VFIOUserRegionRW, 16),
    OFFSET(VFIOUserRegionRW, offset, 0),
    OFFSET(VFIOUserRegionRW, region, 8),
    OFFSET(VFIOUserRegionRW, count, 12),

    SIZE(VFIOUserDMARW, 16),
    OFFSET(VFIOUserDMARW, address, 0),
    OFFSET(VFIOUserDMARW, count, 8),

    SIZE(VFIOUserDirtyPages, 8),
    OFFSET(VFIOUserDirtyPages, argsz, 0),
    OFFSET(VFIOUserDirtyPages, flags, 4),

    /* the specification says 40 but lists members of 32; servers use 32 */
    SIZE(VFIOUserBitmapRange, 32),
    OFFSET(VFIOUserBitmapRange, iova, 0),
    OFFSET(VFIOUserBitmapRange, size, 8),
    OFFSET(VFIOUserBitmapRange, bitmap, 16),

    SIZE(VFIOUserWriteMulti, 8),
    SIZE(VFIOUserDeviceFeature, 8),
    OFFSET(VFIOUserDeviceFeature, argsz, 0),
    OFFSET(VFIOUserDeviceFeature, flags, 4),
    SIZE(VFIOUserMigData, 8),
    OFFSET(VFIOUserMigData, argsz, 0),
    OFFSET(VFIOUserMigData, size, 4),
};

static void test_layout(void)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(layout); i++) {
        g_test_message("%s", layout[i].what);
        g_assert_cmpuint(layout[i].is, ==, layout[i].wanted);
    }
}

static void test_flags(void)
{
    g_assert_cmphex(VFIO_USER_TYPE_MASK, ==, 0xf);
    g_assert_cmphex(VFIO_USER_TYPE_COMMAND, ==, 0);
    g_assert_cmphex(VFIO_USER_TYPE_REPLY, ==, 1);
    g_assert_cmphex(VFIO_USER_NO_REPLY, ==, 0x10);
    g_assert_cmphex(VFIO_USER_ERROR, ==, 0x20);
    g_assert_cmphex(VFIO_USER_DMA_READABLE, ==, 1);
    g_assert_cmphex(VFIO_USER_DMA_WRITEABLE, ==, 2);
}

/* Minimum sizes of the payloads in bytes, from the specification. */
static const struct {
    const char *name;
    uint16_t number;
    bool from_server;
    uint32_t request;
    uint32_t reply;
    bool request_data;
    bool reply_data;
} commands[] = {
    { "VERSION", 1, false, 4, 4 },
    { "DMA_MAP", 2, false, 32, 0 },
    { "DMA_UNMAP", 3, false, 24, 24, false, true },
    { "DEVICE_GET_INFO", 4, false, 16, 16 },
    { "DEVICE_GET_REGION_INFO", 5, false, 32, 32 },
    { "DEVICE_GET_REGION_IO_FDS", 6, false, 16, 16 },
    { "DEVICE_GET_IRQ_INFO", 7, false, 16, 16 },
    { "DEVICE_SET_IRQS", 8, false, 20, 0 },
    { "REGION_READ", 9, false, 16, 16, false, true },
    { "REGION_WRITE", 10, false, 16, 16, true, false },
    { "DMA_READ", 11, true, 16, 16, false, true },
    { "DMA_WRITE", 12, true, 16, 16, true, false },
    { "DEVICE_RESET", 13, false, 0, 0 },
    { "DIRTY_PAGES", 14, false, 8, 0, false, true },
    { "REGION_WRITE_MULTI", 15, false, 8, 8, true, false },
    { "DEVICE_FEATURE", 16, false, 8, 8, true, true },
    { "MIG_DATA_READ", 17, false, 8, 8, false, true },
    { "MIG_DATA_WRITE", 18, false, 8, 0, true, false },
};

static void check_shape(const VFIOUserShape *shape, uint32_t min, bool data)
{
    g_assert_cmpuint(shape->min, ==, min);
    g_assert_cmpuint(shape->max, >=, shape->min);
    /* the maximum memory of a message without its data */
    g_assert_cmpuint(shape->max, <=, 65 * 1024);
    g_assert_cmpint(shape->data, ==, data);
    g_assert_cmpuint(shape->fds, <=, VFIO_USER_MAX_FDS);
}

static void test_table(void)
{
    size_t i;

    g_assert_cmpuint(VFIO_USER_COMMANDS, ==, ARRAY_SIZE(commands) + 1);
    for (i = 0; i < ARRAY_SIZE(commands); i++) {
        const VFIOUserCommandInfo *info =
            vfio_user_command_info(commands[i].number);

        g_test_message("%s", commands[i].name);
        g_assert_cmpuint(commands[i].number, ==, i + 1);
        g_assert_nonnull(info);
        g_assert_cmpstr(info->name, ==, commands[i].name);
        g_assert_cmpstr(vfio_user_command_name(i + 1), ==, commands[i].name);
        g_assert_cmpint(info->from_server, ==, commands[i].from_server);
        check_shape(&info->request, commands[i].request,
                    commands[i].request_data);
        check_shape(&info->reply, commands[i].reply, commands[i].reply_data);
        /* replies to a server have guest memory, never descriptors */
        g_assert(!info->from_server ||
                 (!info->request.fds && !info->reply.fds));
    }
}

static void test_descriptors(void)
{
    /* one to map, one per interrupt, one per region or sub-region */
    g_assert_cmpuint(vfio_user_command_info(2)->request.fds, ==, 1);
    g_assert_cmpuint(vfio_user_command_info(8)->request.fds, >, 1);
    g_assert_cmpuint(vfio_user_command_info(5)->reply.fds, >=, 1);
    g_assert_cmpuint(vfio_user_command_info(6)->reply.fds, >, 1);
    g_assert_cmpuint(vfio_user_command_info(9)->reply.fds, ==, 0);
    g_assert_cmpuint(vfio_user_command_info(4)->reply.fds, ==, 0);
}

static void test_no_command(void)
{
    static const uint16_t numbers[] = { 0, 19, 0xff, 0x100, 0x8001, 0xffff };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(numbers); i++) {
        g_assert_null(vfio_user_command_info(numbers[i]));
        g_assert_cmpstr(vfio_user_command_name(numbers[i]), ==,
                        "unknown command");
    }
}

static void test_shape_fits(void)
{
    static const VFIOUserShape fixed = { 16, 16, false, 0 };
    static const VFIOUserShape list = { 16, 64, false, 0 };
    static const VFIOUserShape data = { 16, 16, true, 0 };
    static const VFIOUserShape nothing = { 0, 0, false, 0 };
    static const VFIOUserShape bare = { 16, 16, false, 0, true };
    static const struct {
        const VFIOUserShape *shape;
        uint64_t size;
        uint64_t max_data;
        bool fits;
    } cases[] = {
        { &fixed, 16, 1 << 20, true },
        { &fixed, 15, 1 << 20, false },
        { &fixed, 17, 1 << 20, false },
        { &fixed, 0, 1 << 20, false },
        { &list, 16, 0, true },
        { &list, 64, 0, true },
        { &list, 65, 1 << 20, false },
        { &data, 16, 0, true },
        { &data, 17, 0, false },
        { &data, 17, 1, true },
        { &data, 15, 1 << 20, false },
        { &data, 16 + (1 << 20), 1 << 20, true },
        { &data, 17 + (1 << 20), 1 << 20, false },
        { &data, UINT32_MAX, 1 << 20, false },
        { &data, UINT64_MAX, 1 << 20, false },
        { &nothing, 0, 1 << 20, true },
        { &nothing, 1, 1 << 20, false },
        { &bare, 0, 1 << 20, true },
        { &bare, 1, 1 << 20, false },
        { &bare, 15, 1 << 20, false },
        { &bare, 16, 1 << 20, true },
        { &bare, 17, 1 << 20, false },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_test_message("case %zu", i);
        g_assert_cmpint(vfio_user_shape_fits(cases[i].shape, cases[i].size,
                                             cases[i].max_data),
                        ==, cases[i].fits);
    }
}

static void test_errno(void)
{
    g_assert_cmpint(vfio_user_errno(1), ==, 1);
    g_assert_cmpint(vfio_user_errno(EINVAL), ==, EINVAL);
    g_assert_cmpint(vfio_user_errno(4095), ==, 4095);
    g_assert_cmpint(vfio_user_errno(0), ==, EIO);
    g_assert_cmpint(vfio_user_errno(4096), ==, EIO);
    g_assert_cmpint(vfio_user_errno(5000), ==, EIO);
    g_assert_cmpint(vfio_user_errno(0x80000000), ==, EIO);
    g_assert_cmpint(vfio_user_errno(UINT32_MAX), ==, EIO);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vfio-user/wire/layout", test_layout);
    g_test_add_func("/vfio-user/wire/flags", test_flags);
    g_test_add_func("/vfio-user/wire/table", test_table);
    g_test_add_func("/vfio-user/wire/descriptors", test_descriptors);
    g_test_add_func("/vfio-user/wire/no-command", test_no_command);
    g_test_add_func("/vfio-user/wire/shape-fits", test_shape_fits);
    g_test_add_func("/vfio-user/wire/errno", test_errno);
    return g_test_run();
}
