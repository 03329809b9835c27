/*
 * qtest of the vfio-user client: ioeventfds
 *
 * Two tables: valid replies with the resulting destination of writes, and
 * invalid replies.  Separate tests cover shadow memory, full counters and
 * disconnects.  The benchmark tests whether KVM uses the ioeventfds, because
 * it has guests.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "qobject/qdict.h"
#include "vfio-user-rig.h"
#include "vfio-user-slow-file.h"
#include "vfio-user-tests.h"

#define FDS 3
#define ENTRIES 4
#define WRITES 6

#define IO_FDS(...) ON(VFIO_USER_DEVICE_GET_REGION_IO_FDS, __VA_ARGS__)
#define MATCH VFIO_USER_IO_FD_DATAMATCH
#define PIO VFIO_USER_IO_FD_PIO
#define SHADOW VFIO_USER_IO_FD_SHADOW

/* The type of a descriptor in the reply. */
typedef enum Kind {
    NONE,
    EVENTFD,
    BLOCKING_EVENTFD,
    MEMORY,                     /* one page */
    READ_ONLY_MEMORY,
    PIPE,
    NOTHING,                    /* /dev/null */
} Kind;

typedef struct Write {
    uint64_t offset;
    unsigned size;              /* 0: no more writes */
    int fd;                     /* index of the signaled fd, or MESSAGE */
    uint64_t value;
} Write;

#define MESSAGE -1

typedef struct Row {
    const char *name;
    unsigned region;            /* BAR 0, 1 or 2 */
    size_t stride;              /* bytes of an entry; 0: 40 */
    Kind kinds[FDS];
    VFIOUserIOFd entries[ENTRIES];      /* zero-terminated */
    Write writes[WRITES];
} Row;

/* A server with such a reply, and its device. */
typedef struct Bell {
    VFIOUserRig *rig;
    unsigned region;
    int fds[FDS];
    GByteArray *payload;
    VFIOUserRule rules[FDS + 3];
} Bell;

static int make_fd(Kind kind)
{
    g_autofree char *path = NULL;
    int fd, pair[2];

    switch (kind) {
    case EVENTFD:
        return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    case BLOCKING_EVENTFD:
        return eventfd(0, EFD_CLOEXEC);
    case PIPE:
        g_assert_cmpint(pipe2(pair, O_CLOEXEC), ==, 0);
        close(pair[0]);
        return pair[1];
    case NOTHING:
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    case NONE:
        return -1;
    default:
        break;
    }
    fd = memfd_create("shadow", MFD_CLOEXEC);
    g_assert_cmpint(ftruncate(fd, 4096), ==, 0);
    if (kind == READ_ONLY_MEMORY) {
        int writable = fd;

        path = g_strdup_printf("/proc/self/fd/%d", fd);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        close(writable);
    }
    return fd;
}

static unsigned count_entries(const Row *row)
{
    unsigned n = 0;

    while (n < ENTRIES && (row->entries[n].offset || row->entries[n].size)) {
        n++;
    }
    return n;
}

/* A 40-byte entry has the datamatch at the offset of shadow_offset. */
static void put_entry(GByteArray *payload, VFIOUserIOFd entry, size_t stride)
{
    uint8_t bytes[64] = { };

    if (stride < sizeof(entry)) {
        entry.shadow_offset = entry.datamatch;
    }
    memcpy(bytes, &entry, MIN(stride, sizeof(entry)));
    g_byte_array_append(payload, bytes, stride);
}

