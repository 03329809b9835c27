/*
 * vfio-user IOVA space: maps are added, removed, cut and looked up
 *
 * Compares it with a model that has one cell per page.  Starts no process and
 * opens no socket.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vfio/user/iova.h"

#define PAGE 0x1000ull
#define TOP (UINT64_MAX - PAGE + 1)     /* the last page */

static DMAMap make(uint64_t iova, uint64_t pages, uint64_t host, bool write)
{
    return (DMAMap) {
        .iova = iova,
        .translated_addr = host,
        .size = pages * PAGE - 1,
        .perm = write ? IOMMU_RW : IOMMU_RO,
    };
}

static void test_insert(void)
{
    const DMAMap low = make(0, 1, 0x10000, true);
    const DMAMap mid = make(4 * PAGE, 4, 0x20000, true);
    const DMAMap high = make(TOP, 1, 0x30000, false);
    const DMAMap over = make(7 * PAGE, 2, 0x40000, true);
    const DMAMap within = make(5 * PAGE, 1, 0x50000, true);
    VFIOUserIOVA v;
    DMAMap found;

    vfio_user_iova_init(&v);
    g_assert_false(vfio_user_iova_find(&v, 0, PAGE, &found));
    g_assert_true(vfio_user_iova_insert(&v, &low));
    g_assert_true(vfio_user_iova_insert(&v, &mid));
    g_assert_true(vfio_user_iova_insert(&v, &high));
    g_assert_false(vfio_user_iova_insert(&v, &mid));
    g_assert_false(vfio_user_iova_insert(&v, &over));
    g_assert_false(vfio_user_iova_insert(&v, &within));
    g_assert_cmpuint(vfio_user_iova_count(&v), ==, 3);

    g_assert_true(vfio_user_iova_find(&v, 7 * PAGE + 5, 1, &found));
    g_assert_cmpmem(&found, sizeof(found), &mid, sizeof(mid));
    g_assert_true(vfio_user_iova_find(&v, TOP, PAGE, &found));
    g_assert_cmpmem(&found, sizeof(found), &high, sizeof(high));
    g_assert_false(vfio_user_iova_find(&v, PAGE, 3 * PAGE, &found));
    g_assert_false(vfio_user_iova_find(&v, 8 * PAGE, TOP - 8 * PAGE, &found));

    vfio_user_iova_remove(&v, &mid);
    g_assert_cmpuint(vfio_user_iova_count(&v), ==, 2);
    g_assert_true(vfio_user_iova_insert(&v, &over));
    vfio_user_iova_destroy(&v);
}

static void test_covers(void)
{
    const DMAMap map = make(10 * PAGE, 4, 0x70000, true);
    const DMAMap inside = make(11 * PAGE, 3, 0x71000, true);
    const DMAMap elsewhere = make(11 * PAGE, 1, 0x72000, true);
    const DMAMap readonly = make(11 * PAGE, 1, 0x71000, false);
    const DMAMap before = make(9 * PAGE, 2, 0x6f000, true);
    const DMAMap beyond = make(13 * PAGE, 2, 0x73000, true);
    const DMAMap after = make(14 * PAGE, 1, 0x74000, true);

    g_assert_true(vfio_user_iova_covers(&map, &map));
    g_assert_true(vfio_user_iova_covers(&map, &inside));
    g_assert_false(vfio_user_iova_covers(&inside, &map));
    g_assert_false(vfio_user_iova_covers(&map, &elsewhere));
    g_assert_false(vfio_user_iova_covers(&map, &readonly));
    g_assert_false(vfio_user_iova_covers(&map, &before));
    g_assert_false(vfio_user_iova_covers(&map, &beyond));
    g_assert_false(vfio_user_iova_covers(&map, &after));
}

typedef struct RestRow {
    uint64_t iova, pages;       /* removed from pages 10 to 19 */
    unsigned n;
    struct { uint64_t first, pages; } rest[2];
} RestRow;

