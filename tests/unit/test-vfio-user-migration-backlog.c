/*
 * vfio-user migration backlog
 *
 * Simulates servers: how much data they produce between two turns, and how much
 * QEMU reads in one turn.  QEMU stops the VM when less is pending than its
 * threshold.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "hw/vfio/user/migration-backlog.h"

#define LIMIT (256 * MiB)
#define NEVER 100000            /* turns */

#define READS 16                /* in a turn */

typedef struct Server {
    uint64_t has;               /* bytes at the beginning */
    uint64_t grows;             /* bytes produced per turn */
    uint64_t max_turn;          /* maximum of bytes read in a turn */
    uint64_t threshold;
    uint64_t max_read;          /* maximum of bytes in a read; 0: any */
    uint64_t trickles;          /* bytes produced between two reads */
} Server;

/* Does a turn, in which each read requests an equal part of the bytes. */
static VFIOUserMigTurn turn_of(Server *s)
{
    uint64_t size = s->max_turn / READS;
    VFIOUserMigTurn turn = { };

    for (unsigned i = 0; i < READS && !turn.ended; i++) {
        uint64_t bytes = MIN(s->has, MIN(size, s->max_read ?: size));

        turn.bytes += bytes;
        turn.ended = !bytes;
        turn.short_reads += bytes && bytes < size;
        s->has += s->trickles - bytes;
    }
    return turn;
}

/* Returns the turns until the VM stops; s->has is what the server has then. */
static unsigned turns(Server *s)
{
    VFIOUserMigBacklog b = { };
    unsigned n;

    for (n = 0; n < NEVER; n++) {
        uint64_t pending = vfio_user_mig_backlog_pending(&b, s->threshold);
        VFIOUserMigTurn turn;

        if (!pending || pending < s->threshold) {
            break;
        }
        turn = turn_of(s);
        vfio_user_mig_backlog_turn(&b, &turn, LIMIT);
        s->has += s->grows;
    }
    return n;
}

/* A server is read until it has no more data, regardless of the threshold. */
static void test_read_to_end(void)
{
    static const uint64_t thresholds[] = { 0, 1, MiB, 100 * MiB, INT64_MAX };

    for (unsigned i = 0; i < ARRAY_SIZE(thresholds); i++) {
        Server s = { 100 * MiB, 0, 16 * MiB, thresholds[i] };
        unsigned n = turns(&s);

        g_assert_cmpuint(n, ==, thresholds[i] > 4 * MiB ? 7 : 8);
        g_assert_cmpuint(s.has, ==, 0);
    }
}

static void test_nothing(void)
{
    Server s = { 0, 0, 16 * MiB, 0 };

    g_assert_cmpuint(turns(&s), ==, 1);
}

/* A server that grows slower than it is read ends below the threshold. */
static void test_growing(void)
{
    for (uint64_t grows = 1; grows < 15 * MiB; grows = grows * 3 + 1) {
        Server s = { 20 * MiB, grows, 16 * MiB, 15 * MiB };

        g_assert_cmpuint(turns(&s), <, 1000);
        g_assert_cmpuint(s.has, <, s.threshold);
    }
}

/* A server without an end is read up to the limit. */
static void test_endless(void)
{
    Server s = { UINT64_MAX / 2, 0, 16 * MiB, 1 };

    g_assert_cmpuint(turns(&s), ==, LIMIT / s.max_turn + 1);

    /* the same if the data come later */
    s = (Server) { 17 * MiB, 32 * MiB, 16 * MiB, 1 };
    g_assert_cmpuint(turns(&s), <, NEVER);
}

/* A server that returns little data per read is also read to the end. */
static void test_short_reads(void)
{
    static const uint64_t thresholds[] = { 1, MiB, INT64_MAX };

    for (unsigned i = 0; i < ARRAY_SIZE(thresholds); i++) {
        Server s = {
            100 * MiB, 0, 16 * MiB, thresholds[i], .max_read = 100000,
        };

        turns(&s);
        g_assert_cmpuint(s.has, ==, 0);
    }
}

/* A server that always has a little more is not read forever. */
static void test_trickles(void)
{
    Server s = { 100 * MiB, 0, 16 * MiB, 1 * MiB, .trickles = 10 };
    unsigned n = turns(&s);

    g_assert_cmpuint(n, >=, VFIO_USER_MIG_SHORT_READS / READS);
    g_assert_cmpuint(n, <, VFIO_USER_MIG_SHORT_READS / READS + 10);
    g_assert_cmpuint(s.has, <, s.threshold);
}

static bool turn(VFIOUserMigBacklog *b, uint64_t bytes, unsigned short_reads,
                 bool ended)
{
    const VFIOUserMigTurn t = { bytes, short_reads, ended };

    return vfio_user_mig_backlog_turn(b, &t, LIMIT);
}

static void test_reported_once(void)
{
    VFIOUserMigBacklog b = { };

    g_assert_false(turn(&b, LIMIT, 0, false));
    g_assert_true(turn(&b, 1, 0, false));
    g_assert_false(turn(&b, LIMIT, 0, false));
    g_assert_false(turn(&b, 1, 0, true));
}

/* Counting restarts when the server has no more data. */
static void test_count_restarts(void)
{
    VFIOUserMigBacklog b = { };

    for (unsigned i = 0; i < 10; i++) {
        g_assert_false(turn(&b, LIMIT, 0, false));
        g_assert_false(turn(&b, 5, VFIO_USER_MIG_SHORT_READS - 1, true));
        g_assert_cmpuint(vfio_user_mig_backlog_pending(&b, 1), ==, 5);
    }
}

/* "more" is only set if the device is known to have more data. */
static void test_more(void)
{
    VFIOUserMigBacklog b = { };

    g_assert_false(b.more);
    turn(&b, MiB, 1, false);
    g_assert_true(b.more);
    turn(&b, 0, 0, true);
    g_assert_false(b.more);
    turn(&b, MiB, VFIO_USER_MIG_SHORT_READS, false);
    g_assert_false(b.more);
    turn(&b, 0, 0, true);
    turn(&b, LIMIT, 0, false);
    g_assert_true(b.more);
    turn(&b, 1, 0, false);
    g_assert_true(b.endless);
    g_assert_false(b.more);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vfio-user/migration-backlog/read-to-end",
                    test_read_to_end);
    g_test_add_func("/vfio-user/migration-backlog/nothing", test_nothing);
    g_test_add_func("/vfio-user/migration-backlog/growing", test_growing);
    g_test_add_func("/vfio-user/migration-backlog/endless", test_endless);
    g_test_add_func("/vfio-user/migration-backlog/short-reads",
                    test_short_reads);
    g_test_add_func("/vfio-user/migration-backlog/trickles", test_trickles);
    g_test_add_func("/vfio-user/migration-backlog/more", test_more);
    g_test_add_func("/vfio-user/migration-backlog/reported-once",
                    test_reported_once);
    g_test_add_func("/vfio-user/migration-backlog/count-restarts",
                    test_count_restarts);
    return g_test_run();
}