static void ioeventfd_bell_init(Bell *bell, const Row *row)
{
    size_t stride = row->stride ?: VFIO_USER_IO_FD_SHORT;
    unsigned count = count_entries(row), i, n = 0;
    VFIOUserRegionIOFds head = {
        sizeof(head) + count * stride, 0, row->region, count
    };
    VFIOUserWhen when = IO_FDS(AT(row->region));

    *bell = (Bell) {
        .region = row->region,
        .payload = g_byte_array_new(),
    };
    g_byte_array_append(bell->payload, (void *)&head, sizeof(head));
    for (i = 0; i < count; i++) {
        put_entry(bell->payload, row->entries[i], stride);
    }
    bell->rules[n++] = (VFIOUserRule) {
        when, DO_PAYLOAD, 0, { bell->payload->data, bell->payload->len }
    };
    for (i = 0; i < FDS; i++) {
        bell->fds[i] = make_fd(row->kinds[i]);
        if (row->kinds[i]) {
            g_assert_cmpint(bell->fds[i], >=, 0);
            bell->rules[n++] = (VFIOUserRule) { when, DO_PASS, bell->fds[i] };
        }
    }
    bell->rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL, bell->rules);
}

static void ioeventfd_bell_begin(Bell *bell, const Row *row)
{
    ioeventfd_bell_init(bell, row);
    vfio_user_rig_plug(bell->rig, 0);
}

static void ioeventfd_bell_end(Bell *bell)
{
    unsigned i;

    vfio_user_rig_end(bell->rig);
    for (i = 0; i < FDS; i++) {
        if (bell->fds[i] >= 0) {
            close(bell->fds[i]);
        }
    }
    g_byte_array_unref(bell->payload);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Bell, ioeventfd_bell_end)

/* Returns how often an eventfd was signaled since the last call. */
static uint64_t bell_signals(int fd)
{
    uint64_t count = 0;

    g_assert(read(fd, &count, sizeof(count)) == sizeof(count) ||
             errno == EAGAIN);
    return count;
}

static void bell_write(Bell *bell, const Write *write)
{
    QPCIBar bar = bell->rig->bar[bell->region];
    QPCIDevice *dev = bell->rig->dev;

    switch (write->size) {
    case 1:
        qpci_io_writeb(dev, bar, write->offset, write->value);
        break;
    case 2:
        qpci_io_writew(dev, bar, write->offset, write->value);
        break;
    case 4:
        qpci_io_writel(dev, bar, write->offset, write->value);
        break;
    case 8:
        qpci_io_writeq(dev, bar, write->offset, write->value);
        break;
    }
}

/* Returns how many writes were sent as messages; waits for them. */
static unsigned bell_messages(Bell *bell)
{
    qpci_io_readb(bell->rig->dev, bell->rig->bar[bell->region], 0);
    return vfio_user_server_saw(bell->rig->server, VFIO_USER_REGION_WRITE,
                                AT(bell->region));
}

static void check_write(Bell *bell, const Row *row, const Write *write)
{
    unsigned i;

    g_test_message("%u bytes at 0x%" PRIx64 ": 0x%" PRIx64, write->size,
                   write->offset, write->value);
    vfio_user_server_forget(bell->rig->server);
    bell_write(bell, write);
    g_assert_cmpuint(bell_messages(bell), ==, write->fd == MESSAGE);
    for (i = 0; i < FDS; i++) {
        if (row->kinds[i] == EVENTFD) {
            g_assert_cmpuint(bell_signals(bell->fds[i]), ==, write->fd == i);
        }
    }
}

static void test_row(const void *opaque)
{
    const Row *row = opaque;
    g_auto(Bell) bell;
    unsigned i;

    ioeventfd_bell_begin(&bell, row);
    for (i = 0; i < WRITES && row->writes[i].size; i++) {
        check_write(&bell, row, &row->writes[i]);
    }
    vfio_user_rig_ping(bell.rig);
}

