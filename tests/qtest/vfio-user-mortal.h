/*
 * Test rig: a QEMU that may end at any time
 *
 * libqtest takes a QEMU that ends for a failure, and waits for answers that do
 * not come then.  Here is a monitor of our own, which says that QEMU has ended,
 * and the end itself.  Whether it may, is for the test.
 *
 * The guest's accesses are libqtest's, so they are for a QEMU that the test
 * knows to live.  The test's thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_MORTAL_H
#define TESTS_QTEST_VFIO_USER_MORTAL_H

#include "libqtest.h"

typedef struct VFIOUserMortal {
    QTestState *qts;
    pid_t pid;
    bool killed;                /* by us */
    bool ended;
    int monitor;
    GString *heard;             /* of the monitor, and not yet taken */
    unsigned owed;              /* responses */
    char *dir;
    char *log;                  /* file of what it says */
} VFIOUserMortal;

/* Starts QEMU with these arguments. */
VFIOUserMortal *vfio_user_mortal_new(const char *args);
void vfio_user_mortal_free(VFIOUserMortal *m);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserMortal, vfio_user_mortal_free)

/* By SIGKILL; returns when it is gone. */
void vfio_user_mortal_kill(VFIOUserMortal *m);

/* Fails the test if it has ended by a signal that is not ours. */
bool vfio_user_mortal_lives(VFIOUserMortal *m);

/* What it said so far. */
char *vfio_user_mortal_said(VFIOUserMortal *m);

/* Entries of a directory of /proc/PID: "fd" or "task". */
unsigned vfio_user_mortal_count(VFIOUserMortal *m, const char *what);

/* The monitor */

/**
 * vfio_user_mortal_qmp:
 *
 * Returns the response, which may be an error; NULL: QEMU has ended.
 */
QDict *vfio_user_mortal_qmp(VFIOUserMortal *m, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Likewise; returns whether the command was taken. */
bool vfio_user_mortal_do(VFIOUserMortal *m, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Sends a command.  Its response is dropped when it comes. */
void vfio_user_mortal_order(VFIOUserMortal *m, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Waits for those responses. */
void vfio_user_mortal_settle(VFIOUserMortal *m);

/* A string member of the reply to a query; NULL if there is none. */
char *vfio_user_mortal_ask(VFIOUserMortal *m, const char *query,
                           const char *word);

#endif /* TESTS_QTEST_VFIO_USER_MORTAL_H */
