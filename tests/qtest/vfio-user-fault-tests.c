/*
 * Faulty vfio-user servers
 *
 * Three tables: faults while the device is realized, invalid config spaces and
 * regions, and faults during a register access.  All rows share the other
 * checks: QEMU survives, its monitor answers, and no descriptor or thread
 * leaks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

/*
 * Timeout for servers that do not answer; long enough for the messages before.
 */
#define SHORT_MS 600

#define ERROR_TYPE_0 VFIO_USER_ERROR
#define HEADER(command, size, flags) \
    STRUCT(VFIOUserHeader, 0x4d, command, size, flags)

typedef enum Outcome {
    REFUSED,                    /* one error message, and no device */
    ACCEPTED,
    EITHER,
} Outcome;

/* Faults while the device is realized */

typedef struct RealizeFault {
    const char *name;
    Outcome outcome;
    unsigned timeout_ms;
    VFIOUserRule rules[4];      /* the last is empty */
} RealizeFault;

#define VERSION ON(VFIO_USER_VERSION)
#define CONNECT ON(VFIO_USER_CONNECT)
/* Replies with version 0.1 and the given JSON. */
#define JSON(text) \
    { VERSION, DO_PAYLOAD, 0, TEXT("\0\0\1\0" text) }
#define CAPABILITY(text) JSON("{\"capabilities\":{" text "}}")

/* Filled by make_fault_data(). */
static char long_json[60 * KiB];
static char deep_json[60 * KiB];
static uint8_t ones[PCI_CONFIG_SPACE_SIZE];

static const RealizeFault handshake_faults[] = {
    /* not a vfio-user server */
    { "closes-at-once", REFUSED, 0, { { CONNECT, DO_CUT } } },
    { "speaks-http", REFUSED, 0, {
        { CONNECT, DO_SEND, 0, TEXT("HTTP/1.1 400 Bad Request\r\n\r\n") } } },
    { "speaks-qmp", REFUSED, 0, {
        { CONNECT, DO_SEND, 0, TEXT("{\"QMP\": {\"version\": {}}}\r\n") } } },
    { "says-nothing", REFUSED, SHORT_MS, { { VERSION, DO_DROP } } },
    { "request-before-version", REFUSED, 0, {
        { CONNECT, DO_ASK_ALSO, VFIO_USER_DMA_READ,
          STRUCT(VFIOUserDMARW, 0, 8) } } },

    { "error-type-0", REFUSED, 0, {
        { VERSION, DO_FAIL, EINVAL }, { VERSION, DO_FLAGS, ERROR_TYPE_0 } } },

    /* JSON and its contents */
    { "no-json", ACCEPTED, 0, { { VERSION, DO_LENGTH, 4 } } },
    { "json-without-nul", ACCEPTED, 0, {
        { VERSION, DO_PAYLOAD, 0, BYTES(0, 0, 1, 0, '{', '}') } } },
    { "json-of-60-kib", ACCEPTED, 0, {
        { VERSION, DO_PATCH, 4, { long_json, sizeof(long_json) } } } },
    { "json-nested-60000-deep", REFUSED, 0, {
        { VERSION, DO_PATCH, 4, { deep_json, sizeof(deep_json) } } } },
    { "json-is-garbage", REFUSED, 0, { JSON("{\"capab") } },
    { "json-is-array", REFUSED, 0, { JSON("[]") } },
    { "json-is-two", REFUSED, 0, { JSON("{} {}") } },
    { "json-is-latin-1", REFUSED, 0, {
        JSON("{\"\xe4\xf6\": 1}") } },
    { "json-is-format", REFUSED, 0, { JSON("{%p: %s}") } },
    { "capabilities-is-array", REFUSED, 0, {
        JSON("{\"capabilities\":[]}") } },
    { "max-msg-fds-is-string", REFUSED, 0, {
        CAPABILITY("\"max_msg_fds\":\"8\"") } },
    { "max-msg-fds-is-negative", REFUSED, 0, {
        CAPABILITY("\"max_msg_fds\":-1") } },
    { "max-msg-fds-is-1e300", REFUSED, 0, {
        CAPABILITY("\"max_msg_fds\":1e300") } },
    { "max-msg-fds-is-0", EITHER, 0, {
        CAPABILITY("\"max_msg_fds\":0") } },
    { "max-msg-fds-is-1", ACCEPTED, 0, {
        CAPABILITY("\"max_msg_fds\":1") } },
    { "max-msg-fds-is-huge", ACCEPTED, 0, {
        CAPABILITY("\"max_msg_fds\":18446744073709551615") } },
    { "max-data-xfer-size-is-0", REFUSED, 0, {
        CAPABILITY("\"max_data_xfer_size\":0") } },
    { "max-data-xfer-size-is-16", ACCEPTED, 0, {
        CAPABILITY("\"max_data_xfer_size\":16") } },
    { "max-data-xfer-size-is-huge", ACCEPTED, 0, {
        CAPABILITY("\"max_data_xfer_size\":18446744073709551615") } },
    { "max-dma-maps-is-0", REFUSED, 0, {
        CAPABILITY("\"max_dma_maps\":0") } },
    { "max-dma-maps-is-1", REFUSED, 0, {
        CAPABILITY("\"max_dma_maps\":1") } },
    { "pgsizes-is-0", REFUSED, 0, {
        CAPABILITY("\"pgsizes\":0") } },
    { "unknown-capability", ACCEPTED, 0, {
        CAPABILITY("\"warp\":[1,{}]") } },
    { "major-1", REFUSED, 0, { { VERSION, DO_PATCH, 0, BYTES(1) } } },
    { "minor-2", REFUSED, 0, { { VERSION, DO_PATCH, 2, BYTES(2) } } },
    { "minor-0", ACCEPTED, 0, { { VERSION, DO_PATCH, 2, BYTES(0) } } },
};

