/*
 * vfio-user device
 *
 * A device behind a connection, as hw/vfio sees one: the implementation of
 * VFIODeviceIOOps by messages, the handshake and the reset.  Knows no PCI:
 * what a region or an interrupt index means is not its business.
 *
 * Threads: the io ops are called from the main loop and from vCPUs, with the
 * big QEMU lock or without: a vCPU accesses guest_regions without it.  With it,
 * each op has a budget, see proxy.h, and none releases it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_DEVICE_H
#define HW_VFIO_USER_DEVICE_H

#include "hw/vfio/vfio-device.h"
#include "hw/vfio/user/caps.h"
#include "hw/vfio/user/ioeventfd.h"
#include "hw/vfio/user/proxy.h"
#include "hw/vfio/user/report.h"

/* IRQ indexes of which the device keeps something; of others it does not. */
#define VFIO_USER_IRQ_INDEXES 8

/* The first regions of a device, which may have ioeventfds. */
#define VFIO_USER_IOEVENTFD_REGIONS 6

/* The interrupts of one index; under the big QEMU lock. */
typedef struct VFIOUserIRQs {
    bool known;                 /* by vfio_user_device_learn_irqs() */
    bool unmask;                /* all of them once the first is armed */
    bool armed;                 /* by now */
    uint32_t count;             /* that the server has */
} VFIOUserIRQs;

typedef struct VFIOUserDevice VFIOUserDevice;

/* What the room above does, all of it. */
typedef struct VFIOUserDeviceOps {
    /*
     * Resets the device with all that QEMU knows of it, with the big QEMU
     * lock.  device_cold_reset() would do nothing in the middle of a reset of
     * the VM.
     */
    void (*reset)(VFIOUserDevice *udev);
    /*
     * The device was reset by nobody's order but QEMU's, to leave an error.
     * With locks of migration's and with the big QEMU lock or without: must
     * not call the server.
     */
    void (*was_reset)(VFIOUserDevice *udev);
    /* An UNMASK was sent on hw/vfio's behalf, with the big QEMU lock. */
    void (*unmasked)(VFIOUserDevice *udev, uint32_t index);
    /* Interrupts on their way go to the guest; with the big QEMU lock. */
    void (*drain_irqs)(VFIOUserDevice *udev);
} VFIOUserDeviceOps;

/*
 * Answers in the server's place while a device is realized: what was checked
 * is what is used.  Bits that writes may change are those of @wmask.
 */
typedef struct VFIOUserRegionCopy {
    uint8_t nr;
    uint32_t size;
    uint8_t *bytes;             /* NULL: the server is asked */
    uint8_t *wmask;
} VFIOUserRegionCopy;

struct VFIOUserDevice {
    VFIODeviceIOOps io_ops;             /* of the VFIODevice, which finds us */
    const VFIOUserDeviceOps *ops;       /* constant */
    VFIOUserProxy *proxy;
    VFIOUserReports reports;
    VFIOUserCaps caps;          /* agreed, constant after the handshake */
    /* Commands that the server is not to be asked with */
    bool no_region_io_fds;
    bool no_device_feature;
    /* Bit per region: nobody but the guest accesses it; constant in use. */
    uint64_t guest_regions;
    VFIOUserRegionCopy copy;            /* the big QEMU lock's */
    /* By region, NULL where there are none; constant in use. */
    VFIOUserIoeventfds *ioeventfds[VFIO_USER_IOEVENTFD_REGIONS];
    /* A write of the guest may overtake a message; constant in use. */
    bool direct_path;
    VFIOUserIRQs irqs[VFIO_USER_IRQ_INDEXES];
    /*
     * A reset of the VM that a stopped device does not take and that waits for
     * it to run, or to be saved or loaded; the big QEMU lock's.
     */
    bool reset_pending;
    /* A copy of the eventfd that wants UNMASK sent for @unmask_index, or -1 */
    int unmask_fd;
    uint32_t unmask_index;
};

/*
 * Who calls the server, and with which lock: vfio_user_device_read_region(),
 * _write_region(), _feature() and _reset() with the big QEMU lock or without,
 * and so do region_read and region_write of the io ops; all others with it.
 * With it they wait within the budget that is open, or within one of their own.
 */

/**
 * vfio_user_device_handshake:
 * @twin_fd: set to the descriptor of the twin socket, which is the caller's,
 *           or to -1 where the server wants none
 *
 * Proposes a version and capabilities and takes the server's answer.
 * Specification: "VFIO_USER_VERSION".
 *
 * Returns true with @udev->caps filled and the proxy UP, or false with @errp.
 */
bool vfio_user_device_handshake(VFIOUserDevice *udev, int *twin_fd,
                                Error **errp);

/**
 * vfio_user_device_get_info:
 * @info: filled, but for capabilities
 *
 * Specification: "VFIO_USER_DEVICE_GET_INFO".
 */
bool vfio_user_device_get_info(VFIOUserDevice *udev,
                               struct vfio_device_info *info, Error **errp);

/**
 * vfio_user_device_init:
 * @vbasedev: initialized; gets the io_ops of @udev
 *
 * To be called before anything else, and before the proxy is there.
 */
void vfio_user_device_init(VFIOUserDevice *udev, VFIODevice *vbasedev,
                           const VFIOUserDeviceOps *ops);
/* Nobody accesses the device any more. */
void vfio_user_device_destroy(VFIOUserDevice *udev);

