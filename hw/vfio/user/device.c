/*
 * vfio-user device
 *
 * Errors: an op returns -errno, and hw/vfio reports it with the device's name.
 * A failed access by the guest is reported here, rate-limited by report.h:
 * reads return all ones, writes are dropped.  A lost connection is reported
 * only once, where it is detected; after that, accesses fail silently in the
 * same way.
 *
 * Threads: see the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "hw/vfio/user/device-irqs.h"
#include "hw/vfio/user/region-info.h"
#include "trace.h"

/* With the big QEMU lock, a gap is open while a server is told everything. */
static bool device_is_lost(VFIOUserDevice *udev)
{
    return (vfio_user_gap_is_open(&udev->gap) && !bql_locked()) ||
           vfio_user_proxy_state(udev->proxy) != VFIO_USER_UP;
}

/*
 * A server that has come back must know everything that the last one knew
 * before the guest uses it.  Only the main loop uses it before.
 */
static bool may_use_server(VFIOUserDevice *udev)
{
    return bql_locked() || !vfio_user_gap_is_open(&udev->gap);
}

/* Whether the server was lost since @seen, see gap.h; it may be back. */
static bool lost_since(VFIOUserDevice *udev, uint64_t seen)
{
    return device_is_lost(udev) || !may_use_server(udev) ||
           vfio_user_gap_returns(&udev->gap) != seen;
}

/* Whether only the guest accesses the region, and not QEMU itself. */
static bool is_guest_region(VFIOUserDevice *udev, uint8_t nr)
{
    return nr < 64 && (udev->guest_regions & (1ULL << nr));
}

/* Handshake, information, reset */

/* Takes the descriptor at fd_index of the capabilities out of the reply. */
static bool take_twin_fd(VFIOUserDevice *udev, VFIOUserCall *call, int *fd,
                         Error **errp)
{
    uint32_t index = udev->caps.twin_fd_index;

    *fd = -1;
    if (!udev->caps.twin_socket) {
        return true;
    }
    if (index >= call->reply_nfds) {
        error_setg(errp, "twin_socket: fd_index is %u, but the reply has only"
                   " %zu descriptors", index, call->reply_nfds);
        return false;
    }
    *fd = call->reply_fds[index];
    call->reply_fds[index] = call->reply_fds[--call->reply_nfds];
    return true;
}

bool vfio_user_device_handshake(VFIOUserDevice *udev, int *twin_fd,
                                Error **errp)
{
    ERRP_GUARD();
    VFIOUserCaps proposed = vfio_user_caps_proposed;
    g_autofree char *json = NULL;
    VFIOUserVersion version = {
        .major = proposed.major,
        .minor = proposed.minor,
    };
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_VERSION,
        .head = &version,
        .head_size = sizeof(version),
        .reply_max = sizeof(version) + VFIO_USER_MAX_VERSION_DATA,
    };

    proposed.twin_socket &= vfio_user_proxy_passes_fds(udev->proxy);
    json = vfio_user_caps_to_json(&proposed);
    call.data = json;
    call.data_size = strlen(json) + 1;
    if (vfio_user_proxy_call(udev->proxy, &call, errp) < 0) {
        return false;
    }
    if (!vfio_user_caps_parse(&proposed, call.reply, call.reply_size,
                              &udev->caps, errp) ||
        !take_twin_fd(udev, &call, twin_fd, errp)) {
        error_prepend(errp, "vfio-user %s: ",
                      vfio_user_proxy_name(udev->proxy));
        return false;
    }
    trace_vfio_user_device_caps(vfio_user_proxy_name(udev->proxy),
                                udev->caps.major, udev->caps.minor,
                                udev->caps.max_msg_fds,
                                udev->caps.max_data_xfer_size,
                                udev->caps.max_dma_maps, udev->caps.pgsizes,
                                udev->caps.twin_socket);
    vfio_user_proxy_up(udev->proxy, udev->caps.max_data_xfer_size,
                       !udev->caps.twin_socket);
    return true;
}

