# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run by the role, as root: the static files, every instance prepared by its own user, new code taken up.

Standard input: JSON, {"instances": [{user, part, database}], "reload": whether the code is new}.
Says what it changed; standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECRETS = Path("/etc/weblab/shop")
BASE_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": "/nonexistent"}


def _start(command: str, *arguments: str, **options: t.Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / "manage.py"), command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.PIPE,
        text=True,
        cwd="/",
        **options,
    )


def _prepare(instance: dict[str, str]) -> subprocess.Popen[str]:
    user = instance["user"]
    environment = {**BASE_ENVIRONMENT, "SHOP_PART": instance["part"], "PYTHONDONTWRITEBYTECODE": "1"}
    if instance.get("database"):
        environment["SHOP_DATABASE"] = instance["database"]
    process = _start("prepare", env=environment, user=user, group=user, extra_groups=[])
    assert process.stdin
    process.stdin.write((SECRETS / f"{user}.admin").read_text("utf-8"))
    process.stdin.flush()
    return process


def _reload(users: set[str]) -> None:
    """Let what runs as these users take the new code.

    uWSGI's masters are asked for a chain reload, one worker after the other; mod_wsgi's processes to end after their
    requests, for Apache to start new ones.
    """
    for fifo in Path("/run/uwsgi").glob("*/fifo"):
        if fifo.owner() in users:
            # Without a reader the master is down, and will start with the new code anyway.
            with contextlib.suppress(OSError):
                descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
                os.write(descriptor, b"c")
                os.close(descriptor)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, KeyError):
            if (process / "cmdline").read_bytes().startswith(b"(wsgi:") and process.owner() in users:
                os.kill(int(process.name), signal.SIGUSR1)


def main() -> int:
    wanted = json.load(sys.stdin)
    instances = wanted["instances"]
    os.umask(0o022)
    # All at once: most of the time goes into starting Python and Django.
    running = {"static files": _start("collectstatic", "--noinput", env=BASE_ENVIRONMENT)}
    running.update({instance["user"]: _prepare(instance) for instance in instances})
    status = 0
    for name, process in running.items():
        output = process.communicate()[0].strip()
        if process.returncode:
            print(f"{name}: manage.py ended with {process.returncode}\n{output}", file=sys.stderr)
            status = 1
        elif name == "static files":
            if not output.startswith("0 static files"):
                print("changed: static files")
        elif output:
            print("\n".join(f"{line} ({name})" for line in output.splitlines()))
    if wanted["reload"] and not status:
        _reload({instance["user"] for instance in instances})
    return status


if __name__ == "__main__":
    sys.exit(main())
