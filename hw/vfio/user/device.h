/*
 * vfio-user device
 *
 * Implements VFIODeviceIOOps, the handshake and the reset with messages to the
 * server.  Knows no PCI: does not know what a region or an IRQ index means.
 *
 * Threads: the io ops are called from the main loop and from vCPUs.  vCPUs
 * access guest_regions without the big QEMU lock.  An op that is called with
 * the lock has a budget, see proxy.h, and does not release the lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_DEVICE_H
#define HW_VFIO_USER_DEVICE_H

#include "hw/vfio/vfio-device.h"
#include "hw/vfio/user/caps.h"
#include "hw/vfio/user/gap.h"
#include "hw/vfio/user/ioeventfd.h"
#include "hw/vfio/user/proxy.h"
#include "hw/vfio/user/report.h"

/* Number of IRQ indexes that have state in VFIOUserDevice. */
#define VFIO_USER_IRQ_INDEXES 8

/* Only regions with a lower index can have ioeventfds. */
#define VFIO_USER_IOEVENTFD_REGIONS 6

/* The interrupts of one index.  Protected by the big QEMU lock. */
typedef struct VFIOUserIRQs {
    bool known;                 /* vfio_user_device_learn_irqs() set count */
    bool unmask;                /* unmask all when the first is armed */
    bool armed;                 /* one got a descriptor since all were off */
    uint32_t count;             /* interrupts of the server */
} VFIOUserIRQs;

typedef struct VFIOUserDevice VFIOUserDevice;

/* Implemented by the PCI device.  All are required. */
typedef struct VFIOUserDeviceOps {
    /*
     * Resets the device and QEMU's state of it, under the big QEMU lock.
     * device_cold_reset() would do nothing during a reset of the VM.
     */
    void (*reset)(VFIOUserDevice *udev);
    /*
     * QEMU has reset the device to recover from an error; the guest did not ask
     * for that.  Called with migration locks held, with the big QEMU lock or
     * without.  Must not call the server.
     */
    void (*was_reset)(VFIOUserDevice *udev);
    /* Sent an UNMASK that hw/vfio asked for; under the big QEMU lock. */
    void (*unmasked)(VFIOUserDevice *udev, uint32_t index);
    /* Delivers pending interrupts to the guest; under the big QEMU lock. */
    void (*drain_irqs)(VFIOUserDevice *udev);
    /* What other threads want of this one; any thread. */
    VFIOUserWanted (*wanted)(void);
} VFIOUserDeviceOps;

/*
 * A copy of a region that is used in place of the server's during realize, so
 * that the server cannot change bytes after they were checked.  A write changes
 * only the bits in @wmask.
 */
typedef struct VFIOUserRegionCopy {
    uint8_t nr;
    uint32_t size;
    uint8_t *bytes;             /* NULL: no copy, access the server */
    uint8_t *wmask;
} VFIOUserRegionCopy;

struct VFIOUserDevice {
    VFIODeviceIOOps io_ops;     /* of the VFIODevice; for container_of() */
    const VFIOUserDeviceOps *ops;       /* constant */
    /*
     * The connection to the present server.  Changes only in a gap, with the
     * big QEMU lock; threads without that lock are in an RCU read-side critical
     * section, or the device is not in a gap as long as they use it.
     */
    VFIOUserProxy *proxy;
    VFIOUserGap gap;
    VFIOUserReports reports;
    VFIOUserCaps caps;          /* negotiated; constant after the handshake */
    bool can_reset;             /* the server offers DEVICE_RESET */
    /* Do not send these commands */
    bool no_region_io_fds;
    bool no_device_feature;
    /* A bit per region that only the guest accesses; constant after realize */
    uint64_t guest_regions;
    VFIOUserRegionCopy copy;    /* protected by the big QEMU lock */
    /* Per region, NULL if it has none; as @proxy */
    VFIOUserIoeventfds *ioeventfds[VFIO_USER_IOEVENTFD_REGIONS];
    /* A guest's write can overtake a message; constant after realize */
    bool direct_path;
    VFIOUserIRQs irqs[VFIO_USER_IRQ_INDEXES];
    /*
     * The VM was reset while the device was stopped and could not be reset.
     * The reset is done when the device runs, is saved or is loaded.  Protected
     * by the big QEMU lock.
     */
    bool reset_pending;
    /* Duplicate of the eventfd that triggers UNMASK of @unmask_index, or -1 */
    int unmask_fd;
    uint32_t unmask_index;
};

