/*
 * Test rig: one migration that an action disturbs
 *
 * The VMs and the guest.  See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "libqos/pci-pc.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "vfio-user-trip.h"

#define GUEST VFIO_USER_TRIP_GUEST
#define GUEST_SIZE VFIO_USER_TRIP_GUEST_SIZE
#define GUEST_WRITES 64         /* words written by one call */
#define DEVICE_SIZE (6 * MiB)   /* area that the device writes */

/* Longer than any answer is held; some actions have a time-out of their own */
#define TIMEOUT_MS 30000
#define RECONNECT_MS 20         /* attempts are at most that far apart */

/* Models of migration v1 and v2, with several reads in each phase */

static const VFIOUserModel *trip_model(const VFIOUserTripPlan *plan)
{
    static const VFIOUserPersonality small = { .most_read = 64 * KiB };
    static const VFIOUserModelMigration1 chunks = { 16 * KiB, 4 * KiB };
    static VFIOUserModel models[3];

    if (!models[0].num_regions) {
        models[0] = vfio_user_model_migration1(&chunks);
        models[1] = vfio_user_model;
        models[1].personality = &small;
        models[1].migration = (VFIOUserMigrationModel) {
            .flags = VFIO_USER_MODEL_STOP_COPY | VFIO_USER_MODEL_PRE_COPY,
            .filling = 300000,
            .pre_copy = 250000,
            .record = { 4 * KiB },
        };
        models[2] = models[1];
        models[2].migration.flags = VFIO_USER_MODEL_STOP_COPY;
        models[2].migration.pre_copy = 0;
    }
    return &models[plan->no_pre_copy ? 2 : plan->phase->version - 1];
}

/* Capabilities */

const char *vfio_user_trip_capability(VFIOUserTripCapability capability)
{
    static const char *const names[] = {
        [VFIO_USER_TRIP_RETURN_PATH] = "return-path",
        [VFIO_USER_TRIP_SWITCHOVER_ACK] = "switchover-ack",
        [VFIO_USER_TRIP_PAUSE] = "pause-before-switchover",
        [VFIO_USER_TRIP_MULTIFD] = "multifd",
        [VFIO_USER_TRIP_XBZRLE] = "xbzrle",
        [VFIO_USER_TRIP_AUTO_CONVERGE] = "auto-converge",
        [VFIO_USER_TRIP_LATE_BLOCK] = "late-block-activate",
        [VFIO_USER_TRIP_POSTCOPY] = "postcopy-ram",
    };

    return names[capability];
}

/* Returns whether the host supports them. */
static bool set_capabilities(VFIOUserTrip *t, VFIOUserSide side, unsigned bits)
{
    QList *list = qlist_new();

    for (unsigned i = 0; i < VFIO_USER_TRIP_CAPABILITIES; i++) {
        QDict *entry = qdict_new();

        qdict_put_str(entry, "capability", vfio_user_trip_capability(i));
        qdict_put_bool(entry, "state", bits >> i & 1);
        qlist_append(list, entry);
    }
    return vfio_user_mortal_do(t->vm[side], "{'execute':"
                               " 'migrate-set-capabilities',"
                               " 'arguments': {'capabilities': %p}}", list);
}

/* The monitor */

void vfio_user_trip_set(VFIOUserTrip *t, const char *name, int64_t value)
{
    QDict *args = qdict_new();

    qdict_put_int(args, name, value);
    vfio_user_mortal_do(t->vm[VFIO_USER_SOURCE], "{'execute':"
                        " 'migrate-set-parameters', 'arguments': %p}", args);
}

char *vfio_user_trip_status(VFIOUserTrip *t, VFIOUserSide side)
{
    return vfio_user_mortal_ask(t->vm[side], "query-migrate", "status");
}

/* The guest */

#define BAR 2                   /* saved by v1 and v2 */
#define BAR_AT 0xe0000000
#define BAR_WORDS 64

