/*
 * qtest of the vfio-user client: a different device that comes back
 *
 * The second server differs from the first in one field, in a row of data.  A
 * device that the guest could tell apart is rejected, with the difference in
 * one line, and no other server is looked for.  Fields that a guest or a reset
 * changes may differ.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "vfio-user-errors.h"
#include "vfio-user-loss.h"
#include "vfio-user-tests.h"

#define ARGS VFIO_USER_RIG_SHARED VFIO_USER_LOSS_RECONNECT
#define RW (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE)
#define MSI VFIO_USER_MODEL_MSI
#define MSIX VFIO_USER_MODEL_MSIX
#define PM 0x70
#define EXP 0x80
#define AREAS VFIO_PCI_BAR2_REGION_INDEX        /* has sparse areas */
#define PAGE 0x1000

/* For so long, a rejected server is not dialed: three times reconnect-ms. */
#define QUIET_US (30 * 1000)

/* The capabilities of the model, with one that is added or replaced */
#define CAPABILITIES(fds, data, sizes, maps, more) \
    "{\"capabilities\":{\"max_msg_fds\":" fds "," \
    "\"max_data_xfer_size\":" data ",\"pgsizes\":" sizes "," \
    "\"max_dma_maps\":" maps more "}}"
#define MIGRATION(pgsize, bitmap) \
    ",\"migration\":{\"pgsize\":" pgsize ",\"max_bitmap_size\":" bitmap "}"
#define SAME MIGRATION("4096", "1048576")

/* The default model with all that is compared. */
static VFIOUserModel model;

static void make_model(void)
{
    uint8_t *config = model.config;

    model = vfio_user_model;
    model.version = CAPABILITIES("8", "1048576", "4096", "65535", SAME);
    model.migration.flags = VFIO_USER_MODEL_STOP_COPY;
    model.region[AREAS].flags |= VFIO_REGION_INFO_FLAG_MMAP;
    model.region[AREAS].offset = PAGE;
    model.region[AREAS].nr_areas = 2;
    model.region[AREAS].areas[0].size = PAGE;
    model.region[AREAS].areas[1].offset = 4 * PAGE;
    model.region[AREAS].areas[1].size = PAGE;
    config[MSIX + PCI_CAP_LIST_NEXT] = PM;
    config[PM] = PCI_CAP_ID_PM;
    config[PM + PCI_CAP_LIST_NEXT] = EXP;
    config[PM + PCI_PM_PMC] = 3;
    config[EXP] = PCI_CAP_ID_EXP;
    config[EXP + PCI_EXP_FLAGS] = 2;
}

typedef struct Difference {
    const char *name;
    const char *message;        /* part of the message; NULL: accepted */
    VFIOUserRule rules[4];      /* the last is empty */
} Difference;

#define VERSION ON(VFIO_USER_VERSION)
#define JSON_RULE(...) \
    { VERSION, DO_PAYLOAD, 0, TEXT("\0\0\1\0" CAPABILITIES(__VA_ARGS__)) }
#define JSON(...) { JSON_RULE(__VA_ARGS__) }

#define DEVICE(field, value) \
    { { ON(VFIO_USER_DEVICE_GET_INFO), DO_PATCH, \
        offsetof(VFIOUserDeviceInfo, field), STRUCT(uint32_t, value) } }
#define REGION(index, at, ...) \
    { { ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(index)), DO_PATCH, at, \
        __VA_ARGS__ } }
#define CONFIG(at, ...) \
    { { ON(VFIO_USER_CONNECT), DO_CONFIG, at, BYTES(__VA_ARGS__) } }
#define FEATURE(flags) \
    ON(VFIO_USER_DEVICE_FEATURE, \
       AT_FEATURE(VFIO_DEVICE_FEATURE_MIGRATION | (flags)))

/* Offsets in a reply with sparse areas: of their number, and of the first */
#define NR_AREAS 40
#define FIRST_AREA 48

