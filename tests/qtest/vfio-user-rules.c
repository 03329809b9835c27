/*
 * Rules of the scripted vfio-user server
 *
 * Checks whether a rule's "when" holds, and applies its action to an answer.
 * Keeps no state except the answer.  Server's thread only, except for
 * vfio_user_when_holds(), which has no side effects.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>

#include "vfio-user-rules.h"

/*
 * The state that a SET of MIG_DEVICE_STATE requests, or NULL for another
 * message.
 */
static const uint32_t *state_of(const void *payload, size_t length)
{
    const VFIOUserDeviceFeature *head = payload;

    return length >= sizeof(*head) + sizeof(uint32_t) &&
           head->flags == (VFIO_DEVICE_FEATURE_SET |
                           VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE) ?
           (const void *)(head + 1) : NULL;
}

bool vfio_user_when_holds(const VFIOUserWhen *when, uint16_t command,
                          const void *payload, size_t length)
{
    const VFIOUserRegionRW *rw = NULL;
    const VFIOUserIRQInfo *info = NULL;
    const VFIOUserDeviceFeature *feature = NULL;
    const VFIOUserDirtyPages *pages = NULL;
    const uint32_t *state = NULL;

    switch (command) {
    case VFIO_USER_REGION_READ:
    case VFIO_USER_REGION_WRITE:
        rw = length >= sizeof(*rw) ? payload : NULL;
        break;
    case VFIO_USER_DEVICE_GET_REGION_INFO:
    case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
    case VFIO_USER_DEVICE_GET_IRQ_INFO:
    case VFIO_USER_DEVICE_SET_IRQS:
        /* the index is at the same offset in all of them */
        info = length >= sizeof(*info) ? payload : NULL;
        break;
    case VFIO_USER_DIRTY_PAGES:
        pages = length >= sizeof(*pages) ? payload : NULL;
        break;
    case VFIO_USER_DEVICE_FEATURE:
        feature = length >= sizeof(*feature) ? payload : NULL;
        state = state_of(payload, length);
        break;
    }

    if (when->command == VFIO_USER_ANY ? command == VFIO_USER_CONNECT :
                                         command != when->command) {
        return false;
    }
    if (when->by_index && !(rw && rw->region == when->index) &&
        !(info && info->index == when->index) &&
        !(state && *state == when->index)) {
        return false;
    }
    return !when->by_offset || (rw && rw->offset == when->offset) ||
           (pages && pages->flags == when->offset) ||
           (feature && feature->flags == when->offset);
}

void vfio_user_answer_init(VFIOUserAnswer *answer,
                           const VFIOUserHeader *request)
{
    *answer = (VFIOUserAnswer) {
        .dropped = request->command == VFIO_USER_CONNECT ||
                  request->flags & VFIO_USER_NO_REPLY,
        .chunk = UINT64_MAX,
        .cut = UINT64_MAX,
    };
    vfio_user_packet_init(&answer->packet);
    answer->packet.header = *request;
    answer->packet.header.flags = VFIO_USER_TYPE_REPLY;
}

void vfio_user_answer_clear(VFIOUserAnswer *answer)
{
    vfio_user_packet_clear(&answer->packet);
}

static void add_fds(VFIOUserPacket *packet, unsigned count)
{
    while (count--) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        g_assert_cmpint(fd, >=, 0);
        g_array_append_val(packet->fds, fd);
    }
}

static void add_copy(VFIOUserPacket *packet, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    g_assert_cmpint(copy, >=, 0);
    g_array_append_val(packet->fds, copy);
}

/* Actions that modify the message. */
static bool edit(VFIOUserPacket *packet, const VFIOUserRule *rule)
{
    VFIOUserHeader *header = &packet->header;
    size_t end = rule->number + rule->data.size;

    switch (rule->deed) {
    case DO_FAIL:
        header->flags |= VFIO_USER_ERROR;
        header->error = rule->number;
        vfio_user_packet_resize(packet, 0);
        return true;
    case DO_FLAGS:
        header->flags = rule->number;
        return true;
    case DO_ID:
        header->id += rule->number;
        return true;
    case DO_COMMAND:
        header->command = rule->number;
        return true;
    case DO_LENGTH:
        vfio_user_packet_resize(packet, rule->number);
        return true;
    case DO_PAYLOAD:
        vfio_user_packet_resize(packet, 0);
        vfio_user_packet_put(packet, rule->data.bytes, rule->data.size);
        return true;
    case DO_PATCH:
        vfio_user_packet_resize(packet, MAX(packet->payload->len, end));
        if (rule->data.size) {
            memcpy(packet->payload->data + rule->number, rule->data.bytes,
                   rule->data.size);
        }
        return true;
    case DO_FDS:
        add_fds(packet, rule->number);
        return true;
    case DO_PASS:
        add_copy(packet, rule->number);
        return true;
    default:
        return false;
    }
}

bool vfio_user_answer_apply(VFIOUserAnswer *answer, const VFIOUserRule *rule)
{
    switch (rule->deed) {
    case DO_SIZE:
        answer->packet.header.size = rule->number;
        answer->size_forced = true;
        return true;
    case DO_DROP:
        answer->dropped = true;
        return true;
    case DO_HOLD:
        answer->held = true;
        return true;
    case DO_ANYWAY:
        answer->dropped = false;
        return true;
    case DO_REPEAT:
        answer->repeat = rule->number;
        return true;
    case DO_SPLIT:
        answer->chunk = rule->number;
        return true;
    case DO_CUT:
        answer->cut = rule->number;
        return true;
    default:
        return edit(&answer->packet, rule);
    }
}

bool vfio_user_answer_send(int conn, VFIOUserAnswer *answer)
{
    VFIOUserPacket *packet = &answer->packet;

    if (!answer->size_forced) {
        packet->header.size = sizeof(packet->header) + packet->payload->len;
    }
    if (!answer->dropped) {
        do {
            if (!vfio_user_packet_send(conn, packet, answer->chunk,
                                       answer->cut)) {
                return false;
            }
        } while (answer->repeat--);
    }
    return answer->cut == UINT64_MAX;
}
