/*
 * qtest of the vfio-user client: all migration capabilities
 *
 * Tests each capability that QEMU has, with migration v1 and v2, and with
 * memory that is shared with the server or not: it works, which is checked, or
 * it is refused with a message.  With a device that has no migration,
 * everything is refused.  A capability without a row fails a test.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>

#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 1201

/* Memory that the guest has written; its last page is like the others */
#define WRITTEN (8 * MiB)
#define WRITTEN_SIZE (32 * MiB)
#define PATTERN 0x5a

/* Special steps of a migration with a capability */
typedef enum How {
    BY_FILE = 1 << 0,           /* to a file, and from the file */
    PAUSES = 1 << 1,            /* pauses before switchover until continued */
    POSTCOPY = 1 << 2,
    ONE_MEMORY = 1 << 3,        /* both QEMUs map the same, if shared */
    BY_TCP = 1 << 4,
} How;

typedef struct Row {
    const char *capability;
    const char *needs;          /* comma-separated; or NULL */
    unsigned how;
    /*
     * Message if the capability or the migration is refused, and if memory is
     * shared
     */
    const char *not_set;
    const char *refused, *refused_shared;
} Row;

#define NO_SHARED "do not support postcopy-ram while they share the VM's memory"

static const Row rows[] = {
    { "xbzrle" },
    { "rdma-pin-all" },
    { "auto-converge" },
    { "zero-blocks" },
    { "events" },
    { "postcopy-ram", .how = POSTCOPY, .refused_shared = NO_SHARED },
    { "x-colo", "return-path", .refused = "do not support x-colo" },
    { "release-ram", "postcopy-ram", POSTCOPY, .refused_shared = NO_SHARED },
    { "return-path" },
    { "pause-before-switchover", .how = PAUSES },
    { "multifd" },
    { "dirty-bitmaps" },
    { "postcopy-blocktime", "postcopy-ram", POSTCOPY,
      .refused_shared = NO_SHARED },
    { "late-block-activate" },
    { "x-ignore-shared", .how = ONE_MEMORY },
    { "validate-uuid" },
    { "background-snapshot", .refused = "do not support background-snapshot" },
    { "zero-copy-send", "multifd", .how = BY_TCP },
    { "postcopy-preempt", "postcopy-ram", POSTCOPY,
      .refused_shared = NO_SHARED },
    { "switchover-ack", "return-path" },
    { "dirty-limit", .not_set = "requires KVM" },
    { "mapped-ram", .how = BY_FILE },
};

/* A row with one server and one kind of memory */
typedef struct Cell {
    const Row *row;
    const VFIOUserModel *model;
    bool shared;
} Cell;

/* Capabilities */

static QDict *capability_entry(const char *name, bool on)
{
    QDict *entry = qdict_new();

    qdict_put_str(entry, "capability", name);
    qdict_put_bool(entry, "state", on);
    return entry;
}

/* Sets a row's capabilities.  Returns NULL or the error. */
static char *set_row(VFIOUserMigVM *vm, const Row *row, bool on)
{
    g_auto(GStrv) needs = g_strsplit(row->needs ?: "", ",", -1);
    QList *list = qlist_new();
    QDict *response;
    char *why = NULL;

    for (unsigned i = 0; needs[i]; i++) {
        qlist_append(list, capability_entry(needs[i], on));
    }
    qlist_append(list, capability_entry(row->capability, on));
    response = qtest_qmp(vm->qts, "{'execute': 'migrate-set-capabilities',"
                         "'arguments': { 'capabilities': %p } }", list);
    if (qdict_haskey(response, "error")) {
        why = g_strdup(qdict_get_str(qdict_get_qdict(response, "error"),
                                     "desc"));
        g_test_message("%s: %s", row->capability, why);
    }
    qobject_unref(response);
    return why;
}

/* Returns QEMU's capabilities: name and whether it is set */
static QDict *get_capabilities(VFIOUserMigVM *vm)
{
    QDict *response = qtest_qmp(vm->qts,
                                "{'execute': 'query-migrate-capabilities'}");
    QDict *there = qdict_new();
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(response, "return"), entry) {
        QDict *c = qobject_to(QDict, qlist_entry_obj(entry));

        qdict_put_bool(there, qdict_get_str(c, "capability"),
                       qdict_get_bool(c, "state"));
    }
    qobject_unref(response);
    return there;
}

static bool has_row(VFIOUserMigVM *vm, const Row *row)
{
    QDict *there = get_capabilities(vm);
    bool found = qdict_haskey(there, row->capability);

    qobject_unref(there);
    if (!found) {
        g_test_skip("this QEMU does not have it");
    }
    return found;
}

/* One migration */

static void continue_migration(VFIOUserMigVM *from, unsigned how)
{
    if (how & PAUSES) {
        vfio_user_mig_wait(from, "pre-switchover");
        qtest_qmp_assert_success(from->qts, "{'execute': 'migrate-continue',"
                                 "'arguments': {'state': 'pre-switchover'}}");
    }
    if (how & POSTCOPY) {
        qtest_qmp_assert_success(from->qts,
                                 "{'execute': 'migrate-start-postcopy'}");
    }
}

