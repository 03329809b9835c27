/*
 * Test rig: a DMA engine of the scripted server that keeps writing
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "vfio-user-writer.h"

#define AREA VFIO_USER_WRITER_AREA      /* the engine's, in guest memory */
#define OFTEN (4 * MiB)         /* the start, written all the time */
#define PIECE VFIO_USER_WRITER_PIECE
#define BURST 16                /* pieces in a row */
#define PACE_US 100             /* between two bursts */

/* Returns 0 or a positive errno.  A stopped device does not write the piece. */
static int write_piece(VFIOUserWriter *w, uint64_t at, const void *bytes,
                       size_t size)
{
    VFIOUserServer *server = qatomic_read(&w->server);

    if (w->by_message) {
        return vfio_user_server_write_message(server, AREA + at, bytes, size);
    }
    return vfio_user_server_write(server, AREA + at, bytes, size) ?
           0 : ESHUTDOWN;
}

/*
 * After the connection is lost with a write in flight, nothing else is written
 * before that.
 */
static bool write_unsure(VFIOUserWriter *w)
{
    if (w->unsure && !write_piece(w, w->unsure_at, w->unsure_bytes, PIECE)) {
        memcpy(w->copy + w->unsure_at, w->unsure_bytes, PIECE);
        w->unsure = false;
    }
    return !w->unsure;
}

static bool write_random(VFIOUserWriter *w, GRand *rand, uint64_t at)
{
    uint32_t piece[PIECE / 4];
    int error;

    for (unsigned i = 0; i < ARRAY_SIZE(piece); i++) {
        piece[i] = g_rand_int(rand);
    }
    if (!write_unsure(w)) {
        return false;
    }
    error = write_piece(w, at, piece, sizeof(piece));
    if (error == ECONNRESET) {
        w->unsure = true;
        w->unsure_at = at;
        memcpy(w->unsure_bytes, piece, sizeof(piece));
    } else if (!error) {
        memcpy(w->copy + at, piece, sizeof(piece));
        qatomic_set(&w->written, w->written + 1);
    }
    return !error;
}

/* Acts as a device that fills large buffers: long runs of dirty pages. */
static void fill_at_once(VFIOUserWriter *w, GRand *rand)
{
    for (uint64_t i = w->walked; i < w->size; i += 4) {
        stl_he_p(w->copy + i, g_rand_int(rand));
    }
    for (uint64_t i = w->walked; i < w->size; i += MiB) {
        g_assert_cmpint(write_piece(w, i, w->copy + i, MiB), ==, 0);
    }
    qatomic_set(&w->walked, w->size);
}

static gpointer writer(gpointer opaque)
{
    VFIOUserWriter *w = opaque;
    g_autoptr(GRand) rand = g_rand_new_with_seed(7 + w->starts);
    unsigned n = 0;

    while (!qatomic_read(&w->stop)) {
        write_random(w, rand,
                     g_rand_int_range(rand, 0, OFTEN / PIECE) * PIECE);
        if (w->at_once && qatomic_read(&w->walk) && w->walked < w->size) {
            fill_at_once(w, rand);
        }
        if (qatomic_read(&w->walk) && w->walked < w->size &&
            write_random(w, rand, w->walked)) {
            qatomic_set(&w->walked, w->walked + 4096);
        }
        if (++n % BURST == 0) {
            g_usleep(PACE_US);
        }
    }
    return NULL;
}

/* Fills the whole area with random data before the engine starts. */
void vfio_user_writer_start(VFIOUserWriter *w)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);

    w->size = w->size ?: VFIO_USER_WRITER_SIZE;
    w->copy = g_malloc(w->size);
    w->walked = OFTEN;
    for (size_t i = 0; i < w->size; i += 4) {
        stl_he_p(w->copy + i, g_rand_int(rand));
    }
    for (size_t i = 0; i < w->size; i += MiB) {
        g_assert_cmpint(write_piece(w, i, w->copy + i, MiB), ==, 0);
    }
    w->thread = g_thread_new("writer", writer, w);
}

void vfio_user_writer_go_on(VFIOUserWriter *w)
{
    g_assert_null(w->thread);
    w->stop = false;
    w->starts++;
    w->thread = g_thread_new("writer", writer, w);
}

void vfio_user_writer_use(VFIOUserWriter *w, VFIOUserServer *server)
{
    qatomic_set(&w->server, server);
}

uint64_t vfio_user_writer_written(VFIOUserWriter *w)
{
    return qatomic_read(&w->written);
}

void vfio_user_writer_walk(VFIOUserWriter *w)
{
    qatomic_set(&w->walk, true);
}

bool vfio_user_writer_walked(VFIOUserWriter *w)
{
    return qatomic_read(&w->walked) == w->size;
}

void vfio_user_writer_stop(VFIOUserWriter *w)
{
    qatomic_set(&w->stop, true);
    if (w->thread) {
        g_thread_join(g_steal_pointer(&w->thread));
    }
}

void vfio_user_writer_clear(VFIOUserWriter *w)
{
    g_clear_pointer(&w->copy, g_free);
}

unsigned vfio_user_writer_wrong(VFIOUserWriter *w, const uint8_t *is)
{
    unsigned wrong = 0;

    if (w->unsure && !memcmp(is + w->unsure_at, w->unsure_bytes, PIECE)) {
        memcpy(w->copy + w->unsure_at, w->unsure_bytes, PIECE);
    }
    for (size_t i = 0; i < w->size; i += 4096) {
        wrong += memcmp(is + i, w->copy + i, 4096) != 0;
    }
    g_test_message("%u pages wrong, walked to 0x%" PRIx64, wrong, w->walked);
    return wrong;
}

void vfio_user_writer_check(VFIOUserWriter *w, VFIOUserPair *pair)
{
    g_autofree char *path = g_build_filename(pair->dir, "memory", NULL);
    g_autofree char *is = NULL;
    gsize size;

    qtest_qmp_assert_success(pair->qts[VFIO_USER_DESTINATION], "{'execute':"
                             " 'pmemsave', 'arguments': {'val': %ld, 'size': %"
                             PRIu64 ", 'filename': %s}}", AREA, w->size, path);
    g_assert_true(g_file_get_contents(path, &is, &size, NULL));
    g_unlink(path);
    g_assert_cmpuint(size, ==, w->size);
    g_assert_cmpuint(vfio_user_writer_wrong(w, (void *)is), ==, 0);
    vfio_user_writer_clear(w);
}

void vfio_user_writer_migrate(VFIOUserWriter *w, VFIOUserPair *pair,
                              bool known)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;

    vfio_user_writer_start(w);
    vfio_user_pair_set(pair, "max-bandwidth", 8 * MiB);
    vfio_user_pair_set(pair, "downtime-limit", 1);
    vfio_user_pair_start(pair);
    while (known && vfio_user_pair_passes(pair) < 2) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    }
    vfio_user_writer_walk(w);
    /* messages are slower than the migration */
    while (known && !w->by_message && !vfio_user_writer_walked(w)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        vfio_user_pair_check_status(pair, VFIO_USER_SOURCE, "running");
    }
    vfio_user_pair_set(pair, "max-bandwidth", 4 * GiB);
    vfio_user_pair_set(pair, "downtime-limit", 2000);
    vfio_user_pair_wait(pair, "completed");
    vfio_user_writer_stop(w);
    vfio_user_pair_check_status(pair, VFIO_USER_DESTINATION, "running");
    vfio_user_writer_check(w, pair);
}
