/*
 * vfio-user container: what its files share
 *
 * Private to container*.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_CONTAINER_INTERNAL_H
#define HW_VFIO_USER_CONTAINER_INTERNAL_H

#include "hw/vfio/user/container.h"

/* Messages: within a budget */

/* Whether they still make sense. */
bool vfio_user_container_is_usable(VFIOUserContainer *c);

/* Where a failure ends; takes @err. */
void vfio_user_container_failed(VFIOUserContainer *c, Error *err);

/* Sends what has waited, unless it has to wait on. */
void vfio_user_container_catch_up(VFIOUserContainer *c);

/*
 * Send; await the answer outside a transaction.  @direct: the server may have
 * written to the map without a message, and may go on until it is unmapped.
 */
void vfio_user_container_send_map(VFIOUserContainer *c, const DMAMap *map);
void vfio_user_container_send_unmap(VFIOUserContainer *c, const DMAMap *map,
                                    bool direct);

/* Awaits the answers to what was sent in a transaction. */
void vfio_user_container_finish(VFIOUserContainer *c);
void vfio_user_container_message_free(void *m);

/* Whether the server may have written to it without a message. */
bool vfio_user_container_is_direct(VFIOUserContainer *c, const DMAMap *map);

/* Maps */

ram_addr_t vfio_user_container_ram_addr(const DMAMap *map);

/*
 * Calls @func for every map that overlaps the range, ascending; it must not
 * change maps.
 */
void vfio_user_container_each_map(VFIOUserContainer *c, uint64_t first,
                                  uint64_t last,
                                  void (*func)(VFIOUserContainer *c,
                                               const DMAMap *map,
                                               void *opaque), void *opaque);

/* Dirty tracking: the class's ops */

int vfio_user_container_track(const VFIOContainer *container, bool start,
                              Error **errp);
void vfio_user_container_sync(VFIOContainer *container, hwaddr first,
                              hwaddr last);

#endif /* HW_VFIO_USER_CONTAINER_INTERNAL_H */
