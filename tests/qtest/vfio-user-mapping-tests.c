/*
 * qtest of the vfio-user client: mapped regions under a vCPU
 *
 * A guest of a few instructions accesses registers that the server shares as a
 * file, under TCG and, where it runs, under KVM; and the file becomes shorter,
 * which is SIGBUS to a program and EFAULT to KVM.  The VM must go on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qapi/qmp/qdict.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define PAGE 0x1000
#define MAPPED (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | \
                VFIO_REGION_INFO_FLAG_MMAP)

/* The guest: takes one command after another from this mailbox in RAM. */
#define COMMAND 0x500           /* 0: done */
#define ADDRESS 0x504
#define VALUE   0x508
#define READ    1
#define WRITE   2

/* The last 256 bytes of the 64 KiB in place of a BIOS. */
static const uint8_t code[256] = {
    /* 16 bits, from the reset vector: to flat 32 bits */
    0xfa,                                       /* cli */
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x30, 0xff,   /* lgdtl %cs:0xff30 */
    0x0f, 0x20, 0xc0,                           /* movl %cr0, %eax */
    0x0c, 0x01,                                 /* orb $1, %al */
    0x0f, 0x22, 0xc0,                           /* movl %eax, %cr0 */
    0x66, 0xea, 0x36, 0xff, 0xff, 0xff, 0x08, 0x00,     /* ljmpl $8, $1f */
    /* GDT of ROM: code and data, accessed already */
    [0x20] = 0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0,
             0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0,
             0x17, 0x00, 0x18, 0xff, 0xff, 0xff,
    /* 0x36 */
    0xb8, 0x10, 0, 0, 0,                        /* 1: movl $16, %eax */
    0x8e, 0xd8,                                 /* movw %ax, %ds */
    0xf3, 0x90,                                 /* 2: pause */
    0x8b, 0x0d, 0x00, 0x05, 0, 0,               /* movl COMMAND, %ecx */
    0x83, 0xf9, 0x01,                           /* cmpl $1, %ecx */
    0x72, 0xf3,                                 /* jb 2b */
    0x8b, 0x35, 0x04, 0x05, 0, 0,               /* movl ADDRESS, %esi */
    0xa1, 0x08, 0x05, 0, 0,                     /* movl VALUE, %eax */
    0x77, 0x07,                                 /* ja 3f */
    0x8b, 0x06,                                 /* movl (%esi), %eax */
    0xa3, 0x08, 0x05, 0, 0,                     /* movl %eax, VALUE */
    0x83, 0xf9, 0x02,                           /* 3: cmpl $2, %ecx */
    0x75, 0x02,                                 /* jne 4f */
    0x89, 0x06,                                 /* movl %eax, (%esi) */
    0xc7, 0x05, 0x00, 0x05, 0, 0, 0, 0, 0, 0,   /* 4: movl $0, COMMAND */
    0xeb, 0xcc,                                 /* jmp 2b */
    /* reset vector */
    [0xf0] = 0xe9, 0x0d, 0xff,                  /* jmp to the beginning */
};

static char *image_path;

static void remove_image(void)
{
    unlink(image_path);
    g_free(image_path);
}

static void write_image(void)
{
    g_autofree uint8_t *image = g_malloc0(64 * KiB);
    int fd = g_file_open_tmp("vfio-user-guest-XXXXXX", &image_path, NULL);

    g_assert_cmpint(fd, >=, 0);
    atexit(remove_image);
    memcpy(image + 64 * KiB - sizeof(code), code, sizeof(code));
    g_assert_cmpint(write(fd, image, 64 * KiB), ==, 64 * KiB);
    close(fd);
}

/* Waits for the guest; false at the deadline. */
static bool done(VFIOUserRig *rig, gint64 us)
{
    gint64 deadline = g_get_monotonic_time() + us;

    while (qtest_readl(rig->qts, COMMAND)) {
        if (g_get_monotonic_time() > deadline) {
            return false;
        }
    }
    return true;
}

static void start(VFIOUserRig *rig, uint32_t command, uint64_t address,
                  uint32_t value)
{
    qtest_writel(rig->qts, ADDRESS, address);
    qtest_writel(rig->qts, VALUE, value);
    qtest_writel(rig->qts, COMMAND, command);
}

static uint32_t guest_read(VFIOUserRig *rig, uint64_t address)
{
    start(rig, READ, address, 0);
    g_assert_true(done(rig, VFIO_USER_SERVER_DEADLINE));
    return qtest_readl(rig->qts, VALUE);
}

static void guest_write(VFIOUserRig *rig, uint64_t address, uint32_t value)
{
    start(rig, WRITE, address, value);
    g_assert_true(done(rig, VFIO_USER_SERVER_DEADLINE));
}

static VFIOUserModel model;     /* of a device with BAR 0 mapped */

static bool has_kvm(VFIOUserRig *rig)
{
    QDict *response = qtest_qmp(rig->qts, "{'execute': 'query-kvm'}");
    bool enabled = qdict_get_bool(qdict_get_qdict(response, "return"),
                                  "enabled");

    qobject_unref(response);
    return enabled;
}

/*
 * The device and a guest that runs; NULL where /dev/kvm is not
 * there, or is there and runs no guest.
 */
