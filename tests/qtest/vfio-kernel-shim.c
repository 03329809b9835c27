/*
 * A simulated VFIO kernel driver
 *
 * Preloaded into QEMU, this library implements /dev/vfio: a type 1 container,
 * one group and one PCI device.  It logs each call as a line (see
 * vfio-kernel.h) and passes all other calls to the C library.  The device is a
 * sparse file with the regions at the kernel's offsets, so its BARs are memory
 * and can be mapped.  The device does nothing except trigger interrupts on
 * demand.
 *
 * Environment: VFIO_KERNEL_SHIM_LOG is the file to append to.  Calls whose log
 * line begins with VFIO_KERNEL_SHIM_FAIL fail with EBUSY.  The device supports
 * migration if VFIO_KERNEL_SHIM_MIGRATES is set.
 *
 * Threads: any; like QEMU's device code, it relies on the big QEMU lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <dlfcn.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include "qemu/bswap.h"

#define REGION_SHIFT    40
#define CONFIG_SIZE     256
#define CAP_PM          0x40
#define CAP_MSI         0x50
#define CAP_MSIX        0x70
#define DOORBELL        0xf0    /* in BAR 0: interrupt index << 8 | vector */
#define VECTORS         4

enum { CONTAINER, GROUP, DEVICE, NR_FILES };

static const char *const file_names[NR_FILES] = {
    "container", "group", "device",
};
static int files[NR_FILES] = { -1, -1, -1 };
static int triggers[VFIO_PCI_NUM_IRQS][VECTORS];

static const struct {
    uint64_t size;
    uint32_t flags;
} regions[VFIO_PCI_NUM_REGIONS] = {
    [VFIO_PCI_BAR0_REGION_INDEX] = { 0x1000 },
    [VFIO_PCI_BAR1_REGION_INDEX] = { 0x20 },
    [VFIO_PCI_BAR2_REGION_INDEX] = { 0x4000, VFIO_REGION_INFO_FLAG_MMAP },
    [VFIO_PCI_BAR4_REGION_INDEX] = { 0x1000 },
    [VFIO_PCI_CONFIG_REGION_INDEX] = { CONFIG_SIZE },
};

static const uint8_t config[CONFIG_SIZE] = {
    [0x00] = 0x36, 0x1b, 0xee, 0xff,            /* vendor, device */
    [0x06] = 0x10,                              /* capabilities list */
    [0x0b] = 0xff,                              /* class: other */
    [0x14] = 0x01,                              /* BAR 1: I/O */
    [0x20] = 0x04,                              /* BAR 4: 64 bits */
    [0x34] = CAP_PM,
    [0x3d] = 1,                                 /* INTA */
    [CAP_PM] = 0x01, CAP_MSI, 0x03, 0x00, 0x08, /* no soft reset in D3 */
    [CAP_MSI] = 0x05, CAP_MSIX, 0x84,           /* 64 bits, 4 vectors */
    [CAP_MSIX] = 0x11, 0, VECTORS - 1, 0,       /* table at BAR 4 + 0 */
    [CAP_MSIX + 4] = 4,
    [CAP_MSIX + 8] = 4, 0x08,                   /* pending at BAR 4 + 0x800 */
};

/* C library functions, under the symbol names that QEMU's objects use */

int shim_open(const char *path, int flags, ...) asm("open64");
int shim_close(int fd) asm("close");
int shim_ioctl(int fd, unsigned long request, void *arg) asm("ioctl");
ssize_t shim_pread(int fd, void *data, size_t size, off_t offset)
    asm("pread64");
ssize_t shim_pread_chk(int fd, void *data, size_t size, off_t offset,
                       size_t room) asm("__pread64_chk");
ssize_t shim_pwrite(int fd, const void *data, size_t size, off_t offset)
    asm("pwrite64");
void *shim_mmap(void *where, size_t size, int prot, int flags, int fd,
                off_t offset) asm("mmap64");

/* Looks up the C library function @name, which @shim overrides */
#define REAL(shim, name)                                    \
    ({                                                      \
        static typeof(shim) *fn;                            \
        if (!fn) {                                          \
            fn = (typeof(shim) *)dlsym(RTLD_NEXT, name);    \
        }                                                   \
        fn;                                                 \
    })

