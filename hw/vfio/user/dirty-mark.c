/*
 * vfio-user dirty tracking: marks pages in QEMU's dirty bitmaps
 *
 * Copies the bits of a server's bitmap to QEMU's.  This is optimized for large
 * memory that is mostly clean, with dirty pages far apart or in long runs: it
 * skips clean words fast, prefetches words of QEMU's bitmaps, and marks runs of
 * pages at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/rcu.h"
#include "exec/target_page.h"
#include "system/memory.h"
#include "system/physmem.h"
#include "system/ramlist.h"
#include "system/tcg.h"
#include "hw/vfio/user/dirty.h"

#define WORD_BITS 64

/* Words of a cache line.  They are tested together. */
#define LINE_WORDS 8

/* Words that are tested and prefetched before the first of them is marked. */
#define BLOCK_LINES 256
#define BLOCK_WORDS (BLOCK_LINES * LINE_WORDS)

/*
 * Without DIRTY_MEMORY_CODE: that bit tells TCG that a page has no translated
 * code.  TCG would then not notice when the guest changes its code.
 */
static uint8_t dirty_clients(void)
{
    return global_dirty_tracking ?
           DIRTY_CLIENTS_NOCODE :
           DIRTY_CLIENTS_NOCODE & ~(1 << DIRTY_MEMORY_MIGRATION);
}

void vfio_user_dirty_mark(ram_addr_t ram_addr, uint64_t size)
{
    /* most pages are already dirty for most clients; a test is cheaper */
    uint8_t clients = dirty_clients();

    clients = physical_memory_range_includes_clean(ram_addr, size, clients);
    physical_memory_set_dirty_range(ram_addr, size, clients);
}

/* Marks runs of pages. */
static void mark_pages(ram_addr_t ram_addr, uint64_t size, uint64_t pgsize,
                       const void *bits)
{
    uint64_t nbits = DIV_ROUND_UP(size, pgsize);
    uint64_t i = find_first_bit(bits, nbits);

    while (i < nbits) {
        uint64_t end = find_next_zero_bit(bits, nbits, i);

        vfio_user_dirty_mark(ram_addr + i * pgsize, (end - i) * pgsize);
        i = find_next_bit(bits, nbits, end);
    }
}

/*
 * Marks words of which some bits are set.  With TCG,
 * physical_memory_set_dirty_lebitmap() would set DIRTY_MEMORY_CODE, too.
 */
static void mark_mixed(ram_addr_t ram_addr, const uint64_t *words, uint64_t n)
{
    uint64_t page = qemu_real_host_page_size();

    if (tcg_enabled()) {
        mark_pages(ram_addr, n * WORD_BITS * page, page, words);
    } else {
        physical_memory_set_dirty_lebitmap((unsigned long *)words, ram_addr,
                                           n * WORD_BITS);
    }
}

static bool is_full(const uint64_t *words, uint64_t n)
{
    /* each word equals the previous one */
    return words[0] == UINT64_MAX &&
           memcmp(words, words + 1, (n - 1) * sizeof(*words)) == 0;
}

/* Prefetches the words of QEMU's bitmaps that will change, for writing. */
static void prefetch_bitmaps(ram_addr_t ram_addr, uint8_t clients)
{
    uint64_t page = ram_addr >> TARGET_PAGE_BITS;

    for (unsigned i = 0; i < DIRTY_MEMORY_NUM; i++) {
        if (clients & (1 << i)) {
            unsigned long *const *blocks =
                qatomic_rcu_read(&ram_list.dirty_memory[i])->blocks;

            __builtin_prefetch(&blocks[page / DIRTY_MEMORY_BLOCK_SIZE]
                                      [BIT_WORD(page %
                                                DIRTY_MEMORY_BLOCK_SIZE)], 1);
        }
    }
}

static bool any_in_line(const uint64_t *words)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < LINE_WORDS; i++) {
        any |= words[i];
    }
    return any;
}

/* Marks BLOCK_WORDS words; skips clean lines and merges adjacent dirty ones. */
static void mark_block(ram_addr_t ram_addr, uint64_t *words)
{
    uint64_t line = LINE_WORDS * WORD_BITS * qemu_real_host_page_size();
    uint8_t clients = dirty_clients();
    bool any[BLOCK_LINES];
    unsigned n;

    RCU_READ_LOCK_GUARD();
    for (unsigned i = 0; i < BLOCK_LINES; i++) {
        any[i] = any_in_line(words + i * LINE_WORDS);
        if (any[i]) {
            prefetch_bitmaps(ram_addr + i * line, clients);
        }
    }
    for (unsigned i = 0; i < BLOCK_LINES; i += n) {
        for (n = 1; i + n < BLOCK_LINES && any[i + n] == any[i]; n++) {
            continue;
        }
        if (any[i]) {
            mark_mixed(ram_addr + i * line, words + i * LINE_WORDS,
                       n * LINE_WORDS);
        }
    }
}

static void mark_words(ram_addr_t ram_addr, uint64_t nwords, uint64_t *words)
{
    uint64_t word_size = WORD_BITS * qemu_real_host_page_size();
    uint64_t n;

    for (; nwords; words += n, nwords -= n, ram_addr += n * word_size) {
        n = MIN(nwords, BLOCK_WORDS);
        if (buffer_is_zero(words, n * sizeof(*words))) {
            continue;
        }
        if (is_full(words, n)) {
            vfio_user_dirty_mark(ram_addr, n * word_size);
            continue;
        }
        if (n == BLOCK_WORDS) {
            mark_block(ram_addr, words);
        } else {
            mark_mixed(ram_addr, words, n);
        }
    }
}

/* Marks pages of the host's page size.  @size need not be a multiple of it. */
static void mark_host_pages(ram_addr_t ram_addr, uint64_t size, uint64_t *bits)
{
    uint64_t page = qemu_real_host_page_size();
    uint64_t pages = DIV_ROUND_UP(size, page);
    uint64_t whole = QEMU_ALIGN_DOWN(pages, WORD_BITS);

    mark_words(ram_addr, whole / WORD_BITS, bits);
    if (pages != whole) {
        /* ignore bits beyond the range, which a server may have set */
        uint64_t last = bits[whole / WORD_BITS] &
                        MAKE_64BIT_MASK(0, pages - whole);

        mark_pages(ram_addr + whole * page, (pages - whole) * page, page,
                   &last);
    }
}

void vfio_user_dirty_mark_bits(ram_addr_t ram_addr, uint64_t size,
                               uint64_t pgsize, const void *bits)
{
    if (pgsize == qemu_real_host_page_size()) {
        mark_host_pages(ram_addr, size, (uint64_t *)bits);
    } else {
        mark_pages(ram_addr, size, pgsize, bits);
    }
}