/*
 * Locks: vfio_user_device_handshake(), _get_info(), _get_irq_info(),
 * _read_region(), _write_region(), _feature(), _reset(), and the io ops
 * region_read and region_write call the server with the big QEMU lock or
 * without.  All others need the lock.  Under the lock they wait within the
 * budget that is open, or within their own.
 */

/**
 * vfio_user_device_handshake:
 * @twin_fd: set to the descriptor of the twin socket, owned by the caller, or
 *           to -1 if the server does not use one
 *
 * Proposes a version and capabilities, and checks the server's reply.
 * Specification: "VFIO_USER_VERSION".
 *
 * Returns true with @udev->caps filled and the proxy UP, or false with @errp
 * set.
 */
bool vfio_user_device_handshake(VFIOUserDevice *udev, int *twin_fd,
                                Error **errp);

/**
 * vfio_user_device_get_info:
 * @info: filled, without capabilities
 *
 * Returns true, or false with @errp set.
 * Specification: "VFIO_USER_DEVICE_GET_INFO".
 */
bool vfio_user_device_get_info(VFIOUserDevice *udev,
                               struct vfio_device_info *info, Error **errp);

/**
 * vfio_user_device_init:
 * @vbasedev: initialized, with its device; gets the io_ops of @udev
 *
 * Must be called first, before the proxy exists.
 */
void vfio_user_device_init(VFIOUserDevice *udev, VFIODevice *vbasedev,
                           const VFIOUserDeviceOps *ops);
/* The device must not be in use any more. */
void vfio_user_device_destroy(VFIOUserDevice *udev);

static inline VFIOUserDevice *vfio_user_device_of(VFIODevice *vbasedev)
{
    return container_of(vbasedev->io_ops, VFIOUserDevice, io_ops);
}

/**
 * vfio_user_device_copy_region:
 * @size: bytes, from the start of the region
 *
 * Reads a region once.  Until vfio_user_device_drop_copy(), accesses through
 * hw/vfio use this copy instead of the server.
 *
 * Returns true, or false with @errp set.
 */
bool vfio_user_device_copy_region(VFIOUserDevice *udev, VFIODevice *vbasedev,
                                  uint8_t nr, uint32_t size, Error **errp);
void vfio_user_device_drop_copy(VFIOUserDevice *udev);

/**
 * vfio_user_device_report:
 *
 * Reports an error that the guest can cause, rate-limited by report.h.  The
 * device's name is prepended to the text.
 */
void G_GNUC_PRINTF(2, 3)
vfio_user_device_report(VFIODevice *vbasedev, const char *fmt, ...);

/**
 * vfio_user_device_get_irq_info:
 *
 * For callers other than hw/vfio.  For hw/vfio, the server is queried by
 * vfio_user_device_learn_irqs().
 *
 * Returns 0 or -errno; -EPROTO if the reply is invalid.
 * Specification: "VFIO_USER_DEVICE_GET_IRQ_INFO".
 */
int vfio_user_device_get_irq_info(VFIOUserDevice *udev, uint32_t index,
                                  struct vfio_irq_info *info);

/**
 * vfio_user_device_learn_irqs:
 * @index: IRQ index, below VFIO_USER_IRQ_INDEXES
 * @wanted: interrupts that the guest may use
 * @unmask: unmask all interrupts of the index when the first gets a descriptor.
 *          Whether they are delivered is decided in QEMU, but a server may have
 *          its own mask, initially set, without reporting it.
 *
 * Queries how many interrupts the server has.  Warns if the server returns an
 * error or has fewer than @wanted.  Interrupts that the server does not have
 * are never armed.
 *
 * Returns VFIO_IRQ_INFO_ flags, or 0 if the server has no interrupts.  If the
 * query failed, returns the flags that apply to every server.
 * Specification: "VFIO_USER_DEVICE_GET_IRQ_INFO".
 */
uint32_t vfio_user_device_learn_irqs(VFIOUserDevice *udev, uint32_t index,
                                     uint32_t wanted, bool unmask);

