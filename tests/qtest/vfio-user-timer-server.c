/*
 * A vfio-user server on libvfio-user: a timer that migrates
 *
 * Based on libvfio-user's sample "server", with fixes for what cannot work
 * with a VM.  BAR 0 has two 8-byte registers: when the timer expires, in ms
 * since the epoch, and how often it has expired.  BAR 1 is 12 KiB of memory,
 * of which the first and the last page can be mapped.  Both are the device's
 * state.  The option ROM has 2 KiB; each byte is the low byte of its offset.
 *
 *     vfio-user-timer-server SOCKET
 *
 * Serves one client and exits when it disconnects.  Single-threaded.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vfio-user-library.h"

#define PAGE 4096
#define MEMORY_SIZE (4 * PAGE)
#define ROM_SIZE 2048

struct registers {
    uint64_t expires;
    uint64_t expired;
};

static struct device {
    struct registers registers;
    uint8_t *memory;
    int timer;
    vfu_migr_state_t state;
    uint64_t pending;
} device;

#define STATE_SIZE (MEMORY_SIZE + sizeof(struct registers))

static void set_timer(uint64_t expires)
{
    const struct itimerspec spec = {
        .it_value = { expires / 1000, expires % 1000 * 1000000 },
    };

    if (timerfd_settime(device.timer, TFD_TIMER_ABSTIME, &spec, NULL) < 0) {
        err(EXIT_FAILURE, "timerfd_settime");
    }
}

static ssize_t access_registers(vfu_ctx_t *ctx, char *buf, size_t count,
                                loff_t offset, bool is_write)
{
    char *at = (char *)&device.registers + offset;

    if (offset + count > sizeof(device.registers)) {
        memset(buf, 0, is_write ? 0 : count);
        return count;
    }
    memcpy(is_write ? at : buf, is_write ? buf : at, count);
    if (is_write && offset + count == sizeof(device.registers.expires)) {
        set_timer(device.registers.expires);
    }
    return count;
}

static ssize_t access_memory(vfu_ctx_t *ctx, char *buf, size_t count,
                             loff_t offset, bool is_write)
{
    uint8_t *at = device.memory + offset;

    if (offset + count > MEMORY_SIZE) {
        errno = EINVAL;
        return -1;
    }
    memcpy(is_write ? (void *)at : buf, is_write ? buf : (void *)at, count);
    return count;
}

static ssize_t access_rom(vfu_ctx_t *ctx, char *buf, size_t count,
                          loff_t offset, bool is_write)
{
    if (is_write) {
        errno = EPERM;
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        buf[i] = offset + i;
    }
    return count;
}

/* Migration */

static int transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    device.state = state;
    switch (state) {
    case VFU_MIGR_STATE_RUNNING:
        set_timer(device.registers.expires);
        break;
    case VFU_MIGR_STATE_PRE_COPY:
        device.pending = STATE_SIZE;
        break;
    case VFU_MIGR_STATE_STOP_AND_COPY:
        device.pending = STATE_SIZE;
        set_timer(0);
        break;
    default:
        set_timer(0);
    }
    return 0;
}

static uint64_t pending(void)
{
    return device.pending;
}

static void take(void *record)
{
    memcpy(record, device.memory, MEMORY_SIZE);
    memcpy((char *)record + MEMORY_SIZE, &device.registers,
           sizeof(device.registers));
    device.pending = 0;
}

static int put(const void *record)
{
    memcpy(device.memory, record, MEMORY_SIZE);
    memcpy(&device.registers, (const char *)record + MEMORY_SIZE,
           sizeof(device.registers));
    return 0;
}

static const VFIOUserLibraryState migration = {
    .size = STATE_SIZE,
    .transition = transition,
    .pending = pending,
    .take = take,
    .put = put,
};

static void on_dma(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

static void check(int ret, const char *what)
{
    if (ret < 0) {
        err(EXIT_FAILURE, "%s", what);
    }
}

static vfu_ctx_t *set_up(const char *path)
{
    const int flags = VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM;
    struct iovec areas[] = {
        { (void *)0, PAGE },
        { (void *)(2 * PAGE), PAGE },
    };
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, path,
                                    LIBVFIO_USER_FLAG_ATTACH_NB, &device,
                                    VFU_DEV_TYPE_PCI);
    int fd = memfd_create("memory", 0);

    check(ctx && fd >= 0 ? 0 : -1, "vfu_create_ctx");
    check(ftruncate(fd, MEMORY_SIZE), "ftruncate");
    device.memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
                         MAP_SHARED, fd, 0);
    device.timer = timerfd_create(CLOCK_REALTIME, 0);
    check(device.memory == MAP_FAILED ? -1 : device.timer, "mmap");

    check(vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL,
                       0), "vfu_pci_init");
    vfu_pci_set_id(ctx, 0x1234, 0x7177, 0, 0);
    check(vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, PAGE,
                           access_registers, flags, NULL, 0, -1, 0), "BAR 0");
    check(vfu_setup_region(ctx, VFU_PCI_DEV_BAR1_REGION_IDX, MEMORY_SIZE,
                           access_memory, flags, areas, 2, fd, 0), "BAR 1");
    check(vfu_setup_region(ctx, VFU_PCI_DEV_ROM_REGION_IDX, ROM_SIZE,
                           access_rom, VFU_REGION_FLAG_READ, NULL, 0, -1, 0),
          "option ROM");
    check(vfio_user_library_migrate(ctx, &migration), "migration");
    check(vfio_user_library_dma(ctx, on_dma, on_dma), "DMA");
    check(vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1), "interrupts");
    check(vfu_realize_ctx(ctx), "vfu_realize_ctx");
    return ctx;
}

int main(int argc, char **argv)
{
    vfu_ctx_t *ctx = argc == 2 ? set_up(argv[1]) : NULL;
    bool attached = false;
    int ret = 0;

    if (!ctx) {
        errx(EXIT_FAILURE, "Usage: %s SOCKET", argv[0]);
    }
    while (ret >= 0 || errno == EAGAIN || errno == EWOULDBLOCK) {
        struct pollfd fds[] = {
            { .fd = vfu_get_poll_fd(ctx), .events = POLLIN },
            { .fd = device.timer, .events = POLLIN },
        };
        uint64_t times;

        check(poll(fds, 2, -1), "poll");
        if (fds[1].revents &&
            read(device.timer, &times, sizeof(times)) == sizeof(times)) {
            device.registers.expired++;
            device.registers.expires = 0;
        }
        ret = 0;
        if (fds[0].revents && !attached) {
            ret = vfu_attach_ctx(ctx);
            attached = ret == 0;
        } else if (fds[0].revents) {
            ret = vfu_run_ctx(ctx);
        }
    }
    vfu_destroy_ctx(ctx);
    return EXIT_SUCCESS;
}
