/*
 * qtest of the vfio-user client: order of writes
 *
 * A driver writes a register that is accessed by message, and then one with an
 * ioeventfd or mapped memory.  PCI requires that the second write does not
 * arrive first, even if the server does not read its socket.  The writes come
 * from a guest's vCPU, under TCG and, if available, KVM.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/eventfd.h>

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "vfio-user-irq.h"
#include "vfio-user-mailbox.h"
#include "vfio-user-tests.h"

#define PAGE 0x1000
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX
#define MAPPED (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | \
                VFIO_REGION_INFO_FLAG_MMAP)

/* Registers that are written by message; the doorbell is the first of BAR 0. */
#define CONFIG 0x40             /* in BAR 2 */
#define STALL 0x80              /* in BAR 2: the server stops reading */
#define CONFIG_VALUE 0xc0ffee
#define DOORBELL_VALUE 0xd00bbe11

#define TIMEOUT_MS 600

typedef enum Path {
    BY_MESSAGE,
    BY_MAPPING,
    BY_EVENTFD,
    BY_SHADOW,
    BY_REFUSED_EVENTFD,         /* that is, by message */
} Path;

typedef struct QEMU_PACKED IOFds {
    VFIOUserRegionIOFds head;
    VFIOUserIOFd entry;
} IOFds;

/* A device with a doorbell. */
typedef struct Bell {
    Path path;
    VFIOUserRig *rig;           /* NULL: skipped */
    VFIOUserModel model;
    IOFds io_fds;
    int fds[2];                 /* eventfd, shadow memory */
    VFIOUserRule rules[8];
    unsigned n;                 /* used rules */
} Bell;

static void add_rule(Bell *bell, VFIOUserRule rule)
{
    g_assert_cmpuint(bell->n, <, ARRAY_SIZE(bell->rules) - 1);
    bell->rules[bell->n++] = rule;
}

static void order_bell_init(Bell *bell, Path path)
{
    const VFIOUserWhen when = ON(VFIO_USER_DEVICE_GET_REGION_IO_FDS, AT(0));
    unsigned i;

    *bell = (Bell) {
        .path = path,
        .model = vfio_user_model,
        .io_fds = {
            { sizeof(bell->io_fds), 0, 0, 1 },
            { .offset = path == BY_REFUSED_EVENTFD ? 2 * PAGE : 0, .size = 4,
              .shadow_fd_index = 1 },
        },
        .fds = { eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                 memfd_create("shadow", MFD_CLOEXEC) },
    };
    g_assert_cmpint(ftruncate(bell->fds[1], PAGE), ==, 0);
    add_rule(bell, (VFIOUserRule) {
        ON(VFIO_USER_REGION_READ, AT_OFFSET(2, STALL)), DO_STALL
    });
    if (path == BY_MAPPING) {
        bell->model.region[0] = (VFIOUserModelRegion) { PAGE, MAPPED };
    }
    if (path == BY_SHADOW) {
        bell->io_fds.entry.type = VFIO_USER_IO_FD_SHADOW;
    }
    if (path >= BY_EVENTFD) {
        add_rule(bell, (VFIOUserRule) {
            when, DO_PAYLOAD, 0, { &bell->io_fds, sizeof(bell->io_fds) }
        });
        for (i = 0; i < ARRAY_SIZE(bell->fds); i++) {
            add_rule(bell, (VFIOUserRule) { when, DO_PASS, bell->fds[i] });
        }
    }
}

static bool order_bell_begin(Bell *bell, Path path, const char *accel,
                             const char *more, unsigned timeout_ms)
{
    order_bell_init(bell, path);
    bell->rig = vfio_user_mailbox_begin(accel, more, &bell->model,
                                        bell->rules, timeout_ms);
    return bell->rig;
}

