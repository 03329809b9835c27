/*
 * vfio-user dirty tracking
 *
 * Start and stop tracking, and fetch the dirty bitmap of a range, with
 * DIRTY_PAGES or with DMA_LOGGING.  See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qemu/atomic.h"
#include "qapi/error.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/dirty.h"
#include "trace.h"

/*
 * Other page sizes of a server are rejected: they would need huge bitmaps or
 * mark too much memory per bit.
 */
#define MIN_PGSIZE 512
#define MAX_PGSIZE (1 * GiB)

/*
 * A message of libvfio-user, with pages of 4 KiB, holds the bits of at least
 * this many bytes.  A server with smaller messages is not libvfio-user and
 * reports a map's bitmap in pieces: the size of its maps is not limited.
 */
#define MIN_WHOLE_MAP (16 * GiB)

/* The size of a bitmap is a multiple of this many bits. */
#define WORD_BITS 64

/*
 * Limits for bitmap requests in flight: fewer than there are slots, and only a
 * few with long replies, enough for the server to send one while QEMU processes
 * another.
 */
#define MAX_BEGUN 64
#define MAX_BEGUN_BYTES (2 * MiB)

/*
 * A request covers two maps only if there are at most this many bits between
 * them: transferring these is cheaper than a second request.
 */
#define MAX_HOLE (32 * KiB)

/* Heads of replies with a bitmap; the bits follow. */
typedef struct QEMU_PACKED PagesHead {
    VFIOUserDirtyPages pages;
    VFIOUserBitmapRange range;
} PagesHead;

typedef struct QEMU_PACKED LoggingHead {
    VFIOUserDeviceFeature feature;
    VFIOUserLoggingReport report;
} LoggingHead;

typedef struct QEMU_PACKED UnmapHead {
    VFIOUserDMAUnmap unmap;
    VFIOUserBitmap bitmap;
} UnmapHead;

#define MAX_HEAD sizeof(PagesHead)
QEMU_BUILD_BUG_ON(sizeof(PagesHead) != 40);
QEMU_BUILD_BUG_ON(sizeof(LoggingHead) > MAX_HEAD);
QEMU_BUILD_BUG_ON(sizeof(UnmapHead) > MAX_HEAD);

void vfio_user_dirty_init(VFIOUserDirty *d, VFIOUserProxy *proxy,
                          const VFIOUserCaps *caps)
{
    *d = (VFIOUserDirty) { .proxy = proxy, .caps = caps };
}

void vfio_user_dirty_destroy(VFIOUserDirty *d)
{
    g_clear_pointer(&d->ranges, g_array_unref);
}

/* Bitmap bytes for @size bytes of memory. */
static uint64_t bitmap_size(const VFIOUserDirty *d, uint64_t size)
{
    return DIV_ROUND_UP(DIV_ROUND_UP(size, d->pgsize), WORD_BITS) * 8;
}

/*
 * Most bitmap bytes in one message, from the negotiated maximum for bitmaps and
 * for data.  The latter includes the head, as libvfio-user counts it.
 */
static uint64_t max_bitmap(const VFIOUserDirty *d)
{
    uint64_t data = d->caps->max_data_xfer_size;

    data = data > MAX_HEAD ? data - MAX_HEAD : 0;
    return MAX(QEMU_ALIGN_DOWN(MIN(data, d->caps->max_bitmap_size), 8), 8);
}

uint64_t vfio_user_dirty_max_map(const VFIOUserDirty *d)
{
    uint64_t size = max_bitmap(d) * 8 * d->caps->migration_pgsize;

    return !d->caps->migration || size < MIN_WHOLE_MAP ?
           UINT64_MAX : QEMU_ALIGN_DOWN(size, MAX_PGSIZE);
}

/* Start and stop */

