/*
 * vfio-user gap: the time between the loss of a server and its return
 *
 * Threads that access a device wait here for a server that is expected to come
 * back.  Counts the writes that were lost.  Does not dial, and knows neither
 * the connection nor the device's registers.
 *
 * Threads: any; see each function.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_GAP_H
#define HW_VFIO_USER_GAP_H

#include "qemu/thread.h"
#include "qom/object.h"

/* What other threads want of this one, if it is a vCPU's. */
typedef enum VFIOUserWanted {
    VFIO_USER_WANTED_NOT,
    VFIO_USER_WANTED_WORK,      /* work is queued, another may wait for it */
    VFIO_USER_WANTED_STOP,      /* it must stop, and another waits for that */
} VFIOUserWanted;

typedef struct VFIOUserGap {
    /* Constant after realize. */
    bool expected;              /* a lost server is expected to come back */
    unsigned wait_ms;           /* how old a gap may be for a thread to wait */
    Object *owner;
    VFIOUserWanted (*wanted)(void);

    /* A leaf lock; protects the fields below, some are also read atomically. */
    QemuMutex lock;
    QemuCond changed;
    bool open;                  /* there is no server now */
    bool given_up;              /* nothing waits until the next gap */
    bool ending;                /* the main loop is preparing a server */
    int64_t since;              /* when it opened, ns on the monotonic clock */
    uint64_t returns;           /* gaps that have ended */
    uint64_t dropped_writes;
    bool turn_asked;            /* of the main loop */
    int64_t turn_since;
} VFIOUserGap;

/**
 * vfio_user_gap_init:
 * @owner: contains @gap; is referenced while a bottom half needs it
 */
void vfio_user_gap_init(VFIOUserGap *gap, Object *owner,
                        VFIOUserWanted (*wanted)(void));
void vfio_user_gap_destroy(VFIOUserGap *gap);

static inline bool vfio_user_gap_is_open(const VFIOUserGap *gap)
{
    return qatomic_load_acquire(&gap->open);
}

/* For @seen of the functions below: read this before the server is used. */
static inline uint64_t vfio_user_gap_returns(const VFIOUserGap *gap)
{
    return qatomic_load_acquire(&gap->returns);
}

/**
 * vfio_user_gap_begin:
 *
 * The server that was used since @seen is lost.  Several threads may notice
 * that: no effect in a gap, or if that server is known to be lost.
 */
void vfio_user_gap_begin(VFIOUserGap *gap, uint64_t seen);

/*
 * The main loop begins, or no longer tries, to make a server end the gap.  It
 * must not wait for vCPUs meanwhile: those that wait here do not watch it.
 */
void vfio_user_gap_set_ending(VFIOUserGap *gap, bool ending);

/**
 * vfio_user_gap_end:
 *
 * The server is back and knows everything: waiting threads continue.
 *
 * Returns how long the gap was, ms.
 */
int64_t vfio_user_gap_end(VFIOUserGap *gap);

/* Wakes the waiting threads; nothing waits in the rest of this gap. */
void vfio_user_gap_give_up(VFIOUserGap *gap);

/**
 * vfio_user_gap_wait:
 *
 * For a thread that has lost the server, or found none.  Waits for the end of
 * the gap until the gap is @wait_ms old.  Returns earlier if the gap is given
 * up, if this vCPU must stop, or if the main loop seems to wait for it.  With
 * the big QEMU lock, never waits.
 *
 * Returns true if a server has come back since @seen.
 */
bool vfio_user_gap_wait(VFIOUserGap *gap, uint64_t seen);

/*
 * Whether there is a gap in which threads still wait, for a thread that cannot:
 * it takes an older value instead.
 */
bool vfio_user_gap_is_young(VFIOUserGap *gap);

void vfio_user_gap_drop_write(VFIOUserGap *gap);
uint64_t vfio_user_gap_dropped_writes(VFIOUserGap *gap);

#endif /* HW_VFIO_USER_GAP_H */
