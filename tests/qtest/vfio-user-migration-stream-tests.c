/*
 * qtest of the vfio-user client: modified migration streams
 *
 * A VM is saved to a file and the file is modified.  Loading it fails with a
 * message and status 1, and the server has loaded nothing.  Streams of other
 * versions are derived as well; compatible ones load.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "qemu/bswap.h"
#include "vfio-user-migration-file.h"
#include "vfio-user-tests.h"

#define SEED 711

typedef enum Deed {
    FLIP,                       /* flips a bit of the byte at @at */
    PUT,                        /* writes @value at @at, big-endian */
    CUT,                        /* truncates the file at @at */
    REMOVE,                     /* removes the record */
    MAKE,                       /* changes the record's kind to @value */
    OTHER_VERSION,              /* swaps v1 and v2 in the record HELLO */
    NOTHING,                    /* unchanged, loaded by another device */
} Deed;

/* Pseudo record: the start of the device's stream. */
#define BEGINNING VFIO_USER_MIG_RECORDS
#define HELLO VFIO_USER_MIG_HELLO
#define DATA VFIO_USER_MIG_DATA
#define CONFIG VFIO_USER_MIG_CONFIG
#define END VFIO_USER_MIG_END

/* A version newer than this QEMU's. */
#define NEWER (VFIO_USER_MIG_VERSION + 1)

/* The last of the pieces that a server sends. */
#define LAST 0

typedef struct Row {
    const char *name;
    unsigned where;             /* kind of record */
    unsigned nth;               /* nth of its kind, from 1; or LAST */
    Deed deed;
    size_t at;                  /* offset in the record */
    uint32_t value;
    const char *message;
} Row;

/* A row for one server. */
typedef struct Case {
    const Row *row;
    const VFIOUserModel *model;
} Case;

/* Offsets in a record: kind, size, end position, payload. */
#define SIZE 4
#define ENDS 8
#define PAYLOAD VFIO_USER_MIG_HEAD_SIZE

static const Row rows[] = {
    { "other-device", BEGINNING, 1, NOTHING, 0, 0,
      "the state belongs to another device" },
    { "foreign", BEGINNING, 1, FLIP, 0, 0,
      "not contain the state of a vfio-user device" },
    { "host-device", BEGINNING, 1, PUT, 0, 0xffffffff,
      "not contain the state of a vfio-user device" },
    /* version 1 had no version field, but the type of HELLO (1) there */
    { "older", BEGINNING, 1, PUT, 8, 1, "version 1 and requires a QEMU" },
    { "newer", BEGINNING, 1, PUT, 8, NEWER << 16 | NEWER,
      "reads version 4; this QEMU reads versions 2 to 3" },
    { "newer-kind", DATA, 2, PUT, 0, 0x4e657720, "the unknown type 0x4e6577" },
    { "other-version", HELLO, 1, OTHER_VERSION, 0, 0,
      "use servers with the same version" },
    { "hello-kind", HELLO, 1, FLIP, 2, 0, "the unknown type 0x" },
    { "hello-not-there", HELLO, 1, MAKE, 0, DATA,
      "does not begin with a record HELLO" },
    { "hello-size", HELLO, 1, FLIP, SIZE + 3, 0, "a record HELLO of " },
    { "hello-payload", HELLO, 1, FLIP, PAYLOAD + 5, 0,
      "the state belongs to another device" },
    { "data-kind", DATA, 1, FLIP, 3, 0, "the unknown type 0x" },
    { "data-huge", DATA, 1, PUT, SIZE, UINT32_MAX,
      "a record DATA of 4294967295 bytes" },
    { "data-short", DATA, 1, PUT, SIZE, 99, "but was written to end after" },
    { "data-long", DATA, 1, FLIP, SIZE + 3, 0, "but was written to end after" },
    { "data-end", DATA, 2, FLIP, ENDS + 3, 0, "but was written to end after" },
    { "data-lost", DATA, 1, REMOVE, 0, 0, "but was written to end after" },
    { "data-truncated", DATA, 3, CUT, PAYLOAD + 100, 0, "ends in the middle" },
    { "data-not-the-last", DATA, LAST, MAKE, 0, VFIO_USER_MIG_PART,
      "in the middle of a chunk" },
    { "head-truncated", DATA, 3, CUT, 10, 0, "ends in the middle" },
    { "config-end", CONFIG, 1, FLIP, ENDS + 7, 0,
      "but was written to end after" },
    { "config-truncated", CONFIG, 1, CUT, PAYLOAD + 40, 0,
      "ends in the middle" },
    { "end-kind", END, 1, FLIP, 3, 0, "the unknown type 0x" },
    { "end-truncated", END, 1, CUT, 2, 0, "ends in the middle" },
};

static unsigned count(const VFIOUserMigFile *file, VFIOUserMigRecord kind)
{
    unsigned n = 0;

    for (unsigned i = 0; i < file->records; i++) {
        n += file->record[i].kind == kind;
    }
    return n;
}

static size_t place_of(const VFIOUserMigFile *file, const Row *row)
{
    return row->where == BEGINNING ? file->magic :
           vfio_user_mig_file_find(file, row->where,
                                   row->nth ?: count(file, row->where));
}

/* Changes the kind in the header of the record at @at. */
static void change_kind(char *at, VFIOUserMigRecord kind)
{
    uint32_t size = ldl_be_p(at + SIZE);
    uint64_t position = ldq_be_p(at + ENDS) - PAYLOAD - size;

    vfio_user_mig_put_head(&position, kind, size, (uint8_t *)at);
}