static const Row rows[] = {
    { "plain", 0, 0, { EVENTFD }, { { 0x100, 4 } },
      { { 0x100, 4, 0, 7 }, { 0x100, 4, 0, 0 }, { 0x100, 2, MESSAGE, 7 },
        { 0x100, 1, MESSAGE, 7 }, { 0x104, 4, MESSAGE, 7 },
        { 0x102, 2, MESSAGE, 7 } } },
    { "any-size", 0, 0, { EVENTFD }, { { 0x100, 0 } },
      { { 0x100, 1, 0, 1 }, { 0x100, 2, 0, 1 }, { 0x100, 4, 0, 1 },
        { 0x100, 8, 0, 1 }, { 0x101, 1, MESSAGE, 1 } } },
    { "datamatch", 0, 0, { EVENTFD, EVENTFD },
      { { 0x100, 4, 0, 0, MATCH, .datamatch = 5 },
        { 0x100, 4, 1, 0, MATCH, .datamatch = 6 } },
      { { 0x100, 4, 0, 5 }, { 0x100, 4, 1, 6 }, { 0x100, 4, MESSAGE, 7 },
        { 0x100, 2, MESSAGE, 5 } } },
    { "datamatch-0", 0, 0, { EVENTFD }, { { 0x100, 2, 0, 0, MATCH } },
      { { 0x100, 2, 0, 0 }, { 0x100, 2, MESSAGE, 1 } } },
    { "datamatch-of-8-bytes", 2, 0, { EVENTFD },
      { { 0x100, 8, 0, 0, MATCH, .datamatch = 0x100000005 } },
      { { 0x100, 8, 0, 0x100000005 }, { 0x100, 8, MESSAGE, 5 } } },
    { "datamatch-not-asked-for", 0, 0, { EVENTFD },
      { { 0x100, 2, .datamatch = 5 } },
      { { 0x100, 2, 0, 5 }, { 0x100, 2, 0, 6 } } },
    { "entries-of-48-bytes", 0, 48, { EVENTFD, EVENTFD },
      { { 0x100, 4, 0, 0, MATCH, .datamatch = 5 }, { 0x200, 4, 1 } },
      { { 0x100, 4, 0, 5 }, { 0x100, 4, MESSAGE, 6 }, { 0x200, 4, 1, 9 } } },
    { "entries-of-0.9.1-made-48-bytes", 0, 48, { EVENTFD },
      { { 0x100, 4, 0, 0, MATCH, .shadow_offset = 5 } },
      { { 0x100, 4, 0, 5 }, { 0x100, 4, MESSAGE, 6 } } },
    { "entries-of-64-bytes", 0, 64, { EVENTFD, EVENTFD },
      { { 0x100, 4, 0, 0, MATCH, .datamatch = 5 }, { 0x200, 4, 1 } },
      { { 0x100, 4, 0, 5 }, { 0x100, 4, MESSAGE, 6 }, { 0x200, 4, 1, 9 } } },
    { "shared-descriptor", 0, 0, { EVENTFD, EVENTFD },
      { { 0x104, 4, 1 }, { 0x100, 4, 1 }, { 0x10, 2, 1 } },
      { { 0x100, 4, 1, 1 }, { 0x104, 4, 1, 1 }, { 0x10, 2, 1, 1 } } },
    { "two-sizes", 0, 0, { EVENTFD, EVENTFD },
      { { 0x100, 4, 0 }, { 0x100, 2, 1 } },
      { { 0x100, 4, 0, 1 }, { 0x100, 2, 1, 1 }, { 0x100, 1, MESSAGE, 1 } } },
    { "last-byte", 0, 0, { EVENTFD }, { { 4095, 1 } },
      { { 4095, 1, 0, 1 } } },
    { "ports", 1, 0, { EVENTFD }, { { 0x10, 2, .flags = PIO } },
      { { 0x10, 2, 0, 1 }, { 0x10, 4, MESSAGE, 1 } } },
    { "ioregionfd", 0, 0, { EVENTFD, PIPE },
      { { 0x100, 4, 1, VFIO_USER_IO_FD_IOREGIONFD, 2 }, { 0x200, 4 } },
      { { 0x100, 4, MESSAGE, 1 }, { 0x200, 4, 0, 1 } } },
    { "none", 0, 0, { EVENTFD }, { }, { { 0x100, 4, MESSAGE, 1 } } },
};

/* The entry at 0x10 is invalid; the one at 0x20 is valid and stays in use. */
#define INVALID(name, region, stride, kinds, ...)                           \
    { name, region, stride, { EVENTFD, kinds }, { __VA_ARGS__,          \
        { 0x20, 4, .flags = (region) == 1 ? PIO : 0 } },                \
      { { 0x10, 4, MESSAGE, 5 }, { 0x20, 4, 0, 5 } } }

