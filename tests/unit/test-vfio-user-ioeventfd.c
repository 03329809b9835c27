/*
 * vfio-user ioeventfds: a reply in, entries or the reason for refusal out
 *
 * A table of entries in a server's reply and the expected results, and tests of
 * the descriptors of entries.  Starts no process and opens no socket.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include <sys/mman.h>
#include "qapi/error.h"
#include "hw/vfio/user/ioeventfd.h"
#include "hw/vfio/user/wire.h"

#define REGION_SIZE 4096
#define MATCH VFIO_USER_IO_FD_DATAMATCH
#define PIO VFIO_USER_IO_FD_PIO
#define SHADOW VFIO_USER_IO_FD_SHADOW

typedef struct Row {
    const char *name;
    size_t stride;
    VFIOUserIOFd wire;          /* the entry in the message */
    bool ports;
    const char *why;            /* part of the reason; NULL: accepted */
    VFIOUserIoeventfd want;
} Row;

/* Each reply has two descriptors. */
static const Row rows[] = {
    { "plain", 40, { 16, 4, 1 }, false, NULL, { 16, .size = 4, .fd = 1 } },
    { "any-size", 40, { 16, 0 }, false, NULL, { 16 } },
    { "8-bytes", 40, { 16, 8 }, false, NULL, { 16, .size = 8 } },
    { "at-end", 40, { 4092, 4 }, false, NULL, { 4092, .size = 4 } },
    { "ports", 40, { 16, 2, .flags = PIO }, true, NULL, { 16, .size = 2 } },
    { "datamatch-in-40-bytes", 40, { 16, 4, 0, 0, MATCH, 0, 7 }, false, NULL,
      { 16, 7, .size = 4, .match = true } },
    { "datamatch-in-48-bytes", 48, { 16, 4, 0, 0, MATCH, 0, 0, 7 }, false,
      NULL, { 16, 7, .size = 4, .match = true } },
    { "datamatch-of-40-in-48-bytes", 48, { 16, 4, 0, 0, MATCH, 0, 7 }, false,
      NULL, { 16, 7, .size = 4, .match = true } },
    { "datamatch-of-all-bits", 40, { 16, 8, 0, 0, MATCH, 0, UINT64_MAX },
      false, NULL, { 16, UINT64_MAX, .size = 8, .match = true } },
    { "shadow", 48, { 16, 4, 0, SHADOW, 0, 1, 4 }, false, NULL,
      { 16, 0, 4, .size = 4, .shadow_fd = 1, .shadow = true } },
    { "shadow-in-56-bytes", 56, { 16, 4, 0, SHADOW, MATCH, 1, 8, 9 }, false,
      NULL, { 16, 9, 8, .size = 4, .shadow_fd = 1, .shadow = true,
              .match = true } },

    { "outside", 40, { 4096, 1 }, false, "outside" },
    { "outside-without-size", 40, { 4096, 0 }, false, "outside" },
    { "across-end", 40, { 4093, 4 }, false, "outside" },
    { "wraps", 40, { UINT64_MAX - 1, 4 }, false, "outside" },
    { "size-3", 40, { 16, 3 }, false, "invalid size 0x3" },
    { "size-16", 40, { 16, 16 }, false, "invalid size 0x10" },
    { "size-of-64-bits", 40, { 16, 1ULL << 63 }, false, "invalid size 0x8" },
    { "descriptor-beyond", 40, { 16, 4, 2 }, false,
      "invalid descriptor index" },
    { "shadow-descriptor-beyond", 48, { 16, 4, 0, SHADOW, 0, 2 }, false,
      "invalid descriptor index" },
    { "unknown-type", 40, { 16, 4, 0, 3 }, false, "unknown type 3" },
    { "unknown-flags", 40, { 16, 4, .flags = 0x80000004 }, false,
      "unknown flags 0x80000004" },
    { "ports-in-memory", 40, { 16, 4, .flags = PIO }, false, "PIO" },
    { "memory-in-ports", 40, { 16, 4 }, true, "PIO" },
    { "datamatch-without-size", 40, { 16, 0, .flags = MATCH }, false,
      "datamatch without a size" },
    { "datamatch-too-large", 40, { 16, 1, 0, 0, MATCH, 0, 0x100 }, false,
      "datamatch 0x100" },
    { "shadow-in-40-bytes", 40, { 16, 4, 0, SHADOW, 0, 1 }, false,
      "40 bytes" },
    { "shadow-unaligned", 48, { 16, 4, 0, SHADOW, 0, 1, 2 }, false,
      "shadow offset 0x2" },
    { "shadow-of-any-size-unaligned", 48, { 16, 0, 0, SHADOW, 0, 1, 4 },
      false, "shadow offset 0x4" },
    { "shadow-offset-too-large", 48, { 16, 4, 0, SHADOW, 0, 1, 1ULL << 63 },
      false, "shadow offset" },
};

