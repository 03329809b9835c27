/*
 * vfio-user migration stream
 *
 * Records that were written can be read back.  Records with any changed byte
 * in the head, and records that are missing, repeated or invalid, are refused
 * with a message.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qapi/error.h"
#include "hw/vfio/user/migration-stream.h"

#define HEAD VFIO_USER_MIG_HEAD_SIZE

static const VFIOUserMigIdentity identity = {
    .version = 2, .vendor = 0x1234, .device = 0xfeed, .sub_vendor = 0x5678,
    .sub_device = 0x9abc, .class_revision = 0x01080201, .config_size = 256,
};

static void assert_refused(bool ok, Error **err, const char *why)
{
    g_assert_false(ok);
    g_assert_nonnull(*err);
    g_test_message("%s", error_get_pretty(*err));
    g_assert_nonnull(strstr(error_get_pretty(*err), why));
    g_clear_pointer(err, error_free);
}

static bool pass(uint64_t *position, const uint8_t *head, Error **errp)
{
    VFIOUserMigHead got;

    return vfio_user_mig_get_head(position, head, &got, errp);
}

static void test_round(void)
{
    static const VFIOUserMigHead heads[] = {
        { VFIO_USER_MIG_HELLO, VFIO_USER_MIG_HELLO_SIZE },
        { VFIO_USER_MIG_RESTART, 0 },
        { VFIO_USER_MIG_PART, 1 },
        { VFIO_USER_MIG_PART, VFIO_USER_MIG_MAX_RECORD },
        { VFIO_USER_MIG_DATA, 1 },
        { VFIO_USER_MIG_DATA, VFIO_USER_MIG_MAX_RECORD },
        { VFIO_USER_MIG_CONFIG, 1 },
        { VFIO_USER_MIG_CONFIG, VFIO_USER_MIG_MAX_RECORD },
        { VFIO_USER_MIG_END, 0 },
        { VFIO_USER_MIG_SECTION_END, 0 },
    };
    uint64_t out = 12, in = 12;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(heads); i++) {
        uint8_t bytes[HEAD];
        VFIOUserMigHead head;

        vfio_user_mig_put_head(&out, heads[i].record, heads[i].size, bytes);
        g_assert_true(vfio_user_mig_get_head(&in, bytes, &head, &error_abort));
        g_assert_cmpint(head.record, ==, heads[i].record);
        g_assert_cmpuint(head.size, ==, heads[i].size);
        g_assert_cmpuint(in, ==, out);
    }
    g_assert_cmpuint(in, ==, 12 + ARRAY_SIZE(heads) * HEAD +
                     VFIO_USER_MIG_HELLO_SIZE + 3 +
                     3 * VFIO_USER_MIG_MAX_RECORD);
}

/* Any change of any byte of a head is detected. */
static void test_changed(void)
{
    for (unsigned record = 0; record < VFIO_USER_MIG_OPTIONAL; record++) {
        unsigned size = record == VFIO_USER_MIG_HELLO ?
                        VFIO_USER_MIG_HELLO_SIZE :
                        record == VFIO_USER_MIG_PART ||
                        record == VFIO_USER_MIG_DATA ||
                        record == VFIO_USER_MIG_CONFIG ? 4660 : 0;
        uint8_t bytes[HEAD];
        uint64_t out = 987654;

        vfio_user_mig_put_head(&out, record, size, bytes);
        for (unsigned i = 0; i < HEAD * 255; i++) {
            uint64_t in = 987654;
            Error *err = NULL;

            bytes[i / 255] ^= i % 255 + 1;
            assert_refused(pass(&in, bytes, &err), &err,
                           "the stream has a record ");
            bytes[i / 255] ^= i % 255 + 1;
        }
    }
}

