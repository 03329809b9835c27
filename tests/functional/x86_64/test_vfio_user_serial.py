# SPDX-License-Identifier: GPL-2.0-or-later
"""The server of a guest's device is a process of another guest.

In other tests the sample is a process on the host.  Here it runs in a VM, and the
only connection to it is a port of virtio-serial.  The port does not pass
descriptors, so register accesses and DMA use messages, and there are no
interrupts.  The socket is passed to QEMU in JSON, as management software does.
"""

import json
import re
import time
from unittest import TestCase

from vfio_user_gpio import (BAR, FILTER_CONTROL, ID, IN_0_7, IRQ_CONTROL,
                            MODULE, OUT_0_7, OUT_8_15, SAMPLE, Gpio)
from vfio_user_machine import (REPLY, REPO, Access, Guest, PeerError, Sample,
                               Scene, compile_program)

RELAY = REPO / "tests/functional/x86_64/vfio_user_serial_relay.c"
INSIDE = "/tmp/gpio.sock"
LOG = "/tmp/gpio.log"

# The size of the sample's BAR and of its configuration space in bytes.
SIZE = 256
PCI_CONFIG = 7


class FarSample:
    """The sample in its own guest, and its log there."""

    def __init__(self, scene: Scene) -> None:
        self.path = scene.folder / "far.sock"
        relay = compile_program(RELAY, scene.folder)
        self.guest: Guest = scene.guest(
            "virtio-serial", "virtserialport,chardev=far",
            modules=["virtio_pci", "virtio_console"],
            programs=[SAMPLE, relay],
            args=["-chardev", f"socket,id=far,path={self.path},server=on,"
                  "wait=off"])
        self.guest.boot()
        self.guest.sh("modprobe -a virtio_pci virtio_console")
        self.guest.sh(f"{SAMPLE.name} -v {INSIDE} >{LOG} 2>&1 & "
                      f"until [ -S {INSIDE} ]; do usleep 10000; done")
        self.guest.sh(f"{relay.name} /dev/vport*p1 {INSIDE} >/tmp/relay 2>&1 & "
                      "echo $! >/tmp/pid")

    def lines(self) -> list[str]:
        return self.guest.sh(f"cat {LOG}").splitlines()

    def accesses(self, region: int, since: int, count: int) -> list[Access]:
        """As Sample.accesses(), but the log must be polled."""
        deadline = time.monotonic() + REPLY
        while True:
            seen = Sample.parse(self.lines(), region)
            if len(seen) >= since + count:
                return seen[since:]
            if time.monotonic() > deadline:
                raise PeerError(f"no {count} accesses to region {region}")

    def finish(self) -> str:
        """Wait for the end of the connection; return the relay's output."""
        return self.guest.sh("while [ -d /proc/$(cat /tmp/pid) ]; do usleep "
                             "10000; done; cat /tmp/relay")


class FarGpio(Gpio):
    """The card of such a server, in a guest without shared memory."""

    SHARED = False

    def serve(self, scene: Scene) -> FarSample:
        return FarSample(scene)

    def option(self) -> str:
        return json.dumps({
            "driver": "vfio-user-pci", "id": ID, "addr": "04.0",
            "socket": {"path": str(self.server.path), "type": "unix"},
            "x-timeout-ms": 60000})


class FarServer(TestCase):
    def check_lines(self, lines: list[str], *wanted: str) -> None:
        """Check that there is a line for each pattern, in this order."""
        rest = iter(lines)
        for pattern in wanted:
            self.assertTrue(any(re.fullmatch(f"gpio: {pattern}", line)
                                for line in rest), pattern)

    def check_description(self, lines: list[str]) -> None:
        """Check the client's requests before the guest sees the device.

        Later versions of the library have one region less, and have flags for
        the configuration space.
        """
        self.check_lines(
            lines,
            r"devinfo flags 0x3, num_regions (9|10), num_irqs 5",
            *(rf"region_info\[{bar}\] offset 0 flags "
              f"{'0x3 size 256' if bar == BAR else '0 size 0'} argsz 32"
              for bar in range(6)),
            rf"region_info\[{PCI_CONFIG}\] offset 0 flags (0|0x3) size {SIZE} "
            "argsz 32",
            f"region{PCI_CONFIG}: read {SIZE} bytes at 0",
            "device reset by client")

    def check_memory(self, lines: list[str]) -> None:
        """Check that DMA_MAP was sent for guest memory without descriptors."""
        maps = [line for line in lines if line.startswith("gpio: adding DMA")]
        self.assertIn("gpio: adding DMA region [0, 0xc0000) offset=0"
                      " flags=0x3", maps)
        self.assertEqual([line for line in maps if "offset=0 " not in line], [])

    def check_set_up(self, lines: list[str]) -> None:
        """Check that firmware and Linux size BARs and enable the device."""
        self.check_lines(
            lines,
            rf"region{PCI_CONFIG}: read 0xdc8494f from \(0:4\)",
            rf"region{PCI_CONFIG}: wrote 0xffffffff to \(0x18:4\)",
            "I/O space enabled",
            "memory space enabled",
            "SERR# enabled",
            rf"region{PCI_CONFIG}: wrote 0x103 to \(0x4:2\)")

    def test_registers(self):
        with Scene() as scene:
            gpio = FarGpio(scene)
            gpio.guest.boot()
            self.assertEqual(gpio.identity(), "494f:0dc8")
            driver, accesses = gpio.bind()
            self.assertEqual(driver, MODULE.removeprefix("gpio-"))
            self.assertEqual(accesses, [
                Access("wrote", 0, FILTER_CONTROL),
                Access("wrote", 0, IRQ_CONTROL),
                Access("wrote", 0, IN_0_7)])

            gpio.export()
            self.assertEqual(gpio.set(9, 1), [Access("read", 0, OUT_8_15),
                                              Access("wrote", 2, OUT_8_15)])
            # It returns the number of previous reads divided by three.
            for reads in range(6):
                self.assertEqual(gpio.peek(), (reads // 3, [
                    Access("read", reads // 3, OUT_0_7)]))

            lines = gpio.server.lines()
            self.check_description(lines)
            self.check_memory(lines)
            self.check_set_up(lines)
            self.assertEqual(gpio.guest.log.lines, [])
            self.assertEqual(gpio.guest.quit(), 0)
            self.assertEqual(gpio.server.finish(), "")
            self.assertEqual(gpio.server.guest.quit(), 0)