static const Difference differences[] = {
    { "capability/max-msg-fds", "max_msg_fds is 0x7, was 0x8",
      JSON("7", "1048576", "4096", "65535", SAME) },
    { "capability/max-data-xfer-size", "max_data_xfer_size is 0x1000",
      JSON("8", "4096", "4096", "65535", SAME) },
    { "capability/pgsizes", "pgsizes is 0x201000",
      JSON("8", "1048576", "2101248", "65535", SAME) },
    { "capability/max-dma-maps", "max_dma_maps is 0x100",
      JSON("8", "1048576", "4096", "256", SAME) },
    { "capability/write-multiple", "write_multiple is 0x1",
      JSON("8", "1048576", "4096", "65535", ",\"write_multiple\":true" SAME) },
    { "capability/migration", "the capability migration is 0x0, was 0x1",
      JSON("8", "1048576", "4096", "65535", "") },
    { "capability/migration-pgsize", "migration_pgsize is 0x800, was 0x1000",
      JSON("8", "1048576", "4096", "65535", MIGRATION("2048", "1048576")) },
    { "capability/max-bitmap-size", "max_bitmap_size is 0x1000",
      JSON("8", "1048576", "4096", "65535", MIGRATION("4096", "4096")) },

    { "device/cannot-reset", "the flags of the device is 0x2, was 0x3",
      DEVICE(flags, VFIO_DEVICE_FLAGS_PCI) },
    { "device/more-regions", "the number of regions is 0xa, was 0x9", {
        { ON(VFIO_USER_DEVICE_GET_INFO), DO_PATCH,
          offsetof(VFIOUserDeviceInfo, num_regions), STRUCT(uint32_t, 10) },
        { ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(9)), DO_FLAGS,
          VFIO_USER_TYPE_REPLY },
        { ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(9)), DO_PAYLOAD, 0,
          STRUCT(VFIOUserRegionInfo, sizeof(VFIOUserRegionInfo), 0, 9) } } },
    { "device/fewer-regions", "the number of regions is 0x8, was 0x9",
      DEVICE(num_regions, VFIO_PCI_NUM_REGIONS - 1) },
    { "device/more-irqs", "the number of interrupt indexes is 0x6, was 0x5",
      DEVICE(num_irqs, VFIO_PCI_NUM_IRQS + 1) },
    { "device/fewer-irqs", "the number of interrupt indexes is 0x4, was 0x5",
      DEVICE(num_irqs, VFIO_PCI_NUM_IRQS - 1) },

    { "areas/fewer", "region 2: its capabilities",
      REGION(AREAS, NR_AREAS, STRUCT(uint32_t, 1)) },
    { "areas/offset", "region 2: its capabilities",
      REGION(AREAS, FIRST_AREA, STRUCT(uint64_t, PAGE)) },
    { "areas/size", "region 2: its capabilities",
      REGION(AREAS, FIRST_AREA + 8, STRUCT(uint64_t, 2 * PAGE)) },
    { "areas/offset-in-file", "region 2: its offset in the file",
      REGION(AREAS, offsetof(VFIOUserRegionInfo, offset),
             STRUCT(uint64_t, 0)) },
    { "areas/not-any-more", "region 2: its flags",
      REGION(AREAS, offsetof(VFIOUserRegionInfo, flags),
             STRUCT(uint32_t, RW)) },

    { "migration/pre-copy", "the flags of migration v2", {
        { FEATURE(VFIO_DEVICE_FEATURE_GET), DO_PATCH,
          sizeof(VFIOUserDeviceFeature),
          STRUCT(uint64_t, VFIO_USER_MODEL_STOP_COPY |
                           VFIO_USER_MODEL_PRE_COPY) } } },
    { "migration/none", "the flags of migration v2 is 0x0", {
        { FEATURE(VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_PROBE),
          DO_FAIL, ENOTTY } } },

    /* what guests, resets and servers change */
    { "accepted/same", NULL, { } },
    { "accepted/command", NULL, CONFIG(PCI_COMMAND, 0) },
    { "accepted/status", NULL, CONFIG(PCI_STATUS + 1, 0xf9) },
    { "accepted/bar-address", NULL,
      CONFIG(PCI_BASE_ADDRESS_0 + 1, 0xf0, 0xff, 0xff) },
    { "accepted/upper-half-of-bar", NULL,
      CONFIG(PCI_BASE_ADDRESS_3, 0xff, 0xff, 0xff, 0xff) },
    { "accepted/interrupt-line", NULL, CONFIG(PCI_INTERRUPT_LINE, 9) },
    { "accepted/cache-line-and-latency", NULL,
      CONFIG(PCI_CACHE_LINE_SIZE, 16, 64) },
    { "accepted/rom-address", NULL,
      CONFIG(PCI_ROM_ADDRESS, 1, 0xf8, 0xff, 0xff) },
    { "accepted/msi-enabled", NULL,
      CONFIG(MSI + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | 2 << 4 |
             VFIO_USER_MODEL_MSI_VECTORS_LOG << 1 | PCI_MSI_FLAGS_64BIT) },
    { "accepted/msi-address", NULL,
      CONFIG(MSI + PCI_MSI_ADDRESS_LO, 4, 0, 0xe0, 0xfe) },
    { "accepted/msix-enabled", NULL,
      CONFIG(MSIX + PCI_MSIX_FLAGS + 1, PCI_MSIX_FLAGS_ENABLE >> 8) },
    { "accepted/power-state", NULL, CONFIG(PM + PCI_PM_CTRL, 3) },
    { "accepted/device-control", NULL, CONFIG(EXP + PCI_EXP_DEVCTL, 0x10) },
    { "accepted/no-capability", NULL, CONFIG(0xf0, 0x55) },
};