/*
 * Faults in the reply to any command.  A fault that fails the command but not
 * the connection makes realize fail only if the command is required.
 */
typedef struct ReplyFault {
    const char *name;
    enum {
        BREAKS_CONNECTION,
        FAILS_COMMAND,
        SENDS_DESCRIPTORS,      /* too many, if some are allowed */
    } harm;
    unsigned timeout_ms;
    VFIOUserRule rule;          /* "when" is not set */
    /* applies if the payload has at least this size */
    uint32_t min_size;
    bool cold;                  /* also tested from the command line */
} ReplyFault;

#define RULE(...) { { 0 }, __VA_ARGS__ }

static const ReplyFault reply_faults[] = {
    { "error", FAILS_COMMAND, 0, RULE(DO_FAIL, EIO), .cold = true },
    { "error-errno-0", FAILS_COMMAND, 0, RULE(DO_FAIL, 0) },
    { "error-errno-5000", FAILS_COMMAND, 0, RULE(DO_FAIL, 5000) },
    { "never", FAILS_COMMAND, SHORT_MS, RULE(DO_DROP) },
    { "wrong-id", FAILS_COMMAND, SHORT_MS, RULE(DO_ID, 1), .cold = true },
    { "empty", 0, 0, RULE(DO_LENGTH, 0), 1 },
    { "short", 0, 0, RULE(DO_LENGTH, 3), 4 },
    { "long", 0, 0, RULE(DO_LENGTH, 2 * MiB) },
    { "wrong-command", 0, 0, RULE(DO_COMMAND, VFIO_USER_DIRTY_PAGES),
      .cold = true },
    { "unknown-command", 0, 0, RULE(DO_COMMAND, 999) },
    { "unknown-type", 0, 0, RULE(DO_FLAGS, 7) },
    { "request-instead", 0, 0, RULE(DO_FLAGS, VFIO_USER_TYPE_COMMAND) },
    { "size-0", 0, 0, RULE(DO_SIZE, 0) },
    { "size-15", 0, 0, RULE(DO_SIZE, 15) },
    { "size-2-gib", 0, 0, RULE(DO_SIZE, 2 * GiB) },
    { "size-4-gib", 0, 0, RULE(DO_SIZE, UINT32_MAX) },
    { "17-descriptors", SENDS_DESCRIPTORS, 0, RULE(DO_FDS, 17) },
    { "253-descriptors", SENDS_DESCRIPTORS, 0, RULE(DO_FDS, 253) },
    { "end-instead", 0, 0, RULE(DO_CUT, 0), .cold = true },
    { "end-in-header", 0, 0, RULE(DO_CUT, 7) },
    { "end-in-payload", 0, 0, RULE(DO_CUT, 17), 2 },
};