/* Writes a line to the log.  Returns false if this call must fail. */
static bool G_GNUC_PRINTF(1, 2) say(const char *fmt, ...)
{
    const char *fail = getenv("VFIO_KERNEL_SHIM_FAIL");
    char line[128];
    va_list ap;
    int fd, len;

    va_start(ap, fmt);
    len = vsnprintf(line, sizeof(line) - 1, fmt, ap);
    va_end(ap);
    len = MIN(len, sizeof(line) - 2);
    line[len++] = '\n';
    fd = REAL(shim_open, "open64")(getenv("VFIO_KERNEL_SHIM_LOG"),
                                   O_WRONLY | O_APPEND);
    if (write(fd, line, len) != len) {
        abort();
    }
    REAL(shim_close, "close")(fd);
    if (fail && !strncmp(line, fail, strlen(fail))) {
        errno = EBUSY;
        return false;
    }
    return true;
}

static int find(int fd)
{
    int i;

    for (i = 0; i < NR_FILES && (fd < 0 || files[i] != fd); i++) {
        /* search */
    }
    return i;
}

static int create(int i)
{
    files[i] = memfd_create(file_names[i], MFD_CLOEXEC);
    return files[i];
}

static int create_device(void)
{
    const off_t at = (off_t)VFIO_PCI_CONFIG_REGION_INDEX << REGION_SHIFT;
    int fd = create(DEVICE);

    if (ftruncate(fd, (off_t)VFIO_PCI_NUM_REGIONS << REGION_SHIFT) ||
        REAL(shim_pwrite, "pwrite64")(fd, config, sizeof(config), at) < 0) {
        abort();
    }
    memset(triggers, -1, sizeof(triggers));
    return fd;
}

static int fail(int err)
{
    errno = err;
    return -1;
}

/* ioctls */

static int container_ioctl(unsigned long request, void *arg)
{
    struct vfio_iommu_type1_dma_unmap *unmap = arg;
    struct vfio_iommu_type1_dma_map *map = arg;
    struct vfio_iommu_type1_info *info = arg;

    switch (request) {
    case VFIO_GET_API_VERSION:
        return say("GET_API_VERSION") ? VFIO_API_VERSION : -1;
    case VFIO_CHECK_EXTENSION:
        return say("CHECK_EXTENSION %ld", (long)arg) ?
               (long)arg == VFIO_TYPE1v2_IOMMU : -1;
    case VFIO_SET_IOMMU:
        return say("SET_IOMMU %ld", (long)arg) ? 0 : -1;
    case VFIO_IOMMU_GET_INFO:
        info->flags = VFIO_IOMMU_INFO_PGSIZES;
        info->iova_pgsizes = 4096;
        return say("IOMMU_GET_INFO") ? 0 : -1;
    case VFIO_IOMMU_MAP_DMA:
        return say("MAP_DMA 0x%llx 0x%llx %u", map->iova, map->size,
                   map->flags) ? 0 : -1;
    case VFIO_IOMMU_UNMAP_DMA:
        return say("UNMAP_DMA 0x%llx 0x%llx", unmap->iova, unmap->size) ?
               0 : -1;
    default:
        say("container ioctl 0x%lx", request);
        return fail(ENOTTY);
    }
}

static int set_container(int fd)
{
    if (find(fd) != CONTAINER) {
        say("SET_CONTAINER to none");
        return fail(EBADF);
    }
    return say("SET_CONTAINER") ? 0 : -1;
}

static int group_ioctl(unsigned long request, void *arg)
{
    struct vfio_group_status *status = arg;

    switch (request) {
    case VFIO_GROUP_GET_STATUS:
        status->flags = VFIO_GROUP_FLAGS_VIABLE;
        return say("GROUP_GET_STATUS") ? 0 : -1;
    case VFIO_GROUP_SET_CONTAINER:
        return set_container(*(int *)arg);
    case VFIO_GROUP_UNSET_CONTAINER:
        return say("UNSET_CONTAINER") ? 0 : -1;
    case VFIO_GROUP_GET_DEVICE_FD:
        return say("GET_DEVICE_FD %s", (char *)arg) ? create_device() : -1;
    default:
        say("group ioctl 0x%lx", request);
        return fail(ENOTTY);
    }
}