static const Row invalid_rows[] = {
    INVALID("outside", 0, 0, NONE, { 4096, 1 }),
    INVALID("outside-without-size", 0, 0, NONE, { 4096, 0 }),
    INVALID("far-outside", 0, 0, NONE, { UINT64_MAX, 4 }),
    INVALID("across-end", 0, 0, NONE, { 4094, 4 }),
    INVALID("size-3", 0, 0, NONE, { 0x10, 3 }),
    INVALID("size-16", 0, 0, NONE, { 0x10, 16 }),
    INVALID("size-of-16-exbibytes", 0, 0, NONE, { 0x10, UINT64_MAX }),
    INVALID("size-of-4-gib-and-4", 0, 0, NONE, { 0x10, 4 * GiB + 4 }),
    INVALID("descriptor-beyond", 0, 0, NONE, { 0x10, 4, 1 }),
    INVALID("descriptor-far-beyond", 0, 0, NONE, { 0x10, 4, UINT32_MAX }),
    INVALID("unknown-type", 0, 0, NONE, { 0x10, 4, 0, 3 }),
    INVALID("deassign", 0, 0, NONE, { 0x10, 4, 0, 0, 1 << 2 }),
    INVALID("virtio-ccw", 0, 0, NONE, { 0x10, 4, 0, 0, 1 << 3 }),
    INVALID("unknown-flag", 0, 0, NONE, { 0x10, 4, 0, 0, 1u << 31 }),
    INVALID("ports-in-memory", 0, 0, NONE, { 0x10, 4, 0, 0, PIO }),
    INVALID("memory-in-ports", 1, 0, NONE, { 0x10, 4 }),
    INVALID("datamatch-without-size", 0, 0, NONE,
            { 0x10, 0, 0, 0, MATCH, .datamatch = 5 }),
    INVALID("datamatch-larger-than-size", 0, 0, NONE,
            { 0x10, 4, 0, 0, MATCH, .datamatch = 0x100000005 }),
    INVALID("twice", 0, 0, EVENTFD, { 0x10, 4 }, { 0x10, 4, 1 }),
    INVALID("twice-the-same", 0, 0, NONE, { 0x10, 4 }, { 0x10, 4 }),
    INVALID("thrice", 0, 0, NONE, { 0x10, 4 }, { 0x10, 4 }, { 0x10, 4 }),
    INVALID("any-size-and-some", 0, 0, EVENTFD, { 0x10, 0 }, { 0x10, 4, 1 }),
    INVALID("any-value-and-one", 0, 0, EVENTFD, { 0x10, 4 },
            { 0x10, 4, 1, 0, MATCH, .datamatch = 5 }),
    INVALID("one-value-twice", 0, 0, EVENTFD,
            { 0x10, 4, 0, 0, MATCH, .datamatch = 5 },
            { 0x10, 4, 1, 0, MATCH, .datamatch = 5 }),
    INVALID("eventfd-is-memory", 0, 0, MEMORY, { 0x10, 4, 1 }),
    INVALID("eventfd-is-pipe", 0, 0, PIPE, { 0x10, 4, 1 }),
    INVALID("eventfd-is-nothing", 0, 0, NOTHING, { 0x10, 4, 1 }),
    INVALID("shadow-in-40-bytes", 0, 40, MEMORY, { 0x10, 4, 0, SHADOW, 0, 1 }),
    INVALID("shadow-descriptor-beyond", 0, 48, MEMORY,
            { 0x10, 4, 0, SHADOW, 0, 2 }),
    INVALID("shadow-unaligned", 0, 48, MEMORY,
            { 0x10, 4, 0, SHADOW, 0, 1, .shadow_offset = 2 }),
    INVALID("shadow-beyond-memory", 0, 48, MEMORY,
            { 0x10, 4, 0, SHADOW, 0, 1, .shadow_offset = 4096 }),
    INVALID("shadow-far-beyond-memory", 0, 48, MEMORY,
            { 0x10, 4, 0, SHADOW, 0, 1, .shadow_offset = 1ULL << 63 }),
    INVALID("shadow-is-eventfd", 0, 48, EVENTFD, { 0x10, 4, 0, SHADOW, 0, 1 }),
    INVALID("shadow-is-nothing", 0, 48, NOTHING, { 0x10, 4, 0, SHADOW, 0, 1 }),
    INVALID("shadow-is-pipe", 0, 48, PIPE, { 0x10, 4, 0, SHADOW, 0, 1 }),
    INVALID("shadow-is-read-only", 0, 48, READ_ONLY_MEMORY,
            { 0x10, 4, 0, SHADOW, 0, 1 }),
};

