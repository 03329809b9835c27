/*
 * qtest of the vfio-user client: dirty pages
 *
 * A DMA engine of the server keeps writing into guest memory while the VM
 * migrates, and keeps a copy of what it wrote.  At the destination memory is
 * what the copy says, byte for byte: whatever the server records or does not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "libqos/pci-pc.h"
#include "vfio-user-pair.h"
#include "vfio-user-tests.h"

#define AREA (8 * MiB)          /* of guest memory, all the engine's */
#define AREA_SIZE (24 * MiB)
#define OFTEN (4 * MiB)         /* its beginning, written to all the time */
#define PIECE 64                /* bytes that the engine writes at a time */
#define BURST 16                /* pieces on end */
#define PACE_US 100             /* between two bursts */

/*
 * Every page behind the first ones is written to once, after it has been sent:
 * nothing heals what is forgotten of it.
 */
typedef struct Engine {
    VFIOUserServer *server;
    bool by_message;
    bool stop;
    bool walk;                  /* go through the other pages, too */
    uint64_t walked;            /* where it is there */
    uint8_t *copy;              /* of the area */
    uint64_t unsure;            /* page that cannot be compared, or none */
    GThread *thread;
} Engine;

/* A piece that the device, stopped, does not write any more is not written. */
static bool write_piece(Engine *e, uint64_t at, const void *bytes, size_t size)
{
    if (!e->by_message) {
        return vfio_user_server_write(e->server, AREA + at, bytes, size);
    }
    if (!vfio_user_server_runs(e->server) ||
        vfio_user_server_dma_write(e->server, AREA + at, bytes, size) != 0) {
        return false;
    }
    if (!vfio_user_server_runs(e->server)) {
        e->unsure = at / 4096;  /* the message may have gone after the stop */
    }
    return true;
}

static bool write_random(Engine *e, GRand *rand, uint64_t at)
{
    uint32_t piece[PIECE / 4];

    for (unsigned i = 0; i < ARRAY_SIZE(piece); i++) {
        piece[i] = g_rand_int(rand);
    }
    if (!write_piece(e, at, piece, sizeof(piece))) {
        return false;
    }
    memcpy(e->copy + at, piece, sizeof(piece));
    return true;
}

static gpointer engine(gpointer opaque)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    Engine *e = opaque;
    unsigned n = 0;

    while (!qatomic_read(&e->stop)) {
        write_random(e, rand, g_rand_int_range(rand, 0, OFTEN / PIECE) * PIECE);
        if (qatomic_read(&e->walk) && e->walked < AREA_SIZE &&
            write_random(e, rand, e->walked)) {
            qatomic_set(&e->walked, e->walked + 4096);
        }
        if (++n % BURST == 0) {
            g_usleep(PACE_US);
        }
    }
    return NULL;
}

/* All of the area is random before the engine works on. */
static void engine_start(Engine *e)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);

    e->copy = g_malloc(AREA_SIZE);
    e->walked = OFTEN;
    e->unsure = UINT64_MAX;
    for (size_t i = 0; i < AREA_SIZE; i += 4) {
        stl_he_p(e->copy + i, g_rand_int(rand));
    }
    for (size_t i = 0; i < AREA_SIZE; i += MiB) {
        g_assert_true(write_piece(e, i, e->copy + i, MiB));
    }
    e->thread = g_thread_new("engine", engine, e);
}

static void engine_stop(Engine *e)
{
    qatomic_set(&e->stop, true);
    g_thread_join(e->thread);
}

static void check_area(VFIOUserPair *pair, const Engine *e)
{
    g_autofree char *path = g_build_filename(pair->dir, "memory", NULL);
    g_autofree char *is = NULL;
    unsigned wrong = 0;
    gsize size;

    qtest_qmp_assert_success(pair->qts[VFIO_USER_DESTINATION], "{'execute':"
                             " 'pmemsave', 'arguments': {'val': %ld, 'size':"
                             " %ld, 'filename': %s}}", AREA, AREA_SIZE, path);
    g_assert_true(g_file_get_contents(path, &is, &size, NULL));
    g_unlink(path);
    g_assert_cmpuint(size, ==, AREA_SIZE);
    for (size_t i = 0; i < AREA_SIZE; i += 4096) {
        wrong += i / 4096 != e->unsure && memcmp(is + i, e->copy + i, 4096);
    }
    g_test_message("%u pages wrong, walked to 0x%" PRIx64, wrong, e->walked);
    g_assert_cmpuint(wrong, ==, 0);
    g_free(e->copy);
}

static unsigned count_messages(VFIOUserPair *pair)
{
    return vfio_user_server_saw(pair->server[VFIO_USER_SOURCE],
                                VFIO_USER_DIRTY_PAGES);
}

/*
 * Migrates slowly until all memory was sent once and the engine has worked on
 * it.  What is not known to be dirty does not keep the VM from stopping.
 */
static void migrate_beside(VFIOUserPair *pair, Engine *e, bool known)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;

    engine_start(e);
    vfio_user_pair_set(pair, "max-bandwidth", 8 * MiB);
    vfio_user_pair_set(pair, "downtime-limit", 1);
    vfio_user_pair_start(pair);
    while (known && vfio_user_pair_passes(pair) < 2) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
    qatomic_set(&e->walk, true);
    /* messages are slower than the migration */
    while (known && !e->by_message &&
           qatomic_read(&e->walked) < AREA_SIZE) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        vfio_user_pair_check_status(pair, VFIO_USER_SOURCE, "running");
    }
    vfio_user_pair_set(pair, "max-bandwidth", 4 * GiB);
    vfio_user_pair_set(pair, "downtime-limit", 2000);
    vfio_user_pair_wait(pair, "completed");
    engine_stop(e);
    vfio_user_pair_check_status(pair, VFIO_USER_DESTINATION, "running");
    check_area(pair, e);
}

