# SPDX-License-Identifier: GPL-2.0-or-later
"""The versions of QEMU that the client is built into: the folders of base/."""

from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / "build"
# The exit status of a script if the archive does not have what it needs.
UNAVAILABLE = 2
NAMES = sorted(path.parent.name for path in (TOP / "base").glob("*/source"))


class Base:
    """One version.  What is built for it is in build/NAME."""

    def __init__(self, name: str) -> None:
        if name not in NAMES:
            raise SystemExit(f"qemu {name} is not supported; supported are "
                             + " and ".join(NAMES))
        self.name = name
        self.own = TOP / "base" / name
        self.build = BUILD / name
        self.pristine = self.build / "pristine"
        self.series = TOP / "series" / name / "series"
        self.build.mkdir(parents=True, exist_ok=True)

    def lines(self, key: str) -> list[list[str]]:
        """Return the words of each line `key: ...' of base/NAME/source."""
        lines = [line.split() for line in
                 (self.own / "source").read_text().splitlines()]
        return [words[1:] for words in lines if words[:1] == [f"{key}:"]]

    def version(self) -> str:
        """Return the unpacked version or Debian revision, or ""."""
        path = self.build / "source.version"
        return path.read_text().strip() if path.exists() else ""
