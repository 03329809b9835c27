/*
 * vfio-user migration stream
 *
 * What is written is read back; what is changed, bit by bit, what is left out,
 * said twice or made up is refused with a message.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qapi/error.h"
#include "hw/vfio/user/migration-stream.h"

#define HEAD VFIO_USER_MIG_HEAD_SIZE

static const VFIOUserMigIdentity somebody = {
    .generation = 2, .vendor = 0x1234, .device = 0xfeed, .sub_vendor = 0x5678,
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

/* A head and its payload through both ends. */
static bool pass(VFIOUserMigSum *sum, const uint8_t *bytes, Error **errp)
{
    VFIOUserMigHead head;

    return vfio_user_mig_get_head(sum, bytes, &head, errp) &&
           vfio_user_mig_check(sum, &head, bytes + HEAD, errp);
}

static void put(VFIOUserMigSum *sum, VFIOUserMigRecord record,
                const void *payload, size_t size, uint8_t *to)
{
    if (size) {
        memcpy(to + HEAD, payload, size);
    }
    vfio_user_mig_put_head(sum, record, payload, size, to);
}

static void test_round(void)
{
    VFIOUserMigSum out = { }, in = { };
    uint8_t bytes[HEAD + 64];
    uint8_t payload[64];
    unsigned i;

    for (i = 0; i < sizeof(payload); i++) {
        payload[i] = i * 7;
    }
    for (i = 1; i <= sizeof(payload); i++) {
        put(&out, VFIO_USER_MIG_DATA, payload, i, bytes);
        g_assert_true(pass(&in, bytes, &error_abort));
        put(&out, VFIO_USER_MIG_SECTION_END, NULL, 0, bytes);
        g_assert_true(pass(&in, bytes, &error_abort));
    }
    g_assert_cmpuint(in.bytes, ==, 64 * 65 / 2);
    g_assert_cmpuint(in.bytes, ==, out.bytes);
    g_assert_cmphex(in.sum, ==, out.sum);
}

/* Each bit of a record, flipped, is noticed. */
static void test_flipped(void)
{
    /* of each way in which words are summed, some */
    const uint8_t payload[2 * 32 + 8 + 5] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
    uint8_t bytes[HEAD + sizeof(payload)];
    VFIOUserMigSum out = { };
    unsigned bit;

    put(&out, VFIO_USER_MIG_DATA, payload, sizeof(payload), bytes);
    for (bit = 0; bit < 8 * sizeof(bytes); bit++) {
        VFIOUserMigSum in = { };
        VFIOUserMigHead head;
        Error *err = NULL;
        bool ok;

        bytes[bit / 8] ^= 1 << bit % 8;
        ok = vfio_user_mig_get_head(&in, bytes, &head, &err);
        if (ok && head.size <= sizeof(payload)) {
            ok = vfio_user_mig_check(&in, &head, bytes + HEAD, &err);
        } else if (ok) {
            /* a longer record: the payload is not there, the sum is off */
            g_autofree uint8_t *more = g_malloc0(head.size);

            memcpy(more, bytes + HEAD, sizeof(payload));
            ok = vfio_user_mig_check(&in, &head, more, &err);
        }
        assert_refused(ok, &err, "the stream ");
        bytes[bit / 8] ^= 1 << bit % 8;
    }
}

static void test_lost_and_repeated(void)
{
    VFIOUserMigSum out = { }, in = { };
    uint8_t one[HEAD + 8], two[HEAD + 8];
    Error *err = NULL;

    put(&out, VFIO_USER_MIG_DATA, "one.....", 8, one);
    put(&out, VFIO_USER_MIG_DATA, "two.....", 8, two);
    assert_refused(pass(&in, two, &err), &err, "after 0 bytes that was made"
                   " after 8");
    g_assert_true(pass(&in, one, &error_abort));
    assert_refused(pass(&in, one, &err), &err, "after 8 bytes that was made"
                   " after 0");
    g_assert_true(pass(&in, two, &error_abort));
}

/* Two records without payload do not stand for one another. */
static void test_kind(void)
{
    VFIOUserMigSum out = { }, in = { };
    uint8_t bytes[HEAD];
    Error *err = NULL;

    put(&out, VFIO_USER_MIG_SECTION_END, NULL, 0, bytes);
    stl_be_p(bytes, VFIO_USER_MIG_END);
    assert_refused(pass(&in, bytes, &err), &err, "END that was changed");
}