#define UNTRACKED "the server keeps no record of what it writes"

typedef struct Case {
    const char *name;
    const char *version;        /* JSON, or as the model has it */
    VFIOUserModelMigration1 migration;
    bool by_message;
    bool tracked;
} Case;

#define JSON(text) "{\"capabilities\":{\"max_msg_fds\":8," text "}}"

static const Case cases[] = {
    { "record", NULL, { 64 * KiB, 4 * KiB }, .tracked = true },
    { "no-record", NULL, { 64 * KiB, 0 } },
    /* 16 KiB of bits cover the memory in 64 messages and in 8 */
    { "small-bitmaps", JSON("\"migration\":{\"pgsize\":4096,"
                            "\"max_bitmap_size\":32}"),
      { 64 * KiB, 4 * KiB, 32 }, .tracked = true },
    { "small-messages", JSON("\"max_data_xfer_size\":296,"
                             "\"migration\":{\"pgsize\":4096}"),
      { 64 * KiB, 4 * KiB, .max_data = 296 }, .tracked = true },
    { "small-pages", JSON("\"migration\":{\"pgsize\":1024}"),
      { 64 * KiB, 1 * KiB }, .tracked = true },
    /* the smaller of both sides is used: what this server does not do */
    { "large-pages", JSON("\"migration\":{\"pgsize\":65536}"),
      { 64 * KiB, 64 * KiB } },
    { "messages", NULL, { 64 * KiB, 4 * KiB }, .by_message = true },
};

static void test_case(const void *opaque)
{
    const Case *c = opaque;
    VFIOUserModel model = vfio_user_model_migration1(&c->migration);
    g_autoptr(VFIOUserPair) pair = NULL;
    Engine e = { .by_message = c->by_message };
    unsigned said;

    if (c->version) {
        model.version = c->version;
    }
    pair = vfio_user_pair_new(!c->by_message, &model, &model);
    e.server = pair->server[VFIO_USER_SOURCE];
    migrate_beside(pair, &e, c->tracked || c->by_message);

    said = vfio_user_pair_said(pair, VFIO_USER_SOURCE, UNTRACKED);
    g_assert_cmpuint(said, ==, !c->tracked && !c->by_message);
    if (c->by_message) {
        g_assert_cmpuint(count_messages(pair), ==, 0);
    }
}

/*
 * What was written to a map that goes while the VM migrates: the chipset is
 * told to let nobody write to a range any more.
 */
static void test_unmap(void)
{
    static const VFIOUserModelMigration1 migration = { 64 * KiB, 4 * KiB };
    const uint64_t at = 0xf1000, value = 0x1122334455667788;
    const uint8_t pam0 = 0x59, ram = 0x30, read_only = 0x10;
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
    VFIOUserModel model = vfio_user_model_migration1(&migration);
    g_autoptr(VFIOUserPair) pair = vfio_user_pair_new(true, &model, &model);
    VFIOUserServer *server = pair->server[VFIO_USER_SOURCE];
    QPCIBus *bus = qpci_new_pc(pair->qts[VFIO_USER_SOURCE], NULL);
    QPCIDevice *host = qpci_device_find(bus, QPCI_DEVFN(0, 0));
    VFIOUserDMAUnmap unmap;
    VFIOUserSeen seen;

    qpci_config_writeb(host, pam0, ram);
    qtest_memset(pair->qts[VFIO_USER_SOURCE], AREA, 0x5a, 4 * MiB);
    vfio_user_pair_set(pair, "max-bandwidth", 2 * MiB);
    vfio_user_pair_set(pair, "downtime-limit", 0);
    vfio_user_pair_start(pair);
    while (vfio_user_pair_passes(pair) < 1) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
    /* low memory goes first: it has been sent when higher memory has */
    vfio_user_server_see(server, VFIO_USER_REGION_READ,
                         AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 8), .nth = 20);
    vfio_user_server_forget(server);
    g_assert_true(vfio_user_server_write(server, at, &value, sizeof(value)));
    qpci_config_writeb(host, pam0, read_only);
    seen = vfio_user_server_see(server, VFIO_USER_DMA_UNMAP);
    memcpy(&unmap, seen.payload, sizeof(unmap));
    g_assert_cmphex(unmap.flags, ==, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP);

    vfio_user_pair_set(pair, "max-bandwidth", 4 * GiB);
    vfio_user_pair_set(pair, "downtime-limit", 2000);
    vfio_user_pair_wait(pair, "completed");
    vfio_user_pair_check_status(pair, VFIO_USER_DESTINATION, "running");
    g_assert_cmphex(qtest_readq(pair->qts[VFIO_USER_DESTINATION], at), ==,
                    value);
    g_free(host);
    qpci_free_pc(bus);
}

void vfio_user_add_dirty_tests(void)
{
    qtest_add_func("/vfio-user/dirty/unmap", test_unmap);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/dirty/%s",
                                                cases[i].name);

        qtest_add_data_func(path, &cases[i], test_case);
    }
}
