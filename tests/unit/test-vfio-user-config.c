/*
 * vfio-user PCI configuration space checks
 *
 * A table of configuration spaces: their content, and whether they are valid.
 * Numbers come from the PCI specifications, not from the headers that the code
 * under test uses.  Starts no process, opens no socket.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "hw/vfio/user/config.h"

/* A value in a configuration space; END terminates a list. */
typedef struct Poke {
    enum { END, BYTE, WORD, LONG, HAS_LIST, CAPABILITY, EXTENDED, MSI_X } what;
    unsigned at;
    uint32_t v[5];
} Poke;

#define B(at, value) { BYTE, at, { value } }
#define W(at, value) { WORD, at, { value } }
#define L(at, value) { LONG, at, { value } }
/* The status register announces a list, which begins at @first. */
#define LIST(first) { HAS_LIST, 0x34, { first } }
/* The header of a capability, and of an extended one. */
#define CAP(at, id, next) { CAPABILITY, at, { id, next } }
#define EXT(at, id, next) { EXTENDED, at, { id, next } }
/* MSI-X at @at: entries, then offset and BAR of table and pending bits. */
#define MSIX(at, n, table, tbar, pba, pbar) \
    { MSI_X, at, { n, table, tbar, pba, pbar } }

/* Bits of the low nibble of a BAR. */
#define IO 1
#define WIDE 4

typedef struct Row {
    const char *name;
    Poke pokes[20];
    uint64_t bars[VFIO_USER_CONFIG_BARS];
    const char *error;          /* part of the message; NULL: valid */
    bool extended;              /* 4096 bytes */
} Row;

