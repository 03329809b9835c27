/*
 * A vfio-user server on libvfio-user: a virtio disk that migrates under load
 *
 * A modern virtio-blk device with one queue and MSI-X, for the Linux driver.
 * The first chunk of the disk is not storage: every read returns consecutive
 * 64-bit numbers, from a counter that all readers share.  The other chunks
 * store what is written.  The state of the device is the counter, the chunks,
 * the registers and the queue.  A request takes some time, so that a busy
 * driver always has requests in flight.  A device that is stopped either
 * leaves them in the queue for the destination, or completes them all,
 * including interrupts.  Guest memory is accessed through descriptors, and
 * libvfio-user tracks dirty pages.
 *
 *     vfio-user-disk-server SOCKET leaves|finishes
 *
 * Prints the counter at each migration state.  Serves one client and exits
 * when it disconnects.  Single-threaded.  Trusts the driver: exits if the
 * queue is invalid.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "vfio-user-library.h"

#define PAGE 4096
#define VECTORS 2

/* BAR 0, one page each */
enum { COMMON, NOTIFY, ISR, DEVICE, TABLE, PENDING, PAGES };

#define SECTOR 512
#define CHUNK (64 * 1024)
#define CHUNKS 64
#define QUEUE_SIZE 64
/* data segments of a request, besides header and status */
#define SEGMENTS 16
#define DESCRIPTORS (SEGMENTS + 2)
/* maximum DMA maps that a range may span */
#define MAPS 4

#define FEATURES ((1ull << VIRTIO_F_VERSION_1) | \
                  (1ull << VIRTIO_BLK_F_SEG_MAX))

struct state {
    struct virtio_pci_common_cfg common;    /* includes the queue's registers */
    uint32_t driver_features[2];
    uint64_t numbers;                       /* numbers returned so far */
    uint16_t taken;                         /* requests taken, modulo 2^16 */
};

/*
 * A record of the stream: one chunk, or the rest of the state if index is
 * CHUNKS
 */
typedef struct Record {
    uint64_t index;
    uint8_t data[CHUNK];
} Record;

static struct device {
    vfu_ctx_t *ctx;
    dma_sg_t *maps;
    struct state s;
    uint8_t (*disk)[CHUNK];
    bool finishes;              /* completes requests before it stops */
    int timer;

    vfu_migr_state_t migration;
    bool unsaved[CHUNKS + 1];
} dev;

static void check(int ret, const char *what)
{
    if (ret < 0) {
        err(EXIT_FAILURE, "%s", what);
    }
}

/* Guest memory */

static void dma(uint64_t address, void *data, size_t size, bool write)
{
    struct iovec iov[MAPS];
    uint8_t *at = data;
    int count = vfu_addr_to_sgl(dev.ctx, (void *)address, size, dev.maps, MAPS,
                                write ? PROT_WRITE : PROT_READ);

    if (count <= 0 || vfu_sgl_get(dev.ctx, dev.maps, iov, count, 0) < 0) {
        errx(EXIT_FAILURE, "no guest memory at 0x%lx, size 0x%zx",
             (unsigned long)address, size);
    }
    for (int i = 0; i < count; i++) {
        memcpy(write ? iov[i].iov_base : at, write ? at : iov[i].iov_base,
               iov[i].iov_len);
        at += iov[i].iov_len;
    }
    vfu_sgl_put(dev.ctx, dev.maps, iov, count);
}

static uint16_t read16(uint64_t address)
{
    uint16_t value;

    dma(address, &value, sizeof(value), false);
    /* order later reads after this one */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return value;
}

static uint64_t queue_address(uint32_t low, uint32_t high)
{
    return (uint64_t)high << 32 | low;
}