static GByteArray *reply_of(uint32_t index, size_t stride, uint32_t count,
                            const VFIOUserIOFd *wire)
{
    GByteArray *reply = g_byte_array_new();
    VFIOUserRegionIOFds head = {
        sizeof(head) + count * stride, 0, index, count
    };
    uint8_t bytes[64];

    g_byte_array_append(reply, (void *)&head, sizeof(head));
    for (uint32_t i = 0; i < count; i++) {
        memset(bytes, 0, sizeof(bytes));
        memcpy(bytes, &wire[i], MIN(stride, sizeof(wire[i])));
        g_byte_array_append(reply, bytes, stride);
    }
    return reply;
}

static void assert_same(const VFIOUserIoeventfd *is,
                        const VFIOUserIoeventfd *want)
{
    g_assert_cmpuint(is->offset, ==, want->offset);
    g_assert_cmpuint(is->size, ==, want->size);
    g_assert_cmpuint(is->match, ==, want->match);
    if (want->match) {
        g_assert_cmphex(is->datamatch, ==, want->datamatch);
    }
    g_assert_cmpuint(is->fd, ==, want->fd);
    g_assert_cmpuint(is->shadow, ==, want->shadow);
    if (want->shadow) {
        g_assert_cmpuint(is->shadow_fd, ==, want->shadow_fd);
        g_assert_cmpuint(is->shadow_offset, ==, want->shadow_offset);
    }
}

static void test_row(const void *opaque)
{
    const Row *row = opaque;
    const VFIOUserIOFdRegion region = { 2, REGION_SIZE, row->ports };
    g_autoptr(GByteArray) reply = reply_of(2, row->stride, 1, &row->wire);
    g_auto(VFIOUserIOFdRefusals) refusals = { };
    g_autoptr(GArray) entries =
        vfio_user_ioeventfds_parse(&region, reply->data, reply->len, 2,
                                   &refusals, &error_abort);

    g_assert_cmpuint(refusals.entries, ==, 1);
    g_assert_cmpuint(refusals.refused, ==, row->why != NULL);
    g_assert_cmpuint(entries->len, ==, !row->why);
    if (row->why) {
        g_assert_nonnull(strstr(error_get_pretty(refusals.why), row->why));
    } else {
        assert_same((void *)entries->data, &row->want);
    }
}

/* Entries that overlap, and how many of them are accepted. */
static const struct Clash {
    const char *name;
    VFIOUserIOFd wire[3];
    unsigned left;
} clashes[] = {
    { "other-offsets", { { 0, 8 }, { 4, 4 }, { 8, 0 } }, 3 },
    { "other-sizes", { { 4, 8 }, { 4, 4 }, { 4, 2 } }, 3 },
    { "other-values", {
        { 4, 4, 0, 0, MATCH, 0, 1 }, { 4, 4, 0, 0, MATCH, 0, 2 },
        { 4, 4, 0, 0, MATCH, 0, 3 } }, 3 },
    { "same-value", {
        { 4, 4, 0, 0, MATCH, 0, 1 }, { 4, 4, 0, 0, MATCH, 0, 2 },
        { 4, 4, 0, 0, MATCH, 0, 1 } }, 1 },
    { "same-value-of-other-size", {
        { 4, 4, 0, 0, MATCH, 0, 1 }, { 4, 2, 0, 0, MATCH, 0, 1 },
        { 8, 2 } }, 3 },
    { "one-value-and-any", {
        { 4, 4, 0, 0, MATCH, 0, 1 }, { 4, 4, 0, 0, MATCH, 0, 2 },
        { 4, 4 } }, 0 },
    { "any-size", { { 4, 4 }, { 8, 4 }, { 4, 0 } }, 1 },
    { "twice", { { 4, 4 }, { 8, 4 }, { 4, 4, 1 } }, 1 },
    { "thrice", { { 4, 4 }, { 4, 4 }, { 4, 4 } }, 0 },
    { "with-ioregionfd", {
        { 4, 4 }, { 4, 4, 0, VFIO_USER_IO_FD_IOREGIONFD }, { 8, 4 } }, 2 },
};

