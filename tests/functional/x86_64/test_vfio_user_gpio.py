# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest drives the GPIO card of libvfio-user's sample.

Run it with `pytest-3 tests/functional/x86_64/test_vfio_user_gpio.py`.
vfio_user_machine.py says what the environment has to name.
"""

import os
import signal
from unittest import TestCase

from vfio_user_gpio import (FILTER_CONTROL, IN_0_7, IRQ_CONTROL, OUT_0_7,
                            OUT_8_15, Gpio)
from vfio_user_machine import Access, Scene


class GpioIdio16(TestCase):
    """libvfio-user's sample, which answers each read of the first register
    with a third of the number of such reads before.
    """

    def setUp(self):
        super().setUp()
        self.reads = 0

    def sample(self):
        """What the sample's next answer has to be."""
        value = self.reads // 3 & 0xff
        self.reads += 1
        return value

    def check_bound(self, bound):
        """Its driver has the card and has silenced it."""
        self.assertEqual(bound, ("pci-idio-16", [
            Access("wrote", 0, FILTER_CONTROL),
            Access("wrote", 0, IRQ_CONTROL),
            Access("wrote", 0, IN_0_7)]))

    def check_outputs(self, gpio):
        """What the guest sets is what the server logs.

        The sample forgets what was written.  So each write of the driver
        holds what it has just read with one bit changed: whole bytes go to
        the guest's driver and come back.
        """
        for line in range(16):
            for value in (1, 0):
                old = self.sample() if line < 8 else 0
                mask = 1 << line % 8
                new = old | mask if value else old & ~mask
                offset = OUT_0_7 if line < 8 else OUT_8_15
                self.assertEqual(gpio.set(line, value),
                                 [Access("read", old, offset),
                                  Access("wrote", new, offset)])

    def check_reads(self, gpio):
        """What the guest reads is what the server logs."""
        for line in range(8):
            value = self.sample()
            self.assertEqual(gpio.get(line),
                             (value >> line & 1,
                              [Access("read", value, OUT_0_7)]))
        for _ in range(16):
            value = self.sample()
            self.assertEqual(gpio.peek(),
                             (value, [Access("read", value, OUT_0_7)]))

    def drive(self, gpio):
        gpio.export()
        self.check_outputs(gpio)
        self.check_reads(gpio)

    def drive_on(self, machine):
        with Scene() as scene:
            gpio = Gpio(scene, machine)
            gpio.guest.boot()
            self.assertEqual(gpio.identity(), "494f:0dc8")
            self.check_bound(gpio.bind())
            before = gpio.guest.count(), gpio.server.count()
            self.drive(gpio)
            self.check_bound(gpio.rebind())
            self.drive(gpio)
            after = gpio.guest.count(), gpio.server.count()
            self.assertEqual(after, before, "(descriptors, threads)")
            self.assertEqual(gpio.guest.quit(), 0)

    def test_pc(self):
        self.drive_on("pc")

    def test_q35(self):
        self.drive_on("q35")

    def test_reset(self):
        """A guest that was reset finds the card again and drives it."""
        with Scene() as scene:
            gpio = Gpio(scene)
            gpio.guest.boot()
            self.check_bound(gpio.bind())
            self.drive(gpio)
            before = gpio.guest.count(), gpio.server.count()
            gpio.guest.qmp("set-action", reboot="reset")
            gpio.guest.qmp("system_reset")
            gpio.guest.boot()
            self.check_bound(gpio.bind())
            self.drive(gpio)
            after = gpio.guest.count(), gpio.server.count()
            self.assertEqual(after, before, "(descriptors, threads)")

    def test_stopped_server(self):
        """While a vCPU waits for a register, the monitor answers."""
        with Scene() as scene:
            gpio = Gpio(scene)
            gpio.guest.boot()
            self.check_bound(gpio.bind())
            os.kill(gpio.server.pid, signal.SIGSTOP)
            try:
                gpio.begin_peek()
                self.assertEqual(gpio.guest.qmp("query-status")["status"],
                                 "running")
            finally:
                os.kill(gpio.server.pid, signal.SIGCONT)
            self.assertEqual(gpio.finish_peek(), self.sample())

    def test_killed_server(self):
        """The guest loses its device in the middle of a read, and goes on."""
        with Scene() as scene:
            gpio = Gpio(scene)
            gpio.guest.boot()
            self.check_bound(gpio.bind())
            os.kill(gpio.server.pid, signal.SIGSTOP)
            gpio.begin_peek()
            os.kill(gpio.server.pid, signal.SIGKILL)
            self.assertEqual(gpio.finish_peek(), 0xff)
            self.assertEqual(gpio.guest.sh("echo alive"), "alive")
            self.assertEqual(gpio.guest.quit(), 0)
            told = [line for line in gpio.guest.log.lines
                    if "connection lost" in line]
            self.assertEqual(len(told), 1, gpio.guest.log.lines)
            self.assertIn(str(gpio.server.path), told[0])