/* Tracking has failed because of @err.  Takes ownership of @err. */
static void tracking_failed(VFIOUserDirty *d, Error *err)
{
    qatomic_set(&d->tracked, false);
    if (!d->warned && vfio_user_proxy_state(d->proxy) == VFIO_USER_UP) {
        d->warned = true;
        warn_report("%s; the server does not track dirty pages: during"
                    " migration, all memory that it can write to is marked"
                    " dirty once the VM is stopped", error_get_pretty(err));
    }
    error_free(err);
}

static int start_pages(VFIOUserDirty *d, Error **errp)
{
    VFIOUserDirtyPages msg = {
        .argsz = sizeof(msg),
        .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
    };
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DIRTY_PAGES,
        .head = &msg,
        .head_size = sizeof(msg),
        /* 0.9.1 specifies an empty reply, libvfio-user returns the payload */
        .reply_max = sizeof(msg),
    };

    d->pgsize = d->caps->migration_pgsize;
    return vfio_user_proxy_call(d->proxy, &call, errp);
}

/*
 * Reduces @ranges to at most @most, which fit into one message: joins adjacent
 * ranges and, if that is not enough, ranges with gaps between them.
 */
static void join_ranges(GArray *ranges, size_t most)
{
    size_t group = DIV_ROUND_UP(ranges->len, most);
    guint n = 0;

    for (guint i = 0; i < ranges->len; i++) {
        VFIOUserLoggingRange *r = &g_array_index(ranges, VFIOUserLoggingRange,
                                                 i);
        VFIOUserLoggingRange *to = n ? &g_array_index(ranges,
                                                      VFIOUserLoggingRange,
                                                      n - 1) : NULL;

        if (to && (to->iova + to->length == r->iova || i % group)) {
            to->length = r->iova + r->length - to->iova;
        } else {
            g_array_index(ranges, VFIOUserLoggingRange, n++) = *r;
        }
    }
    g_array_set_size(ranges, n);
}

static int start_logging(VFIOUserDirty *d, GArray *ranges, Error **errp)
{
    size_t room = vfio_user_caps_max_request(d->caps);
    struct QEMU_PACKED {
        VFIOUserDeviceFeature feature;
        VFIOUserLoggingStart start;
    } msg = {
        .feature.flags = VFIO_DEVICE_FEATURE_SET |
                         VFIO_USER_FEATURE_DMA_LOGGING_START,
        .start.page_size = qemu_real_host_page_size(),
    };
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DEVICE_FEATURE,
        .head = &msg,
        .head_size = sizeof(msg),
        .data = ranges->data,
    };
    int ret;

    if (room < sizeof(msg.start) + sizeof(VFIOUserLoggingRange)) {
        error_setg(errp, "vfio-user %s: DMA_LOGGING_START: no range fits into"
                   " a request of %zu bytes", vfio_user_proxy_name(d->proxy),
                   room);
        return -E2BIG;
    }
    join_ranges(ranges, (room - sizeof(msg.start)) /
                        sizeof(VFIOUserLoggingRange));
    call.data_size = ranges->len * sizeof(VFIOUserLoggingRange);
    call.reply_max = sizeof(msg) + call.data_size;
    msg.feature.argsz = call.reply_max;
    msg.start.num_ranges = ranges->len;
    ret = vfio_user_proxy_call(d->proxy, &call, errp);
    if (ret < 0) {
        return ret;
    }
    if (call.reply_size < sizeof(msg)) {
        error_setg(errp, "vfio-user %s: DMA_LOGGING_START: a reply of %zu"
                   " bytes is too short", vfio_user_proxy_name(d->proxy),
                   call.reply_size);
        return -EPROTO;
    }
    memcpy(&msg, call.reply, sizeof(msg));
    d->pgsize = msg.start.page_size;
    g_clear_pointer(&d->ranges, g_array_unref);
    d->ranges = g_array_ref(ranges);
    return 0;
}

/* Does not wait for the reply: it does no harm if tracking continues. */
static void stop_pages(VFIOUserDirty *d)
{
    VFIOUserDirtyPages msg = {
        .argsz = sizeof(msg),
        .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP,
    };
    VFIOUserCall call = {
        .command = VFIO_USER_DIRTY_PAGES,
        .head = &msg,
        .head_size = sizeof(msg),
    };

    vfio_user_proxy_notify(d->proxy, &call, NULL);
}