/* Bits of configuration space, each of which is tried */
static const struct {
    const char *name;
    uint8_t at, size;
    uint32_t bits;
} config_fields[] = {
    { "vendor", PCI_VENDOR_ID, 2, UINT16_MAX },
    { "device", PCI_DEVICE_ID, 2, UINT16_MAX },
    { "has-capabilities", PCI_STATUS, 1, PCI_STATUS_CAP_LIST },
    { "revision", PCI_REVISION_ID, 1, UINT8_MAX },
    { "class", PCI_CLASS_PROG, 3, 0xffffff },
    { "header-type", PCI_HEADER_TYPE, 1, UINT8_MAX },
    { "kind-of-bar-0", PCI_BASE_ADDRESS_0, 1, 0xf },
    { "kind-of-bar-1", PCI_BASE_ADDRESS_1, 1, 0xf },
    { "kind-of-bar-2", PCI_BASE_ADDRESS_2, 1, 0xf },
    { "kind-of-bar-4", PCI_BASE_ADDRESS_4, 1, 0xf },
    { "kind-of-bar-5", PCI_BASE_ADDRESS_5, 1, 0xf },
    { "subsystem-vendor", PCI_SUBSYSTEM_VENDOR_ID, 2, UINT16_MAX },
    { "subsystem", PCI_SUBSYSTEM_ID, 2, UINT16_MAX },
    { "first-capability", PCI_CAPABILITY_LIST, 1, UINT8_MAX },
    { "pin", PCI_INTERRUPT_PIN, 1, UINT8_MAX },
    { "msi-id", MSI, 1, UINT8_MAX },
    { "msi-next", MSI + PCI_CAP_LIST_NEXT, 1, UINT8_MAX },
    { "msi-vectors", MSI + PCI_MSI_FLAGS, 1, PCI_MSI_FLAGS_QMASK },
    { "msi-64-bit", MSI + PCI_MSI_FLAGS, 1, PCI_MSI_FLAGS_64BIT },
    { "msi-masks", MSI + PCI_MSI_FLAGS + 1, 1, PCI_MSI_FLAGS_MASKBIT >> 8 },
    { "msix-id", MSIX, 1, UINT8_MAX },
    { "msix-next", MSIX + PCI_CAP_LIST_NEXT, 1, UINT8_MAX },
    { "msix-vectors", MSIX + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_QSIZE },
    { "msix-table", MSIX + PCI_MSIX_TABLE, 4, UINT32_MAX },
    { "msix-pba", MSIX + PCI_MSIX_PBA, 4, UINT32_MAX },
    { "pm-id", PM, 1, UINT8_MAX },
    { "pm-next", PM + PCI_CAP_LIST_NEXT, 1, UINT8_MAX },
    { "pm-capabilities", PM + PCI_PM_PMC, 2, UINT16_MAX },
    { "express-id", EXP, 1, UINT8_MAX },
    { "express-next", EXP + PCI_CAP_LIST_NEXT, 1, UINT8_MAX },
    { "express-version", EXP + PCI_EXP_FLAGS, 2, UINT16_MAX },
    { "express-device", EXP + PCI_EXP_DEVCAP, 4, UINT32_MAX },
};

