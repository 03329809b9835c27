# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices of QEMU's own, exported by a second QEMU and used from a guest.

An Export is a QEMU without processor or memory whose x-vfio-user-server
offers one of its devices.  A Disk and a Card are such devices with what is
behind them, seen from both sides, whatever their Model.  They judge nothing;
that is left to the tests.
"""

import functools
import hashlib
import os
import re
import select
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from vfio_user_machine import (BOOT, FIRMWARE, QEMU, Guest, PeerError, Scene,
                               Server)
from vfio_user_models import E1000E, NVME, Model

MIB = 1 << 20

# For what moves megabytes through an emulated processor.
LONG = 600.0


def sha256(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


class Export(Server):
    """A second QEMU that exports one device.  It ends with its client.

    Its log has a line for each map of guest memory that it takes or gives up.
    """

    MAP = re.compile(r"vfu_dma_(|un)register vfu: (?:un)?registering GPA "
                     r"0x(\w+)(?:, (\d+) bytes)?$")

    def __init__(self, device: str, args: Sequence[str | Path],
                 pass_fds: Sequence[int], path: Path) -> None:
        command: list[str | Path] = [
            QEMU, "-nodefaults", "-no-user-config", "-display", "none",
            "-name", "export,debug-threads=on",
            "-machine", "x-remote,vfio-user=on", "-trace", "vfu_dma_*"]
        for folder in FIRMWARE:
            command += ["-L", folder]
        command += ["-device", f"{device},id=device", *args, "-object",
                    "x-vfio-user-server,id=server,type=unix,"
                    f"path={path},device=device"]
        super().__init__(device.split(",")[0], command, path, pass_fds)

    @property
    def complaints(self) -> list[str]:
        """What else it says."""
        return [line for line in self.log.lines if not self.MAP.match(line)]

    def maps(self) -> tuple[dict[int, int], int]:
        """The maps that it has, address to size, and how many it has had."""
        maps: dict[int, int] = {}
        total = 0
        for change in filter(None, map(self.MAP.match, list(self.log.lines))):
            gone, address, size = change.groups()
            if gone:
                del maps[int(address, 16)]
            else:
                maps[int(address, 16)] = int(size)
                total += 1
        return maps, total

    def count(self) -> tuple[int, int]:
        """As any peer's, but for the workers that QEMU's block layer has
        while there is work."""
        fds, _ = super().count()
        names = [task.read_text().strip() for task
                 in (Path("/proc") / str(self.pid) / "task").glob("*/comm")]
        return fds, len([name for name in names if name != "worker"])


class Exported:
    """An exported device in a guest."""

    def __init__(self, scene: Scene, ident: str, where: str, model: Model,
                 args: Sequence[str | Path] = (),
                 pass_fds: Sequence[int] = ()) -> None:
        """Start the server; where is bus, slot and function in the guest."""
        behind = ["-device", model.behind] if model.behind else []
        self.server: Export = scene.server(
            functools.partial(Export, model.device.format(ident=ident),
                              [*behind, *args], pass_fds))
        self.model = model
        self.ident = ident
        self.function = f"0000:{where}"
        self.folder = f"/sys/bus/pci/devices/{self.function}"
        self.options = {
            "driver": "vfio-user-pci", "id": ident,
            "addr": where.partition(":")[2],
            "socket": str(self.server.path), "x-timeout-ms": 60000}
        self.guest: Guest

    @property
    def option(self) -> str:
        """As QEMU's -device takes it."""
        return ",".join(f"{name}={value}" for name, value
                        in self.options.items())

    def plug(self, bus: str) -> None:
        """Give it to a running guest."""
        self.guest.qmp("device_add", bus=bus, **self.options)

    def unplug(self) -> None:
        """Ask the guest for it and wait until QEMU has let it go."""
        self.guest.qmp("device_del", id=self.ident)
        self.guest.event("DEVICE_DELETED", device=self.ident)

    def bind(self) -> str:
        """Load the driver that its modalias asks for, and those of what is
        behind it; return the name of the first."""
        self.guest.sh(f"modprobe $(cat {self.folder}/modalias) && "
                      f"modprobe -a {' '.join(self.model.modules)}", BOOT)
        return self.guest.sh(f"basename $(readlink {self.folder}/driver)")

    def reset(self) -> None:
        """Reset the function, as a user of the guest does."""
        self.guest.sh(f"grep -q flr {self.folder}/reset_method &&"
                      f" echo 1 >{self.folder}/reset", LONG)

    def find(self, kind: str) -> str:
        """Wait for what the drivers make of it, below /sys/block for one, and
        return the name."""
        return self.guest.sh(
            f"until for at in {kind}/*; do case $(readlink \"$at\") in "
            f"*/{self.function}/*) name=${{at##*/}};; esac; done; [ \"$name\" ];"
            " do usleep 10000; done; echo $name", BOOT)

    def interrupts(self) -> dict[str, int]:
        """How often each of its vectors, or its INTx, has come, all
        processors together and all of one name."""
        lines = self.guest.sh(
            f"for irq in $(ls {self.folder}/msi_irqs 2>/dev/null || "
            f"cat {self.folder}/irq); do"
            " grep \"^ *$irq:\" /proc/interrupts; done").splitlines()
        found: dict[str, int] = {}
        for line in lines:
            _, *words = line.split()
            counts = [int(word) for word in words if word.isdigit()]
            found[words[-1]] = found.get(words[-1], 0) + sum(counts)
        return found

    def counter(self, name: str) -> int:
        """A counter of QEMU's, say x-calls."""
        return int(self.guest.qmp("qom-get", path=f"/machine/peripheral/{self.ident}",
                                  property=name))