void vfio_user_trip_set_up(VFIOUserTrip *t, VFIOUserSide side)
{
    QPCIBus *bus = qpci_new_pc(t->vm[side]->qts, NULL);
    int devfn = QPCI_DEVFN(4, 0);

    bus->config_writel(bus, devfn, PCI_BASE_ADDRESS_0 + 4 * BAR, BAR_AT);
    bus->config_writew(bus, devfn, PCI_COMMAND,
                       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    qpci_free_pc(bus);
}

static uint32_t trip_word(VFIOUserTrip *t, unsigned i)
{
    return (t->fill + i) * 2654435761u;
}

void vfio_user_trip_fill(VFIOUserTrip *t, VFIOUserSide side)
{
    QTestState *qts = t->vm[side]->qts;

    t->fill = g_rand_int(t->rand);
    for (unsigned i = 0; i < BAR_WORDS; i++) {
        qtest_writel(qts, BAR_AT + 4 * i, trip_word(t, i));
    }
    t->forgot = false;
}

void vfio_user_trip_check_fill(VFIOUserTrip *t, VFIOUserSide side)
{
    for (unsigned i = 0; i < BAR_WORDS; i++) {
        g_assert_cmphex(qtest_readl(t->vm[side]->qts, BAR_AT + 4 * i), ==,
                        trip_word(t, i));
    }
}

void vfio_user_trip_work(VFIOUserTrip *t)
{
    QTestState *qts = t->vm[VFIO_USER_SOURCE]->qts;

    for (unsigned i = 0; i < GUEST_WRITES; i++) {
        unsigned at = g_rand_int_range(t->rand, 0, GUEST_SIZE / 4) * 4;
        uint32_t word = g_rand_int(t->rand);

        stl_le_p(t->memory + at, word);
        qtest_writel(qts, GUEST + at, word);
    }
    vfio_user_trip_fill(t, VFIO_USER_SOURCE);
    /* all writes have arrived when this read returns, whatever comes next */
    qtest_readl(qts, BAR_AT);
}

static void trip_fill_memory(VFIOUserTrip *t)
{
    t->memory = g_malloc(GUEST_SIZE);
    for (unsigned i = 0; i < GUEST_SIZE; i += 4) {
        stl_le_p(t->memory + i, g_rand_int(t->rand));
    }
    qtest_bufwrite(t->vm[VFIO_USER_SOURCE]->qts, GUEST, t->memory, GUEST_SIZE);
}

/* The VMs */

static void trip_start_vm(VFIOUserTrip *t, VFIOUserSide side, const char *more)
{
    bool shared = t->plan->shared;
    g_autofree char *args =
        g_strdup_printf("-machine pc%s -nodefaults -m 64 %s"
                        "-object main-loop,id=main-loop,thread-pool-max=1 "
                        "-device vfio-user-pci,id=dut,addr=4,socket=%s,"
                        "x-timeout-ms=%u,reconnect-ms=%u %s",
                        shared ? ",memory-backend=ram" : "",
                        shared ? "-object memory-backend-memfd,id=ram,"
                                 "size=64M,share=on " : "",
                        vfio_user_server_path(t->server[side]),
                        t->plan->action->timeout_ms ?: TIMEOUT_MS,
                        t->plan->returns ? RECONNECT_MS : 0, more);
    unsigned postcopy = 1 << VFIO_USER_TRIP_POSTCOPY;
    unsigned capabilities = t->plan->capabilities;

    t->vm[side] = vfio_user_mortal_new(args);
    if (!(capabilities & postcopy) ||
        !set_capabilities(t, side, capabilities)) {
        g_assert_true(set_capabilities(t, side, capabilities & ~postcopy));
    }
}

static void start_writer(VFIOUserTrip *t)
{
    t->writer.server = t->server[VFIO_USER_SOURCE];
    t->writer.by_message = !t->plan->shared;
    t->writer.size = DEVICE_SIZE;
    vfio_user_writer_start(&t->writer);
}

VFIOUserTrip *vfio_user_trip_new(const VFIOUserTripPlan *plan)
{
    VFIOUserTrip *t = g_new0(VFIOUserTrip, 1);

    t->plan = plan;
    t->rand = g_rand_new_with_seed(plan->seed);
    for (unsigned i = 0; i < 2; i++) {
        t->server[i] = vfio_user_server_new(trip_model(plan), NULL);
        t->spare[i] = vfio_user_server_new(trip_model(plan), NULL);
        trip_start_vm(t, i, i == VFIO_USER_SOURCE ? "" : "-incoming defer");
        t->fds[i] = vfio_user_mortal_count(t->vm[i], "fd");
        t->threads[i] = vfio_user_mortal_count(t->vm[i], "task");
    }
    vfio_user_trip_set_up(t, VFIO_USER_SOURCE);
    trip_fill_memory(t);
    vfio_user_trip_fill(t, VFIO_USER_SOURCE);
    start_writer(t);
    vfio_user_trip_before(t);
    return t;
}

void vfio_user_trip_say(VFIOUserTrip *t)
{
    for (unsigned i = 0; i < 2 && t->vm[i]; i++) {
        g_autofree char *said = vfio_user_mortal_said(t->vm[i]);

        fprintf(stderr, "# the %s said: %s\n",
                i == VFIO_USER_SOURCE ? "source" : "destination", said);
    }
}

void vfio_user_trip_free(VFIOUserTrip *t)
{
    for (unsigned i = 0; i < 2; i++) {
        vfio_user_mortal_free(t->vm[i]);
        vfio_user_server_wait_client(t->server[i], false);
        vfio_user_server_free(t->server[i]);
        vfio_user_server_wait_client(t->spare[i], false);
        vfio_user_server_free(t->spare[i]);
    }
    g_rand_free(t->rand);
    g_free(t->memory);
    g_free(t);
}
