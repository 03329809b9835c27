/*
 * vfio-user region information checks
 *
 * A table of replies and of their files: which of them violate the protocol,
 * which can be mapped, which cannot.  Numbers come from the specification, not
 * from the headers that the code under test uses.  Starts no process, opens no
 * socket.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "hw/vfio/user/region-info.h"

#define INDEX 2
#define ASKED 4096              /* argsz of the request */

#define RW 3
#define MMAP 4
#define CAPS 8
#define SPARSE 1                /* capabilities */
#define TYPE 2
#define MSIX 3

#define PAGE 0x1000
#define MANY 65                 /* areas: one more than is accepted */

/* A capability; SPARSE has areas.  If @at is 0, there is none. */
typedef struct Cap {
    uint32_t at;
    uint16_t id;
    uint32_t next;
    uint32_t nr_areas;          /* the field of the capability */
    uint64_t words[8];          /* of areas: offset, size, ... */
    uint32_t present;           /* areas in the reply; 0: nr_areas */
} Cap;

typedef enum File {
    MEMFD,
    NOTHING,
    READ_ONLY,
    WRITE_ONLY,
    PIPE,
    DIRECTORY,
    DEVICE,
} File;

typedef struct Row {
    const char *name;
    uint64_t size;
    uint32_t flags;
    uint64_t offset;
    Cap caps[3];
    uint32_t asked;             /* argsz of the request; 0: ASKED */
    uint32_t argsz;             /* the field; 0: size of the whole reply */
    uint32_t cap_offset;        /* 0: offset of caps[0] */
    uint32_t length;            /* bytes of the reply; 0: all of it */
    uint32_t index;             /* 0: the requested index */
    File file;
    uint64_t file_size;         /* 0: as required by the region */
    const char *violation;      /* part of the message; NULL: valid */
    const char *unmappable;     /* part of the message; NULL: mappable */
    bool empty;                 /* it has no bytes that can be mapped */
} Row;

#define ZERO UINT32_MAX         /* stands for a real 0 */

