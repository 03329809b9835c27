/*
 * vfio-user version capabilities: JSON in, struct or message out
 *
 * A table of server replies and the expected results.  Starts no process and
 * opens no socket.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/vfio/user/caps.h"
#include "hw/vfio/user/wire.h"

typedef struct Row {
    const char *name;
    uint16_t major;
    uint16_t minor;
    const char *json;           /* NULL: a reply of 4 bytes */
    const char *error;          /* part of the message; NULL: accepted */
    VFIOUserCaps want;
} Row;

#define DEFAULTS                                                        \
    .minor = 1, .max_msg_fds = 1, .max_data_xfer_size = 1 * MiB,        \
    .max_dma_maps = 65535, .pgsizes = 4096, .migration_pgsize = 4096,   \
    .max_bitmap_size = 512 * MiB, .twin_fd_index = UINT32_MAX

static const Row rows[] = {
    { "no-json", 0, 1, NULL, NULL, { DEFAULTS } },
    { "empty-json", 0, 1, "", NULL, { DEFAULTS } },
    { "empty-object", 0, 1, "{}", NULL, { DEFAULTS } },
    { "empty-capabilities", 0, 1, "{\"capabilities\": {}}", NULL,
      { DEFAULTS } },
    { "older-minor", 0, 0, "{}", NULL, { DEFAULTS, .minor = 0 } },
    { "unknown-ignored", 0, 1,
      "{\"capabilities\": {\"colour\": [1, {}]}, \"x\": null}", NULL,
      { DEFAULTS } },
    { "all", 0, 1,
      "{\"capabilities\": {\"max_msg_fds\": 8, \"max_data_xfer_size\": 65536,"
      " \"max_dma_maps\": 64, \"pgsizes\": 2101248, \"migration\":"
      " {\"pgsize\": 1024, \"max_bitmap_size\": 4096}}}", NULL,
      { DEFAULTS, .max_msg_fds = 8, .max_data_xfer_size = 65536,
        .max_dma_maps = 64, .pgsizes = 2101248, .migration = true,
        .migration_pgsize = 1024, .max_bitmap_size = 4096 } },
    { "migration-clamped", 0, 1, "{\"capabilities\": {\"migration\":"
      " {\"pgsize\": 65536, \"max_bitmap_size\": 1099511627776}}}", NULL,
      { DEFAULTS, .migration = true } },
    { "migration-defaults", 0, 1, "{\"capabilities\": {\"migration\": {}}}",
      NULL, { DEFAULTS, .migration = true } },
    { "too-much-is-clamped", 0, 1,
      "{\"capabilities\": {\"max_msg_fds\": 4000000000,"
      " \"max_data_xfer_size\": 18446744073709551615,"
      " \"max_dma_maps\": 4294967296}}", NULL,
      { DEFAULTS, .max_msg_fds = VFIO_USER_MAX_FDS } },
    { "no-descriptors", 0, 1, "{\"capabilities\": {\"max_msg_fds\": 0}}", NULL,
      { DEFAULTS, .max_msg_fds = 0 } },
    { "write-multiple", 0, 1,
      "{\"capabilities\": {\"write_multiple\": true}}", NULL,
      { DEFAULTS, .write_multiple = true } },

    { "twin", 0, 1, "{\"capabilities\": {\"twin_socket\":"
      " {\"supported\": true, \"fd_index\": 3}}}", NULL,
      { DEFAULTS, .twin_socket = true, .twin_fd_index = 3 } },
    { "twin-without-index", 0, 1,
      "{\"capabilities\": {\"twin_socket\": {\"supported\": true}}}", NULL,
      { DEFAULTS, .twin_socket = true } },
    { "twin-not-supported", 0, 1,
      "{\"capabilities\": {\"twin_socket\": {\"supported\": false}}}", NULL,
      { DEFAULTS } },

    { "other-major", 1, 0, "{}", "version 1.0" },
    { "newer-minor", 0, 2, "{}", "version 0.2" },
    { "not-json", 0, 1, "HTTP/1.1 400 Bad Request", "not a JSON object" },
    { "array", 0, 1, "[1]", "not a JSON object" },
    { "cut-short", 0, 1, "{\"capabilities\": {\"max_", "not a JSON object" },
    { "capabilities-number", 0, 1, "{\"capabilities\": 1}", "'capabilities'" },
    { "migration-bool", 0, 1, "{\"capabilities\": {\"migration\": true}}",
      "'migration'" },
    { "twin-bool", 0, 1, "{\"capabilities\": {\"twin_socket\": true}}",
      "'twin_socket'" },
    { "twin-number", 0, 1,
      "{\"capabilities\": {\"twin_socket\": {\"supported\": 1}}}",
      "'supported' is not a boolean" },
    { "string-for-number", 0, 1, "{\"capabilities\": {\"max_msg_fds\": \"8\"}}",
      "'max_msg_fds' is not a non-negative integer" },
    { "negative", 0, 1, "{\"capabilities\": {\"max_msg_fds\": -1}}",
      "'max_msg_fds' is not a non-negative integer" },
    { "fraction", 0, 1, "{\"capabilities\": {\"max_dma_maps\": 1.5}}",
      "'max_dma_maps' is not a non-negative integer" },
    { "number-for-bool", 0, 1, "{\"capabilities\": {\"write_multiple\": 1}}",
      "'write_multiple' is not a boolean" },
    { "no-data", 0, 1, "{\"capabilities\": {\"max_data_xfer_size\": 0}}",
      "'max_data_xfer_size' is 0" },
    { "no-maps", 0, 1, "{\"capabilities\": {\"max_dma_maps\": 0}}",
      "'max_dma_maps' is 0" },
    { "no-page-size", 0, 1, "{\"capabilities\": {\"pgsizes\": 0}}",
      "'pgsizes' is 0" },
    { "migration-no-page-size", 0, 1,
      "{\"capabilities\": {\"migration\": {\"pgsize\": 0}}}", "'pgsize' is 0" },
    { "migration-no-bitmap", 0, 1,
      "{\"capabilities\": {\"migration\": {\"max_bitmap_size\": 7}}}",
      "'max_bitmap_size' is 7" },
};

