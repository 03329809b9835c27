/*
 * vfio-user PCI device: errors that are reported to its driver
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/range.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie.h"
#include "hw/pci/pcie_aer.h"
#include "hw/pci/pcie_port.h"
#include "hw/vfio/user/pci-aer.h"

/*
 * Up to the header log.  What follows are logs that an endpoint need not have.
 */
#define AER_SIZE_MIN PCI_ERR_ROOT_COMMAND

/* Where it is added to a device that has other extended capabilities */
#define AER_LAST (PCIE_CONFIG_SPACE_SIZE - PCI_ERR_SIZEOF)

static uint16_t next_of(PCIDevice *pdev, uint16_t offset)
{
    return PCI_EXT_CAP_NEXT(pci_get_long(pdev->config + offset));
}

static uint16_t last_capability(PCIDevice *pdev)
{
    uint16_t offset = PCI_CONFIG_SPACE_SIZE;

    while (next_of(pdev, offset)) {
        offset = next_of(pdev, offset);
    }
    return offset;
}

/* Returns the bytes from a capability to the one behind it, at most @most. */
static uint16_t bytes_to_next(PCIDevice *pdev, uint16_t start, uint16_t most)
{
    uint16_t size = MIN(most, PCIE_CONFIG_SPACE_SIZE - start);

    for (uint16_t at = PCI_CONFIG_SPACE_SIZE; at; at = next_of(pdev, at)) {
        if (at > start) {
            size = MIN(size, at - start);
        }
    }
    return size;
}

static bool is_free(PCIDevice *pdev, uint16_t offset)
{
    for (unsigned i = 0; i < PCI_ERR_SIZEOF; i++) {
        if (pdev->config[offset + i]) {
            return false;
        }
    }
    return last_capability(pdev) < offset;
}

/* Returns the offset for a capability to add; 0: there is no room. */
static uint16_t choose_offset(PCIDevice *pdev)
{
    if (!pci_get_long(pdev->config + PCI_CONFIG_SPACE_SIZE)) {
        return PCI_CONFIG_SPACE_SIZE;
    }
    return is_free(pdev, AER_LAST) ? AER_LAST : 0;
}

/*
 * As pcie_aer_init(), which appends the capability to the list, for one that
 * may be in the list already.
 */
static bool init_aer(PCIDevice *pdev, uint16_t offset, uint16_t size,
                     bool is_listed, Error **errp)
{
    uint16_t last = is_listed ? last_capability(pdev) : 0;
    uint32_t header = pci_get_long(pdev->config + offset);
    uint32_t last_header = pci_get_long(pdev->config + last);
    uint8_t version = is_listed ? PCI_EXT_CAP_VER(header) : PCI_ERR_VER;

    if (pcie_aer_init(pdev, version, offset, size, errp) < 0) {
        return false;
    }
    if (is_listed) {
        pci_set_long(pdev->config + last, last_header);
        pci_set_long(pdev->config + offset, header);
    }
    return true;
}

static bool check_bus(PCIDevice *pdev, Error **errp)
{
    PCIBus *bus = pci_get_bus(pdev);

    if (!pci_is_express(pdev) || !pdev->exp.exp_cap) {
        error_setg(errp, "reconnect-aer needs a device that has the PCI Express"
                   " capability, and 4096 bytes of configuration space");
        return false;
    }
    if (!bus->parent_dev || !pci_bus_is_express(pci_device_root_bus(pdev)) ||
        !object_dynamic_cast(OBJECT(bus->parent_dev), TYPE_PCIE_PORT)) {
        error_setg(errp, "reconnect-aer needs a device behind a PCI Express"
                   " port of machine q35, virt, or the like: -device"
                   " pcie-root-port,id=rp,chassis=1 and bus=rp");
        return false;
    }
    return true;
}

/*
 * With these bits the guest enables the reporting of errors.  Some devices do
 * not have them.
 */
static void emulate_control(VFIOPCIDevice *vdev)
{
    const uint8_t errors = PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE |
                           PCI_EXP_DEVCTL_FERE | PCI_EXP_DEVCTL_URRE;
    PCIDevice *pdev = PCI_DEVICE(vdev);
    uint32_t control = pdev->exp.exp_cap + PCI_EXP_DEVCTL;

    pdev->config[control] &= ~errors;
    pdev->wmask[control] |= errors;
    vdev->emulated_config_bits[control] |= errors;
}

bool vfio_user_pci_aer_setup(VFIOPCIDevice *vdev, Error **errp)
{
    PCIDevice *pdev = PCI_DEVICE(vdev);
    uint16_t offset, size = PCI_ERR_SIZEOF;
    bool is_listed;

    if (!check_bus(pdev, errp)) {
        return false;
    }
    offset = pcie_find_capability(pdev, PCI_EXT_CAP_ID_ERR);
    is_listed = offset != 0;
    if (is_listed) {
        size = bytes_to_next(pdev, offset, size);
    } else {
        offset = choose_offset(pdev);
    }
    if (!offset || offset > AER_LAST || size < AER_SIZE_MIN) {
        error_setg(errp, "reconnect-aer: the device has no room for the"
                   " registers");
        return false;
    }
    if (!init_aer(pdev, offset, size, is_listed, errp)) {
        return false;
    }
    memset(vdev->emulated_config_bits + offset, 0xff, size);
    emulate_control(vdev);
    /* masked by default, and drivers do not change that */
    pci_long_test_and_clear_mask(pdev->config + offset + PCI_ERR_UNCOR_MASK,
                                 PCI_ERR_UNC_INTN);
    return true;
}

void vfio_user_pci_aer_cleanup(VFIOPCIDevice *vdev)
{
    PCIDevice *pdev = PCI_DEVICE(vdev);

    if (pdev->exp.aer_cap) {
        pcie_aer_exit(pdev);
        pdev->exp.aer_cap = 0;
    }
}

bool vfio_user_pci_aer_write(PCIDevice *pdev, uint32_t addr, uint32_t value,
                             int len)
{
    uint16_t offset = pdev->exp.aer_cap;

    assert(bql_locked());
    if (!offset || !ranges_overlap(addr, len, offset, AER_SIZE_MIN)) {
        return false;
    }
    pci_default_write_config(pdev, addr, value, len);
    pcie_aer_write_config(pdev, addr, value, len);
    return true;
}

/*
 * pcie_aer_inject_error() also clears the word behind the Device Status
 * register, and logs that this device may not have.
 */
static void inject(PCIDevice *pdev, const PCIEAERErr *err)
{
    uint8_t *word = pdev->config + pdev->exp.exp_cap + PCI_EXP_LNKCAP;
    uint8_t *logs = pdev->config + pdev->exp.aer_cap + AER_SIZE_MIN;
    uint8_t logs_before[PCI_ERR_SIZEOF - AER_SIZE_MIN];
    uint16_t word_before = pci_get_word(word);

    memcpy(logs_before, logs, sizeof(logs_before));
    pcie_aer_inject_error(pdev, err);
    memcpy(logs, logs_before, sizeof(logs_before));
    pci_set_word(word, word_before);
}

void vfio_user_pci_aer_report(VFIOPCIDevice *vdev)
{
    PCIDevice *pdev = PCI_DEVICE(vdev);
    const PCIEAERErr err = {
        .status = PCI_ERR_UNC_INTN,
        .source_id = pci_requester_id(pdev),
    };

    assert(bql_locked());
    if (pdev->exp.aer_cap) {
        inject(pdev, &err);
    }
}