#define QUEUE_ADDRESS(part) \
    queue_address(dev.s.common.queue_##part##_lo, \
                  dev.s.common.queue_##part##_hi)

/* Requests */

static void move(uint64_t at, struct vring_desc *segment, bool to_guest)
{
    uint64_t chunk = at / CHUNK, offset = at % CHUNK;
    uint64_t numbers[CHUNK / sizeof(uint64_t)];
    uint8_t *data = chunk ? dev.disk[chunk] : (uint8_t *)numbers;

    if (to_guest && chunk == 0) {
        for (size_t i = 0; i < segment->len / sizeof(uint64_t); i++) {
            numbers[i] = dev.s.numbers++;
        }
        offset = 0;
    }
    dma(segment->addr, data + offset, segment->len, to_guest);
    if (!to_guest) {
        dev.unsaved[chunk] = true;
    }
}

static uint8_t execute(struct virtio_blk_outhdr *header,
                       struct vring_desc *segments, int count)
{
    uint64_t at = header->sector * SECTOR;
    bool to_guest = header->type == VIRTIO_BLK_T_IN;

    if (!to_guest && header->type != VIRTIO_BLK_T_OUT) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    for (int i = 0; i < count; i++) {
        struct vring_desc *segment = &segments[i];

        while (segment->len) {
            struct vring_desc part = *segment;

            if (at >= CHUNKS * CHUNK) {
                return VIRTIO_BLK_S_IOERR;
            }
            if (part.len > CHUNK - at % CHUNK) {
                part.len = CHUNK - at % CHUNK;
            }
            move(at, &part, to_guest);
            at += part.len;
            segment->addr += part.len;
            segment->len -= part.len;
        }
    }
    return VIRTIO_BLK_S_OK;
}

/* Reads a chain of descriptors; returns its length. */
static int read_chain(uint16_t head, struct vring_desc *chain)
{
    int count = 0;

    for (uint16_t next = head;; next = chain[count++].next) {
        if (count == DESCRIPTORS || next >= dev.s.common.queue_size) {
            errx(EXIT_FAILURE, "a chain of descriptors that cannot be");
        }
        dma(QUEUE_ADDRESS(desc) + next * sizeof(*chain), &chain[count],
            sizeof(*chain), false);
        if (!(chain[count].flags & VRING_DESC_F_NEXT)) {
            return count + 1;
        }
    }
}

static void complete_request(uint16_t head, uint32_t written)
{
    uint64_t used = QUEUE_ADDRESS(used);
    struct vring_used_elem element = { .id = head, .len = written };
    uint16_t slot = dev.s.taken++ % dev.s.common.queue_size;
    uint16_t vector = dev.s.common.queue_msix_vector;

    dma(used + offsetof(struct vring_used, ring) + slot * sizeof(element),
        &element, sizeof(element), true);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    dma(used + offsetof(struct vring_used, idx), &dev.s.taken,
        sizeof(dev.s.taken), true);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (vector < VECTORS &&
        !(read16(QUEUE_ADDRESS(avail)) & VRING_AVAIL_F_NO_INTERRUPT)) {
        check(vfu_irq_trigger(dev.ctx, vector), "interrupt");
    }
}

static bool queue_works(void)
{
    return (dev.migration == VFU_MIGR_STATE_RUNNING ||
            dev.migration == VFU_MIGR_STATE_PRE_COPY) &&
           dev.s.common.device_status & VIRTIO_CONFIG_S_DRIVER_OK &&
           dev.s.common.queue_enable &&
           vfu_pci_get_config_space(dev.ctx)->hdr.cmd.bme;
}

static bool has_request(void)
{
    uint64_t avail = QUEUE_ADDRESS(avail);

    return queue_works() && dev.s.taken !=
           read16(avail + offsetof(struct vring_avail, idx));
}

static void take_request(void)
{
    uint64_t ring = QUEUE_ADDRESS(avail) + offsetof(struct vring_avail, ring);
    uint16_t slot = dev.s.taken % dev.s.common.queue_size;
    uint16_t head = read16(ring + slot * sizeof(head));
    struct vring_desc chain[DESCRIPTORS];
    struct virtio_blk_outhdr header;
    uint32_t written = 1;
    uint8_t status;
    int count = read_chain(head, chain);

    if (count < 2 || chain[0].len != sizeof(header)) {
        errx(EXIT_FAILURE, "a request of %d descriptors", count);
    }
    dma(chain[0].addr, &header, sizeof(header), false);
    for (int i = 1; i < count - 1; i++) {
        written += chain[i].flags & VRING_DESC_F_WRITE ? chain[i].len : 0;
    }
    status = execute(&header, chain + 1, count - 2);
    dma(chain[count - 1].addr, &status, sizeof(status), true);
    complete_request(head, written);
}

static void work_later(void)
{
    /* long enough that a request is always in flight */
    const struct itimerspec spec = {
        .it_value.tv_nsec = dev.finishes ? 5000000 : 500000,
    };

    check(timerfd_settime(dev.timer, 0, &spec, NULL), "timerfd_settime");
}

static void work(void)
{
    uint64_t times;

    if (read(dev.timer, &times, sizeof(times)) == sizeof(times) &&
        has_request()) {
        take_request();
        work_later();
    }
}

/* Registers */

static void reset_queue(void)
{
    memset(&dev.s.common, 0, sizeof(dev.s.common));
    dev.s.common.num_queues = 1;
    dev.s.common.queue_size = QUEUE_SIZE;
    dev.s.common.msix_config = VIRTIO_MSI_NO_VECTOR;
    dev.s.common.queue_msix_vector = VIRTIO_MSI_NO_VECTOR;
    dev.s.taken = 0;
}

static void read_common(char *buf, size_t count, size_t offset)
{
    struct virtio_pci_common_cfg c = dev.s.common;

    c.device_feature = c.device_feature_select > 1 ? 0 :
                       FEATURES >> 32 * c.device_feature_select;
    memcpy(buf, (char *)&c + offset, count);
}

static void write_common(const char *buf, size_t count, size_t offset)
{
    struct virtio_pci_common_cfg *c = &dev.s.common;

    if (offset == VIRTIO_PCI_COMMON_NUMQ ||
        offset == VIRTIO_PCI_COMMON_CFGGENERATION ||
        offset == VIRTIO_PCI_COMMON_Q_NOFF) {
        return;
    }
    memcpy((char *)c + offset, buf, count);
    if (offset == VIRTIO_PCI_COMMON_GF && c->guest_feature_select < 2) {
        dev.s.driver_features[c->guest_feature_select] = c->guest_feature;
    } else if (offset == VIRTIO_PCI_COMMON_STATUS && c->device_status == 0) {
        reset_queue();
    } else if (offset == VIRTIO_PCI_COMMON_STATUS &&
               !(dev.s.driver_features[1] & FEATURES >> 32)) {
        c->device_status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
    }
}

static ssize_t access_bar(vfu_ctx_t *ctx, char *buf, size_t count,
                          loff_t offset, bool is_write)
{
    const struct virtio_blk_config config = {
        .capacity = CHUNKS * CHUNK / SECTOR,
        .seg_max = SEGMENTS,
    };
    int page = offset / PAGE;
    size_t at = offset % PAGE;

    if (!is_write) {
        memset(buf, 0, count);
    }
    if (page == NOTIFY && is_write) {
        work_later();
    } else if (page == COMMON && at + count <= sizeof(dev.s.common)) {
        if (is_write) {
            write_common(buf, count, at);
        } else {
            read_common(buf, count, at);
        }
    } else if (page == DEVICE && !is_write && at + count <= sizeof(config)) {
        memcpy(buf, (const char *)&config + at, count);
    }
    return count;
}

static int reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    reset_queue();
    return 0;
}

