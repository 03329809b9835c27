# SPDX-License-Identifier: GPL-2.0-or-later
"""The peers of a vfio-user test: a server, QEMU, and the Linux guest in it.

A Scene starts and ends them and removes their files; if the test fails, it prints
their output.  Every wait has a deadline and checks a Transcript, the lines that one
peer has printed so far.  Nothing here depends on a device model.

Environment: VFIO_USER_BUILD, the build folder of QEMU, from which the servers
come; VFIO_USER_QEMU, the client's qemu-system-x86_64 if it is not the one in there;
VFIO_USER_QEMU_NEWEST, the same of the newest QEMU (without it, tests that need
both are skipped); VFIO_USER_CACHE, where scripts/build-guest keeps the guest;
VFIO_USER_TRACE, a file to which QEMU writes its messages, see
scripts/vfio-user-trace (%d in its name becomes the number of the process).
"""

import contextlib
import functools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

REPO = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("VFIO_USER_BUILD", REPO / "build" / "qemu"))
QEMU = Path(os.environ.get("VFIO_USER_QEMU", BUILD / "qemu-system-x86_64"))
NEWEST = os.environ.get("VFIO_USER_QEMU_NEWEST")
# The QEMU whose devices are exported.
EXPORTER = BUILD / "qemu-system-x86_64"
SAMPLES = BUILD / "subprojects" / "libvfio-user" / "samples"

# Debian's source package does not contain firmware; these folders belong to the
# packages seabios and qemu-system-data.
FIRMWARE = ("/usr/share/seabios", "/usr/share/qemu")

# Starts the last line of a reply from the guest (see scripts/guest-init).
END = "\x1e"

# Timeouts in seconds for a reply of a peer and for a boot, on a busy machine
# under TCG.
REPLY = 20.0
BOOT = 120.0

KERNEL_OPTIONS = ("reboot=t panic=-1 nokaslr mitigations=off tsc=reliable "
                  "random.trust_cpu=on")


class PeerError(Exception):
    """A peer did not do what was expected, or not in time."""


def wait_until(what: str, check: Callable[[], bool],
               timeout: float = REPLY) -> None:
    """Wait for something that no peer reports."""
    deadline = time.monotonic() + timeout
    while not check():
        if time.monotonic() > deadline:
            raise PeerError(f"not {what} in {timeout} s")
        time.sleep(0.01)


class Transcript(threading.Thread):
    """The output of one peer, read line by line as it is written."""

    def __init__(self, name: str, descriptor: int) -> None:
        """The thread owns the descriptor and closes it."""
        super().__init__(name=name, daemon=True)
        self.descriptor = descriptor
        self.lines: list[str] = []
        self.ended = False
        self.changed = threading.Condition()
        self.start()

    def run(self) -> None:
        # The connection is reset if QEMU exits with unread input.
        with (open(self.descriptor, "rb") as stream,
              contextlib.suppress(ConnectionResetError)):
            for line in stream:
                with self.changed:
                    self.lines.append(
                        line.decode(errors="replace").rstrip("\r\n"))
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def note(self, line: str) -> int:
        """Add a line of our own; return the new number of lines."""
        with self.changed:
            self.lines.append(line)
            return len(self.lines)

    def wait(self, what: str, match: Callable[[list[str]], T | None],
             timeout: float = REPLY) -> T:
        """Wait until match finds something in the lines and return it."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while (found := match(self.lines)) is None:
                if self.ended:
                    raise PeerError(f"{self.name} ended before {what}")
                if not self.changed.wait(deadline - time.monotonic()):
                    raise PeerError(f"{self.name}: no {what} in {timeout} s")
            return found


class Peer:
    """A process that ends when this one ends, and the transcript of its output."""

    def __init__(self, name: str, command: Sequence[str | Path],
                 pass_fds: Sequence[int] = (),
                 stdin: int = subprocess.DEVNULL) -> None:
        if not os.access(command[0], os.X_OK):
            raise PeerError(f"no {name} at {command[0]}; VFIO_USER_BUILD "
                            "names the folder that `make` builds in")
        # It has its own session, so that only this process gets Ctrl-C.  setpriv
        # kills it if this process dies without ending it.
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=pass_fds, start_new_session=True)
        assert self.process.stdout
        self.name = name
        self.command = [str(word) for word in command]
        self.pid = self.process.pid
        self.log = Transcript(name, os.dup(self.process.stdout.fileno()))
        self.process.stdout.close()

    @property
    def transcripts(self) -> list[Transcript]:
        return [self.log]

    def wait(self, timeout: float = REPLY) -> int:
        """Wait until it exits and return the exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise PeerError(
                f"{self.name} still runs after {timeout} s") from None

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(REPLY)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """End it as the kernel ends a process that is out of memory."""
        self.process.kill()
        self.process.wait()

    def count(self) -> tuple[int, int]:
        """Return the number of its open descriptors and threads."""
        proc = Path("/proc") / str(self.pid)
        return (len(list((proc / "fd").iterdir())),
                len(list((proc / "task").iterdir())))

    def resident(self) -> int:
        """Return the bytes of its own memory, without shared memory, that are
        resident."""
        status = (Path("/proc") / str(self.pid) / "status").read_text()
        return 1024 * int(re.search(r"^RssAnon:\s+(\d+) kB$", status, re.M)[1])