static const Row rows[] = {
    { "whole", PAGE, RW | MMAP },
    { "whole-of-3-pages", 3 * PAGE, RW | MMAP },
    { "whole-of-64-gibibytes", 64 * GiB, RW | MMAP },
    { "two-pages-of-8-tebibytes", 8 * TiB, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 2, { 0, PAGE, 8 * TiB - PAGE, PAGE } } } },
    { "whole-at-offset", PAGE, RW | MMAP, 7 * PAGE },
    { "area", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1, { PAGE, PAGE } } } },
    { "area-is-whole", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1, { 0, 4 * PAGE } } } },
    { "areas-of-the-sample-server", 3 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 2, { 0, PAGE, 2 * PAGE, PAGE } } } },
    { "areas-side-by-side", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 2, { 2 * PAGE, PAGE, PAGE, PAGE } } } },
    { "areas-at-offset", 4 * PAGE, RW | MMAP | CAPS, 2 * PAGE,
      { { 32, SPARSE, 0, 1, { 3 * PAGE, PAGE } } } },
    { "areas-in-unaligned-region", 0x2100, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1, { 0, 2 * PAGE } } } },
    { "area-ends-the-file", 4 * PAGE, RW | MMAP | CAPS, PAGE,
      { { 32, SPARSE, 0, 1, { PAGE, PAGE } } }, .file_size = 3 * PAGE },
    { "area-empty-between", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 3, { 0, PAGE, 0, 0, 2 * PAGE, PAGE } } } },
    { "area-empty-anywhere", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 3, { 5, 0, UINT64_MAX, 0, 2 * PAGE, PAGE } } } },
    { "area-empty", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1, { PAGE, 0 } } }, .empty = true },
    { "areas-empty", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 2, { PAGE, 0, 7, 0 } } }, .empty = true },
    { "no-areas", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 0 } }, .empty = true },
    { "caps-in-front-of-areas", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, TYPE, 56 }, { 48, 77, 0 },
        { 56, SPARSE, 48, 1, { PAGE, PAGE } } } },
    { "caps-backwards", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 72, MSIX, 32 }, { 32, SPARSE, 0, 1, { PAGE, PAGE } } } },
    { "caps-without-flag", 4 * PAGE, RW | MMAP, 0,
      { { 32, SPARSE, 0, 1, { UINT64_MAX, 1 } } } },
    { "caps-without-any", PAGE, RW | MMAP | CAPS },
    { "caps-later", PAGE, RW | MMAP | CAPS, .asked = 32, .argsz = 65536,
      .cap_offset = 0x7fffffff },

    /* invalid structure */
    { "index", PAGE, RW, .index = 3, .violation = "about region 3" },
    { "size-of-8-exbibytes", 1ull << 63, RW, .violation = "too large" },
    { "offset-of-8-exbibytes", PAGE, RW, 1ull << 63,
      .violation = "too large" },
    { "argsz-0", PAGE, RW, .argsz = ZERO, .violation = "argsz 0" },
    { "argsz-31", PAGE, RW, .argsz = 31, .violation = "argsz 31" },
    { "argsz-beyond-reply", PAGE, RW, .argsz = 33,
      .violation = "argsz 33, but the reply has 32 bytes" },
    { "argsz-beyond-request", PAGE, RW, .argsz = ASKED + 1,
      .violation = "argsz 4097, but 4096 bytes were requested" },
    { "argsz-of-4-gib", PAGE, RW, .asked = 32, .argsz = UINT32_MAX - 1,
      .violation = "argsz 4294967294, but 32 bytes were requested" },
    { "argsz-of-65537", PAGE, RW, .asked = 32, .argsz = 65537,
      .violation = "argsz 65537" },
    { "caps-cut", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1, { PAGE, PAGE } } }, .length = 63,
      .violation = "argsz 64, but the reply has 63 bytes" },

    /* capabilities */
    { "cap-far-outside", PAGE, RW | CAPS, .cap_offset = 0x7ffffff8,
      .violation = "at 0x7ffffff8" },
    { "cap-at-end-of-32-bits", PAGE, RW | CAPS, .cap_offset = 0xfffffff8,
      .violation = "at 0xfffffff8" },
    { "cap-at-end", PAGE, RW | CAPS, .cap_offset = 32,
      .violation = "at 0x20" },
    { "cap-in-structure", PAGE, RW | CAPS, 0, { { 32, MSIX, 0 } },
      .cap_offset = 8, .violation = "at 0x8" },
    { "cap-unaligned", PAGE, RW | CAPS, 0, { { 36, MSIX, 0 } },
      .violation = "at 0x24" },
    { "cap-header-cut", PAGE, RW | CAPS, 0, { { 32, MSIX, 0 } },
      .argsz = 39, .length = 39, .violation = "at 0x20" },
    { "cap-next-outside", PAGE, RW | CAPS, 0, { { 32, MSIX, 40 } },
      .violation = "at 0x28" },
    { "cap-next-in-structure", PAGE, RW | CAPS, 0, { { 32, MSIX, 16 } },
      .violation = "at 0x10" },
    { "cap-next-is-itself", PAGE, RW | CAPS, 0, { { 32, 77, 32 } },
      .violation = "loops" },
    { "caps-loop", PAGE, RW | CAPS, 0,
      { { 32, 77, 40 }, { 40, 78, 48 }, { 48, MSIX, 40 } },
      .violation = "loops" },
    { "type-cut", PAGE, RW | CAPS, 0, { { 32, TYPE, 0 } }, .argsz = 47,
      .length = 47, .violation = "capability 2 at 0x20 ends" },
    { "sparse-head-cut", PAGE, RW | MMAP | CAPS, 0, { { 32, SPARSE, 0 } },
      .argsz = 40, .length = 40, .violation = "capability 1 at 0x20 ends" },
    { "sparse-area-missing", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 2, { 0, PAGE } } }, .argsz = 79, .length = 79,
      .violation = "ends outside" },
    { "sparse-4-gi-areas", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, UINT32_MAX, { 0, PAGE }, 1 } },
      .violation = "ends outside" },
    { "sparse-256-mi-areas", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1u << 28, { 0, PAGE }, 1 } },
      .violation = "ends outside" },

    /* areas */
    { "too-many-areas", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, MANY, { PAGE, PAGE } } }, .unmappable = "65 areas" },
    { "area-unaligned", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1, { PAGE + 8, PAGE } } },
      .unmappable = "not consist of whole pages" },
    { "area-of-half-a-page", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1, { PAGE, PAGE / 2 } } },
      .unmappable = "not consist of whole pages" },
    { "area-across-end", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1, { 3 * PAGE, 2 * PAGE } } },
      .unmappable = "not inside the region" },
    { "area-outside", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1, { 5 * PAGE, PAGE } } },
      .unmappable = "not inside the region" },
    { "area-wraps", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1, { -(uint64_t)PAGE, 2 * PAGE } } },
      .unmappable = "not inside the region" },
    { "area-of-all-pages-that-exist", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1, { PAGE, -(uint64_t)PAGE } } },
      .unmappable = "not inside the region" },
    { "areas-twice", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 2, { PAGE, PAGE, PAGE, PAGE } } },
      .unmappable = "overlaps" },
    { "areas-overlap-above", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 2, { PAGE, PAGE, 0, 2 * PAGE } } },
      .unmappable = "overlaps" },
    { "areas-overlap-below", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 3, { 3 * PAGE, PAGE, 0, 2 * PAGE, PAGE, PAGE } } },
      .unmappable = "overlaps" },
    { "second-area-is-wrong", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 2, { 0, PAGE, 4 * PAGE, PAGE } } },
      .unmappable = "at 0x4000 is not inside the region" },
    { "first-list-counts", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 64, 1, { 8 * PAGE, PAGE } },
        { 64, SPARSE, 0, 1, { 0, PAGE } } },
      .unmappable = "at 0x8000 is not inside" },

    /* the region */
    { "of-nothing", 0, RW | MMAP, .file_size = PAGE,
      .unmappable = "not consist of whole pages" },
    { "a-page-too-much", 64 * GiB + PAGE, RW | MMAP,
      .unmappable = "0x1000001000 bytes to map" },
    { "areas-too-large", 128 * GiB, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 2, { 0, 33 * GiB, 64 * GiB, 33 * GiB } } },
      .unmappable = "bytes to map" },
    { "of-half-a-page", PAGE / 2, RW | MMAP,
      .unmappable = "not consist of whole pages" },
    { "of-no-whole-pages", 0x1800, RW | MMAP, .file_size = 2 * PAGE,
      .unmappable = "not consist of whole pages" },
    { "read-only", PAGE, 1 | MMAP, .unmappable = "not readable and writable" },
    { "write-only", PAGE, 2 | MMAP, .unmappable = "not readable and writable" },
    { "begins-unaligned", PAGE, RW | MMAP, 8,
      .unmappable = "file offset 0x8 is not" },
    { "begins-after-file", PAGE, RW | MMAP, 2 * PAGE, .file_size = PAGE,
      .unmappable = "file offset 0x2000 is not" },
    { "begins-at-end-of-offsets", PAGE, RW | MMAP,
      INT64_MAX & -(uint64_t)PAGE, .file_size = PAGE,
      .unmappable = "file offset" },

    /* the file */
    { "no-file", PAGE, RW | MMAP, .file = NOTHING,
      .unmappable = "no descriptor" },
    { "file-is-pipe", PAGE, RW | MMAP, .file = PIPE,
      .unmappable = "neither a memfd nor" },
    { "file-is-directory", PAGE, RW | MMAP, .file = DIRECTORY,
      .unmappable = "neither a memfd nor" },
    { "file-is-device", PAGE, RW | MMAP, .file = DEVICE,
      .unmappable = "neither a memfd nor" },
    { "file-is-read-only", PAGE, RW | MMAP, .file = READ_ONLY,
      .unmappable = "not open for reading and writing" },
    { "file-is-write-only", PAGE, RW | MMAP, .file = WRITE_ONLY,
      .unmappable = "not open for reading and writing" },
    { "file-is-short", 4 * PAGE, RW | MMAP, .file_size = 4 * PAGE - 1,
      .unmappable = "not inside the file" },
    { "file-is-short-at-offset", 4 * PAGE, RW | MMAP, 2 * PAGE,
      .file_size = 5 * PAGE, .unmappable = "not inside the file" },
    { "file-ends-before-area", 4 * PAGE, RW | MMAP | CAPS, 0,
      { { 32, SPARSE, 0, 1, { 3 * PAGE, PAGE } } }, .file_size = 3 * PAGE,
      .unmappable = "not inside the file" },
};

