# SPDX-License-Identifier: GPL-2.0-or-later
"""The series and the overlay as commits of a git branch; see make-branch."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from base import TOP, Base
from modules import GROWING, Module, assign, early, fields, grown, message
from series import Stage, fail, overlay, text, touched

BRANCH = "vfio-user"
# The commits until they are the branch; a run that was interrupted leaves it.
NEW = "refs/make-branch/new"
NAME = "vfio-user client project"
# DEP-3 does not require an address, but git does.
ADDRESS = "<vfio-user-client@localhost>"
# Files are stored as they are, whatever QEMU's own .gitattributes say.
ATTRIBUTES = "* -text -eol -ident -filter -working-tree-encoding\n"

# What a user has configured must not show in the commits.
ENV = {name: value for name, value in os.environ.items()
       if not name.startswith("GIT_")}
ENV |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}

Content = tuple[str, bytes] | None          # mode and data


class Repository:
    """A git repository with the branch, and with the source as the tag `base'."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # It is there while commits are made and put in place.
        self.mark = folder / ".git/make-branch.running"
        if not (folder / ".git").exists():
            folder.mkdir(exist_ok=True)
            # It is there as a whole, or not at all.
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                self.git("init", "--quiet", f"--initial-branch={BRANCH}",
                         scratch)
                new = Path(scratch) / ".git"
                (new / "info/attributes").write_text(ATTRIBUTES)
                new.rename(folder / ".git")

    def output(self, *arguments, env=None, **how) -> bytes:
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *arguments], cwd=self.folder,
            env=ENV | (env or {}), stdout=subprocess.PIPE, **how)
        if done.returncode:
            fail(f"git {arguments[0]} failed in {self.folder}")
        return done.stdout

    def git(self, *arguments, **how) -> str:
        return self.output(*arguments, **how).decode().rstrip()

    def clean_up(self) -> None:
        """Remove the locks of a run that did not end."""
        if self.mark.exists():
            for lock in (self.folder / ".git").rglob("*.lock"):
                lock.unlink()

    def commit_source(self, source: Path, subject: str, date: str) -> str:
        """Commit a folder as the base; return the commit."""
        self.mark.touch()
        # The index remembers what is stored, so only the first run takes long.
        env = {"GIT_INDEX_FILE": str(self.folder / ".git/pristine.index")}
        env |= {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
                for what, value in (("NAME", NAME), ("EMAIL", ADDRESS),
                                    ("DATE", date))}
        self.git(f"--work-tree={source}", "-c", "core.compression=1",
                 # Write one pack instead of a file for each file.
                 "-c", "core.bigFileThreshold=1", "add", "--all", "--force",
                 env=env)
        tree = self.git("write-tree", env=env)
        return self.git("commit-tree", "-m", subject, tree, env=env)

    def import_commits(self, commits: list[bytes]) -> None:
        self.git("fast-import", "--quiet", "--force", input=b"".join(commits))

    def changes(self) -> set[str]:
        """Return the files that the user has changed and not committed.

        Others may differ from the last commit as well, after an interrupted run.
        """
        status = self.git("status", "--porcelain", "-z", "--no-renames",
                          "--untracked-files=no")
        changed = {entry[3:] for entry in status.split("\0") if entry}
        if changed and self.git("for-each-ref", NEW):
            changed &= set(self.git("diff", "--name-only", "-z", NEW
                                    ).split("\0"))
            changed = {path for path in changed if not self.is_begun(path)}
        return changed

    def is_begun(self, path: str) -> bool:
        """Whether a file is the beginning of the new one, or not there."""
        file = self.folder / path
        have = file.read_bytes() if file.is_file() else b""
        return bool(self.git("ls-tree", NEW, path)) and self.output(
            "show", f"{NEW}:{path}").startswith(have)

    def put_in_place(self) -> None:
        """Make the new commits the branch; bring the work tree up to date, if the
        branch is checked out."""
        base = self.git("rev-list", "--max-parents=0", NEW)
        if self.git("branch", "--show-current") == BRANCH:
            self.git("reset", "--quiet", "--hard", NEW)
        else:
            self.git("update-ref", f"refs/heads/{BRANCH}", NEW)
        self.git("update-ref", "refs/tags/base", base)
        self.git("update-ref", "-d", NEW)
        self.mark.unlink()


class Tree:
    """The files that the commits change; writes commits for git fast-import."""

    def __init__(self, base: Base, stage: Stage, onto: str) -> None:
        self.base = base
        self.stage = stage
        self.files: dict[str, Content] = {}
        self.onto = onto
        self.commits: list[bytes] = []

    def was(self, path: str) -> Content:
        return self.files.get(path, read(self.base.pristine / path))

    def patched(self, paths: set[str]) -> dict[str, Content]:
        return {path: read(self.stage.folder / path) for path in paths}

    def commit(self, author: str, date: str, newest: str, message: str,
               files: dict[str, Content]) -> None:
        changed = {path: content for path, content in sorted(files.items())
                   if content != self.was(path)}
        if not changed:
            fail(f"the commit `{message.splitlines()[0]}' changes nothing")
        lines = [f"commit {NEW}".encode(),
                 f"author {author} {date}".encode(),
                 f"committer {NAME} {ADDRESS} {newest}".encode(),
                 data(message.encode())]
        if self.onto:
            lines.append(f"from {self.onto}".encode())
        self.onto = ""          # that is: the commit before
        for path, content in changed.items():
            if content is None:
                lines.append(f"D {path}".encode())
            else:
                lines += [f"M {content[0]} inline {path}".encode(),
                          data(content[1])]
        self.commits.append(b"\n".join(lines) + b"\n")
        self.files |= changed


