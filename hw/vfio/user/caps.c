/*
 * vfio-user version capabilities
 *
 * The capabilities are rows of a table: key, type, offset in the struct,
 * default and bounds.  To add a capability, add a row.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qnum.h"
#include "qobject/qbool.h"
#include "qobject/qstring.h"
#include "hw/vfio/user/caps.h"
#include "hw/vfio/user/wire.h"

const VFIOUserCaps vfio_user_caps_proposed = {
    .major = VFIO_USER_MAJOR,
    .minor = VFIO_USER_MINOR,
    .max_msg_fds = VFIO_USER_MAX_FDS,
    .max_data_xfer_size = 1 * MiB,
    .max_dma_maps = 65535,
    .pgsizes = 4 * KiB,
    .write_multiple = true,
    .twin_socket = true,
    .migration = true,
    .migration_pgsize = 4 * KiB,
    .max_bitmap_size = 512 * MiB,
};

typedef enum CapKind {
    CAP_U32,
    CAP_U64,
    CAP_BOOL,
} CapKind;

typedef struct CapRow {
    const char *key;
    CapKind kind;
    size_t offset;
    uint64_t fallback;          /* if the server omits it */
    uint64_t min;               /* smaller values are rejected */
    bool clamp;                 /* limit it to the proposed value */
} CapRow;

#define CAP(field) offsetof(VFIOUserCaps, field)

static const CapRow cap_rows[] = {
    { "max_msg_fds", CAP_U32, CAP(max_msg_fds), 1, 0, true },
    { "max_data_xfer_size", CAP_U64, CAP(max_data_xfer_size), 1 * MiB, 8,
      true },
    { "max_dma_maps", CAP_U32, CAP(max_dma_maps), 65535, 1, true },
    { "pgsizes", CAP_U64, CAP(pgsizes), 4 * KiB, 1 },
    { "write_multiple", CAP_BOOL, CAP(write_multiple), false, 0, true },
};

/* The client sends only the first row. */
static const CapRow twin_rows[] = {
    { "supported", CAP_BOOL, CAP(twin_socket), false, 0, true },
    { "fd_index", CAP_U32, CAP(twin_fd_index), UINT32_MAX, 0 },
};

static const CapRow migration_rows[] = {
    { "pgsize", CAP_U64, CAP(migration_pgsize), 4 * KiB, 1, true },
    { "max_bitmap_size", CAP_U64, CAP(max_bitmap_size), 512 * MiB, 8, true },
};

static uint64_t cap_get(const VFIOUserCaps *caps, const CapRow *row)
{
    const void *field = (const char *)caps + row->offset;

    switch (row->kind) {
    case CAP_U32:
        return *(const uint32_t *)field;
    case CAP_U64:
        return *(const uint64_t *)field;
    case CAP_BOOL:
        return *(const bool *)field;
    }
    g_assert_not_reached();
}

static void cap_set(VFIOUserCaps *caps, const CapRow *row, uint64_t value)
{
    void *field = (char *)caps + row->offset;

    switch (row->kind) {
    case CAP_U32:
        *(uint32_t *)field = MIN(value, UINT32_MAX);
        break;
    case CAP_U64:
        *(uint64_t *)field = value;
        break;
    case CAP_BOOL:
        *(bool *)field = value;
        break;
    }
}

static void caps_put(QDict *dict, const VFIOUserCaps *caps,
                     const CapRow *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t value = cap_get(caps, &rows[i]);

        if (rows[i].kind == CAP_BOOL) {
            qdict_put_bool(dict, rows[i].key, value);
        } else {
            qdict_put_obj(dict, rows[i].key,
                          QOBJECT(qnum_from_uint(value)));
        }
    }
}

uint32_t vfio_user_caps_max_request(const VFIOUserCaps *caps)
{
    return MIN(caps->max_data_xfer_size, VFIO_USER_MAX_REQUEST_DATA);
}

char *vfio_user_caps_to_json(const VFIOUserCaps *caps)
{
    g_autoptr(QDict) root = qdict_new();
    g_autoptr(GString) json = NULL;
    QDict *dict = qdict_new();

    caps_put(dict, caps, cap_rows, ARRAY_SIZE(cap_rows));
    if (caps->twin_socket) {
        QDict *twin = qdict_new();

        caps_put(twin, caps, twin_rows, 1);
        qdict_put(dict, "twin_socket", twin);
    }
    if (caps->migration) {
        QDict *migration = qdict_new();

        caps_put(migration, caps, migration_rows,
                 ARRAY_SIZE(migration_rows));
        qdict_put(dict, "migration", migration);
    }
    qdict_put(root, "capabilities", dict);
    json = qobject_to_json(QOBJECT(root));
    return g_string_free(g_steal_pointer(&json), false);
}

