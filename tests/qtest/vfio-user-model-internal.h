/*
 * The device behind the scripted vfio-user server: shared declarations
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
        int fd;                         /* memfd that a client may map */
    } backing[VFIO_USER_MODEL_REGIONS];
    GArray *maps;                       /* VFIOUserMap */
    int *eventfd[VFIO_PCI_NUM_IRQS];    /* model->irq[].count of them, or -1 */
    bool masked[VFIO_PCI_NUM_IRQS];     /* the whole index is masked */
    VFIOUserMigration1 *migration1;     /* or NULL */
    int twin;                           /* our end until taken; or -1 */
    VFIOUserMigrating migrating;
};

typedef int DeviceAnswer(VFIOUserDevice *dev, VFIOUserPacket *request,
                         VFIOUserPacket *reply);

/* Returns the personality of the server, or one without habits. */
const VFIOUserPersonality *device_habits(const VFIOUserDevice *dev);

/* Returns the first @size bytes of the payload, or NULL if it is shorter. */
const void *device_head_of(const VFIOUserPacket *packet, size_t size);

/* Returns the dirty tracking of the device, or NULL if it has none. */
VFIOUserRecord *device_record(VFIOUserDevice *dev);

/* Configuration space */
void device_config_reset(VFIOUserDevice *dev);

/* Handles a completed write.  Returns -EINVAL if the server refuses it. */
int device_config_written(VFIOUserDevice *dev, uint64_t offset,
                          uint64_t count);

/* Raises the INTx pin.  Returns whether the pin was low before. */
bool device_config_raise(VFIOUserDevice *dev);

/* Maps */
void device_drop_maps(VFIOUserDevice *dev);
DeviceAnswer device_dma_map, device_dma_unmap;

/* Interrupts */
void device_drop_eventfds(VFIOUserDevice *dev);
DeviceAnswer device_get_irq_info, device_set_irqs;

#endif /* TESTS_QTEST_VFIO_USER_MODEL_INTERNAL_H */
