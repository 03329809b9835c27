# SPDX-License-Identifier: GPL-2.0-or-later
"""An NVMe disk whose server traces its commands, used by a guest.

Each method transfers one piece of data in the guest and returns what the guest saw
and what the server logged.  scripts/demo checks the results.
"""

import os
import re
from typing import NamedTuple

from vfio_user_export import MIB, Disk, sha256
from vfio_user_machine import Scene
from vfio_user_models import NVME

EVENTS = ("pci_nvme_read", "pci_nvme_write", "pci_nvme_map_prp",
          "pci_nvme_irq_msix")
BLOCK = 4096
SECTOR = 512
# The beginning of a checksum says as much to a reader as all of it.
DIGITS = 8
# The driver's only queue with one processor, and its MSI-X vector
QUEUE, VECTOR = "nvme0q1", 1


class Command(NamedTuple):
    """A read or write of the driver, from the server's log: which bytes, and from
    which address in the guest's memory on."""
    verb: str
    at: int
    size: int
    address: int


class Seen(NamedTuple):
    """What the guest and the server say of one transfer.

    sums: checksums of the data in the guest and in the server's file
    counts: how many interrupts of QUEUE the guest had counted before and after it
    commands: what the server did
    raised: how often the server raised VECTOR
    moved: how many bytes went over the socket
    """
    sums: tuple[str, str]
    counts: tuple[int, int]
    commands: list[Command]
    raised: int
    moved: int


class TracedDisk(Disk):
    """Such a disk, full of random data."""

    # The server finds the memory of a command directly after it has logged it.
    COMMAND = re.compile(r"^pci_nvme_(read|write) .*count (\d+) lba (\w+)\n"
                         r"pci_nvme_map_prp .*prp1 (\w+) ", re.M)
    INTERRUPT = re.compile(f"pci_nvme_irq_msix .*vector {VECTOR}$")

    def __init__(self, scene: Scene, ident: str, where: str) -> None:
        trace = [word for event in EVENTS for word in ("-trace", event)]
        super().__init__(scene, ident, where, NVME, MIB, trace)
        self.image.write_bytes(os.urandom(2 * self.half))
        self.read_lines = 0

    def settle(self) -> None:
        """Wait until Linux has looked for partitions, and skip what was logged."""
        # The device cannot be opened in the meantime.
        self.guest.sh(f": <{self.node}")
        self.logged(self.interrupts()[QUEUE])

    def read(self, at: int, size: int = BLOCK) -> Seen:
        """Read from the disk, not from a cache."""
        return self.transfer(
            at, size, f"dd if={self.node} bs={size} skip={at // size} count=1"
            " iflag=direct 2>/dev/null")

    def write(self, at: int) -> Seen:
        """Write a block of a file that the server does not have.

        Random data would take a second: the guest has just booted.
        """
        block = at // BLOCK
        return self.transfer(
            at, BLOCK, f"dd if=/bin/busybox of={self.scratch} bs={BLOCK}"
            f" skip={block} count=1 2>/dev/null && dd if={self.scratch}"
            f" of={self.node} bs={BLOCK} seek={block} oflag=direct 2>/dev/null &&"
            f" cat {self.scratch}")

    def transfer(self, at: int, size: int, command: str) -> Seen:
        """Run a command that transfers these bytes and prints them."""
        before = self.interrupts()[QUEUE]
        moved = self.moved()
        guest = self.guest.sh(f"{command} | sha256sum")[:DIGITS]
        moved = self.moved() - moved
        after = self.interrupts()[QUEUE]
        log = self.logged(after - before)
        with open(self.image, "rb") as file:
            server = sha256(os.pread(file.fileno(), size, at))[:DIGITS]
        commands = [
            Command(verb, int(lba, 16) * SECTOR, int(count), int(address, 16))
            for verb, count, lba, address in self.COMMAND.findall("\n".join(log))]
        return Seen((guest, server), (before, after), commands, self.raised(log),
                    moved)

    def moved(self) -> int:
        """Return how many bytes have gone over the socket."""
        return self.counter("bytes-sent") + self.counter("bytes-received")

    def raised(self, lines: list[str]) -> int:
        return sum(bool(self.INTERRUPT.match(line)) for line in lines)

    def logged(self, interrupts: int) -> list[str]:
        """Wait for the lines of so many interrupts; return all new lines."""
        def match(lines: list[str]) -> list[str] | None:
            new = lines[self.read_lines:]
            return new if self.raised(new) >= interrupts else None
        new = self.server.log.wait(f"{interrupts} interrupts", match)
        self.read_lines += len(new)
        return new