static void modify(const Row *row, VFIOUserMigFile *file)
{
    size_t at = place_of(file, row);
    char *place = file->text + at + row->at;
    size_t size;

    g_assert_cmpuint(at + row->at + 8, <=, file->length);
    switch (row->deed) {
    case FLIP:
        *place ^= 1;
        break;
    case PUT:
        stl_be_p(place, row->value);
        break;
    case CUT:
        file->length = at + row->at;
        break;
    case REMOVE:
        size = PAYLOAD + ldl_be_p(place + SIZE);
        memmove(place, place + size, file->length - at - size);
        file->length -= size;
        break;
    case MAKE:
        change_kind(place, row->value);
        break;
    case OTHER_VERSION:
        stl_be_p(place + PAYLOAD, 3 - ldl_be_p(place + PAYLOAD));
        break;
    case NOTHING:
        break;
    }
}

static void test_stream(const void *opaque)
{
    const Case *c = opaque;
    const Row *row = c->row;
    VFIOUserModel other = *c->model;
    g_autoptr(VFIOUserMigFile) file = vfio_user_mig_file_new(c->model, SEED);
    g_autofree char *said = NULL;

    modify(row, file);
    other.config[PCI_DEVICE_ID] ^= 1;
    said = vfio_user_mig_file_refused(file, row->deed == NOTHING ? &other :
                                                                   c->model,
                                      file->length);
    if (!strstr(said, row->message)) {
        g_test_message("no message \"%s\"", row->message);
        g_test_fail();
    }
}

/*
 * Streams of a later QEMU that this one can read: unknown optional records are
 * skipped.
 */
static void test_from_newer(const void *opaque)
{
    static const VFIOUserMigRecord places[] = { DATA, CONFIG, END };
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigFile) file = vfio_user_mig_file_new(model, SEED);
    g_autoptr(VFIOUserMigVM) to = NULL;

    stl_be_p(file->text + file->magic + 8, NEWER << 16 | VFIO_USER_MIG_VERSION);
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        size_t at = vfio_user_mig_file_find(file, places[i], 1);

        vfio_user_mig_file_insert(file, at, 0x4f706e65 + i, 5 * i);
    }
    to = vfio_user_mig_file_load(file, model, file->length);
    vfio_user_mig_wait_running(to);
    vfio_user_mig_vm_check(to, SEED);
}

/*
 * A QEMU that reads version 2 can load what this QEMU writes: the stream has
 * that version and only record kinds of that version.
 */
static void test_to_older(const void *opaque)
{
    static const uint8_t beginning[] = {
        'v', 'f', 'i', 'o', 'u', 's', 'e', 'r', 0, 0, 0, 2,
    };
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigFile) file = vfio_user_mig_file_new(model, SEED);

    g_assert_cmpmem(file->text + file->magic, sizeof(beginning), beginning,
                    sizeof(beginning));
    for (unsigned i = 0; i < file->records; i++) {
        g_assert_cmpint(file->record[i].kind, <, VFIO_USER_MIG_OPTIONAL);
    }
}

/* QEMU's analyze-migration.py parses the saved state of a device. */
static void test_analyze(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigFile) file = vfio_user_mig_file_new(model, SEED);
    g_autofree char *build = g_path_get_dirname(getenv("QTEST_QEMU_BINARY"));
    g_autofree char *script = g_build_filename(build, "scripts",
                                               "analyze-migration.py", NULL);
    char *const command[] = { script, (char *)"-f", file->name, NULL };
    g_autofree char *state = NULL;
    g_autofree char *errors = NULL;
    int status;

    g_assert_true(g_spawn_sync(NULL, (char **)command, NULL,
                               G_SPAWN_DEFAULT, NULL, NULL, &state, &errors,
                               &status, NULL));
    if (status) {
        g_test_message("%.2000s", strstr(errors, "Traceback"));
    }
    g_assert_cmpint(status, ==, 0);
    g_assert_nonnull(strstr(state, "0000:00:04.0/vfio ("));
    g_assert_nonnull(strstr(state, "\"Helo\": \"1 records, 20 bytes\""));
    g_assert_nonnull(strstr(state, "\"Conf\": \"1 records, "));
    g_assert_nonnull(strstr(state, "0000:00:04.0/vfio-end ("));
}

static const struct {
    const char *name;
    void (*test)(const void *opaque);
} whole_tests[] = {
    { "from-newer", test_from_newer },
    { "to-older", test_to_older },
    { "analyze", test_analyze },
};

static void add(Case *c, const char *server, const Row *row,
                const VFIOUserModel *model)
{
    g_autofree char *path =
        g_strdup_printf("/vfio-user/migration-stream/%s/%s", server,
                        row->name);

    *c = (Case) { row, model };
    qtest_add_data_func(path, c, test_stream);
}

void vfio_user_add_migration_stream_tests(void)
{
    static Case cases[3 * ARRAY_SIZE(rows)];

    for (unsigned i = 0; i < 2 * ARRAY_SIZE(whole_tests); i++) {
        g_autofree char *path =
            g_strdup_printf("/vfio-user/migration-stream/%u/%s", i % 2 + 1,
                            whole_tests[i / 2].name);

        qtest_add_data_func(path, i % 2 ? &vfio_user_mig_pre_copy :
                                          &vfio_user_mig_region,
                            whole_tests[i / 2].test);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        add(&cases[3 * i], "1", &rows[i], vfio_user_mig_region);
        add(&cases[3 * i + 1], "2", &rows[i], vfio_user_mig_stop_copy);
        add(&cases[3 * i + 2], vfio_user_mig_small_2026->personality->name,
            &rows[i], vfio_user_mig_small_2026);
    }
}
