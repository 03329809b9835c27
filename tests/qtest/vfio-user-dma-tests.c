/*
 * qtest of the vfio-user client: DMA
 *
 * Which memory is mapped for a server, with a descriptor or without, and what
 * it reads and writes there by message.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define RAM 0x200000            /* RAM address that nothing else uses */
#define UNMAPPED (1ULL << 40)

static void dma_fill(uint8_t *bytes, size_t count, uint8_t seed)
{
    size_t i;

    for (i = 0; i < count; i++) {
        bytes[i] = seed + i * 7 + i / 256;
    }
}

static void test_dma_shared(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_SHARED, 0);
    uint8_t bytes[9000], is[9000];
    VFIOUserMap map;

    g_assert_true(vfio_user_server_map(rig->server, RAM, &map));
    g_assert_nonnull(map.memory);
    g_assert_cmphex(map.flags, ==,
                    VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITEABLE);

    dma_fill(bytes, sizeof(bytes), 1);
    qtest_memwrite(rig->qts, RAM + 3, bytes, sizeof(bytes));
    g_assert_cmpmem(map.memory + (RAM + 3 - map.address), sizeof(bytes),
                    bytes, sizeof(bytes));

    dma_fill(bytes, sizeof(bytes), 2);
    memcpy(map.memory + (RAM + 5 - map.address), bytes, sizeof(bytes));
    qtest_memread(rig->qts, RAM + 5, is, sizeof(is));
    g_assert_cmpmem(is, sizeof(is), bytes, sizeof(bytes));

    /* a message reaches the same memory */
    if (vfio_user_server_asks(rig->server)) {
        g_assert_cmpint(vfio_user_server_dma_read(rig->server, RAM + 5, is,
                                                  sizeof(is)), ==, 0);
        g_assert_cmpmem(is, sizeof(is), bytes, sizeof(bytes));
    }
}

static void test_dma_message(void)
{
    static const size_t sizes[] = { 1, 3, 4096, 9000, 64 * KiB, 1 * MiB };
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    g_autofree uint8_t *bytes = g_malloc(1 * MiB);
    g_autofree uint8_t *is = g_malloc(1 * MiB);
    VFIOUserMap map;
    size_t i;

    /* no descriptor for private memory: the server would see a stale copy */
    g_assert_true(vfio_user_server_map(rig->server, RAM, &map));
    g_assert_null(map.memory);

    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        dma_fill(bytes, sizes[i], i);
        qtest_memwrite(rig->qts, RAM + i, bytes, sizes[i]);
        g_assert_cmpint(vfio_user_server_dma_read(rig->server, RAM + i, is,
                                                  sizes[i]), ==, 0);
        g_assert_cmpmem(is, sizes[i], bytes, sizes[i]);

        dma_fill(bytes, sizes[i], i + 100);
        g_assert_cmpint(vfio_user_server_dma_write(rig->server, RAM + i,
                                                   bytes, sizes[i]), ==, 0);
        qtest_memread(rig->qts, RAM + i, is, sizes[i]);
        g_assert_cmpmem(is, sizes[i], bytes, sizes[i]);
    }
}

static void test_dma_refused(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    const uint64_t end = 64 * MiB;
    uint64_t before = 0x0123456789abcdef, bytes = 0;
    const VFIOUserDMARW giant = { RAM, UINT64_MAX };
    const VFIOUserDMARW wraps = { UINT64_MAX - 3, 8 };

    g_assert_cmpint(vfio_user_server_dma_read(rig->server, UNMAPPED, &bytes,
                                              8), !=, 0);
    g_assert_cmpint(vfio_user_server_dma_write(rig->server, UNMAPPED, &bytes,
                                               8), !=, 0);
    g_assert_cmpint(vfio_user_server_ask(rig->server, VFIO_USER_DMA_READ,
                                         &giant, sizeof(giant), NULL), !=, 0);
    g_assert_cmpint(vfio_user_server_ask(rig->server, VFIO_USER_DMA_READ,
                                         &wraps, sizeof(wraps), NULL), !=, 0);

    /* across the end of memory: all or nothing */
    qtest_writeq(rig->qts, end - 8, before);
    g_assert_cmpint(vfio_user_server_dma_read(rig->server, end - 4, &bytes,
                                              8), !=, 0);
    g_assert_cmpint(vfio_user_server_dma_write(rig->server, end - 4, &bytes,
                                               8), !=, 0);
    g_assert_cmphex(qtest_readq(rig->qts, end - 8), ==, before);

    /* the connection still works */
    g_assert_cmpint(vfio_user_server_dma_read(rig->server, end - 8, &bytes,
                                              8), ==, 0);
    g_assert_cmphex(bytes, ==, before);
}

