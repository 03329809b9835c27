# SPDX-License-Identifier: GPL-2.0-or-later
"""The series, the overlay, and trees of QEMU's source made of both.

build/pristine is what Debian's package holds.  Patches are applied to copies
in a stage aside; a tree then gets the files that differ and no others, so
that a build does again only what a change reaches.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / "build"
PRISTINE = BUILD / "pristine"


def fail(text: str) -> None:
    sys.exit(f"{Path(sys.argv[0]).name}: {text}")


def names() -> list[str]:
    """The patches in their order."""
    lines = (TOP / "series" / "series").read_text().splitlines()
    return [name for line in lines if (name := line.split("#")[0].strip())]


def text(name: str) -> str:
    try:
        return (TOP / "series" / name).read_text()
    except OSError as error:
        fail(f"series/series names {name}: {error.strerror}")


def overlay() -> set[str]:
    """The files that go into QEMU's tree: all that git sees there."""
    # A checkout may belong to somebody else, as in a container.
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached",
         "--others", "--exclude-standard", "--",
         "configs", "docs", "hw", "include", "tests"],
        cwd=TOP, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {path for path in listed.split("\0")
            if path and (TOP / path).is_file()}


class Stage:
    """The files that the series touches, with its first patches applied, for
    one tree.
    """

    def __init__(self, tree: str) -> None:
        self.tree = BUILD / tree
        self.names = names()
        self.paths = {path for name in self.names for pair in re.findall(
            r"^--- (?:a/)?(\S+).*\n\+\+\+ (?:b/)?(\S+)", text(name), re.M)
            for path in pair if path != "/dev/null"}
        self.folder = BUILD / f"{tree}.stage"

    def __enter__(self) -> "Stage":
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for path in self.paths:
            if (PRISTINE / path).exists():
                copy(PRISTINE / path, self.folder / path)
        return self

    def __exit__(self, *_) -> None:
        shutil.rmtree(self.folder)

    def push(self, name: str) -> None:
        """Apply the next patch; fuzz would hide that it needs a look."""
        done = subprocess.run(
            ["patch", "-p1", "--batch", "--forward", "--fuzz=0",
             "--no-backup-if-mismatch", "--reject-file=-"],
            cwd=self.folder, input=text(name), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            where = re.search(r"^patching file (\S+)\n(?:(?!patching).*\n)*?"
                              r"Hunk #\d+ FAILED (at \d+)", done.stdout, re.M)
            version = (BUILD / "source.version").read_text().strip()
            fail(f"{name} does not apply to qemu {version}: "
                 + (" ".join(where.groups()) if where
                    else done.stdout.strip().split("\n")[-1]))

    def settle(self, links: set[str]) -> int:
        """Give the tree the files of this stage and links to overlay files.

        Returns how many files it changed.
        """
        state = self.tree.with_name(self.tree.name + ".state")
        before = set(json.loads(state.read_text())) if state.exists() else set()
        after = self.paths | links
        # Half way through, the tree may hold any of both.
        state.write_text(json.dumps(sorted(before | after)))
        changed = sum(self.place(self.tree / path, path, path in links)
                      for path in sorted(before | after))
        if before != after:
            # QEMU's meson.build looks which files are there.
            os.utime(self.tree / "meson.build")
        state.write_text(json.dumps(sorted(after)))
        return changed

    def place(self, there: Path, path: str, link: bool) -> bool:
        if link:
            if path in self.paths or (PRISTINE / path).exists():
                fail(f"{path} is a file of QEMU's; its changes belong "
                     "in the series")
            target = os.path.relpath(TOP / path, there.parent)
            if there.is_symlink() and os.readlink(there) == target:
                return False
            there.unlink(missing_ok=True)
            there.parent.mkdir(parents=True, exist_ok=True)
            there.symlink_to(target)
            return True

        here = (self.folder if path in self.paths else PRISTINE) / path
        if not here.exists():
            gone = there.is_symlink() or there.exists()
            there.unlink(missing_ok=True)
            return gone
        if (not there.is_symlink() and there.exists()
                and there.read_bytes() == here.read_bytes()):
            return False
        there.unlink(missing_ok=True)
        copy(here, there)
        return True


def copy(here: Path, there: Path) -> None:
    """Copy content and mode; the new time makes ninja look."""
    there.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(here, there)
    shutil.copymode(here, there)