static const struct {
    VFIOUserWhen when;
    const char *name;
    uint32_t size;              /* bytes of payload in a correct reply */
    bool dispensable;           /* realize continues after an error */
    bool takes_fds;             /* the reply may carry descriptors */
} realize_commands[] = {
    { ON(VFIO_USER_VERSION), "version", 4, .takes_fds = true },
    { ON(VFIO_USER_DMA_MAP), "dma-map", 0 },
    { ON(VFIO_USER_DEVICE_GET_INFO), "device-info", 16 },
    { ON(VFIO_USER_DEVICE_GET_REGION_INFO,
         AT(VFIO_PCI_BAR0_REGION_INDEX)), "bar-info", 32, .takes_fds = true },
    { ON(VFIO_USER_DEVICE_GET_REGION_INFO,
         AT(VFIO_PCI_CONFIG_REGION_INDEX)), "config-info", 32,
      .takes_fds = true },
    { ON(VFIO_USER_DEVICE_GET_REGION_IO_FDS), "io-fds", 16,
      .dispensable = true, .takes_fds = true },
    { ON(VFIO_USER_DEVICE_GET_IRQ_INFO), "irq-info", 16,
      .dispensable = true },
    { ON(VFIO_USER_REGION_READ,
         AT(VFIO_PCI_CONFIG_REGION_INDEX)), "config-read", 16 },
    { ON(VFIO_USER_DEVICE_SET_IRQS), "set-irqs", 0 },
};

/* Invalid config spaces and regions */

#define CONFIG(at, ...) \
    { CONNECT, DO_CONFIG, at, BYTES(__VA_ARGS__) }
#define REGION(index, field, value)                                     \
    { ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(index)), DO_PATCH,        \
      offsetof(VFIOUserRegionInfo, field),                              \
      STRUCT(typeof(((VFIOUserRegionInfo *)0)->field), value) }
#define DEVICE(field, value)                                            \
    { ON(VFIO_USER_DEVICE_GET_INFO), DO_PATCH,                          \
      offsetof(VFIOUserDeviceInfo, field), STRUCT(uint32_t, value) }
#define IRQ(field, value)                                               \
    { ON(VFIO_USER_DEVICE_GET_IRQ_INFO), DO_PATCH,                      \
      offsetof(VFIOUserIRQInfo, field), STRUCT(uint32_t, value) }

#define MSI VFIO_USER_MODEL_MSI
#define MSIX VFIO_USER_MODEL_MSIX