/* Malformed replies fail the device. */

static const struct Malformed {
    const char *name;
    VFIOUserRule rule;
} malformed[] = {
    { "another-region", { IO_FDS(AT(0)), DO_PATCH, 8, BYTES(2) } },
    { "flags", { IO_FDS(AT(0)), DO_PATCH, 4, BYTES(1) } },
    { "count-of-4-gi", {
        IO_FDS(AT(0)), DO_PATCH, 12, BYTES(0xff, 0xff, 0xff, 0xff) } },
    { "one-more", { IO_FDS(AT(0)), DO_PATCH, 12, BYTES(3) } },
    { "count-but-no-entries", { IO_FDS(AT(0)), DO_LENGTH, 16 } },
    { "entries-of-32-bytes", { IO_FDS(AT(0)), DO_LENGTH, 16 + 2 * 32 } },
    { "entries-of-44-bytes", { IO_FDS(AT(0)), DO_LENGTH, 16 + 2 * 44 } },
    { "half-an-entry", { IO_FDS(AT(0)), DO_LENGTH, 16 + 2 * 40 + 7 } },
    { "argsz-of-4-gib", {
        IO_FDS(AT(0)), DO_PATCH, 0, BYTES(0xff, 0xff, 0xff, 0xff) } },
};

static const Row two_entries = {
    "two", 0, 0, { EVENTFD }, { { 0x10, 4 }, { 0x20, 4 } },
};

static void test_malformed(const void *opaque)
{
    const struct Malformed *row = opaque;
    VFIOUserRule rules[ARRAY_SIZE(((Bell *)0)->rules) + 1];
    g_autofree char *message = NULL;
    g_auto(Bell) bell;

    ioeventfd_bell_init(&bell, &two_entries);
    memcpy(rules, bell.rules, sizeof(bell.rules));
    rules[2] = row->rule;       /* after DO_PAYLOAD and DO_PASS */
    rules[3] = (VFIOUserRule) { };
    vfio_user_server_set_rules(bell.rig->server, rules);
    message = vfio_user_rig_try_plug(bell.rig, 0);
    g_test_message("%s", message);
    g_assert_nonnull(message);
    g_assert_nonnull(strstr(message, vfio_user_server_path(bell.rig->server)));
    g_assert_nonnull(strstr(message, "DEVICE_GET_REGION_IO_FDS"));
    g_assert_null(strchr(message, '\n'));
    vfio_user_rig_ping(bell.rig);
}

static const VFIOUserRule growing_argsz[] = {
    { IO_FDS(AT(0), .nth = 1), DO_PATCH, 0, BYTES(0x00, 0x20, 0, 0) },
    { IO_FDS(AT(0), .nth = 2), DO_PATCH, 0, BYTES(0x01, 0x20, 0, 0) },
    { }
};

/* A server whose argsz grows each time is not queried forever. */
static void test_growing_argsz(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     growing_argsz);
    g_autofree char *message = vfio_user_rig_try_plug(rig, 0);

    g_assert_nonnull(message);
    g_assert_nonnull(strstr(message, "more with every query"));
    g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                          VFIO_USER_DEVICE_GET_REGION_IO_FDS,
                                          AT(0)), ==, 2);
}

