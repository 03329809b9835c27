/*
 * vfio-user requests of the server, with memory of the test
 *
 * What DMA_READ and DMA_WRITE transfer, and that a request that cannot be
 * granted as a whole transfers nothing.  The test itself is the server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <semaphore.h>
#include <sys/mman.h>
#include "hw/vfio/user/iova.h"
#include "hw/vfio/user/serve.h"
#include "vfio-user-rig.h"

#define PAGE 0x1000ull
#define BASE 0x100000ull        /* address of the first map */
#define RO (BASE + 2 * MiB)     /* a read-only page */
#define HOLE (RO + PAGE)
#define SLOW (HOLE + PAGE)      /* a page that is slow to read */
#define OTHER (SLOW + PAGE)

/*
 * Maps: 1 MiB in pages that are in reverse order in memory, 1 MiB in one map,
 * and one read-only page.
 */
typedef struct Fixture {
    Rig *rig;
    VFIOUserServe serve;
    VFIOUserIOVA iova;
    uint8_t *memory;
    uint8_t *readonly;
    unsigned held;
    unsigned released_written;
} Fixture;

static int hold(void *opaque, uint64_t iova, uint64_t size, bool write,
                const struct iovec **iov, unsigned *niov)
{
    Fixture *f = opaque;
    int ret = vfio_user_iova_hold(&f->iova, iova, size, write, iov, niov);

    qatomic_set(&f->held, f->held + (ret == 0));
    return ret;
}

static void release(void *opaque, bool written)
{
    Fixture *f = opaque;

    qatomic_set(&f->held, f->held - 1);
    qatomic_set(&f->released_written, f->released_written + written);
    vfio_user_iova_release(&f->iova);
}

static const VFIOUserMemoryOps ops = { .hold = hold, .release = release };

static void serve(Rig *rig, const VFIOUserMessage *msg)
{
    Fixture *f = rig->opaque;

    vfio_user_serve(&f->serve, rig->proxy, msg);
    g_assert_cmpuint(f->held, ==, 0);
}

/* Returns the offset of the byte at BASE + @at in the fixture's memory. */
static size_t place(size_t at)
{
    size_t page = at / PAGE;

    return at < 1 * MiB ? (MiB / PAGE - 1 - page) * PAGE + at % PAGE : at;
}

static void add(Fixture *f, uint64_t iova, uint64_t size, void *host, bool ro)
{
    const DMAMap map = {
        .iova = iova,
        .translated_addr = (uintptr_t)host,
        .size = size - 1,
        .perm = ro ? IOMMU_RO : IOMMU_RW,
    };

    g_assert_true(vfio_user_iova_insert(&f->iova, &map));
}

static Fixture *fixture_new(void)
{
    Fixture *f = g_new0(Fixture, 1);

    f->memory = g_malloc(2 * MiB);
    f->readonly = g_malloc0(PAGE);
    for (size_t i = 0; i < 2 * MiB; i++) {
        f->memory[i] = g_test_rand_int();
    }
    vfio_user_iova_init(&f->iova);
    for (size_t at = 0; at < MiB; at += PAGE) {
        add(f, BASE + at, PAGE, f->memory + place(at), false);
    }
    add(f, BASE + MiB, MiB, f->memory + MiB, false);
    add(f, RO, PAGE, f->readonly, true);
    f->serve = (VFIOUserServe) {
        .memory = &ops, .opaque = f, .max_data = 1 * MiB,
    };
    f->rig = rig_new();
    f->rig->opaque = f;
    f->rig->serve = serve;
    return f;
}

static void fixture_free(Fixture *f)
{
    rig_free(f->rig);
    vfio_user_iova_destroy(&f->iova);
    g_free(f->memory);
    g_free(f->readonly);
    g_free(f);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Fixture, fixture_free)

/* Sends a request; returns the reply's errno or 0, and its data in @data. */
static uint32_t dma(Fixture *f, uint16_t command, uint64_t address,
                    uint64_t count, const void *bytes, size_t size,
                    uint8_t *data)
{
    g_autoptr(GByteArray) payload = g_byte_array_new();
    VFIOUserHeader header = { .id = 7, .command = command };
    const VFIOUserDMARW rw = { address, count };
    g_auto(PeerMessage) m = { };

    g_byte_array_append(payload, (const void *)&rw, sizeof(rw));
    g_byte_array_append(payload, bytes, size);
    peer_send(f->rig->peer, header, payload->data, payload->len, NULL, 0);
    rig_recv(f->rig, command, &m);
    g_assert_cmpuint(m.header.id, ==, 7);
    if (m.header.flags & VFIO_USER_ERROR) {
        g_assert_cmpuint(m.size, ==, 0);
        return m.header.error;
    }
    g_assert_cmpuint(m.size, ==, sizeof(rw) + (data ? count : 0));
    g_assert_cmpmem(m.payload, sizeof(rw), &rw, sizeof(rw));
    if (data) {
        memcpy(data, m.payload + sizeof(rw), count);
    }
    return 0;
}