class Disk(Exported):
    """A disk with a file of the host behind it, in two halves."""

    HALF = 64 * MIB

    def __init__(self, scene: Scene, ident: str, where: str,
                 model: Model = NVME, half: int = HALF) -> None:
        self.image = scene.folder / ident
        self.half = half
        with open(self.image, "wb") as file:
            file.truncate(2 * half)
        super().__init__(
            scene, ident, where, model,
            ["-drive", f"if=none,id=image,format=raw,file={self.image}"])
        self.scratch = f"/tmp/{ident}"
        self.node = ""
        self.jobs = 0

    def appear(self) -> None:
        """Wait for the driver's block device."""
        self.node = f"/dev/{self.find('/sys/block')}"
        self.guest.sh(f"until [ -b {self.node} ]; do usleep 10000; done")

    def reset_controller(self) -> None:
        """Have the driver of an nvme reset it, by its registers."""
        self.guest.sh(f"cd {self.folder}/nvme/nvme*; echo 1 >reset_controller;"
                      " [ $(cat state) = live ]", LONG)

    def job(self, number: int, size: int, block: int) -> str:
        """Shell that copies a piece of the first half to the second.

        It prints the checksums of what it writes and of what is there then.
        """
        at, count = number * size // block, size // block
        there = at + self.half // block
        piece = f"{self.scratch}.{number}"
        return (f"dd if={self.node} bs={block} skip={at} count={count}"
                f" iflag=direct of={piece} && "
                f"dd if={piece} bs={block} seek={there} oflag=direct"
                f" of={self.node} && sha256sum <{piece} && "
                f"dd if={self.node} bs={block} skip={there} count={count}"
                f" iflag=direct | sha256sum; rm {piece}")

    def begin(self, jobs: int, block: int = MIB) -> None:
        """Fill the first half with random data, and have the guest begin to
        copy it to the second with some jobs at once."""
        self.jobs = jobs
        with open(self.image, "r+b") as file:
            for _ in range(jobs):
                file.write(os.urandom(self.half // jobs))
        self.guest.sh(
            "".join(f"({self.job(number, self.half // jobs, block)}"
                    f"; touch {self.scratch}.over.{number})"
                    f" 2>/dev/null >{self.scratch}.sums.{number} & "
                    for number in range(jobs)))

    def over(self) -> str:
        """Shell that waits until all jobs are over."""
        return (f"until [ $(ls {self.scratch}.over.* 2>/dev/null | wc -l) = "
                f"{self.jobs} ]; do usleep 10000; done; ")

    def finish(self) -> list[list[str]]:
        """Return, job by job, the checksums of the data, of what the guest
        wrote, of what it read back, and of what the file has there."""
        told = self.guest.sh(
            f"{self.over()} cut -c-64 {self.scratch}.sums.*; "
            f"rm {self.scratch}.*", LONG).splitlines()
        size = self.half // self.jobs
        data = self.image.read_bytes()
        sums = [sha256(data[at:at + size]) for at in range(0, len(data), size)]
        return [[sums[job], *told[2 * job:2 * job + 2], sums[self.jobs + job]]
                for job in range(self.jobs)]

    def begin_for_ever(self) -> None:
        """Have two jobs copy pieces until that fails.

        Through a node of their own: where that of the device is gone, dd
        would make a file in its place.
        """
        self.jobs = 2
        node = f"{self.scratch}.node"
        number = f"$(tr : ' ' </sys/class/block/{Path(self.node).name}/dev)"
        self.guest.sh(
            f"mknod {node} b {number}; "
            + "".join(f"(while dd if={node} of={node} bs=64k count=16"
                      f" skip={64 * job} seek={1024 + 64 * job}"
                      " iflag=direct oflag=direct; do "
                      f"touch {self.scratch}.runs.{job}; done; "
                      f"touch {self.scratch}.over.{job}) >&- 2>&- & "
                      for job in range(self.jobs))
            + f"until [ -e {self.scratch}.runs.0 -a -e {self.scratch}.runs.1"
            " ]; do usleep 10000; done")

    def finish_failed(self) -> None:
        """Wait until both have failed."""
        self.guest.sh(f"{self.over()} rm {self.scratch}.*")


class Echo(threading.Thread):
    """Sends data into a socket and takes as much out of it."""

    def __init__(self, connection: socket.socket, data: bytes) -> None:
        super().__init__(daemon=True)
        self.connection = connection
        self.data = data
        self.back = bytearray()
        self.start()

    def run(self) -> None:
        ours = self.connection
        left = memoryview(self.data)
        while len(self.back) < len(self.data):
            can_read, can_write, _ = select.select(
                [ours], [ours] if left else [], [], LONG)
            if can_write:
                left = left[ours.send(left[:MIB], socket.MSG_DONTWAIT):]
            if can_read:
                data = ours.recv(MIB)
                if not data:
                    return
                self.back += data
            elif not can_write:
                return


class Card(Exported):
    """A network card with us behind it.

    The server's end of the wire is a network of its own in which one
    address and port leads to a socket of ours.
    """

    PORT = 7
    BYTES = 20 * MIB

    def __init__(self, scene: Scene, ident: str, where: str,
                 model: Model = E1000E, size: int = BYTES) -> None:
        """Size is that of what is sent, and sent back."""
        # By its slot, so that each card of a guest has another.
        self.net = f"10.0.{int(where[3:5], 16)}"
        ours, theirs = socket.socketpair()
        with theirs:
            super().__init__(
                scene, ident, where, model,
                ["-chardev", f"socket,id=far,fd={theirs.fileno()}",
                 "-netdev", "user,id=net,restrict=on,ipv6=off,"
                 f"net={self.net}.0/24,"
                 f"guestfwd=tcp:{self.net}.100:{self.PORT}-chardev:far"],
                [theirs.fileno()])
        scene.callback(ours.close)
        self.connection = ours
        self.size = size
        self.scratch = f"/tmp/{ident}"
        self.name = ""
        self.echo: Echo

    def up(self) -> None:
        """Give it an address and wait for the link."""
        self.name = self.find("/sys/class/net")
        self.guest.sh(
            f"ip addr add {self.net}.15/24 dev {self.name}; "
            f"ip link set {self.name} up; "
            f"until [ $(cat /sys/class/net/{self.name}/carrier) = 1 ];"
            " do usleep 10000; done")

    def down(self) -> None:
        """Silence it: QEMU's server aborts where its device raises INTx and
        there is no client."""
        self.guest.sh(f"ip link set {self.name} down")

    def begin(self) -> None:
        """Have the guest echo what we send, and begin to send.

        Not before it is connected: QEMU's network would take the data for
        those of the connection before.
        """
        self.guest.sh(
            f"nc {self.net}.100 {self.PORT} -e tee {self.scratch}"
            f" <&- >&- 2>&- & echo $! >{self.scratch}.pid; until netstat -tn |"
            f" grep -q '{self.net}.100:{self.PORT} .*ESTABLISHED';"
            " do usleep 10000; done")
        self.echo = Echo(self.connection, os.urandom(self.size))

    def finish(self) -> list[str]:
        """Return the checksums of what we sent, of what the guest got and of
        what came back."""
        self.echo.join(LONG)
        if len(self.echo.back) < self.size:
            raise PeerError(f"{self.ident}: {len(self.echo.back)} bytes of "
                            f"{self.size} came back")
        got = self.guest.sh(
            f"kill $(cat {self.scratch}.pid); "
            f"sha256sum <{self.scratch} | cut -c-64; rm {self.scratch}*")
        return [sha256(self.echo.data), got, sha256(self.echo.back)]