bool vfio_user_device_get_info(VFIOUserDevice *udev,
                               struct vfio_device_info *info, Error **errp)
{
    VFIOUserDeviceInfo msg = { .argsz = sizeof(msg) };
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DEVICE_GET_INFO,
        .head = &msg,
        .head_size = sizeof(msg),
        .reply_max = VFIO_USER_MAX_INFO,
    };

    if (vfio_user_proxy_call(udev->proxy, &call, errp) < 0) {
        return false;
    }
    memcpy(&msg, call.reply, sizeof(msg));
    /* hw/vfio has region numbers of 8 bits */
    if (!msg.num_regions || msg.num_regions > UINT8_MAX + 1) {
        error_setg(errp, "vfio-user %s: DEVICE_GET_INFO: the device has %u"
                   " regions, must be 1 to %u",
                   vfio_user_proxy_name(udev->proxy), msg.num_regions,
                   UINT8_MAX + 1);
        return false;
    }
    info->flags = msg.flags & ~VFIO_DEVICE_FLAGS_CAPS;
    udev->can_reset = info->flags & VFIO_DEVICE_FLAGS_RESET;
    info->num_regions = msg.num_regions;
    info->num_irqs = msg.num_irqs;
    return true;
}

int vfio_user_device_reset(VFIOUserDevice *udev, Error **errp)
{
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DEVICE_RESET,
        .timeout_factor = VFIO_USER_BUDGET_RESET,
    };

    Error *err = NULL;
    int ret;

    if (device_is_lost(udev)) {
        return 0;
    }
    if (!udev->can_reset) {
        error_setg(errp, "vfio-user %s: the server does not offer DEVICE_RESET",
                   vfio_user_proxy_name(udev->proxy));
        return -ENOTSUP;
    }
    ret = vfio_user_proxy_call(udev->proxy, &call, &err);
    if (ret == -ETIMEDOUT && device_is_lost(udev)) {
        error_free(err);
        return 0;
    }
    error_propagate(errp, err);
    return ret;
}

int vfio_user_device_feature(VFIOUserDevice *udev,
                             struct vfio_device_feature *feature,
                             Error **errp)
{
    uint32_t argsz = feature->argsz, flags = feature->flags;
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DEVICE_FEATURE,
        .head = feature,
        .head_size = argsz,
        .reply_max = argsz,
        .optional = flags & VFIO_DEVICE_FEATURE_PROBE ?
                    "x-no-device-feature" : NULL,
    };
    VFIOUserDeviceFeature msg;
    int ret = vfio_user_proxy_call(udev->proxy, &call, errp);

    if (ret < 0) {
        return ret;
    }
    memcpy(&msg, call.reply, sizeof(msg));
    /* the reply to a GET must have all data, that to a SET need not */
    if (msg.flags != flags ||
        (!(flags & (VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PROBE)) &&
         call.reply_size != argsz)) {
        error_setg(errp, "vfio-user %s: DEVICE_FEATURE: asked with flags 0x%x"
                   " for %u bytes, the server answered with flags 0x%x and %zu"
                   " bytes", vfio_user_proxy_name(udev->proxy), flags, argsz,
                   msg.flags, call.reply_size);
        return -EPROTO;
    }
    memcpy(feature, call.reply, call.reply_size);
    feature->argsz = argsz;
    return 0;
}

/*
 * Not sent to the server: hw/vfio asks for features that need the kernel's
 * descriptors or QEMU's addresses.  The features that a server can have are
 * queried by the migration and dirty tracking files.
 */
static int device_feature(VFIODevice *vbasedev,
                          struct vfio_device_feature *feature)
{
    return -ENOTTY;
}

/*
 * Not sent to the server, because hw/vfio does not use the result: it does not
 * handle the error interrupt of this device, and vfio_user_device_learn_irqs()
 * finds out whether MSI-X can be resized.
 */
