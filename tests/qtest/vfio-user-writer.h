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

/*
 * Every page behind the first ones is written to once, after it has been sent:
 * nothing heals what is forgotten of it.
 */
typedef struct VFIOUserWriter {
    VFIOUserServer *server;
    bool by_message;
    bool at_once;               /* all of the pages that it walks to */
    bool stop;
    bool walk;                  /* go through the other pages, too */
    uint64_t walked;            /* where it is there */
    uint8_t *copy;              /* of the area */
    GThread *thread;
} VFIOUserWriter;

/* Starts; w->server and w->by_message are the caller's. */
void vfio_user_writer_start(VFIOUserWriter *w);

/* Has it go through the other pages. */
void vfio_user_writer_walk(VFIOUserWriter *w);

/* Whether it has gone through all of them. */
bool vfio_user_writer_walked(VFIOUserWriter *w);

void vfio_user_writer_stop(VFIOUserWriter *w);

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