class Access(NamedTuple):
    """One access to a region, from a server's log."""
    verb: str
    value: int
    offset: int
    size: int = 1


class Server(Peer):
    """A vfio-user server with any device."""

    def __init__(self, name: str, command: Sequence[str | Path], path: Path,
                 pass_fds: Sequence[int] = (),
                 stdin: int = subprocess.DEVNULL) -> None:
        super().__init__(name, command, pass_fds, stdin)
        self.path = path

    def listen(self) -> None:
        """Wait until it listens, according to /proc/net/unix."""
        deadline = time.monotonic() + REPLY
        while not self.listens():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.01)
                raise PeerError(f"{self.name} ended before it listened")
            if time.monotonic() > deadline:
                raise PeerError(f"{self.name} does not listen")

    def listens(self) -> bool:
        with open("/proc/net/unix", encoding="utf-8") as table:
            # Flags: bit 16 is set once listen() was called.
            return any(line.split()[3] == "00010000"
                       and line.rstrip("\n").endswith(f" {self.path}")
                       for line in table)


class Sample(Server):
    """A sample of libvfio-user, which logs each access."""

    ACCESS = re.compile(r"region(\d+): (read|wrote) (\w+) "
                        r"(?:from|to) \((\w+):(\d+)\)$")

    def __init__(self, command: Sequence[str | Path], path: Path) -> None:
        super().__init__(Path(command[0]).name, [*command, path], path)

    @classmethod
    def parse(cls, lines: list[str], region: int) -> list[Access]:
        found = filter(None, map(cls.ACCESS.search, lines))
        return [Access(verb, int(value, 0), int(offset, 0), int(size))
                for index, verb, value, offset, size
                in (match.groups() for match in found)
                if int(index) == region]

    def accesses(self, region: int, since: int, count: int) -> list[Access]:
        """Skip since accesses to a region; wait for count more, return them."""
        def match(lines: list[str]) -> list[Access] | None:
            seen = self.parse(lines, region)
            return seen[since:] if len(seen) >= since + count else None
        return self.log.wait(f"{count} accesses to region {region}", match)


def traced(log: str | Path) -> list[str]:
    """Return arguments of QEMU: it writes its messages to the log."""
    return ["-msg", "timestamp=on", "-trace", "vfio_user_*", "-D", str(log)]


def compile_program(source: Path, folder: Path) -> Path:
    """Compile a C file for the guest, linked statically."""
    program = folder / source.stem
    done = subprocess.run(
        ["cc", "-std=gnu11", "-O2", "-Wall", "-static", "-s", source,
         "-o", program], text=True, capture_output=True)
    if done.returncode:
        raise PeerError(f"cc: {done.stderr}")
    return program