static const RealizeFault invalid_devices[] = {
    { "config-all-ones", REFUSED, 0, {
        { ON(VFIO_USER_REGION_READ, AT(VFIO_PCI_CONFIG_REGION_INDEX),
             .nth = 1), DO_PATCH, 16, { ones, sizeof(ones) } } } },
    { "header-of-bridge", REFUSED, 0, { CONFIG(PCI_HEADER_TYPE, 1) } },
    { "header-of-cardbus", REFUSED, 0, { CONFIG(PCI_HEADER_TYPE, 2) } },
    { "capability-loops-to-itself", REFUSED, 0, { CONFIG(MSI + 1, MSI) } },
    { "capability-loops-to-first", REFUSED, 0, { CONFIG(MSIX + 1, MSI) } },
    { "capability-in-header", REFUSED, 0, { CONFIG(MSIX + 1, 0x10) } },
    { "capability-at-end", REFUSED, 0, {
        CONFIG(MSIX + 1, 0xfc), CONFIG(0xfc, PCI_CAP_ID_EXP) } },
    { "capability-unaligned", EITHER, 0, { CONFIG(MSIX + 1, 0x8f) } },
    { "capability-unknown", ACCEPTED, 0, {
        CONFIG(MSIX + 1, 0x80), CONFIG(0x80, 0xee) } },
    { "msi-of-128-vectors", REFUSED, 0, { CONFIG(MSI + 2, 7 << 1) } },
    { "msix-table-outside-bar", REFUSED, 0, {
        CONFIG(MSIX + PCI_MSIX_TABLE, 4, 0x10) } },
    { "msix-table-across-end", REFUSED, 0, {
        CONFIG(MSIX + PCI_MSIX_TABLE, 4 | 0xf8, 0x0f) } },
    { "msix-table-far-outside", REFUSED, 0, {
        CONFIG(MSIX + PCI_MSIX_TABLE, 4, 0xff, 0xff, 0xff) } },
    { "msix-table-in-no-bar", REFUSED, 0, {
        CONFIG(MSIX + PCI_MSIX_TABLE, 5) } },
    { "msix-table-in-bar-7", REFUSED, 0, {
        CONFIG(MSIX + PCI_MSIX_TABLE, 7) } },
    { "msix-table-in-ports", REFUSED, 0, {
        CONFIG(MSIX + PCI_MSIX_TABLE, 1) } },
    { "msix-pba-outside-bar", REFUSED, 0, {
        CONFIG(MSIX + PCI_MSIX_PBA, 4, 0x10) } },
    { "msix-pba-over-table", REFUSED, 0, {
        CONFIG(MSIX + PCI_MSIX_PBA, 4, 0) } },
    { "msix-of-2048-vectors", REFUSED, 0, {
        CONFIG(MSIX + PCI_MSIX_FLAGS, 0xff, 0x07) } },
    { "interrupt-pin-200", EITHER, 0, { CONFIG(PCI_INTERRUPT_PIN, 200) } },

    { "bar-of-0x3000", ACCEPTED, 0, { REGION(0, size, 0x3000) } },
    { "bar-of-1-byte", EITHER, 0, { REGION(0, size, 1) } },
    { "bar-of-16-exbibytes", REFUSED, 0, { REGION(0, size, UINT64_MAX) } },
    { "bar-of-8-exbibytes", REFUSED, 0, { REGION(0, size, 1ULL << 63) } },
    { "bar-of-4-gib-in-32-bits", REFUSED, 0, {
        REGION(0, size, 4 * GiB) } },
    { "bar-of-64-kib-of-ports", EITHER, 0, { REGION(1, size, 64 * KiB) } },
    { "bar-over-upper-half", REFUSED, 0, { REGION(3, size, 4 * KiB) } },
    { "bar-answers-for-another", REFUSED, 0, { REGION(0, index, 5) } },
    { "bar-at-end-of-file", EITHER, 0, { REGION(0, offset, UINT64_MAX) } },
    { "bar-argsz-0", EITHER, 0, { REGION(0, argsz, 0) } },
    { "bar-argsz-4-gib", EITHER, 0, { REGION(0, argsz, UINT32_MAX) } },
    { "bar-argsz-always-more", EITHER, 0, {
        REGION(0, argsz, 4096), REGION(0, flags, 0xf) } },
    { "bar-capability-outside", EITHER, 0, {
        REGION(0, flags, 0xf), REGION(0, cap_offset, 0x7fffffff) } },
    { "bar-capability-loops", EITHER, 0, {
        REGION(0, flags, 0xb),
        { ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(0)), DO_PATCH, 12,
          BYTES(32, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0, 0, 0, 0, 77, 0, 1, 0, 32, 0, 0, 0) },
        REGION(0, argsz, 40) } },

    { "rom-of-1-tebibyte", EITHER, 0, {
        REGION(VFIO_PCI_ROM_REGION_INDEX, size, 1ULL << 40) } },
    { "rom-of-16-exbibytes", EITHER, 0, {
        REGION(VFIO_PCI_ROM_REGION_INDEX, size, UINT64_MAX) } },
    { "rom-of-nothing", EITHER, 0, {
        REGION(VFIO_PCI_ROM_REGION_INDEX, size, 0) } },

    { "config-of-0-bytes", REFUSED, 0, {
        REGION(VFIO_PCI_CONFIG_REGION_INDEX, size, 0) } },
    { "config-of-100-bytes", REFUSED, 0, {
        REGION(VFIO_PCI_CONFIG_REGION_INDEX, size, 100) } },
    { "config-of-1-tebibyte", REFUSED, 0, {
        REGION(VFIO_PCI_CONFIG_REGION_INDEX, size, 1ULL << 40) } },
    { "config-of-4096-missing", REFUSED, 0, {
        REGION(VFIO_PCI_CONFIG_REGION_INDEX, size, 4096) } },

    { "device-is-not-pci", REFUSED, 0, { DEVICE(flags, 1) } },
    { "device-cannot-reset", ACCEPTED, 0, {
        DEVICE(flags, VFIO_DEVICE_FLAGS_PCI) } },
    { "device-of-0-regions", REFUSED, 0, { DEVICE(num_regions, 0) } },
    { "device-of-4-gi-regions", EITHER, 0, {
        DEVICE(num_regions, UINT32_MAX) } },
    { "device-of-0-irqs", REFUSED, 0, { DEVICE(num_irqs, 0) } },
    { "device-of-4-gi-irqs", ACCEPTED, 0, { DEVICE(num_irqs, UINT32_MAX) } },
    { "irq-of-4-gi-vectors", EITHER, 0, { IRQ(count, UINT32_MAX) } },
    { "irq-answers-for-another", EITHER, 0, { IRQ(index, 77) } },
};

