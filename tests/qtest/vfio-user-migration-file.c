/*
 * A VM saved to a file, for tests that modify the file
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "qemu/bswap.h"
#include "vfio-user-migration-file.h"

#define HEAD VFIO_USER_MIG_HEAD_SIZE

static bool take_record(VFIOUserMigFile *file, size_t at, uint64_t *position)
{
    const uint8_t *bytes = (const uint8_t *)file->text + at;
    VFIOUserMigHead head;

    if (file->length - at < HEAD ||
        !vfio_user_mig_get_head(position, bytes, &head, NULL)) {
        return false;
    }
    g_assert_cmpuint(file->length - at - HEAD, >=, head.size);
    g_assert_cmpuint(file->records, <, VFIO_USER_MIG_FILE_RECORDS);
    file->record[file->records].at = at;
    file->record[file->records].size = HEAD + head.size;
    file->record[file->records++].kind = head.record;
    return true;
}

/* Finds the records; the data between them belongs to QEMU. */
static void find_records(VFIOUserMigFile *file)
{
    const uint64_t magic = cpu_to_be64(VFIO_USER_MIG_MAGIC);
    const char *found = memmem(file->text, file->length, &magic,
                               sizeof(magic));
    uint64_t position = VFIO_USER_MIG_BEGINNING_SIZE;
    size_t at;

    g_assert_nonnull(found);
    file->magic = found - file->text;
    at = file->magic + VFIO_USER_MIG_BEGINNING_SIZE;
    while (at < file->length) {
        at += take_record(file, at, &position) ?
              file->record[file->records - 1].size : 1;
    }
    g_assert_cmpuint(file->records, >, 10);
    g_assert_cmpint(file->record[file->records - 2].kind, ==,
                    VFIO_USER_MIG_END);
}

VFIOUserMigFile *vfio_user_mig_file_new(const VFIOUserModel *model,
                                        uint32_t seed)
{
    VFIOUserMigVM *from = vfio_user_mig_vm_run(&model, 1, 0);
    VFIOUserMigFile *file = g_new0(VFIOUserMigFile, 1);
    g_autofree char *uri = NULL;

    file->model = model;
    file->dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    file->name = g_build_filename(file->dir, "file", NULL);
    uri = g_strdup_printf("exec:cat > %s", file->name);
    vfio_user_mig_vm_fill(from, seed);
    vfio_user_mig_start(from, uri);
    vfio_user_mig_wait(from, "completed");
    file->bar = from->bar[0];
    vfio_user_mig_vm_quit(from);
    vfio_user_mig_vm_free(from);
    g_assert_true(g_file_get_contents(file->name, &file->text, &file->length,
                                      NULL));
    find_records(file);
    return file;
}

void vfio_user_mig_file_free(VFIOUserMigFile *file)
{
    g_unlink(file->name);
    g_rmdir(file->dir);
    g_free(file->dir);
    g_free(file->name);
    g_free(file->text);
    g_free(file);
}

size_t vfio_user_mig_file_find(const VFIOUserMigFile *file,
                               VFIOUserMigRecord kind, unsigned nth)
{
    for (unsigned i = 0; i < file->records; i++) {
        if (file->record[i].kind == kind && --nth == 0) {
            return file->record[i].at;
        }
    }
    g_assert_not_reached();
}

void vfio_user_mig_file_insert(VFIOUserMigFile *file, size_t before,
                               uint32_t word, uint32_t size)
{
    const size_t length = HEAD + size;
    uint64_t end = 0;
    char *place;

    file->text = g_realloc(file->text, file->length + length);
    place = file->text + before;
    memmove(place + length, place, file->length - before);
    memset(place, 0x55, length);
    file->length += length;
    for (unsigned i = 0; i < file->records; i++) {
        char *head = file->text + file->record[i].at + length;

        if (file->record[i].at < before) {
            continue;
        }
        if (!end) {             /* of the preceding record */
            end = ldq_be_p(head + 8) - file->record[i].size;
        }
        stq_be_p(head + 8, ldq_be_p(head + 8) + length);
        file->record[i].at += length;
    }
    stl_be_p(place, word);
    stl_be_p(place + 4, size);
    stq_be_p(place + 8, end + length);
}

VFIOUserMigVM *vfio_user_mig_file_load(VFIOUserMigFile *file,
                                       const VFIOUserModel *model,
                                       gsize length)
{
    VFIOUserMigVM *to = vfio_user_mig_vm_new(&model, 1, NULL, 0);
    g_autofree char *uri = g_strdup_printf("exec:cat %s", file->name);

    g_assert_true(g_file_set_contents(file->name, file->text, length, NULL));
    to->bar[0] = file->bar;
    vfio_user_server_forget(to->server[0]);
    vfio_user_mig_listen(to, uri);
    return to;
}

char *vfio_user_mig_file_refused(VFIOUserMigFile *file,
                                 const VFIOUserModel *model, gsize length)
{
    VFIOUserMigVM *to = vfio_user_mig_file_load(file, model, length);
    char *said = vfio_user_mig_ended(to);

    g_assert_nonnull(strstr(said, "loading the device failed: "));
    g_assert_cmpuint(vfio_user_server_saw(to->server[0],
                                          VFIO_USER_DEVICE_FEATURE,
                                          AT(VFIO_USER_MIG_RUNNING)), ==, 0);
    /* migration v1: RESUMING is set, and no state after it */
    g_assert_cmpuint(vfio_user_server_saw(to->server[0],
                                          VFIO_USER_REGION_WRITE,
                                          AT_OFFSET(
                                              VFIO_USER_MIGRATION1_REGION,
                                              0)), <=, 1);
    vfio_user_mig_vm_free(to);
    return said;
}