static void test_lost_and_repeated(void)
{
    uint8_t one[HEAD], empty[HEAD], two[HEAD];
    uint64_t out = 0, in = 0;
    Error *err = NULL;

    vfio_user_mig_put_head(&out, VFIO_USER_MIG_DATA, 8, one);
    vfio_user_mig_put_head(&out, VFIO_USER_MIG_RESTART, 0, empty);
    vfio_user_mig_put_head(&out, VFIO_USER_MIG_DATA, 8, two);
    assert_refused(pass(&in, two, &err), &err, "ends after 24 bytes but was"
                   " written to end after 64");
    g_assert_true(pass(&in, one, &error_abort));
    assert_refused(pass(&in, one, &err), &err, "ends after 48 bytes but was"
                   " written to end after 24");
    assert_refused(pass(&in, two, &err), &err, "ends after 48 bytes but was"
                   " written to end after 64");
    g_assert_true(pass(&in, empty, &error_abort));
    assert_refused(pass(&in, empty, &err), &err, "ends after 56 bytes but was"
                   " written to end after 40");
    g_assert_true(pass(&in, two, &error_abort));
}

static void test_bounds(void)
{
    static const VFIOUserMigHead rows[] = {
        { VFIO_USER_MIG_HELLO, VFIO_USER_MIG_HELLO_SIZE - 1 },
        { VFIO_USER_MIG_HELLO, VFIO_USER_MIG_HELLO_SIZE + 1 },
        { VFIO_USER_MIG_RESTART, 1 },
        { VFIO_USER_MIG_PART, 0 },
        { VFIO_USER_MIG_PART, VFIO_USER_MIG_MAX_RECORD + 1 },
        { VFIO_USER_MIG_DATA, 0 },
        { VFIO_USER_MIG_DATA, VFIO_USER_MIG_MAX_RECORD + 1 },
        { VFIO_USER_MIG_DATA, UINT32_MAX },
        { VFIO_USER_MIG_CONFIG, 0 },
        { VFIO_USER_MIG_CONFIG, VFIO_USER_MIG_MAX_RECORD + 1 },
        { VFIO_USER_MIG_END, 1 }, { VFIO_USER_MIG_SECTION_END, 1 },
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t out = 0, in = 0;
        uint8_t bytes[HEAD];
        Error *err = NULL;

        vfio_user_mig_put_head(&out, rows[i].record, rows[i].size, bytes);
        assert_refused(pass(&in, bytes, &err), &err,
                       "the stream has a record ");
        g_assert_cmpuint(in, ==, 0);
    }
}

static void test_unknown(void)
{
    static const uint32_t words[] = {
        0, 1, 7, 0x44415441, 0x6f706178, 0x4f504158, 0x4f000000, UINT32_MAX
    };

    for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
        uint8_t bytes[HEAD] = { };
        uint64_t in = 0;
        Error *err = NULL;

        stl_be_p(bytes, words[i]);
        assert_refused(pass(&in, bytes, &err), &err, "the unknown type 0x");
    }
}

/* Unknown records whose kind begins with "Op" are optional. */
static void test_optional(void)
{
    static const uint32_t words[] = { 0x4f700000, 0x4f706178, 0x4f70ffff };
    uint64_t in = 40;

    for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
        uint8_t bytes[HEAD];
        VFIOUserMigHead head;
        Error *err = NULL;

        stl_be_p(bytes, words[i]);
        stl_be_p(bytes + 4, 7 * i);
        stq_be_p(bytes + 8, in + HEAD + 7 * i);
        g_assert_true(vfio_user_mig_get_head(&in, bytes, &head, &error_abort));
        g_assert_cmpint(head.record, ==, VFIO_USER_MIG_OPTIONAL);
        g_assert_cmpuint(head.size, ==, 7 * i);
        assert_refused(pass(&in, bytes, &err), &err, "written to end after");
        stl_be_p(bytes + 4, VFIO_USER_MIG_MAX_RECORD + 1);
        assert_refused(pass(&in, bytes, &err), &err, "a record OPTIONAL of ");
    }
}

static void test_hello(void)
{
    uint8_t bytes[VFIO_USER_MIG_HELLO_SIZE];
    unsigned i;

    vfio_user_mig_put_hello(&identity, bytes);
    g_assert_true(vfio_user_mig_check_hello(&identity, bytes, &error_abort));
    for (i = 0; i < sizeof(bytes); i++) {
        Error *err = NULL;

        bytes[i] ^= 0x10;
        assert_refused(vfio_user_mig_check_hello(&identity, bytes, &err), &err,
                       i < 4 ? "migration v" : "another device");
        bytes[i] ^= 0x10;
    }
}

