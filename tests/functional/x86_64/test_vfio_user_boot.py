# SPDX-License-Identifier: GPL-2.0-or-later
"""SeaBIOS boots from a disk that a second QEMU exports.

The boot sector makes SeaBIOS read a sector of the disk and write it to another
place, and prints the first line of the sector.  What is printed and what is
written can only have come through the device.
"""

import os
import secrets
from unittest import TestCase

from vfio_user_export import MIB, Disk
from vfio_user_machine import BOOT, FIRMWARE, QEMU, Peer, Scene

SECTOR = 512
# The sectors that are read and written.
FROM, TO = 9000, 10000
LINE = 32

# The addresses of the boot sector and of the sector that it reads.
CODE, BUFFER = 0x7c00, 0x7e00
# The disk address packet of int 13h is at the end of the boot sector.
PACKET = CODE + SECTOR - 2 - 16
CONSOLE = 0xe9


def word(value: int, size: int = 2) -> bytes:
    return value.to_bytes(size, "little")


def boot_sector() -> bytes:
    packet = (b"\x10\x00" + word(1) + word(BUFFER, 4) + word(FROM, 8))
    code = b"".join((
        b"\x31\xc0",                                # xor  ax, ax
        b"\x8e\xd8",                                # mov  ds, ax
        b"\xbe" + word(PACKET),                     # mov  si, PACKET
        # The drive is in dl.
        b"\xb4\x42",                                # mov  ah, 0x42 (read)
        b"\xcd\x13",                                # int  0x13
        b"\x72\x19",                                # jc   halt
        b"\xc7\x06" + word(PACKET + 8) + word(TO),  # mov  [PACKET + 8], TO
        b"\xb8\x00\x43",                            # mov  ax, 0x4300 (write)
        b"\xcd\x13",                                # int  0x13
        b"\x72\x0c",                                # jc   halt
        b"\xfc",                                    # cld
        b"\xbe" + word(BUFFER),                     # mov  si, BUFFER
        b"\xb9" + word(LINE),                       # mov  cx, LINE
        b"\xba" + word(CONSOLE),                    # mov  dx, CONSOLE
        b"\xf3\x6e",                                # rep outsb
        b"\xfa",                                    # halt: cli
        b"\xf4",                                    # hlt
    ))
    return code.ljust(PACKET - CODE, b"\0") + packet + b"\x55\xaa"


class BootDisk(Disk):
    """An NVMe device with the boot sector and a line to print."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene, "disk", "00:04.0", half=8 * MIB)
        self.options["bootindex"] = 0
        self.line = secrets.token_hex(LINE // 2)[:LINE - 1]
        with open(self.image, "r+b") as file:
            file.write(boot_sector())
            file.seek(FROM * SECTOR)
            file.write(f"{self.line}\n".encode()
                       + os.urandom(SECTOR - LINE))

    def sector(self, number: int) -> bytes:
        data = self.image.read_bytes()
        return data[number * SECTOR:(number + 1) * SECTOR]


class Boots(TestCase):
    def test_nvme(self):
        with Scene() as scene:
            disk = BootDisk(scene)
            command = [
                QEMU, "-nodefaults", "-no-user-config", "-display", "none",
                "-machine", "pc,accel=tcg,memory-backend=ram", "-m", "64M",
                "-object", "memory-backend-memfd,id=ram,size=64M,share=on",
                "-chardev", "stdio,id=console",
                "-device", f"isa-debugcon,iobase={CONSOLE},chardev=console",
                "-device", disk.option]
            for folder in FIRMWARE:
                command += ["-L", folder]
            qemu = scene.add(Peer("QEMU", command))
            qemu.log.wait("line of the boot sector", lambda lines:
                          disk.line in lines or None, BOOT)
            self.assertEqual(disk.sector(TO), disk.sector(FROM))
            self.assertEqual(qemu.log.lines, [disk.line])
            qemu.stop()
            self.assertEqual(disk.server.wait(), 0)
            self.assertEqual(disk.server.complaints, [])
