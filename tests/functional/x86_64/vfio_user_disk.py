# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk of vfio-user-disk-server, in use by a guest that migrates.

Starts the peers and migrates the guest.  The tests check what the guest and the
servers report.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vfio_user_machine import (BUILD, QEMU, Guest, PeerError, Scene, Server,
                               compile_program)

SERVER = BUILD / "tests" / "vfio-user" / "vfio-user-disk-server"
WORK = Path(__file__).with_name("vfio_user_disk_work.c")
DISK = "/dev/vda"
CHUNK = 64 * 1024
WORDS = CHUNK // 8
# The chunks that the work "storage" writes to
STORAGE = range(32, 64)
MIB = 1 << 20

# Bytes per second; at this rate a migration takes a few iterations and converges.
RATE = 32 * MIB
# Timeout of a migration on a busy machine, in seconds.
LONG = 120.0


class Change(NamedTuple):
    """A new state of a server, and how many numbers it had provided by then."""
    state: str
    numbers: int


class DiskServer(Server):
    def __init__(self, stopping: str, path: Path,
                 wrapper: Sequence[str | Path] = ()) -> None:
        """Stopping is what the server does with pending requests when it must
        stop: "leaves" or "finishes".  Wrapper is a command that runs it."""
        super().__init__(SERVER.name, [*wrapper, SERVER, path, stopping], path)

    def changes(self) -> list[Change]:
        """Return the state changes in the server's log."""
        found = (re.fullmatch(r"([a-z-]+) at (\d+)", line)
                 for line in self.log.lines)
        return [Change(match[1], int(match[2])) for match in found if match]


class Side(NamedTuple):
    """A VM and the server of its disk."""
    guest: Guest
    server: DiskServer


class Sides:
    """The VM, on the side where it currently runs."""

    def __init__(self, scene: Scene, stopping: str, machine: str = "pc",
                 qemu: str | Path = QEMU) -> None:
        self.scene = scene
        self.stopping = stopping
        self.machine = machine
        self.qemu = qemu
        self.work = compile_program(WORK, scene.folder)
        self.here = self.start()
        self.guest.boot()

    @property
    def guest(self) -> Guest:
        return self.here.guest

    def other_devices(self) -> list[str]:
        """Return arguments of -device for other devices of the VM."""
        return []

    def start(self, *args: str) -> Side:
        """Start a server and QEMU, to boot the guest or as a destination."""
        server = self.scene.server(
            functools.partial(DiskServer, self.stopping))
        guest = self.scene.guest(
            f"vfio-user-pci,id=disk,socket={server.path},addr=04.0,"
            "x-timeout-ms=60000", *self.other_devices(),
            modules=["virtio_pci", "virtio_blk"], programs=[self.work],
            args=["-smp", "2", *args], machine=self.machine, qemu=self.qemu)
        guest.qmp("migrate-set-capabilities", capabilities=[
            {"capability": "events", "state": True}])
        return Side(guest, server)

    def move(self) -> Side:
        """Migrate the VM to a new side; return the old side."""
        uri = f"unix:{self.scene.folder}/{len(self.scene.peers)}.migration"
        there = self.start("-incoming", uri)
        left = self.here
        self.send(uri)
        self.arrive(there)
        return left

    def switch(self) -> tuple[DiskServer, int]:
        """Replace the server of the running VM; return the old server and for
        how many milliseconds the guest was paused."""
        server = self.scene.server(
            functools.partial(DiskServer, self.stopping))
        left = self.here.server
        reply = self.guest.qmp("x-vfio-user-switch", id="disk", socket={
            "type": "unix", "path": str(server.path)})
        self.here = Side(self.guest, server)
        return left, reply["pause"]

    def save(self) -> tuple[Side, Path]:
        """Save the VM to a file and end its side; return side and file."""
        file = self.scene.folder / "saved"
        left = self.here
        self.send(f"exec:cat >{file}")
        self.end(left)
        return left, file

    def restore(self, file: Path) -> None:
        self.arrive(self.start("-incoming", f"exec:cat {file}"))

    def send(self, uri: str) -> None:
        self.guest.qmp("migrate-set-parameters", **{"max-bandwidth": RATE})
        self.guest.qmp("migrate", uri=uri)
        self.guest.event("MIGRATION", LONG, status="completed")

    def arrive(self, side: Side) -> None:
        side.guest.event("RESUME", LONG)
        self.here = side

    def end(self, side: Side) -> int:
        """End QEMU; the server then exits by itself.  Return a status."""
        status = side.guest.quit()
        return status or side.server.wait()

    def begin(self, *works: str) -> None:
        """Start these kinds of work in the guest; finish() ends them."""
        for work in works:
            self.guest.sh(f"{self.work.name} {work} {DISK} >/tmp/{work} 2>&1 & "
                          f"echo $! >/tmp/{work}.pid")

    def finish(self, work: str) -> list[int]:
        """End one kind of work; return the numbers that it printed."""
        pid = self.guest.sh(f"cat /tmp/{work}.pid").strip()
        text = self.guest.sh(
            f"kill {pid}; while [ -d /proc/{pid} ]; do usleep 10000; done; "
            f"cat /tmp/{work}", LONG)
        if not text.startswith(work):
            raise PeerError(f"guest: {text}")
        return [int(word) for word in re.findall(r"\d+", text)]