static unsigned cap_end(const Cap *cap)
{
    switch (cap->id) {
    case SPARSE:
        return cap->at + 16 + 16 * (cap->present ?: cap->nr_areas);
    case TYPE:
        return cap->at + 16;
    default:
        return cap->at + 8;
    }
}

static void put_cap(uint8_t *reply, const Cap *cap)
{
    uint8_t *at = reply + cap->at;
    unsigned i;

    stw_le_p(at, cap->id);
    stw_le_p(at + 2, 1);
    stl_le_p(at + 4, cap->next);
    if (cap->id == SPARSE) {
        stl_le_p(at + 8, cap->nr_areas);
        for (i = 0; i < ARRAY_SIZE(cap->words); i++) {
            stq_le_p(at + 16 + 8 * i, cap->words[i]);
        }
    }
}

/* Allocates exactly *@length bytes: a sanitizer detects reads beyond. */
static uint8_t *make_reply(const Row *row, size_t *length)
{
    g_autofree uint8_t *reply = g_malloc0(8192);
    unsigned end = 32;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(row->caps) && row->caps[i].at; i++) {
        put_cap(reply, &row->caps[i]);
        end = MAX(end, cap_end(&row->caps[i]));
    }
    stl_le_p(reply, row->argsz == ZERO ? 0 : row->argsz ?: end);
    stl_le_p(reply + 4, row->flags);
    stl_le_p(reply + 8, row->index ?: INDEX);
    stl_le_p(reply + 12, row->cap_offset ?: row->caps[0].at);
    stq_le_p(reply + 16, row->size);
    stq_le_p(reply + 24, row->offset);
    *length = row->length ?: end;
    return g_memdup2(reply, *length);
}

