# SPDX-License-Identifier: GPL-2.0-or-later
"""Access to Debian's archive through this machine's apt and its mirrors.

It keeps separate sources, lists and state, so that any suite can be used and
root is not needed.  It installs nothing.
"""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
A_DAY = 24 * 60 * 60


class Failure(Exception):
    """A command failed; the text is the reason."""


def say(text: str) -> None:
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)


def fail(text: str, status: int = 1) -> NoReturn:
    say(text)
    sys.exit(status)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Return what a command prints, or raise a Failure with its first error."""
    done = subprocess.run(command, cwd=cwd, text=True, capture_output=True,
                          stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        complaints = [line for line in done.stderr.splitlines()
                      if line.strip() and not line.startswith("W: ")]
        raise Failure(complaints[0] if complaints else
                      f"{command[0]} ended with {done.returncode}")
    return done.stdout


def mirrors() -> dict[str, list[str]]:
    """This machine's mirrors of Debian: "main", and "security" updates."""
    release = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line)
    codename = release.get("VERSION_CODENAME", "stable")
    suites = f"{codename}|oldstable|stable|testing|unstable|sid"
    # Unlike `apt-get indextargets`, this works before the first update.
    found = re.findall(
        rf"^'(\S+)/dists/(?:{suites})(-updates|-security|)/InRelease'",
        run("apt-get", "update", "--print-uris"), re.MULTILINE)
    uris: dict[str, list[str]] = {"main": [], "security": []}
    for uri, pocket in found:
        kind = "security" if pocket == "-security" else "main"
        if uri not in uris[kind]:
            uris[kind].append(uri)
    if not uris["main"]:
        fail("apt-get knows no Debian archive; see /etc/apt/sources.list")
    return uris


def recent(stamp: Path) -> bool:
    """Whether the stamp was touched within the last day."""
    return stamp.exists() and time.time() - stamp.stat().st_mtime < A_DAY


class Archive:
    """Some suites of the archive: their packages (kind "deb") or their source
    packages (kind "deb-src").  Several objects can share one folder.
    """

    def __init__(self, folder: Path, kind: str, suites: list[str],
                 options: tuple[str, ...] = ()) -> None:
        self.suites = suites
        self.mirrors = mirrors()
        self.trouble = ""
        name = f"{kind}-{'-'.join(suites)}"
        sources = folder / f"{name}.list"
        self.stamp = folder / f"{name}.updated"
        for part in ("lists/partial", "archives/partial", "none"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        self.options: list[str] = ["-qq"]
        for option in (
            "APT::Sandbox::User=",
            "APT::Update::Error-Mode=any",
            # Do not delete the lists of the other objects.
            "APT::Get::List-Cleanup=0",
            "Acquire::Languages=none",
            "Acquire::Retries=2",
            "Acquire::http::Timeout=20",
            f"Dir::Etc::SourceList={sources}",
            f"Dir::Etc::SourceParts={folder}/none",
            f"Dir::State={folder}",
            f"Dir::State::status={folder}/status",
            f"Dir::Cache={folder}",
            *options,
        ):
            self.options += ["-o", option]
        signed = f"[signed-by={KEYRING}] " if Path(KEYRING).exists() else ""
        wanted = "".join(
            f"{kind} {signed}{uri} {suite} main\n" for suite in suites
            for uri in self.mirrors["security" if suite.endswith("-security")
                                    else "main"])
        if not sources.exists() or sources.read_text() != wanted:
            sources.write_text(wanted)
            self.stamp.unlink(missing_ok=True)

    def expire(self) -> None:
        """Make the next update() refresh the lists."""
        self.stamp.unlink(missing_ok=True)

    def update(self) -> None:
        """Refresh the lists once a day; if that fails, use the old ones."""
        if recent(self.stamp):
            return
        say(f"refreshing the lists of {' '.join(self.suites)}")
        try:
            self.get("update")
        except Failure as failure:
            self.trouble = str(failure)
            say(f"using the old lists: {failure}")
        else:
            self.stamp.touch()

    def get(self, *command: str, cwd: Path | None = None) -> str:
        return run("apt-get", *self.options, *command, cwd=cwd)

    def cache(self, *command: str) -> str:
        return run("apt-cache", *self.options, *command)
