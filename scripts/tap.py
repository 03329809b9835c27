# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the test functions of a script and print the results as TAP.

scripts/check counts them; scripts/qtest-tap and scripts/pytest-tap print those of
other programs.
"""

from collections.abc import Callable


def note(text: str) -> None:
    """Print comments."""
    for line in text.splitlines():
        print(f"# {line}", flush=True)


def run_tests(names: dict, call: Callable[[Callable], None] = lambda test: test(),
              failures: tuple[type[BaseException], ...] = (AssertionError,)
              ) -> int:
    """Call each function of NAMES whose name begins with test_, through CALL.

    A test fails if it raises one of FAILURES.  Return how many have failed.
    """
    tests = [value for name, value in names.items() if name.startswith("test_")]
    print(f"1..{len(tests)}")
    failed = 0
    for number, test in enumerate(tests, 1):
        try:
            call(test)
        except failures as error:
            note(str(error) or repr(error))
            failed += 1
            print("not ", end="")
        print(f"ok {number} - {test.__doc__}", flush=True)
    return failed
