/*
 * qtest of the vfio-user client: faults of a server that comes back
 *
 * A matrix: each command that the client sends to a server that has come back,
 * with each fault of its reply.  The fault occurs once.  Then QEMU looks for a
 * server again, or continues if the command is dispensable; a server that
 * refuses what the first one said is a different one.  All rows share the other
 * checks: one line for the loss, one for the return, the monitor answers, and
 * nothing is left behind.
 *
 * And a server that dies at each byte of each reply, one after another.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "hw/vfio/user/wire.h"
#include "vfio-user-errors.h"
#include "vfio-user-irq.h"
#include "vfio-user-loss.h"
#include "vfio-user-tests.h"

#define ARGS VFIO_USER_RIG_SHARED VFIO_USER_LOSS_RECONNECT

/*
 * Time-out of a call for servers that do not answer; long enough for the
 * messages before.
 */
#define SHORT_MS 400

/* A monitor that waits for the whole replay answers within this. */
#define MONITOR_US (20 * G_TIME_SPAN_SECOND)

/* The end of a reply, if the server is to die after it. */
#define WHOLE (1 << 30)

#define CONFIG_SPACE VFIO_PCI_CONFIG_REGION_INDEX

static VFIOUserModel model;

/* Faults of a reply */

typedef enum Harm {
    BREAKS,                     /* the connection, or what is asked for */
    REFUSES,                    /* an error reply */
    HARMLESS,
} Harm;

typedef struct Fault {
    const char *name;
    Harm harm;
    unsigned timeout_ms;
    uint32_t min_size;          /* applies to payloads of this size or more */
    VFIOUserDeed deed;
    uint64_t number;
} Fault;

static const Fault faults[] = {
    { "closed-before", BREAKS, 0, 0, DO_CUT, 0 },
    { "closed-in-header", BREAKS, 0, 0, DO_CUT, 7 },
    { "closed-in-payload", BREAKS, 0, 2, DO_CUT, 17 },
    { "closed-after", BREAKS, 0, 0, DO_CUT, WHOLE },
    { "empty", BREAKS, 0, 1, DO_LENGTH, 0 },
    { "short", BREAKS, 0, 4, DO_LENGTH, 3 },
    { "long", BREAKS, 0, 0, DO_LENGTH, 2 * MiB },
    { "wrong-id", BREAKS, SHORT_MS, 0, DO_ID, 1 },
    { "wrong-command", BREAKS, 0, 0, DO_COMMAND, VFIO_USER_DIRTY_PAGES },
    { "unknown-command", BREAKS, 0, 0, DO_COMMAND, 999 },
    { "wrong-type", BREAKS, 0, 0, DO_FLAGS, 7 },
    { "request-instead", BREAKS, 0, 0, DO_FLAGS, VFIO_USER_TYPE_COMMAND },
    { "size-0", BREAKS, 0, 0, DO_SIZE, 0 },
    { "size-4-gib", BREAKS, 0, 0, DO_SIZE, UINT32_MAX },
    { "errno-0", REFUSES, 0, 0, DO_FAIL, 0 },
    { "errno-1", REFUSES, 0, 0, DO_FAIL, 1 },
    { "errno-4-gi", REFUSES, 0, 0, DO_FAIL, UINT32_MAX },
    { "17-descriptors", BREAKS, 0, 0, DO_FDS, 17 },
    { "253-descriptors", BREAKS, 0, 0, DO_FDS, 253 },
    { "late", BREAKS, SHORT_MS, 0, DO_DELAY, SHORT_MS * 5 / 4 },
    { "never", BREAKS, SHORT_MS, 0, DO_DROP },
    { "twice", HARMLESS, 0, 0, DO_REPEAT, 1 },
    { "byte-by-byte", HARMLESS, 0, 0, DO_SPLIT, 1 },
};

/* What the client does if the server refuses a command */
typedef enum Refusal {
    RETRIES,                    /* looks for a server again */
    RETRIES_LOUDLY,             /* the same, with a line about the command */
    CONTINUES,                  /* silently: some servers lack the command */
    REPORTS,                    /* continues, and says what does not work */
    REJECTS,                    /* the first server did not refuse it */
} Refusal;

