/*
 * Scripted vfio-user server: shared declarations
 *
 * Private to vfio-user-server*.c and vfio-user-ask.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_SERVER_INTERNAL_H
#define TESTS_QTEST_VFIO_USER_SERVER_INTERNAL_H

#include "qemu/thread.h"
#include "vfio-user-server.h"

/*
 * A request of the server.  Owned by the thread that waits for it, or else by
 * the list.
 */
typedef struct ServerAsk {
    VFIOUserPacket request;
    VFIOUserPacket reply;
    bool sent;
    bool waited_for;            /* the test's thread waits */
    bool by_device;             /* not sent while the device is stopped */
    bool done;                  /* replied to, or disconnected */
    int error;
} ServerAsk;

/* An answer that is not sent yet. */
typedef struct ServerPending {
    VFIOUserAnswer answer;
    ServerAsk *follows;         /* sent once this request is done */
} ServerPending;

struct VFIOUserServer {
    QemuThread thread;
    char *dir;
    char *path;
    int listen_fd;
    int wake_fd;

    QemuMutex lock;
    /*
     * Protects the fields below.  @changed is broadcast on any change of them.
     */
    QemuCond changed;
    VFIOUserDevice *device;
    GArray *rules;              /* VFIOUserRule */
    GArray *hits;               /* unsigned, matches per rule */
    GArray *log;                /* VFIOUserSeen */
    GPtrArray *answers;         /* GBytes; NULL: not recorded */
    GQueue asks;                /* ServerAsk, not done */
    int conn;                   /* only the thread sets it; -1: no client */
    int twin;                   /* same, for requests; -1: none */
    pid_t client;
    bool quit;
    bool release;
    bool hang_up;
    unsigned ended;             /* number of connections that have ended */

    /* Used only by the server's thread. */
    GQueue pending;             /* ServerPending */
    bool stalled;
    uint16_t next_id;
};

/* Appends to the log and wakes waiters. */
void server_log_locked(VFIOUserServer *s, const VFIOUserPacket *packet);

/* Main function of the server's thread. */
void *server_thread(void *opaque);

/* Wakes the server's thread. */
void server_wake(VFIOUserServer *s);

/* Waits for a change; fails the test at the deadline. */
void server_wait_locked(VFIOUserServer *s, gint64 deadline, const char *what);

/* Returns the deadline of a wait that starts now. */
gint64 server_deadline(void);

/* Requests of the server */

ServerAsk *ask_new(uint16_t command, const void *payload, size_t length,
                   bool waited_for);

/* Completes the request with a positive errno or 0. */
void ask_finish_locked(VFIOUserServer *s, ServerAsk *ask, int error);

/* Handles a reply of the client. */
void ask_reply_locked(VFIOUserServer *s, const VFIOUserPacket *reply);

/*
 * Sends the request.  Returns false if the connection is lost.  Server's
 * thread only.
 */
bool ask_send(VFIOUserServer *s, ServerAsk *ask);

#endif /* TESTS_QTEST_VFIO_USER_SERVER_INTERNAL_H */