static char *listen_on(VFIOUserMigVM *to, unsigned how)
{
    g_autofree char *uri = NULL;

    if (how & BY_TCP) {
        vfio_user_mig_listen(to, "tcp:127.0.0.1:0");
        return vfio_user_mig_address(to);
    }
    uri = vfio_user_mig_uri(to);
    vfio_user_mig_listen(to, uri);
    return g_steal_pointer(&uri);
}

static void move_by(VFIOUserMigVM *from, VFIOUserMigVM *to, unsigned how)
{
    bool by_file = how & BY_FILE;
    g_autofree char *uri = by_file ? g_strdup_printf("file:%s/file", from->dir)
                                   : listen_on(to, how);

    vfio_user_mig_start(from, uri);
    continue_migration(from, how);
    if (by_file) {
        vfio_user_mig_wait(from, "completed");
        vfio_user_mig_listen(to, uri);
    }
    vfio_user_mig_arrive(from, to);
}

static void matrix_check_vm(VFIOUserMigVM *vm)
{
    vfio_user_mig_vm_check(vm, SEED);
    for (unsigned at = 0; at < WRITTEN_SIZE; at += 4 * KiB) {
        g_assert_cmphex(qtest_readl(vm->qts, WRITTEN + at), ==,
                        PATTERN * 0x01010101);
    }
}

/* Returns the options; @fd is the memory file that both QEMUs share. */
static char *memory(const Cell *cell, int fd)
{
    if (!cell->shared) {
        return g_strdup(VFIO_USER_RIG_RAM);
    }
    if (!(cell->row->how & ONE_MEMORY)) {
        return g_strdup(VFIO_USER_RIG_SHARED);
    }
    return g_strdup_printf("-machine pc,memory-backend=ram -nodefaults -m 64 "
                           "-object memory-backend-file,id=ram,size=64M,"
                           "share=on,mem-path=/proc/%d/fd/%d ", getpid(), fd);
}

/* After a refusal, the VM is unchanged and migrates without the capability. */
static void test_cell(const void *opaque)
{
    const Cell *cell = opaque;
    const Row *row = cell->row;
    const char *refused = row->refused ?:
                          cell->shared ? row->refused_shared : NULL;
    int fd = memfd_create("ram", MFD_CLOEXEC);
    g_autofree char *ram = memory(cell, fd);
    g_autoptr(VFIOUserMigVM) from = vfio_user_mig_vm_run_with(cell->model,
                                                              ram);
    g_autoptr(VFIOUserMigVM) to = NULL;
    g_autofree char *why = NULL;
    unsigned how = row->how;

    if (!has_row(from, row)) {
        close(fd);
        return;
    }
    vfio_user_mig_vm_fill(from, SEED);
    qtest_memset(from->qts, WRITTEN, PATTERN, WRITTEN_SIZE);
    why = set_row(from, row, true);
    if (why && row->not_set) {
        g_assert_nonnull(strstr(why, row->not_set));
        how = 0;
    } else if (refused) {
        g_assert_null(why);
        vfio_user_mig_refused(from, refused);
        g_assert_null(set_row(from, row, false));
        how = 0;
    }
    matrix_check_vm(from);
    to = vfio_user_mig_vm_new_with(cell->model, ram);
    if (!refused && !row->not_set) {
        g_assert_null(set_row(to, row, true));
    }
    move_by(from, to, how);
    matrix_check_vm(to);
    close(fd);
}

/* A device without migration blocks every one of them. */
static void test_none(void)
{
    const VFIOUserModel *model = &vfio_user_model;
    g_autoptr(VFIOUserMigVM) vm = vfio_user_mig_vm_run(&model, 1, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *why = set_row(vm, &rows[i], true);

        if (!why) {
            vfio_user_mig_refused_to(vm, rows[i].how & BY_FILE ?
                                     "file:/nowhere" : "unix:/nowhere",
                                     "the server does not support migration");
            g_assert_null(set_row(vm, &rows[i], false));
        }
    }
}

static void test_known(void)
{
    g_autoptr(VFIOUserMigVM) vm =
        vfio_user_mig_vm_run(&vfio_user_mig_pre_copy, 1, 0);
    QDict *there = get_capabilities(vm);

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        qdict_del(there, rows[i].capability);
    }
    for (const QDictEntry *e = qdict_first(there); e;
         e = qdict_next(there, e)) {
        g_test_message("no row for %s", qdict_entry_key(e));
    }
    g_assert_cmpuint(qdict_size(there), ==, 0);
    qobject_unref(there);
}

static void add(Cell *cell)
{
    g_autofree char *path =
        g_strdup_printf("/vfio-user/migration-matrix/%u/%s/%s",
                        cell->model->migration1 ? 1 : 2,
                        cell->shared ? "shared" : "unshared",
                        cell->row->capability);

    qtest_add_data_func(path, cell, test_cell);
}

void vfio_user_add_migration_matrix_tests(void)
{
    static Cell cells[4 * ARRAY_SIZE(rows)];

    qtest_add_func("/vfio-user/migration-matrix/known", test_known);
    qtest_add_func("/vfio-user/migration-matrix/none", test_none);
    for (unsigned i = 0; i < ARRAY_SIZE(cells); i++) {
        cells[i] = (Cell) {
            .row = &rows[i / 4],
            .model = i & 1 ? vfio_user_mig_pre_copy : vfio_user_mig_region,
            .shared = i & 2,
        };
        add(&cells[i]);
    }
}
