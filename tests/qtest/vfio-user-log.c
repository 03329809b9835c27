/*
 * Log of the scripted vfio-user server
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "vfio-user-log.h"

GArray *vfio_user_log_new(void)
{
    return g_array_new(false, false, sizeof(VFIOUserSeen));
}

GArray *vfio_user_log_copy(const GArray *log)
{
    return g_array_append_vals(vfio_user_log_new(), log->data, log->len);
}

void vfio_user_log_append(GArray *log, const VFIOUserPacket *packet)
{
    VFIOUserSeen seen = {
        .header = packet->header,
        .length = packet->payload->len,
        .nfds = packet->fds->len,
    };

    if (seen.length) {
        memcpy(seen.payload, packet->payload->data,
               MIN(seen.length, sizeof(seen.payload)));
    }
    g_array_append_val(log, seen);
}

static bool log_matches(const VFIOUserSeen *seen, const VFIOUserWhen *when)
{
    return vfio_user_when_holds(when, seen->header.command, seen->payload,
                                seen->length);
}

unsigned vfio_user_log_count(const GArray *log, const VFIOUserWhen *when)
{
    unsigned count = 0;
    unsigned i;

    for (i = 0; i < log->len; i++) {
        count += log_matches(&g_array_index(log, VFIOUserSeen, i), when);
    }
    return count;
}

const VFIOUserSeen *vfio_user_log_find(const GArray *log,
                                       const VFIOUserWhen *when)
{
    unsigned left = MAX(when->nth, 1);
    unsigned i;

    for (i = 0; i < log->len; i++) {
        VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);

        if (log_matches(seen, when) && !--left) {
            return seen;
        }
    }
    return NULL;
}

void vfio_user_log_print(const GArray *log)
{
    unsigned i, j;

    for (i = 0; i < log->len; i++) {
        VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);

        fprintf(stderr, "# %u: id 0x%x %s, flags 0x%x, error %u, %u"
                " descriptors, payload %u:", i, seen->header.id,
                vfio_user_command_name(seen->header.command),
                seen->header.flags, seen->header.error, seen->nfds,
                seen->length);
        for (j = 0; j < MIN(seen->length, sizeof(seen->payload)); j++) {
            fprintf(stderr, "%s%02x", j % 4 ? "" : " ", seen->payload[j]);
        }
        fprintf(stderr, "\n");
    }
}
