/*
 * Fuzz target for vfio-user servers
 *
 * Runs sessions with the scripted server of the qtests, as the input says, see
 * vfio-user-fuzz-input.h: everything that a server can send reaches the client.
 * A VM that hangs is found by libFuzzer's -timeout.
 *
 * With VFIO_USER_FUZZ_SEEDS=FOLDER it only records sessions of servers that
 * behave, as inputs to begin with, into that folder.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "block/aio.h"
#include "hw/pci/pci.h"
#include "monitor/monitor.h"
#include "monitor/monitor-internal.h"
#include "qapi/qmp-registry.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "fuzz/fuzz.h"
#include "libqos/pci-pc.h"
#include "vfio-user-fuzz-input.h"
#include "vfio-user-server.h"

#define SLOT 4
/* ACPI PCI hotplug register of machine pc: eject */
#define EJECT 0xae08
/* Time-outs of servers that do not answer make up most of the time, ms. */
#define TIMEOUT 60
#define TIMEOUT_RECORDING 10000
/* Turns of the main loop that a session may wait for, 0.2 ms each */
#define TURNS 50000

typedef struct Session {
    const VFIOUserFuzzInput *input;
    QTestState *qts;
    unsigned timeout_ms;
    VFIOUserServer *server, *other;
    QPCIBus *bus;
    QPCIDevice *dev;
    QPCIBar bar[3];
} Session;

/* The devices */

static VFIOUserModel models[8];

static void make_models(void)
{
    static const VFIOUserModelMigration1 chunks = { 4 * KiB, 4 * KiB };
    const uint32_t mapped = VFIO_REGION_INFO_FLAG_READ |
                            VFIO_REGION_INFO_FLAG_WRITE |
                            VFIO_REGION_INFO_FLAG_MMAP;
    const VFIOUserMigrationModel stop_copy = {
        .flags = VFIO_USER_MODEL_STOP_COPY, .filling = 9001,
    };
    const VFIOUserMigrationModel pre_copy = {
        .flags = VFIO_USER_MODEL_STOP_COPY | VFIO_USER_MODEL_PRE_COPY,
        .filling = 9001, .pre_copy = 5000,
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(models); i++) {
        models[i] = vfio_user_model;
    }
    models[1].twin = true;
    models[2].region[2] = (VFIOUserModelRegion) {
        .size = 64 * KiB, .flags = mapped, .nr_areas = 2,
        .areas = { { 0, 4096 }, { 8192, 4096 } },
    };
    models[3].migration = stop_copy;
    models[4].migration = pre_copy;
    models[4].personality = vfio_user_personality("libvfio-user-2026");
    models[5] = vfio_user_model_migration1(&chunks);
    models[6] = models[5];
    models[6].personality = vfio_user_personality("libvfio-user-2022");
    models[7].personality = vfio_user_personality("x-vfio-user-server");
}

/* QMP */

typedef struct Command {
    QObject *request;
    QDict *answer;
    bool done;
} Command;

static void coroutine_fn dispatch(void *opaque)
{
    Command *command = opaque;

    command->answer = qmp_dispatch(&qmp_commands, command->request, false,
                                   NULL);
    command->done = true;
}

static void main_loop_turn(void)
{
    main_loop_wait(true);
    g_usleep(200);
}

static QDict *G_GNUC_PRINTF(1, 2) qmp(const char *format, ...)
{
    Command command = { };
    va_list ap;

    va_start(ap, format);
    command.request = qobject_from_vjsonf_nofail(format, ap);
    va_end(ap);
    qemu_coroutine_enter(qemu_coroutine_create(dispatch, &command));
    for (int i = 0; !command.done; i++) {
        g_assert_cmpint(i, <, TURNS);
        main_loop_turn();
    }
    qobject_unref(command.request);
    return command.answer;
}

/* Returns whether the command succeeded. */
#define tell(...) ({                                                    \
        QDict *answer_ = qmp(__VA_ARGS__);                              \
        bool ok_ = qdict_haskey(answer_, "return");                     \
        qobject_unref(answer_);                                         \
        ok_;                                                            \
    })

/* The device in the VM */

