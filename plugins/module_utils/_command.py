# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Commands of the host: one runs to its end, or for so long, and is a result however it ended."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import typing as t


@dataclasses.dataclass(frozen=True)
class Completed:
    code: int
    output: str


def run(
    argv: t.Sequence[str], timeout: float = 60, env: t.Mapping[str, str] | None = None, stdin: str = ""
) -> Completed:
    """Run a command; a missing program and a time-out are results like any other."""
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            start_new_session=True,
        )
    except FileNotFoundError:
        return Completed(127, f"{argv[0]}: not found")
    with process:
        try:
            output, _none = process.communicate(stdin.encode(), max(timeout, 0.1))
        except subprocess.TimeoutExpired as error:
            text = (error.output or b"").decode("utf-8", "replace").strip()
            return Completed(124, f"{text}\n{' '.join(argv)}: no end after {timeout:.0f} s".strip())
        finally:
            if process.poll() is None:
                # With everything that it started: a script's children would go on without it.
                os.killpg(process.pid, signal.SIGKILL)
    return Completed(process.returncode, output.decode("utf-8", "replace").strip())
