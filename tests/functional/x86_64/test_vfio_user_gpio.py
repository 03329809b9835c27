# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest drives the GPIO card of libvfio-user's sample.

Run it with `pytest-3 tests/functional/x86_64/test_vfio_user_gpio.py`.
The environment is described in vfio_user_machine.py.
"""

import os
import re
import signal
import subprocess
from unittest import TestCase

from vfio_user_gpio import (FILTER_CONTROL, IN_0_7, IRQ_CONTROL, OUT_0_7,
                            OUT_8_15, Gpio)
from vfio_user_machine import REPO, Access, Scene, traced


class GpioIdio16(TestCase):
    """libvfio-user's sample.  A read of its first register returns the number of
    previous reads of this register divided by three.
    """

    def setUp(self):
        super().setUp()
        self.reads = 0

    def sample(self):
        """Return the value that the sample must return next."""
        value = self.reads // 3 & 0xff
        self.reads += 1
        return value

    def check_bound(self, bound):
        """Check that the driver has bound and disabled interrupts."""
        self.assertEqual(bound, ("pci-idio-16", [
            Access("wrote", 0, FILTER_CONTROL),
            Access("wrote", 0, IRQ_CONTROL),
            Access("wrote", 0, IN_0_7)]))

    def check_outputs(self, gpio):
        """Compare what the guest sets with the server's log.

        The sample does not store what was written.  So each write of the driver
        has the value that it has just read, with one bit changed.
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
        """Compare what the guest reads with the server's log."""
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
        """After a reset, the guest finds the card again and uses it."""
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

    def test_trace(self):
        """scripts/vfio-user-trace finds in the log what QEMU has counted."""
        with Scene() as scene:
            log = scene.folder / "trace.log"
            gpio = Gpio(scene, args=traced(log))
            gpio.guest.boot()
            self.check_bound(gpio.bind())
            gpio.export()
            gpio.set(8, 1)
            gpio.guest.qmp("stop")
            counted = gpio.counters()
            table = subprocess.run(
                [REPO / "scripts" / "vfio-user-trace", log], check=True,
                stdout=subprocess.PIPE, text=True).stdout.splitlines()
            found = re.fullmatch(
                r"(.*): (\d+) calls, (\d+) posts, (\d+) requests of the server,"
                r" (\d+) bytes sent, (\d+) received, in \d+\.\d+ s", table[0])
            self.assertTrue(found, table)
            self.assertEqual(found[1], str(gpio.server.path))
            self.assertEqual(
                [int(number) for number in found.groups()[1:]],
                [counted[name] for name in (
                    "calls", "posts", "requests", "bytes-sent",
                    "bytes-received")])
            rows = [line.split() for line in table[2:]]
            self.assertEqual(sum(int(row[1]) for row in rows),
                             counted["calls"] + counted["posts"])
            self.assertEqual({row[4] for row in rows}, {"0"}, table)

    def test_stopped_server(self):
        """While a vCPU waits for a register, the monitor responds."""
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
        """The guest loses its device during a read, and continues to run."""
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
            reports = [line for line in gpio.guest.log.lines
                       if "connection lost" in line]
            self.assertEqual(len(reports), 1, gpio.guest.log.lines)
            self.assertIn(str(gpio.server.path), reports[0])
