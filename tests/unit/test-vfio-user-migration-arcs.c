/*
 * vfio-user migration arcs
 *
 * Every pair of states against a table that is written out, so not made by the
 * code under test, and every way to its end.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vfio/user/migration-arcs.h"

/* As numbers of the specification. */
enum { E = 0, S = 1, R = 2, C = 3, L = 4, P = 6 };

/* By from and to: the end of the first arc. */
static const uint8_t next[8][8] = {
    /*        E  S  R  C  L  -  P  - */
    [S] =   { E, S, R, C, L, E, R, E },
    [R] =   { E, S, R, S, S, E, P, E },
    [C] =   { E, S, S, C, S, E, E, E },
    [L] =   { E, S, S, S, L, E, S, E },
    [P] =   { E, R, R, C, R, E, P, E },
};

/* By from and to: how many arcs. */
static const uint8_t length[8][8] = {
    [S] =   { 0, 0, 1, 1, 1, 0, 2, 0 },
    [R] =   { 0, 1, 0, 2, 2, 0, 1, 0 },
    [C] =   { 0, 1, 2, 0, 2, 0, 0, 0 },
    [L] =   { 0, 1, 2, 2, 0, 0, 3, 0 },
    [P] =   { 0, 2, 1, 1, 3, 0, 0, 0 },
};

static bool is_used(unsigned state)
{
    return state == S || state == R || state == C || state == L || state == P;
}

static void test_next(void)
{
    unsigned from, to;

    for (from = 0; from < 8; from++) {
        for (to = 0; to < 8; to++) {
            if (from != to || is_used(from)) {
                g_test_message("%u to %u", from, to);
                g_assert_cmpuint(vfio_user_mig_next(from, to), ==,
                                 next[from][to]);
            }
        }
    }
}

static void test_ways(void)
{
    unsigned from, to;

    for (from = 0; from < 8; from++) {
        for (to = 0; to < 8; to++) {
            unsigned at = from, arcs = 0;

            if (!is_used(from) || !next[from][to]) {
                continue;
            }
            g_test_message("%u to %u", from, to);
            while (at != to) {
                at = vfio_user_mig_next(at, to);
                arcs++;
                g_assert_cmpuint(arcs, <, 8);
                g_assert_true(is_used(at));
                /* no state that saves on the way */
                g_assert_true(at == to || (at != C && at != P));
            }
            g_assert_cmpuint(arcs, ==, length[from][to]);
        }
    }
}

static void test_nonsense(void)
{
    static const unsigned no_states[] = { 8, 31, 32, 33, 255, 0x7fffffff };
    unsigned i, j;

    for (i = 0; i < ARRAY_SIZE(no_states); i++) {
        for (j = 0; j < 8; j++) {
            g_assert_cmpuint(vfio_user_mig_next(no_states[i], j), ==, E);
            g_assert_cmpuint(vfio_user_mig_next(j, no_states[i]), ==, E);
        }
    }
}

static void test_names(void)
{
    g_assert_cmpstr(vfio_user_mig_state_name(0), ==, "ERROR");
    g_assert_cmpstr(vfio_user_mig_state_name(3), ==, "STOP_COPY");
    g_assert_cmpstr(vfio_user_mig_state_name(6), ==, "PRE_COPY");
    g_assert_cmpstr(vfio_user_mig_state_name(8), ==, "no state");
    g_assert_cmpstr(vfio_user_mig_state_name(UINT32_MAX), ==, "no state");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vfio-user/migration-arcs/next", test_next);
    g_test_add_func("/vfio-user/migration-arcs/ways", test_ways);
    g_test_add_func("/vfio-user/migration-arcs/nonsense", test_nonsense);
    g_test_add_func("/vfio-user/migration-arcs/names", test_names);
    return g_test_run();
}
