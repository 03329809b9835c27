/*
 * Scripted vfio-user server
 *
 * A server in a thread of the test.  It answers as the device of
 * vfio-user-model.h does, modified by the rules of vfio-user-rules.h, and logs
 * what it receives.  It can misbehave in ways that real servers never do.
 *
 * Threads: the functions below may be called only by the test's thread.  Those
 * that wait fail the test at VFIO_USER_SERVER_DEADLINE and print the log to
 * stderr.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_SERVER_H
#define TESTS_QTEST_VFIO_USER_SERVER_H

#include "vfio-user-log.h"
#include "vfio-user-model.h"

#define VFIO_USER_SERVER_DEADLINE (120 * G_TIME_SPAN_SECOND)

typedef struct VFIOUserServer VFIOUserServer;

/**
 * vfio_user_server_new:
 * @model: the device, or NULL for vfio_user_model
 * @rules: may be NULL; they must outlive the server
 *
 * Listens on a UNIX socket in a new directory.  Serves one client at a time,
 * and any number one after another.
 */
VFIOUserServer *vfio_user_server_new(const VFIOUserModel *model,
                                     const VFIOUserRule *rules);

/**
 * vfio_user_server_new_on:
 * @listen_fd: a listening socket of any family; ownership passes to the server
 */
VFIOUserServer *vfio_user_server_new_on(int listen_fd,
                                        const VFIOUserModel *model,
                                        const VFIOUserRule *rules);
void vfio_user_server_free(VFIOUserServer *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserServer, vfio_user_server_free)

/* Path of the UNIX socket. */
const char *vfio_user_server_path(const VFIOUserServer *s);

/* Returns the process ID of the current or last client; UNIX sockets only. */
pid_t vfio_user_server_client(VFIOUserServer *s);

/* Replaces the rules; their counters restart. */
void vfio_user_server_set_rules(VFIOUserServer *s, const VFIOUserRule *rules);

/* Sends held answers and ends a stall. */
void vfio_user_server_release(VFIOUserServer *s);

/* Closes the connection, even with unread data; returns when it is closed. */
void vfio_user_server_hang_up(VFIOUserServer *s);

/* Closes the twin socket but not the main one. */
void vfio_user_server_hang_up_twin(VFIOUserServer *s);

/* Waits until a client is connected, or until none is. */
void vfio_user_server_wait_client(VFIOUserServer *s, bool there);
bool vfio_user_server_has_client(VFIOUserServer *s);

/*
 * Returns an array that receives the payloads of all answers from now on as
 * GBytes, before rules change them; NULL where there is no answer, or an error.
 * The caller may read it once the server is freed, and has to unref it.
 */
GPtrArray *vfio_user_server_record(VFIOUserServer *s);

/* The log */

/* Clears the log. */
void vfio_user_server_forget(VFIOUserServer *s);

/* Returns how many messages in the log match; when.nth is ignored. */
unsigned vfio_user_server_count(VFIOUserServer *s, VFIOUserWhen when);
#define vfio_user_server_saw(s, ...) \
    vfio_user_server_count(s, (VFIOUserWhen) ON(__VA_ARGS__))

/* Waits for the nth matching message; nth 0 means the first. */
VFIOUserSeen vfio_user_server_wait(VFIOUserServer *s, VFIOUserWhen when);
#define vfio_user_server_see(s, ...) \
    vfio_user_server_wait(s, (VFIOUserWhen) ON(__VA_ARGS__))

/* Returns a copy of the whole log. */
GArray *vfio_user_server_log(VFIOUserServer *s);

/* The device */

/* Accesses a region without the client. */
void vfio_user_server_peek(VFIOUserServer *s, uint32_t region,
                           uint64_t offset, void *bytes, size_t count);
void vfio_user_server_poke(VFIOUserServer *s, uint32_t region,
                           uint64_t offset, const void *bytes, size_t count);

/* Truncates the region's file to @size bytes. */
void vfio_user_server_truncate(VFIOUserServer *s, uint32_t region,
                               uint64_t size);

/* Waits until the client has armed an interrupt, then signals it. */
void vfio_user_server_trigger(VFIOUserServer *s, uint32_t index,
                              uint32_t vector);

/* Lowers the INTx pin; a server may show its level in the PCI status. */
void vfio_user_server_lower(VFIOUserServer *s);

/*
 * Returns a duplicate of an interrupt's eventfd, or -1 if the client passed
 * none.
 */
int vfio_user_server_eventfd(VFIOUserServer *s, uint32_t index,
                             uint32_t vector);

/* Copies the DMA map that contains @address; returns false if there is none. */
bool vfio_user_server_map(VFIOUserServer *s, uint64_t address,
                          VFIOUserMap *map);
unsigned vfio_user_server_maps(VFIOUserServer *s);

/*
 * Writes through a descriptor, as the device's DMA engine does.  Returns false
 * if the device does not run, or if no mapped descriptor covers the range.
 */
bool vfio_user_server_write(VFIOUserServer *s, uint64_t address,
                            const void *bytes, size_t count);

/*
 * The same with DMA_WRITE.  Returns 0 or a positive errno as
 * vfio_user_server_ask() does, or ESHUTDOWN if the device does not run.
 */
int vfio_user_server_write_message(VFIOUserServer *s, uint64_t address,
                                   const void *bytes, size_t count);

/* Whether migration lets the device run. */
bool vfio_user_server_runs(VFIOUserServer *s);

/**
 * vfio_user_server_ask:
 * @command: of the request
 * @payload: of the request
 * @reply: receives the payload of the client's reply; may be NULL
 *
 * Sends a request to the client, over the twin socket if there is one, and
 * waits for the reply.
 *
 * Returns 0, or the errno of an error reply (EIO if that is 0), or ECONNRESET
 * if the connection is lost first.
 */
int vfio_user_server_ask(VFIOUserServer *s, uint16_t command,
                         const void *payload, size_t length,
                         GByteArray **reply);

/* Whether the server does DMA by message; not all servers do. */
bool vfio_user_server_asks(VFIOUserServer *s);

/*
 * DMA by message.  Returns 0 or a positive errno, as vfio_user_server_ask()
 * does.
 */
int vfio_user_server_dma_read(VFIOUserServer *s, uint64_t address,
                              void *bytes, size_t count);
int vfio_user_server_dma_write(VFIOUserServer *s, uint64_t address,
                               const void *bytes, size_t count);

#endif /* TESTS_QTEST_VFIO_USER_SERVER_H */