typedef struct Command {
    const char *name;
    VFIOUserWhen when;
    uint32_t size;              /* bytes of payload in a correct reply */
    Refusal refusal;
    bool takes_fds;             /* the reply may carry descriptors */
    bool breaks_interrupts;     /* if the server refuses it */
    bool main_loop_waits;       /* with the big QEMU lock, for the reply */
} Command;

/*
 * In the order of the messages.  Configuration space is read to compare it, and
 * again after the reset.
 */
static const Command commands[] = {
    { "version", ON(VFIO_USER_VERSION), 4, RETRIES, true },
    { "device-info", ON(VFIO_USER_DEVICE_GET_INFO), 16, RETRIES },
    { "bar-info", ON(VFIO_USER_DEVICE_GET_REGION_INFO,
                     AT(VFIO_PCI_BAR0_REGION_INDEX)), 32, RETRIES, true },
    { "config-info", ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(CONFIG_SPACE)),
      32, RETRIES, true },
    { "irq-info", ON(VFIO_USER_DEVICE_GET_IRQ_INFO,
                     AT(VFIO_PCI_MSIX_IRQ_INDEX)), 16, REJECTS },
    { "config-read", ON(VFIO_USER_REGION_READ, AT(CONFIG_SPACE), .nth = 1), 16,
      RETRIES },
    { "migration", ON(VFIO_USER_DEVICE_FEATURE,
                      AT_FEATURE(VFIO_DEVICE_FEATURE_GET |
                                 VFIO_DEVICE_FEATURE_MIGRATION)), 16,
      REJECTS },
    { "reset", ON(VFIO_USER_DEVICE_RESET), 0, RETRIES },
    { "dma-map", ON(VFIO_USER_DMA_MAP), 0, RETRIES, .main_loop_waits = true },
    { "config-reread", ON(VFIO_USER_REGION_READ, AT(CONFIG_SPACE), .nth = 2),
      16, RETRIES_LOUDLY, .main_loop_waits = true },
    { "config-write", ON(VFIO_USER_REGION_WRITE, AT(CONFIG_SPACE)), 16,
      REPORTS, .main_loop_waits = true },
    { "vectors", ON(VFIO_USER_DEVICE_SET_IRQS, AT(VFIO_PCI_MSIX_IRQ_INDEX)),
      0, REPORTS, .breaks_interrupts = true, .main_loop_waits = true },
    { "io-fds", ON(VFIO_USER_DEVICE_GET_REGION_IO_FDS), 16, CONTINUES, true,
      .main_loop_waits = true },
    { "error-irq", ON(VFIO_USER_DEVICE_SET_IRQS, AT(VFIO_PCI_ERR_IRQ_INDEX)),
      0, REPORTS, .main_loop_waits = true },
};

/* A device that is in use: it has interrupts and settings. */
static VFIOUserRig *begin(const char *args, unsigned timeout_ms)
{
    VFIOUserRig *rig = vfio_user_loss_begin(args, &model, timeout_ms);

    qpci_msix_enable(rig->dev);
    vfio_user_irq_use(rig, 3);
    return rig;
}

static void check_monitor(VFIOUserRig *rig)
{
    gint64 begun = g_get_monotonic_time();

    vfio_user_rig_ping(rig);
    g_assert_cmpint(g_get_monotonic_time() - begun, <, MONITOR_US);
}

typedef struct Case {
    const Command *command;
    const Fault *fault;
} Case;

static void check_rejected(VFIOUserRig *rig)
{
    vfio_user_loss_wait(rig, vfio_user_loss_rejections());
    vfio_user_server_wait_client(rig->server, false);
    vfio_user_loss_check_gone(rig);
}

/* The main loop waits for such a server once, unless the user asks for it. */
static void check_too_slow(VFIOUserRig *rig)
{
    vfio_user_loss_wait(rig, vfio_user_errors_count("the server is too slow"));
    vfio_user_server_wait_client(rig->server, false);
    vfio_user_loss_check_gone(rig);
    qtest_qmp_assert_success(rig->qts, "{'execute': 'x-vfio-user-reconnect',"
                             " 'arguments': {'id': 'dut'}}");
}

