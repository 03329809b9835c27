# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks share: paths, timeouts, failures and results."""

import json
import os
from pathlib import Path
import platform
import re
import shlex
import subprocess
import time

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


class Results:
    """The figures of one benchmark, for scripts/bench-page.

    They are written to NAME.json in the folder --out.  An older file is removed
    first, so that a benchmark that fails leaves no figures of an earlier run.
    """

    def __init__(self, name, options, qemu=None):
        self.path = options.out / f'{name}.json'
        self.path.unlink(missing_ok=True)
        self.qemu = qemu or options.build / 'qemu-system-x86_64'
        self.found = {'bench': name, 'date': time.strftime('%F'),
                      'machine': machine(), 'rounds': options.rounds,
                      'figures': []}

    def add(self, what, value, most=None, least=None, unit=''):
        """Add a figure, a ratio if it has no unit, with its target if any."""
        self.found['figures'].append({
            'what': what, 'value': value, 'most': most, 'least': least,
            'unit': unit})

    def write(self):
        version = subprocess.run([self.qemu, '--version'], check=True, text=True,
                                 stdout=subprocess.PIPE).stdout.split('\n')[0]
        self.found |= {'qemu': version, 'load': os.getloadavg()[0]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.found, indent=1) + '\n')


def give_up(*_):
    raise Failed(f'a measurement took more than {STEP_SECONDS} s')
