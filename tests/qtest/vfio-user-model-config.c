/*
 * The device behind the scripted vfio-user server: configuration space
 *
 * Side effects of writes to configuration space.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "hw/pci/pci.h"
#include "vfio-user-model-internal.h"

static uint8_t *config_of(VFIOUserDevice *dev)
{
    return dev->backing[VFIO_PCI_CONFIG_REGION_INDEX].bytes;
}

void device_config_reset(VFIOUserDevice *dev)
{
    memcpy(config_of(dev), dev->model->config, sizeof(dev->model->config));
}

/*
 * Clears the bits of base address registers below the size of their region.
 * Returns -EINVAL for a write that the server refuses.
 */
static int settle_base_addresses(VFIOUserDevice *dev)
{
    uint8_t *config = dev->backing[VFIO_PCI_CONFIG_REGION_INDEX].bytes;
    const VFIOUserPersonality *p = dev->model->personality;
    int ret = 0;
    uint32_t i;

    for (i = 0; i <= VFIO_PCI_ROM_REGION_INDEX; i++) {
        bool rom = i == VFIO_PCI_ROM_REGION_INDEX;
        unsigned at = rom ? PCI_ROM_ADDRESS : PCI_BASE_ADDRESS_0 + 4 * i;
        uint32_t size = dev->model->region[i].size;
        uint32_t type = pci_get_long(dev->model->config + at);
        uint32_t value = pci_get_long(config + at);

        if (rom && p && p->fixed_rom) {
            /* like libvfio-user, which accepts a sizing write but no address */
            if (value && value != type && value < PCI_ROM_ADDRESS_MASK) {
                ret = -EINVAL;
            }
            pci_set_long(config + at, type);
            continue;
        }
        if (rom) {
            type = value & PCI_ROM_ADDRESS_ENABLE;
        }
        if (size) {
            pci_set_long(config + at, (value & ~(size - 1)) | type);
        } else if (rom) {
            pci_set_long(config + at, 0);
        }
    }
    return ret;
}

/* Returns the offset of a capability, or 0. */
static uint8_t config_capability(const VFIOUserDevice *dev, uint8_t id)
{
    const uint8_t *config = dev->model->config;
    uint8_t at = config[PCI_CAPABILITY_LIST];

    while (at && config[at] != id) {
        at = config[at + PCI_CAP_LIST_NEXT];
    }
    return at;
}

/* Whether a byte of @id's capability was written and has all of these bits. */
static bool wrote(VFIOUserDevice *dev, uint64_t offset, uint64_t count,
                  uint8_t id, uint8_t byte, uint8_t bits)
{
    uint8_t at = config_capability(dev, id);

    return at && at + byte >= offset && at + byte - offset < count &&
           config_of(dev)[at + byte] & bits;
}

int device_config_written(VFIOUserDevice *dev, uint64_t offset,
                          uint64_t count)
{
    int ret = settle_base_addresses(dev);

    if (device_habits(dev)->resets_config &&
        (wrote(dev, offset, count, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL + 1,
               PCI_EXP_DEVCTL_BCR_FLR >> 8) ||
         wrote(dev, offset, count, PCI_CAP_ID_AF, PCI_AF_CTRL,
               PCI_AF_CTRL_FLR))) {
        device_config_reset(dev);
    }
    return ret;
}

bool device_config_raise(VFIOUserDevice *dev)
{
    uint8_t *status = config_of(dev) + PCI_STATUS;
    bool rises = !(*status & PCI_STATUS_INTERRUPT);

    *status |= PCI_STATUS_INTERRUPT;
    return rises;
}

void vfio_user_device_lower(VFIOUserDevice *dev)
{
    config_of(dev)[PCI_STATUS] &= ~PCI_STATUS_INTERRUPT;
}
