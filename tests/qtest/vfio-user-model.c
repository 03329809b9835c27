/*
 * The device behind the scripted vfio-user server
 *
 * A PCI device as data, and one function per command that answers as an
 * ordinary server does.  Refuses with an errno what the specification lets a
 * server refuse.  Injects no faults.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/socket.h>

#include "hw/pci/pci.h"
#include "vfio-user-model-internal.h"

/* Maximum backing memory of a region that is accessed only by message. */
#define MAX_BACKING MiB

#define LO(word) ((word) & 0xff)
#define HI(word) ((word) >> 8)
#define RW (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE)

const VFIOUserModel vfio_user_model = {
    .version = "{\"capabilities\":{\"max_msg_fds\":8,"
               "\"max_data_xfer_size\":1048576,"
               "\"pgsizes\":4096,\"max_dma_maps\":65535}}",
    .flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
    .num_regions = VFIO_PCI_NUM_REGIONS,
    .region = {
        [VFIO_PCI_BAR0_REGION_INDEX] = { .size = 4 * KiB, .flags = RW },
        [VFIO_PCI_BAR1_REGION_INDEX] = { .size = 256, .flags = RW },
        [VFIO_PCI_BAR2_REGION_INDEX] = { .size = 64 * KiB, .flags = RW },
        [VFIO_PCI_BAR4_REGION_INDEX] = { .size = 4 * KiB, .flags = RW },
        [VFIO_PCI_ROM_REGION_INDEX] = {
            .size = 2 * KiB, .flags = VFIO_REGION_INFO_FLAG_READ,
        },
        [VFIO_PCI_CONFIG_REGION_INDEX] = {
            .size = PCI_CONFIG_SPACE_SIZE, .flags = RW,
        },
    },
    .irq = {
        [VFIO_PCI_INTX_IRQ_INDEX] = {
            VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE |
            VFIO_IRQ_INFO_AUTOMASKED, 1
        },
        [VFIO_PCI_MSI_IRQ_INDEX] = {
            VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
            VFIO_USER_MODEL_MSI_VECTORS
        },
        [VFIO_PCI_MSIX_IRQ_INDEX] = {
            VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
            VFIO_USER_MODEL_MSIX_VECTORS
        },
        [VFIO_PCI_ERR_IRQ_INDEX] = { VFIO_IRQ_INFO_EVENTFD, 1 },
        [VFIO_PCI_REQ_IRQ_INDEX] = { VFIO_IRQ_INFO_EVENTFD, 1 },
    },
    .config = {
        [PCI_VENDOR_ID] = LO(VFIO_USER_MODEL_VENDOR),
                          HI(VFIO_USER_MODEL_VENDOR),
        [PCI_DEVICE_ID] = LO(VFIO_USER_MODEL_DEVICE),
                          HI(VFIO_USER_MODEL_DEVICE),
        [PCI_STATUS] = PCI_STATUS_CAP_LIST,
        [PCI_REVISION_ID] = 1,
        [PCI_CLASS_DEVICE] = LO(PCI_CLASS_OTHERS), HI(PCI_CLASS_OTHERS),
        [PCI_BASE_ADDRESS_1] = PCI_BASE_ADDRESS_SPACE_IO,
        [PCI_BASE_ADDRESS_2] = PCI_BASE_ADDRESS_MEM_TYPE_64,
        [PCI_SUBSYSTEM_VENDOR_ID] = LO(VFIO_USER_MODEL_VENDOR),
                                    HI(VFIO_USER_MODEL_VENDOR),
        [PCI_SUBSYSTEM_ID] = 1,
        [PCI_CAPABILITY_LIST] = VFIO_USER_MODEL_MSI,
        [PCI_INTERRUPT_PIN] = 1,

        [VFIO_USER_MODEL_MSI] = PCI_CAP_ID_MSI, VFIO_USER_MODEL_MSIX,
        [VFIO_USER_MODEL_MSI + PCI_MSI_FLAGS] =
            PCI_MSI_FLAGS_64BIT | VFIO_USER_MODEL_MSI_VECTORS_LOG << 1,

        [VFIO_USER_MODEL_MSIX] = PCI_CAP_ID_MSIX, 0,
        [VFIO_USER_MODEL_MSIX + PCI_MSIX_FLAGS] =
            VFIO_USER_MODEL_MSIX_VECTORS - 1,
        [VFIO_USER_MODEL_MSIX + PCI_MSIX_TABLE] = VFIO_PCI_BAR4_REGION_INDEX,
        [VFIO_USER_MODEL_MSIX + PCI_MSIX_PBA] =
            LO(0x800 | VFIO_PCI_BAR4_REGION_INDEX),
            HI(0x800 | VFIO_PCI_BAR4_REGION_INDEX),
    },
};

