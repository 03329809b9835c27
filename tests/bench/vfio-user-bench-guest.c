/*
 * The guest of the register benchmark, without firmware or operating system
 *
 * Finds the device of vfio-user-bench.h, or QEMU's edu in its place, on PCI
 * bus 0 and executes commands, which are single letters on the first serial
 * port:
 *
 *   i    print vendor and device id, then the size of BAR 0
 *   r    measure batches of 32-bit reads; print the last value read, then the
 *        time of each batch in ticks of the time-stamp counter
 *   w    the same for writes by message; the value is read back after the last
 *   d    the same for writes to the doorbell
 *   h    halt forever with interrupts off
 *
 * The reply to each is one line of hexadecimal words, or "none" if there is no
 * such device. One processor, no interrupts.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdbool.h>
#include <stdint.h>

#include "vfio-user-bench.h"

#define UART_DATA       0x3f8
#define UART_STATUS     0x3fd
#define UART_RECEIVED   0x01
#define UART_MAY_SEND   0x20

#define TIMER_CONTROL   0x43
#define TIMER_ONE_SHOT  0x30

#define PCI_ADDRESS     0xcf8
#define PCI_DATA        0xcfc
#define PCI_ID          0x00
#define PCI_COMMAND     0x04
#define PCI_COMMAND_MEM 0x02
#define PCI_BAR0        0x10

#define BAR_ADDRESS     0xe0000000

#define ID(vendor, device) ((uint32_t)(device) << 16 | (vendor))

static const uint32_t known_ids[] = {
    ID(BENCH_VENDOR, BENCH_DEVICE),
    ID(0x1234, 0x11e8),         /* edu */
};

/* volatile: each access must reach a register of the device */
static volatile uint32_t *const bar = (volatile uint32_t *)BAR_ADDRESS;
static uint32_t ticks[BENCH_SAMPLES];

static void outb(uint16_t port, uint8_t value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void outl(uint16_t port, uint32_t value)
{
    asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
    uint8_t value;

    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static uint32_t inl(uint16_t port)
{
    uint32_t value;

    asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static uint32_t tsc(void)
{
    uint32_t low;

    asm volatile("rdtsc" : "=a"(low) : : "edx", "memory");
    return low;
}

static char get_char(void)
{
    while (!(inb(UART_STATUS) & UART_RECEIVED)) {
        asm volatile("pause");
    }
    return inb(UART_DATA);
}

static void put_char(char c)
{
    while (!(inb(UART_STATUS) & UART_MAY_SEND)) {
        asm volatile("pause");
    }
    outb(UART_DATA, c);
}

static void put_text(const char *s)
{
    while (*s) {
        put_char(*s++);
    }
}

static void put_word(uint32_t word)
{
    for (int shift = 28; shift >= 0; shift -= 4) {
        put_char("0123456789abcdef"[word >> shift & 0xf]);
    }
    put_char(' ');
}

static uint32_t pci_read(unsigned slot, unsigned reg)
{
    outl(PCI_ADDRESS, 1u << 31 | slot << 11 | reg);
    return inl(PCI_DATA);
}

static void pci_write(unsigned slot, unsigned reg, uint32_t value)
{
    outl(PCI_ADDRESS, 1u << 31 | slot << 11 | reg);
    outl(PCI_DATA, value);
}

static bool is_known(uint32_t id)
{
    for (unsigned i = 0; i < sizeof(known_ids) / sizeof(known_ids[0]); i++) {
        if (id == known_ids[i]) {
            return true;
        }
    }
    return false;
}

/* Returns the size of BAR 0, or 0 if there is no such device. */
static uint32_t find_device(uint32_t *id)
{
    for (unsigned slot = 0; slot < 32; slot++) {
        *id = pci_read(slot, PCI_ID);
        if (is_known(*id)) {
            uint32_t size;

            pci_write(slot, PCI_BAR0, ~0u);
            size = -(pci_read(slot, PCI_BAR0) & ~0xfu);
            pci_write(slot, PCI_BAR0, BAR_ADDRESS);
            pci_write(slot, PCI_COMMAND, PCI_COMMAND_MEM);
            return size;
        }
    }
    return 0;
}

static uint32_t read_batch(uint32_t *taken)
{
    uint32_t begin = tsc(), value = 0;

    for (int i = 0; i < BENCH_BATCH; i++) {
        value = bar[BENCH_COUNTER / 4];
    }
    *taken = tsc() - begin;
    return value;
}

/* The read after a batch of posts waits for the server and is not measured. */
static uint32_t post_batch(uint32_t *taken)
{
    static uint32_t value;
    uint32_t begin = tsc();

    for (int i = 0; i < BENCH_BATCH; i++) {
        bar[BENCH_SCRATCH / 4] = ++value;
    }
    *taken = tsc() - begin;
    return bar[BENCH_SCRATCH / 4];
}

static uint32_t ring_batch(uint32_t *taken)
{
    uint32_t begin = tsc();

    for (int i = 0; i < BENCH_BATCH; i++) {
        bar[BENCH_DOORBELL / 4] = i;
    }
    *taken = tsc() - begin;
    return bar[BENCH_SCRATCH / 4];
}

static void time_batches(uint32_t (*batch)(uint32_t *))
{
    uint32_t value = 0;

    for (int i = 0; i < BENCH_WARMUP; i++) {
        batch(&ticks[0]);
    }
    for (int i = 0; i < BENCH_SAMPLES; i++) {
        value = batch(&ticks[i]);
    }
    put_word(value);
    for (int i = 0; i < BENCH_SAMPLES; i++) {
        put_word(ticks[i]);
    }
}

void main(void)
{
    uint32_t id, bar_size = find_device(&id);

    /* The timer runs after reset, which would wake up an idle QEMU. */
    outb(TIMER_CONTROL, TIMER_ONE_SHOT);

    for (;;) {
        char command = get_char();

        if (!bar_size) {
            put_text("none");
        } else if (command == 'i') {
            put_word(id & 0xffff);
            put_word(id >> 16);
            put_word(bar_size);
        } else if (command == 'r') {
            time_batches(read_batch);
        } else if (command == 'w') {
            time_batches(post_batch);
        } else if (command == 'd') {
            time_batches(ring_batch);
        }
        put_char('\n');
        if (command == 'h') {
            return;
        }
    }
}