static void stop_logging(VFIOUserDirty *d)
{
    VFIOUserDeviceFeature msg = {
        .argsz = sizeof(msg),
        .flags = VFIO_DEVICE_FEATURE_SET | VFIO_USER_FEATURE_DMA_LOGGING_STOP,
    };
    VFIOUserCall call = {
        .command = VFIO_USER_DEVICE_FEATURE,
        .head = &msg,
        .head_size = sizeof(msg),
    };

    vfio_user_proxy_notify(d->proxy, &call, NULL);
}

void vfio_user_dirty_resume(VFIOUserDirty *d, VFIOUserProxy *proxy)
{
    d->proxy = proxy;
    d->whole_maps = false;
    qatomic_set(&d->tracked, false);
}

void vfio_user_dirty_enable(VFIOUserDirty *d)
{
    assert(bql_locked());
    d->enabled = true;
    d->whole_maps = false;
    qatomic_set(&d->tracked, false);
}

static int dirty_start(VFIOUserDirty *d, GArray *maps, Error **errp)
{
    int ret = d->kind == VFIO_USER_DIRTY_BY_PAGES
              ? start_pages(d, errp)
              : start_logging(d, maps, errp);

    if (ret == 0 && (!is_power_of_2(d->pgsize) || d->pgsize < MIN_PGSIZE ||
                     d->pgsize > MAX_PGSIZE)) {
        error_setg(errp, "vfio-user %s: invalid dirty page size 0x%" PRIx64,
                   vfio_user_proxy_name(d->proxy), d->pgsize);
        ret = -EPROTO;
    }
    return ret;
}

int vfio_user_dirty_start(VFIOUserDirty *d, GArray *maps, Error **errp)
{
    Error *err = NULL;
    int ret;

    if (d->kind == VFIO_USER_DIRTY_UNSUPPORTED || !maps->len ||
        vfio_user_proxy_state(d->proxy) != VFIO_USER_UP) {
        return 0;
    }
    ret = dirty_start(d, maps, &err);
    if (ret == -ETIMEDOUT) {
        error_propagate(errp, err);
        return ret;
    }
    if (ret < 0) {
        tracking_failed(d, err);
        return 0;
    }
    qatomic_set(&d->tracked, true);
    trace_vfio_user_dirty_start(vfio_user_proxy_name(d->proxy), d->pgsize);
    return 0;
}

void vfio_user_dirty_stop(VFIOUserDirty *d)
{
    bool tracked = d->tracked;

    assert(bql_locked());
    d->enabled = false;
    qatomic_set(&d->tracked, false);
    if (!tracked || vfio_user_proxy_state(d->proxy) != VFIO_USER_UP) {
        return;
    }
    if (d->kind == VFIO_USER_DIRTY_BY_PAGES) {
        stop_pages(d);
    } else {
        stop_logging(d);
    }
    trace_vfio_user_dirty_stop(vfio_user_proxy_name(d->proxy));
}

/* For a binary search: there may be as many ranges as fit into a message. */
static gint compare_range(gconstpointer range, gconstpointer iova)
{
    const VFIOUserLoggingRange *r = range;
    uint64_t at = *(const uint64_t *)iova;

    if (at < r->iova) {
        return 1;
    }
    return at - r->iova < r->length ? 0 : -1;
}

bool vfio_user_dirty_covers(const VFIOUserDirty *d, uint64_t iova,
                            uint64_t size)
{
    const VFIOUserLoggingRange *r;
    guint i;

    /* a bit must not cover memory outside the range */
    if (!qatomic_read(&d->tracked) || (iova | size) & (d->pgsize - 1)) {
        return false;
    }
    if (d->kind != VFIO_USER_DIRTY_BY_LOGGING) {
        return true;
    }
    if (!g_array_binary_search(d->ranges, &iova, compare_range, &i)) {
        return false;
    }
    r = &g_array_index(d->ranges, VFIOUserLoggingRange, i);
    return size <= r->length - (iova - r->iova);
}