VFIOUserModel
vfio_user_model_migration1(const VFIOUserModelMigration1 *migration)
{
    VFIOUserModel model = vfio_user_model;

    model.migration1 = migration;
    model.num_regions = VFIO_USER_MIGRATION1_REGION + 1;
    model.region[VFIO_USER_MIGRATION1_REGION] = (VFIOUserModelRegion) {
        .size = VFIO_USER_MIGRATION1_DATA + migration->chunk,
        .flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
    };
    return model;
}

const VFIOUserPersonality *device_habits(const VFIOUserDevice *dev)
{
    static const VFIOUserPersonality honest;

    return dev->model->personality ?: &honest;
}

const void *device_head_of(const VFIOUserPacket *packet, size_t size)
{
    return packet->payload->len >= size ? packet->payload->data : NULL;
}

static void device_reset(VFIOUserDevice *dev)
{
    device_config_reset(dev);
    if (device_habits(dev)->keeps_state) {
        vfio_user_migrating_reset_keep_state(&dev->migrating);
    } else {
        vfio_user_migrating_reset(&dev->migrating);
    }
}

VFIOUserDevice *vfio_user_device_new(const VFIOUserModel *model)
{
    VFIOUserDevice *dev = g_new0(VFIOUserDevice, 1);
    unsigned i, j;

    dev->model = model;
    dev->twin = -1;
    dev->maps = g_array_new(false, false, sizeof(VFIOUserMap));
    for (i = 0; i < VFIO_USER_MODEL_REGIONS; i++) {
        const VFIOUserModelRegion *region = &model->region[i];
        bool mapped = region->flags & VFIO_REGION_INFO_FLAG_MMAP;
        size_t size = mapped ? region->size : MIN(region->size, MAX_BACKING);
        int fd = memfd_create("vfio-user-region", MFD_CLOEXEC);

        if (i == VFIO_PCI_CONFIG_REGION_INDEX) {
            size = MAX(size, sizeof(model->config));
        }
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(ftruncate(fd, region->offset + size), ==, 0);
        dev->backing[i].fd = fd;
        dev->backing[i].size = size;
        if (size) {
            dev->backing[i].bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
                                         MAP_SHARED, fd, region->offset);
            g_assert(dev->backing[i].bytes != MAP_FAILED);
        }
    }
    for (i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
        dev->eventfd[i] = g_new(int, model->irq[i].count);
        for (j = 0; j < model->irq[i].count; j++) {
            dev->eventfd[i][j] = -1;
        }
    }
    vfio_user_migrating_init(&dev->migrating, dev, &model->migration,
                             device_habits(dev));
    device_reset(dev);
    if (model->migration1) {
        /* BAR 2 is the state that is migrated */
        dev->migration1 = vfio_user_migration1_new(model->migration1,
            dev->backing[VFIO_USER_MIGRATION1_REGION].bytes +
            VFIO_USER_MIGRATION1_DATA,
            dev->backing[VFIO_PCI_BAR2_REGION_INDEX].bytes,
            dev->backing[VFIO_PCI_BAR2_REGION_INDEX].size);
    }
    return dev;
}

void vfio_user_device_free(VFIOUserDevice *dev)
{
    unsigned i;

    vfio_user_device_disconnect(dev);
    g_clear_pointer(&dev->migration1, vfio_user_migration1_free);
    vfio_user_migrating_clear(&dev->migrating);
    for (i = 0; i < VFIO_USER_MODEL_REGIONS; i++) {
        if (dev->backing[i].size) {
            munmap(dev->backing[i].bytes, dev->backing[i].size);
        }
        close(dev->backing[i].fd);
    }
    for (i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
        g_free(dev->eventfd[i]);
    }
    g_array_unref(dev->maps);
    g_free(dev);
}

uint8_t *vfio_user_device_bytes(VFIOUserDevice *dev, uint32_t region,
                                uint64_t offset, uint64_t count)
{
    if (region >= VFIO_USER_MODEL_REGIONS ||
        offset > dev->backing[region].size ||
        count > dev->backing[region].size - offset) {
        return NULL;
    }
    return dev->backing[region].bytes + offset;
}

