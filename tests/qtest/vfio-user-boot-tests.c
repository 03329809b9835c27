/*
 * qtest of the vfio-user client: messages of a boot
 *
 * Counts each message from the start of a VM to the end of its first reset.
 * Every call is a round trip that the user waits for, and a repeated query
 * means that the first result was not kept.  To add a message, change a line
 * of the table and state its purpose there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

/* RAM below the BIOS shadow, the two halves of the shadow, and the BIOS. */
#define RAM_OF_4_RANGES \
    "-machine pc,memory-backend=ram -nodefaults -m 1 " \
    "-object memory-backend-memfd,id=ram,size=1M,share=on "

typedef struct Times {
    uint16_t command;
    unsigned times;
} Times;

static const Times times_of_a_boot[] = {
    { VFIO_USER_VERSION, 1 },
    { VFIO_USER_DMA_MAP, 4 },                   /* one per range */
    { VFIO_USER_DEVICE_GET_INFO, 1 },
    { VFIO_USER_DEVICE_GET_REGION_INFO, 6       /* BARs */
                                        + 1     /* configuration space */
                                        + 2 },  /* the others, for migration */
    { VFIO_USER_DEVICE_GET_REGION_IO_FDS, 4 },  /* implemented BARs */
    { VFIO_USER_DEVICE_GET_IRQ_INFO, 1          /* INTx */
                                     + 1        /* MSI */
                                     + 1        /* MSI-X */
                                     + 1        /* ERR */
                                     + 1 },     /* REQ */
    { VFIO_USER_DEVICE_SET_IRQS, 1              /* INTx eventfd, */
                                 + 2            /* ERR and REQ eventfds; */
                                 + 2 },         /* reset: INTx again */
    { VFIO_USER_REGION_READ, 1                  /* configuration space */
                             + 1                /* ROM's size */
                             + 1 },             /* reset: command */
    { VFIO_USER_REGION_WRITE, 2                 /* ROM's size, and back */
                              + 1               /* reset: command */
                              + 6 },            /* reset: BARs */
    { VFIO_USER_DEVICE_RESET, 1 },
    { VFIO_USER_DEVICE_FEATURE, 1 },            /* migration support */
    { }
};

/*
 * Boots and fails the test unless each command is seen the expected number of
 * times.
 */
static GArray *boot(const VFIOUserModel *model, const Times *times)
{
    g_autoptr(VFIOUserServer) s = vfio_user_server_new(model, NULL);
    QTestState *qts = qtest_initf(RAM_OF_4_RANGES "-device vfio-user-pci,"
                                  "addr=4,socket=%s",
                                  vfio_user_server_path(s));
    unsigned expected[VFIO_USER_COMMANDS] = { };
    GArray *log;
    unsigned i;

    for (; times->command; times++) {
        /* posted writes may still be in flight */
        vfio_user_server_see(s, times->command, .nth = times->times);
        expected[times->command] = times->times;
    }
    log = vfio_user_server_log(s);
    for (i = 0; i < VFIO_USER_COMMANDS; i++) {
        unsigned saw = vfio_user_server_saw(s, i);

        if (saw != expected[i]) {
            g_test_message("command %u", i);
        }
        g_assert_cmpuint(saw, ==, expected[i]);
    }
    qtest_quit(qts);
    return log;
}

/* Returns how often a command was seen for an index or region. */
static unsigned queried(GArray *log, uint16_t command, uint32_t index)
{
    const VFIOUserWhen when = ON(command, AT(index));

    return vfio_user_log_count(log, &when);
}

static void test_boot(void)
{
    g_autoptr(GArray) log = boot(NULL, times_of_a_boot);
    unsigned i;

    for (i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
        g_assert_cmpuint(queried(log, VFIO_USER_DEVICE_GET_REGION_INFO, i), <=,
                         1);
    }
    for (i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
        g_assert_cmpuint(queried(log, VFIO_USER_DEVICE_GET_IRQ_INFO, i), <=, 1);
    }
}

/*
 * Region info is queried a second time only if the first reply was too short.
 */
static void test_boot_capability(void)
{
    Times times[ARRAY_SIZE(times_of_a_boot)];
    VFIOUserModel model = vfio_user_model;
    VFIOUserModelRegion *region = &model.region[VFIO_PCI_BAR2_REGION_INDEX];
    g_autoptr(GArray) log = NULL;
    Times *more;

    region->flags |= VFIO_REGION_INFO_FLAG_MMAP;
    region->nr_areas = 1;
    region->areas[0].offset = 4 * KiB;
    region->areas[0].size = 4 * KiB;
    memcpy(times, times_of_a_boot, sizeof(times));
    for (more = times; more->command != VFIO_USER_DEVICE_GET_REGION_INFO;) {
        more++;
    }
    more->times++;

    log = boot(&model, times);
    g_assert_cmpuint(queried(log, VFIO_USER_DEVICE_GET_REGION_INFO,
                             VFIO_PCI_BAR2_REGION_INDEX), ==, 2);
}

void vfio_user_add_boot_tests(void)
{
    qtest_add_func("/vfio-user/boot/plain", test_boot);
    qtest_add_func("/vfio-user/boot/capability", test_boot_capability);
}