static void test_bounds(void)
{
    static const struct {
        uint32_t record, size;
    } rows[] = {
        { 0, 0 }, { 7, 0 }, { UINT32_MAX, 0 },
        { VFIO_USER_MIG_HELLO, VFIO_USER_MIG_HELLO_SIZE - 1 },
        { VFIO_USER_MIG_HELLO, VFIO_USER_MIG_HELLO_SIZE + 1 },
        { VFIO_USER_MIG_RESTART, 1 },
        { VFIO_USER_MIG_DATA, 0 },
        { VFIO_USER_MIG_DATA, VFIO_USER_MIG_MAX_RECORD + 1 },
        { VFIO_USER_MIG_DATA, UINT32_MAX },
        { VFIO_USER_MIG_CONFIG, 0 },
        { VFIO_USER_MIG_CONFIG, VFIO_USER_MIG_MAX_RECORD + 1 },
        { VFIO_USER_MIG_END, 1 }, { VFIO_USER_MIG_SECTION_END, 1 },
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        VFIOUserMigSum in = { };
        VFIOUserMigHead head;
        uint8_t bytes[HEAD] = { };
        Error *err = NULL;

        stl_be_p(bytes, rows[i].record);
        stl_be_p(bytes + 4, rows[i].size);
        assert_refused(vfio_user_mig_get_head(&in, bytes, &head, &err), &err,
                       "the stream has a record ");
    }
}

static void test_hello(void)
{
    uint8_t bytes[VFIO_USER_MIG_HELLO_SIZE];
    unsigned i;

    vfio_user_mig_put_hello(&somebody, bytes);
    g_assert_true(vfio_user_mig_check_hello(&somebody, bytes, &error_abort));
    for (i = 0; i < sizeof(bytes); i++) {
        Error *err = NULL;

        bytes[i] ^= 0x10;
        assert_refused(vfio_user_mig_check_hello(&somebody, bytes, &err), &err,
                       i < 2 ? "version" : i < 4 ? "generation" :
                       "another device");
        bytes[i] ^= 0x10;
    }
}

static void test_magic(void)
{
    Error *err = NULL;

    g_assert_true(vfio_user_mig_check_magic(VFIO_USER_MIG_MAGIC,
                                            &error_abort));
    assert_refused(vfio_user_mig_check_magic(0, &err), &err, "no state of a");
}

/* Fuzz */

#define RECORDS 6
#define ROUNDS 20000

/* Parses as a reader does; appends the payloads that are accepted. */
static unsigned parse(const GByteArray *stream, GByteArray *payloads)
{
    VFIOUserMigSum sum = { };
    unsigned n = 0;
    size_t at = 0;

    for (;; n++) {
        VFIOUserMigHead head;

        if (stream->len - at < HEAD ||
            !vfio_user_mig_get_head(&sum, stream->data + at, &head, NULL) ||
            stream->len - at - HEAD < head.size ||
            !vfio_user_mig_check(&sum, &head, stream->data + at + HEAD,
                                 NULL)) {
            return n;
        }
        g_byte_array_append(payloads, stream->data + at + HEAD, head.size);
        at += HEAD + head.size;
    }
}

static GByteArray *make_stream(GRand *rand)
{
    GByteArray *stream = g_byte_array_new();
    VFIOUserMigSum sum = { };
    unsigned i, j;

    for (i = 0; i < RECORDS; i++) {
        uint8_t bytes[HEAD + 40];
        uint8_t payload[40];
        size_t size = g_rand_int_range(rand, 1, sizeof(payload));

        for (j = 0; j < size; j++) {
            payload[j] = g_rand_int(rand);
        }
        put(&sum, VFIO_USER_MIG_DATA, payload, size, bytes);
        g_byte_array_append(stream, bytes, HEAD + size);
    }
    return stream;
}

/* One change: of a byte, by a cut, by what is removed, or said twice. */
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

/* However it is changed, what is accepted is how the stream began. */
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
    g_assert_cmpuint(refused, >, ROUNDS / 2);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vfio-user/migration-stream/round", test_round);
    g_test_add_func("/vfio-user/migration-stream/flipped", test_flipped);
    g_test_add_func("/vfio-user/migration-stream/lost-and-repeated",
                    test_lost_and_repeated);
    g_test_add_func("/vfio-user/migration-stream/kind", test_kind);
    g_test_add_func("/vfio-user/migration-stream/bounds", test_bounds);
    g_test_add_func("/vfio-user/migration-stream/hello", test_hello);
    g_test_add_func("/vfio-user/migration-stream/magic", test_magic);
    g_test_add_func("/vfio-user/migration-stream/fuzz", test_fuzz);
    return g_test_run();
}