static const struct { size_t at, count; } rows[] = {
    { 0, 1 }, { 0, 0 }, { PAGE - 1, 2 }, { 17, 4096 }, { 0, 3 * PAGE },
    { 5, 64 * KiB }, { 0, MiB }, { 1, MiB }, { MiB - 3, 7 }, { MiB, MiB },
    { 512 * KiB, MiB },
};

static void test_read(void)
{
    g_autoptr(Fixture) f = fixture_new();
    g_autofree uint8_t *is = g_malloc(MiB);

    for (int i = 0; i < ARRAY_SIZE(rows); i++) {
        g_assert_cmpuint(dma(f, VFIO_USER_DMA_READ, BASE + rows[i].at,
                             rows[i].count, NULL, 0, is), ==, 0);
        for (size_t j = 0; j < rows[i].count; j++) {
            g_assert(is[j] == f->memory[place(rows[i].at + j)]);
        }
    }
    g_assert_cmpuint(dma(f, VFIO_USER_DMA_READ, RO, PAGE, NULL, 0, is), ==, 0);
    g_assert_cmpuint(qatomic_read(&f->released_written), ==, 0);
}

static void test_write(void)
{
    g_autoptr(Fixture) f = fixture_new();
    g_autofree uint8_t *bytes = g_malloc(MiB);
    g_autofree uint8_t *want = g_malloc(2 * MiB);

    for (int i = 0; i < ARRAY_SIZE(rows); i++) {
        memcpy(want, f->memory, 2 * MiB);
        for (size_t j = 0; j < rows[i].count; j++) {
            bytes[j] = g_test_rand_int();
            want[place(rows[i].at + j)] = bytes[j];
        }
        g_assert_cmpuint(dma(f, VFIO_USER_DMA_WRITE, BASE + rows[i].at,
                             rows[i].count, bytes, rows[i].count, NULL),
                         ==, 0);
        g_assert_cmpmem(f->memory, 2 * MiB, want, 2 * MiB);
    }
    g_assert_cmpuint(qatomic_read(&f->released_written), ==, ARRAY_SIZE(rows));
}

static const struct {
    uint16_t command;
    uint64_t address, count;
    size_t size;                /* of the data sent */
    uint32_t error;
} refused[] = {
    { VFIO_USER_DMA_READ, HOLE, 1, 0, EFAULT },
    { VFIO_USER_DMA_READ, HOLE - 1, 2, 0, EFAULT },
    { VFIO_USER_DMA_READ, BASE - 1, 2, 0, EFAULT },
    { VFIO_USER_DMA_READ, BASE, MiB + 1, 0, EINVAL },
    { VFIO_USER_DMA_READ, BASE, UINT64_MAX, 0, EINVAL },
    { VFIO_USER_DMA_READ, UINT64_MAX, 2, 0, EINVAL },
    { VFIO_USER_DMA_WRITE, RO, 1, 1, EPERM },
    { VFIO_USER_DMA_WRITE, RO - PAGE, 2 * PAGE, 2 * PAGE, EPERM },
    { VFIO_USER_DMA_WRITE, BASE - 1, 2, 2, EFAULT },
    { VFIO_USER_DMA_WRITE, BASE, 8, 7, EINVAL },
    { VFIO_USER_DMA_WRITE, BASE, 8, 9, EINVAL },
    { VFIO_USER_DMA_WRITE, BASE, UINT64_MAX, 8, EINVAL },
    { VFIO_USER_DMA_WRITE, UINT64_MAX - 3, 8, 8, EINVAL },
};

static void test_refused(void)
{
    g_autoptr(Fixture) f = fixture_new();
    g_autofree uint8_t *before = g_memdup2(f->memory, 2 * MiB);
    g_autofree uint8_t *bytes = g_malloc0(2 * PAGE);

    for (int i = 0; i < ARRAY_SIZE(refused); i++) {
        g_assert_cmpuint(dma(f, refused[i].command, refused[i].address,
                             refused[i].count, bytes, refused[i].size, NULL),
                         ==, refused[i].error);
        g_assert_cmpmem(f->memory, 2 * MiB, before, 2 * MiB);
    }
    g_assert_cmpuint(qatomic_read(&f->released_written), ==, 0);
    rig_assert_in_sync(f->rig);
}

/* Several requests are sent before the replies are read; they stay in order. */
static void test_in_flight(void)
{
    g_autoptr(Fixture) f = fixture_new();
    const unsigned n = 6;

    for (unsigned i = 0; i < n; i++) {
        rig_send_dma_read(f->rig, i, BASE + i * PAGE, MiB);
    }
    for (unsigned i = 0; i < n; i++) {
        g_auto(PeerMessage) m = { };

        rig_recv(f->rig, VFIO_USER_DMA_READ, &m);
        g_assert_cmpuint(m.header.id, ==, i);
        g_assert_cmpuint(m.size, ==, sizeof(VFIOUserDMARW) + MiB);
        for (size_t j = 0; j < MiB; j += 61) {
            g_assert(m.payload[sizeof(VFIOUserDMARW) + j] ==
                     f->memory[place(i * PAGE + j)]);
        }
    }
}

