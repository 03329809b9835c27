# SPDX-License-Identifier: GPL-2.0-or-later
"""The order in which a server sees what a guest stores.

Drivers and servers tell each other through memory whether a doorbell has to be
rung, so that neither may look before its own word is out.  Drivers put a fence
there, and QEMU must, too, be the guest's processor the only one: the server is
another.  To lose that race takes a quiet machine and luck, so this looks at
what TCG makes of a fence.  vfio_user_machine.py says what the environment has
to name.
"""

from unittest import TestCase

from vfio_user_machine import BUILD, FIRMWARE, QEMU, Peer, Scene

# A fence, and the end.
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
                """The operations up to the one that halts."""
                return next((lines[:i] for i, line in enumerate(lines)
                             if "call hlt" in line), None)
            operations = qemu.log.wait("halt", program)
            self.assertEqual(
                len([line for line in operations
                     if line.split()[:1] == ["mb"]]), 1, operations)