static void order_bell_end(Bell *bell)
{
    unsigned i;

    if (bell->rig) {
        vfio_user_rig_end(bell->rig);
    }
    for (i = 0; i < ARRAY_SIZE(bell->fds); i++) {
        close(bell->fds[i]);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Bell, order_bell_end)

/* Whether the doorbell has arrived or arrives within @ms. */
static bool rings_within(Bell *bell, int ms)
{
    struct pollfd pfd = { .fd = bell->fds[0], .events = POLLIN };
    uint32_t value = 0;

    if (bell->path == BY_MAPPING) {
        gint64 deadline = g_get_monotonic_time() + 1000 * ms;

        do {
            vfio_user_server_peek(bell->rig->server, 0, 0, &value,
                                  sizeof(value));
        } while (!value && g_get_monotonic_time() < deadline);
        return value;
    }
    if (bell->path == BY_SHADOW) {
        g_assert_cmpint(pread(bell->fds[1], &value, sizeof(value), 0), ==,
                        sizeof(value));
    }
    return value || poll(&pfd, 1, ms) == 1;
}

static bool has_rung(Bell *bell)
{
    return rings_within(bell, 0);
}

/* Returns the number of calls that the client has started. */
static uint64_t order_calls(VFIOUserRig *rig)
{
    QDict *response = qtest_qmp(rig->qts, "{'execute': 'qom-get',"
                                "'arguments': {"
                                "'path': '/machine/peripheral/dut',"
                                "'property': 'counters'}}");
    uint64_t n = qdict_get_int(qdict_get_qdict(response, "return"), "calls");

    qobject_unref(response);
    return n;
}

static void write_both(Bell *bell, uint32_t address, uint32_t value)
{
    vfio_user_mailbox_write_both(bell->rig,
        (VFIOUserMailboxWrite) { address, value },
        (VFIOUserMailboxWrite) { bell->rig->bar[0].addr, DOORBELL_VALUE });
}

/* Register write and doorbell */

typedef struct Row {
    const char *name;
    Path path;
    const char *accel;
    const char *more;           /* further options of QEMU */
} Row;

static const Row rows[] = {
    { "tcg/eventfd", BY_EVENTFD, "tcg", "" },
    { "tcg/shadow", BY_SHADOW, "tcg", "" },
    { "tcg/mapping", BY_MAPPING, "tcg", "" },
    { "kvm/eventfd", BY_EVENTFD, "kvm", "" },
    { "kvm/eventfd-of-qemu", BY_EVENTFD, "kvm",
      "-global vfio-user-pci.x-no-kvm-ioeventfd=on" },
    { "kvm/shadow", BY_SHADOW, "kvm", "" },
    { "kvm/mapping", BY_MAPPING, "kvm", "" },
};

/* The server does not read until the test has seen the guest's progress. */
static void check_order(Bell *bell)
{
    VFIOUserRig *rig = bell->rig;
    uint64_t before;
    uint32_t is;

    vfio_user_server_forget(rig->server);
    qpci_io_readl(rig->dev, rig->bar[2], STALL);
    before = order_calls(rig);
    write_both(bell, rig->bar[2].addr + CONFIG, CONFIG_VALUE);
    vfio_user_rig_wait(rig, order_calls(rig) != before || has_rung(bell));
    g_assert_false(has_rung(bell));
    g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                          VFIO_USER_REGION_WRITE), ==, 0);

    vfio_user_server_release(rig->server);
    vfio_user_mailbox_wait(rig);
    g_assert_true(has_rung(bell));
    vfio_user_server_peek(rig->server, 2, CONFIG, &is, sizeof(is));
    g_assert_cmphex(is, ==, CONFIG_VALUE);
}

static void test_order(const void *opaque)
{
    const Row *row = opaque;
    g_auto(Bell) bell = { };

    if (order_bell_begin(&bell, row->path, row->accel, row->more, 0)) {
        /* with INTx enabled, KVM may not have the eventfds */
        qpci_msix_enable(bell.rig->dev);
        check_order(&bell);
        qpci_msix_disable(bell.rig->dev);
    }
}

/* Register writes are posted only if there is no direct path */

static const struct Posting {
    const char *name;
    Path path;
    const char *more;
    bool posts;
} postings[] = {
    { "no-direct-path", BY_MESSAGE, "", true },
    { "refused-eventfd", BY_REFUSED_EVENTFD, "", true },
    { "no-mmap", BY_MAPPING, "-global vfio-user-pci.x-no-mmap=on", true },
    { "mapping", BY_MAPPING, "", false },
    { "eventfd", BY_EVENTFD, "", false },
    { "shadow", BY_SHADOW, "", false },
};