/* Reads the whole option ROM, as firmware does. */
static void fault_read_rom(VFIOUserRig *rig)
{
    const uint32_t where = 0xd0000000;
    uint32_t mask;

    qpci_config_writel(rig->dev, PCI_ROM_ADDRESS, 0xfffff800);
    mask = qpci_config_readl(rig->dev, PCI_ROM_ADDRESS);
    if (mask) {
        qpci_config_writel(rig->dev, PCI_ROM_ADDRESS,
                           where | PCI_ROM_ADDRESS_ENABLE);
        qtest_readl(rig->qts, where);
        qtest_readl(rig->qts, where + 2 * KiB - 4);
    }
}

/* Checks that the message is one line and names the socket. */
static void check_message(const VFIOUserRig *rig, const char *message)
{
    g_test_message("%s", message);
    g_assert_nonnull(strstr(message, vfio_user_server_path(rig->server)));
    g_assert_null(strchr(message, '\n'));
}

static void test_realize(const void *opaque)
{
    const RealizeFault *fault = opaque;
    g_autoptr(VFIOUserRig) rig =
        vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL, fault->rules);
    g_autofree char *message = vfio_user_rig_try_plug(rig, fault->timeout_ms);

    if (message) {
        check_message(rig, message);
    } else if (rig->dev) {
        qpci_device_enable(rig->dev);
        fault_read_rom(rig);
    }
    g_assert(message || fault->outcome != REFUSED);
    g_assert(!message || fault->outcome != ACCEPTED);
    vfio_user_rig_ping(rig);
}

/* The same from the command line: one line on stderr, and exit status 1. */
static void test_realize_cold(const void *opaque)
{
    const RealizeFault *fault = opaque;
    g_autoptr(VFIOUserServer) server = vfio_user_server_new(NULL,
                                                            fault->rules);
    g_autofree char *args =
        g_strdup_printf(VFIO_USER_RIG_RAM
                        "-device vfio-user-pci,socket=%s,x-timeout-ms=%u",
                        vfio_user_server_path(server),
                        fault->timeout_ms ?: 20000);
    g_autofree char *text = NULL;
    g_autofree char *name = g_strdup_printf("vfio-user %s: ",
                                            vfio_user_server_path(server));

    g_assert_cmpint(vfio_user_rig_run(args, &text), ==, 1);
    g_assert_nonnull(strstr(text, name));
    g_assert_cmpuint(vfio_user_rig_lines(text), ==, 1);
}

/* Faults during a register access */

typedef enum Reads {
    VALUE,                      /* value of the register */
    ONES,
    ANYTHING,
} Reads;