/* More entries than fit into the first reply: the client queries again. */
static void test_many(void)
{
    const unsigned count = 400;
    static const Row row = { "many", 0, 0, { EVENTFD } };
    const VFIOUserRegionIOFds head = {
        sizeof(head) + count * VFIO_USER_IO_FD_SHORT, 0, 0, count
    };
    VFIOUserRule rules[] = {
        { IO_FDS(AT(0), .nth = 1), DO_PAYLOAD, 0, { &head, sizeof(head) } },
        { IO_FDS(AT(0), .nth = 2), DO_PAYLOAD },
        { IO_FDS(AT(0), .nth = 2), DO_PASS },
        { }
    };
    g_auto(Bell) bell;
    unsigned i;

    ioeventfd_bell_init(&bell, &row);
    g_byte_array_set_size(bell.payload, 0);
    g_byte_array_append(bell.payload, (void *)&head, sizeof(head));
    for (i = 0; i < count; i++) {
        put_entry(bell.payload, (VFIOUserIOFd) { 8 * ((i * 7) % count), 4 },
                  VFIO_USER_IO_FD_SHORT);
    }
    rules[1].data = (VFIOUserData) { bell.payload->data, bell.payload->len };
    rules[2].number = bell.fds[0];
    vfio_user_server_set_rules(bell.rig->server, rules);
    vfio_user_rig_plug(bell.rig, 0);
    vfio_user_server_forget(bell.rig->server);
    for (i = 0; i < count; i++) {
        qpci_io_writel(bell.rig->dev, bell.rig->bar[0], 8 * i, i);
    }
    g_assert_cmpuint(bell_messages(&bell), ==, 0);
    g_assert_cmpuint(bell_signals(bell.fds[0]), ==, count);
}

/* Shadow memory */

static void test_shadow(void)
{
    const Row row = {
        "shadow", 0, 48, { MEMORY, EVENTFD },
        { { 0x10, 4, 1, SHADOW, 0, 0, .shadow_offset = 0x104 },
          { 0x20, 0, 1, SHADOW, 0, 0, .shadow_offset = 0x208 },
          { 0x30, 2, 1, SHADOW, MATCH, 0, .shadow_offset = 0x302,
            .datamatch = 7 } },
    };
    const uint64_t value = 0x8877665544332211, other = 0xeeeeeeeeeeeeeeee;
    const uint16_t seven = 7;
    uint64_t expected;
    g_auto(Bell) bell;
    uint8_t *bytes;
    unsigned size;

    ioeventfd_bell_begin(&bell, &row);
    bytes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, bell.fds[0],
                 0);
    g_assert(bytes != MAP_FAILED);
    memset(bytes, 0xee, 4096);
    check_write(&bell, &row, &(Write) { 0x10, 4, 1, value });
    g_assert_cmpmem(bytes + 0x104, 4, &value, 4);
    g_assert_cmpmem(bytes + 0x100, 4, &other, 4);
    g_assert_cmpmem(bytes + 0x108, 8, &other, 8);
    for (size = 1; size <= 8; size *= 2) {
        memcpy(bytes + 0x208, &other, 8);
        check_write(&bell, &row, &(Write) { 0x20, size, 1, value });
        expected = other;
        memcpy(&expected, &value, size);
        g_assert_cmpmem(bytes + 0x208, 8, &expected, 8);
    }
    check_write(&bell, &row, &(Write) { 0x30, 2, MESSAGE, 8 });
    g_assert_cmpmem(bytes + 0x302, 2, &other, 2);
    check_write(&bell, &row, &(Write) { 0x30, 2, 1, 7 });
    g_assert_cmpmem(bytes + 0x302, 2, &seven, 2);
    munmap(bytes, 4096);
}

/*
 * The server truncates its memory: QEMU survives and sends the write as a
 * message.
 */
static void test_shadow_shrinks(void)
{
    const Row row = {
        "shrinks", 0, 48, { MEMORY, EVENTFD }, { { 0x10, 4, 1, SHADOW } },
    };
    g_auto(Bell) bell;

    ioeventfd_bell_begin(&bell, &row);
    check_write(&bell, &row, &(Write) { 0x10, 4, 1, 5 });
    g_assert_cmpint(ftruncate(bell.fds[0], 0), ==, 0);
    check_write(&bell, &row, &(Write) { 0x10, 4, MESSAGE, 5 });
    vfio_user_rig_ping(bell.rig);
}