void vfio_user_device_truncate(VFIOUserDevice *dev, uint32_t region,
                               uint64_t size)
{
    g_assert_cmpint(ftruncate(dev->backing[region].fd,
                              dev->model->region[region].offset + size),
                    ==, 0);
    if (dev->migration1 && region == VFIO_USER_MIGRATION1_REGION) {
        /* the server keeps writing to private memory */
        g_assert(mmap(dev->backing[region].bytes, dev->backing[region].size,
                      PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
                 MAP_FAILED);
    }
}

int vfio_user_device_take_twin(VFIOUserDevice *dev)
{
    int twin = dev->twin;

    dev->twin = -1;
    return twin;
}

void vfio_user_device_disconnect(VFIOUserDevice *dev)
{
    device_drop_maps(dev);
    device_drop_eventfds(dev);
    vfio_user_migrating_reset(&dev->migrating);
    if (dev->migration1) {
        vfio_user_migration1_reset(dev->migration1);
    }
    vfio_user_record_end(device_record(dev));
}

/* Regions */

static int answer_get_region_info(VFIOUserDevice *dev,
                                  VFIOUserPacket *request,
                                  VFIOUserPacket *reply)
{
    const VFIOUserRegionInfo *head = device_head_of(request, sizeof(*head));
    struct vfio_region_info_cap_sparse_mmap cap = {
        .header = { .id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1 },
    };
    struct vfio_region_info_cap_type type = {
        .header = { .id = VFIO_REGION_INFO_CAP_TYPE, .version = 1 },
        .type = VFIO_REGION_TYPE_MIGRATION_DEPRECATED,
        .subtype = VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED,
    };
    const VFIOUserModelRegion *region;
    VFIOUserRegionInfo info;
    size_t areas, types;

    if (!head || head->index >= dev->model->num_regions) {
        return -EINVAL;
    }
    region = &dev->model->region[head->index];
    cap.nr_areas = region->nr_areas;
    areas = region->nr_areas * sizeof(region->areas[0]);
    types = dev->migration1 && head->index == VFIO_USER_MIGRATION1_REGION ?
            sizeof(type) : 0;
    type.header.next = areas ? sizeof(info) + types : 0;
    info = (VFIOUserRegionInfo) {
        .argsz = sizeof(info) + types + (areas ? sizeof(cap) + areas : 0),
        .flags = region->flags |
                 (areas || types ? VFIO_REGION_INFO_FLAG_CAPS : 0),
        .index = head->index,
        .cap_offset = areas || types ? sizeof(info) : 0,
        .size = region->size,
        .offset = region->offset,
    };
    if (head->argsz < info.argsz) {
        info.cap_offset = 0;
        areas = types = 0;
    }
    vfio_user_packet_put(reply, &info, sizeof(info));
    vfio_user_packet_put(reply, &type, types);
    if (areas) {
        vfio_user_packet_put(reply, &cap, sizeof(cap));
        vfio_user_packet_put(reply, region->areas, areas);
    }
    if (region->flags & VFIO_REGION_INFO_FLAG_MMAP &&
        head->argsz >= info.argsz) {
        unsigned n = region->fd_per_area ? region->nr_areas : 1;

        while (n--) {
            int fd = fcntl(dev->backing[head->index].fd, F_DUPFD_CLOEXEC, 0);

            g_array_append_val(reply->fds, fd);
        }
    }
    return 0;
}

static int answer_get_region_io_fds(VFIOUserDevice *dev,
                                    VFIOUserPacket *request,
                                    VFIOUserPacket *reply)
{
    const VFIOUserRegionIOFds *head = device_head_of(request, sizeof(*head));
    VFIOUserRegionIOFds none;

    if (!head || head->index >= dev->model->num_regions) {
        return -EINVAL;
    }
    none = (VFIOUserRegionIOFds) { sizeof(none), 0, head->index, 0 };
    vfio_user_packet_put(reply, &none, sizeof(none));
    return 0;
}

static bool is_migration_register(VFIOUserDevice *dev,
                                  const VFIOUserRegionRW *head)
{
    return dev->migration1 && head->region == VFIO_USER_MIGRATION1_REGION &&
           head->offset < VFIO_USER_MIGRATION1_DATA;
}

/* Returns the header of an access if it is within its region, or NULL. */
static const VFIOUserRegionRW *access_of(VFIOUserDevice *dev,
                                         const VFIOUserPacket *request)
{
    const VFIOUserRegionRW *head = device_head_of(request, sizeof(*head));

    if (!head || head->region >= dev->model->num_regions ||
        head->offset > dev->model->region[head->region].size ||
        head->count > dev->model->region[head->region].size - head->offset) {
        return NULL;
    }
    return head;
}

static int answer_region_read(VFIOUserDevice *dev, VFIOUserPacket *request,
                              VFIOUserPacket *reply)
{
    const VFIOUserRegionRW *head = access_of(dev, request);
    const uint8_t *bytes;

    if (!head || head->count > MAX_BACKING) {
        return -EINVAL;
    }
    vfio_user_packet_put(reply, head, sizeof(*head));
    if (is_migration_register(dev, head)) {
        uint8_t value[8] = { 0 };
        int ret = vfio_user_migration1_read(dev->migration1, head->offset,
                                            head->count, value);

        vfio_user_packet_put(reply, value, MIN(head->count, sizeof(value)));
        return ret;
    }
    bytes = vfio_user_device_bytes(dev, head->region, head->offset,
                                   head->count);
    if (bytes) {
        vfio_user_packet_put(reply, bytes, head->count);
    } else {
        g_autofree uint8_t *zeros = g_malloc0(head->count);

        vfio_user_packet_put(reply, zeros, head->count);
    }
    return 0;
}

static int answer_region_write(VFIOUserDevice *dev, VFIOUserPacket *request,
                               VFIOUserPacket *reply)
{
    const VFIOUserRegionRW *head = access_of(dev, request);
    uint8_t *bytes;
    int ret = 0;

    if (!head || request->payload->len != sizeof(*head) + head->count) {
        return -EINVAL;
    }
    if (is_migration_register(dev, head)) {
        vfio_user_packet_put(reply, head, sizeof(*head));
        return vfio_user_migration1_write(dev->migration1, head->offset,
                                          head->count, head + 1);
    }
    bytes = vfio_user_device_bytes(dev, head->region, head->offset,
                                   head->count);
    if (bytes) {
        memcpy(bytes, head + 1, head->count);
    }
    if (head->region == VFIO_PCI_CONFIG_REGION_INDEX) {
        ret = device_config_written(dev, head->offset, head->count);
    }
    vfio_user_packet_put(reply, head, sizeof(*head));
    return ret;
}

/* The device as a whole */

static int answer_version(VFIOUserDevice *dev, VFIOUserPacket *request,
                          VFIOUserPacket *reply)
{
    const VFIOUserVersion *head = device_head_of(request, sizeof(*head));
    const char *json = device_habits(dev)->version ?: dev->model->version;

    if (!head || head->major != VFIO_USER_MAJOR) {
        return -EINVAL;
    }
    vfio_user_packet_put(reply, head, sizeof(*head));
    if (json) {
        vfio_user_packet_put(reply, json, strlen(json) + 1);
    }
    if (dev->model->twin) {
        int ends[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
                                   ends), ==, 0);
        g_array_append_val(reply->fds, ends[1]);
        dev->twin = ends[0];
    }
    return 0;
}

