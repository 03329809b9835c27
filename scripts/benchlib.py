# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks share: paths, timeouts and failures."""

import os
from pathlib import Path
import platform
import re
import shlex
import subprocess

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / 'tests/bench'

REPLY_SECONDS = 60      # for one reply
STEP_SECONDS = 300      # for a whole round

# The end of the descriptions that --help prints.
EXIT_STATUS = ('Prints the results. The exit status is 0 if every target is met, '
               '1 if one is missed, 2 if it could not measure.')

CC = ['gcc', '-std=gnu11', '-O2', '-g', '-Wall']

# A process that is started with this is killed when its parent exits.
TIED = ['setpriv', '--pdeathsig', 'KILL']


class Failed(Exception):
    """Nothing can be measured; the text is the reason and what to try."""


def run(*command):
    done = subprocess.run([str(c) for c in command], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise Failed(f'{shlex.join(done.args)}\n{done.stdout}')


def source_of(build):
    try:
        text = (build / 'config-host.mak').read_text()
        return Path(re.search(r'^SRC_PATH=(.*)$', text, re.M)[1])
    except (OSError, TypeError):
        raise Failed(f'{build}: QEMU is not built there; run make') from None


def machine():
    model = re.search(r'^model name\s*:\s*(.*)$',
                      Path('/proc/cpuinfo').read_text(), re.M)
    return (f'{len(os.sched_getaffinity(0))} cores, '
            f'{model[1] if model else platform.machine()}, '
            f'Linux {re.match("[0-9.]*", platform.release())[0]}')


def facts():
    print(f'{machine()}, load {os.getloadavg()[0]:.2f}')


def give_up(*_):
    raise Failed(f'a measurement took more than {STEP_SECONDS} s')
