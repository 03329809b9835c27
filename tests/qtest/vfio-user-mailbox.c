/*
 * A guest that accesses registers as the test says
 *
 * See the header for what this file is and is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qobject/qdict.h"
#include "vfio-user-mailbox.h"

#define COMMAND  0x500          /* 0: done */
#define ADDRESS  0x504
#define VALUE    0x508
#define ADDRESS2 0x50c
#define VALUE2   0x510

#define READ       1
#define WRITE      2
#define WRITE_BOTH 3

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
    0x72, 0x11,                                 /* jb 4f */
    0x89, 0x06,                                 /* movl %eax, (%esi) */
    0x74, 0x0d,                                 /* je 4f */
    0x8b, 0x35, 0x0c, 0x05, 0, 0,               /* movl ADDRESS2, %esi */
    0xa1, 0x10, 0x05, 0, 0,                     /* movl VALUE2, %eax */
    0x89, 0x06,                                 /* movl %eax, (%esi) */
    0xc7, 0x05, 0x00, 0x05, 0, 0, 0, 0, 0, 0,   /* 4: movl $0, COMMAND */
    0xeb, 0xbd,                                 /* jmp 2b */
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

void vfio_user_mailbox_wait(VFIOUserRig *rig)
{
    g_assert_true(done(rig, VFIO_USER_SERVER_DEADLINE));
}

uint32_t vfio_user_mailbox_read(VFIOUserRig *rig, uint64_t address)
{
    start(rig, READ, address, 0);
    vfio_user_mailbox_wait(rig);
    return qtest_readl(rig->qts, VALUE);
}

void vfio_user_mailbox_write(VFIOUserRig *rig, uint64_t address,
                             uint32_t value)
{
    start(rig, WRITE, address, value);
    vfio_user_mailbox_wait(rig);
}

void vfio_user_mailbox_write_both(VFIOUserRig *rig,
                                  VFIOUserMailboxWrite first,
                                  VFIOUserMailboxWrite second)
{
    qtest_writel(rig->qts, ADDRESS2, second.address);
    qtest_writel(rig->qts, VALUE2, second.value);
    start(rig, WRITE_BOTH, first.address, first.value);
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

    /* the same name for all of them, so that they share a VM */
    if (!image_path) {
        write_image();
    }
    args = g_strdup_printf(VFIO_USER_RIG_RAM "-accel %s -bios %s %s", accel,
                           image_path, more);
    rig = vfio_user_rig_begin(args, model, rules);
    vfio_user_rig_plug(rig, timeout_ms);
    start(rig, READ, VALUE, 0);
    if (kvm && (!has_kvm(rig) || !done(rig, 5 * G_TIME_SPAN_SECOND))) {
        vfio_user_rig_end(rig);
        g_test_skip("/dev/kvm runs no guest");
        return NULL;
    }
    vfio_user_mailbox_wait(rig);
    return rig;
}
