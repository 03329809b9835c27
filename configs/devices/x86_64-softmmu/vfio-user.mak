# SPDX-License-Identifier: GPL-2.0-or-later
#
# The minimum that can use vfio-user servers, for quick builds: configure with
# --without-default-devices --with-devices-x86_64=vfio-user.

CONFIG_I440FX=y
CONFIG_Q35=y
CONFIG_ISA_DEBUG=y
CONFIG_PCIE_PORT=y
CONFIG_PCI_BRIDGE=y
CONFIG_PCI_TESTDEV=y
CONFIG_RTL8139_PCI=y
CONFIG_VFIO_PCI=y
CONFIG_VFIO_USER=y
CONFIG_VTD=y
CONFIG_GENERIC_LOADER=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_BALLOON=y
CONFIG_VIRTIO_MEM=y
CONFIG_VGA_PCI=y
CONFIG_IVSHMEM_DEVICE=y

# Devices that the boards have by default; with them, a VM of a full build can
# migrate to one of these builds.
CONFIG_FDC_ISA=y
CONFIG_HPET=y
CONFIG_VMMOUSE=y
CONFIG_VMPORT=y
