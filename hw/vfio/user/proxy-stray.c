/*
 * vfio-user connection: the second refusal of a server that does not drain
 *
 * rust-vmm's crate vfio_user refuses a command that it does not know, leaves
 * the payload in its socket and takes that for the next header, which it
 * refuses as well.  That second error reply names what the payload begins with
 * for its id and command.  It is dropped where it is exactly what the payload
 * of a command predicts that servers need not know, and the first message
 * behind the refusal of that command; anything else is a violation.
 *
 * A payload of one header leaves the server in step.  From a shorter one it
 * would go on in the middle of the next request: optional commands have
 * payloads of 16 bytes.
 *
 * Threads: whoever has the reader's turn.
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
         h->flags != VFIO_USER_ERROR)) {        /* type 0: older ones */
        return false;
    }
    trace_vfio_user_proxy_stray(p->name,
                                vfio_user_command_name(refused.command),
                                h->id, h->error);
    if (!p->warned_stray) {
        p->warned_stray = true;
        warn_report("vfio-user %s: the server refused %s and then took its"
                    " payload for a command, which it refused as well; harmless"
                    ", and avoided by %s=on", p->name,
                    vfio_user_command_name(refused.command),
                    refused.optional);
    }
    return true;
}
