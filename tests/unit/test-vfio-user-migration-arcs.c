/*
 * vfio-user migration arcs
 *
 * For both versions, compares every pair of states with a table that was
 * written by hand, and follows every path to its end.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vfio/user/migration-arcs.h"

/* States, with the numbers of the specification. */
enum { E = 0, S = 1, R = 2, C = 3, L = 4, P = 6 };

/* Indexed by from and to: the end of the first arc, and the number of arcs. */
typedef struct Version {
    const char *name;
    const VFIOUserMigArcs *arcs;
    uint8_t next[8][8];
    uint8_t length[8][8];
    bool through_saving;        /* a path may lead through C */
} Version;

static const Version versions[] = {
    {
        .name = "v1",
        .arcs = &vfio_user_mig_v1_arcs,
        .next = {
            /*        E  S  R  C  L  -  P  - */
            [S] =   { E, S, R, R, R, E, R, E },
            [R] =   { E, S, R, C, L, E, P, E },
            [C] =   { E, S, R, C, R, E, E, E },
            [L] =   { E, R, R, R, L, E, R, E },
            [P] =   { E, C, C, C, C, E, P, E },
        },
        .length = {
            [S] =   { 0, 0, 1, 2, 2, 0, 2, 0 },
            [R] =   { 0, 1, 0, 1, 1, 0, 1, 0 },
            [C] =   { 0, 1, 1, 0, 2, 0, 0, 0 },
            [L] =   { 0, 2, 1, 2, 0, 0, 2, 0 },
            [P] =   { 0, 2, 2, 1, 3, 0, 0, 0 },
        },
        .through_saving = true,
    },
    {
        .name = "v2",
        .arcs = &vfio_user_mig_v2_arcs,
        .next = {
            [S] =   { E, S, R, C, L, E, R, E },
            [R] =   { E, S, R, S, S, E, P, E },
            [C] =   { E, S, S, C, S, E, E, E },
            [L] =   { E, S, S, S, L, E, S, E },
            [P] =   { E, R, R, C, R, E, P, E },
        },
        .length = {
            [S] =   { 0, 0, 1, 1, 1, 0, 2, 0 },
            [R] =   { 0, 1, 0, 2, 2, 0, 1, 0 },
            [C] =   { 0, 1, 2, 0, 2, 0, 0, 0 },
            [L] =   { 0, 1, 2, 2, 0, 0, 3, 0 },
            [P] =   { 0, 2, 1, 1, 3, 0, 0, 0 },
        },
    },
};

static bool is_used(unsigned state)
{
    return state == S || state == R || state == C || state == L || state == P;
}

static void test_next(const void *opaque)
{
    const Version *v = opaque;
    unsigned from, to;

    for (from = 0; from < 8; from++) {
        for (to = 0; to < 8; to++) {
            if (from != to || is_used(from)) {
                g_test_message("%u to %u", from, to);
                g_assert_cmpuint(vfio_user_mig_next(v->arcs, from, to), ==,
                                 v->next[from][to]);
            }
        }
    }
}

/* With v1, the only arc out of PRE_COPY leads to STOP_COPY. */
static bool may_be_between(const Version *v, unsigned from, unsigned state)
{
    return v->through_saving ? state != P && (state != C || from == P) :
                               state != P && state != C;
}

static void test_ways(const void *opaque)
{
    const Version *v = opaque;
    unsigned from, to;

    for (from = 0; from < 8; from++) {
        for (to = 0; to < 8; to++) {
            unsigned at = from, arcs = 0;

            if (!is_used(from) || !v->next[from][to]) {
                continue;
            }
            g_test_message("%u to %u", from, to);
            while (at != to) {
                at = vfio_user_mig_next(v->arcs, at, to);
                arcs++;
                g_assert_cmpuint(arcs, <, 8);
                g_assert_true(is_used(at));
                g_assert_true(at == to || may_be_between(v, from, at));
            }
            g_assert_cmpuint(arcs, ==, v->length[from][to]);
        }
    }
}

static void test_nonsense(const void *opaque)
{
    const Version *v = opaque;
    static const unsigned no_states[] = { 8, 31, 32, 33, 255, 0x7fffffff };
    unsigned i, j;

    for (i = 0; i < ARRAY_SIZE(no_states); i++) {
        for (j = 0; j < 8; j++) {
            g_assert_cmpuint(vfio_user_mig_next(v->arcs, no_states[i], j), ==,
                             E);
            g_assert_cmpuint(vfio_user_mig_next(v->arcs, j, no_states[i]), ==,
                             E);
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

static void add(const Version *v, const char *name,
                void (*test)(const void *opaque))
{
    g_autofree char *path = g_strdup_printf("/vfio-user/migration-arcs/%s/%s",
                                            v->name, name);

    g_test_add_data_func(path, v, test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(versions); i++) {
        add(&versions[i], "next", test_next);
        add(&versions[i], "ways", test_ways);
        add(&versions[i], "nonsense", test_nonsense);
    }
    g_test_add_func("/vfio-user/migration-arcs/names", test_names);
    return g_test_run();
}
