/*
 * vfio-user PCI device: the HMP command "info vfio-user"
 *
 * Prints what the QMP command x-query-vfio-user returns.
 *
 * Threads: the main loop, with the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "monitor/monitor.h"
#include "qapi/qapi-commands-vfio-user.h"

static void print_capabilities(Monitor *mon, const VfioUserCapabilities *c)
{
    monitor_printf(mon, "  protocol version: %s\n", c->version);
    monitor_printf(mon, "  max-msg-fds: %" PRIu32 "\n", c->max_msg_fds);
    monitor_printf(mon, "  max-data-xfer-size: %" PRIu64 "\n",
                   c->max_data_xfer_size);
    monitor_printf(mon, "  max-dma-maps: %" PRIu32 "\n", c->max_dma_maps);
    monitor_printf(mon, "  pgsizes: 0x%" PRIx64 "\n", c->pgsizes);
    monitor_printf(mon, "  twin-socket: %s\n", c->twin_socket ? "on" : "off");
    monitor_printf(mon, "  write-multiple: %s\n",
                   c->write_multiple ? "on" : "off");
    if (c->has_migration_pgsize) {
        monitor_printf(mon, "  migration-pgsize: %" PRIu64 "\n",
                       c->migration_pgsize);
    }
    if (c->has_max_bitmap_size) {
        monitor_printf(mon, "  max-bitmap-size: %" PRIu64 "\n",
                       c->max_bitmap_size);
    }
}

static void print_counters(Monitor *mon, const VfioUserCounters *c)
{
    monitor_printf(mon, "  calls: %" PRIu64 "\n", c->calls);
    monitor_printf(mon, "  posts: %" PRIu64 "\n", c->posts);
    monitor_printf(mon, "  requests: %" PRIu64 "\n", c->requests);
    monitor_printf(mon, "  receive-wakeups: %" PRIu64 "\n",
                   c->receive_wakeups);
    monitor_printf(mon, "  bytes-sent: %" PRIu64 "\n", c->bytes_sent);
    monitor_printf(mon, "  bytes-received: %" PRIu64 "\n", c->bytes_received);
    monitor_printf(mon, "  timeouts: %" PRIu64 "\n", c->timeouts);
    monitor_printf(mon, "  losses: %" PRIu64 "\n", c->losses);
    monitor_printf(mon, "  reconnects: %" PRIu64 "\n", c->reconnects);
    monitor_printf(mon, "  dropped-writes: %" PRIu64 "\n", c->dropped_writes);
}

static void print_device(Monitor *mon, const VfioUserInfo *info)
{
    monitor_printf(mon, "dev: %s, id \"%s\"\n", info->qom_path,
                   info->id ?: "");
    monitor_printf(mon, "  socket: %s\n", info->socket);
    monitor_printf(mon, "  state: %s%s%s\n", VfioUserState_str(info->state),
                   info->reason ? ": " : "", info->reason ?: "");
    if (info->migration_version) {
        monitor_printf(mon, "  migration: v%u\n", info->migration_version);
    } else {
        monitor_printf(mon, "  migration: not supported\n");
    }
    print_capabilities(mon, info->capabilities);
    print_counters(mon, info->counters);
}

static void hmp_info_vfio_user(Monitor *mon, const QDict *qdict)
{
    g_autoptr(VfioUserInfoList) list = qmp_x_query_vfio_user(NULL);

    if (!list) {
        monitor_printf(mon, "No vfio-user devices\n");
    }
    for (VfioUserInfoList *entry = list; entry; entry = entry->next) {
        print_device(mon, entry->value);
    }
}

static void register_hmp_commands(void)
{
    monitor_register_hmp("vfio-user", true, hmp_info_vfio_user);
}

type_init(register_hmp_commands)