typedef struct AccessFault {
    const char *name;
    Reads first;                /* result of the faulty access */
    /* result afterwards: VALUE if the device works */
    Reads then;
    unsigned timeout_ms;
    VFIOUserRule rules[4];      /* the last is empty */
} AccessFault;

#define REGISTER 0x10
#define OTHER_REGISTER 0x20
#define READ ON(VFIO_USER_REGION_READ, AT_OFFSET(0, REGISTER), .nth = 1)
#define WRITE ON(VFIO_USER_REGION_WRITE, AT_OFFSET(0, OTHER_REGISTER))
#define DMA(address, count) STRUCT(VFIOUserDMARW, address, count)

static const AccessFault access_faults[] = {
    { "none", VALUE, VALUE },

    /* error replies */
    { "error", ONES, VALUE, 0, { { READ, DO_FAIL, EIO } } },
    { "error-errno-0", ONES, VALUE, 0, { { READ, DO_FAIL, 0 } } },
    { "error-errno-5000", ONES, VALUE, 0, { { READ, DO_FAIL, 5000 } } },
    { "error-type-0", ONES, VALUE, 0, {
        { READ, DO_FAIL, EIO }, { READ, DO_FLAGS, ERROR_TYPE_0 } } },
    { "error-with-payload", ONES, VALUE, 0, {
        { READ, DO_FAIL, EIO }, { READ, DO_LENGTH, 20 } } },

    /* missing, late and split replies: the main loop waits only once */
    { "never", ONES, ONES, SHORT_MS, { { READ, DO_DROP } } },
    { "late", ONES, ONES, SHORT_MS, { { READ, DO_HOLD } } },
    { "late-and-error", ONES, ONES, SHORT_MS, {
        { READ, DO_HOLD }, { READ, DO_FAIL, EIO } } },
    { "late-and-twice", ONES, ONES, SHORT_MS, {
        { READ, DO_HOLD }, { READ, DO_REPEAT, 1 } } },
    { "wrong-id", ONES, ONES, SHORT_MS, { { READ, DO_ID, 1 } } },
    { "wrong-id-0x8000", ONES, ONES, SHORT_MS, { { READ, DO_ID, 0x8000 } } },
    { "twice", VALUE, VALUE, 0, { { READ, DO_REPEAT, 1 } } },
    { "unmatched-first", VALUE, VALUE, 0, {
        { READ, DO_SEND, 0, HEADER(VFIO_USER_DEVICE_RESET, 16, 1) } } },
    { "byte-by-byte", VALUE, VALUE, 0, { { READ, DO_SPLIT, 1 } } },
    { "3-bytes-at-a-time", VALUE, VALUE, 0, { { READ, DO_SPLIT, 3 } } },

    /* wrong size */
    { "data-short", ONES, VALUE, 0, { { READ, DO_LENGTH, 19 } } },
    { "data-missing", ONES, VALUE, 0, { { READ, DO_LENGTH, 16 } } },
    { "data-long", ONES, ONES, 0, { { READ, DO_LENGTH, 21 } } },
    { "data-of-2-mib", ONES, ONES, 0, { { READ, DO_LENGTH, 2 * MiB } } },
    { "head-short", ONES, ONES, 0, { { READ, DO_LENGTH, 15 } } },
    { "head-missing", ONES, ONES, 0, { { READ, DO_LENGTH, 0 } } },
    { "size-0", ONES, ONES, 0, { { READ, DO_SIZE, 0 } } },
    { "size-15", ONES, ONES, 0, { { READ, DO_SIZE, 15 } } },
    { "size-4-gib", ONES, ONES, 0, { { READ, DO_SIZE, UINT32_MAX } } },

    /* wrong contents */
    { "wrong-command", ONES, ONES, 0, {
        { READ, DO_COMMAND, VFIO_USER_REGION_WRITE } } },
    { "unknown-command", ONES, ONES, 0, { { READ, DO_COMMAND, 0 } } },
    { "unknown-type", ONES, ONES, 0, { { READ, DO_FLAGS, 0xf } } },
    { "wrong-region", ONES, VALUE, 0, { { READ, DO_PATCH, 8, BYTES(1) } } },
    { "wrong-offset", ONES, VALUE, 0, { { READ, DO_PATCH, 0, BYTES(1) } } },
    { "count-0", ONES, VALUE, 0, { { READ, DO_PATCH, 12, BYTES(0) } } },
    { "count-4-gib", ONES, VALUE, 0, {
        { READ, DO_PATCH, 12, BYTES(0xff, 0xff, 0xff, 0xff) } } },
    { "half-of-the-data", VALUE, VALUE, 0, {
        { READ, DO_PATCH, 12, BYTES(2) }, { READ, DO_LENGTH, 18 } } },

    /* descriptors */
    { "1-descriptor", ONES, ONES, 0, { { READ, DO_FDS, 1 } } },
    { "16-descriptors", ONES, ONES, 0, { { READ, DO_FDS, 16 } } },
    { "253-descriptors", ONES, ONES, 0, { { READ, DO_FDS, 253 } } },

    /* the server disconnects */
    { "death-in-call", ONES, ONES, 0, { { READ, DO_CUT, 0 } } },
    { "death-in-header", ONES, ONES, 0, { { READ, DO_CUT, 7 } } },
    { "death-after-header", ONES, ONES, 0, { { READ, DO_CUT, 16 } } },
    { "death-in-payload", ONES, ONES, 0, { { READ, DO_CUT, 18 } } },

    /* the server sends requests before it answers */
    { "dma-read-in-call", VALUE, VALUE, 0, {
        { READ, DO_ASK, VFIO_USER_DMA_READ, DMA(0x1000, 64) } } },
    { "dma-twice-in-call", VALUE, VALUE, 0, {
        { READ, DO_ASK, VFIO_USER_DMA_READ, DMA(0x1000, 64) },
        { READ, DO_ASK, VFIO_USER_DMA_READ, DMA(0x2000, 64) } } },
    { "dma-unmapped-in-call", VALUE, VALUE, 0, {
        { READ, DO_ASK, VFIO_USER_DMA_READ, DMA(1ULL << 40, 64) } } },
    { "dma-wraps-in-call", VALUE, VALUE, 0, {
        { READ, DO_ASK, VFIO_USER_DMA_READ, DMA(UINT64_MAX - 3, 8) } } },
    { "dma-of-16-exbibytes-in-call", VALUE, VALUE, 0, {
        { READ, DO_ASK, VFIO_USER_DMA_READ, DMA(0, UINT64_MAX) } } },
    { "dma-write-without-data-in-call", VALUE, VALUE, 0, {
        { READ, DO_ASK, VFIO_USER_DMA_WRITE, DMA(0x1000, 64) } } },
    { "dma-request-short", ONES, ONES, 0, {
        { READ, DO_ASK, VFIO_USER_DMA_READ, BYTES(0, 0, 0, 0) } } },
    { "request-for-the-server", ONES, ONES, 0, {
        { READ, DO_ASK, VFIO_USER_REGION_READ, BYTES(0) } } },
    { "request-unknown", ONES, ONES, 0, {
        { READ, DO_ASK, 19, BYTES(0) } } },

    /* posted writes */
    { "posted-write-answered", VALUE, VALUE, 0, { { WRITE, DO_ANYWAY } } },
    { "posted-write-refused", VALUE, VALUE, 0, {
        { WRITE, DO_ANYWAY }, { WRITE, DO_FAIL, EIO } } },
    { "posted-write-refused-type-0", VALUE, VALUE, 0, {
        { WRITE, DO_ANYWAY }, { WRITE, DO_FAIL, EIO },
        { WRITE, DO_FLAGS, ERROR_TYPE_0 } } },
    { "posted-write-answered-twice", VALUE, VALUE, 0, {
        { WRITE, DO_ANYWAY }, { WRITE, DO_REPEAT, 1 } } },
    { "death-at-posted-write", ONES, ONES, 0, { { WRITE, DO_CUT, 0 } } },
};

