# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual, as far as a machine can read it.

Which blocks of commands it has, in which section, which definitions and which
quoted literals.  Nothing here runs anything; scripts/check-manual does.

A block of commands is `code-block:: console' with `$ ' before each command,
`code-block:: QMP' with `-> ' and `<- ', or `code-block:: xml'; `code-block::
text' has what a command prints.  A literal block after `::' has options of QEMU
alone.  A comment `.. check-manual: WORDS'
says something about the next block.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

KINDS = ("console", "QMP", "xml", "text", "options")


class ManualError(Exception):
    """The page has a form that is not known here."""


class Block(NamedTuple):
    section: str
    line: int
    kind: str
    text: str
    hint: str


class Message(NamedTuple):
    """A message of a QMP block: sent, or else received."""
    sent: bool
    value: dict[str, Any]


class Definition(NamedTuple):
    """An entry of a list of properties, with no markup in the text."""
    name: str
    type: str
    default: str
    text: str


def is_underline(lines: list[str], i: int) -> bool:
    return (i > 0 and re.fullmatch(r"([=\-~])\1{2,}", lines[i]) is not None
            and bool(lines[i - 1].strip()) and lines[i - 1][0] != " "
            and len(lines[i]) >= len(lines[i - 1]))


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


class Manual:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = path.read_text().splitlines()
        self.sections: list[tuple[str, int, int]] = []
        heads = [i for i in range(len(self.lines))
                 if is_underline(self.lines, i)]
        for i, end in zip(heads, [*heads[1:], len(self.lines) + 1]):
            self.sections.append((self.lines[i - 1], i + 1, end - 1))

    def fail(self, line: int, text: str) -> None:
        raise ManualError(f"{self.path.name}:{line + 1}: {text}")

    def body(self, section: str) -> list[str]:
        for name, start, end in self.sections:
            if name == section:
                return self.lines[start:end]
        raise ManualError(f"{self.path.name} has no section {section!r}")

    def block(self, start: int, outer: int) -> tuple[int, str]:
        """The end and the text of the block that is indented beyond outer."""
        end = start
        while end < len(self.lines) and (
                not self.lines[end].strip() or indent(self.lines[end]) > outer):
            end += 1
        found = self.lines[start:end]
        margin = min(indent(line) for line in found if line.strip())
        return end, "\n".join(line[margin:] for line in found).strip("\n")

    def blocks(self) -> list[Block]:
        found = []
        for section, i, end in self.sections:
            hint = ""
            while i < end:
                line = self.lines[i]
                note = re.match(r"\s*\.\. check-manual: (.*)$", line)
                code = re.match(r"(\s*)\.\. (code-block|code|parsed-literal)"
                                r"::\s*(.*)$", line)
                literal = re.match(r"(?!\s*\.\. ).*::$", line)
                i += 1
                if note:
                    hint = note[1]
                elif code or literal:
                    kind = code[3] if code else "options"
                    if kind not in KINDS:
                        self.fail(i - 1, f"a block of unknown kind {kind!r}")
                    at = i
                    i, text = self.block(i, indent(line))
                    found.append(Block(section, at, kind, text, hint))
                    hint = ""
            if hint:
                self.fail(end - 1, f"no block after check-manual: {hint}")
        return found

    def definitions(self, section: str) -> list[Definition]:
        found = []
        body = self.body(section)
        for i, line in enumerate(body):
            head = re.fullmatch(r"``([\w-]+)(?:=(\w+))?``"
                                r"(?: \(default: ``(.*)``\))?", line)
            if head:
                rest = body[i + 1:]
                size = next((j for j, more in enumerate(rest)
                             if more and more[0] != " "), len(rest))
                text = " ".join(" ".join(rest[:size]).split())
                found.append(Definition(head[1], head[2] or "", head[3] or "",
                                        text.replace("``", "")))
        return found

    def first_cells(self, section: str) -> Iterator[str]:
        """The literals in the first cells of a section's tables."""
        text = "\n".join(self.body(section))
        for cell in re.findall(r"^   \* - (.*?)^     - ", text, re.M | re.S):
            yield from literals(cell)

    def literals(self) -> set[str]:
        return set(literals("\n".join(self.lines)))


def literals(text: str) -> list[str]:
    return [" ".join(found.split())
            for found in re.findall(r"``(.+?)``", text, re.S)]


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a console block."""
    found: list[list[str]] = []
    command = ""
    for line in block.text.splitlines():
        if not command:
            if not line.strip():
                continue
            if not line.startswith("$ "):
                raise ManualError(f"line {block.line}: no prompt: {line}")
            line = line[2:]
        command += line
        if command.endswith("\\"):
            command = command[:-1]
            continue
        try:
            words = shlex.split(command)
        except ValueError:          # a quotation goes on
            continue
        found.append(words[:-1] if words[-1] == "&" else words)
        command = ""
    if command:
        raise ManualError(f"line {block.line}: unfinished: {command}")
    return found


def messages(block: Block) -> list[Message]:
    """The messages of a QMP block; `, ...' says that there is more."""
    parts = re.split(r"^(-> |<- )", block.text, flags=re.M)
    if parts[0].strip():
        raise ManualError(f"line {block.line}: no `-> ': {parts[0]}")
    found = []
    for arrow, text in zip(parts[1::2], parts[2::2]):
        try:
            value = json.loads(re.sub(r",\s*\.\.\.", "", text))
        except ValueError as error:
            raise ManualError(f"line {block.line}: {error}: {text}") from None
        found.append(Message(arrow == "-> ", value))
    return found