/**
 * vfio_user_device_feature:
 * @feature: argsz bytes; receives the data of the server's reply
 *
 * Returns 0 or -errno with @errp set; -EPROTO if the reply does not match the
 * request or is too short.
 * Specification: DEVICE_FEATURE of servers later than 0.9.1.
 */
int vfio_user_device_feature(VFIOUserDevice *udev,
                             struct vfio_device_feature *feature,
                             Error **errp);

/**
 * vfio_user_device_read_region:
 * @call: owns the data until vfio_user_call_clear()
 * @size: 1 to max_data_xfer_size bytes
 * @data: set to the bytes of the reply
 *
 * A read by QEMU itself, which has to handle failures.  The guest's accesses
 * use region_read of the io ops.
 *
 * Returns the number of bytes read, 1 or more, or -errno with @errp set.
 * Specification: "VFIO_USER_REGION_READ".
 */
int vfio_user_device_read_region(VFIOUserDevice *udev, VFIOUserCall *call,
                                 uint8_t nr, uint64_t off, uint32_t size,
                                 const uint8_t **data, Error **errp);

/*
 * The same in two halves, between which the server works.  The second one must
 * follow if the first one returns 0.
 */
int vfio_user_device_begin_read(VFIOUserDevice *udev, VFIOUserCall *call,
                                uint8_t nr, uint64_t off, uint32_t size,
                                Error **errp);
int vfio_user_device_finish_read(VFIOUserDevice *udev, VFIOUserCall *call,
                                 uint8_t nr, uint64_t off, uint32_t size,
                                 const uint8_t **data, Error **errp);

/**
 * vfio_user_device_write_region:
 * @size: of @data, 1 to vfio_user_caps_max_request() bytes
 * @post: post the write, unless the connection is congested
 *
 * A write by QEMU itself, which has to handle failures.
 *
 * Returns the number of bytes written, 1 or more, or -errno with @errp set.
 * Specification: "VFIO_USER_REGION_WRITE".
 */
int vfio_user_device_write_region(VFIOUserDevice *udev, uint8_t nr,
                                  uint64_t off, uint32_t size,
                                  const void *data, bool post, Error **errp);

/**
 * vfio_user_device_unmask_irqs:
 *
 * Unmasks the armed interrupts again; see @unmask of
 * vfio_user_device_learn_irqs().  Call this after a reset of a device with
 * armed interrupts, which may have set the server's masks.  Posted; errors are
 * ignored.
 */
void vfio_user_device_unmask_irqs(VFIODevice *vbasedev);

/* The server has forgotten which interrupts are armed. */
void vfio_user_device_forget_irqs(VFIOUserDevice *udev);

/**
 * vfio_user_device_reset:
 *
 * Returns 0 or -errno with @errp set; -ENOTSUP if the server does not offer it.
 * Returns 0, too, if the device is lost or is lost now because the server does
 * not reply.
 * Specification: "VFIO_USER_DEVICE_RESET".
 */
int vfio_user_device_reset(VFIOUserDevice *udev, Error **errp);

/**
 * vfio_user_device_get_ioeventfds:
 * @region: writable, its index below VFIO_USER_IOEVENTFD_REGIONS
 *
 * Queries the ioeventfds of a region and fills @udev->ioeventfds[].  An error
 * reply means that the region has none.  Invalid entries are skipped with a
 * warning.
 *
 * Returns true, or false with @errp set if the reply is invalid or the
 * connection is lost.
 * Specification: "VFIO_USER_DEVICE_GET_REGION_IO_FDS".
 */
bool vfio_user_device_get_ioeventfds(VFIOUserDevice *udev,
                                     const VFIOUserIOFdRegion *region,
                                     Error **errp);
void vfio_user_device_drop_ioeventfds(VFIOUserDevice *udev);
/* As vfio_user_device_drop_ioeventfds(), while vCPUs may use them. */
void vfio_user_device_retire_ioeventfds(VFIOUserDevice *udev);

/**
 * vfio_user_device_signal:
 * @data: @size bytes, as in a REGION_WRITE
 *
 * Does a region write with an ioeventfd if there is one for it.
 *
 * Returns whether the write is done.  If not, it has to be sent.
 */
bool vfio_user_device_signal(VFIOUserDevice *udev, uint8_t nr, uint64_t offset,
                             unsigned size, const void *data);

#endif /* HW_VFIO_USER_DEVICE_H */