/* Fetching */

/* One request for a bitmap. */
typedef struct Piece {
    guint map;                  /* index of the first map */
    guint maps;                 /* number of maps */
    uint64_t iova;
    uint64_t size;
    uint64_t bitmap;            /* bytes */
    uint64_t head;              /* bytes of the reply before the bitmap */
    union {
        PagesHead pages;
        LoggingHead logging;
    };
    VFIOUserCall call;
} Piece;

static void piece_free(Piece *p)
{
    vfio_user_call_clear(&p->call);
    g_free(p);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Piece, piece_free)

/* A call of vfio_user_dirty_fetch(). */
typedef struct Fetch {
    VFIOUserDirty *d;
    GArray *maps;               /* VFIOUserDirtyMap, ascending */
    guint map;                  /* the next request starts in this map, */
    uint64_t offset;            /* at this offset */
    GQueue begun;               /* Piece, in flight, the oldest first */
    uint64_t begun_bytes;       /* of their bitmaps */
    /* An error that stops this fetch but not the server's tracking */
    int error;                  /* -errno, or 0 */
    Error *why;
} Fetch;

static VFIOUserDirtyMap *map_at(const Fetch *f, guint i)
{
    return &g_array_index(f->maps, VFIOUserDirtyMap, i);
}

static void prepare_pages(const VFIOUserDirty *d, Piece *p)
{
    p->head = sizeof(p->pages);
    p->pages = (PagesHead) {
        .pages = {
            .argsz = p->head + p->bitmap,
            .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
        },
        .range = { p->iova, p->size, { d->pgsize, p->bitmap } },
    };
    p->call.command = VFIO_USER_DIRTY_PAGES;
    p->call.head = &p->pages;
}

static void prepare_logging(const VFIOUserDirty *d, Piece *p)
{
    p->head = sizeof(p->logging);
    p->logging = (LoggingHead) {
        .feature = {
            .argsz = p->head + p->bitmap,
            .flags = VFIO_DEVICE_FEATURE_GET |
                     VFIO_USER_FEATURE_DMA_LOGGING_REPORT,
        },
        .report = { p->iova, p->size, d->pgsize },
    };
    p->call.command = VFIO_USER_DEVICE_FEATURE;
    p->call.head = &p->logging;
}

/*
 * Checks that a reply has @size bytes, and that bytes @at to @head of it are
 * those of @echo, the request.
 */
static bool check_echo(const VFIOUserDirty *d, const VFIOUserCall *call,
                       const void *echo, size_t at, size_t head, size_t size,
                       Error **errp)
{
    if (call->reply_size != size) {
        error_setg(errp, "vfio-user %s: %s: a reply of %zu bytes, expected"
                   " %zu", vfio_user_proxy_name(d->proxy),
                   vfio_user_command_name(call->command), call->reply_size,
                   size);
        return false;
    }
    if (memcmp(call->reply + at, (const char *)echo + at, head - at)) {
        error_setg(errp, "vfio-user %s: %s: the reply has the dirty bitmap"
                   " of another range or page size",
                   vfio_user_proxy_name(d->proxy),
                   vfio_user_command_name(call->command));
        return false;
    }
    return true;
}

/* Whether a request for @iova to @end can include the map with index @next. */
static bool can_include(const Fetch *f, uint64_t iova, uint64_t end,
                        guint next)
{
    const VFIOUserDirty *d = f->d;
    const VFIOUserDirtyMap *map;

    if (d->kind != VFIO_USER_DIRTY_BY_LOGGING || d->whole_maps ||
        next == f->maps->len) {
        return false;
    }
    map = map_at(f, next);
    return !map->asked && (map->iova - end) / d->pgsize <= MAX_HOLE &&
           bitmap_size(d, map->iova + map->size - iova) <= max_bitmap(d) &&
           vfio_user_dirty_covers(d, iova, map->iova + map->size - iova);
}