def data(content: bytes) -> bytes:
    return b"data %d\n%s" % (len(content), content)


def read(path) -> Content:
    if not path.is_file():
        return None
    mode = "100755" if os.access(path, os.X_OK) else "100644"
    return mode, path.read_bytes()


def seconds(date: str) -> str:
    """Return the beginning of a day as git fast-import expects it."""
    day = datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=timezone.utc)
    return f"{int(day.timestamp())} +0000"


def header(name: str) -> dict[str, str]:
    return fields(text(name).split("\n---\n")[0])


def described(found: dict[str, str]) -> str:
    """Return the message of a patch: what its header says, but who and when."""
    rest = [f"{name}: " + value.replace("\n", "\n ")
            for name, value in found.items()
            if name not in ("Description", "Author", "Last-Update")]
    return message(found["Description"]) + "\n" + "\n".join(rest) + "\n"


def author(found: dict[str, str]) -> str:
    who = found["Author"]
    return who if "<" in who else f"{who} {ADDRESS}"


class Overlay:
    """The files of the modules that were committed so far."""

    def __init__(self, base: Base) -> None:
        self.files = overlay(base)
        self.modules = assign(self.files)
        late = early(self.files, [paths for _, paths in self.modules])
        if late:
            fail(late[0])
        self.there: set[str] = set()

    def add(self, paths: list[str]) -> dict[str, Content]:
        """Return the files of a module, and what grows with them."""
        self.there.update(paths)
        found = {path: read(TOP / self.files[path]) for path in paths}
        for path in GROWING.keys() & self.there:
            mode, content = read(TOP / self.files[path])
            found[path] = mode, grown(path, content.decode(),
                                      self.there).encode()
        return found

    def with_patch(self, name: str) -> dict[str, Content]:
        """Return the files of the modules that come with a patch."""
        found: dict[str, Content] = {}
        for module, paths in self.modules:
            if module.patch == name.split("/")[-1]:
                found |= self.add(paths)
        return found

    def rest(self) -> Iterator[tuple[Module, dict[str, Content]]]:
        """Return the modules that are commits of their own, with their files."""
        for module, paths in self.modules:
            if not module.patch:
                yield module, self.add(paths)


def complain(tree: Tree) -> None:
    """Fail if what the commits changed is not what build/BASE/source has."""
    source = tree.base.build / "source"
    paths = tree.files.keys() | tree.stage.paths | tree.stage.removed
    wrong = sorted(path for path in paths
                   if tree.was(path) != read(source / path))
    if wrong:
        fail(f"{source.relative_to(TOP)} and the branch differ in {wrong[0]} "
             f"and {len(wrong) - 1} more files; run scripts/prepare-source "
             f"{tree.base.name}")


def make(base: Base, repository: Repository,
         prune: Callable[[Stage], Path] = lambda stage: stage.base.pristine
         ) -> tuple[int, int]:
    """Make the branch; return the number of patches and of modules.

    prune() returns the folder with the source that is committed as the base.
    """
    files = Overlay(base)
    with Stage(base, "branch") as stage:
        headers = {name: header(name) for name in stage.names}
        newest = seconds(max(found["Last-Update"]
                             for found in headers.values()))
        tree = Tree(base, stage, repository.commit_source(
            prune(stage), f"qemu {base.version()}, as it was unpacked",
            newest))
        for number, (name, found) in enumerate(headers.items()):
            stage.push(name)
            changed = tree.patched(touched(name))
            if number == 0:
                # What the overlay replaces stays until then.
                changed |= dict.fromkeys(stage.removed - files.files.keys())
            tree.commit(author(found), seconds(found["Last-Update"]), newest,
                        described(found), changed | files.with_patch(name))
        for module, changed in files.rest():
            tree.commit(f"{NAME} {ADDRESS}", newest, newest, module.message,
                        changed)
        complain(tree)
    repository.import_commits(tree.commits)
    return len(headers), len(tree.commits) - len(headers)
