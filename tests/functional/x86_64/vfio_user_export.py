# SPDX-License-Identifier: GPL-2.0-or-later
"""Device models of QEMU, exported by a second QEMU and used by a guest.

An Export is a QEMU without processor or memory whose x-vfio-user-server exports
one of its devices.  A Disk and a Card are such devices with their backends, seen
from the guest and from the host, for any Model.  They do not check anything; the
tests do.
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

from vfio_user_machine import (BOOT, EXPORTER, FIRMWARE, REPLY, Guest,
                               PeerError, Scene, Server, wait_until)
from vfio_user_models import E1000E, NVME, Model

MIB = 1 << 20

# The client's machine for a device at 01:00.0 that reports errors
WITH_PORT = {"machine": "q35",
             "args": ["-smp", "2", "-device", "pcie-root-port,id=rp,chassis=1"]}

# Timeout in seconds if an emulated processor handles megabytes of data.
LONG = 600.0


def sha256(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


class Export(Server):
    """A second QEMU that exports one device.  It exits with its client.

    Its log has a line for each map of guest memory that is added or removed.
    """

    MAP = re.compile(r"vfu_dma_(|un)register vfu: (?:un)?registering GPA "
                     r"0x(\w+)(?:, (\d+) bytes)?$")

    def __init__(self, device: str, args: Sequence[str | Path],
                 pass_fds: Sequence[int], path: Path) -> None:
        command: list[str | Path] = [
            EXPORTER, "-nodefaults", "-no-user-config", "-display", "none",
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
        """The other lines of its log."""
        return [line for line in self.log.lines if not self.MAP.match(line)]

    def maps(self) -> tuple[dict[int, int], int]:
        """Return its current maps, address to size, and the number of all maps
        so far."""
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
        """Count as for any peer, but without the workers that QEMU's block layer
        starts while there is work."""
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
        child = ["-device", model.child] if model.child else []
        self.scene = scene
        self.start = functools.partial(
            Export, model.device.format(ident=ident), [*child, *args], pass_fds)
        self.server: Export = scene.server(self.start)
        self.spare: Export | None = None
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
        """The argument of QEMU's -device."""
        return ",".join(f"{name}={value}" for name, value
                        in self.options.items())

    def report_errors(self) -> None:
        """Let the client report a return of the server, WITH_PORT."""
        self.options |= {"bus": "rp", "reconnect-aer": "on"}

    def lose(self) -> None:
        """Kill the server.  Nobody listens on its socket then."""
        self.server.kill()

    def prepare(self) -> None:
        """Start the next server, on a socket that the client does not know."""
        self.spare = self.scene.server(self.start)

    def restart(self) -> None:
        """Start the server again, unless that was prepared, and move its socket
        to where the client looks for it."""
        server = self.spare or self.scene.server(self.start)
        self.spare = None
        server.path = server.path.rename(self.server.path)
        self.server = server

    def returns(self) -> list[int]:
        """Return the time in milliseconds for which the client had no server,
        for each time that it was connected again."""
        lines = list(self.guest.log.lines)
        again = re.compile(f"{self.server.path}: connected again after "
                           r"(\d+) ms$")
        return [int(match[1]) for match in filter(None, map(again.search, lines))]

    def plug(self, bus: str) -> None:
        """Plug it into a running guest."""
        self.guest.qmp("device_add", bus=bus, **self.options)

    def unplug(self) -> None:
        """Request the unplug and wait until QEMU has deleted the device."""
        self.guest.qmp("device_del", id=self.ident)
        self.guest.event("DEVICE_DELETED", device=self.ident)

    def bind(self) -> str:
        """Load the driver for its modalias and the other modules of the model;
        return the name of the driver."""
        self.guest.sh(f"modprobe $(cat {self.folder}/modalias) && "
                      f"modprobe -a {' '.join(self.model.modules)}", BOOT)
        return self.guest.sh(f"basename $(readlink {self.folder}/driver)")

    def bind_again(self) -> None:
        """Unbind the driver and bind it again."""
        self.guest.sh(f"cd $(readlink -f {self.folder}/driver) && "
                      f"echo {self.function} >unbind && "
                      f"echo {self.function} >bind", BOOT)

    def reset(self) -> None:
        """Reset the function through the guest's sysfs."""
        self.guest.sh(f"grep -q flr {self.folder}/reset_method &&"
                      f" echo 1 >{self.folder}/reset", LONG)

    def find(self, kind: str) -> str:
        """Wait until the drivers create an entry for it in a folder of sysfs, for
        example /sys/block; return the entry's name."""
        return self.guest.sh(
            f"until for at in {kind}/*; do case $(readlink \"$at\") in "
            f"*/{self.function}/*) name=${{at##*/}};; esac; done; [ \"$name\" ];"
            " do usleep 10000; done; echo $name", BOOT)

    def interrupts(self) -> dict[str, int]:
        """Return the number of interrupts for each name in /proc/interrupts,
        added up for all processors and for vectors with the same name."""
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
        """Return a counter of the client, for example calls."""
        found: dict[str, int] = self.guest.qmp(
            "qom-get", path=f"/machine/peripheral/{self.ident}",
            property="counters")
        return found[name]


