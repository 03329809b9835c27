/*
 * qtest of the vfio-user client: twin sockets
 *
 * A server with a second socket for its requests: checks which messages use
 * which socket, and what happens to the device if either is closed or invalid.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qobject/qdict.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define RAM 0x200000            /* RAM address that nothing else uses */
#define TWIN(text) \
    "{\"capabilities\":{\"max_msg_fds\":8,\"twin_socket\":" text "}}"

static const VFIOUserDMARW read_ram = { RAM, 8 };
/* A whole message, header included. */
static const struct {
    VFIOUserHeader header;
    VFIOUserDMARW rw;
} read_message = {
    { .command = VFIO_USER_DMA_READ, .size = sizeof(read_message) },
    { RAM, 8 },
};

static VFIOUserRig *twin_begin(const char *args, const VFIOUserRule *rules)
{
    static VFIOUserModel model;

    model = vfio_user_model;
    model.version = TWIN("{\"supported\":true,\"fd_index\":0}");
    model.twin = true;
    return vfio_user_rig_begin(args, &model, rules);
}

static uint64_t requests(VFIOUserRig *rig)
{
    QDict *answer = qtest_qmp(rig->qts, "{'execute': 'qom-get', 'arguments':"
                              " {'path': '/machine/peripheral/dut',"
                              " 'property': 'counters'}}");
    uint64_t value = qdict_get_int(qdict_get_qdict(answer, "return"),
                                   "requests");

    qobject_unref(answer);
    return value;
}

static void check_dma(VFIOUserRig *rig)
{
    static const size_t sizes[] = { 1, 4096, 9000, 1 * MiB };
    g_autofree uint8_t *bytes = g_malloc(1 * MiB);
    g_autofree uint8_t *is = g_malloc(1 * MiB);
    size_t i, j;

    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (j = 0; j < sizes[i]; j++) {
            bytes[j] = i + j * 7 + j / 256;
        }
        g_assert_cmpint(vfio_user_server_dma_write(rig->server, RAM + i,
                                                   bytes, sizes[i]), ==, 0);
        qtest_memread(rig->qts, RAM + i, is, sizes[i]);
        g_assert_cmpmem(is, sizes[i], bytes, sizes[i]);
        memset(is, 0, sizes[i]);
        g_assert_cmpint(vfio_user_server_dma_read(rig->server, RAM + i, is,
                                                  sizes[i]), ==, 0);
        g_assert_cmpmem(is, sizes[i], bytes, sizes[i]);
    }
}

/* The scripted server accepts replies only on the twin socket. */
static void test_twin_dma(void)
{
    g_autoptr(VFIOUserRig) rig = twin_begin(VFIO_USER_RIG_RAM, NULL);
    uint64_t before;

    vfio_user_rig_plug(rig, 0);
    before = requests(rig);
    check_dma(rig);
    g_assert_cmpuint(requests(rig), ==, before + 8);
    qpci_io_writel(rig->dev, rig->bar[0], 0x10, 0x12345678);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x10), ==,
                    0x12345678);
}

/* The reply to a register access waits for the reply to a request. */
static void test_twin_in_access(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_REGION_READ, AT_OFFSET(0, 0x20)), DO_ASK,
          VFIO_USER_DMA_READ, { &read_ram, sizeof(read_ram) } },
        { }
    };
    g_autoptr(VFIOUserRig) rig = twin_begin(VFIO_USER_RIG_RAM, rules);
    unsigned i;

    vfio_user_rig_plug(rig, 0);
    for (i = 1; i <= 50; i++) {
        qpci_io_readl(rig->dev, rig->bar[0], 0x20);
        g_assert_cmpuint(vfio_user_server_saw(rig->server,
                                              VFIO_USER_DMA_READ), ==, i);
    }
}

/* The second socket does not leak; vfio_user_rig_end() checks that. */
static void test_twin_plug_again(void)
{
    g_autoptr(VFIOUserRig) rig = twin_begin(VFIO_USER_RIG_SHARED, NULL);
    unsigned i;

    for (i = 0; i < 5; i++) {
        vfio_user_rig_plug(rig, 0);
        check_dma(rig);
        vfio_user_rig_unplug(rig);
    }
}

/*
 * The server makes QEMU's end of the twin socket blocking, requests more data
 * than it holds, and reads nothing: QEMU does not block, neither for memory
 * changes nor for unplugging.
 */
