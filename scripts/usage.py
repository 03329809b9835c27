# SPDX-License-Identifier: GPL-2.0-or-later
"""The replies to --help, to Ctrl-C, and to a user who lacks permissions."""

import sys
from pathlib import Path


def reason(error: Exception) -> str:
    """Return what went wrong and, if permissions are missing, what helps."""
    if not isinstance(error, PermissionError) or not error.filename:
        return str(error)
    return (f"{error.filename}: {error.strerror}; if it was made with sudo, use "
            "sudo again, or chown")


def explain(kind: type[BaseException], error: BaseException, trace) -> None:
    """Print one line instead of a traceback, or nothing after Ctrl-C."""
    if isinstance(error, PermissionError):
        print(f"{Path(sys.argv[0]).name}: {reason(error)}", file=sys.stderr)
    elif not isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


def answer_help(text: str) -> None:
    """If the first argument is --help or -h, print the text and exit.

    Scripts call this with their docstring before they do anything else.
    """
    sys.excepthook = explain
    if sys.argv[1:2] in (["--help"], ["-h"]):
        print(text.strip())
        sys.exit()
