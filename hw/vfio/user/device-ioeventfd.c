/*
 * vfio-user device: ioeventfds
 *
 * Queries the ioeventfds of a region, and does region writes with them.  The
 * entries are checked in ioeventfd.c.  Knows no KVM.
 *
 * Threads: any, with the big QEMU lock; vfio_user_device_signal() also without.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "hw/vfio/user/device.h"
#include "trace.h"

/* Enough for most servers.  If not, the query is repeated. */
#define FIRST_ARGSZ (4 * KiB)

/* Returns the argsz of the reply, 0 if the server returned an error. */
static uint32_t query_ioeventfds(VFIOUserDevice *udev, VFIOUserCall *call,
                                 uint32_t index, uint32_t argsz)
{
    VFIOUserRegionIOFds msg = { .argsz = argsz, .index = index };

    *call = (VFIOUserCall) {
        .command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
        .head = &msg,
        .head_size = sizeof(msg),
        .reply_max = argsz,
        .optional = "x-no-region-io-fds",
    };
    assert(bql_locked());
    if (vfio_user_proxy_call(udev->proxy, call, NULL) < 0) {
        return 0;
    }
    memcpy(&msg, call->reply, sizeof(msg));
    return MAX(msg.argsz, sizeof(msg));
}

static void report_ioeventfds(VFIOUserDevice *udev,
                              const VFIOUserIOFdRegion *region,
                              const VFIOUserIoeventfds *table,
                              const VFIOUserIOFdRefusals *refusals)
{
    const char *name = vfio_user_proxy_name(udev->proxy);
    unsigned count = table ? vfio_user_ioeventfds_count(table) : 0;

    trace_vfio_user_ioeventfds(name, region->index, count,
                               refusals->ioregionfds, refusals->refused);
    for (unsigned i = 0; i < count; i++) {
        const VFIOUserIoeventfd *e = vfio_user_ioeventfds_at(table, i);

        trace_vfio_user_ioeventfd(name, region->index, e->offset, e->size,
                                  e->match, e->datamatch, e->shadow);
    }
    if (refusals->refused) {
        warn_report("vfio-user %s: DEVICE_GET_REGION_IO_FDS: region %u: %u of"
                    " %u entries refused, their writes are sent by message;"
                    " first: %s", name, region->index, refusals->refused,
                    refusals->entries, error_get_pretty(refusals->why));
    }
}

bool vfio_user_device_get_ioeventfds(VFIOUserDevice *udev,
                                     const VFIOUserIOFdRegion *region,
                                     Error **errp)
{
    ERRP_GUARD();
    g_auto(VFIOUserIOFdRefusals) refusals = { };
    g_autoptr(GArray) entries = NULL;
    g_auto(VFIOUserCall) call = { };
    VFIOUserIoeventfds *table;
    uint32_t argsz = query_ioeventfds(udev, &call, region->index, FIRST_ARGSZ);

    if (argsz > FIRST_ARGSZ && argsz <= VFIO_USER_MAX_INFO) {
        uint32_t asked = argsz;

        vfio_user_call_clear(&call);
        argsz = query_ioeventfds(udev, &call, region->index, asked);
        argsz = argsz <= asked ? argsz : UINT32_MAX;
    }
    if (!argsz) {
        return vfio_user_proxy_check(udev->proxy, errp);
    }
    if (argsz > VFIO_USER_MAX_INFO) {
        error_setg(errp, "too many entries, or more with every query");
    } else {
        entries = vfio_user_ioeventfds_parse(region, call.reply,
                                             call.reply_size, call.reply_nfds,
                                             &refusals, errp);
    }
    if (!entries) {
        error_prepend(errp, "vfio-user %s: DEVICE_GET_REGION_IO_FDS: region"
                      " %u: ", vfio_user_proxy_name(udev->proxy),
                      region->index);
        return false;
    }
    table = vfio_user_ioeventfds_new(entries, call.reply_fds, call.reply_nfds,
                                     &refusals);
    call.reply_nfds = 0;
    report_ioeventfds(udev, region, table, &refusals);
    qatomic_rcu_set(&udev->ioeventfds[region->index], table);
    return true;
}

void vfio_user_device_drop_ioeventfds(VFIOUserDevice *udev)
{
    for (size_t i = 0; i < ARRAY_SIZE(udev->ioeventfds); i++) {
        g_clear_pointer(&udev->ioeventfds[i], vfio_user_ioeventfds_free);
    }
}

typedef struct Retired {
    struct rcu_head rcu;
    VFIOUserIoeventfds *table;
} Retired;

static void retired_free(Retired *retired)
{
    vfio_user_ioeventfds_free(retired->table);
    g_free(retired);
}

void vfio_user_device_retire_ioeventfds(VFIOUserDevice *udev)
{
    for (size_t i = 0; i < ARRAY_SIZE(udev->ioeventfds); i++) {
        if (udev->ioeventfds[i]) {
            Retired *retired = g_new0(Retired, 1);

            retired->table = udev->ioeventfds[i];
            qatomic_rcu_set(&udev->ioeventfds[i], NULL);
            call_rcu(retired, retired_free, rcu);
        }
    }
}

bool vfio_user_device_signal(VFIOUserDevice *udev, uint8_t nr, uint64_t offset,
                             unsigned size, const void *data)
{
    const VFIOUserIoeventfd *entry;
    VFIOUserIoeventfds *table;
    uint64_t value;

    if (nr >= ARRAY_SIZE(udev->ioeventfds) || size > sizeof(value)) {
        return false;
    }
    table = qatomic_read(&udev->ioeventfds[nr]);
    if (!table || vfio_user_gap_is_open(&udev->gap)) {
        return false;
    }
    value = ldn_le_p(data, size);
    entry = vfio_user_ioeventfds_find(table, offset, size, value);
    if (!entry ||
        vfio_user_proxy_state(udev->proxy) != VFIO_USER_UP ||
        !vfio_user_ioeventfds_signal(table, entry, size, value)) {
        return false;
    }
    trace_vfio_user_ioeventfd_signal(vfio_user_proxy_name(udev->proxy), nr,
                                     offset, size, value);
    return true;
}