static int get_irq_info(VFIODevice *vbasedev, struct vfio_irq_info *info)
{
    info->flags = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE;
    info->count = 1;
    return 0;
}

/*
 * Returns a descriptor to map the region with, owned by the caller, or -1 if
 * the region has to be accessed by message.  Uses the first of several
 * descriptors: libvfio-user sends the same file once per sparse area, as older
 * versions of the specification require.
 */
static int take_region_fd(VFIODevice *vbasedev, VFIOUserCall *call,
                          const VFIOUserRegionInfo *asked)
{
    VFIOUserDevice *udev = vfio_user_device_of(vbasedev);
    int fd = call->reply_nfds ? call->reply_fds[0] : -1;
    Error *why = NULL;

    if (vfio_user_region_info_is_empty(call->reply)) {
        return -1;
    }
    if (!vfio_user_region_info_mappable(call->reply, fd, &why)) {
        warn_report("vfio-user %s: region %u is accessed by message, not"
                    " mapped: %s", vfio_user_proxy_name(udev->proxy),
                    asked->index, error_get_pretty(why));
        error_free(why);
        return -1;
    }
    vfio_user_close_fds(call->reply_fds + 1, call->reply_nfds - 1);
    call->reply_nfds = 0;
    return fd;
}

static int get_region_info(VFIODevice *vbasedev, struct vfio_region_info *info,
                           int *fd)
{
    VFIOUserDevice *udev = vfio_user_device_of(vbasedev);
    VFIOUserRegionInfo msg = {
        .argsz = info->argsz,
        .index = info->index,
    };
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DEVICE_GET_REGION_INFO,
        .head = &msg,
        .head_size = sizeof(msg),
        .reply_max = info->argsz,
    };
    Error *err = NULL;
    int ret;

    assert(bql_locked());
    ret = vfio_user_proxy_call(udev->proxy, &call, NULL);
    if (ret < 0) {
        return ret;
    }
    if (!vfio_user_region_info_check(call.reply, call.reply_size, &msg,
                                     &err)) {
        error_prepend(&err, "DEVICE_GET_REGION_INFO: region %u: ", msg.index);
        vfio_user_proxy_fail(udev->proxy, err);
        return -EPROTO;
    }

    QEMU_BUILD_BUG_ON(sizeof(VFIOUserRegionInfo) !=
                      sizeof(struct vfio_region_info));
    memset(info, 0, msg.argsz);
    memcpy(info, call.reply, call.reply_size);
    if (info->argsz <= msg.argsz && !vbasedev->no_mmap &&
        (info->flags & VFIO_REGION_INFO_FLAG_MMAP)) {
        *fd = take_region_fd(vbasedev, &call, &msg);
        if (*fd < 0) {
            info->flags &= ~VFIO_REGION_INFO_FLAG_MMAP;
        }
    }
    trace_vfio_user_device_region(vfio_user_proxy_name(udev->proxy),
                                  info->index, info->flags, info->size,
                                  info->offset, *fd);
    return 0;
}

/* Regions */

/* Callers retry on some errors; a server must not be able to cause that. */
static int region_error(int ret)
{
    return ret == -EAGAIN || ret == -EINTR ? -EIO : ret;
}

void vfio_user_device_report(VFIODevice *vbasedev, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    Error *err = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    error_setg(&err, "%s: %s", vbasedev->name, text);
    vfio_user_report(&vfio_user_device_of(vbasedev)->reports, err);
}

/*
 * Handles a failed access.  Returns true if the access is complete: that of a
 * lost device, or one by the guest, which is reported.  Otherwise, the caller
 * has to return the failure to QEMU.  Takes ownership of @err.
 */
static bool complete_failed_access(VFIODevice *vbasedev, uint8_t nr, off_t off,
                                   uint32_t size, bool lost, Error *err)
{
    VFIOUserDevice *udev = vfio_user_device_of(vbasedev);
    Error *report = NULL;
    bool complete = lost || is_guest_region(udev, nr);

    if (complete && !lost) {
        error_setg(&report, "%s (region %u, offset 0x%" PRIx64 ", %u bytes)",
                   error_get_pretty(err), nr, (uint64_t)off, size);
        vfio_user_report(&udev->reports, report);
    }
    error_free(err);
    return complete;
}

