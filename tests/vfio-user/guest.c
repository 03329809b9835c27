/*
 * A bare guest that executes orders of tests
 *
 * There is no firmware and no operating system.  Up to four processors run in
 * flat 32-bit mode, and each executes orders from its mailbox; see
 * vfio-user-guest-layout.h.  The guest has no variables, so after a reset it
 * starts again with the same orders.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdbool.h>
#include <stdint.h>

#include "guest.h"
#include "vfio-user-guest-layout.h"

#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc

/* Registers of the local APIC */
#define APIC 0xfee00000
#define APIC_EOI 0xb0
#define APIC_SPURIOUS 0xf0
#define APIC_SPURIOUS_ON 0x1ff          /* enabled, vector 0xff */
#define APIC_COMMAND 0x300
#define APIC_INIT 0xc4500               /* to all others */
#define APIC_STARTUP 0xc46f0            /* to all others, at F000:0000 */
#define APIC_LINT0 0x350
#define APIC_EXTINT 0x700               /* LINT0 is the PICs' pin */

/* The two PICs, the second of which is at pin 2 of the first */
#define PIC1 0x20
#define PIC2 0xa0
#define PIC_INIT 0x11                   /* three more bytes follow */
#define PIC_8086 0x01
#define PIC_EOI 0x20
#define PIC_LEVELS 0x4d1                /* level-triggered IRQs from 8 on */

typedef volatile uint8_t Word8;         /* volatile: registers */
typedef volatile uint16_t Word16;       /* volatile: registers */
typedef volatile uint32_t Word32;       /* volatile: registers */

typedef volatile VFIOUserGuestMemory Memory;    /* volatile: shared with test */
typedef volatile VFIOUserGuestCpu Cpu;          /* volatile: shared with test */
typedef volatile VFIOUserGuestOrder Order;      /* volatile: shared with test */
typedef volatile VFIOUserGuestWindow Window;    /* volatile: shared with test */

static Memory *const memory = (Memory *)VFIO_USER_GUEST_MEMORY;

/* Ports and registers */

