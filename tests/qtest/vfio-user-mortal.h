/*
 * Test rig: a QEMU that may exit or be killed at any time
 *
 * libqtest treats an exit of QEMU as a failure, and waits forever for answers
 * that do not arrive then.  This rig has its own monitor connection, which
 * reports that QEMU has exited, and the means to kill QEMU.  The test decides
 * whether an exit is allowed.
 *
 * Guest accesses still use libqtest, so the test may only make them while QEMU
 * is known to run.  Test thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_MORTAL_H
#define TESTS_QTEST_VFIO_USER_MORTAL_H

#include "libqtest.h"

typedef struct VFIOUserMortal {
    QTestState *qts;
    pid_t pid;
    bool killed;                /* by vfio_user_mortal_kill() */
    bool ended;
    int monitor;
    GString *received;          /* from the monitor, not yet parsed */
    unsigned owed;              /* outstanding responses */
    unsigned kept_at;           /* which of them is kept; 0: none */
    QDict *kept;                /* that response, when it has arrived */
    char *dir;
    char *log;                  /* file with QEMU's messages */
} VFIOUserMortal;

/* Starts QEMU with these arguments. */
VFIOUserMortal *vfio_user_mortal_new(const char *args);
void vfio_user_mortal_free(VFIOUserMortal *m);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserMortal, vfio_user_mortal_free)

/* Sends SIGKILL and waits until QEMU is gone. */
void vfio_user_mortal_kill(VFIOUserMortal *m);

/*
 * Returns whether QEMU runs.  Fails the test if it ended otherwise than by
 * vfio_user_mortal_kill() or with exit status 1.
 */
bool vfio_user_mortal_lives(VFIOUserMortal *m);

/* Returns QEMU's messages so far. */
char *vfio_user_mortal_said(VFIOUserMortal *m);

/* Counts the entries of a directory of /proc/PID: "fd" or "task". */
unsigned vfio_user_mortal_count(VFIOUserMortal *m, const char *what);

/* The monitor */

/**
 * vfio_user_mortal_qmp:
 *
 * Returns the response, which may be an error, or NULL if QEMU has exited.
 */
QDict *vfio_user_mortal_qmp(VFIOUserMortal *m, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* The same; returns whether the command succeeded. */
bool vfio_user_mortal_do(VFIOUserMortal *m, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Sends a command without waiting.  Its response is dropped when it arrives. */
void vfio_user_mortal_order(VFIOUserMortal *m, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/*
 * The same, but the response is kept for vfio_user_mortal_finish(), which waits
 * for it.  Only one command at a time can have been begun.
 */
void vfio_user_mortal_begin(VFIOUserMortal *m, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Returns the response, or NULL if QEMU has exited. */
QDict *vfio_user_mortal_finish(VFIOUserMortal *m);

/* Waits for the responses to those commands. */
void vfio_user_mortal_settle(VFIOUserMortal *m);

/* Returns a string member of the reply to a query, or NULL. */
char *vfio_user_mortal_ask(VFIOUserMortal *m, const char *query,
                           const char *word);

#endif /* TESTS_QTEST_VFIO_USER_MORTAL_H */