/* Finds a read-only page, which is firmware. */
static uint64_t find_readonly(VFIOUserServer *s)
{
    uint64_t at;

    for (at = 0xc0000; at < 0x100000; at += 0x1000) {
        VFIOUserMap map;

        if (vfio_user_server_map(s, at, &map) &&
            map.flags == VFIO_USER_DMA_READABLE) {
            return at;
        }
    }
    g_assert_not_reached();
}

static void test_dma_readonly(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    const uint64_t at = find_readonly(rig->server);
    uint32_t before = qtest_readl(rig->qts, at);
    uint32_t bytes = ~before;

    g_assert_cmpint(vfio_user_server_dma_write(rig->server, at, &bytes, 4),
                    !=, 0);
    g_assert_cmphex(qtest_readl(rig->qts, at), ==, before);
    g_assert_cmpint(vfio_user_server_dma_read(rig->server, at, &bytes, 4),
                    ==, 0);
    g_assert_cmphex(bytes, ==, before);
}

/* The guest makes the chipset map RAM in place of firmware. */
static void test_dma_maps_follow(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    QPCIDevice *host = qpci_device_find(rig->bus, QPCI_DEVFN(0, 0));
    const uint8_t pam0 = 0x59;
    VFIOUserMap map;

    g_assert_true(vfio_user_server_map(rig->server, 0xf0000, &map));
    g_assert_cmphex(map.flags, ==, VFIO_USER_DMA_READABLE);
    qpci_config_writeb(host, pam0, 0x30);
    vfio_user_server_see(rig->server, VFIO_USER_DMA_UNMAP);
    g_assert_true(vfio_user_server_map(rig->server, 0xf0000, &map));
    g_assert_cmphex(map.flags, ==,
                    VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITEABLE);

    qpci_config_writeb(host, pam0, 0);
    g_assert_true(vfio_user_server_map(rig->server, 0xf0000, &map));
    g_assert_cmphex(map.flags, ==, VFIO_USER_DMA_READABLE);
    g_free(host);
}

static const VFIOUserRule ask_in_read[] = {
    { ON(VFIO_USER_REGION_READ), DO_ASK, VFIO_USER_DMA_READ,
      STRUCT(VFIOUserDMARW, RAM, 8) },
    { }
};

/* DMA requests are served while the main loop waits for a register read. */
static void test_dma_in_call(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_RAM, 0);
    const uint64_t value = 0x1234567812345678;
    VFIOUserSeen seen;

    qtest_writeq(rig->qts, RAM, value);
    vfio_user_server_forget(rig->server);
    vfio_user_server_set_rules(rig->server, ask_in_read);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0), ==, 0);
    seen = vfio_user_server_see(rig->server, VFIO_USER_DMA_READ);
    g_assert_cmphex(seen.header.flags, ==, VFIO_USER_TYPE_REPLY);
    g_assert_cmpmem(seen.payload + sizeof(VFIOUserDMARW),
                    seen.length - sizeof(VFIOUserDMARW), &value,
                    sizeof(value));
}

void vfio_user_add_dma_tests(void)
{
    vfio_user_rig_add("/vfio-user/dma/message", test_dma_message,
                      VFIO_USER_NEEDS_MESSAGES);
    vfio_user_rig_add("/vfio-user/dma/refused", test_dma_refused,
                      VFIO_USER_NEEDS_MESSAGES);
    vfio_user_rig_add("/vfio-user/dma/readonly", test_dma_readonly,
                      VFIO_USER_NEEDS_MESSAGES);
    vfio_user_rig_add("/vfio-user/dma/maps-follow", test_dma_maps_follow,
                      0);
    vfio_user_rig_add("/vfio-user/dma/in-call", test_dma_in_call,
                      VFIO_USER_NEEDS_MESSAGES);
    vfio_user_rig_add("/vfio-user/dma/shared", test_dma_shared,
                      VFIO_USER_NEEDS_MAPS);
}
