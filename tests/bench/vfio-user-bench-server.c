/*
 * The device of the register benchmark: a vfio-user server on libvfio-user
 *
 * One PCI function with a BAR of 4 KiB that is accessed by message only; its
 * registers are in vfio-user-bench.h, and the doorbell is an eventfd. A second
 * BAR has the other registers as I/O ports. There are no interrupts and no
 * DMA. With --sleep the server sleeps in poll between messages and signals;
 * with --poll it polls for them as long as a client is connected. It serves
 * one client after another and prints "ready" when it listens. On SIGTERM it
 * prints its counters and removes its socket. One thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "libvfio-user.h"
#include "vfio-user-bench.h"

/* A polling server checks for SIGTERM once in this many iterations. */
#define TURNS_PER_SIGNAL_CHECK 4096

typedef struct Bench {
    uint64_t reads;
    uint64_t writes;
    uint64_t signals;
    bool has_doorbell;
    int doorbell;               /* eventfd */
    uint32_t scratch;
    struct timespec write_time;
} Bench;

static volatile sig_atomic_t terminated;

static void terminate(int sig)
{
    terminated = 1;
}

static ssize_t access_bar(vfu_ctx_t *ctx, char *buf, size_t count,
                          loff_t offset, bool is_write)
{
    Bench *b = vfu_get_private(ctx);
    uint32_t value;

    if (count != sizeof(value) ||
        (offset != BENCH_COUNTER && offset != BENCH_SCRATCH)) {
        errno = EINVAL;
        return -1;
    }
    if (is_write) {
        b->writes++;
        memcpy(&b->scratch, buf, sizeof(b->scratch));
        if (b->write_time.tv_nsec) {
            nanosleep(&b->write_time, NULL);
        }
        return count;
    }
    value = offset == BENCH_COUNTER ? b->reads : b->scratch;
    b->reads++;
    memcpy(buf, &value, sizeof(value));
    return count;
}

static vfu_ctx_t *create(const char *path, Bench *b)
{
    /* Without ATTACH_NB, the library would sleep in recvmsg despite SIGTERM. */
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, path,
                                    LIBVFIO_USER_FLAG_ATTACH_NB, b,
                                    VFU_DEV_TYPE_PCI);

    if (!ctx) {
        err(1, "%s: cannot listen", path);
    }
    if (vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL,
                     PCI_HEADER_TYPE_NORMAL, 0) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, BENCH_BAR_SIZE,
                         access_bar, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM,
                         NULL, 0, -1, 0) < 0 ||
        vfu_setup_region(ctx, VFU_PCI_DEV_BAR1_REGION_IDX, BENCH_PORTS_SIZE,
                         access_bar, VFU_REGION_FLAG_RW,
                         NULL, 0, -1, 0) < 0) {
        err(1, "cannot set up the device");
    }
    if (b->has_doorbell &&
        vfu_create_ioeventfd(ctx, VFU_PCI_DEV_BAR0_REGION_IDX, b->doorbell,
                             BENCH_DOORBELL, sizeof(uint32_t), 0, 0) < 0) {
        err(1, "cannot set up the doorbell");
    }
    vfu_pci_set_id(ctx, BENCH_VENDOR, BENCH_DEVICE, 0, 0);
    vfu_pci_set_class(ctx, 0xff, 0, 0);
    if (vfu_realize_ctx(ctx) < 0) {
        err(1, "cannot realize the device");
    }
    return ctx;
}

/*
 * SIGTERM is unblocked only here, so that it cannot be missed between the check
 * of the flag and the sleep.
 */
static void await(int fd, int doorbell, bool sleeps)
{
    struct pollfd pfds[] = {
        { .fd = fd, .events = POLLIN },
        { .fd = doorbell, .events = POLLIN },
    };
    struct timespec now = { 0 };
    sigset_t none;

    sigemptyset(&none);
    if (ppoll(pfds, 2, sleeps ? NULL : &now, &none) < 0 && errno != EINTR) {
        err(1, "ppoll");
    }
}

static void read_doorbell(Bench *b)
{
    uint64_t count;

    if (read(b->doorbell, &count, sizeof(count)) == sizeof(count)) {
        b->signals += count;
    }
}

static void serve(vfu_ctx_t *ctx, bool polls)
{
    Bench *b = vfu_get_private(ctx);
    bool attached = false;
    unsigned turns = 0;

    while (true) {
        if (!attached || !polls) {
            await(vfu_get_poll_fd(ctx), b->doorbell, true);
        } else if (++turns % TURNS_PER_SIGNAL_CHECK == 0) {
            await(vfu_get_poll_fd(ctx), b->doorbell, false);
        }
        read_doorbell(b);
        if (terminated) {
            return;
        }
        if (!attached) {
            attached = vfu_attach_ctx(ctx) == 0;
        } else if (vfu_run_ctx(ctx) < 0) {
            if (errno != ENOTCONN) {
                err(1, "vfu_run_ctx");
            }
            attached = false;
        }
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "sleep", no_argument, NULL, 's' },
        { "poll", no_argument, NULL, 'p' },
        { "doorbell", no_argument, NULL, 'd' },
        { "write-us", required_argument, NULL, 'w' },
        { }
    };
    struct sigaction action = { .sa_handler = terminate };
    Bench b = { 0 };
    int mode = 0, opt;
    vfu_ctx_t *ctx;
    sigset_t term;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 's':
        case 'p':
            mode = opt;
            break;
        case 'd':
            b.has_doorbell = true;
            break;
        case 'w':
            b.write_time.tv_nsec = atoi(optarg) % 1000000 * 1000;
            break;
        default:
            mode = 0;
            optind = argc;
        }
    }
    if (!mode || optind != argc - 1) {
        errx(2, "usage: %s --sleep|--poll [--doorbell] [--write-us N] SOCKET\n"
             "--doorbell: with an ioeventfd; then no write is posted\n"
             "--write-us: each register write takes N (< 1000000) "
             "microseconds", argv[0]);
    }

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    sigaction(SIGTERM, &action, NULL);

    b.doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b.doorbell < 0) {
        err(1, "eventfd");
    }
    ctx = create(argv[optind], &b);
    puts("ready");
    fflush(stdout);
    serve(ctx, mode == 'p');

    vfu_destroy_ctx(ctx);
    unlink(argv[optind]);
    printf("{\"reads\": %" PRIu64 ", \"writes\": %" PRIu64
           ", \"signals\": %" PRIu64 "}\n", b.reads, b.writes, b.signals);
    return 0;
}
