/*
 * Test rig: a driver for intel-iommu
 *
 * Writes page tables into guest memory and sends invalidations.  There is one
 * domain, for the device passed to vtd_init().  QEMU has intel-iommu with
 * caching-mode=on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_VTD_H
#define TESTS_QTEST_VFIO_USER_VTD_H

#include "libqtest.h"

/* VT-d registers and the bits that are used */
#define VTD 0xfed90000ull
#define VTD_GCMD (VTD + 0x18)
#define GCMD_TRANSLATE (1u << 31)
#define GCMD_SET_ROOT (1u << 30)
#define VTD_ROOT (VTD + 0x20)
#define VTD_CCMD (VTD + 0x28)
#define CCMD_GLOBAL (1ull << 63 | 1ull << 61)
#define VTD_IVA (VTD + 0xf0)
#define VTD_IOTLB (VTD + 0xf8)
#define IOTLB_GLOBAL (1ull << 63 | 1ull << 60)
#define IOTLB_DOMAIN(id) (1ull << 63 | 2ull << 60 | (uint64_t)(id) << 32)
#define IOTLB_PAGES(id) (1ull << 63 | 3ull << 60 | (uint64_t)(id) << 32)

/* Entries of the tables */
#define PRESENT 1ull
#define READ 1ull
#define WRITE 2ull
#define HUGE (1ull << 7)

#define PAGE 0x1000ull
#define HUGE_PAGE 0x200000ull
#define DOMAIN 5

/* Addresses of the tables; one last-level table for each huge page */
#define TABLES 0x100000ull
#define ROOT TABLES
#define CONTEXT (TABLES + PAGE)
#define LEVEL_3 (TABLES + 2 * PAGE)
#define LEVEL_2 (TABLES + 3 * PAGE)
#define LEVEL_1(i) (TABLES + (4 + (i)) * PAGE)
#define LAST_LEVELS 10

#define IOVA 0x10000000ull      /* IOVA of the first huge page */

#define vtd_command(qts, command) qtest_writel((qts), VTD_GCMD, (command))
#define vtd_invalidate(qts, how) qtest_writeq((qts), VTD_IOTLB, (how))

void vtd_invalidate_pages(QTestState *qts, uint64_t iova, unsigned log_pages);

/* Creates empty tables for the device; translation is still off. */
void vtd_init(QTestState *qts, unsigned bus, unsigned devfn);

/* Sets the entry of the page at @iova; @how 0 clears it. */
void vtd_set(QTestState *qts, uint64_t iova, uint64_t to, uint64_t how);

/* The same for a huge page; @how 0 restores the table of pages. */
void vtd_set_huge(QTestState *qts, uint64_t iova, uint64_t to, uint64_t how);

#endif /* TESTS_QTEST_VFIO_USER_VTD_H */
