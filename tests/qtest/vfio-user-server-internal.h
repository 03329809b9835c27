/*
 * Scripted vfio-user server: what its files share
 *
 * Private to vfio-user-server*.c and vfio-user-ask.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_SERVER_INTERNAL_H
#define TESTS_QTEST_VFIO_USER_SERVER_INTERNAL_H

#include "qemu/thread.h"
#include "vfio-user-server.h"

/* A request of the server.  Belongs to who waits for it, else to the list. */
typedef struct ServerAsk {
    VFIOUserPacket request;
    VFIOUserPacket reply;
    bool sent;
    bool waited_for;            /* by the test's thread */
    bool by_device;             /* which does not ask where it is stopped */
    bool done;                  /* by a reply, or by the connection's end */
    int error;
} ServerAsk;

/* An answer on its way out. */
typedef struct ServerPending {
    VFIOUserAnswer answer;
    ServerAsk *follows;         /* goes out when this is done */
} ServerPending;

struct VFIOUserServer {
    QemuThread thread;
    char *dir;
    char *path;
    int listen_fd;
    int wake_fd;

    QemuMutex lock;
    /* Protects what follows.  The condition: any of it has changed. */
    QemuCond changed;
    VFIOUserDevice *device;
    GArray *rules;              /* VFIOUserRule */
    GArray *hits;               /* unsigned, how often each rule held */
    GArray *log;                /* VFIOUserSeen */
    GQueue asks;                /* ServerAsk, those not done */
    int conn;                   /* -1: no client; only the thread changes it */
    int twin;                   /* for requests, or -1; likewise */
    pid_t client;
    bool quit;
    bool release;
    bool hang_up;

    /* Only for the server's thread. */
    GQueue pending;             /* ServerPending */
    bool stalled;
    uint16_t next_id;
};

/* Appends to the log, and tells who waits. */
void server_log_locked(VFIOUserServer *s, const VFIOUserPacket *packet);

/* The server's thread. */
void *server_thread(void *opaque);

/* Wakes the server's thread. */
void server_wake(VFIOUserServer *s);

/* Waits for a change; fails the test at the deadline. */
void server_wait_locked(VFIOUserServer *s, gint64 deadline, const char *what);

/* From now on. */
gint64 server_deadline(void);

/* Requests of the server */

ServerAsk *ask_new(uint16_t command, const void *payload, size_t length,
                   bool waited_for);

/* It is done, with a positive errno or 0. */
void ask_finish_locked(VFIOUserServer *s, ServerAsk *ask, int error);

/* The client replied to one. */
void ask_reply_locked(VFIOUserServer *s, const VFIOUserPacket *reply);

/* Returns false where the connection has ended.  Only the server's thread. */
bool ask_send(VFIOUserServer *s, ServerAsk *ask);

#endif /* TESTS_QTEST_VFIO_USER_SERVER_INTERNAL_H */