static void test_posting(const void *opaque)
{
    const struct Posting *row = opaque;
    VFIOUserRig *rig;
    g_auto(Bell) bell = { };
    VFIOUserSeen seen;
    unsigned i;

    order_bell_begin(&bell, row->path, "tcg", row->more, 0);
    rig = bell.rig;
    for (i = 1; i < 3; i++) {
        vfio_user_server_forget(rig->server);
        vfio_user_mailbox_write(rig, rig->bar[2].addr + CONFIG, i);
        seen = vfio_user_server_see(rig->server, VFIO_USER_REGION_WRITE,
                                    AT_OFFSET(2, CONFIG));
        g_assert_cmphex(seen.header.flags & VFIO_USER_NO_REPLY, ==,
                        row->posts ? VFIO_USER_NO_REPLY : 0);
    }
}

/* Interrupts: the doorbell must not overtake the arming of a vector. */

#define VECTOR 3

/*
 * Long enough for a doorbell that does not wait to arrive.  A blocked vCPU
 * does nothing that the server could see, and it blocks the monitor too, so
 * the test can only check that the doorbell does not arrive for some time.  A
 * very slow host may hide a fault but never reports a false one.
 */
#define RING_MS 300

/* Enables MSI-X; the guest then unmasks a vector and rings the doorbell. */
static void unmask_and_ring(Bell *bell, const VFIOUserRule *rules)
{
    VFIOUserRig *rig = bell->rig;

    qpci_msix_enable(rig->dev);
    vfio_user_irq_write(rig, rig->dev->msix_table_bar, VECTOR, true);
    vfio_user_server_set_rules(rig->server, rules);
    vfio_user_server_forget(rig->server);
    write_both(bell, rig->dev->msix_table_bar.addr + rig->dev->msix_table_off +
                     VECTOR * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL,
               0);
}

static const VFIOUserRule holds_arming[] = {
    { ON(VFIO_USER_DEVICE_SET_IRQS, AT(MSIX)), DO_HOLD },
    { }
};

static void test_arming(const void *opaque)
{
    const Row *row = opaque;
    g_auto(Bell) bell = { };
    VFIOUserRig *rig;

    if (!order_bell_begin(&bell, row->path, row->accel, row->more, 0)) {
        return;
    }
    rig = bell.rig;
    unmask_and_ring(&bell, holds_arming);
    vfio_user_server_see(rig->server, VFIO_USER_DEVICE_SET_IRQS, AT(MSIX));
    g_assert_false(rings_within(&bell, RING_MS));

    vfio_user_server_set_rules(rig->server, NULL);
    vfio_user_server_release(rig->server);
    vfio_user_mailbox_wait(rig);
    g_assert_true(has_rung(&bell));
    g_assert_true(vfio_user_irq_armed(rig, MSIX, VECTOR));
    qpci_msix_disable(rig->dev);
}

/* The VM waits together with the vCPU, for one timeout only. */
static void test_arming_never_answered(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_DEVICE_SET_IRQS, AT(MSIX)), DO_DROP },
        { }
    };
    g_auto(Bell) bell = { };
    VFIOUserRig *rig;

    order_bell_begin(&bell, BY_EVENTFD, "tcg", "", TIMEOUT_MS);
    rig = bell.rig;
    unmask_and_ring(&bell, rules);
    vfio_user_mailbox_wait(rig);
    g_assert_cmphex(vfio_user_mailbox_read(rig, rig->bar[2].addr), ==,
                    UINT32_MAX);
    g_assert_false(has_rung(&bell));
    vfio_user_rig_ping(rig);
}

static void add(const char *what, const char *name, const void *row,
                void (*test)(const void *))
{
    g_autofree char *path = g_strdup_printf("/vfio-user/order/%s/%s", what,
                                            name);

    qtest_add_data_func(path, row, test);
}

void vfio_user_add_order_tests(void)
{
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        add("write", rows[i].name, &rows[i], test_order);
        add("arming", rows[i].name, &rows[i], test_arming);
    }
    for (i = 0; i < ARRAY_SIZE(postings); i++) {
        add("posting", postings[i].name, &postings[i], test_posting);
    }
    qtest_add_func("/vfio-user/order/arming/never-answered",
                   test_arming_never_answered);
}