static bool cap_read(const QObject *obj, const CapRow *row, uint64_t *value,
                     Error **errp)
{
    if (row->kind == CAP_BOOL) {
        QBool *qbool = qobject_to(QBool, obj);

        if (!qbool) {
            error_setg(errp, "capability '%s' is not a boolean", row->key);
            return false;
        }
        *value = qbool_get_bool(qbool);
        return true;
    }
    if (!qobject_to(QNum, obj) ||
        !qnum_get_try_uint(qobject_to(QNum, obj), value)) {
        error_setg(errp, "capability '%s' is not a non-negative integer",
                   row->key);
        return false;
    }
    if (*value < row->min) {
        error_setg(errp, "capability '%s' is %" PRIu64 ", must be at least %"
                   PRIu64, row->key, *value, row->min);
        return false;
    }
    return true;
}

static bool caps_take(const QDict *dict, const CapRow *rows, size_t n,
                      const VFIOUserCaps *proposed, VFIOUserCaps *caps,
                      Error **errp)
{
    for (size_t i = 0; i < n; i++) {
        QObject *obj = dict ? qdict_get(dict, rows[i].key) : NULL;
        uint64_t value = rows[i].fallback;

        if (obj && !cap_read(obj, &rows[i], &value, errp)) {
            return false;
        }
        if (rows[i].clamp) {
            value = MIN(value, cap_get(proposed, &rows[i]));
        }
        cap_set(caps, &rows[i], value);
    }
    return true;
}

/*
 * Sets @child to the object under @key, or to NULL if it is missing.  Returns
 * false if it is not an object.
 */
static bool caps_child(const QDict *dict, const char *key, QDict **child,
                       Error **errp)
{
    QObject *obj = dict ? qdict_get(dict, key) : NULL;

    *child = obj ? qobject_to(QDict, obj) : NULL;
    if (obj && !*child) {
        error_setg(errp, "'%s' of the server's capabilities is not an object",
                   key);
        return false;
    }
    return true;
}

/* "Version data" are optional: *@root is NULL if they are missing. */
static bool caps_decode(const char *data, size_t size, QDict **root,
                        Error **errp)
{
    g_autofree char *text = g_strndup(data, size);
    QObject *obj;
    Error *err = NULL;

    *root = NULL;
    if (!*text) {
        return true;
    }
    obj = qobject_from_json(text, &err);
    *root = qobject_to(QDict, obj);
    if (!*root) {
        error_setg(errp, "the server's capabilities are not a JSON object%s%s",
                   err ? ": " : "", err ? error_get_pretty(err) : "");
        error_free(err);
        qobject_unref(obj);
        return false;
    }
    return true;
}

static bool caps_check_version(const VFIOUserCaps *proposed,
                               const VFIOUserVersion *version, Error **errp)
{
    if (version->major != proposed->major) {
        error_setg(errp, "the server speaks protocol version %u.%u,"
                   " this client %u.%u", version->major, version->minor,
                   proposed->major, proposed->minor);
        return false;
    }
    if (version->minor > proposed->minor) {
        error_setg(errp, "the server answered with protocol version %u.%u,"
                   " above the %u.%u that was proposed", version->major,
                   version->minor, proposed->major, proposed->minor);
        return false;
    }
    return true;
}

bool vfio_user_caps_parse(const VFIOUserCaps *proposed,
                          const void *payload, size_t size,
                          VFIOUserCaps *caps, Error **errp)
{
    VFIOUserVersion version;
    VFIOUserCaps parsed = { };
    g_autoptr(QDict) root = NULL;
    QDict *dict, *twin, *migration;

    assert(size >= sizeof(version));
    memcpy(&version, payload, sizeof(version));
    if (!caps_check_version(proposed, &version, errp)) {
        return false;
    }
    parsed.major = version.major;
    parsed.minor = version.minor;

    if (!caps_decode((const char *)payload + sizeof(version),
                     size - sizeof(version), &root, errp) ||
        !caps_child(root, "capabilities", &dict, errp) ||
        !caps_take(dict, cap_rows, ARRAY_SIZE(cap_rows), proposed, &parsed,
                   errp) ||
        !caps_child(dict, "twin_socket", &twin, errp) ||
        !caps_take(twin, twin_rows, ARRAY_SIZE(twin_rows), proposed, &parsed,
                   errp) ||
        !caps_child(dict, "migration", &migration, errp) ||
        !caps_take(migration, migration_rows, ARRAY_SIZE(migration_rows),
                   proposed, &parsed, errp)) {
        return false;
    }
    parsed.migration = migration;
    *caps = parsed;
    return true;
}