/* Counters */

/* Writing to a full blocking eventfd must not block QEMU. */
static void test_full(void)
{
    const Row row = { "full", 0, 0, { BLOCKING_EVENTFD }, { { 0x10, 4 } } };
    const uint64_t full = UINT64_MAX - 1;
    g_auto(Bell) bell;
    unsigned i;

    ioeventfd_bell_begin(&bell, &row);
    g_assert_cmpint(write(bell.fds[0], &full, sizeof(full)), ==,
                    sizeof(full));
    for (i = 0; i < 3; i++) {
        bell_write(&bell, &(Write) { 0x10, 4, 0, 1 });
        vfio_user_rig_ping(bell.rig);
    }
    g_assert_cmpuint(bell_signals(bell.fds[0]), ==, UINT64_MAX);
    bell_write(&bell, &(Write) { 0x10, 4, 0, 1 });
    g_assert_cmpuint(bell_signals(bell.fds[0]), ==, 1);
}

/* More signals than the kernel has room for completion events. */
static void test_often(void)
{
    const Row row = { "often", 0, 0, { EVENTFD }, { { 0x10, 4 } } };
    const unsigned often = 3000;
    g_auto(Bell) bell;
    unsigned i;

    ioeventfd_bell_begin(&bell, &row);
    vfio_user_server_forget(bell.rig->server);
    for (i = 0; i < often; i++) {
        bell_write(&bell, &(Write) { 0x10, 4, 0, i });
    }
    g_assert_cmpuint(bell_messages(&bell), ==, 0);
    g_assert_cmpuint(bell_signals(bell.fds[0]), ==, often);
}

/* Lifetime */

static void test_plug_again(void)
{
    g_auto(Bell) bell;
    unsigned i;

    ioeventfd_bell_init(&bell, &rows[0]);
    for (i = 0; i < 5; i++) {
        vfio_user_rig_plug(bell.rig, 0);
        check_write(&bell, &rows[0], &rows[0].writes[0]);
        vfio_user_rig_unplug(bell.rig);
        vfio_user_server_wait_client(bell.rig->server, false);
    }
}

/* The monitor does not wait for a descriptor whose close() blocks. */
static void test_lingers(void)
{
    const Row row = { "lingers", 0, 0, { EVENTFD, NOTHING }, { { 0x10, 4 } } };
    int peer, fd = vfio_user_lingering_new(&peer);
    g_auto(Bell) bell;

    ioeventfd_bell_init(&bell, &row);
    g_assert_cmpint(dup3(fd, bell.fds[1], O_CLOEXEC), >=, 0);
    close(fd);
    vfio_user_rig_plug(bell.rig, 0);
    /* now QEMU has the last descriptor */
    close(bell.fds[1]);
    bell.fds[1] = -1;
    vfio_user_rig_unplug(bell.rig);
    vfio_user_rig_ping(bell.rig);
    close(peer);
}

/* Shadow memory whose fstat() blocks. */
static void test_shadow_never_answers(void)
{
    const Row row = {
        "never-answers", 0, sizeof(VFIOUserIOFd), { EVENTFD, NOTHING },
        { { 0x10, 4, .type = SHADOW, .shadow_fd_index = 1 } },
    };
    VFIOUserFuse *fuse;
    Bell bell;

    ioeventfd_bell_init(&bell, &row);
    fuse = vfio_user_fuse_new(qtest_pid(bell.rig->qts));
    if (fuse) {
        g_assert_cmpint(dup3(vfio_user_fuse_fd(fuse), bell.fds[1], O_CLOEXEC),
                        >=, 0);
        vfio_user_rig_plug(bell.rig, 0);
        check_write(&bell, &row, &(Write) { 0x10, 4, MESSAGE, 1 });
        vfio_user_fuse_wait(fuse);
        vfio_user_fuse_free(fuse);
    } else {
        g_test_skip("FUSE cannot be mounted here");
    }
    ioeventfd_bell_end(&bell);
}

