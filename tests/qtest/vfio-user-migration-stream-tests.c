/*
 * qtest of the vfio-user client: streams that are not what was saved
 *
 * A VM is saved to a file and the file is damaged.  Whoever loads it ends with
 * a message and status 1, and its server has loaded nothing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "hw/vfio/user/migration-stream.h"
#include "qemu/bswap.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

/* What stands before the place that is damaged, in the file. */
typedef enum Where { MAGIC, HELLO, DATA, LATER_DATA, CONFIG, END } Where;

typedef enum Deed {
    FLIP,                       /* a bit of the byte at @at */
    PUT,                        /* the word @value at @at, big-endian */
    CUT,                        /* the file at @at */
    REMOVE,                     /* @value bytes at @at */
    FORGE,                      /* the record HELLO as one of kind @value */
    FORGE_GENERATION,           /* and its generation as @value */
    NOTHING,                    /* but another device loads it */
} Deed;

typedef struct Row {
    const char *name;
    Where where;
    Deed deed;
    size_t at;                  /* bytes after that */
    uint64_t value;
    const char *says;
} Row;

/* The row for a server. */
typedef struct Case {
    const Row *row;
    const VFIOUserModel *model;
} Case;

/* Offsets in a record: kind, size, bytes before, sum, payload. */
#define SIZE 4
#define BEFORE 8
#define SUM 16
#define PAYLOAD VFIO_USER_MIG_HEAD_SIZE

static const Row rows[] = {
    { "other-device", MAGIC, NOTHING, 0, 0, "the state is of another device" },
    { "foreign", MAGIC, FLIP, 0, 0, "no state of a vfio-user device" },
    { "host-device", MAGIC, PUT, 0, 0xffffffffef100003ULL,
      "no state of a vfio-user device" },
    { "first-generation", HELLO, FORGE_GENERATION, 0, 1,
      "of a server of generation 1" },
    { "hello-kind", HELLO, PUT, 0, 0x0000000300000014ULL,
      "DATA that was changed" },
    { "hello-not-there", HELLO, FORGE, 0, VFIO_USER_MIG_DATA,
      "says not first who the device is" },
    { "hello-size", HELLO, FLIP, SIZE + 3, 0, "a record HELLO of " },
    { "hello-payload", HELLO, FLIP, PAYLOAD + 5, 0, "HELLO that was changed" },
    { "data-kind", DATA, FLIP, 3, 0, "a record " },
    { "data-huge", DATA, PUT, 0, 0x00000003ffffffffULL,
      "a record DATA of 4294967295 bytes" },
    { "data-short", DATA, PUT, 0, 0x0000000300000fffULL,
      "DATA that was changed" },
    { "data-before", DATA, FLIP, BEFORE + 3, 0, " that was made after " },
    { "data-sum", DATA, FLIP, SUM, 0, "DATA that was changed" },
    { "data-payload", DATA, FLIP, PAYLOAD + 999, 0, "DATA that was changed" },
    { "data-lost", DATA, REMOVE, 0, PAYLOAD + 4096, " that was made after " },
    { "data-truncated", LATER_DATA, CUT, PAYLOAD + 100, 0,
      "ends in the middle" },
    { "head-truncated", LATER_DATA, CUT, 10, 0, "ends in the middle" },
    { "config-payload", CONFIG, FLIP, PAYLOAD + 40, 0,
      "CONFIG that was changed" },
    { "config-truncated", CONFIG, CUT, PAYLOAD + 40, 0, "ends in the middle" },
    { "end-kind", END, FLIP, 3, 0, "a record " },
    { "end-truncated", END, CUT, 2, 0, "ends in the middle" },
};

static bool is_record(const uint8_t *at, VFIOUserMigRecord record,
                      uint64_t before)
{
    return ldl_be_p(at) == record && ldq_be_p(at + BEFORE) == before;
}

/*
 * Where in the file.  A record is known by its kind and by the bytes before
 * it, of which the first DATA has those of HELLO, and the last two all.
 */
