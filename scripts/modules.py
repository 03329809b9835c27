# SPDX-License-Identifier: GPL-2.0-or-later
"""The modules of the overlay: what `make branch' commits, and in which order.

series/modules lists them.  A few files describe all modules, for example
hw/vfio/user/meson.build.  They grow from one module to the next: a piece of such a
file comes with the file that it is about.
"""

import fnmatch
import os
import re
import textwrap
from dataclasses import dataclass

from base import TOP
from series import fail

LIST = TOP / "series/modules"
USER = "hw/vfio/user/"
QTEST = "tests/qtest/vfio-user-"

LINE = r"(?<=\n)"
PARAGRAPH = r"(?<=\n\n)"
# path -> where it is cut into pieces, and which pieces wait for which files.
GROWING = {
    USER + "meson.build": (LINE, {
        r"'([\w-]+\.c)'": USER + "{}"}),
    USER + "trace-events": (PARAGRAPH, {
        r"([\w-]+\.c)(?=, |$)": USER + "{}"}),
    USER + "pci-stub.c": (PARAGRAPH, {
        r"qmp_x_vfio_user_(?:switch|reconnect)\(": USER + "pci-commands.c"}),
    "qapi/vfio-user.json": (r"(?=^##\n# @)", {
        r"^# @(?:VfioUser(?!Switch)\w+|x-query-vfio-user):":
            USER + "pci-query.c",
        r"^# @VFIO_USER_DISCONNECTED:": USER + "pci-connection.c",
        r"^# @VFIO_USER_RECONNECTED:": USER + "pci-reconnect.c",
        r"^# @(?:VfioUserSwitchInfo|x-vfio-user-(?:switch|reconnect)"
        r"|VFIO_USER_SWITCHED):": USER + "pci-commands.c"}),
    "tests/vfio-user/meson.build": (PARAGRAPH, {
        r"'(vfio-kernel-shim)'": "tests/qtest/{}.c",
        r"'(vfio-\S+)': vfio_": "tests/qtest/{}.c"}),
    QTEST + "test.c": (LINE, {
        r"^    vfio_user_add_(\w+)_tests\(\);": QTEST + "{}-tests.c"}),
}
# In meson.build of the tests, lists of names are cut, too.
NAMES = re.compile(r"(?<=foreach name : \[)('[^]]*)(?=\]$)", re.M)
PATHS = {"units": "tests/unit/test-vfio-user-{}.c", "": QTEST + "{}.c"}


@dataclass
class Module:
    """The content of one commit; with a patch, that of the patch as well."""
    patch: str
    message: str
    patterns: list[str]

    def __str__(self) -> str:
        return self.patch or self.message.split("\n")[0]

    def has(self, path: str) -> bool:
        return any(fnmatch.fnmatchcase(path, pattern)
                   for pattern in self.patterns)


def fields(text: str) -> dict[str, str]:
    """Return the fields of a paragraph, which may have several lines."""
    found = re.findall(r"^([\w-]+): *(.*(?:\n .*)*)", text, re.M)
    return {name: re.sub(r"^ ", "", value, flags=re.M)
            for name, value in found}


def message(description: str) -> str:
    """Return a Description as the message of a commit."""
    subject, _, body = description.partition("\n")
    body = re.sub(r"^\.$", "", body, flags=re.M).strip("\n")
    return f"{subject}\n\n{body}\n" if body else f"{subject}\n"


def modules() -> list[Module]:
    text = re.sub(r"^#.*\n", "", LIST.read_text(), flags=re.M)
    return [Module(found.get("Patch", ""), message(found["Description"]),
                   found["Files"].split())
            for found in map(fields, re.split(r"\n\n+", text.strip("\n")))]


def assign(overlay: dict[str, str]) -> list[tuple[Module, list[str]]]:
    """Return the modules with their files, as paths in QEMU's tree."""
    found = [(module, []) for module in modules()]
    for path in sorted(overlay):
        owners = [paths for module, paths in found if module.has(path)]
        if len(owners) != 1:
            fail(f"{path} belongs to {len(owners) or 'no'} modules of "
                 f"{LIST.relative_to(TOP)}, it must be one")
        owners[0].append(path)
    return found


def early(overlay: dict[str, str], order: list[list[str]]) -> list[str]:
    """Return the files that include a file of a later module."""
    when = {path: number for number, paths in enumerate(order)
            for path in paths}
    found = []
    for path, number in when.items():
        if not path.endswith((".c", ".h")):
            continue
        text = (TOP / overlay[path]).read_text()
        for header in re.findall(r'^#include "(.*)"', text, re.M):
            near = os.path.normpath(f"{os.path.dirname(path)}/{header}")
            for file in (near, header, f"include/{header}"):
                if when.get(file, 0) > number:
                    found.append(f"{path} includes {file} of a later module")
    return found


def grown(path: str, text: str, there: set[str]) -> str:
    """Return what a file of GROWING has as long as only some files are there."""
    where, waits = GROWING[path]
    kept = []
    for piece in re.split(where, text, flags=re.M):
        if all(is_there(piece, pattern, file, there)
               for pattern, file in waits.items()):
            kept.append(piece)
    text = "".join(kept)
    if path == "tests/vfio-user/meson.build":
        text = re.sub(PARAGRAPH, "\0", text)
        text = "".join(with_names(piece, there)
                       for piece in text.split("\0"))
    return text.rstrip("\n") + "\n"


def is_there(piece: str, pattern: str, file: str, there: set[str]) -> bool:
    """Return whether one of the files is there that a piece names, if any."""
    named = {file.format(*(name.replace("_", "-") for name in match.groups()))
             for match in re.finditer(pattern, piece, re.M)}
    return not named or bool(named & there)


def with_names(piece: str, there: set[str]) -> str:
    """Cut the lists of names in a piece to those whose file is there."""
    form = PATHS["units" if "vfio_user_units" in piece else ""]

    def cut(match: re.Match) -> str:
        names = re.findall(r"'([\w-]+)'", match[1])
        left = [name for name in names if form.format(name) in there]
        if left == names:
            return match[1]
        indent = match.start() - piece.rindex("\n", 0, match.start()) - 1
        return ("\n" + " " * indent).join(
            textwrap.wrap(", ".join(f"'{name}'" for name in left),
                          79 - indent, break_on_hyphens=False))
    return NAMES.sub(cut, piece)