static void test_reset(void)
{
    g_auto(Bell) bell;
    QDict *response;

    ioeventfd_bell_begin(&bell, &rows[0]);
    response = qtest_qmp(bell.rig->qts, "{'execute': 'system_reset'}");
    g_assert(qdict_haskey(response, "return"));
    qobject_unref(response);
    qtest_qmp_eventwait(bell.rig->qts, "RESET");
    vfio_user_server_see(bell.rig->server, VFIO_USER_DEVICE_RESET);

    bell.rig->bar[0] = qpci_iomap(bell.rig->dev, 0, NULL);
    qpci_device_enable(bell.rig->dev);
    check_write(&bell, &rows[0], &rows[0].writes[0]);
}

/* Writes to a dead device signal no ioeventfd. */
static void test_lost(void)
{
    g_auto(Bell) bell;

    ioeventfd_bell_begin(&bell, &rows[0]);
    vfio_user_server_hang_up(bell.rig->server);
    vfio_user_rig_wait(bell.rig,
                       qpci_io_readl(bell.rig->dev, bell.rig->bar[0], 0) ==
                       UINT32_MAX);
    bell_write(&bell, &rows[0].writes[0]);
    g_assert_cmpuint(bell_signals(bell.fds[0]), ==, 0);
    vfio_user_rig_ping(bell.rig);
}

/* Refused entries are reported in one line that names the socket. */
static void test_warning(void)
{
    g_autofree char *args = NULL, *text = NULL, *line = NULL;
    g_auto(Bell) bell;

    ioeventfd_bell_init(&bell, &invalid_rows[0]);
    args = g_strdup_printf(VFIO_USER_RIG_RAM
                           "-device vfio-user-pci,socket=%s"
                           " -device vfio-user-pci,socket=/none",
                           vfio_user_server_path(bell.rig->server));
    line = g_strdup_printf("warning: vfio-user %s: DEVICE_GET_REGION_IO_FDS:"
                           " region 0: 1 of 2 entries refused",
                           vfio_user_server_path(bell.rig->server));
    g_assert_cmpint(vfio_user_rig_run(args, &text), ==, 1);
    g_assert_nonnull(strstr(text, line));
    g_assert_null(strstr(strstr(text, line) + strlen(line), "refused"));
}

static void add(const char *what, const char *name, const void *row,
                void (*test)(const void *))
{
    g_autofree char *path = g_strdup_printf("/vfio-user/ioeventfd/%s/%s",
                                            what, name);

    qtest_add_data_func(path, row, test);
}

void vfio_user_add_ioeventfd_tests(void)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        add("entries", rows[i].name, &rows[i], test_row);
    }
    for (i = 0; i < ARRAY_SIZE(invalid_rows); i++) {
        add("lies", invalid_rows[i].name, &invalid_rows[i], test_row);
    }
    for (i = 0; i < ARRAY_SIZE(malformed); i++) {
        add("nonsense", malformed[i].name, &malformed[i], test_malformed);
    }
    qtest_add_func("/vfio-user/ioeventfd/nonsense/ever-more",
                   test_growing_argsz);
    qtest_add_func("/vfio-user/ioeventfd/many", test_many);
    qtest_add_func("/vfio-user/ioeventfd/shadow/stored", test_shadow);
    qtest_add_func("/vfio-user/ioeventfd/shadow/shrinks",
                   test_shadow_shrinks);
    qtest_add_func("/vfio-user/ioeventfd/full", test_full);
    qtest_add_func("/vfio-user/ioeventfd/often", test_often);
    qtest_add_func("/vfio-user/ioeventfd/plug-again", test_plug_again);
    qtest_add_func("/vfio-user/ioeventfd/lingers", test_lingers);
    qtest_add_func("/vfio-user/ioeventfd/shadow/never-answers",
                   test_shadow_never_answers);
    qtest_add_func("/vfio-user/ioeventfd/reset", test_reset);
    qtest_add_func("/vfio-user/ioeventfd/lost", test_lost);
    qtest_add_func("/vfio-user/ioeventfd/warning", test_warning);
}