static inline VFIOUserDevice *vfio_user_device_of(VFIODevice *vbasedev)
{
    return container_of(vbasedev->io_ops, VFIOUserDevice, io_ops);
}

/**
 * vfio_user_device_copy_region:
 * @size: bytes from its beginning
 *
 * Reads a region as a whole, once: until vfio_user_device_drop_copy() whoever
 * accesses it through hw/vfio finds in it what was read now.
 */
bool vfio_user_device_copy_region(VFIOUserDevice *udev, VFIODevice *vbasedev,
                                  uint8_t nr, uint32_t size, Error **errp);
void vfio_user_device_drop_copy(VFIOUserDevice *udev);

/**
 * vfio_user_device_report:
 *
 * Reports an error that the guest can bring about, as often as report.h allows;
 * the text gets the device's name.
 */
void G_GNUC_PRINTF(2, 3)
vfio_user_device_report(VFIODevice *vbasedev, const char *fmt, ...);

/**
 * vfio_user_device_get_irq_info:
 *
 * hw/vfio is not told: what it asks is asked by vfio_user_device_learn_irqs().
 *
 * Returns 0 or -errno; -EPROTO if the answer makes no sense.
 * Specification: "VFIO_USER_DEVICE_GET_IRQ_INFO".
 */
int vfio_user_device_get_irq_info(VFIOUserDevice *udev, uint32_t index,
                                  struct vfio_irq_info *info);

/**
 * vfio_user_device_learn_irqs:
 * @index: IRQ index, below VFIO_USER_IRQ_INDEXES
 * @wanted: interrupts that the guest may use
 * @unmask: see below
 *
 * Asks how many interrupts the server has; it is warned of a server that does
 * not say, or has fewer than @wanted.  Those that it has not are never armed.
 *
 * With @unmask all of them are unmasked when the first gets a descriptor:
 * whoever has armed them decides about delivery, but a server may keep a mask
 * of its own, set, and say nothing of it.
 *
 * Returns VFIO_IRQ_INFO_ flags, 0 where there are no interrupts that could
 * reach us; what every server can do where this one does not say.
 * Specification: "VFIO_USER_DEVICE_GET_IRQ_INFO".
 */
uint32_t vfio_user_device_learn_irqs(VFIOUserDevice *udev, uint32_t index,
                                     uint32_t wanted, bool unmask);

/**
 * vfio_user_device_feature:
 * @feature: argsz bytes; what is read or chosen by the server is put there
 *
 * Returns 0 or -errno with @errp set; -EPROTO where the answer is for another
 * question or too short.  Specification: DEVICE_FEATURE of servers later than
 * 0.9.1.
 */
int vfio_user_device_feature(VFIOUserDevice *udev,
                             struct vfio_device_feature *feature,
                             Error **errp);

/**
 * vfio_user_device_read_region:
 * @call: has the data until vfio_user_call_clear()
 * @size: 1 to max_data_xfer_size bytes
 * @data: set to the bytes that came
 *
 * Reads for QEMU itself, which learns of every failure; a guest's accesses go
 * through region_read of the io ops.
 *
 * Returns how many bytes came, 1 or more, or -errno with @errp set.
 * Specification: "VFIO_USER_REGION_READ".
 */
int vfio_user_device_read_region(VFIOUserDevice *udev, VFIOUserCall *call,
                                 uint8_t nr, uint64_t off, uint32_t size,
                                 const uint8_t **data, Error **errp);

/**
 * vfio_user_device_write_region:
 * @size: of @data, 1 to vfio_user_caps_max_request() bytes
 * @post: do not wait for the server, unless it has too much to read
 *
 * Likewise for a write.  Specification: "VFIO_USER_REGION_WRITE".
 */
int vfio_user_device_write_region(VFIOUserDevice *udev, uint8_t nr,
                                  uint64_t off, uint32_t size,
                                  const void *data, bool post, Error **errp);

/**
 * vfio_user_device_unmask_irqs:
 *
 * For a device that was reset with its interrupts armed, which may have set
 * such masks anew: unmasks again what is armed. Posted, errors are ignored.
 */
void vfio_user_device_unmask_irqs(VFIODevice *vbasedev);

/**
 * vfio_user_device_reset:
 *
 * Returns 0 or -errno with @errp set; a lost device counts as reset, and so
 * does one that is lost because it does not answer.
 * Specification: "VFIO_USER_DEVICE_RESET".
 */
int vfio_user_device_reset(VFIOUserDevice *udev, Error **errp);

/**
 * vfio_user_device_get_ioeventfds:
 * @region: writable, its index below VFIO_USER_IOEVENTFD_REGIONS
 *
 * Asks the server for the ioeventfds of a region and fills
 * @udev->ioeventfds[].  A server that answers an error has none; an entry that
 * is wrong is warned of and left out.
 *
 * Returns false with @errp set where the reply makes no sense or the
 * connection is lost.
 * Specification: "VFIO_USER_DEVICE_GET_REGION_IO_FDS".
 */
bool vfio_user_device_get_ioeventfds(VFIOUserDevice *udev,
                                     const VFIOUserIOFdRegion *region,
                                     Error **errp);
void vfio_user_device_drop_ioeventfds(VFIOUserDevice *udev);

/**
 * vfio_user_device_signal:
 * @data: as in the message that it may save, @size bytes
 *
 * Returns whether the write was done by a signal.
 */
bool vfio_user_device_signal(VFIOUserDevice *udev, uint8_t nr, uint64_t offset,
                             unsigned size, const void *data);

#endif /* HW_VFIO_USER_DEVICE_H */