static const Row rows[] = {
    { "zeroes", { } },
    { "multi-function", { B(0x0e, 0x80) } },
    { "pins", { B(0x3d, 4) } },
    { "no-list", { B(0x34, 0x41), CAP(0x40, 0x05, 0x40) } },
    { "empty-list", { LIST(0) } },
    { "one-at-end", { LIST(0xfc), CAP(0xfc, 0x09, 0) } },
    { "vendor-twice", { LIST(0x40), CAP(0x40, 0x09, 0x44),
                        CAP(0x44, 0x09, 0) } },
    { "backwards", { LIST(0x80), CAP(0x80, 0x01, 0x40), CAP(0x40, 0x05, 0) } },
    { "msi-32-vectors", { LIST(0x40), CAP(0x40, 0x05, 0), W(0x42, 5 << 1) } },
    { "msi-at-end", { LIST(0xf4), CAP(0xf4, 0x05, 0) } },
    { "msi-64-masks-at-end", { LIST(0xe8), CAP(0xe8, 0x05, 0),
                               W(0xea, 0x180) } },
    { "msix", { LIST(0x40), CAP(0x40, 0x11, 0), MSIX(0x40, 4, 0, 0, 64, 0) },
      { 4096 } },
    { "msix-fills-bars", { LIST(0x40), CAP(0x40, 0x11, 0),
                           MSIX(0x40, 2048, 0x1000, 2, 0xf00, 5) },
      { 0, 0, 0x9000, 0, 0, 0x1000 } },
    { "pcie-1", { LIST(0x40), CAP(0x40, 0x10, 0x54), W(0x42, 1),
                  CAP(0x54, 0x09, 0) } },
    { "pcie-2", { LIST(0xc4), CAP(0xc4, 0x10, 0), W(0xc6, 2) } },
    { "pcie-1-at-end", { LIST(0xec), CAP(0xec, 0x10, 0), W(0xee, 1) } },
    { "all", { LIST(0x40), CAP(0x40, 0x01, 0x48), CAP(0x48, 0x05, 0x60),
               W(0x4a, 0x180), CAP(0x60, 0x10, 0xa0), W(0x62, 2),
               CAP(0xa0, 0x11, 0xb0), MSIX(0xa0, 64, 0, 4, 0x800, 4),
               CAP(0xb0, 0x13, 0), L(0x20, WIDE) },
      { 0x1000, 0, 0, 0, 0x1000 } },
    { "ext-none", { }, .extended = true },
    { "ext-one", { EXT(0x100, 1, 0) }, .extended = true },
    { "ext-list", { EXT(0x100, 1, 0xff8), EXT(0xff8, 2, 0x108),
                    EXT(0x108, 0x10, 0) }, .extended = true },
    { "bars", { L(0x10, IO), L(0x14, 8), L(0x18, WIDE), L(0x20, WIDE | 8) },
      { 64 * KiB, 2 * GiB, 1ull << 62, 0, 1 } },
    { "bars-absent", { L(0x10, IO), L(0x24, WIDE) } },

    { "bridge", { B(0x0e, 1) }, .error = "this device has type 1" },
    { "cardbus", { B(0x0e, 0x82) }, .error = "this device has type 2" },
    { "all-ones-type", { B(0x0e, 0xff) }, .error = "this device has type 127" },
    { "pin-5", { B(0x3d, 5) }, .error = "interrupt pin 5" },
    { "pin-255", { B(0x3d, 255) }, .error = "interrupt pin 255" },

    { "in-header", { LIST(0x3c) }, .error = "at 0x3c" },
    { "unaligned", { LIST(0x42) }, .error = "at 0x42" },
    { "next-in-header", { LIST(0x40), CAP(0x40, 0x09, 0x10) },
      .error = "at 0x10" },
    { "next-unaligned", { LIST(0x40), CAP(0x40, 0x09, 0x51) },
      .error = "at 0x51" },
    { "all-ones-next", { LIST(0x40), CAP(0x40, 0x09, 0xff) },
      .error = "at 0xff" },
    { "loop-to-itself", { LIST(0x40), CAP(0x40, 0x09, 0x40) },
      .error = "does the list loop" },
    { "loop", { LIST(0x40), CAP(0x40, 0x09, 0x50), CAP(0x50, 0x09, 0x60),
                CAP(0x60, 0x09, 0x50) }, .error = "does the list loop" },
    { "overlap", { LIST(0x40), CAP(0x40, 0x01, 0x44), CAP(0x44, 0x09, 0) },
      .error = "0x9 at 0x44 overlaps" },
    { "overlap-from-below", { LIST(0x48), CAP(0x40, 0x11, 0),
                              MSIX(0x40, 1, 0, 0, 64, 0),
                              CAP(0x48, 0x09, 0x40) },
      { 4096 }, .error = "0x11 at 0x40 overlaps" },
    { "pm-outside", { LIST(0xfc), CAP(0xfc, 0x01, 0) },
      .error = "0x1 at 0xfc ends outside" },
    { "af-outside", { LIST(0xfc), CAP(0xfc, 0x13, 0) },
      .error = "0x13 at 0xfc ends outside" },
    { "msi-outside", { LIST(0xf8), CAP(0xf8, 0x05, 0) },
      .error = "ends outside" },
    { "msi-64-outside", { LIST(0xf4), CAP(0xf4, 0x05, 0), W(0xf6, 0x80) },
      .error = "ends outside" },
    { "msi-masks-outside", { LIST(0xf0), CAP(0xf0, 0x05, 0), W(0xf2, 0x100) },
      .error = "ends outside" },
    { "msi-64-masks-outside", { LIST(0xec), CAP(0xec, 0x05, 0),
                                W(0xee, 0x180) }, .error = "ends outside" },
    { "msix-cap-outside", { LIST(0xf8), CAP(0xf8, 0x11, 0) }, { 4096 },
      .error = "0x11 at 0xf8 ends outside" },
    { "pcie-1-outside", { LIST(0xf0), CAP(0xf0, 0x10, 0), W(0xf2, 1) },
      .error = "ends outside" },
    { "pcie-2-outside", { LIST(0xc8), CAP(0xc8, 0x10, 0), W(0xca, 2) },
      .error = "ends outside" },
    { "pcie-1-half-of-link-2", { LIST(0xd0), CAP(0xd0, 0x10, 0), W(0xd2, 1) },
      .error = "ends outside" },
    { "msi-twice", { LIST(0x40), CAP(0x40, 0x05, 0x60), CAP(0x60, 0x05, 0) },
      .error = "0x5 is present twice" },
    { "msix-twice", { LIST(0x40), CAP(0x40, 0x11, 0x60), CAP(0x60, 0x11, 0),
                      MSIX(0x40, 1, 0, 0, 64, 0), MSIX(0x60, 1, 0, 0, 64, 0) },
      { 4096 }, .error = "0x11 is present twice" },
    { "pcie-twice", { LIST(0x40), CAP(0x40, 0x10, 0x60), CAP(0x60, 0x10, 0) },
      .error = "0x10 is present twice" },
    { "pm-twice", { LIST(0x40), CAP(0x40, 0x01, 0x60), CAP(0x60, 0x01, 0) },
      .error = "0x1 is present twice" },
    { "msi-64-vectors", { LIST(0x40), CAP(0x40, 0x05, 0), W(0x42, 6 << 1) },
      .error = "MSI with 64 vectors" },
    { "msi-128-vectors", { LIST(0x40), CAP(0x40, 0x05, 0), W(0x42, 7 << 1) },
      .error = "MSI with 128 vectors" },

    { "msix-no-bar", { LIST(0x40), CAP(0x40, 0x11, 0),
                       MSIX(0x40, 1, 0, 0, 64, 0) },
      .error = "MSI-X table at 0x0 of BAR 0" },
    { "msix-bar-6", { LIST(0x40), CAP(0x40, 0x11, 0),
                      MSIX(0x40, 1, 0, 6, 64, 0) },
      { 4096 }, .error = "of BAR 6" },
    { "msix-bar-7", { LIST(0x40), CAP(0x40, 0x11, 0),
                      MSIX(0x40, 1, 0, 0, 64, 7) },
      { 4096 }, .error = "pending bit array at 0x40 of BAR 7" },
    { "msix-table-long", { LIST(0x40), CAP(0x40, 0x11, 0),
                           MSIX(0x40, 257, 0, 0, 0, 1) },
      { 4096, 4096 }, .error = "table at 0x0 of BAR 0, 4112 bytes" },
    { "msix-table-far", { LIST(0x40), CAP(0x40, 0x11, 0),
                          MSIX(0x40, 1, 0xfffffff8, 0, 0, 1) },
      { 4096, 4096 }, .error = "table at 0xfffffff8 of BAR 0" },
    { "msix-pba-long", { LIST(0x40), CAP(0x40, 0x11, 0),
                         MSIX(0x40, 65, 0, 0, 0xff8, 1) },
      { 4096, 4096 }, .error = "pending bit array at 0xff8 of BAR 1, 16" },
    { "msix-pba-far", { LIST(0x40), CAP(0x40, 0x11, 0),
                        MSIX(0x40, 1, 0, 0, 0x1000, 1) },
      { 4096, 4096 }, .error = "pending bit array at 0x1000" },
    { "msix-upper-half", { LIST(0x40), CAP(0x40, 0x11, 0), L(0x10, WIDE),
                           MSIX(0x40, 1, 0, 1, 64, 0) },
      { 4096 }, .error = "of BAR 1" },
    { "msix-table-in-io", { LIST(0x40), CAP(0x40, 0x11, 0), L(0x14, IO),
                            MSIX(0x40, 1, 0, 1, 64, 0) },
      { 4096, 256 }, .error = "table is in BAR 1, which is not a memory BAR" },
    { "msix-pba-in-io", { LIST(0x40), CAP(0x40, 0x11, 0), L(0x14, IO),
                          MSIX(0x40, 1, 0, 0, 64, 1) },
      { 4096, 256 }, .error = "array is in BAR 1, which is not a memory BAR" },
    { "msix-pba-in-table", { LIST(0x40), CAP(0x40, 0x11, 0),
                             MSIX(0x40, 8, 0, 0, 120, 0) },
      { 4096 }, .error = "table and pending bit array overlap" },
    { "msix-table-in-pba", { LIST(0x40), CAP(0x40, 0x11, 0),
                             MSIX(0x40, 65, 8, 0, 0, 0) },
      { 4096 }, .error = "table and pending bit array overlap" },

    { "ext-all-ones", { L(0x100, UINT32_MAX) }, .error = "at 0xffc",
      .extended = true },
    { "ext-in-standard", { EXT(0x100, 1, 0x40) }, .error = "at 0x40",
      .extended = true },
    { "ext-at-end", { EXT(0x100, 1, 0xffc) }, .error = "at 0xffc",
      .extended = true },
    { "ext-loop", { EXT(0x100, 1, 0x200), EXT(0x200, 2, 0x300),
                    EXT(0x300, 3, 0x200) }, .error = "does the list loop",
      .extended = true },
    { "ext-loop-to-first", { EXT(0x100, 1, 0x100) },
      .error = "does the list loop", .extended = true },
    { "ext-overlap", { EXT(0x100, 1, 0x104) }, .error = "at 0x104 overlaps",
      .extended = true },
    { "ext-valid-standard-invalid", { EXT(0x100, 1, 0), LIST(0x44),
                                      CAP(0x44, 0x09, 0x44) },
      .error = "does the list loop", .extended = true },

    { "bar-io-too-large", { L(0x10, IO) }, { 64 * KiB + 1 },
      .error = "BAR 0 of 0x10001 bytes" },
    { "bar-32-too-large", { }, { 0, 2 * GiB + 1 }, .error = "BAR 1 of" },
    { "bar-32-endless", { }, { [5] = UINT64_MAX }, .error = "BAR 5 of" },
    { "bar-64-too-large", { L(0x10, WIDE) }, { (1ull << 62) + 1 },
      .error = "at most 0x4000000000000000" },
    { "bar-64-last", { L(0x24, WIDE) }, { [5] = 4096 },
      .error = "BAR 5 has 64 bits" },
    { "bar-64-no-room", { L(0x18, WIDE) }, { [2] = 4096, 4096 },
      .error = "BAR 2 has 64 bits" },
};

