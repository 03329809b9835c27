/*
 * What the bare guest and the tests share: its memory
 *
 * Each processor has a mailbox.  A test writes an order there, the command
 * last; the processor carries it out, counts it and, unless the order is to be
 * carried out again, makes the command VFIO_USER_GUEST_IDLE.  The tests need
 * not be built for the guest's kind of processor, so all of it is words of 32
 * bits.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_GUEST_LAYOUT_H
#define TESTS_QTEST_VFIO_USER_GUEST_LAYOUT_H

/* Where it lies; the stacks are above it, and all is below 640 KiB. */
#define VFIO_USER_GUEST_MEMORY 0x1000

#define VFIO_USER_GUEST_CPUS 4
#define VFIO_USER_GUEST_WINDOWS 40

/* Commands */
#define VFIO_USER_GUEST_IDLE 0
#define VFIO_USER_GUEST_READ 1          /* address to value */
#define VFIO_USER_GUEST_WRITE 2         /* value to address, then flip it */
#define VFIO_USER_GUEST_WRITE_BOTH 3    /* memory; nothing comes between */
#define VFIO_USER_GUEST_ROAM 4          /* one access to any of the windows */
#define VFIO_USER_GUEST_INTERRUPTS 5    /* for ever: halt and count them */
#define VFIO_USER_GUEST_COPY 6          /* value times, by one instruction */
#define VFIO_USER_GUEST_CALL 7          /* a function copied and changed */

/* Or'ed to one: until the test makes it idle. */
#define VFIO_USER_GUEST_AGAIN 0x100

/* What an address is; ECAM is memory. */
#define VFIO_USER_GUEST_IN_MEMORY 0
#define VFIO_USER_GUEST_IN_PORTS 1
#define VFIO_USER_GUEST_IN_CONFIG 2     /* as for port 0xcf8; one at a time */

#define VFIO_USER_GUEST_CONFIG(slot, offset) \
    (0x80000000u | (slot) << 11 | (offset))

typedef struct VFIOUserGuestOrder {
    uint32_t command;
    uint32_t space;             /* VFIO_USER_GUEST_IN_ */
    uint32_t size;              /* bytes: 1, 2 or 4, which is 0 as well */
    uint32_t address;
    uint32_t value;             /* CALL: what it is to return, and did */
    uint32_t expected;          /* reads of anything else are counted */
    uint32_t flip;              /* bits of value that change each time */
    uint32_t address2;          /* WRITE_BOTH; COPY, to memory */
    uint32_t value2;
    uint32_t seed;              /* ROAM; not 0 */
} VFIOUserGuestOrder;

typedef struct VFIOUserGuestCpu {
    VFIOUserGuestOrder order;
    uint32_t resting;           /* is looking for an order, and had none */
    uint32_t done;              /* orders carried out */
    uint32_t wrong;             /* reads of what was not expected */
    uint32_t boots;             /* how often it has begun */
} VFIOUserGuestCpu;

/*
 * For ROAM: addresses that are read, written with random bits where @mask has
 * them and @keep has ones, or both.  An access is aligned and within @size.
 */
#define VFIO_USER_GUEST_MAY_READ 1
#define VFIO_USER_GUEST_MAY_WRITE 2

typedef struct VFIOUserGuestWindow {
    uint32_t space;
    uint32_t address;
    uint32_t size;              /* bytes; 0: none; a power of two */
    uint32_t widest;            /* bytes of an access: 1, 2 or 4 */
    uint32_t narrowest;
    uint32_t may;
    uint32_t mask;
    uint32_t keep;
} VFIOUserGuestWindow;

typedef struct VFIOUserGuestMemory {
    VFIOUserGuestCpu cpu[VFIO_USER_GUEST_CPUS];
    uint32_t config_lock;       /* of the ports 0xcf8 and 0xcfc */
    uint32_t msi;               /* interrupts taken, by INTERRUPTS */
    uint32_t intx;
    uint32_t taking;            /* interrupts: it does */
    VFIOUserGuestWindow window[VFIO_USER_GUEST_WINDOWS];
} VFIOUserGuestMemory;

/* The vectors of INTERRUPTS: a message's, and that of IRQ 10 of the PICs. */
#define VFIO_USER_GUEST_MSI_VECTOR 0x41
#define VFIO_USER_GUEST_INTX_VECTOR 0x2a

#endif /* TESTS_QTEST_VFIO_USER_GUEST_LAYOUT_H */
