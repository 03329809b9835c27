/*
 * qtest of the vfio-user client: streams of version 0.9.1 that somebody changed
 *
 * A VM is saved to a file, of which then a byte is another, or the end is
 * missing: the sums in it tell.  So that what lies behind the sums is tried as
 * well, other changes come with sums that are right.  Whoever loads the file
 * ends with a message and status 1, whatever it is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "hw/vfio/user/migration-stream.h"
#include "qemu/bswap.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define HEAD VFIO_USER_MIG_HEAD_SIZE

/* Beginnings of sections of hw/vfio/migration.c, and their end */
#define FLAG_END 0xffffffffef100001ULL
#define FLAG_CONFIG 0xffffffffef100002ULL
#define FLAG_SETUP 0xffffffffef100003ULL
#define FLAG_DATA 0xffffffffef100004ULL

typedef struct Stream {
    char *bytes;
    gsize size;
    size_t magic;               /* where the device begins */
    GArray *records;            /* size_t: where the heads are */
} Stream;

static VFIOUserMigHead head_at(const Stream *s, size_t at)
{
    return (VFIOUserMigHead) {
        .record = ldl_be_p(s->bytes + at),
        .size = ldl_be_p(s->bytes + at + 4),
    };
}

/* Whether a record of the device is there, which belongs behind @sum. */
static bool is_record(const Stream *s, size_t at, VFIOUserMigSum *sum)
{
    VFIOUserMigSum with = *sum;
    const uint8_t *bytes = (const uint8_t *)s->bytes + at;
    VFIOUserMigHead head;

    if (!vfio_user_mig_get_head(sum, bytes, &head, NULL) ||
        head.size > s->size - at - HEAD ||
        !vfio_user_mig_check(&with, &head, bytes + HEAD, NULL)) {
        return false;
    }
    *sum = with;
    return true;
}

static void find_records(Stream *s)
{
    const uint64_t magic = cpu_to_be64(VFIO_USER_MIG_MAGIC);
    VFIOUserMigSum sum = { };

    s->magic = (char *)memmem(s->bytes, s->size, &magic, sizeof(magic)) -
               s->bytes;
    s->records = g_array_new(false, false, sizeof(size_t));
    for (size_t at = s->magic + sizeof(magic); at + HEAD <= s->size; ) {
        if (is_record(s, at, &sum)) {
            g_array_append_val(s->records, at);
            at += HEAD + head_at(s, at).size;
        } else {
            at++;
        }
    }
}

/* Sums that fit what is there now. */
static void seal(Stream *s)
{
    VFIOUserMigSum sum = { };

    for (unsigned i = 0; i < s->records->len; i++) {
        size_t at = g_array_index(s->records, size_t, i);
        VFIOUserMigHead head = head_at(s, at);

        vfio_user_mig_put_head(&sum, head.record, s->bytes + at + HEAD,
                               head.size, (uint8_t *)s->bytes + at);
    }
}

static Stream save(void)
{
    const VFIOUserModel *model = vfio_user_mig_region;
    VFIOUserMigVM *vm = vfio_user_mig_vm_run(&model, 1, 0);
    g_autofree char *file = g_build_filename(vm->dir, "file", NULL);
    g_autofree char *to = g_strdup_printf("exec:cat > %s", file);
    Stream s = { };

    vfio_user_mig_vm_fill(vm, 711);
    vfio_user_mig_start(vm, to);
    vfio_user_mig_wait(vm, "completed");
    g_assert_true(g_file_get_contents(file, &s.bytes, &s.size, NULL));
    vfio_user_mig_vm_free(vm);
    find_records(&s);
    /* set-up, data and configuration, each with an end */
    g_assert_cmpuint(s.records->len, >=, 7);
    return s;
}

static void stream_free(Stream *s)
{
    g_array_unref(s->records);
    g_free(s->bytes);
}

/* Whoever loads @size bytes of the stream ends; returns what it says. */
static char *load(const Stream *s, gsize size)
{
    VFIOUserServer *server = vfio_user_server_new(vfio_user_mig_region, NULL);
    g_autofree char *dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "saved", NULL);
    g_autofree char *args =
        g_strdup_printf(VFIO_USER_RIG_RAM "-device vfio-user-pci,id=dut0,"
                        "addr=4,socket=%s -incoming 'exec:cat %s'",
                        vfio_user_server_path(server), path);
    char *text;

    g_assert_true(g_file_set_contents(path, s->bytes, size, NULL));
    g_assert_cmpint(vfio_user_rig_run(args, &text), ==, 1);
    g_assert_cmpuint(vfio_user_rig_lines(text), >, 0);
    g_unlink(path);
    g_rmdir(dir);
    vfio_user_server_free(server);
    return text;
}

/* Byte @at is another: the device is refused, by its name. */
static void check_flipped(Stream *s, size_t at)
{
    g_autofree char *text = NULL;

    g_test_message("byte %zu of the device", at - s->magic);
    s->bytes[at] ^= 0x11;
    text = load(s, s->size);
    g_assert_nonnull(strstr(text, "loading the device failed: the stream "));
    s->bytes[at] ^= 0x11;
}