/* @settings: of the guest, in the last server */
static void check_returned(VFIOUserRig *rig, const uint8_t *settings)
{
    uint8_t is[PCI_STD_HEADER_SIZEOF];

    vfio_user_loss_wait_return(rig, 1);
    g_assert_cmpuint(vfio_user_loss_returns(), ==, 1);
    vfio_user_loss_check_works(rig);
    vfio_user_server_peek(rig->server, CONFIG_SPACE, 0, is, sizeof(is));
    g_assert_cmpmem(is, sizeof(is), settings, sizeof(is));
}

static void test_case(const void *opaque)
{
    const Case *c = opaque;
    uint8_t settings[PCI_STD_HEADER_SIZEOF];
    unsigned reports, failures;
    bool slow = c->fault->timeout_ms && c->command->main_loop_waits;
    Refusal refusal = c->fault->harm == REFUSES ? c->command->refusal :
                                                  CONTINUES;
    g_autoptr(VFIOUserRig) rig = begin(ARGS, c->fault->timeout_ms);
    VFIOUserRule rules[] = {
        { c->command->when, c->fault->deed, c->fault->number }, { }
    };

    vfio_user_server_peek(rig->server, CONFIG_SPACE, 0, settings,
                          sizeof(settings));
    if (!rules[0].when.nth) {
        rules[0].when.nth = 1;
    }
    vfio_user_loss_happen(rig, rules);
    check_monitor(rig);
    if (slow) {
        check_too_slow(rig);
    }
    if (refusal == REJECTS) {
        check_rejected(rig);
    } else {
        check_returned(rig, settings);
    }
    if (refusal != REJECTS &&
        !(refusal == REPORTS && c->command->breaks_interrupts)) {
        vfio_user_irq_check(rig, 3);
    }
    g_assert_cmpuint(vfio_user_loss_losses(), ==, 1);
    reports = slow || refusal == REPORTS || refusal == RETRIES_LOUDLY;
    /* interrupts are set up without waiting, so a refusal may come later */
    vfio_user_loss_wait(rig, vfio_user_errors_lines() >= 2 + reports);
    /* the first server that fails is reported, unless it is rejected */
    failures = vfio_user_errors_count("a server came back but cannot be used");
    g_assert_cmpuint(failures, <=, 1);
    g_assert_cmpuint(failures, >=,
                     refusal == RETRIES || refusal == RETRIES_LOUDLY);
    /* a reply that nobody waits for is remarked once */
    g_assert_cmpuint(vfio_user_errors_lines(), ==,
                     2 + reports + failures +
                     vfio_user_errors_count("matches no call"));
    check_monitor(rig);
}

/* The table above is complete */

/* Not sent to a server that comes back while the VM is not being migrated. */
static const uint16_t not_sent[] = {
    VFIO_USER_DMA_UNMAP,
    VFIO_USER_DIRTY_PAGES,
    VFIO_USER_REGION_WRITE_MULTI,
    VFIO_USER_MIG_DATA_READ,
    VFIO_USER_MIG_DATA_WRITE,
};

static unsigned count_all(VFIOUserRig *rig, VFIOUserWhen when)
{
    when.nth = 0;
    return vfio_user_server_count(rig->server, when);
}

static void test_complete(void)
{
    g_autoptr(VFIOUserRig) rig = begin(ARGS, 0);
    bool known[VFIO_USER_COMMANDS] = { };

    vfio_user_loss_happen(rig, NULL);
    vfio_user_loss_wait_return(rig, 1);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        g_assert_cmpuint(count_all(rig, commands[i].when), >,
                         commands[i].when.nth ? commands[i].when.nth - 1 : 0);
        known[commands[i].when.command] = true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(not_sent); i++) {
        VFIOUserWhen when = { .command = not_sent[i] };

        g_assert_cmpuint(count_all(rig, when), ==, 0);
        known[not_sent[i]] = true;
    }
    for (unsigned i = 0; i < VFIO_USER_COMMANDS; i++) {
        const VFIOUserCommandInfo *info = vfio_user_command_info(i);

        if (info && !info->from_server && !known[i]) {
            g_test_message("%s is in no table", info->name);
            g_test_fail();
        }
    }
}

