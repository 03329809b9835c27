/*
 * Test rig: a DMA engine of the scripted server that keeps writing
 *
 * Writes to guest memory while the VM migrates and keeps a copy.  At the
 * destination, memory must equal the copy, byte for byte.
 *
 * Threads: the engine runs in a separate thread; only the test's thread may
 * call the functions below.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_WRITER_H
#define TESTS_QTEST_VFIO_USER_WRITER_H

#include "vfio-user-pair.h"

/* Address and size of the area, unless the user sets a smaller size. */
#define VFIO_USER_WRITER_AREA (8 * MiB)
#define VFIO_USER_WRITER_SIZE (26 * MiB)

#define VFIO_USER_WRITER_PIECE 64       /* bytes at a time */

/*
 * Every page after the first ones is written once, after it has been sent, so
 * no later write hides a page that was missed.
 */
typedef struct VFIOUserWriter {
    VFIOUserServer *server;
    uint64_t size;              /* of the area, multiple of 1 MiB; 0: all */
    bool by_message;
    bool at_once;               /* walk to all pages in one go */
    bool stop;
    bool walk;                  /* also walk through the other pages */
    uint64_t walked;            /* progress of the walk */
    uint64_t written;           /* pieces that are in memory */
    unsigned starts;            /* of the thread: each writes other bytes */
    uint8_t *copy;              /* of the area */
    /*
     * These last bytes may or may not be in memory: the connection was lost
     * before the client replied.  They are written again first, when there is
     * a connection.
     */
    bool unsure;
    uint64_t unsure_at;
    uint8_t unsure_bytes[VFIO_USER_WRITER_PIECE];
    GThread *thread;
} VFIOUserWriter;

/* Starts; the caller has set w->server, w->size and w->by_message. */
void vfio_user_writer_start(VFIOUserWriter *w);

/* Makes the engine walk through the other pages. */
void vfio_user_writer_walk(VFIOUserWriter *w);

/* Whether the walk has reached the end. */
bool vfio_user_writer_walked(VFIOUserWriter *w);

/* Does nothing if the engine has stopped. */
void vfio_user_writer_stop(VFIOUserWriter *w);

/* Goes on after a stop; memory must be that of the copy. */
void vfio_user_writer_go_on(VFIOUserWriter *w);

/* Another server has the device from now on. */
void vfio_user_writer_use(VFIOUserWriter *w, VFIOUserServer *server);

/* Pieces that were written since the start. */
uint64_t vfio_user_writer_written(VFIOUserWriter *w);

/*
 * Returns how many pages of @is, the area's actual contents, differ from the
 * copy.
 */
unsigned vfio_user_writer_wrong(VFIOUserWriter *w, const uint8_t *is);

/* Frees the copy without comparing. */
void vfio_user_writer_clear(VFIOUserWriter *w);

/*
 * Compares the destination's memory with the copy, failing the test on a
 * difference, and frees the copy.
 */
void vfio_user_writer_check(VFIOUserWriter *w, VFIOUserPair *pair);

/**
 * vfio_user_writer_migrate:
 * @known: the server's writes are reported while the VM runs
 *
 * Migrates slowly until all memory was sent once and the engine has written to
 * it, then fast, and compares.  Pages not known to be dirty do not keep the
 * migration from completing.
 */
void vfio_user_writer_migrate(VFIOUserWriter *w, VFIOUserPair *pair,
                              bool known);

#endif /* TESTS_QTEST_VFIO_USER_WRITER_H */