/* BAR 2 has a mappable area, described after an unknown capability. */
static void add_region_caps(struct vfio_region_info *info)
{
    struct {
        struct vfio_region_info info;
        struct vfio_info_cap_header unknown;
        struct vfio_region_info_cap_sparse_mmap sparse;
        struct vfio_region_sparse_mmap_area area;
    } *full = (void *)info;

    info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
    if (info->argsz < sizeof(*full)) {
        info->argsz = sizeof(*full);
        return;
    }
    info->cap_offset = (uintptr_t)&full->unknown - (uintptr_t)full;
    full->unknown = (struct vfio_info_cap_header) {
        .id = 0x7fff,
        .next = (uintptr_t)&full->sparse - (uintptr_t)full,
    };
    full->sparse = (struct vfio_region_info_cap_sparse_mmap) {
        .header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP,
        .header.version = 1,
        .nr_areas = 1,
    };
    full->area = (struct vfio_region_sparse_mmap_area) {
        .offset = 0x1000,
        .size = 0x1000,
    };
}

static int get_region_info(struct vfio_region_info *info)
{
    if (!say("GET_REGION_INFO %u", info->index)) {
        return -1;
    }
    if (info->index >= VFIO_PCI_NUM_REGIONS) {
        return fail(EINVAL);
    }
    info->offset = (uint64_t)info->index << REGION_SHIFT;
    info->size = regions[info->index].size;
    info->flags = regions[info->index].flags;
    if (info->size) {
        info->flags |= VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    }
    if (info->flags & VFIO_REGION_INFO_FLAG_MMAP) {
        add_region_caps(info);
    }
    return 0;
}

static int get_irq_info(struct vfio_irq_info *info)
{
    if (!say("GET_IRQ_INFO %u", info->index)) {
        return -1;
    }
    info->flags = VFIO_IRQ_INFO_EVENTFD;
    info->count = info->index == VFIO_PCI_MSI_IRQ_INDEX ||
                  info->index == VFIO_PCI_MSIX_IRQ_INDEX ? VECTORS : 1;
    return 0;
}

static int set_irqs(struct vfio_irq_set *irqs)
{
    static const char *const names[] = { "intx", "msi", "msix", "err", "req" };
    const int32_t *fds = (int32_t *)irqs->data;
    const char *action = irqs->flags & VFIO_IRQ_SET_ACTION_MASK ? "mask" :
                         irqs->flags & VFIO_IRQ_SET_ACTION_UNMASK ? "unmask" :
                         "trigger";
    const char *data = irqs->flags & VFIO_IRQ_SET_DATA_NONE ? "none" :
                       fds[0] < 0 ? "no-fd" : "fd";
    unsigned i;

    if (!say("SET_IRQS %s %s %u+%u %s", names[irqs->index], action,
             irqs->start, irqs->count, data)) {
        return -1;
    }
    if (!(irqs->flags & VFIO_IRQ_SET_ACTION_TRIGGER)) {
        return 0;
    }
    if (irqs->index == VFIO_PCI_MSI_IRQ_INDEX && irqs->count > 1) {
        return 1;       /* number of vectors the host has left */
    }
    for (i = 0; i < VECTORS; i++) {
        if (!irqs->count) {
            triggers[irqs->index][i] = -1;
        } else if (i >= irqs->start && i < irqs->start + irqs->count) {
            triggers[irqs->index][i] = fds[i - irqs->start];
        }
    }
    return 0;
}

/* Reports migration v2 without pre-copy, but does not implement it. */
static int device_feature(struct vfio_device_feature *feature)
{
    struct vfio_device_feature_migration *migration = (void *)feature->data;
    struct vfio_device_feature_mig_state *state = (void *)feature->data;

    say("DEVICE_FEATURE 0x%x", feature->flags);
    if (!getenv("VFIO_KERNEL_SHIM_MIGRATES")) {
        return fail(ENOTTY);
    }
    switch (feature->flags) {
    case VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION:
        migration->flags = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P;
        return 0;
    case VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
        state->data_fd = -1;
        return 0;
    default:
        return fail(ENOTTY);
    }
}

