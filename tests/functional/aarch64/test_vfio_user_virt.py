# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest on the aarch64 machine "virt" drives libvfio-user's GPIO card.

Run it with `make check TARGETS="x86_64 aarch64" TESTS="--suite guest-aarch64"`.  It
uses the qemu-system-aarch64 that is next to the qemu-system-x86_64 of
vfio_user_machine.py, which describes the environment.
"""

import sys
from pathlib import Path
from unittest import TestCase

sys.path.insert(0, str(Path(__file__).parents[1] / "x86_64"))

from vfio_user_gpio import OUT_0_7, Gpio  # noqa: E402
from vfio_user_machine import ARM, QEMU, Access, Scene  # noqa: E402


class Card(Gpio):
    """The sample has no class, and this guest no firmware: Linux assigns addresses
    to devices with a class only.  Here it is a system peripheral.
    """

    def option(self) -> str:
        return super().option() + ",x-pci-class-code=0x088000"


class Virt(TestCase):
    def test_gpio(self):
        """the driver binds, writes and reads; server and guest agree"""
        with Scene() as scene:
            gpio = Card(scene, platform=ARM,
                        qemu=QEMU.with_name("qemu-system-aarch64"))
            gpio.guest.boot()
            self.assertEqual(gpio.guest.sh("uname -m"), "aarch64")
            self.assertEqual(gpio.identity(), "494f:0dc8")
            driver, _ = gpio.bind()
            self.assertEqual(driver, "pci-idio-16")
            gpio.export()
            log = gpio.set(3, 1)
            self.assertEqual(log[1], Access("wrote", log[0].value | 8, OUT_0_7))
            for _ in range(8):
                value, log = gpio.peek()
                self.assertEqual(log, [Access("read", value, OUT_0_7)])
            self.assertEqual(gpio.guest.quit(), 0)