static const RestRow rest_rows[] = {
    { 10, 10, 0 },
    { 0, 30, 0 },
    { 10, 1, 1, { { 11, 9 } } },
    { 5, 6, 1, { { 11, 9 } } },
    { 19, 1, 1, { { 10, 9 } } },
    { 19, 100, 1, { { 10, 9 } } },
    { 12, 3, 2, { { 10, 2 }, { 15, 5 } } },
};

static void test_rest(void)
{
    const DMAMap map = make(10 * PAGE, 10, 0x777000, false);

    for (int i = 0; i < ARRAY_SIZE(rest_rows); i++) {
        const RestRow *row = &rest_rows[i];
        DMAMap rest[2];

        g_assert_cmpuint(vfio_user_iova_rest(&map, row->iova * PAGE,
                                             row->pages * PAGE, rest),
                         ==, row->n);
        for (int j = 0; j < row->n; j++) {
            DMAMap want = make(row->rest[j].first * PAGE, row->rest[j].pages,
                               0x777000 + (row->rest[j].first - 10) * PAGE,
                               false);

            g_assert_cmpmem(&rest[j], sizeof(want), &want, sizeof(want));
        }
    }
}

/* The range ends at the last address. */
static void test_rest_top(void)
{
    const DMAMap map = make(TOP - PAGE, 2, 0x1000, true);
    DMAMap rest[2];

    g_assert_cmpuint(vfio_user_iova_rest(&map, TOP, PAGE, rest), ==, 1);
    g_assert_cmphex(rest[0].iova, ==, TOP - PAGE);
    g_assert_cmphex(rest[0].size, ==, PAGE - 1);
}

static void test_hold(void)
{
    static uint8_t memory[3][2 * PAGE];
    const DMAMap a = make(PAGE, 2, (uintptr_t)memory[0], true);
    const DMAMap b = make(3 * PAGE, 2, (uintptr_t)memory[1], false);
    const DMAMap c = make(6 * PAGE, 2, (uintptr_t)memory[2], true);
    const struct iovec *iov;
    VFIOUserIOVA v;
    unsigned niov;

    vfio_user_iova_init(&v);
    vfio_user_iova_insert(&v, &a);
    vfio_user_iova_insert(&v, &b);
    vfio_user_iova_insert(&v, &c);

    g_assert_cmpint(vfio_user_iova_hold(&v, PAGE + 7, 4 * PAGE - 7, false,
                                        &iov, &niov), ==, 0);
    g_assert_cmpuint(niov, ==, 2);
    g_assert(iov[0].iov_base == memory[0] + 7);
    g_assert_cmpuint(iov[0].iov_len, ==, 2 * PAGE - 7);
    g_assert(iov[1].iov_base == memory[1]);
    g_assert_cmpuint(iov[1].iov_len, ==, 2 * PAGE);
    vfio_user_iova_release(&v);

    g_assert_cmpint(vfio_user_iova_hold(&v, 2 * PAGE, 1, true, &iov, &niov),
                    ==, 0);
    g_assert_cmpuint(niov, ==, 1);
    g_assert_cmpuint(iov[0].iov_len, ==, 1);
    vfio_user_iova_release(&v);

    g_assert_cmpint(vfio_user_iova_hold(&v, 99 * PAGE, 0, true, &iov,
                                        &niov), ==, 0);
    g_assert_cmpuint(niov, ==, 0);
    vfio_user_iova_release(&v);

    /* the second map is read-only and followed by a hole; nothing is at 0 */
    g_assert_cmpint(vfio_user_iova_hold(&v, PAGE, 2 * PAGE + 1, true, &iov,
                                        &niov), ==, -EPERM);
    g_assert_cmpint(vfio_user_iova_hold(&v, 3 * PAGE, 4 * PAGE, false, &iov,
                                        &niov), ==, -EFAULT);
    g_assert_cmpint(vfio_user_iova_hold(&v, 0, PAGE + 1, false, &iov, &niov),
                    ==, -EFAULT);
    g_assert_cmpint(vfio_user_iova_hold(&v, 7 * PAGE, PAGE + 1, true, &iov,
                                        &niov), ==, -EFAULT);
    /* none of the failed calls holds a range */
    g_assert_cmpuint(vfio_user_iova_count(&v), ==, 3);
    vfio_user_iova_destroy(&v);
}