static bool plug(Session *s)
{
    uint8_t options = s->input->options;

    if (!tell("{'execute': 'device_add', 'arguments': {"
              "'driver': 'vfio-user-pci', 'id': 'dut', 'addr': %s,"
              "'socket': %s, 'x-timeout-ms': %d, 'reconnect-ms': %d,"
              "'reconnect-wait-ms': 10, 'x-no-mmap': %i,"
              "'x-no-posted-writes': %i}}", stringify(SLOT),
              vfio_user_server_path(s->server), s->timeout_ms,
              options & VFIO_USER_FUZZ_RECONNECT ? 5 : 0,
              !!(options & VFIO_USER_FUZZ_NO_MMAP),
              !!(options & VFIO_USER_FUZZ_NO_POSTED_WRITES))) {
        return false;
    }
    s->bus = qpci_new_pc(s->qts, NULL);
    s->dev = qpci_device_find(s->bus, QPCI_DEVFN(SLOT, 0));
    return true;
}

/* The server decides whether the device has these BARs. */
static void enable(Session *s)
{
    static const uint64_t window[] = { 0xe0000000, 0xc000, 0xe1000000 };

    if (!s->dev) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(window); i++) {
        s->bar[i] = (QPCIBar) { .addr = window[i], .is_io = i == 1 };
        qpci_config_writel(s->dev, PCI_BASE_ADDRESS_0 + 4 * i, window[i]);
    }
    qpci_config_writew(s->dev, PCI_COMMAND, PCI_COMMAND_IO |
                       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static bool is_plugged(void)
{
    return object_resolve_path("/machine/peripheral/dut", NULL);
}

static void unplug(Session *s)
{
    g_clear_pointer(&s->dev, g_free);
    g_clear_pointer(&s->bus, qpci_free_pc);
    for (int i = 0; is_plugged(); i++) {
        g_assert_cmpint(i, <, TURNS);
        tell("{'execute': 'device_del', 'arguments': {'id': 'dut'}}");
        qtest_outl(s->qts, EJECT, 1 << SLOT);
        main_loop_turn();
    }
}

/* What the client does; the argument's bits choose among its kinds. */

/* libqos finds no device if the server says so. */

static void access_bar(Session *s, bool write, uint32_t argument)
{
    QPCIBar bar = s->bar[argument % 3];
    uint64_t offset = argument >> 8 & 0xffc;

    if (!s->dev) {
        return;
    }
    if (write) {
        qpci_io_writel(s->dev, bar, offset, argument);
    } else if (argument & 0x80) {
        qpci_io_readb(s->dev, bar, offset);
    } else {
        qpci_io_readl(s->dev, bar, offset);
    }
}

static void access_config(Session *s, bool write, uint32_t argument)
{
    uint8_t offset = argument & 0xfc;

    if (!s->dev) {
        return;
    }
    if (write) {
        qpci_config_writel(s->dev, offset, argument >> 8);
    } else {
        qpci_config_readl(s->dev, offset);
    }
}

/* At the place where the default device has the capability and the table. */
static void use_msix(Session *s, uint32_t argument)
{
    uint8_t at = VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS;

    if (s->dev) {
        qpci_config_writew(s->dev, at,
                           argument & 1 ? 0 : PCI_MSIX_FLAGS_ENABLE);
    }
}

static bool migration_is_active(void)
{
    QDict *answer = qmp("{'execute': 'query-migrate'}");
    const char *status =
        qdict_get_try_str(qdict_get_qdict(answer, "return"), "status");
    bool active = status && !g_str_equal(status, "none") &&
                  !g_str_equal(status, "completed") &&
                  !g_str_equal(status, "failed") &&
                  !g_str_equal(status, "cancelled");

    qobject_unref(answer);
    return active;
}

/*
 * QEMU says that a migration is completed before it leaves this state; another
 * one that begins in between ends in an assertion, whatever devices there are.
 */
static bool migration_is_ending(void)
{
    QDict *answer = qmp("{'execute': 'query-status'}");
    const char *status =
        qdict_get_try_str(qdict_get_qdict(answer, "return"), "status");
    bool ending = g_str_equal(status, "finish-migrate");

    qobject_unref(answer);
    return ending;
}

static void await_migration(void)
{
    for (int i = 0; migration_is_active() || migration_is_ending(); i++) {
        g_assert_cmpint(i, <, TURNS);
        main_loop_turn();
    }
}

/* To a file in memory, which is truncated each time. */
static void migrate(uint32_t argument)
{
    static char *uri;

    if (!uri) {
        uri = g_strdup_printf("file:/proc/self/fd/%d",
                              memfd_create("vfio-user-fuzz", MFD_CLOEXEC));
    }
    if (migration_is_ending()) {
        await_migration();
    }
    if (tell("{'execute': 'migrate', 'arguments': {'uri': %s}}", uri) &&
        !(argument & 1)) {
        await_migration();
        tell("{'execute': 'cont'}");
    }
}

static void switch_server(Session *s)
{
    VFIOUserServer *next = s->other;

    if (tell("{'execute': 'x-vfio-user-switch', 'arguments': {'id': 'dut',"
             "'socket': {'type': 'unix', 'path': %s}}}",
             vfio_user_server_path(next))) {
        s->other = s->server;
        s->server = next;
    }
}

static void lose(Session *s)
{
    vfio_user_server_hang_up(s->server);
    for (int i = 0; i < 100 && !vfio_user_server_has_client(s->server); i++) {
        main_loop_turn();
    }
}

static void act(Session *s, VFIOUserFuzzAct act)
{
    switch (act.deed) {
    case VFIO_USER_FUZZ_READ:
    case VFIO_USER_FUZZ_WRITE:
        access_bar(s, act.deed == VFIO_USER_FUZZ_WRITE, act.argument);
        break;
    case VFIO_USER_FUZZ_CONFIG_READ:
    case VFIO_USER_FUZZ_CONFIG_WRITE:
        access_config(s, act.deed == VFIO_USER_FUZZ_CONFIG_WRITE,
                      act.argument);
        break;
    case VFIO_USER_FUZZ_USE_MSIX:
        use_msix(s, act.argument);
        break;
    case VFIO_USER_FUZZ_RESET:
        fuzz_reset(s->qts);
        enable(s);
        break;
    case VFIO_USER_FUZZ_STOP:
        tell("{'execute': 'stop'}");
        break;
    case VFIO_USER_FUZZ_CONTINUE:
        tell("{'execute': 'cont'}");
        break;
    case VFIO_USER_FUZZ_MIGRATE:
        migrate(act.argument);
        break;
    case VFIO_USER_FUZZ_CANCEL:
        tell("{'execute': 'migrate_cancel'}");
        await_migration();
        break;
    case VFIO_USER_FUZZ_SWITCH:
        switch_server(s);
        break;
    case VFIO_USER_FUZZ_LOSE:
        lose(s);
        break;
    case VFIO_USER_FUZZ_WAIT:
        main_loop_turn();
        break;
    default:
        g_assert_not_reached();
    }
}

/* The VM is as before, whatever the session has left. */
static void session_end(Session *s)
{
    tell("{'execute': 'migrate_cancel'}");
    await_migration();
    unplug(s);
    tell("{'execute': 'cont'}");
    vfio_user_server_free(s->server);
    vfio_user_server_free(s->other);
    drain_call_rcu();
    main_loop_wait(true);
}

static void session_run(Session *s)
{
    enable(s);
    for (unsigned i = 0; i < s->input->acts && is_plugged(); i++) {
        act(s, s->input->act[i]);
    }
}

static void session_begin(Session *s, QTestState *qts,
                          const VFIOUserFuzzInput *input)
{
    const VFIOUserModel *model = &models[input->model % ARRAY_SIZE(models)];

    *s = (Session) {
        .input = input,
        .qts = qts,
        .timeout_ms = TIMEOUT,
        .server = vfio_user_server_new(model, input->rule),
        .other = vfio_user_server_new(model, input->rule),
    };
}

/* Recorded sessions */

static const VFIOUserFuzzAct ordinary[] = {
    { VFIO_USER_FUZZ_READ, 0x1000 }, { VFIO_USER_FUZZ_WRITE, 0x2001 },
    { VFIO_USER_FUZZ_READ, 0x3082 }, { VFIO_USER_FUZZ_CONFIG_READ, 0x40 },
    { VFIO_USER_FUZZ_CONFIG_WRITE, 0x550c }, { VFIO_USER_FUZZ_USE_MSIX, 0 },
    { VFIO_USER_FUZZ_RESET }, { VFIO_USER_FUZZ_STOP },
    { VFIO_USER_FUZZ_CONTINUE }, { VFIO_USER_FUZZ_READ, 0x1000 },
};

static const VFIOUserFuzzAct moves[] = {
    { VFIO_USER_FUZZ_MIGRATE }, { VFIO_USER_FUZZ_MIGRATE, 1 },
    { VFIO_USER_FUZZ_WAIT }, { VFIO_USER_FUZZ_CANCEL },
    { VFIO_USER_FUZZ_SWITCH }, { VFIO_USER_FUZZ_READ, 0x1000 },
    { VFIO_USER_FUZZ_SWITCH },
};

static const VFIOUserFuzzAct losses[] = {
    { VFIO_USER_FUZZ_USE_MSIX }, { VFIO_USER_FUZZ_LOSE },
    { VFIO_USER_FUZZ_READ, 0x1000 }, { VFIO_USER_FUZZ_LOSE },
    { VFIO_USER_FUZZ_WAIT }, { VFIO_USER_FUZZ_WRITE, 0x2000 },
};

/* With the last messages of the session */
static const VFIOUserRule requests[] = {
    { .deed = DO_ASK, .number = VFIO_USER_DMA_READ,
      .data = STRUCT(VFIOUserDMARW, .address = 0x1000, .count = 64) },
    { .deed = DO_ASK_ALSO, .number = VFIO_USER_DMA_WRITE,
      .data = STRUCT(struct { VFIOUserDMARW head; uint8_t data[8]; },
                     .head = { .address = 0x2000, .count = 8 }) },
};

/* The acts are written before the answers, which are known at the end only. */
static void record(QTestState *qts, const char *path, uint8_t model,
                   uint8_t options, const VFIOUserFuzzAct *acts, unsigned n)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autoptr(GPtrArray) payloads = NULL;
    VFIOUserFuzzInput input;
    Session s;

    vfio_user_fuzz_put_head(bytes, model, options);
    for (unsigned i = 0; i < n; i++) {
        vfio_user_fuzz_put_act(bytes, acts[i]);
    }
    vfio_user_fuzz_parse(&input, bytes->data, bytes->len);
    session_begin(&s, qts, &input);
    s.timeout_ms = TIMEOUT_RECORDING;
    payloads = vfio_user_server_record(s.server);
    g_assert_true(plug(&s));
    session_run(&s);
    session_end(&s);
    g_ptr_array_set_size(payloads, payloads->len - ARRAY_SIZE(requests));
    vfio_user_fuzz_put_payloads(bytes, payloads);
    for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
        vfio_user_fuzz_put_rule(bytes, 0, &requests[i]);
    }
    g_assert_true(g_file_set_contents(path, (char *)bytes->data, bytes->len,
                                      NULL));
}