static void test_beginning(void)
{
    uint8_t bytes[VFIO_USER_MIG_BEGINNING_SIZE];
    Error *err = NULL;

    vfio_user_mig_put_beginning(bytes);
    g_assert_true(vfio_user_mig_check_beginning(bytes, &error_abort));
    /* the writer's version, and the lowest version that can read the stream */
    stl_be_p(bytes + 8, 0xffff0003);
    g_assert_true(vfio_user_mig_check_beginning(bytes, &error_abort));
    /* version 1 had a record HELLO there */
    stl_be_p(bytes + 8, 1);
    assert_refused(vfio_user_mig_check_beginning(bytes, &err), &err,
                   "version 1 and requires a QEMU that reads version 1; this"
                   " QEMU reads versions 2 to 3");
    stl_be_p(bytes + 8, 0x50004);
    assert_refused(vfio_user_mig_check_beginning(bytes, &err), &err,
                   "version 5 and requires a QEMU that reads version 4; this"
                   " QEMU reads versions 2 to 3");
    memset(bytes, 0, sizeof(bytes));
    assert_refused(vfio_user_mig_check_beginning(bytes, &err), &err,
                   "not contain the state of a");
}

/*
 * Version 2 as it was released, for a server with migration v2.  Streams must
 * work in both directions between version 2 and this QEMU.  Version 2 accepts
 * only the number 2 after the magic number, and has no optional records.
 */
static const uint8_t version_2[] = {
    'v', 'f', 'i', 'o', 'u', 's', 'e', 'r', 0, 0, 0, 2,
    'H', 'e', 'l', 'o', 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 48,
    0, 0, 0, 2, 0x12, 0x34, 0xfe, 0xed, 0x56, 0x78, 0x9a, 0xbc,
    0x01, 0x08, 0x02, 0x01, 0, 0, 1, 0,
    'S', 'e', 'c', 'E', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64,
    'V', 'o', 'i', 'd', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 80,
    'P', 'a', 'r', 't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 97, 1,
    'D', 'a', 't', 'a', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 115, 2, 3,
    'C', 'o', 'n', 'f', 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 134, 4, 5, 6,
    'T', 'h', 'e', 'E', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 150,
};

static const VFIOUserMigHead version_2_heads[] = {
    { VFIO_USER_MIG_HELLO, VFIO_USER_MIG_HELLO_SIZE },
    { VFIO_USER_MIG_SECTION_END }, { VFIO_USER_MIG_RESTART },
    { VFIO_USER_MIG_PART, 1 }, { VFIO_USER_MIG_DATA, 2 },
    { VFIO_USER_MIG_CONFIG, 3 }, { VFIO_USER_MIG_END },
};

static void test_version_2_written(void)
{
    uint8_t bytes[sizeof(version_2)];
    uint64_t position = VFIO_USER_MIG_BEGINNING_SIZE;

    /* heads and HELLO are written over this; other payloads are kept */
    memcpy(bytes, version_2, sizeof(bytes));
    vfio_user_mig_put_beginning(bytes);
    for (unsigned i = 0; i < ARRAY_SIZE(version_2_heads); i++) {
        vfio_user_mig_put_head(&position, version_2_heads[i].record,
                               version_2_heads[i].size, bytes + position);
        if (i == 0) {
            vfio_user_mig_put_hello(&identity, bytes + position -
                                               VFIO_USER_MIG_HELLO_SIZE);
        }
    }
    g_assert_cmpmem(bytes, position, version_2, sizeof(version_2));
}

static void test_version_2_read(void)
{
    uint64_t position = VFIO_USER_MIG_BEGINNING_SIZE;

    g_assert_true(vfio_user_mig_check_beginning(version_2, &error_abort));
    for (unsigned i = 0; i < ARRAY_SIZE(version_2_heads); i++) {
        VFIOUserMigHead head;

        g_assert_true(vfio_user_mig_get_head(&position, version_2 + position,
                                             &head, &error_abort));
        g_assert_cmpint(head.record, ==, version_2_heads[i].record);
        g_assert_cmpuint(head.size, ==, version_2_heads[i].size);
        if (i == 0) {
            g_assert_true(vfio_user_mig_check_hello(
                              &identity, version_2 + position - head.size,
                              &error_abort));
        }
    }
    g_assert_cmpuint(position, ==, sizeof(version_2));
}