static void poke(uint8_t *config, const Poke *p)
{
    uint8_t *at = config + p->at;

    switch (p->what) {
    case BYTE:
        *at = p->v[0];
        break;
    case WORD:
        stw_le_p(at, p->v[0]);
        break;
    case LONG:
        stl_le_p(at, p->v[0]);
        break;
    case HAS_LIST:
        config[0x06] = 0x10;
        *at = p->v[0];
        break;
    case CAPABILITY:
        at[0] = p->v[0];
        at[1] = p->v[1];
        break;
    case EXTENDED:
        stl_le_p(at, p->v[0] | 1 << 16 | p->v[1] << 20);
        break;
    case MSI_X:
        stw_le_p(at + 2, p->v[0] - 1);
        stl_le_p(at + 4, p->v[1] | p->v[2]);
        stl_le_p(at + 8, p->v[3] | p->v[4]);
        break;
    default:
        g_assert_not_reached();
    }
}

/* Allocates exactly @size bytes, so that a sanitizer detects reads beyond. */
static uint8_t *make_config(const Row *row, size_t size)
{
    uint8_t *config = g_malloc0(size);

    for (const Poke *p = row->pokes; p->what != END; p++) {
        poke(config, p);
    }
    return config;
}

static void check(const Row *row, const uint8_t *config, size_t size)
{
    Error *err = NULL;
    bool ok = vfio_user_config_check(config, size, row->bars, &err);

    if (!row->error) {
        if (err) {
            error_report_err(err);
        }
        g_assert_true(ok);
        return;
    }
    g_assert_false(ok);
    if (!strstr(error_get_pretty(err), row->error)) {
        g_error("'%s' does not say '%s'", error_get_pretty(err), row->error);
    }
    error_free(err);
}

