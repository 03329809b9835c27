/*
 * The device behind the scripted vfio-user server
 *
 * A PCI device as data, and the honest answer to every command: what an
 * ordinary server would say.  It speaks to no socket and tells no lies; those
 * are the rules of vfio-user-server.h.
 *
 * Nothing here locks: the server calls with its own lock held.
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

/* A region of size 0 is not there. */
typedef struct VFIOUserModelRegion {
    uint64_t size;
    uint32_t flags;             /* VFIO_REGION_INFO_FLAG_; MMAP: by memfd */
    uint32_t nr_areas;          /* 0: mmap of the whole, if at all */
    struct vfio_region_sparse_mmap_area areas[VFIO_USER_MODEL_AREAS];
    uint64_t offset;            /* in the file that is mapped */
    bool fd_per_area;           /* as older servers send them */
} VFIOUserModelRegion;

typedef struct VFIOUserModel {
    const VFIOUserPersonality *personality;     /* NULL: an honest server */
    const char *version;        /* JSON; NULL: a VERSION reply without */
    bool twin;                  /* descriptor 0 of that is a twin socket */
    uint32_t flags;             /* VFIO_DEVICE_FLAGS_ */
    uint32_t num_regions;
    VFIOUserModelRegion region[VFIO_USER_MODEL_REGIONS];
    struct {
        uint32_t flags;         /* VFIO_IRQ_INFO_ */
        uint32_t count;
    } irq[VFIO_PCI_NUM_IRQS];
    const VFIOUserModelMigration1 *migration1; /* NULL: migrates not */
    uint8_t config[256];        /* as after a reset */
    VFIOUserMigrationModel migration;
    bool signals_at_stop;       /* vector 0 of an index, when it stops */
    uint32_t signal;            /* that index */
} VFIOUserModel;

/*
 * What a test gets unless it wants something else.  BAR 0: 4 KiB of memory;
 * BAR 1: 256 I/O ports; BAR 2: 64 KiB, 64-bit; BAR 4: MSI-X table and PBA;
 * ROM of 2 KiB; INTx, MSI with 4 vectors and MSI-X with 8.
 */
extern const VFIOUserModel vfio_user_model;

/* Likewise, and it migrates. */
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
    uint8_t *memory;            /* NULL: came without descriptor */
} VFIOUserMap;

typedef struct VFIOUserDevice VFIOUserDevice;

/**
 * vfio_user_device_new:
 * @model: what it is; must outlive the device
 */
VFIOUserDevice *vfio_user_device_new(const VFIOUserModel *model);
void vfio_user_device_free(VFIOUserDevice *dev);

/**
 * vfio_user_device_disconnect:
 *
 * Forgets maps and interrupts, as "Client Disconnection" wants, and keeps the
 * rest.
 */
void vfio_user_device_disconnect(VFIOUserDevice *dev);

/**
 * vfio_user_device_take_twin:
 *
 * Returns our end of the twin socket, which is the caller's from then on; -1
 * where none was made since the last time.
 */
int vfio_user_device_take_twin(VFIOUserDevice *dev);

/**
 * vfio_user_device_answer:
 * @request: from the client, not trusted; descriptors may be taken from it
 * @reply: gets payload and descriptors
 *
 * Returns 0, or -errno for an error reply.
 */
int vfio_user_device_answer(VFIOUserDevice *dev, VFIOUserPacket *request,
                            VFIOUserPacket *reply);

/**
 * vfio_user_device_drains:
 *
 * Returns whether it reads the payload of @command; if not, it refuses the
 * command with errno 0 and takes the payload for the next header.
 */
bool vfio_user_device_drains(const VFIOUserDevice *dev, uint16_t command);

/* Whether the body of a request is what a single read returns. */
bool vfio_user_device_reads_once(const VFIOUserDevice *dev);

/**
 * vfio_user_device_bytes:
 *
 * Returns @count bytes of a region, or NULL where they are not all there.
 * Only the first MiB of a region that is not to be mapped is there; the rest
 * reads as zeros.
 */
uint8_t *vfio_user_device_bytes(VFIOUserDevice *dev, uint32_t region,
                                uint64_t offset, uint64_t count);

/**
 * vfio_user_device_truncate:
 *
 * Leaves @size bytes of a region in its file, whoever has mapped it.
 */
void vfio_user_device_truncate(VFIOUserDevice *dev, uint32_t region,
                               uint64_t size);

/**
 * vfio_user_device_map:
 *
 * Returns the map that holds @address, or NULL.
 */
const VFIOUserMap *vfio_user_device_map(VFIOUserDevice *dev,
                                        uint64_t address);
unsigned vfio_user_device_maps(VFIOUserDevice *dev);

/* Returns the eventfd of an interrupt, or -1; it stays the device's. */
int vfio_user_device_eventfd(const VFIOUserDevice *dev, uint32_t index,
                             uint32_t vector);

/**
 * vfio_user_device_write:
 *
 * Writes to memory as the device's own engine does, through a descriptor.
 *
 * Returns false where the device does not run, or where the memory cannot be
 * reached so.
 */
bool vfio_user_device_write(VFIOUserDevice *dev, uint64_t address,
                            const void *bytes, size_t count);

/* Whether the device may work. */
bool vfio_user_device_runs(const VFIOUserDevice *dev);

/**
 * vfio_user_device_asks:
 *
 * Returns whether it reaches memory by message where it has no descriptor.
 */
bool vfio_user_device_asks(const VFIOUserDevice *dev);

/**
 * vfio_user_device_lower:
 *
 * Lowers the INTx pin, which only some servers show.
 */
void vfio_user_device_lower(VFIOUserDevice *dev);

/**
 * vfio_user_device_trigger:
 *
 * Returns false where the client gave no eventfd for it or masked it.
 */
bool vfio_user_device_trigger(VFIOUserDevice *dev, uint32_t index,
                              uint32_t vector);

#endif /* TESTS_QTEST_VFIO_USER_MODEL_H */