/* Migration */

static void say(const char *what)
{
    printf("%s at %lu\n", what, (unsigned long)dev.s.numbers);
    fflush(stdout);
}

static int transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    static const char *const names[] = {
        [VFU_MIGR_STATE_STOP] = "stop",
        [VFU_MIGR_STATE_RUNNING] = "running",
        [VFU_MIGR_STATE_STOP_AND_COPY] = "stop-and-copy",
        [VFU_MIGR_STATE_PRE_COPY] = "pre-copy",
        [VFU_MIGR_STATE_RESUME] = "resuming",
    };

    if (state == VFU_MIGR_STATE_PRE_COPY ||
        (state == VFU_MIGR_STATE_STOP_AND_COPY &&
         dev.migration != VFU_MIGR_STATE_PRE_COPY)) {
        memset(dev.unsaved, true, sizeof(dev.unsaved));
    }
    while (dev.finishes && state != VFU_MIGR_STATE_PRE_COPY && has_request()) {
        take_request();
    }
    dev.migration = state;
    say(names[state]);
    work_later();
    return 0;
}

/*
 * Returns the next chunk to save; CHUNKS is the rest of the state, which comes
 * last.
 */
static int next_unsaved(void)
{
    int i = 0;

    while (i < CHUNKS && !dev.unsaved[i]) {
        i++;
    }
    return i;
}

static uint64_t pending(void)
{
    uint64_t bytes = 0;

    for (int i = 0; i < CHUNKS; i++) {
        bytes += dev.unsaved[i] * sizeof(Record);
    }
    if (dev.migration == VFU_MIGR_STATE_STOP_AND_COPY) {
        bytes += dev.unsaved[CHUNKS] * sizeof(Record);
    }
    return bytes;
}

static void take(void *to)
{
    Record *record = to;
    int i = next_unsaved();

    record->index = i;
    if (i < CHUNKS) {
        memcpy(record->data, dev.disk[i], CHUNK);
    } else {
        memcpy(record->data, &dev.s, sizeof(dev.s));
    }
    dev.unsaved[i] = false;
}