static void outb(uint16_t port, uint8_t value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void outw(uint16_t port, uint16_t value)
{
    asm volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void outl(uint16_t port, uint32_t value)
{
    asm volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static uint8_t inb(uint16_t port)
{
    uint8_t value;

    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static uint16_t inw(uint16_t port)
{
    uint16_t value;

    asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static uint32_t inl(uint16_t port)
{
    uint32_t value;

    asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static void pause(void)
{
    asm volatile("pause" : : : "memory");
}

static void apic_write(unsigned offset, uint32_t value)
{
    *(Word32 *)(APIC + offset) = value;
}

/* Accesses */

static uint32_t port_read(uint16_t port, unsigned size)
{
    return size == 1 ? inb(port) : size == 2 ? inw(port) : inl(port);
}

static void port_write(uint16_t port, unsigned size, uint32_t value)
{
    if (size == 1) {
        outb(port, value);
    } else if (size == 2) {
        outw(port, value);
    } else {
        outl(port, value);
    }
}

static uint32_t memory_read(uint32_t address, unsigned size)
{
    return size == 1 ? *(Word8 *)address :
           size == 2 ? *(Word16 *)address :
           *(Word32 *)address;
}

static void memory_write(uint32_t address, unsigned size, uint32_t value)
{
    if (size == 1) {
        *(Word8 *)address = value;
    } else if (size == 2) {
        *(Word16 *)address = value;
    } else {
        *(Word32 *)address = value;
    }
}

/* An access to config space uses two ports, so a lock is needed. */
static uint16_t config_begin(uint32_t address)
{
    while (__atomic_exchange_n(&memory->config_lock, 1, __ATOMIC_ACQUIRE)) {
        pause();
    }
    outl(PCI_ADDRESS, address & ~3);
    return PCI_DATA + (address & 3);
}

static void config_end(void)
{
    __atomic_store_n(&memory->config_lock, 0, __ATOMIC_RELEASE);
}

static uint32_t read_at(uint32_t space, uint32_t address, unsigned size)
{
    uint32_t value;

    switch (space) {
    case VFIO_USER_GUEST_IN_PORTS:
        return port_read(address, size);
    case VFIO_USER_GUEST_IN_CONFIG:
        value = port_read(config_begin(address), size);
        config_end();
        return value;
    default:
        return memory_read(address, size);
    }
}

static void write_at(uint32_t space, uint32_t address, unsigned size,
                     uint32_t value)
{
    switch (space) {
    case VFIO_USER_GUEST_IN_PORTS:
        port_write(address, size, value);
        break;
    case VFIO_USER_GUEST_IN_CONFIG:
        port_write(config_begin(address), size, value);
        config_end();
        break;
    default:
        memory_write(address, size, value);
        break;
    }
}

/* Orders */

static void read_order(Cpu *cpu)
{
    Order *order = &cpu->order;

    order->value = read_at(order->space, order->address, order->size);
    if (order->value != order->expected) {
        cpu->wrong++;
    }
}

static void write_order(Order *order)
{
    write_at(order->space, order->address, order->size, order->value);
    order->value ^= order->flip;
}

static void write_both_order(const Order *order)
{
    Word32 *first = (Word32 *)order->address;
    Word32 *second = (Word32 *)order->address2;
    uint32_t value = order->value, value2 = order->value2;

    *first = value;
    *second = value2;
}

/* Copies memory, or 32-bit words from a port, with one REP instruction. */
static void copy_order(const Order *order)
{
    uint32_t from = order->address, to = order->address2, n = order->value;

    if (order->space == VFIO_USER_GUEST_IN_MEMORY) {
        asm volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
    } else {
        asm volatile("rep insl" : "+D"(to), "+c"(n) : "d"(from) : "memory");
    }
}

/* Calls modified code, as kernels do. */
static void call_order(Order *order)
{
    Word8 *to = (Word8 *)order->address;
    unsigned value_at = constant_value - constant;

    for (unsigned i = 0; i < constant_end - constant; i++) {
        to[i] = constant[i];
    }
    *(Word32 *)(to + value_at) = order->value;
    order->value = ((uint32_t (*)(void))order->address)();
}

/* Marsaglia's xorshift */
static uint32_t random_word(Word32 *seed)
{
    uint32_t x = *seed;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    *seed = x;
    return x;
}

static void roam_order(Order *order)
{
    uint32_t what = random_word(&order->seed);
    uint32_t where = random_word(&order->seed);
    Window *window =
        &memory->window[what % VFIO_USER_GUEST_WINDOWS];
    unsigned size = window->narrowest << (what >> 8) % 3;
    uint32_t address;

    if (!window->size) {
        return;
    }
    size = size < window->widest ? size : window->widest;
    address = window->address + (where & (window->size - 1) & -size);
    if (window->may == VFIO_USER_GUEST_MAY_READ ||
        (window->may & VFIO_USER_GUEST_MAY_READ && what >> 31)) {
        read_at(window->space, address, size);
    } else {
        write_at(window->space, address, size,
                 (random_word(&order->seed) & window->mask) | window->keep);
    }
}

/* Interrupts */

typedef struct Gate {
    uint16_t offset_low;
    uint16_t segment;
    uint16_t type;
    uint16_t offset_high;
} Gate;

#define CODE_SEGMENT 8
#define INTERRUPT_GATE 0x8e00           /* present, 32 bits */

static Gate *const idt = (Gate *)0x8000;

void take_msi(void)
{
    memory->msi++;
    apic_write(APIC_EOI, 0);
}

void take_intx(void)
{
    memory->intx++;
    outb(PIC2, PIC_EOI);
    outb(PIC1, PIC_EOI);
}

static void set_gate(unsigned vector, void (*entry)(void))
{
    uint32_t offset = (uint32_t)entry;

    idt[vector] = (Gate) {
        .offset_low = offset,
        .segment = CODE_SEGMENT,
        .type = INTERRUPT_GATE,
        .offset_high = offset >> 16,
    };
}

/* The eight IRQs use the vectors from @vector on; IRQs in @mask are masked. */
static void pic_init(uint16_t port, uint8_t vector, uint8_t cascade,
                     uint8_t mask)
{
    outb(port, PIC_INIT);
    outb(port + 1, vector);
    outb(port + 1, cascade);
    outb(port + 1, PIC_8086);
    outb(port + 1, mask);
}

static void interrupts_order(void)
{
    const struct {
        uint16_t limit;
        Gate *base;
    } __attribute__((packed)) idtr = { 0x100 * sizeof(Gate) - 1, idt };

    set_gate(VFIO_USER_GUEST_MSI_VECTOR, msi_entry);
    set_gate(VFIO_USER_GUEST_INTX_VECTOR, intx_entry);
    asm volatile("lidt %0" : : "m"(idtr));
    apic_write(APIC_SPURIOUS, APIC_SPURIOUS_ON);
    apic_write(APIC_LINT0, APIC_EXTINT);
    pic_init(PIC1, VFIO_USER_GUEST_INTX_VECTOR - 10, 1 << 2, 0xff & ~(1 << 2));
    pic_init(PIC2, VFIO_USER_GUEST_INTX_VECTOR - 2, 2, 0xff & ~(1 << 2));
    outb(PIC_LEVELS, 1 << 2);
    memory->taking = true;
    for (;;) {
        asm volatile("sti; hlt" : : : "memory");
    }
}

static void carry_out(Cpu *cpu, uint32_t command)
{
    switch (command & ~VFIO_USER_GUEST_AGAIN) {
    case VFIO_USER_GUEST_READ:
        read_order(cpu);
        break;
    case VFIO_USER_GUEST_WRITE:
        write_order(&cpu->order);
        break;
    case VFIO_USER_GUEST_WRITE_BOTH:
        write_both_order(&cpu->order);
        break;
    case VFIO_USER_GUEST_ROAM:
        roam_order(&cpu->order);
        break;
    case VFIO_USER_GUEST_COPY:
        copy_order(&cpu->order);
        break;
    case VFIO_USER_GUEST_CALL:
        call_order(&cpu->order);
        break;
    case VFIO_USER_GUEST_INTERRUPTS:
        interrupts_order();
        break;
    }
    cpu->done++;
    if (!(command & VFIO_USER_GUEST_AGAIN)) {
        cpu->order.command = VFIO_USER_GUEST_IDLE;
    }
}

static void start_others(void)
{
    memory->config_lock = 0;            /* a reset may happen at any time */
    apic_write(APIC_SPURIOUS, APIC_SPURIOUS_ON);
    apic_write(APIC_COMMAND, APIC_INIT);
    apic_write(APIC_COMMAND, APIC_STARTUP);
}

void main(unsigned number)
{
    Cpu *cpu = &memory->cpu[number];

    cpu->boots++;
    if (number == 0) {
        start_others();
    }
    for (;;) {
        uint32_t command;

        /* under TCG, QEMU's RCU waits until processors get here */
        pause();
        /* a test that sets "idle" and then reads "resting" can rely on it */
        cpu->resting = false;
        __sync_synchronize();
        command = cpu->order.command;
        if (command == VFIO_USER_GUEST_IDLE) {
            cpu->resting = true;
        } else {
            carry_out(cpu, command);
        }
    }
}
