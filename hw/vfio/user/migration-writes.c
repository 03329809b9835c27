/*
 * vfio-user migration: pipelined writes to a server that loads a device
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/vfio/user/migration-writes.h"

/* Most writes in flight: more than a socket can hold. */
#define MAX_WRITES 16

typedef struct Write {
    VFIOUserCall call;
    uint32_t size;              /* bytes of data */
} Write;

static void write_free(Write *w)
{
    vfio_user_call_clear(&w->call);
    g_free(w);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Write, write_free)

/* The reply to a region write contains the number of bytes written. */
static int check_written(VFIOUserProxy *proxy, const Write *w, Error **errp)
{
    VFIOUserRegionRW rw;

    if (w->call.command != VFIO_USER_REGION_WRITE) {
        return 0;
    }
    memcpy(&rw, w->call.reply, sizeof(rw));
    if (rw.count == w->size) {
        return 0;
    }
    error_setg(errp, "vfio-user %s: REGION_WRITE: the server reports %u of %u"
               " bytes of migration data", vfio_user_proxy_name(proxy),
               rw.count, w->size);
    return -EPROTO;
}

static int finish_oldest(VFIOUserMigWrites *writes, VFIOUserProxy *proxy,
                         Error **errp)
{
    g_autoptr(Write) w = g_queue_pop_head(writes);
    int ret = vfio_user_proxy_finish(proxy, &w->call, errp);

    return ret < 0 ? ret : check_written(proxy, w, errp);
}

/* Restarts the time-out: the server was busy with earlier writes. */
static int await_oldest(VFIOUserMigWrites *writes, VFIOUserProxy *proxy,
                        Error **errp)
{
    Write *w = g_queue_peek_head(writes);

    vfio_user_proxy_renew(proxy, &w->call);
    return finish_oldest(writes, proxy, errp);
}

int vfio_user_mig_write(VFIOUserMigWrites *writes, VFIOUserProxy *proxy,
                        VFIOUserCommand command, const void *head,
                        size_t head_size, const void *data, size_t size,
                        Error **errp)
{
    g_autoptr(Write) w = g_new0(Write, 1);
    int ret = writes->length < MAX_WRITES ? 0 :
              await_oldest(writes, proxy, errp);

    if (ret < 0) {
        return ret;
    }
    w->size = size;
    w->call = (VFIOUserCall) {
        .command = command,
        .head = head,
        .head_size = head_size,
        .data = data,
        .data_size = size,
        .defer_reading = true,
        .reply_max = command == VFIO_USER_REGION_WRITE ? head_size : 0,
    };
    ret = vfio_user_proxy_begin(proxy, &w->call, errp);
    if (ret == 0) {
        g_queue_push_tail(writes, g_steal_pointer(&w));
    }
    return ret;
}

int vfio_user_mig_finish_writes(VFIOUserMigWrites *writes,
                                VFIOUserProxy *proxy, Error **errp)
{
    int ret = 0;

    while (ret == 0 && writes->length) {
        ret = await_oldest(writes, proxy, errp);
    }
    return ret;
}

void vfio_user_mig_drop_writes(VFIOUserMigWrites *writes, VFIOUserProxy *proxy)
{
    while (writes->length) {
        finish_oldest(writes, proxy, NULL);
    }
}