/* The first event is that of the loss. */
static void check_event(VFIOUserRig *rig, const char *message)
{
    bool reconnects = true;

    while (reconnects) {
        QDict *event = NULL;
        QDict *data;

        vfio_user_loss_wait(rig, (event = qtest_qmp_event_ref(rig->qts,
                                                "VFIO_USER_DISCONNECTED")));
        data = qdict_get_qdict(event, "data");
        reconnects = qdict_get_bool(data, "reconnects");
        g_assert_true(reconnects ||
                      strstr(qdict_get_str(data, "reason"), message));
        qobject_unref(event);
    }
}

/* A server that differs is lost again, and no other one is looked for. */
static void check_rejected(VFIOUserRig *rig, const char *message)
{
    gint64 quiet;

    vfio_user_loss_wait(rig, vfio_user_loss_rejections() == 1);
    check_event(rig, message);
    g_assert_cmpuint(vfio_user_errors_count(message), ==, 1);
    g_assert_cmpuint(vfio_user_errors_count(
                         vfio_user_server_path(rig->server)), ==, 2);
    g_assert_cmpuint(vfio_user_errors_lines(), ==, 2);
    g_assert_cmpuint(vfio_user_loss_losses(), ==, 1);
    vfio_user_server_wait_client(rig->server, false);
    vfio_user_server_forget(rig->server);
    quiet = g_get_monotonic_time() + QUIET_US;
    while (g_get_monotonic_time() < quiet) {
        vfio_user_rig_ping(rig);
    }
    g_assert_cmpuint(vfio_user_server_saw(rig->server, VFIO_USER_ANY), ==, 0);
    vfio_user_loss_check_gone(rig);
}

static void check_accepted(VFIOUserRig *rig)
{
    vfio_user_loss_wait_return(rig, 1);
    g_assert_cmpuint(vfio_user_loss_losses(), ==, 1);
    g_assert_cmpuint(vfio_user_errors_lines(), ==, 2);
    vfio_user_loss_check_works(rig);
}

static void test_difference(const void *opaque)
{
    const Difference *difference = opaque;
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, &model, 0);

    vfio_user_loss_happen(rig, difference->rules);
    if (difference->message) {
        check_rejected(rig, difference->message);
        g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                              VFIO_USER_DEVICE_RESET), ==, 0);
    } else {
        check_accepted(rig);
    }
}

/* Only the second server has a twin socket. */
static void test_twin(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, &model, 0);
    VFIOUserRule rules[] = {
        JSON_RULE("8", "1048576", "4096", "65535",
                  SAME ",\"twin_socket\":{\"supported\":true,\"fd_index\":0}"),
        { VERSION, DO_PASS },
        { }
    };
    int ends[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends),
                    ==, 0);
    rules[1].number = ends[0];
    vfio_user_loss_happen(rig, rules);
    check_rejected(rig, "twin_socket is 0x1, was 0x0");
    close(ends[0]);
    close(ends[1]);
}

/* A server that is rejected may be unplugged, and another plugged. */
static void test_plug_again(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_loss_begin(ARGS, &model, 0);

    vfio_user_loss_happen(rig, differences[0].rules);
    check_rejected(rig, differences[0].message);
    vfio_user_rig_unplug(rig);
    vfio_user_server_set_rules(rig->server, NULL);
    vfio_user_rig_plug(rig, 0);
    vfio_user_loss_check_works(rig);
}

/* Registration.  Rows are never freed: the tests use them until exit. */

static void add(const Difference *difference)
{
    g_autofree char *path = g_strdup_printf("/vfio-user/reconnect-compare/%s",
                                            difference->name);

    qtest_add_data_func(path, difference, test_difference);
}

/* Rows last as long as the tests; this array has them all. */
static Difference *new_rows(unsigned n)
{
    static GPtrArray *all;
    Difference *rows = g_new0(Difference, n);

    all = all ?: g_ptr_array_new();
    g_ptr_array_add(all, rows);
    return rows;
}

