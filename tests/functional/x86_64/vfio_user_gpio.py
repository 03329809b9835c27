# SPDX-License-Identifier: GPL-2.0-or-later
"""libvfio-user's sample gpio-pci-idio-16, used by a guest.

Each method does one thing in the guest and returns what the guest saw and which
accesses the server logged.  The tests and scripts/demo check the results.
"""

import time
from collections.abc import Sequence
from typing import Any

from vfio_user_machine import (REPLY, SAMPLES, Access, Guest, PeerError,
                               Sample, Scene)

MODULE = "gpio-pci-idio-16"
SAMPLE = SAMPLES / MODULE
SLOT = "0000:00:04.0"
DEVICE = f"/sys/bus/pci/devices/{SLOT}"
LINES = "/sys/class/gpio"
ID = "gpio"

# The card's registers, one byte each, in BAR 2, which has I/O ports.
BAR = 2
OUT_0_7, IN_0_7, IRQ_CONTROL, FILTER_CONTROL, OUT_8_15 = range(5)

PEEK = (f"dd if={DEVICE}/resource{BAR} bs=1 count=1 2>/dev/null |"
        " od -An -tu1")


class Gpio:
    """A card, with the server and the guest.

    The guest may have other devices, and modules for them.
    """

    # -v makes the library log each access with its value.
    COMMAND = (SAMPLE, "-v")
    SHARED = True

    def __init__(self, scene: Scene, machine: str = "",
                 devices: Sequence[str] = (), modules: Sequence[str] = (),
                 **options: Any) -> None:
        """Options are those of a Guest."""
        self.server = self.serve(scene)
        self.guest: Guest = scene.guest(self.option(), *devices,
                                        modules=[MODULE, *modules],
                                        machine=machine, shared=self.SHARED,
                                        **options)
        self.seen = 0

    def serve(self, scene: Scene) -> Sample:
        return scene.sample(*self.COMMAND)

    def option(self) -> str:
        """Return the argument of QEMU's -device."""
        return (f"vfio-user-pci,id={ID},socket={self.server.path},addr=04.0,"
                "x-timeout-ms=60000")

    def accesses(self, count: int) -> list[Access]:
        """Wait for at least count new accesses in the server's log."""
        found = self.server.accesses(BAR, self.seen, count)
        self.seen += len(found)
        return found

    def identity(self) -> str:
        """Return vendor and device in the format of lspci."""
        both = self.guest.sh(f"cat {DEVICE}/vendor {DEVICE}/device")
        return both.replace("0x", "").replace("\n", ":")

    def bind(self) -> tuple[str, list[Access]]:
        """Load the module for the card's modalias, as udev does.

        Return the driver that is then bound to the card.
        """
        self.guest.sh(f"modprobe $(cat {DEVICE}/modalias)")
        return self.driver(), self.accesses(3)

    def rebind(self) -> tuple[str, list[Access]]:
        """Unbind the card from its driver and bind it again."""
        self.guest.sh(f"cd {DEVICE}/driver; "
                      f"echo {SLOT} >unbind; echo {SLOT} >bind")
        return self.driver(), self.accesses(3)

    def driver(self) -> str:
        return self.guest.sh(f"basename $(readlink {DEVICE}/driver)")

    def export(self) -> None:
        """Create sysfs files for the 16 output lines, OUT0 to OUT15."""
        self.guest.sh(f"cd {LINES}; base=$(cat {DEVICE}/gpio/gpiochip*/base); "
                      "for line in $(seq 0 15); do echo $((base + line)) >export; done")

    def set(self, line: int, value: int) -> list[Access]:
        """Set an output line; the driver reads, changes and writes a byte."""
        self.guest.sh(f"echo {value} >{LINES}/OUT{line}/value")
        return self.accesses(2)

    def get(self, line: int) -> tuple[int, list[Access]]:
        """Read an output line through the driver: one bit of a byte.

        Only one byte of the file is read, because each further read() makes the
        driver read the register again, even at the end of the file.
        """
        text = self.guest.sh(f"head -c 1 {LINES}/OUT{line}/value")
        return int(text), self.accesses(1)

    def peek(self) -> tuple[int, list[Access]]:
        """Read the whole register of the lines 0 to 7 without the driver."""
        return int(self.guest.sh(PEEK)), self.accesses(1)

    def begin_peek(self) -> None:
        """Start peek(); return when QEMU has sent the request to the server."""
        before = self.calls()
        self.guest.begin(PEEK)
        deadline = time.monotonic() + REPLY
        while self.calls() == before:
            if time.monotonic() > deadline:
                raise PeerError("the guest did not read the register")

    def finish_peek(self) -> int:
        """Return the value that begin_peek() reads."""
        return int(self.guest.finish(PEEK))

    def counters(self) -> dict[str, int]:
        """Return what QEMU has counted."""
        found: dict[str, int] = self.guest.qmp(
            "qom-get", path=f"/machine/peripheral/{ID}", property="counters")
        return found

    def calls(self) -> int:
        """Return the number of calls from QEMU to the server."""
        return self.counters()["calls"]