/* While a range is held */

typedef struct Remover {
    VFIOUserIOVA *v;
    DMAMap map;
    bool done;
} Remover;

static void *remove_map(void *opaque)
{
    Remover *r = opaque;

    vfio_user_iova_remove(r->v, &r->map);
    qatomic_set(&r->done, true);
    return NULL;
}

/*
 * The removal of a map in a held range waits until the range is released,
 * although the map is not found any more; other maps can be added and removed.
 */
static void test_held(void)
{
    const DMAMap a = make(PAGE, 2, 0x10000, true);
    const DMAMap b = make(3 * PAGE, 2, 0x20000, true);
    const DMAMap c = make(5 * PAGE, 2, 0x30000, true);
    const struct iovec *iov;
    Remover r = { .map = b };
    QemuThread thread;
    VFIOUserIOVA v;
    DMAMap found;
    unsigned niov;

    vfio_user_iova_init(&v);
    r.v = &v;
    vfio_user_iova_insert(&v, &a);
    vfio_user_iova_insert(&v, &b);
    g_assert_cmpint(vfio_user_iova_hold(&v, 4 * PAGE, PAGE, true, &iov, &niov),
                    ==, 0);
    qemu_thread_create(&thread, "remover", remove_map, &r,
                       QEMU_THREAD_JOINABLE);
    g_assert_true(vfio_user_iova_insert(&v, &c));
    vfio_user_iova_remove(&v, &a);
    while (vfio_user_iova_find(&v, 3 * PAGE, PAGE, &found)) {
        g_thread_yield();
    }
    for (int i = 0; i < 1000; i++) {
        g_assert_false(qatomic_read(&r.done));
        g_thread_yield();
    }
    g_assert(iov[0].iov_base == (void *)0x21000);
    vfio_user_iova_release(&v);
    g_assert_cmpint(vfio_user_iova_hold(&v, 4 * PAGE, PAGE, true, &iov, &niov),
                    ==, -EFAULT);
    qemu_thread_join(&thread);
    g_assert_cmpuint(vfio_user_iova_count(&v), ==, 1);

    /* an empty range never waits */
    g_assert_cmpint(vfio_user_iova_hold(&v, 5 * PAGE, 0, true, &iov, &niov),
                    ==, 0);
    vfio_user_iova_remove(&v, &c);
    vfio_user_iova_release(&v);
    vfio_user_iova_destroy(&v);
}

typedef struct Freezer {
    VFIOUserIOVA *v;
    bool done;
} Freezer;

static void *freeze(void *opaque)
{
    Freezer *f = opaque;

    vfio_user_iova_freeze(f->v);
    qatomic_set(&f->done, true);
    return NULL;
}

/* Freezing waits for writers and refuses later writes; reads go on. */
static void test_freeze(void)
{
    const DMAMap map = make(PAGE, 1, 0x10000, true);
    const struct iovec *iov;
    QemuThread thread;
    VFIOUserIOVA v;
    Freezer f = { &v };
    unsigned niov;

    vfio_user_iova_init(&v);
    vfio_user_iova_insert(&v, &map);
    g_assert_cmpint(vfio_user_iova_hold(&v, PAGE, 1, true, &iov, &niov), ==,
                    0);
    qemu_thread_create(&thread, "freezer", freeze, &f, QEMU_THREAD_JOINABLE);
    for (int i = 0; i < 1000; i++) {
        g_assert_false(qatomic_read(&f.done));
        g_thread_yield();
    }
    vfio_user_iova_release(&v);
    qemu_thread_join(&thread);
    g_assert_false(vfio_user_iova_refused(&v));

    g_assert_cmpint(vfio_user_iova_hold(&v, PAGE, 1, false, &iov, &niov), ==,
                    0);
    vfio_user_iova_freeze(&v);
    vfio_user_iova_release(&v);
    g_assert_cmpint(vfio_user_iova_hold(&v, PAGE, 1, true, &iov, &niov), ==,
                    -EPERM);
    g_assert_true(vfio_user_iova_refused(&v));

    vfio_user_iova_thaw(&v);
    g_assert_false(vfio_user_iova_refused(&v));
    g_assert_cmpint(vfio_user_iova_hold(&v, PAGE, 1, true, &iov, &niov), ==,
                    0);
    vfio_user_iova_release(&v);
    vfio_user_iova_destroy(&v);
}

