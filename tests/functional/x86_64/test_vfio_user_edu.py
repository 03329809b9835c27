# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest uses QEMU's edu device, which a second QEMU exports.

There is no driver for it.  The guest's shell does the work of a driver through
/dev/mem and uio.  QEMU's docs/specs/edu.rst describes the registers.
"""

from unittest import TestCase

from vfio_user_export import Exported
from vfio_user_machine import Scene
from vfio_user_models import Model

IDENT, ALIVE, FACTORIAL, STATUS = 0x00, 0x04, 0x08, 0x20
IRQ_STATUS, IRQ_RAISE, IRQ_ACK = 0x24, 0x60, 0x64
DMA_FROM, DMA_TO, DMA_COUNT, DMA_COMMAND = 0x80, 0x88, 0x90, 0x98

COMPUTING = 1
RUN, TO_GUEST = 1, 2
BUFFER = 0x40000

PCI_COMMAND, PCI_MSI = 0x04, 0x40
MEMORY_AND_MASTER = 6

# Guest memory that the kernel does not use because of its arguments.
SPARE = 240 << 20
KERNEL = "memmap=1M$240M iomem=relaxed"


class Edu(Exported):
    """The device, with access to its registers."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene, "edu", "00:04.0", Model("edu"))
        self.guest = scene.guest(self.option, modules=["uio_pci_generic"],
                                 append=KERNEL)

    def enable(self) -> None:
        self.config(PCI_COMMAND, 2, MEMORY_AND_MASTER)
        resource = self.guest.sh(f"head -n 1 {self.folder}/resource")
        self.base = int(resource.split()[0], 16)

    def config(self, at: int, size: int, value: int) -> None:
        """Write to its configuration space."""
        data = "".join(f"\\x{byte:02x}" for byte
                       in value.to_bytes(size, "little"))
        self.guest.sh(f"printf '{data}' | dd of={self.folder}/config bs=1"
                      f" seek={at} conv=notrunc 2>/dev/null")

    def peek(self, address: int) -> int:
        return int(self.guest.sh(f"devmem {address:#x} 32"), 16)

    def poke(self, address: int, value: int) -> None:
        self.guest.sh(f"devmem {address:#x} 32 {value:#x}")

    def read(self, register: int) -> int:
        return self.peek(self.base + register)

    def write(self, register: int, value: int) -> None:
        self.poke(self.base + register, value)

    def wait_while(self, register: int, bits: int) -> None:
        self.guest.sh(f"while [ $(($(devmem {self.base + register:#x} 32)"
                      f" & {bits})) != 0 ]; do :; done")

    def dma(self, source: int, target: int, count: int, command: int) -> None:
        self.write(DMA_FROM, source)
        self.write(DMA_TO, target)
        self.write(DMA_COUNT, count)
        self.write(DMA_COMMAND, RUN | command)
        self.wait_while(DMA_COMMAND, RUN)


class EduTest(TestCase):
    def check_registers(self, edu: Edu) -> None:
        self.assertEqual(edu.read(IDENT), 0x010000ed)
        edu.write(ALIVE, 0x12345678)
        self.assertEqual(edu.read(ALIVE), 0xedcba987)
        edu.write(FACTORIAL, 10)
        edu.wait_while(STATUS, COMPUTING)
        self.assertEqual(edu.read(FACTORIAL), 3628800)

    def check_dma(self, edu: Edu) -> None:
        """Copy guest memory to the device and back to another address."""
        for word in range(4):
            edu.poke(SPARE + 4 * word, 0xc0ffee00 + word)
            edu.poke(SPARE + 0x1000 + 4 * word, 0)
        edu.dma(SPARE, BUFFER, 12, 0)
        edu.dma(BUFFER, SPARE + 0x1000, 12, TO_GUEST)
        self.assertEqual(
            [edu.peek(SPARE + 0x1000 + 4 * word) for word in range(4)],
            [0xc0ffee00, 0xc0ffee01, 0xc0ffee02, 0])

    def check_msi(self, edu: Edu) -> None:
        """Raise MSIs; each is a write to an address of the guest's choice."""
        target = SPARE + 0x2000
        edu.poke(target, 0)
        edu.config(PCI_MSI + 4, 8, target)
        edu.config(PCI_MSI + 12, 2, 0xbeef)
        edu.config(PCI_MSI + 2, 2, 0x81)
        for _ in range(3):
            edu.write(IRQ_RAISE, 1)
            edu.guest.sh(f"until [ $(devmem {target:#x} 32) = 0x0000BEEF ]; "
                         "do :; done")
            self.assertEqual(edu.read(IRQ_STATUS), 1)
            edu.write(IRQ_ACK, 1)
            edu.poke(target, 0)
        edu.config(PCI_MSI + 2, 2, 0x80)

    def check_intx(self, edu: Edu) -> None:
        """Raise INTx; uio's driver masks the interrupt before it reports it."""
        edu.guest.sh("modprobe uio_pci_generic; echo 1234 11e8 "
                     ">/sys/bus/pci/drivers/uio_pci_generic/new_id")
        edu.config(PCI_COMMAND, 2, MEMORY_AND_MASTER)
        for times in range(1, 4):
            self.assertEqual(edu.guest.sh(
                f"exec 3</dev/uio0; devmem {edu.base + IRQ_RAISE:#x} 32 1; "
                "dd bs=4 count=1 <&3 2>/dev/null | od -An -tu4"),
                f"{times:11}")
            self.assertEqual(edu.read(IRQ_STATUS), 1)
            edu.write(IRQ_ACK, 1)
            edu.config(PCI_COMMAND, 2, MEMORY_AND_MASTER)

    def test_edu(self):
        with Scene() as scene:
            edu = Edu(scene)
            edu.guest.boot()
            edu.enable()
            before = edu.guest.count(), edu.server.count()
            self.check_registers(edu)
            self.check_dma(edu)
            self.check_msi(edu)
            self.assertEqual((edu.guest.count(), edu.server.count()), before)
            self.check_intx(edu)
            self.assertEqual(edu.guest.log.lines, [])
            self.assertEqual(edu.server.complaints, [])
            self.assertEqual(edu.guest.quit(), 0)
            self.assertEqual(edu.server.wait(), 0)
