/*
 * Memory layout shared by the bare guest and the tests
 *
 * Each processor has a mailbox.  A test writes an order into it, the command
 * last.  The processor executes the order, counts it and sets the command to
 * VFIO_USER_GUEST_IDLE, unless VFIO_USER_GUEST_AGAIN is set.  All fields are
 * 32-bit words, because the tests may be built for another architecture than
 * the guest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_GUEST_LAYOUT_H
#define TESTS_QTEST_VFIO_USER_GUEST_LAYOUT_H

/* Address of the layout.  The stacks follow; everything is below 640 KiB. */
#define VFIO_USER_GUEST_MEMORY 0x1000

#define VFIO_USER_GUEST_CPUS 4
#define VFIO_USER_GUEST_WINDOWS 40

/* Commands */
#define VFIO_USER_GUEST_IDLE 0
#define VFIO_USER_GUEST_READ 1          /* address to value */
#define VFIO_USER_GUEST_WRITE 2         /* value to address, then flip it */
#define VFIO_USER_GUEST_WRITE_BOTH 3    /* memory; no access in between */
#define VFIO_USER_GUEST_ROAM 4          /* one access to a random window */
#define VFIO_USER_GUEST_INTERRUPTS 5    /* forever: halt and count interrupts */
#define VFIO_USER_GUEST_COPY 6          /* value times, with one instruction */
#define VFIO_USER_GUEST_CALL 7          /* call a copied, patched function */

/* OR'ed into a command: repeat it until the test sets IDLE. */
#define VFIO_USER_GUEST_AGAIN 0x100

/* Address spaces.  ECAM counts as memory. */
#define VFIO_USER_GUEST_IN_MEMORY 0
#define VFIO_USER_GUEST_IN_PORTS 1
#define VFIO_USER_GUEST_IN_CONFIG 2     /* format of port 0xcf8; serialized */

#define VFIO_USER_GUEST_CONFIG(slot, offset) \
    (0x80000000u | (slot) << 11 | (offset))

typedef struct VFIOUserGuestOrder {
    uint32_t command;
    uint32_t space;             /* VFIO_USER_GUEST_IN_ */
    uint32_t size;              /* bytes: 1, 2 or 4; 0 means 4 */
    uint32_t address;
    uint32_t value;             /* CALL: expected and actual result */
    uint32_t expected;          /* reads of other values are counted */
    uint32_t flip;              /* bits of value to flip each time */
    uint32_t address2;          /* WRITE_BOTH; COPY: target in memory */
    uint32_t value2;
    uint32_t seed;              /* ROAM; nonzero */
} VFIOUserGuestOrder;

typedef struct VFIOUserGuestCpu {
    VFIOUserGuestOrder order;
    uint32_t resting;           /* polls and has no order */
    uint32_t done;              /* orders executed */
    uint32_t wrong;             /* reads of an unexpected value */
    uint32_t boots;             /* number of starts */
} VFIOUserGuestCpu;

/*
 * Windows of ROAM: the guest reads them, writes them, or both.  Writes have
 * random bits where @mask has ones, and the bits of @keep set.  Accesses are
 * aligned and stay within @size.
 */
#define VFIO_USER_GUEST_MAY_READ 1
#define VFIO_USER_GUEST_MAY_WRITE 2

typedef struct VFIOUserGuestWindow {
    uint32_t space;
    uint32_t address;
    uint32_t size;              /* bytes, a power of two; 0: unused */
    uint32_t widest;            /* access size in bytes: 1, 2 or 4 */
    uint32_t narrowest;
    uint32_t may;
    uint32_t mask;
    uint32_t keep;
} VFIOUserGuestWindow;

typedef struct VFIOUserGuestMemory {
    VFIOUserGuestCpu cpu[VFIO_USER_GUEST_CPUS];
    uint32_t config_lock;       /* for the ports 0xcf8 and 0xcfc */
    uint32_t msi;               /* interrupts counted by INTERRUPTS */
    uint32_t intx;
    uint32_t taking;            /* INTERRUPTS is running */
    VFIOUserGuestWindow window[VFIO_USER_GUEST_WINDOWS];
} VFIOUserGuestMemory;

/* Vectors of INTERRUPTS: the MSI message's, and that of IRQ 10 of the PICs. */
#define VFIO_USER_GUEST_MSI_VECTOR 0x41
#define VFIO_USER_GUEST_INTX_VECTOR 0x2a

#endif /* TESTS_QTEST_VFIO_USER_GUEST_LAYOUT_H */
