/*
 * vfio-user migration: what a device looks like in QEMU's migration stream
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/vfio/user/migration-stream.h"

/* Least and most bytes of payload. */
static const struct {
    const char *name;
    uint32_t min, max;
} records[VFIO_USER_MIG_RECORDS] = {
    [VFIO_USER_MIG_HELLO] = { "HELLO", VFIO_USER_MIG_HELLO_SIZE,
                              VFIO_USER_MIG_HELLO_SIZE },
    [VFIO_USER_MIG_RESTART] = { "RESTART", 0, 0 },
    [VFIO_USER_MIG_DATA] = { "DATA", 1, VFIO_USER_MIG_MAX_RECORD },
    [VFIO_USER_MIG_CONFIG] = { "CONFIG", 1, VFIO_USER_MIG_MAX_RECORD },
    [VFIO_USER_MIG_END] = { "END", 0, 0 },
    [VFIO_USER_MIG_SECTION_END] = { "SECTION_END", 0, 0 },
};

/* One to one in @word and, for a given @word, in @sum. */
static uint64_t mix(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;
    return sum ^ (sum >> 32);
}

/*
 * A word has to wait for the one before it; so that a processor need not, there
 * are four rows of words, which meet at the end.
 */
void vfio_user_mig_sum_add(VFIOUserMigSum *sum, const void *bytes,
                           size_t size)
{
    const uint8_t *at = bytes;
    /* the size as well, so that filling up the last word adds no zeros */
    uint64_t s = mix(sum->sum, size);
    uint64_t s1 = s + 1, s2 = s + 2, s3 = s + 3;

    sum->bytes += size;
    for (; size >= 32; at += 32, size -= 32) {
        s = mix(s, ldq_le_p(at));
        s1 = mix(s1, ldq_le_p(at + 8));
        s2 = mix(s2, ldq_le_p(at + 16));
        s3 = mix(s3, ldq_le_p(at + 24));
    }
    s = mix(mix(mix(s, s1), s2), s3);
    for (; size >= 8; at += 8, size -= 8) {
        s = mix(s, ldq_le_p(at));
    }
    if (size) {
        uint8_t last[8] = { };

        memcpy(last, at, size);
        s = mix(s, ldq_le_p(last));
    }
    sum->sum = s;
}

void vfio_user_mig_put_head(VFIOUserMigSum *sum, VFIOUserMigRecord record,
                            const void *payload, size_t size, uint8_t *to)
{
    stl_be_p(to, record);
    stl_be_p(to + 4, size);
    stq_be_p(to + 8, sum->bytes);
    /* the record's kind is part of what must not change */
    sum->sum = mix(sum->sum, record);
    vfio_user_mig_sum_add(sum, payload, size);
    stq_be_p(to + 16, sum->sum);
}

bool vfio_user_mig_get_head(const VFIOUserMigSum *sum, const uint8_t *from,
                            VFIOUserMigHead *head, Error **errp)
{
    uint32_t record = ldl_be_p(from);
    uint32_t size = ldl_be_p(from + 4);

    if (record >= VFIO_USER_MIG_RECORDS || !records[record].name) {
        error_setg(errp, "the stream has a record of the unknown kind %u",
                   record);
        return false;
    }
    if (size < records[record].min || size > records[record].max) {
        error_setg(errp, "the stream has a record %s of %u bytes",
                   records[record].name, size);
        return false;
    }
    *head = (VFIOUserMigHead) {
        .record = record,
        .size = size,
        .sum = { ldq_be_p(from + 8), ldq_be_p(from + 16) },
    };
    if (head->sum.bytes != sum->bytes) {
        error_setg(errp, "the stream has a record %s after %" PRIu64 " bytes"
                   " that was made after %" PRIu64, records[record].name,
                   sum->bytes, head->sum.bytes);
        return false;
    }
    return true;
}

bool vfio_user_mig_check(VFIOUserMigSum *sum, const VFIOUserMigHead *head,
                         const void *payload, Error **errp)
{
    sum->sum = mix(sum->sum, head->record);
    vfio_user_mig_sum_add(sum, payload, head->size);
    if (sum->sum != head->sum.sum) {
        error_setg(errp, "the stream has a record %s that was changed on its"
                   " way", records[head->record].name);
        return false;
    }
    return true;
}

bool vfio_user_mig_check_magic(uint64_t magic, Error **errp)
{
    if (magic != VFIO_USER_MIG_MAGIC) {
        error_setg(errp, "the stream begins with 0x%" PRIx64 ", which is no"
                   " state of a vfio-user device", magic);
        return false;
    }
    return true;
}

void vfio_user_mig_put_hello(const VFIOUserMigIdentity *who, uint8_t *to)
{
    stw_be_p(to, VFIO_USER_MIG_VERSION);
    stw_be_p(to + 2, who->generation);
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
    uint16_t version = lduw_be_p(from);
    VFIOUserMigIdentity its = {
        .generation = lduw_be_p(from + 2),
        .vendor = lduw_be_p(from + 4),
        .device = lduw_be_p(from + 6),
        .sub_vendor = lduw_be_p(from + 8),
        .sub_device = lduw_be_p(from + 10),
        .class_revision = ldl_be_p(from + 12),
        .config_size = ldl_be_p(from + 16),
    };

    if (version != VFIO_USER_MIG_VERSION) {
        error_setg(errp, "the stream is of version %u, this QEMU knows version"
                   " %u", version, VFIO_USER_MIG_VERSION);
        return false;
    }
    if (its.generation != mine->generation) {
        error_setg(errp, "the state is of a server of generation %u, this one"
                   " speaks generation %u (1: vfio-user 0.9.1, migration"
                   " region; 2: DEVICE_FEATURE): use servers of one generation"
                   " on both sides", its.generation, mine->generation);
        return false;
    }
    if (its.vendor != mine->vendor || its.device != mine->device ||
        its.sub_vendor != mine->sub_vendor ||
        its.sub_device != mine->sub_device ||
        its.class_revision != mine->class_revision ||
        its.config_size != mine->config_size) {
        error_setg(errp, "the state is of another device: %04x:%04x (subsystem"
                   " %04x:%04x, class and revision 0x%08x, %u bytes of"
                   " configuration), this one is %04x:%04x (%04x:%04x, 0x%08x,"
                   " %u)", its.vendor, its.device, its.sub_vendor,
                   its.sub_device, its.class_revision, its.config_size,
                   mine->vendor, mine->device, mine->sub_vendor,
                   mine->sub_device, mine->class_revision, mine->config_size);
        return false;
    }
    return true;
}
