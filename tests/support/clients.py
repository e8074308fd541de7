# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client of this directory (load.py, steady.py), which runs on a test host while the test does something else."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shlex
import subprocess
import typing as t

if t.TYPE_CHECKING:
    from conftest import Host

_HERE = pathlib.Path(__file__).parent


@contextlib.contextmanager
def running(host: Host, client: str, port: int, *options: str) -> t.Iterator[dict[str, t.Any]]:
    """Let a client ask the host's own port; what it saw is in the mapping afterwards."""
    program, stop = f"/root/{client}.py", f"/run/{client}.stop"
    host.run("tee", program, stdin=(_HERE / f"{client}.py").read_text(encoding="utf-8"))
    host.shell(f"rm -f {stop}")
    # Into a file: what a program says last, `docker exec` may lose on a busy machine.
    output = f"/root/{client}-{port}.json"
    words = ["python3", program, "--port", str(port), "--stop", stop, *options]
    argv = ["docker", "exec", host.name, "sh", "-c", f"exec {shlex.join(words)} > {output}"]
    seen: dict[str, t.Any] = {}
    with subprocess.Popen(argv) as process:
        try:
            yield seen
        finally:
            host.shell(f"touch {stop}")
            process.wait()
    seen.update(json.loads(host.run("cat", output).stdout))