static void check_read(VFIOUserRig *rig, Reads wanted, uint32_t value)
{
    uint32_t is = qpci_io_readl(rig->dev, rig->bar[0], REGISTER);

    if (wanted != ANYTHING) {
        g_assert_cmphex(is, ==, wanted == VALUE ? value : UINT32_MAX);
    }
}

static void test_access(const void *opaque)
{
    const AccessFault *fault = opaque;
    const uint32_t value = 0x11223344, other = 0x55667788;
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     NULL);
    uint32_t is;

    vfio_user_rig_plug(rig, fault->timeout_ms);
    vfio_user_server_poke(rig->server, 0, REGISTER, &value, sizeof(value));
    vfio_user_server_set_rules(rig->server, fault->rules);

    qpci_io_writel(rig->dev, rig->bar[0], OTHER_REGISTER, other);
    check_read(rig, fault->first, value);
    vfio_user_server_release(rig->server);
    check_read(rig, fault->then, value);

    /* posted writes complete before later reads */
    if (fault->then == VALUE) {
        vfio_user_server_peek(rig->server, 0, OTHER_REGISTER, &is,
                              sizeof(is));
        g_assert_cmphex(is, ==, other);
    }
    vfio_user_rig_ping(rig);
}

/* Registration */

static void make_fault_data(void)
{
    int length = sizeof(long_json) - sizeof("{\"pad\":\"\"}");

    snprintf(long_json, sizeof(long_json), "{\"pad\":\"%0*d\"}", length, 0);
    memset(deep_json, '[', sizeof(deep_json) - 1);
    memset(ones, 0xff, sizeof(ones));
}