/* Whether another request is needed; advances @f->map to its first map. */
static bool needs_request(Fetch *f)
{
    while (f->map < f->maps->len && map_at(f, f->map)->asked) {
        f->map++;
    }
    return !f->error && qatomic_read(&f->d->tracked) &&
           f->map < f->maps->len;
}

/* Returns the next request, for as many bits as fit into a message. */
static Piece *dirty_next_piece(Fetch *f)
{
    uint64_t most = max_bitmap(f->d) * 8 * f->d->pgsize;
    VFIOUserDirtyMap *map = map_at(f, f->map);
    Piece *p = g_new0(Piece, 1);

    p->map = f->map;
    p->maps = 1;
    p->iova = map->iova + f->offset;
    p->size = MIN(map->size - f->offset, most);
    f->offset += p->size;
    if (f->offset < map->size) {
        return p;
    }
    map->asked = true;
    f->offset = 0;
    while (can_include(f, p->iova, p->iova + p->size, p->map + p->maps)) {
        map = map_at(f, p->map + p->maps++);
        map->asked = true;
        p->size = map->iova + map->size - p->iova;
    }
    return p;
}

/*
 * Takes ownership of @err.  Without the big QEMU lock, the reason of an error
 * reply may be that a map has been removed in the meantime.  Such an error ends
 * tracking only if the next fetch under the lock gets it, too.
 */
static void fetch_failed(Fetch *f, int ret, Error *err)
{
    if (bql_locked() || ret == -EPROTO) {
        tracking_failed(f->d, err);
    } else if (!f->error) {
        f->error = ret;
        f->why = err;
    } else {
        error_free(err);
    }
}

static void begin_piece(Fetch *f)
{
    g_autoptr(Piece) p = dirty_next_piece(f);
    VFIOUserDirty *d = f->d;
    Error *err = NULL;
    int ret;

    p->bitmap = bitmap_size(d, p->size);
    if (d->kind == VFIO_USER_DIRTY_BY_PAGES) {
        prepare_pages(d, p);
    } else {
        prepare_logging(d, p);
    }
    p->call.head_size = p->head;
    p->call.reply_max = p->head + p->bitmap;
    ret = vfio_user_proxy_begin(d->proxy, &p->call, &err);
    if (ret < 0) {
        fetch_failed(f, ret, err);
        return;
    }
    f->begun_bytes += p->bitmap;
    g_queue_push_tail(&f->begun, g_steal_pointer(&p));
}

/* Marks the dirty pages of @map that are in the reply of @p. */
static void dirty_mark_map(const VFIOUserDirty *d, const Piece *p,
                           const VFIOUserDirtyMap *map)
{
    const unsigned long *bits =
        (const unsigned long *)(p->call.reply + p->head);
    uint64_t iova = MAX(map->iova, p->iova);
    uint64_t size = MIN(map->iova + map->size, p->iova + p->size) - iova;
    uint64_t first = (iova - p->iova) / d->pgsize;
    uint64_t pages = size / d->pgsize;
    g_autofree unsigned long *aligned = NULL;

    if (first % WORD_BITS) {
        if (find_next_bit(bits, first + pages, first) >= first + pages) {
            return;
        }
        aligned = bitmap_new(pages);
        bitmap_copy_with_src_offset(aligned, bits, first, pages);
    }
    vfio_user_dirty_mark_bits(map->ram_addr + (iova - map->iova), size,
                              d->pgsize, aligned ?: bits + BIT_WORD(first));
}

/*
 * libvfio-user reports only one map at a time.  If it refused a request for
 * several maps, requests them again one by one and returns true.
 */