static void test_row(gconstpointer data)
{
    const Row *row = data;

    if (!row->extended) {
        g_autofree uint8_t *config = make_config(row, 256);

        check(row, config, 256);
    }
    /* extended config space does not change the result for the lower part */
    {
        g_autofree uint8_t *config = make_config(row, 4096);

        check(row, config, 4096);
    }
}

/* A space with any other size is refused before it is read. */
static void test_sizes(void)
{
    static const size_t sizes[] = { 0, 1, 14, 64, 255, 257, 4095, 4097, 8192 };

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        g_autofree char *error = g_strdup_printf("space has %zu bytes",
                                                 sizes[i]);
        Row row = { .error = error };
        g_autofree uint8_t *config = make_config(&row, sizes[i]);

        check(&row, config, sizes[i]);
    }
}

/* Random bytes: any result is fine, but nothing is read beyond the space. */
static void test_noise(void)
{
    g_autofree uint8_t *config = g_malloc0(4096);
    uint64_t bars[VFIO_USER_CONFIG_BARS];

    for (int round = 0; round < 20000; round++) {
        Error *err = NULL;

        for (int i = 0x40; i < 4096; i++) {
            config[i] = g_test_rand_int();
        }
        for (int i = 0; i < VFIO_USER_CONFIG_BARS; i++) {
            stl_le_p(config + 0x10 + 4 * i, 0);
            bars[i] = g_test_rand_bit() ? 1 << g_test_rand_int_range(4, 30) : 0;
        }
        config[0x06] = 0x10;
        config[0x34] = g_test_rand_int_range(0x10, 0x40) * 4;
        /* usually a capability whose content is checked */
        config[config[0x34]] = g_test_rand_int_range(0, 0x20);
        g_assert_cmpint(vfio_user_config_check(config, 4096, bars, &err), ==,
                        !err);
        error_free(err);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/config/%s",
                                                rows[i].name);

        g_test_add_data_func(path, &rows[i], test_row);
    }
    g_test_add_func("/vfio-user/config/sizes", test_sizes);
    g_test_add_func("/vfio-user/config/noise", test_noise);
    return g_test_run();
}
