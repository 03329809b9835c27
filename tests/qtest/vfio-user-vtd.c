/*
 * Test rig: a driver for intel-iommu
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-vtd.h"

void vtd_invalidate_pages(QTestState *qts, uint64_t iova, unsigned log_pages)
{
    qtest_writeq(qts, VTD_IVA, iova | log_pages);
    vtd_invalidate(qts, IOTLB_PAGES(DOMAIN));
}

void vtd_init(QTestState *qts, unsigned bus, unsigned devfn)
{
    uint64_t context = CONTEXT + devfn * 16;
    uint64_t i;

    vtd_command(qts, 0);
    qtest_memset(qts, TABLES, 0, (4 + LAST_LEVELS) * PAGE);
    qtest_writeq(qts, ROOT + bus * 16, CONTEXT | PRESENT);
    qtest_writeq(qts, context, LEVEL_3 | PRESENT);
    qtest_writeq(qts, context + 8, DOMAIN << 8 | 1);    /* 39 bits */
    qtest_writeq(qts, LEVEL_3, LEVEL_2 | READ | WRITE);
    for (i = 0; i < LAST_LEVELS; i++) {
        qtest_writeq(qts, LEVEL_2 + (IOVA / HUGE_PAGE + i) * 8,
                     LEVEL_1(i) | READ | WRITE);
    }
    qtest_writeq(qts, VTD_ROOT, ROOT);
    vtd_command(qts, GCMD_SET_ROOT);
}

void vtd_set(QTestState *qts, uint64_t iova, uint64_t to, uint64_t how)
{
    uint64_t page = (iova - IOVA) / PAGE;

    qtest_writeq(qts, LEVEL_1(page / 512) + page % 512 * 8, to | how);
}

void vtd_set_huge(QTestState *qts, uint64_t iova, uint64_t to, uint64_t how)
{
    uint64_t i = (iova - IOVA) / HUGE_PAGE;

    qtest_writeq(qts, LEVEL_2 + (IOVA / HUGE_PAGE + i) * 8,
                 how ? to | how | HUGE : LEVEL_1(i) | READ | WRITE);
}
