# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lab/make.py starts ends with it, and says first what it has."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
#: As make.py's main(): ended from outside, it still ends what it started.
CALLER = """
import signal, sys
import make
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
make._LAST_WORDS = float(sys.argv[1])
make.call(["sh", "-c", sys.argv[2]])
"""


@pytest.mark.parametrize(
    ("patience", "script", "said"),
    [
        (60, "trap 'echo last words; exit' INT; sleep 600 & sleep 1; echo ready; wait", "last words\n"),
        (0.1, "trap 'echo not yet' INT; sleep 600 & sleep 1; echo ready; wait; wait", "not yet\n"),
    ],
    ids=["ends", "does not end"],
)
def test_the_last_words_are_heard_and_nothing_is_left(patience: float, script: str, said: str) -> None:
    argv = [sys.executable, "-c", CALLER, str(patience), script]
    with subprocess.Popen(argv, cwd=ROOT / "lab", stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        # To the end: nobody has the pipe open any more.
        assert process.stdout.read() == said
        assert process.wait() == 128 + signal.SIGTERM