static void test_clash(const void *opaque)
{
    const struct Clash *row = opaque;
    const VFIOUserIOFdRegion region = { 0, REGION_SIZE };
    g_autoptr(GByteArray) reply = reply_of(0, 40, 3, row->wire);
    g_auto(VFIOUserIOFdRefusals) refusals = { };
    g_autoptr(GArray) entries =
        vfio_user_ioeventfds_parse(&region, reply->data, reply->len, 2,
                                   &refusals, &error_abort);

    g_assert_cmpuint(entries->len, ==, row->left);
    g_assert_cmpuint(entries->len + refusals.refused + refusals.ioregionfds,
                     ==, 3);
    g_assert_true(!refusals.refused ||
                  strstr(error_get_pretty(refusals.why), "conflicts"));
}

/* Replies whose entries cannot be determined. */
static const struct Nonsense {
    const char *name;
    VFIOUserRegionIOFds head;
    size_t bytes;               /* that follow */
} nonsense[] = {
    { "another-region", { 56, 0, 1, 1 }, 40 },
    { "flags", { 56, 1, 0, 1 }, 40 },
    { "no-entries", { 56, 0, 0, 1 }, 0 },
    { "32-bytes", { 48, 0, 0, 1 }, 32 },
    { "44-bytes", { 60, 0, 0, 1 }, 44 },
    { "part-of-an-entry", { 96, 0, 0, 2 }, 81 },
    { "4-gi-entries", { 56, 0, 0, UINT32_MAX }, 40 },
};

static void test_nonsense(const void *opaque)
{
    const struct Nonsense *row = opaque;
    const VFIOUserIOFdRegion region = { 0, REGION_SIZE };
    size_t size = sizeof(row->head) + row->bytes;
    g_autofree uint8_t *reply = g_malloc0(size);
    g_auto(VFIOUserIOFdRefusals) refusals = { };
    Error *err = NULL;

    memcpy(reply, &row->head, sizeof(row->head));
    g_assert_null(vfio_user_ioeventfds_parse(&region, reply, size, 1,
                                             &refusals, &err));
    error_free_or_abort(&err);
}

static void test_none(void)
{
    const VFIOUserIOFdRegion region = { 0, REGION_SIZE };
    const VFIOUserRegionIOFds head = { 16, 0, 0, 0 };
    g_auto(VFIOUserIOFdRefusals) refusals = { };
    g_autoptr(GArray) entries =
        vfio_user_ioeventfds_parse(&region, &head, sizeof(head), 0, &refusals,
                                   &error_abort);

    g_assert_cmpuint(entries->len, ==, 0);
    g_assert_null(vfio_user_ioeventfds_new(entries, NULL, 0, &refusals));
    g_assert_cmpuint(refusals.refused, ==, 0);
}

/* Every entry is found by a matching write and by no other write. */
static void test_find(void)
{
    const VFIOUserIOFdRegion region = { 0, REGION_SIZE };
    VFIOUserIOFd wire[] = {
        { 0x80, 0 }, { 0x40, 4 }, { 0x40, 2, 0, 0, MATCH, 0, 5 },
        { 0x40, 2, 0, 0, MATCH, 0, 6 }, { 0, 1 }, { 0xfff, 1 },
    };
    g_autoptr(GByteArray) reply = reply_of(0, 40, ARRAY_SIZE(wire), wire);
    g_auto(VFIOUserIOFdRefusals) refusals = { };
    g_autoptr(GArray) entries =
        vfio_user_ioeventfds_parse(&region, reply->data, reply->len, 1,
                                   &refusals, &error_abort);
    int fd = eventfd(0, EFD_CLOEXEC);
    g_autoptr(VFIOUserIoeventfds) table =
        vfio_user_ioeventfds_new(entries, &fd, 1, &refusals);
    const VFIOUserIoeventfd *entry;

    g_assert_cmpuint(vfio_user_ioeventfds_count(table), ==, 6);
    entry = vfio_user_ioeventfds_find(table, 0x40, 2, 6);
    g_assert_true(entry && entry->datamatch == 6);
    entry = vfio_user_ioeventfds_find(table, 0x40, 4, 6);
    g_assert_true(entry && entry->size == 4 && !entry->match);
    g_assert_nonnull(vfio_user_ioeventfds_find(table, 0x80, 8, 1));
    g_assert_nonnull(vfio_user_ioeventfds_find(table, 0, 1, 1));
    g_assert_nonnull(vfio_user_ioeventfds_find(table, 0xfff, 1, 1));
    g_assert_null(vfio_user_ioeventfds_find(table, 0x40, 2, 7));
    g_assert_null(vfio_user_ioeventfds_find(table, 0x40, 1, 6));
    g_assert_null(vfio_user_ioeventfds_find(table, 0x42, 2, 6));
    g_assert_null(vfio_user_ioeventfds_find(table, 0x1000, 1, 0));
}

