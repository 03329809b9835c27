/*
 * Scripted vfio-user server
 *
 * A server in a thread of the test.  What it says is the honest answer of the
 * device in vfio-user-model.h, bent by the rules of vfio-user-rules.h; what it
 * hears, it logs.  It can do what real servers never do.
 *
 * Threads: the functions below belong to the test's thread, and those that
 * wait fail the test at VFIO_USER_SERVER_DEADLINE, with the log on stderr.
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
 * Listens on a UNIX socket in a directory of its own.  Serves one client at a
 * time, any number after another.
 */
VFIOUserServer *vfio_user_server_new(const VFIOUserModel *model,
                                     const VFIOUserRule *rules);

/**
 * vfio_user_server_new_on:
 * @listen_fd: a listening socket of any family; taken
 */
VFIOUserServer *vfio_user_server_new_on(int listen_fd,
                                        const VFIOUserModel *model,
                                        const VFIOUserRule *rules);
void vfio_user_server_free(VFIOUserServer *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserServer, vfio_user_server_free)

/* Path of the UNIX socket. */
const char *vfio_user_server_path(const VFIOUserServer *s);

/* Process id of the client, or of the last one; UNIX sockets only. */
pid_t vfio_user_server_client(VFIOUserServer *s);

/* Other rules from now on; counting begins anew. */
void vfio_user_server_set_rules(VFIOUserServer *s, const VFIOUserRule *rules);

/* Sends what was held and ends a stall. */
void vfio_user_server_release(VFIOUserServer *s);

/* Closes the connection, read or unread, and returns when it is closed. */
void vfio_user_server_hang_up(VFIOUserServer *s);

/* Ends the twin socket and leaves the other as it is. */
void vfio_user_server_hang_up_twin(VFIOUserServer *s);

/* Waits until a client is there, or until none is. */
void vfio_user_server_wait_client(VFIOUserServer *s, bool there);
bool vfio_user_server_has_client(VFIOUserServer *s);

/* The log */

/* Forgets what was seen. */
void vfio_user_server_forget(VFIOUserServer *s);

/* Returns how often such a message was seen; when.nth is not looked at. */
unsigned vfio_user_server_count(VFIOUserServer *s, VFIOUserWhen when);
#define vfio_user_server_saw(s, ...) \
    vfio_user_server_count(s, (VFIOUserWhen) ON(__VA_ARGS__))

/* Waits for the nth such message; nth 0 is the first. */
VFIOUserSeen vfio_user_server_wait(VFIOUserServer *s, VFIOUserWhen when);
#define vfio_user_server_see(s, ...) \
    vfio_user_server_wait(s, (VFIOUserWhen) ON(__VA_ARGS__))

/* Returns a copy of the whole log. */
GArray *vfio_user_server_log(VFIOUserServer *s);

/* The device */

/* Bytes of a region, past the client. */
void vfio_user_server_peek(VFIOUserServer *s, uint32_t region,
                           uint64_t offset, void *bytes, size_t count);
void vfio_user_server_poke(VFIOUserServer *s, uint32_t region,
                           uint64_t offset, const void *bytes, size_t count);

/* Leaves @size bytes of a region in its file. */
void vfio_user_server_truncate(VFIOUserServer *s, uint32_t region,
                               uint64_t size);

/* Signals an interrupt; waits until the client has armed it. */
void vfio_user_server_trigger(VFIOUserServer *s, uint32_t index,
                              uint32_t vector);

/* Lowers the INTx pin, which a server may show in its PCI status. */
void vfio_user_server_lower(VFIOUserServer *s);

/* Returns a copy of its eventfd, or -1 where the client gave none. */
int vfio_user_server_eventfd(VFIOUserServer *s, uint32_t index,
                             uint32_t vector);

/* Copies the map that holds @address; false where there is none. */
bool vfio_user_server_map(VFIOUserServer *s, uint64_t address,
                          VFIOUserMap *map);
unsigned vfio_user_server_maps(VFIOUserServer *s);

/*
 * Writes through a descriptor, as the device's engine does; false where the
 * device does not run, or the memory cannot be reached so.
 */
bool vfio_user_server_write(VFIOUserServer *s, uint64_t address,
                            const void *bytes, size_t count);

/*
 * Likewise by message: 0 or a positive errno, as vfio_user_server_ask();
 * ESHUTDOWN where the device does not run.
 */
int vfio_user_server_write_message(VFIOUserServer *s, uint64_t address,
                                   const void *bytes, size_t count);

/* Whether migration lets the device work. */
bool vfio_user_server_runs(VFIOUserServer *s);

/**
 * vfio_user_server_ask:
 * @command: of the request
 * @payload: of the request
 * @reply: gets the payload of the client's reply; may be NULL
 *
 * Sends a request to the client and waits for the reply; over the twin socket
 * where there is one.
 *
 * Returns 0; the errno of an error reply, EIO where that is 0; ECONNRESET
 * where the connection ended first.
 */
int vfio_user_server_ask(VFIOUserServer *s, uint16_t command,
                         const void *payload, size_t length,
                         GByteArray **reply);

/* Whether it does DMA by message; not all servers do. */
bool vfio_user_server_asks(VFIOUserServer *s);

/* DMA by message: 0 or a positive errno, as vfio_user_server_ask(). */
int vfio_user_server_dma_read(VFIOUserServer *s, uint64_t address,
                              void *bytes, size_t count);
int vfio_user_server_dma_write(VFIOUserServer *s, uint64_t address,
                               const void *bytes, size_t count);

#endif /* TESTS_QTEST_VFIO_USER_SERVER_H */
