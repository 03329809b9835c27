# SPDX-License-Identifier: GPL-2.0-or-later
"""The series, the overlay, and QEMU's source trees that use both.

build/BASE/pristine holds the content of the source package.  Patches are applied
to copies in a separate folder, the stage.  Only the files that differ are then
copied to the tree, so that a build compiles only what a change affects.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from base import TOP, Base


def fail(text: str) -> None:
    sys.exit(f"{Path(sys.argv[0]).name}: {text}")


def entries(path: Path) -> list[str]:
    """Return the lines of a list without comments."""
    return [name for line in path.read_text().splitlines()
            if (name := line.split("#")[0].strip())]


def names(base: Base) -> list[str]:
    """Return the patches in order, as paths below series/."""
    return entries(base.series)


def text(name: str) -> str:
    try:
        return (TOP / "series" / name).read_text()
    except OSError as error:
        fail(f"the series has no {name}: {error.strerror}")


def removed(base: Base) -> set[str]:
    """Return QEMU's files that are removed from all trees without a patch."""
    path = base.series.with_name("removed")
    files = set()
    for name in entries(path) if path.exists() else []:
        found = base.pristine / name
        inside = found.rglob("*") if found.is_dir() else [found]
        files |= {str(file.relative_to(base.pristine)) for file in inside
                  if file.is_file()}
    return files


def listed(*folders: str) -> list[str]:
    """Return the files there that git tracks, or would track if added."""
    # The checkout may belong to another user, for example in a container.
    found = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached",
         "--others", "--exclude-standard", "--", *folders],
        cwd=TOP, capture_output=True, text=True)
    if found.returncode:
        fail(f"{TOP} has to be a git clone ({found.stderr.strip()})")
    return [path for path in found.stdout.split("\0")
            if path and (TOP / path).is_file()]


def overlay(base: Base) -> dict[str, str]:
    """Return the files for QEMU's tree: path in the tree to path here."""
    files = {path: path
             for path in listed("configs", "docs", "hw", "include", "qapi",
                                "tests")}
    own = f"base/{base.name}/"
    for path in listed(own):
        there = path.removeprefix(own)
        if there in files:
            fail(f"{path} is also a file of every base")
        # Files at the top of base/NAME describe the base.
        if "/" in there:
            files[there] = path
    return files


def touched(name: str) -> set[str]:
    """Return the files that a patch changes, adds or deletes."""
    pairs = re.findall(r"^--- (?:a/)?(\S+).*\n\+\+\+ (?:b/)?(\S+)",
                       text(name), re.M)
    return {path for pair in pairs for path in pair if path != "/dev/null"}


class Stage:
    """The files that the series touches, for one tree, with the patches
    applied that were pushed so far.
    """

    def __init__(self, base: Base, tree: str) -> None:
        self.base = base
        self.tree = base.build / tree
        self.names = names(base)
        self.paths = set().union(*map(touched, self.names))
        self.removed = removed(base)
        self.folder = base.build / f"{tree}.stage"

    def __enter__(self) -> "Stage":
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for path in self.paths - self.removed:
            if (self.base.pristine / path).exists():
                copy(self.base.pristine / path, self.folder / path)
        return self

    def __exit__(self, *_) -> None:
        shutil.rmtree(self.folder)

    def push(self, name: str) -> None:
        """Apply the next patch, without fuzz, so that it fails if the context
        changed."""
        done = subprocess.run(
            ["patch", "-p1", "--batch", "--forward", "--fuzz=0",
             "--no-backup-if-mismatch", "--reject-file=-"],
            cwd=self.folder, input=text(name), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            where = re.search(r"^patching file (\S+)\n(?:(?!patching).*\n)*?"
                              r"Hunk #\d+ FAILED (at \d+)", done.stdout, re.M)
            fail(f"{name} does not apply to qemu {self.base.version()}: "
                 + (" ".join(where.groups()) if where
                    else done.stdout.strip().split("\n")[-1]))

    def settle(self, links: dict[str, str]) -> set[str]:
        """Copy the files of this stage to the tree and add links to overlay
        files.

        Returns the files that it changed.
        """
        state = self.tree.with_name(self.tree.name + ".state")
        before = set(json.loads(state.read_text())) if state.exists() else set()
        after = self.paths | self.removed | links.keys()
        # If this is interrupted, the tree may hold files of either list.
        state.write_text(json.dumps(sorted(before | after)))
        changed = {path for path in sorted(before | after)
                   if self.place(self.tree / path, path, links.get(path))}
        if before != after:
            # QEMU's meson.build checks which files exist.
            os.utime(self.tree / "meson.build")
        state.write_text(json.dumps(sorted(after)))
        return changed

    def place(self, there: Path, path: str, link: str | None) -> bool:
        here = self.base.pristine / path
        if path in self.paths | self.removed:
            here = self.folder / path
        if link:
            if here.exists():
                fail(f"{path} is a file of QEMU's; its changes belong "
                     "in the series")
            target = os.path.relpath(TOP / link, there.parent)
            if there.is_symlink() and os.readlink(there) == target:
                return False
            there.unlink(missing_ok=True)
            there.parent.mkdir(parents=True, exist_ok=True)
            there.symlink_to(target)
            return True

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
    """Copy content and mode, with a new time so that ninja notices."""
    there.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(here, there)
    shutil.copymode(here, there)