static int answer_get_info(VFIOUserDevice *dev, VFIOUserPacket *request,
                           VFIOUserPacket *reply)
{
    VFIOUserDeviceInfo info = {
        .argsz = sizeof(info),
        .flags = dev->model->flags,
        .num_regions = dev->model->num_regions,
        .num_irqs = VFIO_PCI_NUM_IRQS,
    };

    vfio_user_packet_put(reply, &info, sizeof(info));
    return 0;
}

static int answer_reset(VFIOUserDevice *dev, VFIOUserPacket *request,
                        VFIOUserPacket *reply)
{
    device_reset(dev);
    if (dev->migration1) {
        vfio_user_migration1_reset(dev->migration1);
    }
    return 0;
}

static int answer_dirty_pages(VFIOUserDevice *dev, VFIOUserPacket *request,
                              VFIOUserPacket *reply)
{
    if (!dev->migration1) {
        return -ENOTSUP;
    }
    return vfio_user_migration1_dirty_pages(dev->migration1, request, reply);
}

VFIOUserRecord *device_record(VFIOUserDevice *dev)
{
    return dev->migration1 ? vfio_user_migration1_record(dev->migration1) :
                             dev->migrating.record;
}

bool vfio_user_device_runs(const VFIOUserDevice *dev)
{
    return dev->migration1 ? vfio_user_migration1_runs(dev->migration1) :
                             vfio_user_migrating_runs(&dev->migrating);
}