static size_t place_of(const char *text, size_t length, Where where)
{
    const uint8_t *bytes = (const uint8_t *)text;
    const uint64_t hello = VFIO_USER_MIG_HELLO_SIZE;
    const uint64_t data = vfio_user_mig_state_size(vfio_user_mig_stop_copy);
    uint64_t all = hello + data;
    size_t at;

    for (at = 0; at + PAYLOAD <= length; at++) {
        const uint8_t *here = bytes + at;

        if ((where == MAGIC && ldq_be_p(here) == VFIO_USER_MIG_MAGIC) ||
            (where == HELLO && is_record(here, VFIO_USER_MIG_HELLO, 0) &&
             ldl_be_p(here + SIZE) == hello) ||
            (where == DATA && is_record(here, VFIO_USER_MIG_DATA, hello)) ||
            (where == LATER_DATA &&
             is_record(here, VFIO_USER_MIG_DATA, hello + 9 * 4096)) ||
            (where == CONFIG && is_record(here, VFIO_USER_MIG_CONFIG, all))) {
            return at;
        }
        if (is_record(here, VFIO_USER_MIG_CONFIG, all)) {
            all += ldl_be_p(here + SIZE);
        }
        if (where == END && is_record(here, VFIO_USER_MIG_END, all)) {
            return at;
        }
    }
    g_assert_not_reached();
}

/* What the sum finds is an accident, so the other checks see a right one. */
static void forge(char *at, VFIOUserMigRecord record)
{
    VFIOUserMigSum sum = { };

    vfio_user_mig_put_head(&sum, record, at + PAYLOAD,
                           VFIO_USER_MIG_HELLO_SIZE, (uint8_t *)at);
}

static void damage(const Row *row, char **text, size_t *length)
{
    size_t at = place_of(*text, *length, row->where) + row->at;

    g_assert_cmpuint(at + 8, <=, *length);
    switch (row->deed) {
    case FLIP:
        (*text)[at] ^= 1;
        break;
    case PUT:
        stq_be_p(*text + at, row->value);
        break;
    case CUT:
        *length = at;
        break;
    case REMOVE:
        memmove(*text + at, *text + at + row->value,
                *length - at - row->value);
        *length -= row->value;
        break;
    case FORGE:
        forge(*text + at, row->value);
        break;
    case FORGE_GENERATION:
        stw_be_p(*text + at + PAYLOAD + 2, row->value);
        forge(*text + at, VFIO_USER_MIG_HELLO);
        break;
    case NOTHING:
        break;
    }
}

static void test_stream(const void *opaque)
{
    const Case *c = opaque;
    const Row *row = c->row;
    const VFIOUserModel *model = c->model;
    VFIOUserModel other = *model;
    const VFIOUserModel *loads = row->deed == NOTHING ? &other : model;
    VFIOUserMigVM *from = vfio_user_mig_vm_run(&model, 1, 0), *to;
    g_autofree char *file = g_build_filename(from->dir, "file", NULL);
    g_autofree char *out = g_strdup_printf("exec:cat > %s", file);
    g_autofree char *in = g_strdup_printf("exec:cat %s", file);
    g_autofree char *said = NULL;
    g_autofree char *text = NULL;
    size_t length;

    vfio_user_mig_start(from, out);
    vfio_user_mig_wait(from, "completed");
    g_assert_true(g_file_get_contents(file, &text, &length, NULL));
    damage(row, &text, &length);
    g_assert_true(g_file_set_contents(file, text, length, NULL));

    other.config[PCI_DEVICE_ID] ^= 1;
    to = vfio_user_mig_vm_new(&loads, 1, NULL, 0);
    vfio_user_server_forget(to->server[0]);
    vfio_user_mig_listen(to, in);
    said = vfio_user_mig_ended(to);
    if (!strstr(said, row->says)) {
        g_test_message("did not say \"%s\"", row->says);
        g_test_fail();
    }
    /* nothing was loaded: RESUMING was not left */
    g_assert_cmpuint(vfio_user_server_saw(to->server[0],
                                          VFIO_USER_DEVICE_FEATURE,
                                          AT(VFIO_USER_MIG_RUNNING)), ==, 0);
    vfio_user_mig_vm_free(to);
    vfio_user_mig_vm_free(from);
}

void vfio_user_add_migration_stream_tests(void)
{
    static Case cases[2 * ARRAY_SIZE(rows)];

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        const Row *row = &rows[i / 2];
        const VFIOUserModel *model = i % 2 ? vfio_user_mig_small_2026 :
                                             vfio_user_mig_stop_copy;
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration-stream/%s%s%s",
                            i % 2 ? model->personality->name : "",
                            i % 2 ? "/" : "", row->name);

        cases[i] = (Case) { row, model };
        qtest_add_data_func(path, &cases[i], test_stream);
    }
}