/* A signal never blocks; "takes" detects an eventfd without signalling it. */
static void test_signaller(void)
{
    VFIOUserSignaller *s = vfio_user_signaller_new(&error_abort);
    const uint64_t full = UINT64_MAX - 1;
    int fd = eventfd(0, EFD_CLOEXEC);
    int memory = memfd_create("memory", MFD_CLOEXEC);
    uint64_t count;

    g_assert_true(vfio_user_signaller_accepts(s, fd));
    g_assert_false(vfio_user_signaller_accepts(s, memory));
    g_assert_false(vfio_user_signaller_accepts(s, -1));
    g_assert_cmpint(vfio_user_signaller_signal(s, fd), ==, 0);
    g_assert_cmpint(read(fd, &count, sizeof(count)), ==, sizeof(count));
    g_assert_cmpuint(count, ==, 1);
    g_assert_cmpint(write(fd, &full, sizeof(full)), ==, sizeof(full));
    g_assert_cmpint(vfio_user_signaller_signal(s, fd), ==, 0);
    g_assert_cmpint(vfio_user_signaller_signal(s, fd), ==, 0);
    vfio_user_signaller_free(s);
    close(memory);
    close(fd);
}

/* A store fails if the memory was truncated after it was mapped. */
static void test_shadow(void)
{
    int fd = memfd_create("memory", MFD_CLOEXEC);
    VFIOUserShadow shadow = { };
    uint16_t value;

    g_assert_false(vfio_user_shadow_map(&shadow, fd, 0x2002, 2, NULL));
    g_assert_cmpint(ftruncate(fd, 0x3000), ==, 0);
    g_assert_true(vfio_user_shadow_map(&shadow, fd, 0x2002, 2,
                                       &error_abort));
    g_assert_true(vfio_user_shadow_store(&shadow, 2, 0x1234));
    g_assert_cmpint(pread(fd, &value, 2, 0x2002), ==, 2);
    g_assert_cmphex(value, ==, 0x1234);
    g_assert_cmpint(ftruncate(fd, 0x1000), ==, 0);
    g_assert_false(vfio_user_shadow_store(&shadow, 2, 0x1234));
    g_assert_false(vfio_user_shadow_store(&shadow, 2, 0x1234));
    vfio_user_shadow_unmap(&shadow);
    close(fd);
}

static void add(const char *what, const char *name, const void *row,
                void (*test)(const void *))
{
    g_autofree char *path = g_strdup_printf("/vfio-user/ioeventfd/%s/%s",
                                            what, name);

    g_test_add_data_func(path, row, test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        add("entry", rows[i].name, &rows[i], test_row);
    }
    for (size_t i = 0; i < ARRAY_SIZE(clashes); i++) {
        add("clash", clashes[i].name, &clashes[i], test_clash);
    }
    for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++) {
        add("nonsense", nonsense[i].name, &nonsense[i], test_nonsense);
    }
    g_test_add_func("/vfio-user/ioeventfd/none", test_none);
    g_test_add_func("/vfio-user/ioeventfd/find", test_find);
    g_test_add_func("/vfio-user/ioeventfd/signaller", test_signaller);
    g_test_add_func("/vfio-user/ioeventfd/shadow", test_shadow);
    return g_test_run();
}
