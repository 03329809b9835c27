/*
 * The device behind the scripted vfio-user server
 *
 * A PCI device described as data, and the correct answer to every command, as
 * an ordinary server gives it.  Does no socket I/O and injects no faults; the
 * rules of vfio-user-server.h do that.
 *
 * Takes no lock: the server calls with its own lock held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_MODEL_H
#define TESTS_QTEST_VFIO_USER_MODEL_H

#include <linux/vfio.h>
#include "vfio-user-migration-model.h"
#include "vfio-user-migration1-model.h"
#include "vfio-user-packet.h"
#include "vfio-user-personality.h"

#define VFIO_USER_MODEL_REGIONS 16
#define VFIO_USER_MODEL_AREAS 4

/* A region of size 0 is absent. */
typedef struct VFIOUserModelRegion {
    uint64_t size;
    uint32_t flags;             /* VFIO_REGION_INFO_FLAG_; MMAP: with a memfd */
    uint32_t nr_areas;          /* 0: the whole region, if mappable */
    struct vfio_region_sparse_mmap_area areas[VFIO_USER_MODEL_AREAS];
    uint64_t offset;            /* of the region in the mapped file */
    bool fd_per_area;           /* one per area, as older servers do */
} VFIOUserModelRegion;

typedef struct VFIOUserModel {
    const VFIOUserPersonality *personality;     /* NULL: by the specification */
    const char *version;        /* JSON; NULL: none in the VERSION reply */
    bool twin;                  /* VERSION reply passes a twin socket */
    uint32_t flags;             /* VFIO_DEVICE_FLAGS_ */
    uint32_t num_regions;
    VFIOUserModelRegion region[VFIO_USER_MODEL_REGIONS];
    struct {
        uint32_t flags;         /* VFIO_IRQ_INFO_ */
        uint32_t count;
    } irq[VFIO_PCI_NUM_IRQS];
    const VFIOUserModelMigration1 *migration1; /* NULL: no migration v1 */
    uint8_t config[256];        /* after a reset */
    VFIOUserMigrationModel migration;
    bool signals_at_stop;       /* when stopped, trigger vector 0 */
    uint32_t signal;            /* IRQ index of signals_at_stop */
} VFIOUserModel;

/*
 * The default model.  BAR 0: 4 KiB of memory; BAR 1: 256 I/O ports; BAR 2: 64
 * KiB, 64-bit; BAR 4: MSI-X table and PBA; ROM of 2 KiB; INTx, MSI with 4
 * vectors and MSI-X with 8.
 */
extern const VFIOUserModel vfio_user_model;

/* The default model with migration v1. */
VFIOUserModel
vfio_user_model_migration1(const VFIOUserModelMigration1 *migration);

#define VFIO_USER_MODEL_VENDOR 0x1234
#define VFIO_USER_MODEL_DEVICE 0xfeed
#define VFIO_USER_MODEL_MSI 0x40        /* offsets of the capabilities */
#define VFIO_USER_MODEL_MSIX 0x60
#define VFIO_USER_MODEL_MSI_VECTORS_LOG 2
#define VFIO_USER_MODEL_MSI_VECTORS (1 << VFIO_USER_MODEL_MSI_VECTORS_LOG)
#define VFIO_USER_MODEL_MSIX_VECTORS 8

/* A DMA map that the client announced. */
typedef struct VFIOUserMap {
    uint64_t address;
    uint64_t size;
    uint32_t flags;             /* VFIO_USER_DMA_ */
    uint8_t *memory;            /* NULL: no descriptor was passed */
} VFIOUserMap;

typedef struct VFIOUserDevice VFIOUserDevice;

/**
 * vfio_user_device_new:
 * @model: must outlive the device
 */
VFIOUserDevice *vfio_user_device_new(const VFIOUserModel *model);
void vfio_user_device_free(VFIOUserDevice *dev);

/**
 * vfio_user_device_disconnect:
 *
 * Drops maps and interrupts, as "Client Disconnection" requires, and keeps the
 * rest.
 */
void vfio_user_device_disconnect(VFIOUserDevice *dev);

/**
 * vfio_user_device_take_twin:
 *
 * Returns our end of a twin socket created since the last call, or -1.  The
 * caller owns it.
 */
int vfio_user_device_take_twin(VFIOUserDevice *dev);

/**
 * vfio_user_device_answer:
 * @request: from the client, untrusted; its descriptors may be taken
 * @reply: filled with payload and descriptors
 *
 * Returns 0, or -errno for an error reply.
 */
int vfio_user_device_answer(VFIOUserDevice *dev, VFIOUserPacket *request,
                            VFIOUserPacket *reply);

/**
 * vfio_user_device_drains:
 *
 * Returns whether the server reads the payload of @command.  If not, it
 * refuses the command with errno 0 and then reads the payload as the next
 * header.
 */
bool vfio_user_device_drains(const VFIOUserDevice *dev, uint16_t command);

/* Whether the server receives the body of a request with a single recv(). */
bool vfio_user_device_reads_once(const VFIOUserDevice *dev);

/**
 * vfio_user_device_bytes:
 *
 * Returns @count bytes of a region, or NULL if they do not all exist.  A
 * region that cannot be mapped has only its first MiB in memory; the rest
 * reads as zeros.
 */
uint8_t *vfio_user_device_bytes(VFIOUserDevice *dev, uint32_t region,
                                uint64_t offset, uint64_t count);

/**
 * vfio_user_device_truncate:
 *
 * Truncates the region's file to @size bytes, even if it is mapped.
 */
void vfio_user_device_truncate(VFIOUserDevice *dev, uint32_t region,
                               uint64_t size);

/**
 * vfio_user_device_map:
 *
 * Returns the DMA map that contains @address, or NULL.
 */
const VFIOUserMap *vfio_user_device_map(VFIOUserDevice *dev,
                                        uint64_t address);
unsigned vfio_user_device_maps(VFIOUserDevice *dev);

/* Returns the eventfd of an interrupt, or -1; the device owns it. */
int vfio_user_device_eventfd(const VFIOUserDevice *dev, uint32_t index,
                             uint32_t vector);

/**
 * vfio_user_device_write:
 *
 * Writes to guest memory as the device's DMA engine does, through a
 * descriptor.
 *
 * Returns false if the device does not run, or if no mapped descriptor covers
 * the range.
 */
bool vfio_user_device_write(VFIOUserDevice *dev, uint64_t address,
                            const void *bytes, size_t count);

/* Whether migration lets the device run. */
bool vfio_user_device_runs(const VFIOUserDevice *dev);

/**
 * vfio_user_device_asks:
 *
 * Returns whether the device uses DMA_READ and DMA_WRITE for memory without a
 * descriptor.
 */
bool vfio_user_device_asks(const VFIOUserDevice *dev);

/**
 * vfio_user_device_lower:
 *
 * Lowers the INTx pin; only some servers report its level.
 */
void vfio_user_device_lower(VFIOUserDevice *dev);

/**
 * vfio_user_device_trigger:
 *
 * Returns false if the client passed no eventfd for it or masked it.
 */
bool vfio_user_device_trigger(VFIOUserDevice *dev, uint32_t index,
                              uint32_t vector);

#endif /* TESTS_QTEST_VFIO_USER_MODEL_H */