static int bad_reply(VFIOUserDevice *udev, const VFIOUserCall *call,
                     Error **errp)
{
    error_setg(errp, "vfio-user %s: %s: the reply does not match the request"
               " (region, offset or count)", vfio_user_proxy_name(udev->proxy),
               vfio_user_command_name(call->command));
    return -EPROTO;
}

/* Returns @count, the bytes transferred, or -EIO if it is zero. */
static int check_count(VFIOUserDevice *udev, const VFIOUserCall *call,
                       uint32_t count, uint32_t wanted, Error **errp)
{
    if (!count) {
        error_setg(errp, "vfio-user %s: %s: the server transferred 0 of %u"
                   " bytes", vfio_user_proxy_name(udev->proxy),
                   vfio_user_command_name(call->command), wanted);
        return -EIO;
    }
    return count;
}

int vfio_user_device_begin_read(VFIOUserDevice *udev, VFIOUserCall *call,
                                uint8_t nr, uint64_t off, uint32_t size,
                                Error **errp)
{
    const VFIOUserRegionRW msg = { .offset = off, .region = nr, .count = size };

    *call = (VFIOUserCall) {
        .command = VFIO_USER_REGION_READ,
        .head = &msg,
        .head_size = sizeof(msg),
        .reply_max = sizeof(msg) + size,
        .until = call->until,
    };
    return vfio_user_proxy_begin(udev->proxy, call, errp);
}

int vfio_user_device_finish_read(VFIOUserDevice *udev, VFIOUserCall *call,
                                 uint8_t nr, uint64_t off, uint32_t size,
                                 const uint8_t **data, Error **errp)
{
    VFIOUserRegionRW msg;
    int ret = vfio_user_proxy_finish(udev->proxy, call, errp);

    if (ret < 0) {
        return ret;
    }
    memcpy(&msg, call->reply, sizeof(msg));
    if (msg.offset != off || msg.region != nr || msg.count > size ||
        call->reply_size != sizeof(msg) + msg.count) {
        return bad_reply(udev, call, errp);
    }
    *data = call->reply + sizeof(msg);
    return check_count(udev, call, msg.count, size, errp);
}

int vfio_user_device_read_region(VFIOUserDevice *udev, VFIOUserCall *call,
                                 uint8_t nr, uint64_t off, uint32_t size,
                                 const uint8_t **data, Error **errp)
{
    int ret = vfio_user_device_begin_read(udev, call, nr, off, size, errp);

    return ret < 0 ? ret : vfio_user_device_finish_read(udev, call, nr, off,
                                                        size, data, errp);
}

/* @until: deadline of the whole access, as in VFIOUserCall */
static int device_read_some(VFIOUserDevice *udev, uint8_t nr, off_t off,
                            uint32_t size, void *data, int64_t until,
                            Error **errp)
{
    g_auto(VFIOUserCall) call = { .until = until };
    const uint8_t *bytes;
    int ret = vfio_user_device_read_region(udev, &call, nr, off, size, &bytes,
                                           errp);

    if (ret > 0) {
        memcpy(data, bytes, ret);
    }
    return ret;
}

static int post_write(VFIOUserDevice *udev, VFIOUserCall *call,
                      const VFIOUserRegionRW *msg, Error **errp)
{
    VFIOUserWriteMultiEntry entry = {
        .offset = msg->offset,
        .region = msg->region,
        .count = msg->count,
    };

    if (!udev->caps.write_multiple || msg->count > sizeof(entry.data)) {
        return vfio_user_proxy_post(udev->proxy, call, errp);
    }
    memcpy(&entry.data, call->data, msg->count);
    return vfio_user_proxy_post_write(udev->proxy, call, &entry, errp);
}