static int open_file(const Row *row)
{
    uint64_t size = row->file_size ?: row->offset + row->size;
    int fd = memfd_create("vfio-user-region", MFD_CLOEXEC);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    int pipefd[2];
    int other;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, size), ==, 0);
    switch (row->file) {
    case MEMFD:
        return fd;
    case NOTHING:
        other = -1;
        break;
    case READ_ONLY:
        other = open(path, O_RDONLY);
        break;
    case WRITE_ONLY:
        other = open(path, O_WRONLY);
        break;
    case PIPE:
        g_assert_cmpint(pipe(pipefd), ==, 0);
        close(pipefd[1]);
        other = pipefd[0];
        break;
    case DIRECTORY:
        other = open("/", O_RDONLY | O_DIRECTORY);
        break;
    case DEVICE:
        other = open("/dev/zero", O_RDWR);
        break;
    default:
        g_assert_not_reached();
    }
    close(fd);
    return other;
}

static void check_error(bool ok, Error *err, const char *wanted)
{
    if (!wanted) {
        if (err) {
            error_report_err(err);
        }
        g_assert_true(ok);
        return;
    }
    g_assert_false(ok);
    if (!strstr(error_get_pretty(err), wanted)) {
        g_error("'%s' does not say '%s'", error_get_pretty(err), wanted);
    }
    error_free(err);
}

static void test_row(gconstpointer data)
{
    const Row *row = data;
    const VFIOUserRegionInfo asked = {
        .argsz = row->asked ?: ASKED,
        .index = INDEX,
    };
    Error *err = NULL;
    size_t length;
    g_autofree uint8_t *reply = make_reply(row, &length);
    bool ok = vfio_user_region_info_check(reply, length, &asked, &err);
    int fd;

    check_error(ok, err, row->violation);
    if (row->violation || row->asked || !(row->flags & MMAP)) {
        return;
    }
    g_assert_cmpint(vfio_user_region_info_is_empty(reply), ==, row->empty);
    if (row->empty) {
        return;
    }
    err = NULL;
    fd = open_file(row);
    ok = vfio_user_region_info_mappable(reply, fd, &err);
    check_error(ok, err, row->unmappable);
    if (fd >= 0) {
        close(fd);
    }
}

/* Random bytes: any result is fine, but nothing is read beyond the reply. */
static void test_noise(void)
{
    const VFIOUserRegionInfo asked = { .argsz = ASKED, .index = INDEX };
    Row row = { .size = 16 * PAGE };
    int fd = open_file(&row);

    for (int round = 0; round < 50000; round++) {
        size_t length = g_test_rand_int_range(4, 40) * 8;
        g_autofree uint8_t *reply = g_malloc0(length);
        Error *err = NULL;
        bool ok;

        for (size_t i = 32; i < length; i += 8) {
            stw_le_p(reply + i, g_test_rand_int_range(0, 4));
            stl_le_p(reply + i + 4, g_test_rand_int_range(0, 10) * 8);
        }
        stl_le_p(reply, length - g_test_rand_int_range(0, 2));
        stl_le_p(reply + 4, RW | MMAP | CAPS);
        stl_le_p(reply + 8, INDEX);
        stl_le_p(reply + 12, g_test_rand_int_range(3, 10) * 8);
        stq_le_p(reply + 16, 16 * PAGE);
        ok = vfio_user_region_info_check(reply, length, &asked, &err);
        g_assert_cmpint(ok, ==, !err);
        if (ok) {
            vfio_user_region_info_is_empty(reply);
            ok = vfio_user_region_info_mappable(reply, fd, &err);
            g_assert_cmpint(ok, ==, !err);
        }
        error_free(err);
    }
    close(fd);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/region-info/%s",
                                                rows[i].name);

        g_test_add_data_func(path, &rows[i], test_row);
    }
    g_test_add_func("/vfio-user/region-info/noise", test_noise);
    return g_test_run();
}