static void add_realize(const char *what, const RealizeFault *fault, bool cold)
{
    g_autofree char *path = g_strdup_printf("/vfio-user/%s/%s", what,
                                            fault->name);
    g_autofree char *cold_path = g_strdup_printf("/vfio-user/cold-%s/%s",
                                                 what, fault->name);

    qtest_add_data_func(path, fault, test_realize);
    if (cold && fault->outcome == REFUSED) {
        qtest_add_data_func(cold_path, fault, test_realize_cold);
    }
}

static Outcome outcome_of(const ReplyFault *fault, bool dispensable,
                          bool takes_fds)
{
    switch (fault->harm) {
    case FAILS_COMMAND:
        /* any missing reply fails the connection */
        return dispensable && !fault->timeout_ms ? ACCEPTED : REFUSED;
    case SENDS_DESCRIPTORS:
        return takes_fds ? EITHER : REFUSED;
    default:
        return REFUSED;
    }
}

static void add_reply_faults(void)
{
    /* static: the tests use them until exit */
    static RealizeFault faults[ARRAY_SIZE(realize_commands) *
                               ARRAY_SIZE(reply_faults)];
    RealizeFault *fault = faults;
    size_t i, j;

    for (i = 0; i < ARRAY_SIZE(realize_commands); i++) {
        for (j = 0; j < ARRAY_SIZE(reply_faults); j++) {
            const ReplyFault *reply = &reply_faults[j];

            if (realize_commands[i].size < reply->min_size) {
                continue;
            }
            *fault = (RealizeFault) {
                .name = reply->name,
                .outcome = outcome_of(reply, realize_commands[i].dispensable,
                                      realize_commands[i].takes_fds),
                .timeout_ms = reply->timeout_ms,
                .rules = { reply->rule },
            };
            fault->rules[0].when = realize_commands[i].when;
            add_realize(realize_commands[i].name, fault++, reply->cold);
        }
    }
}

void vfio_user_add_fault_tests(void)
{
    size_t i;

    make_fault_data();
    for (i = 0; i < ARRAY_SIZE(handshake_faults); i++) {
        add_realize("handshake", &handshake_faults[i], true);
    }
    add_reply_faults();
    for (i = 0; i < ARRAY_SIZE(invalid_devices); i++) {
        add_realize("lies", &invalid_devices[i], true);
    }
    for (i = 0; i < ARRAY_SIZE(access_faults); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/access/%s",
                                                access_faults[i].name);

        qtest_add_data_func(path, &access_faults[i], test_access);
    }
}