static int device_write_some(VFIOUserDevice *udev, uint8_t nr, uint64_t off,
                             uint32_t size, const void *data, bool post,
                             int64_t until, Error **errp)
{
    VFIOUserRegionRW msg = { .offset = off, .region = nr, .count = size };
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_REGION_WRITE,
        .head = &msg,
        .head_size = sizeof(msg),
        .data = data,
        .data_size = size,
        .reply_max = sizeof(msg),
        .until = until,
    };
    int ret;

    if (post && !vfio_user_proxy_is_congested(udev->proxy)) {
        ret = post_write(udev, &call, &msg, errp);
        return ret < 0 ? ret : size;
    }
    ret = vfio_user_proxy_call(udev->proxy, &call, errp);
    if (ret < 0) {
        return ret;
    }
    memcpy(&msg, call.reply, sizeof(msg));
    return msg.region == nr && msg.count <= size ?
           check_count(udev, &call, msg.count, size, errp) :
           bad_reply(udev, &call, errp);
}

int vfio_user_device_write_region(VFIOUserDevice *udev, uint8_t nr,
                                  uint64_t off, uint32_t size,
                                  const void *data, bool post, Error **errp)
{
    return device_write_some(udev, nr, off, size, data, post, 0, errp);
}

/* Whether the whole access is within the copy of a region. */
static bool is_copied(const VFIOUserRegionCopy *copy, uint8_t nr, off_t off,
                      uint32_t size)
{
    return copy->bytes && nr == copy->nr && off <= copy->size &&
           size <= copy->size - off;
}

static void write_copy(VFIOUserRegionCopy *copy, off_t off, uint32_t size,
                       const uint8_t *data)
{
    for (uint32_t i = 0; i < size; i++) {
        uint8_t *byte = &copy->bytes[off + i];

        *byte = (*byte & ~copy->wmask[off + i]) |
                (data[i] & copy->wmask[off + i]);
    }
}

/* Returns @size or -errno with @errp set. */
static int read_all(VFIOUserDevice *udev, uint8_t nr, off_t off, uint32_t size,
                    uint8_t *data, Error **errp)
{
    int64_t until = vfio_user_proxy_end(udev->proxy);
    uint32_t done = 0;

    if (!may_use_server(udev)) {
        error_setg(errp, "the server is away");
        return -ECONNRESET;
    }
    while (done < size) {
        int ret = device_read_some(udev, nr, off + done,
                                   MIN(size - done,
                                       udev->caps.max_data_xfer_size),
                                   data + done, until, errp);

        if (ret < 0) {
            return ret;
        }
        done += ret;
    }
    return size;
}

/*
 * Whether a guest's read that found no server, or lost it, may be tried again.
 * Waits for the server if it is expected to come back.
 */
static bool await_server(VFIOUserDevice *udev, uint8_t nr, uint64_t seen)
{
    if (!is_guest_region(udev, nr)) {
        return false;
    }
    vfio_user_gap_begin(&udev->gap, seen);
    return vfio_user_gap_wait(&udev->gap, seen);
}

static int region_read(VFIODevice *vbasedev, uint8_t nr, off_t off,
                       uint32_t size, void *data)
{
    VFIOUserDevice *udev = vfio_user_device_of(vbasedev);
    Error *err = NULL;
    uint64_t seen;
    bool lost;
    int ret;

    VFIO_USER_BUDGET_GUARD(udev->proxy, VFIO_USER_BUDGET_ORDINARY);
    if (is_copied(&udev->copy, nr, off, size)) {
        memcpy(data, udev->copy.bytes + off, size);
        return size;
    }
    do {
        error_free(err);
        err = NULL;
        seen = vfio_user_gap_returns(&udev->gap);
        ret = read_all(udev, nr, off, size, data, &err);
        lost = ret < 0 && lost_since(udev, seen);
    } while (lost && await_server(udev, nr, seen));
    if (ret < 0 && complete_failed_access(vbasedev, nr, off, size, lost,
                                          err)) {
        memset(data, 0xff, size);
        ret = size;
    }
    return ret < 0 ? region_error(ret) : ret;
}

