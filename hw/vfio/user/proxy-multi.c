/*
 * vfio-user connection: merging of small writes
 *
 * Posted writes that find the writer's turn taken do not wait for a turn each:
 * the next writer sends all waiting writes as one message.  While a server is
 * slow to read, many vCPUs then share one header and one system call.  No write
 * is delayed for this.  A call returns only after its write has been sent, so
 * the caller's next message cannot overtake it.
 *
 * Threads: any, see the locks in proxy-internal.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qemu/timer.h"
#include "hw/vfio/user/proxy-internal.h"
#include "trace.h"

/* Most writes in one message. */
#define MULTI_MAX 32

/* A waiting write; on the stack of its caller. */
struct ProxyWrite {
    QTAILQ_ENTRY(ProxyWrite) next;
    const VFIOUserWriteMultiEntry *entry;
    bool taken;                 /* the sender removed it from the list */
    bool done;
    int result;                 /* 0 or -errno, once done */
};

/* The writes that one thread sends, its own first. */
typedef struct Batch {
    ProxyWrite *writes[MULTI_MAX];
    VFIOUserWriteMultiEntry entries[MULTI_MAX];
    unsigned n;
} Batch;

static void batch_add(Batch *batch, ProxyWrite *write)
{
    batch->writes[batch->n] = write;
    batch->entries[batch->n++] = *write->entry;
    write->taken = true;
}

/*
 * Waits until another thread has sent @own, or until that is impossible.
 * Returns true, with the writer's turn, if the caller must send it.
 */
static bool multi_wait_locked(VFIOUserProxy *p, ProxyWrite *own,
                              int64_t deadline)
{
    vfio_user_assert_locked(&p->lock);
    while (!own->done) {
        int64_t left = deadline - proxy_clock_ns();
        bool usable = proxy_usable_locked(p);
        bool is_free = !p->writing && !p->answering;

        if (!own->taken && (is_free || left <= 0 || !usable)) {
            QTAILQ_REMOVE(&p->small_writes, own, next);
            own->result = usable ? -ETIMEDOUT : -ECONNRESET;
            p->writing |= is_free && usable;
            return is_free && usable;
        }
        /* once taken, the deadline of the sending thread applies */
        proxy_wait_for_writer_locked(p, own->taken ? NANOSECONDS_PER_SECOND
                                                   : left);
    }
    return false;
}

/* Called with the writer's turn; releases it. */
static int multi_send(VFIOUserProxy *p, const VFIOUserCall *call,
                      Batch *batch, ProxyQueueCount end, Error **errp)
{
    VFIOUserWriteMulti multi = { .wr_cnt = batch->n };
    VFIOUserHeader header = {
        .id = PROXY_POST_SLOT,
        .command = batch->n > 1 ? VFIO_USER_REGION_WRITE_MULTI : call->command,
        .flags = VFIO_USER_TYPE_COMMAND | VFIO_USER_NO_REPLY,
    };
    struct iovec iov[] = {
        { &header, sizeof(header) },
        { (void *)call->head, call->head_size },
        { (void *)call->data, call->data_size },
    };

    if (batch->n > 1) {
        iov[1] = (struct iovec) { &multi, sizeof(multi) };
        iov[2] = (struct iovec) { batch->entries,
                                  batch->n * sizeof(batch->entries[0]) };
    }
    header.size = sizeof(header) + iov[1].iov_len + iov[2].iov_len;
    trace_vfio_user_proxy_send(p->name, vfio_user_command_name(header.command),
                               header.id, header.size, 0, header.flags);
    return proxy_send_in_turn(p, iov, ARRAY_SIZE(iov), NULL, 0, call->deadline,
                              end, errp);
}

static int multi_failed(VFIOUserProxy *p, const VFIOUserCall *call, int ret,
                        Error **errp)
{
    ERRP_GUARD();

    ret = ret == -ETIMEDOUT ? proxy_late(p, call, "not sent", errp)
                            : proxy_gone(p, errp);
    proxy_name_error(p, call, errp);
    return ret;
}

int vfio_user_proxy_post_write(VFIOUserProxy *p, VFIOUserCall *call,
                               const VFIOUserWriteMultiEntry *entry,
                               Error **errp)
{
    ProxyWrite own = { .entry = entry };
    Batch batch = { };
    bool alone, is_sender = false;
    ProxyQueueCount end = { };

    if (bql_locked()) {
        return vfio_user_proxy_post(p, call, errp);     /* must not wait */
    }
    proxy_set_deadline(p, call);
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        unsigned limit = MIN(MULTI_MAX, p->max_data / sizeof(*entry));

        alone = p->state != VFIO_USER_UP || limit < 2 ||
                !(p->writing || p->answering);
        if (!alone) {
            QTAILQ_INSERT_TAIL(&p->small_writes, &own, next);
            is_sender = multi_wait_locked(p, &own, call->deadline);
        }
        if (is_sender) {
            batch_add(&batch, &own);
            while (batch.n < limit && !QTAILQ_EMPTY(&p->small_writes)) {
                ProxyWrite *other = QTAILQ_FIRST(&p->small_writes);

                QTAILQ_REMOVE(&p->small_writes, other, next);
                batch_add(&batch, other);
            }
            end = p->queue_in;
            p->stats.posts++;
        }
    }
    if (alone) {
        return vfio_user_proxy_post(p, call, errp);
    }
    if (is_sender) {
        int ret = multi_send(p, call, &batch, end, NULL);

        QEMU_LOCK_GUARD(&p->lock);
        for (unsigned i = 0; i < batch.n; i++) {
            batch.writes[i]->result = ret;
            batch.writes[i]->done = true;
        }
        qemu_cond_broadcast(&p->writer_cond);
    }
    proxy_charge(p, call, call->begun);
    return own.result < 0 ? multi_failed(p, call, own.result, errp) : 0;
}