/* Fuzz */

#define RECORDS 6
#define ROUNDS 20000
#define MAX_PAYLOAD 40

/* Parses as a reader does; appends the heads that are accepted. */
static unsigned parse(const GByteArray *stream, GByteArray *heads)
{
    uint64_t position = 0;

    for (unsigned n = 0; ; n++) {
        size_t at = position;
        VFIOUserMigHead head;

        if (stream->len - at < HEAD ||
            !vfio_user_mig_get_head(&position, stream->data + at, &head,
                                    NULL) ||
            stream->len < position) {
            return n;
        }
        g_byte_array_append(heads, stream->data + at, HEAD);
    }
}

static GByteArray *make_stream(GRand *rand)
{
    GByteArray *stream = g_byte_array_new();
    uint64_t position = 0;
    unsigned i, j;

    for (i = 0; i < RECORDS; i++) {
        uint8_t bytes[HEAD + MAX_PAYLOAD];
        size_t size = g_rand_int_range(rand, 1, MAX_PAYLOAD);

        vfio_user_mig_put_head(&position, VFIO_USER_MIG_DATA, size, bytes);
        for (j = 0; j < size; j++) {
            bytes[HEAD + j] = g_rand_int(rand);
        }
        g_byte_array_append(stream, bytes, HEAD + size);
    }
    return stream;
}

/* Changes a byte, cuts the end, or removes or repeats a part. */
static void change(GByteArray *stream, GRand *rand)
{
    guint at = g_rand_int_range(rand, 0, stream->len);
    guint size = g_rand_int_range(rand, 0, stream->len - at) + 1;
    g_autofree uint8_t *copy = NULL;

    switch (g_rand_int_range(rand, 0, 5)) {
    case 0:
        stream->data[at] ^= g_rand_int_range(rand, 1, 256);
        break;
    case 1:
        stream->data[at] = g_rand_int(rand);
        break;
    case 2:
        g_byte_array_set_size(stream, at);
        break;
    case 3:
        g_byte_array_remove_range(stream, at, size);
        break;
    case 4:
        copy = g_malloc(size);
        memcpy(copy, stream->data + at, size);
        g_byte_array_append(stream, copy, size);
        break;
    }
}

/* After any change, only unchanged heads from the beginning are accepted. */
static void test_fuzz(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(g_test_rand_int());
    unsigned i, refused = 0;

    for (i = 0; i < ROUNDS; i++) {
        g_autoptr(GByteArray) stream = make_stream(rand);
        g_autoptr(GByteArray) before = g_byte_array_new();
        g_autoptr(GByteArray) after = g_byte_array_new();
        unsigned changes = g_rand_int_range(rand, 1, 4);

        g_assert_cmpuint(parse(stream, before), ==, RECORDS);
        while (changes-- && stream->len) {
            change(stream, rand);
        }
        refused += parse(stream, after) < RECORDS;
        g_assert_cmpuint(after->len, <=, before->len);
        g_assert_cmpmem(after->data, after->len, before->data, after->len);
    }
    g_assert_cmpuint(refused, >, ROUNDS / 4);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vfio-user/migration-stream/round", test_round);
    g_test_add_func("/vfio-user/migration-stream/changed", test_changed);
    g_test_add_func("/vfio-user/migration-stream/lost-and-repeated",
                    test_lost_and_repeated);
    g_test_add_func("/vfio-user/migration-stream/bounds", test_bounds);
    g_test_add_func("/vfio-user/migration-stream/unknown", test_unknown);
    g_test_add_func("/vfio-user/migration-stream/optional", test_optional);
    g_test_add_func("/vfio-user/migration-stream/hello", test_hello);
    g_test_add_func("/vfio-user/migration-stream/beginning", test_beginning);
    g_test_add_func("/vfio-user/migration-stream/version-2-written",
                    test_version_2_written);
    g_test_add_func("/vfio-user/migration-stream/version-2-read",
                    test_version_2_read);
    g_test_add_func("/vfio-user/migration-stream/fuzz", test_fuzz);
    return g_test_run();
}
