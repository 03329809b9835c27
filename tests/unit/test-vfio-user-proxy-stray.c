/*
 * vfio-user connection: stray messages after the refusal of a command
 *
 * rust-vmm's crate vfio_user sends a second, stray message after the refusal
 * of an unknown command.  It is dropped with one warning.  Messages that only
 * resemble it, or arrive at another time, end the connection.  The test itself
 * is the server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "vfio-user-rig.h"

#define PROPERTY "x-no-something"
#define ARGSZ 0x1234

#define REFUSAL (VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR)

/* Requests region io fds, which the server refuses; returns the header. */
static VFIOUserHeader refuse(Rig *rig, const char *optional, uint32_t argsz)
{
    const VFIOUserRegionIOFds msg = { .argsz = argsz, .index = 1 };
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
        .head = &msg,
        .head_size = sizeof(msg),
        .reply_max = sizeof(msg),
        .optional = optional,
    };
    VFIOUserHeader header;
    Error *err = NULL;

    vfio_user_proxy_begin(rig->proxy, &call, &error_abort);
    header = rig_recv_header(rig, call.command);
    header.flags = REFUSAL;
    peer_send(rig->peer, header, NULL, 0, NULL, 0);
    g_assert_cmpint(vfio_user_proxy_finish(rig->proxy, &call, &err), ==, -EIO);
    peer_assert_error(err, "the server replied with an error");
    return header;
}

static void send_header(Rig *rig, VFIOUserHeader header)
{
    header.size = header.size ?: sizeof(header);
    peer_send_bytes(rig->peer, &header, sizeof(header), NULL, 0);
}

/* There is one warning for all strays, with the command and the property. */
static void test_dropped(void)
{
    if (g_test_subprocess()) {
        g_autoptr(Rig) rig = rig_new();

        for (int i = 0; i < 6; i++) {
            refuse(rig, PROPERTY, ARGSZ + i);
            send_header(rig, (VFIOUserHeader) {
                .id = ARGSZ + i, .flags = i % 2 ? VFIO_USER_ERROR : REFUSAL,
                .error = i ? EINVAL : 0,
            });
            if (i != 3) {       /* once two strays without a call between */
                rig_assert_in_sync(rig);
            }
        }
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*rejected DEVICE_GET_REGION_IO_FDS*" PROPERTY
                              "=on*");
    g_test_trap_assert_stderr_unmatched("*rejected *rejected *rejected *");
}

/* A server that drains the payload sends no stray; a late one is refused. */
static void test_none(void)
{
    g_autoptr(Rig) rig = rig_new();

    refuse(rig, PROPERTY, ARGSZ);
    rig_assert_in_sync(rig);
    send_header(rig, (VFIOUserHeader) { .id = ARGSZ, .flags = REFUSAL });
    rig_assert_lost(rig, "no such command");
}

static void test_twice(void)
{
    g_autoptr(Rig) rig = rig_new();
    VFIOUserHeader stray = { .id = ARGSZ, .flags = REFUSAL };

    refuse(rig, PROPERTY, ARGSZ);
    send_header(rig, stray);
    send_header(rig, stray);
    rig_assert_lost(rig, "no such command");
}

/* The refusal is late; the stray after it is still dropped. */
static void test_late(void)
{
    const VFIOUserRegionIOFds msg = { .argsz = ARGSZ };
    g_autoptr(Rig) rig = rig_new();
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
        .head = &msg,
        .head_size = sizeof(msg),
        .reply_max = sizeof(msg),
        .optional = PROPERTY,
    };
    VFIOUserHeader header;
    Error *err = NULL;

    vfio_user_proxy_set_timeout(rig->proxy, 20);
    g_assert_cmpint(vfio_user_proxy_call(rig->proxy, &call, &err), ==,
                    -ETIMEDOUT);
    peer_assert_error(err, "no reply within 20 ms");
    vfio_user_proxy_set_timeout(rig->proxy, PEER_DEADLINE / 1000);
    header = rig_recv_header(rig, call.command);
    header.flags = REFUSAL;
    send_header(rig, header);
    send_header(rig, (VFIOUserHeader) { .id = ARGSZ, .flags = REFUSAL });
    rig_assert_in_sync(rig);
}

static void test_descriptor(void)
{
    g_autoptr(Rig) rig = rig_new();
    int fd = peer_new_fd();

    refuse(rig, PROPERTY, ARGSZ);
    peer_send(rig->peer, (VFIOUserHeader) { .id = ARGSZ, .flags = REFUSAL },
              NULL, 0, &fd, 1);
    rig_assert_lost(rig, "error reply with 1 descriptors");
    close(fd);
}

/* Messages that are not strays */

typedef struct Other {
    const char *name;
    VFIOUserHeader header;
    uint32_t argsz;             /* 0: ARGSZ */
    bool mandatory;             /* the refused command is not optional */
    const char *rule;
} Other;

static const Other others[] = {
    { "not-optional", { ARGSZ, .flags = REFUSAL }, .mandatory = true,
      .rule = "no such command" },
    { "other-id", { ARGSZ + 1, .flags = REFUSAL }, .rule = "no such command" },
    { "other-command", { ARGSZ, 99, .flags = REFUSAL },
      .rule = "no such command" },
    { "no-error", { ARGSZ, .flags = VFIO_USER_TYPE_REPLY },
      .rule = "no such command" },
    { "request", { ARGSZ, .flags = VFIO_USER_TYPE_COMMAND },
      .rule = "no such command" },
    { "type-2", { ARGSZ, .flags = 2 | VFIO_USER_ERROR },
      .rule = "no such command" },
    { "no-reply", { ARGSZ, .flags = REFUSAL | VFIO_USER_NO_REPLY },
      .rule = "no such command" },
    { "longer", { ARGSZ, .size = 32, .flags = REFUSAL },
      .rule = "no such command" },
    { "shorter", { ARGSZ, .size = 15, .flags = REFUSAL },
      .rule = "no such command" },
    /* a payload that looks like a valid command */
    { "known-command", { ARGSZ, VFIO_USER_DMA_READ, .flags = REFUSAL },
      .argsz = VFIO_USER_DMA_READ << 16 | ARGSZ,
      .rule = "a command that only the server sends" },
};

static void test_other(gconstpointer data)
{
    const Other *other = data;
    PeerCounts before = peer_counts();
    Rig *rig = rig_new();

    refuse(rig, other->mandatory ? NULL : PROPERTY, other->argsz ?: ARGSZ);
    send_header(rig, other->header);
    rig_assert_lost(rig, other->rule);
    rig_free(rig);
    peer_assert_counts(before);
}

static const RigTest tests[] = {
    { "/vfio-user/stray/dropped", test_dropped },
    { "/vfio-user/stray/none", test_none },
    { "/vfio-user/stray/twice", test_twice },
    { "/vfio-user/stray/late", test_late },
    { "/vfio-user/stray/descriptor", test_descriptor },
};

int main(int argc, char **argv)
{
    rig_init(argc, argv, tests, ARRAY_SIZE(tests));
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/stray/%s",
                                                others[i].name);

        g_test_add_data_func(path, &others[i], test_other);
    }
    return g_test_run();
}