/* The heads byte by byte in steps, and some of what is in the records. */
static void test_flipped(void)
{
    Stream s = save();
    unsigned n = s.records->len;

    for (size_t i = 0; i < 8; i += 3) {
        check_flipped(&s, s.magic + i);
    }
    /* the first three are one of each kind */
    for (unsigned i = 0; i < n; i++) {
        size_t at = g_array_index(s.records, size_t, i);
        size_t size = head_at(&s, at).size;

        for (size_t byte = i; i < 3 && byte < HEAD; byte += 3) {
            check_flipped(&s, at + byte);
        }
        if (size) {
            check_flipped(&s, at + HEAD + i * 977 % size);
        }
    }
    stream_free(&s);
}

/* The file ends somewhere in the device, or in what is between. */
static void test_truncated(void)
{
    Stream s = save();
    size_t last = g_array_index(s.records, size_t, s.records->len - 1);
    const unsigned steps = 20;

    for (unsigned i = 0; i < steps; i++) {
        g_free(load(&s, s.magic + (last + HEAD - s.magic) * i / steps + i % 7));
    }
    /* within the last records, each byte counts */
    for (unsigned i = 1; i < 3 * HEAD; i += 11) {
        g_free(load(&s, last + HEAD - i));
    }
    stream_free(&s);
}

/* What the sums do not tell, since they are right */

static size_t find(const Stream *s, uint64_t flag)
{
    char *at;

    flag = cpu_to_be64(flag);
    at = memmem(s->bytes + s->magic, s->size - s->magic, &flag, sizeof(flag));
    g_assert_nonnull(at);
    return at - s->bytes;
}

/* Where @skip bytes of payload behind @at are: it may be the next record. */
static size_t behind(const Stream *s, size_t at, size_t skip)
{
    for (unsigned i = 0; i < s->records->len; i++) {
        size_t begin = g_array_index(s->records, size_t, i) + HEAD;
        size_t end = begin + head_at(s, begin - HEAD).size;

        if (at < end && skip < end - MAX(at, begin)) {
            return MAX(at, begin) + skip;
        }
        if (at < end) {
            skip -= end - MAX(at, begin);
            at = end;
        }
    }
    g_assert_not_reached();
}

typedef struct Forgery {
    const char *name;
    uint64_t flag;              /* what begins there */
    int skip;                   /* bytes from there */
    uint64_t value;             /* is there then */
    const char *says;
} Forgery;

static const Forgery forgeries[] = {
    { "setup-of-nonsense", FLAG_SETUP, 8, 0x1234, "EOS not found 0x1234" },
    { "flag-of-nonsense", FLAG_DATA, 0, 0x1234, "Unknown tag 0x1234" },
    { "end-too-early", FLAG_DATA, 0, FLAG_END, "more than the device's state" },
    { "data-of-1-byte", FLAG_DATA, 8, 1, "Unknown tag" },
    { "data-of-8-exbibytes", FLAG_DATA, 8, 1ULL << 63,
      "loading the device failed" },
    { "data-of-16-exbibytes", FLAG_DATA, 8, UINT64_MAX,
      "loading the device failed" },
    { "state-of-other-device", FLAG_DATA, 16, UINT64_MAX,
      "loading the device failed" },
    { "config-of-nonsense", FLAG_CONFIG, 8, UINT64_MAX,
      "Failed to load device config space" },
};

static void test_forged(const void *opaque)
{
    const Forgery *forgery = opaque;
    Stream s = save();
    g_autofree char *text = NULL;

    stq_be_p(s.bytes + behind(&s, find(&s, forgery->flag), forgery->skip),
             forgery->value);
    seal(&s);
    text = load(&s, s.size);
    if (!strstr(text, forgery->says)) {
        g_test_message("did not say \"%s\"", forgery->says);
        g_test_fail();
    }
    stream_free(&s);
}

/*
 * Byte after byte of what hw/vfio/migration.c reads itself, @size from the
 * flag on; what a change does not end, a missing end does.
 */
static void forge_bytes(Stream *s, uint64_t flag, size_t size, unsigned step)
{
    size_t from = find(s, flag);

    for (size_t at = from; at < from + size; at += step) {
        g_test_message("byte %zu behind flag 0x%" PRIx64, at - from, flag);
        s->bytes[at] ^= 0x81;
        seal(s);
        g_free(load(s, s->size));
        s->bytes[at] ^= 0x81;
    }
}

static void test_forged_bytes(void)
{
    Stream s = save();
    unsigned last = s.records->len - 2;     /* before its SECTION_END */
    size_t config = g_array_index(s.records, size_t, last);
    size_t size = head_at(&s, config).size;

    g_assert_cmphex(ldq_be_p(s.bytes + config + HEAD), ==, FLAG_CONFIG);
    s.bytes[config + HEAD + size - 1] ^= 1;
    forge_bytes(&s, FLAG_SETUP, 16, 3);
    forge_bytes(&s, FLAG_DATA, 16, 3);
    forge_bytes(&s, FLAG_CONFIG, size, size / 24);
    stream_free(&s);
}

void vfio_user_add_migration1_stream_tests(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(forgeries); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration1-stream/%s",
                            forgeries[i].name);

        qtest_add_data_func(path, &forgeries[i], test_forged);
    }
    qtest_add_func("/vfio-user/migration1-stream/flipped", test_flipped);
    qtest_add_func("/vfio-user/migration1-stream/truncated", test_truncated);
    qtest_add_func("/vfio-user/migration1-stream/forged-bytes",
                   test_forged_bytes);
}