/* Death at every byte */

/* Bytes of the longest reply that is answered to @seen, or a few more */
static unsigned reply_bytes(const VFIOUserSeen *seen)
{
    const VFIOUserRegionRW *rw = (const void *)seen->payload;

    switch (seen->header.command) {
    case VFIO_USER_VERSION:
        return sizeof(VFIOUserHeader) + sizeof(VFIOUserVersion) +
               strlen(model.version) + 1;
    case VFIO_USER_REGION_READ:
        return sizeof(VFIOUserHeader) + sizeof(*rw) + rw->count;
    default:
        return sizeof(VFIOUserHeader) + sizeof(VFIOUserRegionInfo);
    }
}

/*
 * Servers that come back and die at their nth message, each one byte later than
 * the last.  Messages of all of them are counted: the ith dies at number i * n.
 *
 * @awaited: the client waits for another reply before it uses the server
 */
static void die_at(VFIOUserRig *rig, unsigned n, unsigned bytes, bool awaited)
{
    g_autofree VFIOUserRule *rules = g_new0(VFIOUserRule, bytes + 2);

    for (unsigned i = 0; i <= bytes; i++) {
        rules[i] = (VFIOUserRule) {
            ON(VFIO_USER_ANY, .nth = n * (i + 1)), DO_CUT, i
        };
    }
    vfio_user_errors_forget();
    vfio_user_loss_happen(rig, rules);
    vfio_user_loss_wait(rig, vfio_user_server_saw(rig->server,
                                                  VFIO_USER_VERSION) ==
                             bytes + 2 &&
                             vfio_user_loss_returns() ==
                             vfio_user_loss_losses());
    if (awaited) {
        g_assert_cmpuint(vfio_user_errors_count("cannot be used"), ==, 1);
        g_assert_cmpuint(vfio_user_errors_lines(), ==, 3);
    }
}

static void test_every_byte(void)
{
    g_autoptr(VFIOUserRig) rig =
        begin(VFIO_USER_RIG_SHARED "-global vfio-user-pci.reconnect-ms=1 ", 0);
    g_autoptr(GArray) log = NULL;
    unsigned last = 0;

    vfio_user_loss_happen(rig, NULL);
    vfio_user_loss_wait_return(rig, 1);
    log = vfio_user_server_log(rig->server);
    for (unsigned i = 0; i < log->len; i++) {
        if (g_array_index(log, VFIOUserSeen, i).header.command !=
            VFIO_USER_DEVICE_SET_IRQS) {
            last = i;
        }
    }
    for (unsigned i = 0; i < log->len; i++) {
        const VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);

        if (seen->header.flags & VFIO_USER_NO_REPLY) {
            die_at(rig, i + 1, 0, i < last);
        } else {
            die_at(rig, i + 1, reply_bytes(seen), i < last);
        }
    }
    vfio_user_loss_check_works(rig);
    vfio_user_irq_check(rig, 3);
}

/* Registration */

static void add_cases(void)
{
    /* static: the tests use them until exit */
    static Case cases[ARRAY_SIZE(commands) * ARRAY_SIZE(faults)];
    Case *c = cases;

    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(faults); j++) {
            g_autofree char *path =
                g_strdup_printf("/vfio-user/reconnect-fault/%s/%s",
                                commands[i].name, faults[j].name);

            if (commands[i].size >= faults[j].min_size) {
                *c = (Case) { &commands[i], &faults[j] };
                qtest_add_data_func(path, c++, test_case);
            }
        }
    }
}

void vfio_user_add_reconnect_fault_tests(void)
{
    model = vfio_user_model;
    model.migration.flags = VFIO_USER_MODEL_STOP_COPY;
    qtest_add_func("/vfio-user/reconnect-fault/complete", test_complete);
    add_cases();
    qtest_add_func("/vfio-user/reconnect-fault/every-byte", test_every_byte);
}
