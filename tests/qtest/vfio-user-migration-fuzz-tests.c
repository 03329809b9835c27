/*
 * qtest of the vfio-user client: streams that are changed anywhere
 *
 * A VM is saved to a file once.  Any byte of what the device has in it is
 * changed, or the last one that is there; whoever loads that ends with a
 * message and status 1.  Which places is random, and more of them with
 * "-m slow".  Damage with an aim is for the tests of the stream.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/vfio/user/migration-stream.h"
#include "qemu/bswap.h"
#include "vfio-user-migration-rig.h"
#include "vfio-user-tests.h"

#define SEED 1123

#define HEAD VFIO_USER_MIG_HEAD_SIZE
#define MAX_RECORDS 64

/* Of a section of QEMU's stream, QEMU_VM_SECTION_FULL. */
#define SECTION_FULL 4
#define END_NAME "0000:00:04.0/vfio-end"
#define BEFORE_NAME 6           /* bytes: kind, number, length of the name */
#define AFTER_NAME 8            /* instance, version */
#define FOOTER 5

typedef struct Saved {
    char *dir;
    char *file;
    char *text;
    size_t length;
    struct {
        size_t at, size;        /* with its head */
        VFIOUserMigRecord kind;
    } record[MAX_RECORDS];
    unsigned records;
} Saved;

static bool take_record(Saved *s, size_t at, VFIOUserMigSum *sum)
{
    const uint8_t *bytes = (const uint8_t *)s->text + at;
    VFIOUserMigSum with = *sum;
    VFIOUserMigHead head;

    if (s->length - at < HEAD ||
        !vfio_user_mig_get_head(sum, bytes, &head, NULL) ||
        s->length - at - HEAD < head.size ||
        !vfio_user_mig_check(&with, &head, bytes + HEAD, NULL)) {
        return false;
    }
    g_assert_cmpuint(s->records, <, MAX_RECORDS);
    s->record[s->records].at = at;
    s->record[s->records].size = HEAD + head.size;
    s->record[s->records++].kind = head.record;
    *sum = with;
    return true;
}

/* The records of the device, by the sum that connects them. */
static void find_records(Saved *s)
{
    VFIOUserMigSum sum = { };
    size_t at = 0;

    while (ldq_be_p(s->text + at) != VFIO_USER_MIG_MAGIC) {
        at++;
        g_assert_cmpuint(at + 8, <=, s->length);
    }
    at += 8;
    while (at < s->length) {
        at += take_record(s, at, &sum) ? s->record[s->records - 1].size : 1;
    }
    g_assert_cmpuint(s->records, >, 20);
    g_assert_cmpuint(s->record[s->records - 2].kind, ==, VFIO_USER_MIG_END);
}

static Saved *saved_new(void)
{
    const VFIOUserModel *model = vfio_user_mig_stop_copy;
    VFIOUserMigVM *from = vfio_user_mig_vm_run(&model, 1, 0);
    Saved *s = g_new0(Saved, 1);
    g_autofree char *uri = NULL;

    s->dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    s->file = g_build_filename(s->dir, "file", NULL);
    uri = g_strdup_printf("exec:cat > %s", s->file);
    vfio_user_mig_vm_fill(from, SEED);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(from, "completed");
    vfio_user_mig_vm_quit(from);
    vfio_user_mig_vm_free(from);
    g_assert_true(g_file_get_contents(s->file, &s->text, &s->length, NULL));
    find_records(s);
    return s;
}

static void saved_free(Saved *s)
{
    unlink(s->file);
    rmdir(s->dir);
    g_free(s->dir);
    g_free(s->file);
    g_free(s->text);
    g_free(s);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Saved, saved_free)

/* Begins to load what is saved as it is now, or @length bytes of it. */
static VFIOUserMigVM *load(Saved *s, size_t length)
{
    const VFIOUserModel *model = vfio_user_mig_stop_copy;
    VFIOUserMigVM *to = vfio_user_mig_vm_new(&model, 1, NULL, 0);
    g_autofree char *uri = g_strdup_printf("exec:cat %s", s->file);

    g_assert_true(g_file_set_contents(s->file, s->text, length, NULL));
    vfio_user_server_forget(to->server[0]);
    vfio_user_mig_listen(to, uri);
    return to;
}

static void check_refused(Saved *s, size_t length)
{
    VFIOUserMigVM *to = load(s, length);
    g_autofree char *said = vfio_user_mig_ended(to);

    g_assert_nonnull(strstr(said, "loading the device failed: "));
    g_assert_cmpuint(vfio_user_server_saw(to->server[0],
                                          VFIO_USER_DEVICE_FEATURE,
                                          AT(VFIO_USER_MIG_RUNNING)), ==, 0);
    vfio_user_mig_vm_free(to);
}

/* A place in any record, of the small ones as often as of the large. */
static size_t random_place(const Saved *s)
{
    unsigned i = g_test_rand_int_range(0, s->records);

    return s->record[i].at +
           g_test_rand_int_range(0, MIN(s->record[i].size, INT32_MAX));
}

static unsigned rounds(void)
{
    return g_test_slow() ? 1000 : 12;
}

static void test_changed(void)
{
    g_autoptr(Saved) s = saved_new();

    for (unsigned i = 0; i < rounds(); i++) {
        size_t at = random_place(s);
        char was = s->text[at];

        s->text[at] ^= g_test_rand_int_range(1, 256);
        g_test_message("byte %zu: 0x%02x, was 0x%02x", at,
                       (uint8_t)s->text[at], (uint8_t)was);
        check_refused(s, s->length);
        s->text[at] = was;
    }
}

static void test_cut(void)
{
    g_autoptr(Saved) s = saved_new();

    for (unsigned i = 0; i < rounds(); i++) {
        size_t at = random_place(s);

        g_test_message("cut at %zu", at);
        check_refused(s, at);
    }
}

/* QEMU does not miss a section; the device does when its VM is to run. */
static void test_without_end(void)
{
    g_autoptr(Saved) s = saved_new();
    size_t end = s->record[s->records - 1].at + HEAD + FOOTER;
    size_t at = s->record[s->records - 2].at - AFTER_NAME - strlen(END_NAME) -
                BEFORE_NAME;
    g_autofree char *said = NULL;
    VFIOUserMigVM *to;

    g_assert_cmpuint(s->text[at], ==, SECTION_FULL);
    g_assert_cmpmem(s->text + at + BEFORE_NAME, strlen(END_NAME), END_NAME,
                    strlen(END_NAME));
    memmove(s->text + at, s->text + end, s->length - end);
    to = load(s, s->length - (end - at));
    vfio_user_mig_wait_running(to);
    vfio_user_server_wait_client(to->server[0], false);
    said = vfio_user_mig_said(to);
    g_assert_nonnull(strstr(said, "without the end of the device's state"));
    g_assert_cmpuint(vfio_user_server_saw(to->server[0],
                                          VFIO_USER_DEVICE_FEATURE,
                                          AT(VFIO_USER_MIG_RUNNING)), ==, 0);
    vfio_user_mig_vm_free(to);
}

void vfio_user_add_migration_fuzz_tests(void)
{
    qtest_add_func("/vfio-user/migration-fuzz/changed", test_changed);
    qtest_add_func("/vfio-user/migration-fuzz/cut", test_cut);
    qtest_add_func("/vfio-user/migration-fuzz/without-end", test_without_end);
}
