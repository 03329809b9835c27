/*
 * qtest of the vfio-user client: corrupted migration streams
 *
 * A VM is saved to a file once.  Then any byte of the device's data is
 * changed, or the file is truncated, and QEMU must fail to load it with a
 * message and status 1.  The places are random; "-m slow" tests more of them.
 * vfio-user-migration-stream-tests.c has specific changes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qemu/bswap.h"
#include "vfio-user-migration-file.h"
#include "vfio-user-tests.h"

#define SEED 1123

#define HEAD VFIO_USER_MIG_HEAD_SIZE

/* Register device_state */
#define STATE AT_OFFSET(VFIO_USER_MIGRATION1_REGION, 0)

/* A section of QEMU's stream, QEMU_VM_SECTION_FULL. */
#define SECTION_FULL 4
#define END_NAME "0000:00:04.0/vfio-end"
#define BEFORE_NAME 6           /* bytes: kind, number, length of the name */
#define AFTER_NAME 8            /* instance, version */
#define FOOTER 5

/* Returns a random record; small ones are as likely as large ones. */
static unsigned random_record(const VFIOUserMigFile *file)
{
    return g_test_rand_int_range(0, file->records);
}

/*
 * Returns a random offset in what the client can check: headers, and the
 * payload of HELLO.  It cannot check the device's own data.
 */
static size_t random_checked_place(const VFIOUserMigFile *file)
{
    unsigned i = random_record(file);

    return file->record[i].at +
           g_test_rand_int_range(0, file->record[i].kind ==
                                    VFIO_USER_MIG_HELLO ?
                                    file->record[i].size : HEAD);
}

static size_t random_place(const VFIOUserMigFile *file)
{
    unsigned i = random_record(file);

    return file->record[i].at +
           g_test_rand_int_range(0, MIN(file->record[i].size, INT32_MAX));
}

static unsigned rounds(void)
{
    return g_test_slow() ? 1000 : 12;
}

static void test_changed(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigFile) file = vfio_user_mig_file_new(model, SEED);

    for (unsigned i = 0; i < rounds(); i++) {
        size_t at = random_checked_place(file);
        char was = file->text[at];

        file->text[at] ^= g_test_rand_int_range(1, 256);
        g_test_message("byte %zu: 0x%02x, was 0x%02x", at,
                       (uint8_t)file->text[at], (uint8_t)was);
        g_free(vfio_user_mig_file_refused(file, model, file->length));
        file->text[at] = was;
    }
}

/*
 * Changes config space, which QEMU parses.  Some changes are harmless, so a
 * corrupted record after it must end the load.
 */
static void test_config(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigFile) file = vfio_user_mig_file_new(model, SEED);
    size_t config = vfio_user_mig_file_find(file, VFIO_USER_MIG_CONFIG, 1);
    size_t end = vfio_user_mig_file_find(file, VFIO_USER_MIG_END, 1);
    size_t size = ldl_be_p(file->text + config + 4);

    file->text[end] ^= 1;
    for (size_t i = 0; i < size; i += MAX(1, size / 24)) {
        size_t at = config + HEAD + i;

        g_test_message("byte %zu", i);
        file->text[at] ^= 0x81;
        g_free(vfio_user_mig_file_refused(file, model, file->length));
        file->text[at] ^= 0x81;
    }
}

static void test_cut(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigFile) file = vfio_user_mig_file_new(model, SEED);

    for (unsigned i = 0; i < rounds(); i++) {
        size_t at = random_place(file);

        g_test_message("cut at %zu", at);
        g_free(vfio_user_mig_file_refused(file, model, at));
    }
}

/*
 * QEMU does not notice a missing section; the device does when the VM starts.
 */
static void test_without_end(const void *opaque)
{
    const VFIOUserModel *model = vfio_user_mig_model_of(opaque);
    g_autoptr(VFIOUserMigFile) file = vfio_user_mig_file_new(model, SEED);
    char *text = file->text;
    size_t end = file->record[file->records - 1].at + HEAD + FOOTER;
    size_t at = file->record[file->records - 2].at - AFTER_NAME -
                strlen(END_NAME) - BEFORE_NAME;
    g_autofree char *said = NULL;
    VFIOUserMigVM *to;

    g_assert_cmpuint(text[at], ==, SECTION_FULL);
    g_assert_cmpmem(text + at + BEFORE_NAME, strlen(END_NAME), END_NAME,
                    strlen(END_NAME));
    memmove(text + at, text + end, file->length - end);
    to = vfio_user_mig_file_load(file, model, file->length - (end - at));
    vfio_user_mig_wait_running(to);
    vfio_user_server_wait_client(to->server[0], false);
    said = vfio_user_mig_said(to);
    g_assert_nonnull(strstr(said, "contain the end of the device's state"));
    g_assert_cmpuint(vfio_user_server_saw(to->server[0],
                                          VFIO_USER_DEVICE_FEATURE,
                                          AT(VFIO_USER_MIG_RUNNING)), ==, 0);
    if (model->migration1) {
        g_assert_cmpuint(vfio_user_server_saw(to->server[0],
                                              VFIO_USER_REGION_WRITE, STATE),
                         ==, 1);
    }
    vfio_user_mig_vm_free(to);
}

static void add(const char *name, const VFIOUserModel *const *model,
                void (*test)(const void *opaque))
{
    g_autofree char *path =
        g_strdup_printf("/vfio-user/migration-fuzz/%s/%s",
                        (*model)->migration1 ? "1" : "2", name);

    qtest_add_data_func(path, model, test);
}

void vfio_user_add_migration_fuzz_tests(void)
{
    static const VFIOUserModel *const *const servers[] = {
        &vfio_user_mig_region, &vfio_user_mig_stop_copy,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(servers); i++) {
        add("changed", servers[i], test_changed);
        add("config", servers[i], test_config);
        add("cut", servers[i], test_cut);
        add("without-end", servers[i], test_without_end);
    }
}