static int put(const void *from)
{
    const Record *record = from;

    if (record->index > CHUNKS) {
        errno = EINVAL;
        return -1;
    }
    if (record->index < CHUNKS) {
        memcpy(dev.disk[record->index], record->data, CHUNK);
    } else {
        memcpy(&dev.s, record->data, sizeof(dev.s));
    }
    return 0;
}

static const VFIOUserLibraryState migration = {
    .size = sizeof(Record),
    .transition = transition,
    .pending = pending,
    .take = take,
    .put = put,
};

/* Set-up */

static void on_dma(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

static void on_log(vfu_ctx_t *ctx, int level, const char *text)
{
    warnx("%s", text);
}

static void add_capability(vfu_ctx_t *ctx, uint8_t type, int page,
                           size_t length)
{
    struct virtio_pci_notify_cap cap = {
        .cap = {
            .cap_vndr = PCI_CAP_ID_VNDR,
            .cap_len = type == VIRTIO_PCI_CAP_NOTIFY_CFG ?
                       sizeof(cap) : sizeof(cap.cap),
            .cfg_type = type,
            .offset = page * PAGE,
            .length = length,
        },
    };

    check(vfu_pci_add_capability(ctx, 0, VFU_CAP_FLAG_READONLY, &cap),
          "capability");
}

static void set_up_pci(vfu_ctx_t *ctx)
{
    struct msixcap msix = {
        .hdr.id = PCI_CAP_ID_MSIX,
        .mxc.ts = VECTORS - 1,
        .mtab.to = TABLE * PAGE >> 3,
        .mpba.pbao = PENDING * PAGE >> 3,
    };

    check(vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL,
                       1), "vfu_pci_init");
    vfu_pci_set_id(ctx, 0x1af4, 0x1040 + VIRTIO_ID_BLOCK, 0x1af4, 0x1100);
    vfu_pci_set_class(ctx, 1, 0x80, 0);
    add_capability(ctx, VIRTIO_PCI_CAP_COMMON_CFG, COMMON,
                   sizeof(struct virtio_pci_common_cfg));
    add_capability(ctx, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY, 4);
    add_capability(ctx, VIRTIO_PCI_CAP_ISR_CFG, ISR, 4);
    add_capability(ctx, VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE,
                   sizeof(struct virtio_blk_config));
    check(vfu_pci_add_capability(ctx, 0, 0, &msix), "MSI-X");
    check(vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, PAGES * PAGE,
                           access_bar, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM,
                           NULL, 0, -1, 0), "BAR 0");
    check(vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, VECTORS),
          "interrupts");
}

static void set_up(const char *path)
{
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, path,
                                    LIBVFIO_USER_FLAG_ATTACH_NB, &dev,
                                    VFU_DEV_TYPE_PCI);

    check(ctx ? 0 : -1, "vfu_create_ctx");
    check(vfu_setup_log(ctx, on_log, LOG_WARNING), "log");
    set_up_pci(ctx);
    check(vfu_setup_device_reset_cb(ctx, reset), "reset");
    check(vfio_user_library_dma(ctx, on_dma, on_dma), "DMA");
    check(vfio_user_library_migrate(ctx, &migration), "migration");
    check(vfu_realize_ctx(ctx), "vfu_realize_ctx");

    dev.ctx = ctx;
    dev.maps = calloc(MAPS, dma_sg_size());
    dev.disk = calloc(CHUNKS, CHUNK);
    dev.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    dev.migration = VFU_MIGR_STATE_RUNNING;
    check(dev.maps && dev.disk ? dev.timer : -1, "set-up");
    reset_queue();
}

int main(int argc, char **argv)
{
    bool attached = false;
    int ret = 0;

    if (argc != 3) {
        errx(EXIT_FAILURE, "Usage: %s SOCKET leaves|finishes", argv[0]);
    }
    dev.finishes = strcmp(argv[2], "finishes") == 0;
    set_up(argv[1]);
    while (ret >= 0 || errno == EAGAIN || errno == EWOULDBLOCK) {
        struct pollfd fds[] = {
            { .fd = vfu_get_poll_fd(dev.ctx), .events = POLLIN },
            { .fd = dev.timer, .events = POLLIN },
        };

        check(poll(fds, 2, -1), "poll");
        if (fds[1].revents) {
            work();
        }
        ret = 0;
        if (fds[0].revents && !attached) {
            ret = vfu_attach_ctx(dev.ctx);
            attached = ret == 0;
        } else if (fds[0].revents) {
            ret = vfu_run_ctx(dev.ctx);
        }
    }
    say("end");
    vfu_destroy_ctx(dev.ctx);
    return EXIT_SUCCESS;
}