static void test_twin_blocking(void)
{
    const VFIOUserDMARW rw = { RAM, 1 * MiB };
    const VFIOUserHeader header = {
        .command = VFIO_USER_DMA_READ,
        .size = sizeof(header) + sizeof(rw),
    };
    int ends[2];
    g_autoptr(VFIOUserRig) rig = NULL;
    unsigned i;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends),
                    ==, 0);
    {
        const VFIOUserRule rules[] = {
            { ON(VFIO_USER_VERSION), DO_PATCH, 4,
              TEXT(TWIN("{\"supported\":true,\"fd_index\":0}")) },
            { ON(VFIO_USER_VERSION), DO_PASS, ends[1] },
            { }
        };

        rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL, rules);
        vfio_user_rig_plug(rig, 0);
    }
    g_assert_cmpint(fcntl(ends[1], F_SETFL,
                          fcntl(ends[1], F_GETFL) & ~O_NONBLOCK), ==, 0);
    for (i = 0; i < 20; i++) {
        g_assert_cmpint(write(ends[0], &header, sizeof(header)), ==,
                        sizeof(header));
        g_assert_cmpint(write(ends[0], &rw, sizeof(rw)), ==, sizeof(rw));
    }
    /* a request was answered partially */
    vfio_user_rig_wait(rig, recv(ends[0], &(char) { 0 }, 1,
                                 MSG_PEEK | MSG_DONTWAIT) == 1);
    vfio_user_rig_ping(rig);
    qpci_io_writel(rig->dev, rig->bar[0], 0x10, 0x1234);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x10), ==, 0x1234);
    vfio_user_rig_unplug(rig);
    close(ends[0]);
    close(ends[1]);
}

/* Disconnects and protocol errors */

static void twin_check_dead(VFIOUserRig *rig)
{
    vfio_user_rig_ping(rig);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x10), ==,
                    UINT32_MAX);
    vfio_user_server_wait_client(rig->server, false);
    vfio_user_rig_ping(rig);
}

static void test_twin_ends(void)
{
    g_autoptr(VFIOUserRig) rig = twin_begin(VFIO_USER_RIG_RAM, NULL);

    vfio_user_rig_plug(rig, 0);
    vfio_user_server_hang_up_twin(rig->server);
    vfio_user_server_wait_client(rig->server, false);
    twin_check_dead(rig);
}

static void test_twin_first_ends(void)
{
    g_autoptr(VFIOUserRig) rig = twin_begin(VFIO_USER_RIG_RAM, NULL);

    vfio_user_rig_plug(rig, 0);
    vfio_user_server_hang_up(rig->server);
    twin_check_dead(rig);
}

static void test_twin_request_beside(void)
{
    static const VFIOUserRule rules[] = {
        { ON(VFIO_USER_REGION_READ, AT_OFFSET(0, 0x20)), DO_SEND, 0,
          { &read_message, sizeof(read_message) } },
        { }
    };
    g_autoptr(VFIOUserRig) rig = twin_begin(VFIO_USER_RIG_RAM, rules);

    vfio_user_rig_plug(rig, 0);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0x20), ==,
                    UINT32_MAX);
    twin_check_dead(rig);
}

/* Invalid VERSION replies */

#define VERSION ON(VFIO_USER_VERSION)
#define JSON(text) { VERSION, DO_PATCH, 4, TEXT(TWIN(text)) }

typedef struct BadTwin {
    const char *name;
    bool accepted;
    VFIOUserRule rules[3];
} BadTwin;

static const BadTwin bad_twins[] = {
    { "no-descriptor", false, {
        JSON("{\"supported\":true,\"fd_index\":0}") } },
    { "index-outside", false, {
        JSON("{\"supported\":true,\"fd_index\":2}"), { VERSION, DO_FDS, 2 } } },
    { "no-index", false, {
        JSON("{\"supported\":true}"), { VERSION, DO_FDS, 1 } } },
    { "negative-index", false, {
        JSON("{\"supported\":true,\"fd_index\":-1}"),
        { VERSION, DO_FDS, 1 } } },
    { "no-socket", false, {
        JSON("{\"supported\":true,\"fd_index\":1}"), { VERSION, DO_FDS, 3 } } },
    { "no-object", false, { JSON("true"), { VERSION, DO_FDS, 1 } } },
    { "no-boolean", false, {
        JSON("{\"supported\":1,\"fd_index\":0}"), { VERSION, DO_FDS, 1 } } },
    { "not-supported", true, {
        JSON("{\"supported\":false,\"fd_index\":0}"),
        { VERSION, DO_FDS, 1 } } },
};

static void test_bad_twin(gconstpointer data)
{
    const BadTwin *bad = data;
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_begin(VFIO_USER_RIG_RAM, NULL,
                                                     bad->rules);
    g_autofree char *message = vfio_user_rig_try_plug(rig, 0);

    if (bad->accepted) {
        g_assert_null(message);
    } else {
        g_assert_nonnull(message);
        g_assert_nonnull(strstr(message,
                                vfio_user_server_path(rig->server)));
    }
}

void vfio_user_add_twin_tests(void)
{
    unsigned i;

    qtest_add_func("/vfio-user/twin/dma", test_twin_dma);
    qtest_add_func("/vfio-user/twin/in-access", test_twin_in_access);
    qtest_add_func("/vfio-user/twin/plug-again", test_twin_plug_again);
    qtest_add_func("/vfio-user/twin/blocking", test_twin_blocking);
    qtest_add_func("/vfio-user/twin/ends", test_twin_ends);
    qtest_add_func("/vfio-user/twin/first-ends", test_twin_first_ends);
    qtest_add_func("/vfio-user/twin/request-beside", test_twin_request_beside);
    for (i = 0; i < ARRAY_SIZE(bad_twins); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/twin/%s",
                                                bad_twins[i].name);

        qtest_add_data_func(path, &bad_twins[i], test_bad_twin);
    }
}