class Platform(NamedTuple):
    """What differs between the architectures of guests."""
    architecture: str           # Debian's name
    machine: str
    console: str
    commands: str               # the port on which the guest takes commands
    args: tuple[str, ...]       # "shell" is the character device of that port


X86 = Platform("amd64", "pc", "ttyS0", "ttyS1", ("-serial", "chardev:shell"))
ARM = Platform("arm64", "virt", "ttyAMA0", "ttyS0",
               ("-cpu", "max", "-device", "pci-serial,chardev=shell"))


@functools.cache
def build_guest(modules: tuple[str, ...], programs: tuple[Path, ...] = (),
                architecture: str = X86.architecture) -> tuple[str, str]:
    """Build the guest; return the paths of the kernel and the initramfs."""
    command = [str(REPO / "scripts" / "build-guest"),
               f"--architecture={architecture}"]
    command += [f"--module={module}" for module in modules]
    command += [f"--program={program}" for program in programs]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise PeerError("scripts/build-guest failed")
    kernel, initramfs = done.stdout.splitlines()
    return kernel, initramfs


class Guest(Peer):
    """QEMU with TCG and a Linux guest: monitor, console and a shell."""

    def __init__(self, devices: Sequence[str], modules: Sequence[str] = (),
                 programs: Sequence[Path] = (), args: Sequence[str] = (),
                 machine: str = "", append: str = "", memory: str = "256M",
                 shared: bool = True, qemu: str | Path = QEMU,
                 platform: Platform = X86) -> None:
        """Start QEMU.

        Args and append are additional arguments of QEMU and of the kernel.  Shared
        says whether servers can map the guest's memory.  The guest's files can use
        up to half of the memory.
        """
        kernel, initramfs = build_guest(tuple(modules), tuple(programs),
                                        platform.architecture)
        share = "on" if shared else "off"
        command: list[str | Path] = [
            qemu, "-nodefaults", "-no-user-config", "-display", "none",
            "-machine",
            f"{machine or platform.machine},accel=tcg,memory-backend=ram",
            "-object",
            f"memory-backend-memfd,id=ram,size={memory},share={share}",
            "-m", memory, "-no-reboot",
            "-kernel", kernel, "-initrd", initramfs,
            "-append", f"console={platform.console} "
            f"commands={platform.commands} {KERNEL_OPTIONS} {append}".strip(),
            *args]
        for folder in FIRMWARE:
            command += ["-L", folder]
        for device in devices:
            command += ["-device", device]
        # Without the sockets, of which only this process has the other ends.
        self.plain = [str(word) for word in command]
        if log := os.environ.get("VFIO_USER_TRACE"):
            command += traced(log)

        # Socket pairs are connected from the start, so nothing is missed.
        names = ("console", "shell", "monitor")
        pairs = {name: socket.socketpair() for name in names}
        for name, (_, theirs) in pairs.items():
            command += ["-chardev",
                        f"socket,id={name},fd={theirs.fileno()}"]
        command += ["-serial", "chardev:console", *platform.args,
                    "-qmp", "chardev:monitor"]
        self.sockets = {name: ours for name, (ours, _) in pairs.items()}
        try:
            super().__init__(
                "QEMU", command, [pair[1].fileno() for pair in pairs.values()])
        finally:
            for _, theirs in pairs.values():
                theirs.close()
        self.console, self.shell, self.monitor = (
            Transcript(name, os.dup(self.sockets[name].fileno()))
            for name in names)
        self.consumed = 0
        self.calls = 0
        self.send("qmp_capabilities")

    @property
    def transcripts(self) -> list[Transcript]:
        return [self.log, self.console, self.shell]

    def write(self, name: str, line: str) -> None:
        # If QEMU has exited, the wait for the reply fails.
        with contextlib.suppress(BrokenPipeError):
            self.sockets[name].sendall(line.encode() + b"\n")

    def boot(self) -> None:
        """Wait until the guest executes commands."""
        self.reply("end of the boot", BOOT)

    def reply(self, what: str, timeout: float) -> tuple[str, int]:
        """Wait for the end of a reply; return its text and status."""
        def match(lines: list[str]) -> int | None:
            return next((i for i in range(self.consumed, len(lines))
                         if lines[i].startswith(END)), None)
        end = self.shell.wait(what, match, timeout)
        text = "\n".join(self.shell.lines[self.consumed:end]).rstrip("\n")
        self.consumed = end + 1
        return text, int(self.shell.lines[end][1:])

    def sh(self, command: str, timeout: float = REPLY) -> str:
        """Run a shell command in the guest and return what it printed."""
        self.begin(command)
        return self.finish(command, timeout)

    def begin(self, command: str) -> None:
        """Start a shell command without waiting; finish() must follow."""
        self.consumed = self.shell.note("$ " + command)
        self.write("shell", command)

    def finish(self, command: str, timeout: float = REPLY) -> str:
        """Wait for the command of begin() and return what it printed."""
        text, status = self.reply(f"end of `{command}`", timeout)
        if status != 0:
            raise PeerError(f"guest: `{command}` ended with {status}: {text}")
        return text

    def send(self, command: str, **arguments: Any) -> int:
        """Send a command to the monitor and return its id."""
        self.calls += 1
        call = {"execute": command, "arguments": arguments, "id": self.calls}
        self.write("monitor", json.dumps(call))
        return self.calls

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Send a command to the monitor and return the reply."""
        call = self.send(command, **arguments)

        def match(lines: list[str]) -> dict[str, Any] | None:
            messages = map(json.loads, reversed(lines))
            return next((message for message in messages
                         if message.get("id") == call), None)
        reply = self.monitor.wait(f"reply to {command}", match)
        if "error" in reply:
            raise PeerError(f"QMP {command}: {reply['error']['desc']}")
        return reply["return"]

    def event(self, name: str, timeout: float = REPLY, **data: Any) -> None:
        """Wait for an event that contains these data."""
        def match(lines: list[str]) -> bool | None:
            return any(message.get("event") == name
                       and message.get("data", {}).items() >= data.items()
                       for message in map(json.loads, lines)) or None
        self.monitor.wait(name, match, timeout)

    def quit(self) -> int:
        """Make QEMU quit; return its exit status."""
        self.send("quit")           # it may end before it replies
        return self.wait()

    def stop(self) -> None:
        super().stop()
        for ours in self.sockets.values():
            ours.close()


P = TypeVar("P", bound=Peer)
S = TypeVar("S", bound=Server)


class Scene(contextlib.ExitStack):
    """The peers of one test and a folder for their sockets.

    On exit, the peers are ended in reverse order and the folder is removed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peers: list[Peer] = []

    def __enter__(self) -> "Scene":
        super().__enter__()
        self.folder = Path(tempfile.mkdtemp(prefix="vfio-user-"))
        self.callback(shutil.rmtree, self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None,
                 error: BaseException | None,
                 trace: TracebackType | None) -> bool:
        try:
            return super().__exit__(kind, error, trace)
        finally:
            if isinstance(error, Exception):
                self.print_output()

    def add(self, peer: P) -> P:
        self.peers.append(peer)
        self.callback(peer.stop)
        return peer

    def server(self, start: Callable[[Path], S]) -> S:
        """Call start with the path of a socket; wait until the server listens."""
        server = self.add(start(self.folder / f"{len(self.peers)}.sock"))
        server.listen()
        return server

    def sample(self, *command: str | Path) -> Sample:
        """Start a sample; its last argument is the path of the socket."""
        return self.server(functools.partial(Sample, command))

    def guest(self, *devices: str, **options: Any) -> Guest:
        """Start QEMU; do not wait until the guest has booted."""
        return self.add(Guest(devices, **options))

    def print_output(self) -> None:
        """Print the last lines of each peer's output."""
        for peer in self.peers:
            for transcript in peer.transcripts:
                transcript.join(REPLY)
                print(f"--- {peer.name}: {transcript.name} ---",
                      file=sys.stderr)
                for line in filter(None, transcript.lines[-60:]):
                    print(line.replace(END, "status "), file=sys.stderr)
