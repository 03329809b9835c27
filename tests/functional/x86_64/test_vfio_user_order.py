# SPDX-License-Identifier: GPL-2.0-or-later
"""The order in which a server sees the stores of a guest.

Drivers and servers use flags in memory to say whether a doorbell is needed.
Neither may read the other's flag before its own store is visible.  Drivers use a
fence for this.  QEMU must translate it to a fence even if the guest has only one
processor, because the server runs on another one.  The race is hard to reproduce,
so this test checks what TCG makes of a fence.  The environment is described in
vfio_user_machine.py.
"""

from unittest import TestCase

from vfio_user_machine import BUILD, FIRMWARE, QEMU, Peer, Scene

# The image has a fence and then halts.
IMAGE = BUILD / "tests" / "vfio-user" / "vfio-user-fence.bin"


class Order(TestCase):
    def test_fence(self):
        with Scene() as scene:
            command = [QEMU, "-nodefaults", "-no-user-config", "-display",
                       "none", "-machine", "pc,accel=tcg", "-smp", "1",
                       "-bios", IMAGE, "-d", "op"]
            for folder in FIRMWARE:
                command += ["-L", folder]
            qemu = scene.add(Peer("QEMU", command))

            def program(lines):
                """Return the operations up to the halt."""
                return next((lines[:i] for i, line in enumerate(lines)
                             if "call hlt" in line), None)
            operations = qemu.log.wait("halt", program)
            self.assertEqual(
                len([line for line in operations
                     if line.split()[:1] == ["mb"]]), 1, operations)
