# SPDX-License-Identifier: GPL-2.0-or-later
"""The reply to --help, for scripts without options of their own."""

import sys


def answer_help(text: str) -> None:
    """If the first argument is --help or -h, print the text and exit.

    Scripts call this with their docstring before they do anything else.
    """
    if sys.argv[1:2] in (["--help"], ["-h"]):
        print(text.strip())
        sys.exit()
