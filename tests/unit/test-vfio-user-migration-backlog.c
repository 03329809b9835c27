/*
 * vfio-user migration backlog
 *
 * Servers as numbers: what they bring about between two turns, and what QEMU
 * takes of it in one.  It stops the VM where less is pending than its
 * threshold.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "hw/vfio/user/migration-backlog.h"

#define LIMIT (256 * MiB)
#define NEVER 100000            /* turns */

typedef struct Server {
    uint64_t has;               /* bytes at the beginning */
    uint64_t grows;             /* bytes in a turn */
    uint64_t takes;             /* bytes, at most, in a turn */
    uint64_t threshold;
} Server;

/* Turns until the VM is stopped, and what the server has then. */
static unsigned turns(Server *s)
{
    VFIOUserMigBacklog b = { };
    unsigned n;

    for (n = 0; n < NEVER; n++) {
        uint64_t pending = vfio_user_mig_backlog_pending(&b, s->threshold);
        uint64_t bytes = MIN(s->has, s->takes);

        if (!pending || pending < s->threshold) {
            break;
        }
        vfio_user_mig_backlog_turn(&b, bytes, bytes < s->takes, LIMIT);
        s->has = s->has - bytes + s->grows;
    }
    return n;
}

/* As long as it has something, whatever the threshold; not one turn longer. */
static void test_heard_out(void)
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

/* One that grows slower than it is read ends, with less than the threshold. */
static void test_growing(void)
{
    for (uint64_t grows = 1; grows < 15 * MiB; grows = grows * 3 + 1) {
        Server s = { 20 * MiB, grows, 16 * MiB, 15 * MiB };

        g_assert_cmpuint(turns(&s), <, 1000);
        g_assert_cmpuint(s.has, <, s.threshold);
    }
}

/* It ends at the limit, not earlier. */
static void test_endless(void)
{
    Server s = { UINT64_MAX / 2, 0, 16 * MiB, 1 };

    g_assert_cmpuint(turns(&s), ==, LIMIT / s.takes + 1);

    /* as it does where the load comes later */
    s = (Server) { 17 * MiB, 32 * MiB, 16 * MiB, 1 };
    g_assert_cmpuint(turns(&s), <, NEVER);
}

static void test_told_once(void)
{
    VFIOUserMigBacklog b = { };

    g_assert_false(vfio_user_mig_backlog_turn(&b, LIMIT, false, LIMIT));
    g_assert_true(vfio_user_mig_backlog_turn(&b, 1, false, LIMIT));
    g_assert_false(vfio_user_mig_backlog_turn(&b, LIMIT, false, LIMIT));
    g_assert_false(vfio_user_mig_backlog_turn(&b, 1, true, LIMIT));
}

/* An end is where counting begins again. */
static void test_ends_between(void)
{
    VFIOUserMigBacklog b = { };

    for (unsigned i = 0; i < 10; i++) {
        g_assert_false(vfio_user_mig_backlog_turn(&b, LIMIT, false, LIMIT));
        g_assert_false(vfio_user_mig_backlog_turn(&b, 5, true, LIMIT));
        g_assert_cmpuint(vfio_user_mig_backlog_pending(&b, 1), ==, 5);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vfio-user/migration-backlog/heard-out", test_heard_out);
    g_test_add_func("/vfio-user/migration-backlog/nothing", test_nothing);
    g_test_add_func("/vfio-user/migration-backlog/growing", test_growing);
    g_test_add_func("/vfio-user/migration-backlog/endless", test_endless);
    g_test_add_func("/vfio-user/migration-backlog/told-once", test_told_once);
    g_test_add_func("/vfio-user/migration-backlog/ends-between",
                    test_ends_between);
    return g_test_run();
}