static bool retry_single_maps(Fetch *f, const Piece *p, int ret)
{
    if (ret >= 0 || ret == -ETIMEDOUT || ret == -ECONNRESET || p->maps == 1) {
        return false;
    }
    for (guint i = 0; i < p->maps; i++) {
        map_at(f, p->map + i)->asked = false;
    }
    f->map = MIN(f->map, p->map);
    f->offset = 0;
    f->d->whole_maps = true;
    return true;
}

static void finish_piece(Fetch *f)
{
    g_autoptr(Piece) p = g_queue_pop_head(&f->begun);
    VFIOUserDirty *d = f->d;
    Error *err = NULL;
    int ret;

    /* the server was busy with the earlier requests: restart the deadline */
    vfio_user_proxy_renew(d->proxy, &p->call);
    ret = vfio_user_proxy_finish(d->proxy, &p->call, &err);
    f->begun_bytes -= p->bitmap;
    if (qatomic_read(&d->tracked) && retry_single_maps(f, p, ret)) {
        error_free(err);
        return;
    }
    if (ret == 0 &&
        !check_echo(d, &p->call, p->call.head,
                    d->kind == VFIO_USER_DIRTY_BY_PAGES
                    ? sizeof(p->pages.pages) : sizeof(p->logging.feature),
                    p->head, p->head + p->bitmap, &err)) {
        ret = -EPROTO;
    }
    if (ret < 0) {
        fetch_failed(f, ret, err);
        return;
    }
    trace_vfio_user_dirty_fetch(vfio_user_proxy_name(d->proxy), p->iova,
                                p->size);
    for (guint i = 0; i < p->maps; i++) {
        dirty_mark_map(d, p, map_at(f, p->map + i));
    }
    vfio_user_proxy_reuse(d->proxy, &p->call);
}

int vfio_user_dirty_fetch(VFIOUserDirty *d, GArray *maps, Error **errp)
{
    Fetch f = { .d = d, .maps = maps, .begun = G_QUEUE_INIT };

    while (needs_request(&f) || f.begun.length) {
        if (needs_request(&f) && f.begun.length < MAX_BEGUN &&
            f.begun_bytes < MAX_BEGUN_BYTES) {
            begin_piece(&f);
        } else {
            finish_piece(&f);
        }
    }
    if (f.error == -ETIMEDOUT) {
        error_propagate(errp, f.why);
        return f.error;
    }
    error_free(f.why);
    return 0;
}

bool vfio_user_dirty_unmap(VFIOUserDirty *d, uint64_t iova, uint64_t size,
                           ram_addr_t ram_addr, bool later)
{
    UnmapHead msg = {
        .unmap = { .flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
                   .iova = iova, .size = size },
    };
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DMA_UNMAP,
        .head = &msg,
        .head_size = sizeof(msg),
    };
    Error *err = NULL;

    assert(bql_locked());
    if (!d->enabled) {
        return false;
    }
    if (!qatomic_read(&d->tracked) || later ||
        d->kind != VFIO_USER_DIRTY_BY_PAGES ||
        vfio_user_proxy_state(d->proxy) != VFIO_USER_UP ||
        bitmap_size(d, size) > max_bitmap(d)) {
        vfio_user_dirty_mark(ram_addr, size);
        return false;
    }
    msg.bitmap = (VFIOUserBitmap) { d->pgsize, bitmap_size(d, size) };
    msg.unmap.argsz = sizeof(msg) + msg.bitmap.size;
    call.reply_max = msg.unmap.argsz;
    if (vfio_user_proxy_call(d->proxy, &call, &err) < 0) {
        vfio_user_dirty_mark(ram_addr, size);
        tracking_failed(d, err);
        return false;
    }
    if (check_echo(d, &call, &msg, sizeof(msg.unmap.argsz) +
                   sizeof(msg.unmap.flags), sizeof(msg), msg.unmap.argsz,
                   &err)) {
        vfio_user_dirty_mark_bits(ram_addr, size, d->pgsize,
                                  call.reply + sizeof(msg));
    } else {
        vfio_user_dirty_mark(ram_addr, size);
        tracking_failed(d, err);
    }
    return true;
}
