/*
 * vfio-user migration: format of a device's part of QEMU's migration stream
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/vfio/user/migration-stream.h"

#define WORD(a, b, c, d) ((a) << 24 | (b) << 16 | (c) << 8 | (d))

/* By record: the word in the head, fewest and most bytes of payload. */
static const struct {
    const char *name;
    uint32_t word;
    uint32_t min, max;
} records[VFIO_USER_MIG_RECORDS] = {
    [VFIO_USER_MIG_HELLO] = { "HELLO", WORD('H', 'e', 'l', 'o'),
                              VFIO_USER_MIG_HELLO_SIZE,
                              VFIO_USER_MIG_HELLO_SIZE },
    [VFIO_USER_MIG_RESTART] = { "RESTART", WORD('V', 'o', 'i', 'd'), 0, 0 },
    [VFIO_USER_MIG_PART] = { "PART", WORD('P', 'a', 'r', 't'), 1,
                             VFIO_USER_MIG_MAX_RECORD },
    [VFIO_USER_MIG_DATA] = { "DATA", WORD('D', 'a', 't', 'a'), 1,
                             VFIO_USER_MIG_MAX_RECORD },
    [VFIO_USER_MIG_CONFIG] = { "CONFIG", WORD('C', 'o', 'n', 'f'), 1,
                               VFIO_USER_MIG_MAX_RECORD },
    [VFIO_USER_MIG_END] = { "END", WORD('T', 'h', 'e', 'E'), 0, 0 },
    [VFIO_USER_MIG_SECTION_END] = { "SECTION_END", WORD('S', 'e', 'c', 'E'),
                                    0, 0 },
    [VFIO_USER_MIG_OPTIONAL] = { "OPTIONAL", WORD('O', 'p', 0, 0), 0,
                                 VFIO_USER_MIG_MAX_RECORD },
};
#define OPTIONAL_MASK WORD(0xffu, 0xff, 0, 0)

const char *vfio_user_mig_record_name(VFIOUserMigRecord record)
{
    return records[record].name;
}

void vfio_user_mig_put_beginning(uint8_t *to)
{
    stq_be_p(to, VFIO_USER_MIG_MAGIC);
    stw_be_p(to + 8, 0);
    stw_be_p(to + 10, VFIO_USER_MIG_OLDEST);
}

bool vfio_user_mig_check_beginning(const uint8_t *from, Error **errp)
{
    uint64_t magic = ldq_be_p(from);
    uint16_t writer = lduw_be_p(from + 8);
    /* streams of version 1 have the type of their first record there: 1 */
    uint16_t lowest = lduw_be_p(from + 10);

    if (magic != VFIO_USER_MIG_MAGIC) {
        error_setg(errp, "the stream does not contain the state of a vfio-user"
                   " device, but 0x%" PRIx64 ": the source has another kind of"
                   " device here, or failed to save the device and reported the"
                   " reason", magic);
        return false;
    }
    if (lowest < VFIO_USER_MIG_OLDEST || lowest > VFIO_USER_MIG_VERSION) {
        error_setg(errp, "the stream has version %u and requires a QEMU that"
                   " reads version %u; this QEMU reads versions %u to %u",
                   MAX(writer, lowest), lowest, VFIO_USER_MIG_OLDEST,
                   VFIO_USER_MIG_VERSION);
        return false;
    }
    return true;
}

void vfio_user_mig_put_head(uint64_t *position, VFIOUserMigRecord record,
                            uint32_t size, uint8_t *to)
{
    *position += VFIO_USER_MIG_HEAD_SIZE + size;
    stl_be_p(to, records[record].word);
    stl_be_p(to + 4, size);
    stq_be_p(to + 8, *position);
}

static bool find_record(uint32_t word, VFIOUserMigRecord *record)
{
    uint32_t optional = records[VFIO_USER_MIG_OPTIONAL].word;

    if ((word & OPTIONAL_MASK) == optional) {
        word = optional;
    }
    for (unsigned i = 0; i < VFIO_USER_MIG_RECORDS; i++) {
        if (records[i].word == word) {
            *record = i;
            return true;
        }
    }
    return false;
}

bool vfio_user_mig_get_head(uint64_t *position, const uint8_t *from,
                            VFIOUserMigHead *head, Error **errp)
{
    uint32_t word = ldl_be_p(from);
    uint32_t size = ldl_be_p(from + 4);
    uint64_t end = *position + VFIO_USER_MIG_HEAD_SIZE + size;
    uint64_t written_end = ldq_be_p(from + 8);
    VFIOUserMigRecord record;

    if (!find_record(word, &record)) {
        error_setg(errp, "the stream has a record of the unknown type 0x%x",
                   word);
        return false;
    }
    if (size < records[record].min || size > records[record].max) {
        error_setg(errp, "the stream has a record %s of %u bytes, an invalid"
                   " size", records[record].name, size);
        return false;
    }
    if (end != written_end) {
        error_setg(errp, "the stream has a record %s that ends after %" PRIu64
                   " bytes but was written to end after %" PRIu64,
                   records[record].name, end, written_end);
        return false;
    }
    *head = (VFIOUserMigHead) { .record = record, .size = size };
    *position = end;
    return true;
}

void vfio_user_mig_put_hello(const VFIOUserMigIdentity *who, uint8_t *to)
{
    stl_be_p(to, who->version);
    stw_be_p(to + 4, who->vendor);
    stw_be_p(to + 6, who->device);
    stw_be_p(to + 8, who->sub_vendor);
    stw_be_p(to + 10, who->sub_device);
    stl_be_p(to + 12, who->class_revision);
    stl_be_p(to + 16, who->config_size);
}

bool vfio_user_mig_check_hello(const VFIOUserMigIdentity *mine,
                               const uint8_t *from, Error **errp)
{
    VFIOUserMigIdentity its = {
        .version = ldl_be_p(from),
        .vendor = lduw_be_p(from + 4),
        .device = lduw_be_p(from + 6),
        .sub_vendor = lduw_be_p(from + 8),
        .sub_device = lduw_be_p(from + 10),
        .class_revision = ldl_be_p(from + 12),
        .config_size = ldl_be_p(from + 16),
    };

    if (its.version != mine->version) {
        error_setg(errp, "the state comes from a server with migration v%u,"
                   " this server has v%u (v1: vfio-user 0.9.1, migration"
                   " region; v2: DEVICE_FEATURE): use servers with the same"
                   " version on both sides", its.version, mine->version);
        return false;
    }
    if (its.vendor != mine->vendor || its.device != mine->device ||
        its.sub_vendor != mine->sub_vendor ||
        its.sub_device != mine->sub_device ||
        its.class_revision != mine->class_revision ||
        its.config_size != mine->config_size) {
        error_setg(errp, "the state belongs to another device: %04x:%04x"
                   " (subsystem %04x:%04x, class and revision 0x%08x, %u bytes"
                   " of configuration), this device is %04x:%04x (%04x:%04x,"
                   " 0x%08x, %u)", its.vendor, its.device, its.sub_vendor,
                   its.sub_device, its.class_revision, its.config_size,
                   mine->vendor, mine->device, mine->sub_vendor,
                   mine->sub_device, mine->class_revision, mine->config_size);
        return false;
    }
    return true;
}