/* Slow memory */

static struct {
    void *page;
    sem_t read;                 /* a thread reads the page */
    sem_t ready;                /* the read may continue */
} slow;

static void on_fault(int number, siginfo_t *info, void *context)
{
    sem_post(&slow.read);
    while (sem_wait(&slow.ready) < 0) {
        continue;
    }
    mprotect(slow.page, PAGE, PROT_READ | PROT_WRITE);
}

static void slow_init(Fixture *f)
{
    const struct sigaction act = {
        .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_RESTART,
    };

    g_assert_cmpint(sem_init(&slow.read, 0, 0), ==, 0);
    g_assert_cmpint(sem_init(&slow.ready, 0, 0), ==, 0);
    slow.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert(slow.page != MAP_FAILED);
    memset(slow.page, 0x5a, PAGE);
    g_assert_cmpint(mprotect(slow.page, PAGE, PROT_NONE), ==, 0);
    add(f, SLOW, PAGE, slow.page, false);
    g_assert_cmpint(sigaction(SIGSEGV, &act, NULL), ==, 0);
}

static void slow_destroy(void)
{
    g_assert(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    g_assert_cmpint(munmap(slow.page, PAGE), ==, 0);
    sem_destroy(&slow.ready);
    sem_destroy(&slow.read);
}

/*
 * The socket is full, so the reply is copied.  No other thread waits for the
 * copy, be it for the connection or to map or unmap other memory.
 */
static void test_slow(void)
{
    g_autoptr(Fixture) f = fixture_new();
    const DMAMap other = {
        .iova = OTHER, .translated_addr = 1, .size = PAGE - 1,
        .perm = IOMMU_RW,
    };
    unsigned n = rig_fill_socket(f->rig);
    g_auto(PeerMessage) m = { };
    DMAMap found;

    slow_init(f);
    rig_send_dma_read(f->rig, 7, SLOW, PAGE);
    while (sem_wait(&slow.read) < 0) {
        continue;
    }
    g_assert_cmpint(vfio_user_proxy_state(f->rig->proxy), ==, VFIO_USER_UP);
    g_assert_true(vfio_user_iova_insert(&f->iova, &other));
    g_assert_true(vfio_user_iova_find(&f->iova, SLOW, PAGE, &found));
    vfio_user_iova_remove(&f->iova, &other);
    g_assert_cmpuint(qatomic_read(&f->held), ==, 1);
    sem_post(&slow.ready);

    rig_recv_posts(f->rig, n);
    rig_recv(f->rig, VFIO_USER_DMA_READ, &m);
    g_assert_cmpuint(m.size, ==, sizeof(VFIOUserDMARW) + PAGE);
    g_assert_cmphex(m.payload[sizeof(VFIOUserDMARW)], ==, 0x5a);
    slow_destroy();
}

static bool may_dma(void *device)
{
    return qatomic_read((bool *)device);
}

/* Valid requests are refused while the device may not do DMA. */
static void test_dma_disabled(void)
{
    g_autoptr(Fixture) f = fixture_new();
    g_autofree uint8_t *before = g_memdup2(f->memory, 2 * MiB);
    uint8_t is[8];
    bool may = false;

    f->serve.may_dma = may_dma;
    f->serve.device = &may;
    g_assert_cmpuint(dma(f, VFIO_USER_DMA_READ, BASE, 8, NULL, 0, is), ==,
                     EFAULT);
    g_assert_cmpuint(dma(f, VFIO_USER_DMA_WRITE, BASE, 8, "refused", 8, NULL),
                     ==, EFAULT);
    g_assert_cmpmem(f->memory, 2 * MiB, before, 2 * MiB);
    qatomic_set(&may, true);
    g_assert_cmpuint(dma(f, VFIO_USER_DMA_READ, BASE, 8, NULL, 0, is), ==, 0);
    g_assert_cmpmem(is, 1, &f->memory[place(0)], 1);
}

static const RigTest tests[] = {
    { "/vfio-user/serve/dma-disabled", test_dma_disabled },
    { "/vfio-user/serve/read", test_read },
    { "/vfio-user/serve/write", test_write },
    { "/vfio-user/serve/refused", test_refused },
    { "/vfio-user/serve/in-flight", test_in_flight },
    { "/vfio-user/serve/slow", test_slow },
};

int main(int argc, char **argv)
{
    rig_init(argc, argv, tests, ARRAY_SIZE(tests));
    return g_test_run();
}