static void record_all(QTestState *qts, const char *folder)
{
    const struct {
        const VFIOUserFuzzAct *acts;
        unsigned n;
        uint8_t options;
    } kinds[] = {
        { ordinary, ARRAY_SIZE(ordinary), 0 },
        { ordinary, ARRAY_SIZE(ordinary), VFIO_USER_FUZZ_NO_MMAP |
                                          VFIO_USER_FUZZ_NO_POSTED_WRITES },
        { moves, ARRAY_SIZE(moves), 0 },
        { losses, ARRAY_SIZE(losses), VFIO_USER_FUZZ_RECONNECT },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
        for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
            g_autofree char *path = g_strdup_printf("%s/%u-%u", folder, i, k);

            record(qts, path, i, kinds[k].options, kinds[k].acts, kinds[k].n);
        }
    }
}

/* The target */

static void vfio_user_pre_fuzz(QTestState *qts)
{
    const char *folder = getenv("VFIO_USER_FUZZ_SEEDS");

    make_models();
    if (folder) {
        record_all(qts, folder);
        _exit(0);               /* libFuzzer takes exit() for a failure */
    }
}

static void vfio_user_fuzz(QTestState *qts, const unsigned char *data,
                           size_t size)
{
    VFIOUserFuzzInput input;
    Session s;

    vfio_user_fuzz_parse(&input, data, size);
    session_begin(&s, qts, &input);
    if (plug(&s)) {
        session_run(&s);
    }
    session_end(&s);
}

static GString *vfio_user_cmdline(FuzzTarget *target)
{
    return g_string_new(
        "qemu-system-x86_64 -machine pc,memory-backend=ram,accel=qtest"
        " -nodefaults -display none -m 8 -object"
        " memory-backend-memfd,id=ram,size=8M,share=on");
}

static void register_vfio_user_fuzz(void)
{
    fuzz_add_target(&(FuzzTarget) {
        .name = "vfio-user",
        .description = "Servers of the vfio-user client",
        .get_init_cmdline = vfio_user_cmdline,
        .pre_fuzz = vfio_user_pre_fuzz,
        .fuzz = vfio_user_fuzz,
    });
}

fuzz_target_init(register_vfio_user_fuzz);
