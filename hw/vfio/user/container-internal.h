/*
 * vfio-user container: private to container*.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_CONTAINER_INTERNAL_H
#define HW_VFIO_USER_CONTAINER_INTERNAL_H

#include "hw/vfio/user/container.h"

/* Messages.  The caller has a budget. */

/* Whether messages can still be sent. */
bool vfio_user_container_is_usable(VFIOUserContainer *c);

/* Handles a failure.  Takes ownership of @err. */
void vfio_user_container_failed(VFIOUserContainer *c, Error *err);

/*
 * Send a message and, outside a transaction, wait for the reply.  @direct: the
 * server can write to the map without a message until it is unmapped.
 */
void vfio_user_container_send_map(VFIOUserContainer *c, const DMAMap *map);
void vfio_user_container_send_unmap(VFIOUserContainer *c, const DMAMap *map,
                                    bool direct);

/* Waits for the replies to the messages of a transaction. */
void vfio_user_container_finish(VFIOUserContainer *c);
void vfio_user_container_message_free(void *m);

/* Drops messages that were postponed and whose server is lost. */
void vfio_user_container_drop_postponed(VFIOUserContainer *c);

/* Whether the server can write to the map without a message. */
bool vfio_user_container_is_direct(VFIOUserContainer *c, const DMAMap *map);

/* Maps */

ram_addr_t vfio_user_container_ram_addr(const DMAMap *map);

/*
 * Calls @func for every map that overlaps the range, in ascending order.  @func
 * must not change maps.
 */
void vfio_user_container_each_map(VFIOUserContainer *c, uint64_t first,
                                  uint64_t last,
                                  void (*func)(VFIOUserContainer *c,
                                               const DMAMap *map,
                                               void *opaque), void *opaque);

/* Dirty tracking: ops of the class */

int vfio_user_container_track(const VFIOContainer *container, bool start,
                              Error **errp);
void vfio_user_container_sync(VFIOContainer *container, hwaddr first,
                              hwaddr last);

#endif /* HW_VFIO_USER_CONTAINER_INTERNAL_H */