/* The first map of a range is found, and so all maps in order. */
static void test_in_order(void)
{
    const unsigned n = 5000;
    uint64_t from = 0;
    VFIOUserIOVA v;
    DMAMap map;

    vfio_user_iova_init(&v);
    for (unsigned i = 0; i < n; i++) {
        /* not in the order of addresses */
        map = make((uint64_t)i * 7919 % n * 2 * PAGE, 1, 0x10000, true);
        g_assert_true(vfio_user_iova_insert(&v, &map));
    }
    for (unsigned i = 0; i < n; i++) {
        g_assert_true(vfio_user_iova_find(&v, from, TOP - from, &map));
        g_assert_cmphex(map.iova, ==, i * 2 * PAGE);
        from = map.iova + map.size + 1;
    }
    g_assert_false(vfio_user_iova_find(&v, from, TOP - from, &map));
    vfio_user_iova_destroy(&v);
}

/* Clears a range as the container does: removes maps, adds what remains. */
static void clear(VFIOUserIOVA *v, uint64_t iova, uint64_t size)
{
    DMAMap map, rest[2];

    while (vfio_user_iova_find(v, iova, size, &map)) {
        unsigned n = vfio_user_iova_rest(&map, iova, size, rest);

        vfio_user_iova_remove(v, &map);
        while (n--) {
            g_assert_true(vfio_user_iova_insert(v, &rest[n]));
        }
    }
}

#define CELLS 64

static void test_random(void)
{
    uint64_t cells[CELLS] = { };        /* host address of a page, 0: none */
    uint64_t next_host = PAGE;
    VFIOUserIOVA v;

    vfio_user_iova_init(&v);
    for (int i = 0; i < 20000; i++) {
        unsigned first = g_test_rand_int_range(0, CELLS);
        unsigned n = g_test_rand_int_range(1, CELLS - first + 1);
        bool map = g_test_rand_bit();
        DMAMap new = make(first * PAGE, n, next_host, true), found;

        clear(&v, first * PAGE, n * PAGE);
        if (map) {
            g_assert_true(vfio_user_iova_insert(&v, &new));
        }
        for (unsigned c = first; c < first + n; c++) {
            cells[c] = map ? next_host + (c - first) * PAGE : 0;
        }
        next_host += CELLS * PAGE;
        for (unsigned c = 0; c < CELLS; c++) {
            bool is = vfio_user_iova_find(&v, c * PAGE, PAGE, &found);

            g_assert_cmpint(is, ==, cells[c] != 0);
            if (is) {
                g_assert_cmphex(found.translated_addr +
                                (c * PAGE - found.iova), ==, cells[c]);
            }
        }
    }
    clear(&v, 0, CELLS * PAGE);
    g_assert_cmpuint(vfio_user_iova_count(&v), ==, 0);
    vfio_user_iova_destroy(&v);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vfio-user/iova/insert", test_insert);
    g_test_add_func("/vfio-user/iova/covers", test_covers);
    g_test_add_func("/vfio-user/iova/rest", test_rest);
    g_test_add_func("/vfio-user/iova/rest-top", test_rest_top);
    g_test_add_func("/vfio-user/iova/hold", test_hold);
    g_test_add_func("/vfio-user/iova/held", test_held);
    g_test_add_func("/vfio-user/iova/freeze", test_freeze);
    g_test_add_func("/vfio-user/iova/in-order", test_in_order);
    g_test_add_func("/vfio-user/iova/random", test_random);
    return g_test_run();
}