bool vfio_user_device_write(VFIOUserDevice *dev, uint64_t address,
                            const void *bytes, size_t count)
{
    const VFIOUserMap *map = vfio_user_device_map(dev, address);

    if (!map || !map->memory || count > map->size - (address - map->address) ||
        !(map->flags & VFIO_USER_DMA_WRITEABLE) ||
        !vfio_user_device_runs(dev)) {
        return false;
    }
    memcpy(map->memory + (address - map->address), bytes, count);
    if (!dev->migration1 || vfio_user_migration1_records(dev->migration1)) {
        vfio_user_record_wrote(device_record(dev), address, count);
    }
    return true;
}

static int answer_migration(VFIOUserDevice *dev, VFIOUserPacket *request,
                            VFIOUserPacket *reply)
{
    return vfio_user_migrating_answer(&dev->migrating, request, reply);
}

/* Whether the device runs, for migration v1 and v2. */
static bool device_works(const VFIOUserDevice *dev)
{
    return vfio_user_device_runs(dev) &&
           (dev->migrating.state == VFIO_USER_MIG_RUNNING ||
            dev->migrating.state == VFIO_USER_MIG_PRE_COPY);
}

static DeviceAnswer *const answers[VFIO_USER_COMMANDS] = {
    [VFIO_USER_VERSION] = answer_version,
    [VFIO_USER_DMA_MAP] = device_dma_map,
    [VFIO_USER_DMA_UNMAP] = device_dma_unmap,
    [VFIO_USER_DEVICE_GET_INFO] = answer_get_info,
    [VFIO_USER_DEVICE_GET_REGION_INFO] = answer_get_region_info,
    [VFIO_USER_DEVICE_GET_REGION_IO_FDS] = answer_get_region_io_fds,
    [VFIO_USER_DEVICE_GET_IRQ_INFO] = device_get_irq_info,
    [VFIO_USER_DEVICE_SET_IRQS] = device_set_irqs,
    [VFIO_USER_REGION_READ] = answer_region_read,
    [VFIO_USER_REGION_WRITE] = answer_region_write,
    [VFIO_USER_DEVICE_RESET] = answer_reset,
    [VFIO_USER_DIRTY_PAGES] = answer_dirty_pages,
    [VFIO_USER_DEVICE_FEATURE] = answer_migration,
    [VFIO_USER_MIG_DATA_READ] = answer_migration,
    [VFIO_USER_MIG_DATA_WRITE] = answer_migration,
};

bool vfio_user_device_drains(const VFIOUserDevice *dev, uint16_t command)
{
    return !device_habits(dev)->undrained ||
           (command >= VFIO_USER_VERSION &&
            command <= VFIO_USER_DEVICE_RESET &&
            command != VFIO_USER_DEVICE_GET_REGION_IO_FDS);
}

bool vfio_user_device_reads_once(const VFIOUserDevice *dev)
{
    return device_habits(dev)->one_recv;
}

/* Whether the server implements the command. */
static bool device_knows(const VFIOUserDevice *dev, uint16_t command)
{
    const VFIOUserPersonality *p = device_habits(dev);

    switch (command) {
    case VFIO_USER_DIRTY_PAGES:
        return !p->no_migration1;
    case VFIO_USER_DEVICE_FEATURE:
    case VFIO_USER_MIG_DATA_READ:
    case VFIO_USER_MIG_DATA_WRITE:
        return !p->no_migration2;
    default:
        return command < ARRAY_SIZE(answers) && answers[command];
    }
}

int vfio_user_device_answer(VFIOUserDevice *dev, VFIOUserPacket *request,
                            VFIOUserPacket *reply)
{
    uint16_t command = request->header.command;
    bool worked = device_works(dev);
    int ret;

    if (!device_knows(dev, command)) {
        return -ENOTSUP;
    }
    if (dev->migration1 ?
        !vfio_user_migration1_accepts(dev->migration1, command) :
        !vfio_user_migrating_accepts(&dev->migrating, command)) {
        return -EINVAL;
    }
    ret = answers[command](dev, request, reply);
    if (dev->model->signals_at_stop && worked && !device_works(dev)) {
        vfio_user_device_trigger(dev, dev->model->signal, 0);
    }
    return ret;
}