static VFIOUserRig *begin(const char *accel)
{
    g_autofree char *args = NULL;
    bool kvm = !strcmp(accel, "kvm");
    VFIOUserRig *rig;

    /* the same name for all of them, so that they share a VM */
    if (!image_path) {
        write_image();
    }
    args = g_strdup_printf(VFIO_USER_RIG_RAM "-accel %s -bios %s ", accel,
                           image_path);
    model = vfio_user_model;
    model.region[0] = (VFIOUserModelRegion) { 4 * PAGE, MAPPED };
    rig = vfio_user_rig_begin(args, &model, NULL);
    vfio_user_rig_plug(rig, 0);
    start(rig, READ, VALUE, 0);
    if (kvm && (!has_kvm(rig) || !done(rig, 5 * G_TIME_SPAN_SECOND))) {
        vfio_user_rig_end(rig);
        g_test_skip("/dev/kvm runs no guest");
        return NULL;
    }
    return rig;
}

static unsigned accesses(VFIOUserServer *server)
{
    return vfio_user_server_saw(server, VFIO_USER_REGION_READ, AT(0)) +
           vfio_user_server_saw(server, VFIO_USER_REGION_WRITE, AT(0));
}

static void test_access(const void *accel)
{
    VFIOUserRig *rig = begin(accel);
    const uint32_t value = 0x12345678;
    uint32_t is;

    if (!rig) {
        return;
    }
    vfio_user_server_forget(rig->server);
    vfio_user_server_poke(rig->server, 0, PAGE, &value, sizeof(value));
    g_assert_cmphex(guest_read(rig, rig->bar[0].addr + PAGE), ==, value);
    guest_write(rig, rig->bar[0].addr + 2 * PAGE, ~value);
    vfio_user_server_peek(rig->server, 0, 2 * PAGE, &is, sizeof(is));
    g_assert_cmphex(is, ==, ~value);
    g_assert_cmpuint(accesses(rig->server), ==, 0);

    /* a region beside it goes by message */
    guest_write(rig, rig->bar[2].addr + PAGE, value);
    g_assert_cmphex(guest_read(rig, rig->bar[2].addr + PAGE), ==, value);
    vfio_user_rig_end(rig);
}

/* All ones, and the device is dead. */
static void check_gone(VFIOUserRig *rig)
{
    const uint64_t at = rig->bar[0].addr;

    vfio_user_rig_wait(rig, guest_read(rig, at) == UINT32_MAX);
    guest_write(rig, at, 0);
    g_assert_cmphex(guest_read(rig, at), ==, UINT32_MAX);
    g_assert_cmphex(guest_read(rig, rig->bar[2].addr), ==, UINT32_MAX);
    vfio_user_rig_ping(rig);
}

static void test_death(const void *accel)
{
    VFIOUserRig *rig = begin(accel);

    if (!rig) {
        return;
    }
    g_assert_cmphex(guest_read(rig, rig->bar[0].addr), ==, 0);
    vfio_user_server_hang_up(rig->server);
    check_gone(rig);
    vfio_user_rig_end(rig);
}

static void test_truncated_read(const void *accel)
{
    VFIOUserRig *rig = begin(accel);

    if (!rig) {
        return;
    }
    g_assert_cmphex(guest_read(rig, rig->bar[0].addr + 2 * PAGE), ==, 0);
    vfio_user_server_truncate(rig->server, 0, PAGE);
    g_assert_cmphex(guest_read(rig, rig->bar[0].addr + 2 * PAGE), ==,
                    UINT32_MAX);
    check_gone(rig);
    vfio_user_rig_end(rig);
}

static void test_truncated_write(const void *accel)
{
    VFIOUserRig *rig = begin(accel);

    if (!rig) {
        return;
    }
    vfio_user_server_truncate(rig->server, 0, 0);
    guest_write(rig, rig->bar[0].addr + 4 * PAGE - 4, 0x1234);
    check_gone(rig);
    vfio_user_rig_end(rig);
}

#define OTHER_SLOT 9

/* What one server does to its file costs another's device nothing. */
static void test_truncated_beside(const void *accel)
{
    VFIOUserRig *rig = begin(accel);
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
    guest_write(rig, bar.addr + PAGE, value);
    vfio_user_server_forget(server);

    vfio_user_server_truncate(rig->server, 0, 0);
    check_gone(rig);
    g_assert_cmphex(guest_read(rig, bar.addr + PAGE), ==, value);
    guest_write(rig, bar.addr + 3 * PAGE, ~value);
    vfio_user_server_peek(server, 0, 3 * PAGE, &is, sizeof(is));
    g_assert_cmphex(is, ==, ~value);
    g_assert_cmpuint(accesses(server), ==, 0);

    qpci_unplug_acpi_device_test(rig->qts, "other", OTHER_SLOT);
    vfio_user_server_wait_client(server, false);
    vfio_user_server_free(server);
    vfio_user_rig_end(rig);
}

/* The same by QEMU's main loop, as for another device's DMA. */
static void test_truncated_in_main_loop(void)
{
    VFIOUserRig *rig = begin("tcg");

    vfio_user_server_truncate(rig->server, 0, PAGE);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 2 * PAGE), ==,
                    UINT32_MAX);
    qpci_io_writel(rig->dev, rig->bar[0], 3 * PAGE, 0);
    check_gone(rig);
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