static bool parse(uint16_t major, uint16_t minor, const char *json,
                  size_t json_size, VFIOUserCaps *caps, Error **errp)
{
    VFIOUserVersion version = { major, minor };
    g_autoptr(GByteArray) payload = g_byte_array_new();

    g_byte_array_append(payload, (const guint8 *)&version, sizeof(version));
    if (json) {
        g_byte_array_append(payload, (const guint8 *)json, json_size);
    }
    return vfio_user_caps_parse(&vfio_user_caps_proposed, payload->data,
                                payload->len, caps, errp);
}

static void assert_same(const VFIOUserCaps *a, const VFIOUserCaps *b)
{
    g_assert_cmpuint(a->major, ==, b->major);
    g_assert_cmpuint(a->minor, ==, b->minor);
    g_assert_cmpuint(a->max_msg_fds, ==, b->max_msg_fds);
    g_assert_cmpuint(a->max_data_xfer_size, ==, b->max_data_xfer_size);
    g_assert_cmpuint(a->max_dma_maps, ==, b->max_dma_maps);
    g_assert_cmpuint(a->pgsizes, ==, b->pgsizes);
    g_assert_cmpint(a->write_multiple, ==, b->write_multiple);
    g_assert_cmpint(a->twin_socket, ==, b->twin_socket);
    g_assert_cmpuint(a->twin_fd_index, ==, b->twin_fd_index);
    g_assert_cmpint(a->migration, ==, b->migration);
    g_assert_cmpuint(a->migration_pgsize, ==, b->migration_pgsize);
    g_assert_cmpuint(a->max_bitmap_size, ==, b->max_bitmap_size);
}

static void test_row(gconstpointer data)
{
    const Row *row = data;
    VFIOUserCaps untouched = { .max_msg_fds = 77 };
    VFIOUserCaps caps = untouched;
    Error *err = NULL;
    bool ok = parse(row->major, row->minor, row->json,
                    row->json ? strlen(row->json) + 1 : 0, &caps, &err);

    if (row->error) {
        g_assert_false(ok);
        g_assert_nonnull(strstr(error_get_pretty(err), row->error));
        assert_same(&caps, &untouched);
        error_free(err);
    } else {
        g_assert_true(ok);
        g_assert_null(err);
        assert_same(&caps, &row->want);
    }
}

/* The specification requires a terminating NUL, but some servers omit it. */
static void test_no_nul(void)
{
    const char *json = "{\"capabilities\": {\"max_msg_fds\": 3}}garbage";
    VFIOUserCaps caps;

    g_assert_true(parse(0, 1, json, strlen(json) - strlen("garbage"), &caps,
                        &error_abort));
    g_assert_cmpuint(caps.max_msg_fds, ==, 3);
}

static void test_deep_nesting(void)
{
    g_autofree char *json = g_strnfill(60000, '[');
    VFIOUserCaps caps;
    Error *err = NULL;

    g_assert_false(parse(0, 1, json, strlen(json) + 1, &caps, &err));
    error_free(err);
}

/* The client can parse its own proposal. */
static void test_round_trip(void)
{
    g_autofree char *json = vfio_user_caps_to_json(&vfio_user_caps_proposed);
    VFIOUserCaps want = vfio_user_caps_proposed;
    VFIOUserCaps caps;

    want.migration_pgsize = 4096;
    want.max_bitmap_size = 512 * MiB;
    want.twin_fd_index = UINT32_MAX;
    g_assert_true(parse(VFIO_USER_MAJOR, VFIO_USER_MINOR, json,
                        strlen(json) + 1, &caps, &error_abort));
    assert_same(&caps, &want);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/caps/%s",
                                                rows[i].name);

        g_test_add_data_func(path, &rows[i], test_row);
    }
    g_test_add_func("/vfio-user/caps/no-nul", test_no_nul);
    g_test_add_func("/vfio-user/caps/deep-nesting", test_deep_nesting);
    g_test_add_func("/vfio-user/caps/round-trip", test_round_trip);
    return g_test_run();
}