static void *copy_of(const void *bytes, size_t size)
{
    return g_memdup2(bytes, size);
}

/* One row for each field of each region, if the server still has the field. */
static void add_regions(void)
{
    for (unsigned i = 0; i < model.num_regions; i++) {
        const uint64_t size = i == VFIO_PCI_CONFIG_REGION_INDEX ?
                              model.region[i].size / 2 :
                              model.region[i].size + PAGE;
        const uint32_t flags = model.region[i].flags ^
                               VFIO_REGION_INFO_FLAG_WRITE;
        VFIOUserRule rule = {
            ON(VFIO_USER_DEVICE_GET_REGION_INFO, AT(i)), DO_PATCH,
            offsetof(VFIOUserRegionInfo, size),
            { copy_of(&size, sizeof(size)), sizeof(size) }
        };
        Difference *row = new_rows(2);

        row[0].name = g_strdup_printf("region-%u/size", i);
        row[0].message = g_strdup_printf("region %u: its size", i);
        row[0].rules[0] = rule;
        row[1].name = g_strdup_printf("region-%u/flags", i);
        row[1].message = g_strdup_printf("region %u: its flags", i);
        row[1].rules[0] = rule;
        row[1].rules[0].number = offsetof(VFIOUserRegionInfo, flags);
        row[1].rules[0].data = (VFIOUserData) {
            copy_of(&flags, sizeof(flags)), sizeof(flags)
        };
        add(&row[0]);
        add(&row[1]);
    }
}

static void add_irqs(void)
{
    static const struct {
        const char *name;
        size_t at;
    } fields[] = {
        { "flags", offsetof(VFIOUserIRQInfo, flags) },
        { "count", offsetof(VFIOUserIRQInfo, count) },
    };

    for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS * ARRAY_SIZE(fields); i++) {
        unsigned index = i / ARRAY_SIZE(fields);
        const char *name = fields[i % ARRAY_SIZE(fields)].name;
        uint32_t value = i % ARRAY_SIZE(fields) ?
                         model.irq[index].count + 1 :
                         model.irq[index].flags ^ VFIO_IRQ_INFO_NORESIZE;
        Difference *row = new_rows(1);

        row->name = g_strdup_printf("irq-%u/%s", index, name);
        row->message = g_strdup_printf("interrupt index %u: its %s", index,
                                       name);
        row->rules[0] = (VFIOUserRule) {
            ON(VFIO_USER_DEVICE_GET_IRQ_INFO, AT(index)), DO_PATCH,
            fields[i % ARRAY_SIZE(fields)].at,
            { copy_of(&value, sizeof(value)), sizeof(value) }
        };
        add(row);
    }
}

/*
 * One row for each byte of each field, with all bits inverted that count.  The
 * server that comes back has this byte from the connection on.
 */
static void add_config(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(config_fields); i++) {
        for (unsigned j = 0; j < config_fields[i].size; j++) {
            unsigned at = config_fields[i].at + j;
            uint8_t value = model.config[at] ^ config_fields[i].bits >> 8 * j;
            Difference *row;

            if (value == model.config[at]) {
                continue;
            }
            row = new_rows(1);
            row->name = g_strdup_printf("config/%s-%u", config_fields[i].name,
                                        j);
            row->message = g_strdup_printf("the byte at 0x%x of configuration"
                                           " space is 0x%x, was 0x%x",
                                           at, value, model.config[at]);
            row->rules[0] = (VFIOUserRule) {
                ON(VFIO_USER_CONNECT), DO_CONFIG, at,
                { copy_of(&value, 1), 1 }
            };
            add(row);
        }
    }
}

void vfio_user_add_reconnect_compare_tests(void)
{
    make_model();
    for (size_t i = 0; i < ARRAY_SIZE(differences); i++) {
        add(&differences[i]);
    }
    add_regions();
    add_irqs();
    add_config();
    qtest_add_func("/vfio-user/reconnect-compare/capability/twin-socket",
                   test_twin);
    qtest_add_func("/vfio-user/reconnect-compare/plug-again", test_plug_again);
}
