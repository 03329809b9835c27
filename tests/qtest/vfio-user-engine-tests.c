/*
 * qtest of the vfio-user client: a DMA engine that uses messages
 *
 * Four concurrent jobs copy 64 MiB from one half of private guest memory to
 * the other in messages of the maximum size, while the guest accesses
 * registers. vfio-user-dma-tests.c tests single requests.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "qemu/atomic.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define ARGS "-machine pc -nodefaults -m 192 -device loader,file=%s,addr=%ld"
#define FROM (16 * MiB)
#define TO (96 * MiB)
#define TOTAL (64 * MiB)
#define CHUNK (1 * MiB)         /* max_data_xfer_size of the models */
#define JOBS 4

typedef struct Job {
    VFIOUserServer *server;
    unsigned nr;
    unsigned *running;
    GThread *thread;
} Job;

/*
 * Copies every JOBS-th chunk, so that neighboring chunks are in flight at the
 * same time.
 */
static gpointer engine_work(gpointer opaque)
{
    g_autofree uint8_t *bytes = g_malloc(CHUNK);
    Job *job = opaque;

    for (size_t at = job->nr * CHUNK; at < TOTAL; at += JOBS * CHUNK) {
        g_assert_cmpint(vfio_user_server_dma_read(job->server, FROM + at,
                                                  bytes, CHUNK), ==, 0);
        g_assert_cmpint(vfio_user_server_dma_write(job->server, TO + at,
                                                   bytes, CHUNK), ==, 0);
    }
    qatomic_dec(job->running);
    return NULL;
}

static char *checksum(const char *path)
{
    g_autofree char *bytes = NULL;
    gsize size;

    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    g_assert_cmpuint(size, ==, TOTAL);
    return g_compute_checksum_for_data(G_CHECKSUM_SHA256,
                                       (const guchar *)bytes, size);
}

/* Creates the path of a file that QEMU loads from or saves to. */
static char *new_file(const char *name)
{
    g_autofree char *dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);

    g_assert_nonnull(dir);
    return g_build_filename(dir, name, NULL);
}

static void remove_file(char *path)
{
    g_autofree char *dir = g_path_get_dirname(path);

    g_unlink(path);
    g_rmdir(dir);
    g_free(path);
}

typedef char *DataFile;
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(DataFile, remove_file, NULL)

static void engine_fill(const char *path)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(g_test_rand_int());
    g_autofree uint32_t *words = g_malloc(TOTAL);

    for (size_t i = 0; i < TOTAL / sizeof(words[0]); i++) {
        words[i] = g_rand_int(rand);
    }
    g_assert_true(g_file_set_contents(path, (char *)words, TOTAL, NULL));
}

static void test_engine(gconstpointer data)
{
    static VFIOUserModel twin;
    const VFIOUserModel *model = data ? &twin : &vfio_user_model;
    g_auto(DataFile) from = new_file("from");
    g_auto(DataFile) to = new_file("to");
    g_autofree char *args = g_strdup_printf(ARGS, from, FROM);
    g_autofree char *is = NULL, *was = NULL;
    g_autoptr(VFIOUserRig) rig = NULL;
    unsigned running = JOBS, accesses = 0;
    Job jobs[JOBS];

    twin = vfio_user_model;
    twin.twin = true;
    twin.version = data;
    engine_fill(from);
    was = checksum(from);
    rig = vfio_user_rig_begin(args, model, NULL);
    vfio_user_rig_plug(rig, 0);

    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (Job) { rig->server, i, &running };
        jobs[i].thread = g_thread_new("job", engine_work, &jobs[i]);
    }
    while (qatomic_read(&running)) {
        qpci_io_writel(rig->dev, rig->bar[0], 0x10, accesses);
        g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x10), ==,
                        accesses);
        accesses++;
    }
    for (unsigned i = 0; i < JOBS; i++) {
        g_thread_join(jobs[i].thread);
    }

    g_assert_cmpuint(accesses, >, 0);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'pmemsave', 'arguments':"
                             " {'val': %ld, 'size': %ld, 'filename': %s}}",
                             TO, TOTAL, to);
    is = checksum(to);
    g_assert_cmpstr(is, ==, was);
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_DMA_READ),
                     ==, TOTAL / CHUNK);
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_DMA_WRITE),
                     ==, TOTAL / CHUNK);
}

void vfio_user_add_engine_tests(void)
{
    qtest_add_data_func("/vfio-user/engine/one-socket", NULL, test_engine);
    qtest_add_data_func("/vfio-user/engine/twin-socket",
                        "{\"capabilities\":{\"max_msg_fds\":8,\"twin_socket\":"
                        "{\"supported\":true,\"fd_index\":0}}}", test_engine);
}