static int device_ioctl(unsigned long request, void *arg)
{
    struct vfio_device_info *info = arg;

    switch (request) {
    case VFIO_DEVICE_GET_INFO:
        info->flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
        info->num_regions = VFIO_PCI_NUM_REGIONS;
        info->num_irqs = VFIO_PCI_NUM_IRQS;
        return say("GET_INFO") ? 0 : -1;
    case VFIO_DEVICE_GET_REGION_INFO:
        return get_region_info(arg);
    case VFIO_DEVICE_GET_IRQ_INFO:
        return get_irq_info(arg);
    case VFIO_DEVICE_SET_IRQS:
        return set_irqs(arg);
    case VFIO_DEVICE_FEATURE:
        return device_feature(arg);
    case VFIO_DEVICE_RESET:
        return say("RESET") ? 0 : -1;
    default:
        say("device ioctl 0x%lx", request);
        return fail(ENOTTY);
    }
}

/* Interposed functions */

int shim_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    if (!strncmp(path, "/dev/vfio/", 10)) {
        int i = strcmp(path, "/dev/vfio/vfio") ? GROUP : CONTAINER;

        return say("open %s", path) ? create(i) : -1;
    }
    if (flags & O_CREAT) {
        va_start(ap, flags);
        mode = va_arg(ap, int);
        va_end(ap);
    }
    return REAL(shim_open, "open64")(path, flags, mode);
}

int shim_close(int fd)
{
    int i = find(fd);

    if (i < NR_FILES) {
        files[i] = -1;
        say("close %s", file_names[i]);
    }
    return REAL(shim_close, "close")(fd);
}

int shim_ioctl(int fd, unsigned long request, void *arg)
{
    switch (find(fd)) {
    case CONTAINER:
        return container_ioctl(request, arg);
    case GROUP:
        return group_ioctl(request, arg);
    case DEVICE:
        return device_ioctl(request, arg);
    default:
        return REAL(shim_ioctl, "ioctl")(fd, request, arg);
    }
}

static unsigned region_of(off_t offset)
{
    return offset >> REGION_SHIFT;
}

static uint64_t offset_in_region(off_t offset)
{
    return offset & ((1ULL << REGION_SHIFT) - 1);
}

ssize_t shim_pread(int fd, void *data, size_t size, off_t offset)
{
    if (find(fd) == DEVICE &&
        !say("read %u 0x%" PRIx64 " %zu", region_of(offset),
             offset_in_region(offset), size)) {
        return -1;
    }
    return REAL(shim_pread, "pread64")(fd, data, size, offset);
}

ssize_t shim_pread_chk(int fd, void *data, size_t size, off_t offset,
                       size_t room)
{
    return shim_pread(fd, data, size, offset);
}

static void ring(uint32_t value)
{
    const uint64_t one = 1;
    int fd = triggers[value >> 8][value & 0xff];

    if (fd >= 0 && write(fd, &one, sizeof(one)) != sizeof(one)) {
        abort();
    }
}

ssize_t shim_pwrite(int fd, const void *data, size_t size, off_t offset)
{
    uint64_t at = offset_in_region(offset);
    unsigned nr = region_of(offset);
    uint64_t value = 0;

    if (find(fd) == DEVICE) {
        memcpy(&value, data, MIN(size, sizeof(value)));
        if (!say("write %u 0x%" PRIx64 " %zu 0x%" PRIx64, nr, at, size,
                 le64_to_cpu(value))) {
            return -1;
        }
        if (nr == VFIO_PCI_BAR0_REGION_INDEX && at == DOORBELL) {
            ring(le64_to_cpu(value));
        }
        if (nr == VFIO_PCI_CONFIG_REGION_INDEX && at == 0x30) {
            return size;        /* there is no ROM */
        }
    }
    return REAL(shim_pwrite, "pwrite64")(fd, data, size, offset);
}

void *shim_mmap(void *where, size_t size, int prot, int flags, int fd,
                off_t offset)
{
    if (find(fd) == DEVICE &&
        !say("mmap %u 0x%" PRIx64 " 0x%zx", region_of(offset),
             offset_in_region(offset), size)) {
        return MAP_FAILED;
    }
    return REAL(shim_mmap, "mmap64")(where, size, prot, flags, fd, offset);
}
