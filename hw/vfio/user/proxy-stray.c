/*
 * vfio-user connection: stray error replies
 *
 * If rust-vmm's crate vfio_user does not know a command, it sends an error
 * reply and leaves the payload in its socket.  It then parses the payload as
 * the next header and rejects that, too.  The id and the command of this second
 * (stray) error reply are the first bytes of the payload.  The reply is dropped
 * if the rejected command is optional, if the reply is the first message after
 * the rejection, and if it has the id and the command that the payload
 * predicts.  Anything else is a protocol violation.
 *
 * Optional commands have a payload of 16 bytes, the size of a header, so that
 * the server stays in sync.  After a shorter payload it would continue in the
 * middle of the next request.
 *
 * Threads: the thread that has the reader's turn.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "hw/vfio/user/proxy-internal.h"
#include "trace.h"

void proxy_expect_stray(VFIOUserProxy *p, const ProxySlot *slot)
{
    p->stray = slot->optional ? *slot : (ProxySlot) { };
}

bool proxy_is_stray(VFIOUserProxy *p, const VFIOUserHeader *h)
{
    const ProxySlot refused = p->stray;

    p->stray = (ProxySlot) { };
    if (!refused.optional || h->size != sizeof(*h) ||
        h->id != refused.payload[0] || h->command != refused.payload[1] ||
        vfio_user_command_info(h->command) ||
        (h->flags != (VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR) &&
         h->flags != VFIO_USER_ERROR)) {        /* type 0: older versions */
        return false;
    }
    trace_vfio_user_proxy_stray(p->name,
                                vfio_user_command_name(refused.command),
                                h->id, h->error);
    if (!p->warned_stray) {
        p->warned_stray = true;
        warn_report("vfio-user %s: the server rejected %s and then parsed its"
                    " payload as a command, which it rejected too; this is"
                    " harmless, %s=on avoids it", p->name,
                    vfio_user_command_name(refused.command),
                    refused.optional);
    }
    return true;
}