/* Returns @size or -errno with @errp set. */
static int write_all(VFIOUserDevice *udev, uint8_t nr, off_t off, uint32_t size,
                     const uint8_t *data, bool post, Error **errp)
{
    int64_t until = vfio_user_proxy_end(udev->proxy);
    uint32_t most = vfio_user_caps_max_request(&udev->caps);
    uint32_t done = 0;

    if (!may_use_server(udev)) {
        error_setg(errp, "the server is away");
        return -ECONNRESET;
    }
    while (done < size) {
        int ret = device_write_some(udev, nr, off + done,
                                    MIN(size - done, most), data + done, post,
                                    until, errp);

        if (ret < 0) {
            return ret;
        }
        done += ret;
    }
    return size;
}

static int region_write(VFIODevice *vbasedev, uint8_t nr, off_t off,
                        uint32_t size, void *data, bool post)
{
    VFIOUserDevice *udev = vfio_user_device_of(vbasedev);
    uint64_t seen = vfio_user_gap_returns(&udev->gap);
    Error *err = NULL;
    bool lost;
    int ret;

    VFIO_USER_BUDGET_GUARD(udev->proxy, VFIO_USER_BUDGET_ORDINARY);
    if (is_copied(&udev->copy, nr, off, size)) {
        write_copy(&udev->copy, off, size, data);
        return size;
    }
    if (vfio_user_device_signal(udev, nr, off, size, data)) {
        return size;
    }
    ret = write_all(udev, nr, off, size, data, post, &err);
    lost = ret < 0 && lost_since(udev, seen);
    if (lost && is_guest_region(udev, nr)) {
        vfio_user_gap_drop_write(&udev->gap);
    }
    if (ret < 0 && complete_failed_access(vbasedev, nr, off, size, lost,
                                          err)) {
        ret = size;
    }
    return ret < 0 ? region_error(ret) : ret;
}

bool vfio_user_device_copy_region(VFIOUserDevice *udev, VFIODevice *vbasedev,
                                  uint8_t nr, uint32_t size, Error **errp)
{
    VFIOUserRegionCopy *copy = &udev->copy;
    g_autofree uint8_t *bytes = g_malloc(size);
    int ret = region_read(vbasedev, nr, 0, size, bytes);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot read region %u", nr);
        return false;
    }
    *copy = (VFIOUserRegionCopy) {
        .nr = nr,
        .size = size,
        .bytes = g_steal_pointer(&bytes),
        .wmask = g_malloc0(size),
    };
    return true;
}

void vfio_user_device_drop_copy(VFIOUserDevice *udev)
{
    g_clear_pointer(&udev->copy.bytes, g_free);
    g_clear_pointer(&udev->copy.wmask, g_free);
}

/* Lifecycle */

void vfio_user_device_init(VFIOUserDevice *udev, VFIODevice *vbasedev,
                           const VFIOUserDeviceOps *ops)
{
    udev->io_ops = (VFIODeviceIOOps) {
        .device_feature = device_feature,
        .get_region_info = get_region_info,
        .get_irq_info = get_irq_info,
        .set_irqs = vfio_user_device_set_irqs,
        .region_read = region_read,
        .region_write = region_write,
    };
    vbasedev->io_ops = &udev->io_ops;
    vbasedev->use_region_fds = true;
    udev->ops = ops;
    udev->unmask_fd = -1;
    vfio_user_gap_init(&udev->gap, OBJECT(vbasedev->dev), ops->wanted);
    vfio_user_reports_init(&udev->reports);
}

void vfio_user_device_destroy(VFIOUserDevice *udev)
{
    vfio_user_device_drop_copy(udev);
    vfio_user_device_drop_ioeventfds(udev);
    vfio_user_gap_destroy(&udev->gap);
    vfio_user_reports_destroy(&udev->reports);
}
