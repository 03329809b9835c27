/*
 * The device behind the scripted vfio-user server: what its files share
 *
 * Private to vfio-user-model*.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_MODEL_INTERNAL_H
#define TESTS_QTEST_VFIO_USER_MODEL_INTERNAL_H

#include "vfio-user-model.h"

struct VFIOUserDevice {
    const VFIOUserModel *model;
    struct {
        uint8_t *bytes;
        size_t size;
        int fd;                         /* what a client may map */
    } backing[VFIO_USER_MODEL_REGIONS];
    GArray *maps;                       /* VFIOUserMap */
    int *eventfd[VFIO_PCI_NUM_IRQS];    /* model->irq[].count of them, or -1 */
    bool masked[VFIO_PCI_NUM_IRQS];     /* the index as a whole */
    VFIOUserMigration1 *migration1;     /* or NULL */
    int twin;                           /* our end, until it is taken; or -1 */
    VFIOUserMigrating migrating;
};

typedef int DeviceAnswer(VFIOUserDevice *dev, VFIOUserPacket *request,
                         VFIOUserPacket *reply);

/* Its server's, or one without habits. */
const VFIOUserPersonality *device_habits(const VFIOUserDevice *dev);

/* Returns what the payload begins with, or NULL where it is shorter. */
const void *device_head_of(const VFIOUserPacket *packet, size_t size);

/* What it wrote to; NULL: it keeps no record. */
VFIOUserRecord *device_record(VFIOUserDevice *dev);

/* Configuration space */
void device_config_reset(VFIOUserDevice *dev);

/* After a write.  Returns -EINVAL for one that the server refuses. */
int device_config_written(VFIOUserDevice *dev, uint64_t offset,
                          uint64_t count);

/* Raises the INTx pin.  Returns whether it was not up. */
bool device_config_raise(VFIOUserDevice *dev);

/* Maps */
void device_drop_maps(VFIOUserDevice *dev);
DeviceAnswer device_dma_map, device_dma_unmap;

/* Interrupts */
void device_drop_eventfds(VFIOUserDevice *dev);
DeviceAnswer device_get_irq_info, device_set_irqs;

#endif /* TESTS_QTEST_VFIO_USER_MODEL_INTERNAL_H */