class Disk(Exported):
    """A disk whose storage is a file on the host, with two halves."""

    HALF = 64 * MIB

    def __init__(self, scene: Scene, ident: str, where: str,
                 model: Model = NVME, half: int = HALF,
                 args: Sequence[str] = ()) -> None:
        self.image = scene.folder / ident
        self.half = half
        with open(self.image, "wb") as file:
            file.truncate(2 * half)
        super().__init__(
            scene, ident, where, model,
            ["-drive", "if=none,id=image,format=raw,file.locking=off,"
             f"file.filename={self.image}", *args])
        self.scratch = f"/tmp/{ident}"
        self.node = ""
        self.jobs = 0

    def appear(self) -> None:
        """Wait for the driver's block device."""
        self.node = f"/dev/{self.find('/sys/block')}"
        self.guest.sh(f"until [ -b {self.node} ]; do usleep 10000; done")

    def reset_controller(self) -> None:
        """Let the driver of an NVMe device reset it through its registers."""
        self.guest.sh(f"cd {self.folder}/nvme/nvme*; echo 1 >reset_controller;"
                      " [ $(cat state) = live ]", LONG)

    def job(self, number: int, size: int, block: int) -> str:
        """Return a shell command that copies a part of the first half to the
        second.

        It prints the checksums of what it wrote and of what it read back.
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
        """Fill the first half with random data, and start concurrent jobs in the
        guest that copy it to the second half."""
        self.jobs = jobs
        with open(self.image, "r+b") as file:
            for _ in range(jobs):
                file.write(os.urandom(self.half // jobs))
        self.guest.sh(
            "".join(f"({self.job(number, self.half // jobs, block)}"
                    f"; touch {self.scratch}.over.{number})"
                    f" 2>/dev/null >{self.scratch}.sums.{number} & "
                    for number in range(jobs)))

    def wait_for_write(self, size: int) -> None:
        """Wait until the first job has written a number of bytes."""
        with open(self.image, "rb") as file:
            wait_until(f"{size} bytes written", lambda: any(
                os.pread(file.fileno(), 4096, self.half + size - 4096)), LONG)

    def over(self) -> str:
        """Return a shell command that waits until all jobs are done."""
        return (f"until [ $(ls {self.scratch}.over.* 2>/dev/null | wc -l) = "
                f"{self.jobs} ]; do usleep 10000; done; ")

    def finish(self, timeout: float = LONG) -> list[list[str]]:
        """Return four checksums for each job: of the data, of what the guest
        wrote, of what it read back, and of the file's content."""
        printed = self.guest.sh(
            f"{self.over()} cut -c-64 {self.scratch}.sums.*; "
            f"rm {self.scratch}.*", timeout).splitlines()
        size = self.half // self.jobs
        data = self.image.read_bytes()
        sums = [sha256(data[at:at + size]) for at in range(0, len(data), size)]
        return [[sums[job], *printed[2 * job:2 * job + 2],
                 sums[self.jobs + job]] for job in range(self.jobs)]

    def begin_until_failure(self) -> None:
        """Start two jobs that copy data until this fails.

        They use a separate device node: if the device's own node is removed, dd
        would create a file in its place.
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
        """Wait until both jobs have failed."""
        self.guest.sh(f"{self.over()} rm {self.scratch}.*")


class Echo(threading.Thread):
    """Sends data to a socket and receives the same number of bytes from it."""

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
    """A network card that is connected to this process.

    The server has a separate user network, in which one address and port leads to
    a socket of this process.
    """

    PORT = 7
    BYTES = 20 * MIB

    def __init__(self, scene: Scene, ident: str, where: str,
                 model: Model = E1000E, size: int = BYTES) -> None:
        """Size is the number of bytes that are sent, and sent back."""
        # The slot is part of it, so that each card has a different network.
        self.net = f"10.0.{int(where[3:5], 16)}"
        ours, theirs = socket.socketpair()
        # Both stay open: the server may be started again.
        scene.callback(ours.close)
        scene.callback(theirs.close)
        super().__init__(
            scene, ident, where, model,
            ["-chardev", f"socket,id=far,fd={theirs.fileno()}",
             "-netdev", "user,id=net,restrict=on,ipv6=off,"
             f"net={self.net}.0/24,"
             f"guestfwd=tcp:{self.net}.100:{self.PORT}-chardev:far"],
            [theirs.fileno()])
        self.connection = ours
        self.size = size
        self.scratch = f"/tmp/{ident}"
        self.name = ""
        self.echo: Echo

    def up(self) -> None:
        """Set its address and wait for the link."""
        self.name = self.find("/sys/class/net")
        self.guest.sh(
            f"ip addr add {self.net}.15/24 dev {self.name}; "
            f"ip link set {self.name} up; "
            f"until [ $(cat /sys/class/net/{self.name}/carrier) = 1 ];"
            " do usleep 10000; done")

    def fill_ring(self) -> None:
        """Send as many packets as its transmit ring has room for, and more, to
        the broadcast address, which needs no ARP."""
        self.guest.sh("for number in $(seq 16); do ping -s 60000 -c 1 -W 1"
                      f" {self.net}.255 <&- >&- 2>&- & done")

    def down(self) -> None:
        """Take it down: QEMU's server aborts if its device raises INTx while
        there is no client."""
        self.guest.sh(f"ip link set {self.name} down")

    def begin(self, timeout: float = REPLY) -> None:
        """Start an echo server in the guest, and begin to send.

        Sending starts only after it is connected: otherwise QEMU's network would
        pass the data to the previous connection.
        """
        self.guest.sh(
            f"nc {self.net}.100 {self.PORT} -e tee {self.scratch}"
            f" <&- >&- 2>&- & echo $! >{self.scratch}.pid; until netstat -tn |"
            f" grep -q '{self.net}.100:{self.PORT} .*ESTABLISHED';"
            " do usleep 10000; done", timeout)
        self.echo = Echo(self.connection, os.urandom(self.size))

    def finish(self) -> list[str]:
        """Return the checksums of what was sent, of what the guest received and
        of what came back."""
        self.echo.join(LONG)
        if len(self.echo.back) < self.size:
            raise PeerError(f"{self.ident}: {len(self.echo.back)} bytes of "
                            f"{self.size} came back")
        got = self.guest.sh(
            f"kill $(cat {self.scratch}.pid); "
            f"sha256sum <{self.scratch} | cut -c-64; rm {self.scratch}*")
        return [sha256(self.echo.data), got, sha256(self.echo.back)]
