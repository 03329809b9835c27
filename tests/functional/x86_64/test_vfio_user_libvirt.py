# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt runs and migrates the VM that the manual describes.

The domain XML and the commands are those of the manual's section on libvirt.  Only
paths, the size of the memory and the type of the domain differ.  Two libvirtd
stand for the two hosts.  They belong to a session, so they need no rights, and the
system's libvirt is not involved.  The VM has no guest: a reset ejects a device in
its place.
"""

import contextlib
import json
import os
import pwd
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import TestCase, skipUnless

from vfio_user_disk import DiskServer
from vfio_user_machine import BOOT, QEMU, REPLY, REPO, PeerError, Scene, Server

sys.path.insert(0, str(REPO / "scripts"))

from manual import Block, Manual  # noqa: E402

PAGE = REPO / "docs" / "system" / "devices" / "vfio-user.rst"
SECTION = "libvirt"

# A libvirtd that root starts is the system's, whatever its configuration is.
NOBODY = 65534
USER = [shutil.which("setpriv") or "setpriv", f"--reuid={NOBODY}",
        f"--regid={NOBODY}", "--clear-groups",
        "--pdeathsig=KILL"] if os.geteuid() == 0 else []
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
LIBVIRTD = shutil.which("libvirtd", path=PATH)
VIRSH = shutil.which("virsh")
USERS = {user.pw_uid for user in pwd.getpwall()}


class Libvirt(Server):
    """A libvirtd with its own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = folder / "config" / "libvirt"
        config.mkdir(parents=True)
        (folder / "run").mkdir()
        # With this, it does not start virtlogd.
        (config / "qemu.conf").write_text('stdio_handler = "file"\n')
        # Two hosts have different UUIDs.
        (config / "libvirtd.conf").write_text(
            f'host_uuid = "{os.urandom(16).hex()}"\n')
        if USER:
            for path in folder, folder / "run", *folder.glob("config/**"):
                shutil.chown(path, NOBODY, NOBODY)
        socket = folder / "run" / "libvirt" / "libvirt-sock"
        self.uri = f"qemu+unix:///session?socket={socket}"
        # As the destination of a migration, with the address for QEMU's data
        self.destination = f"'{self.uri}' tcp:127.0.0.1"
        super().__init__(
            f"libvirtd {folder.name}",
            [shutil.which("env") or "env", f"HOME={folder}",
             f"XDG_CACHE_HOME={folder}/cache",
             f"XDG_CONFIG_HOME={folder}/config",
             f"XDG_DATA_HOME={folder}/data", f"XDG_RUNTIME_DIR={folder}/run",
             *USER, LIBVIRTD or ""], socket)

    def run(self, script: str) -> str:
        """Run a shell script whose virsh connects to this libvirtd; return what
        it printed."""
        done = subprocess.run(
            ["sh", "-ec", script], text=True, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=BOOT, cwd=self.folder,
            env={"PATH": PATH, "LC_ALL": "C", "HOME": str(self.folder),
                 "LIBVIRT_DEFAULT_URI": self.uri})
        if done.returncode or '"error":' in done.stdout:
            raise PeerError(f"{self.name}: {script}: {done.stdout}"
                            f"{done.stderr}".rstrip())
        return done.stdout.strip()

    def state(self) -> str:
        return self.run("virsh domstate guest")

    def qmp(self, command: str, **arguments: Any) -> Any:
        call = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(self.run(
            f"virsh qemu-monitor-command guest '{call}'"))["return"]

    def devices(self) -> set[str]:
        return {entry["name"] for entry
                in self.qmp("qom-list", path="/machine/peripheral")}

    def messages(self) -> list[str]:
        """Return what QEMU printed about its vfio-user devices."""
        log = self.folder / "cache" / "libvirt" / "qemu" / "log" / "guest.log"
        return [line for line in log.read_text().splitlines()
                if ": vfio-user " in line]

    def stop(self) -> None:
        """End it, and then what it has started and would leave behind."""
        super().stop()
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{self.folder}/".encode() in (path / "cmdline").read_bytes():
                    self.kill(int(path.name))

    def kill(self, pid: int) -> None:
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], REPLY)
        finally:
            os.close(process)


