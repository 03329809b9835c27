/*
 * Test rig: a DMA engine of the scripted server that keeps writing
 *
 * It writes into guest memory while the VM migrates, and keeps a copy of what
 * it wrote.  At the destination memory is what the copy says, byte for byte.
 *
 * Threads: the engine is one of its own; the functions below belong to the
 * test's thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_WRITER_H
#define TESTS_QTEST_VFIO_USER_WRITER_H

#include "vfio-user-pair.h"

/* Where it writes, and how much memory that is unless the user says less. */
#define VFIO_USER_WRITER_AREA (8 * MiB)
#define VFIO_USER_WRITER_SIZE (26 * MiB)

#define VFIO_USER_WRITER_PIECE 64       /* bytes at a time */

/*
 * Every page behind the first ones is written to once, after it has been sent:
 * nothing heals what is forgotten of it.
 */
typedef struct VFIOUserWriter {
    VFIOUserServer *server;
    uint64_t size;              /* of the area, a multiple of 1 MiB; 0: all */
    bool by_message;
    bool at_once;               /* all of the pages that it walks to */
    bool stop;
    bool walk;                  /* go through the other pages, too */
    uint64_t walked;            /* where it is there */
    uint8_t *copy;              /* of the area */
    /*
     * The connection ended before the client said whether it wrote these bytes,
     * the last ones.
     */
    bool doubts;
    uint64_t doubt_at;
    uint8_t doubt[VFIO_USER_WRITER_PIECE];
    GThread *thread;
} VFIOUserWriter;

/* Starts; w->server, w->size and w->by_message are the caller's. */
void vfio_user_writer_start(VFIOUserWriter *w);

/* Has it go through the other pages. */
void vfio_user_writer_walk(VFIOUserWriter *w);

/* Whether it has gone through all of them. */
bool vfio_user_writer_walked(VFIOUserWriter *w);

void vfio_user_writer_stop(VFIOUserWriter *w);

/* Returns how many pages of the area, as it @is, are not as the copy. */
unsigned vfio_user_writer_wrong(VFIOUserWriter *w, const uint8_t *is);

/* Frees the copy; what memory became is of no interest. */
void vfio_user_writer_clear(VFIOUserWriter *w);

/* Likewise; fails the test unless the destination's memory is as the copy. */
void vfio_user_writer_check(VFIOUserWriter *w, VFIOUserPair *pair);

/**
 * vfio_user_writer_migrate:
 * @known: the server's writes are known while the VM runs
 *
 * Migrates slowly until all memory was sent once and the engine has worked on
 * it, then fast, and compares.  What is not known to be dirty does not keep
 * the VM from stopping.
 */
void vfio_user_writer_migrate(VFIOUserWriter *w, VFIOUserPair *pair,
                              bool known);

#endif /* TESTS_QTEST_VFIO_USER_WRITER_H */
