# SPDX-License-Identifier: GPL-2.0-or-later
"""A device with migration v2 that has only state, next to a disk with v1.

It is the server of the migration benchmark.  No driver uses it; it executes
commands from its stdin.
"""

import functools
import subprocess
from pathlib import Path

from vfio_user_disk import Sides
from vfio_user_machine import QEMU, REPO, Scene, Server, compile_program

SOURCE = REPO / "tests/bench/vfio-user-bench-migration-server.c"
SIZE = 3 * (1 << 20) + 1


class StateServer(Server):
    def __init__(self, program: Path, path: Path) -> None:
        super().__init__("state", [program, path, "stream", str(SIZE)], path,
                         stdin=subprocess.PIPE)

    def ask(self, word: str) -> int:
        self.log.wait("first line", lambda lines: lines[:1] or None)
        seen = len(self.log.lines)
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()
        reply, = self.log.wait(f"reply to {word}", lambda lines:
                               lines[seen:seen + 1] or None)
        return int(reply)

    def total(self) -> int:
        """Return a checksum of its state."""
        return self.ask("sum")

    def took_part(self) -> bool:
        """Return whether its state was saved or loaded since the last call.
        The state is zeros before it is loaded."""
        return self.ask("state") > 0


class StateSides(Sides):
    """The VM with both devices, on the side where it currently runs."""

    def __init__(self, scene: Scene, machine: str) -> None:
        self.program = compile_program(SOURCE, scene.folder)
        self.states: list[StateServer] = []
        super().__init__(scene, "leaves", machine, QEMU)

    def other_devices(self) -> list[str]:
        server = self.scene.server(
            functools.partial(StateServer, self.program))
        self.states.append(server)
        return [f"vfio-user-pci,id=state,socket={server.path},addr=05.0,"
                "rombar=0,x-timeout-ms=60000"]