class Disk(DiskServer):
    """The project's disk server, which runs as the user of QEMU."""

    def __init__(self, path: Path) -> None:
        super().__init__("leaves", path, USER)


@skipUnless(LIBVIRTD and VIRSH, "libvirt is not installed")
@skipUnless({os.geteuid(), NOBODY if USER else os.geteuid()} <= USERS,
            "libvirt refuses a user without an entry in the passwd file")
class Manuals(TestCase):
    def place(self, text: str, *places: tuple[str, str | Path]) -> str:
        """Replace each of the places, which must be there."""
        for old, new in places:
            self.assertIn(old, text)
            text = text.replace(old, str(new))
        return text

    def script(self, block: Block, *places: tuple[str, str | Path]) -> str:
        self.assertEqual(block.kind, "console")
        return self.place(re.sub(r"^\$ ", "", block.text, flags=re.M), *places)

    def serve(self, path: Path) -> Disk:
        path.unlink(missing_ok=True)
        server = self.scene.add(Disk(path))
        server.listen()
        return server

    def arrived(self, source: Libvirt, left: Disk, target: Libvirt,
                server: Disk) -> None:
        """Check that the VM moved with the state of its device."""
        self.assertEqual(target.state(), "running")
        self.assertNotEqual(source.run("virsh list --name"), "guest")
        self.assertEqual(left.wait(), 0)
        self.assertIn("stop-and-copy", [c.state for c in left.changes()])
        server.log.wait("running", lambda lines: "running" in [
            change.state for change in server.changes()] or None)
        self.assertEqual(server.changes()[0].state, "resuming")

    def test_manual(self):
        """All blocks of the section, in their order."""
        if USER and subprocess.run([*USER, "test", "-x", QEMU]).returncode:
            self.skipTest(f"only root can execute {QEMU}")
        xml, begin, plug, unplug, migrate, changed = (
            block for block in Manual(PAGE).blocks()
            if block.section == SECTION)
        with Scene() as self.scene:
            folder = self.scene.folder
            if USER:
                shutil.chown(folder, NOBODY, NOBODY)
            run = "/run/vfio-user/", f"{folder}/"
            here, there = (self.scene.add(Libvirt(folder / name))
                           for name in ("source", "target"))
            for libvirt in here, there:
                libvirt.listen()

            self.assertEqual(xml.kind, "xml")
            (here.folder / "guest.xml").write_text(self.place(
                xml.text, run, ("type='kvm'", "type='qemu'"),
                ("<memory unit='GiB'>4<", "<memory unit='MiB'>256<"),
                ("/usr/local/bin/qemu-system-x86_64-vfio-user", QEMU)))
            server = self.serve(folder / "disk.sock")
            here.run(self.script(begin))
            self.assertEqual(here.state(), "running")
            self.assertLessEqual({"vfu1", "disk1", "vfu2"}, here.devices())
            self.assertEqual([memory["share"] for memory
                              in here.qmp("query-memdev")], [True])

            second = self.serve(folder / "disk2.sock")
            here.run(self.script(plug, run))
            self.assertIn("disk2", here.devices())
            here.run(self.script(unplug))
            self.assertIn("disk2", here.devices())
            here.run("virsh reset guest")
            self.assertEqual(second.wait(), 0)
            self.assertNotIn("disk2", here.devices())

            # On another host, the path of the socket could be the same.
            host = "qemu+ssh://destination/system"
            left, server = server, self.serve(folder / "disk.sock")
            here.run(self.script(migrate, (host, there.destination)))
            self.arrived(here, left, there, server)

            left, server = server, self.serve(folder / "other.sock")
            there.run(self.script(changed, run, (host, here.destination)))
            self.arrived(there, left, here, server)
            self.assertIn(f"{folder}/other.sock",
                          here.run("virsh dumpxml guest"))

            here.run("virsh destroy guest")
            self.assertEqual(server.wait(), 0)
            for libvirt in here, there:
                self.assertEqual(libvirt.messages(), [])
