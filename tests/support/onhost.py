# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Questions to a lab host, asked with programs that this project did not write: curl, ss, ps, systemctl."""

from __future__ import annotations

import dataclasses
import json
import shlex
import typing as t


@dataclasses.dataclass(frozen=True)
class Answer:
    """What curl saw."""

    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> t.Any:
        return json.loads(self.body)


def run(host: t.Any, command: str) -> str:
    """Run a shell command that must succeed."""
    done = host.run(command)
    assert done.rc == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def get(host: t.Any, url: str, *options: str) -> Answer:
    """Ask for ``url`` on the host itself."""
    words = ["curl", "--silent", "--show-error", "--include", "--max-time", "20", *options, url]
    text = run(host, shlex.join(words)).replace("\r\n", "\n")
    head, _blank, body = text.partition("\n\n")
    lines = head.splitlines()
    headers = {
        name.strip().lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines[1:])
    }
    return Answer(int(lines[0].split()[1]), headers, body)


def main_pid(host: t.Any, unit: str) -> int:
    return int(run(host, f"systemctl show --property MainPID --value {unit}"))


def children(host: t.Any, pid: int) -> list[str]:
    """Users of the child processes of ``pid``."""
    return run(host, f"ps --no-headers --ppid {pid} -o user:32").split()


def tcp_listeners(host: t.Any) -> set[str]:
    """Local addresses that something listens on, such as ``0.0.0.0:8081``."""
    return {line.split()[3] for line in run(host, "ss --no-header --tcp --listening --numeric").splitlines()}


def unix_listeners(host: t.Any) -> set[str]:
    return {line.split()[4] for line in run(host, "ss --no-header --unix --listening").splitlines()}


def socket_access(host: t.Any, path: str) -> str:
    """Type, owner, group and mode of a path, such as ``socket root www-data 660``."""
    return run(host, f"stat --format '%F %U %G %a' {shlex.quote(path)}").strip()


def may_connect(host: t.Any, user: str, path: str) -> bool:
    """Whether the kernel lets ``user`` connect to the Unix socket."""
    script = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    return bool(host.run(f"runuser -u {user} -- python3 -c {shlex.quote(script)} {shlex.quote(path)}").rc == 0)
