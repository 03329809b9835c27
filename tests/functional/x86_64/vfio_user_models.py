# SPDX-License-Identifier: GPL-2.0-or-later
"""The device models of QEMU that the tests export, as rows of a table.

A row has what the server's command line and the guest need for a model.  The
model of a disk uses the drive `image`, that of a card the netdev `net`; the code
that starts the server creates these.

Two models cannot work and are not listed.  pvscsi reads and writes the memory of
its own process; SeaBIOS, which has a driver for it, waits for it forever.
lsi53c895a runs programs from its own BAR, and its DMA cannot access the BAR in a
process that has no memory but the guest's.
"""

from typing import NamedTuple


class Model(NamedTuple):
    """A device model.

    device: the server's -device, in which {ident} is the device's id
    driver: the driver's name in sysfs
    modules: the modules for the device and for what is on its bus
    child: the -device on its bus
    warnings: what the client's QEMU prints about it
    """
    device: str
    driver: str = ""
    modules: tuple[str, ...] = ()
    child: str = ""
    warnings: tuple[str, ...] = ()


# Without this, virtio uses guest addresses as addresses of its own process.
VIRTIO = "disable-legacy=on,iommu_platform=on"

# QEMU's server offers either MSI-X or MSI, and some models have both.
NO_MSI = ("DEVICE_GET_IRQ_INFO: interrupt index 1 has 0 interrupts",)

NVME = Model("nvme,serial={ident},drive=image", "nvme", ("nvme",))

# For a guest that resets the controller with requests in flight.  With shadow
# doorbells, QEMU misses the next requests of a queue that Linux used before it
# configured them again: nvme_dbbuf_config() does not write the event index.
NVME_RESETS = NVME._replace(device=NVME.device + ",dbcs=off")

DISKS = {
    "nvme": NVME,
    "virtio-blk": Model(f"virtio-blk-pci,drive=image,{VIRTIO}", "virtio-pci",
                        ("virtio_pci", "virtio_blk")),
    "megasas": Model("megasas", "megaraid_sas", ("megaraid_sas", "sd_mod"),
                     "scsi-hd,bus=device.0,drive=image", NO_MSI),
    "xhci": Model("qemu-xhci", "xhci_hcd",
                  ("xhci_pci", "usb_storage", "sd_mod"),
                  "usb-storage,bus=device.0,drive=image"),
    "ahci": Model("ich9-ahci", "ahci", ("ahci", "sd_mod"),
                  "ide-hd,bus=device.0,drive=image"),
    "sdhci": Model("sdhci-pci", "sdhci-pci", ("sdhci_pci", "mmc_block"),
                   "sd-card,drive=image"),
    # am53c974 is missing: with that of QEMU 10.0, the firmware waits forever.
}

E1000E = Model("e1000e,netdev=net,romfile=", "e1000e", ("e1000e",),
               warnings=NO_MSI)

CARDS = {
    "e1000": Model("e1000,netdev=net,romfile=", "e1000", ("e1000",)),
    "rtl8139": Model("rtl8139,netdev=net,romfile=", "8139cp", ("8139cp",)),
    "virtio-net": Model(f"virtio-net-pci,netdev=net,romfile=,{VIRTIO}",
                        "virtio-pci", ("virtio_pci", "virtio_net")),
    "vmxnet3": Model("vmxnet3,netdev=net,romfile=", "vmxnet3", ("vmxnet3",),
                     warnings=NO_MSI),
}
