# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's queues, compared with what ss says, and the file system's part of the evidence."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._endpoint import parse
from ansible_collections.weblab.stacks.plugins.module_utils._probe._facts import gather
from ansible_collections.weblab.stacks.plugins.module_utils._probe._names import Names
from ansible_collections.weblab.stacks.plugins.module_utils._probe._queues import Queues


def _queue(url: str) -> dict[str, int] | None:
    endpoint = parse(url)
    addresses = Names().addresses(endpoint)
    assert isinstance(addresses, list)
    return Queues().of(endpoint, addresses)


def _ss(options: str, needle: str) -> dict[str, int]:
    out = subprocess.run(["ss", "-Hl" + options], check=True, capture_output=True, text=True).stdout
    (line,) = [line.split() for line in out.splitlines() if needle in line]
    start = line.index("LISTEN") if "LISTEN" in line else 0
    return {"length": int(line[start + 1]), "limit": int(line[start + 2])}


needs_ss = pytest.mark.skipif(shutil.which("ss") is None, reason="the oracle is ss of iproute2")


@needs_ss
@pytest.mark.parametrize("waiting", [0, 3])
def test_the_queue_of_a_unix_socket_is_the_one_of_ss(tmp_path: Path, waiting: int) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(7)
        clients = [socket.socket(socket.AF_UNIX) for _client in range(waiting)]
        for client in clients:
            client.connect(str(path))
        assert _queue(f"http+unix://{path}") == _ss("x", str(path)) == {"length": waiting, "limit": 7}
        link = tmp_path / "other"
        link.symlink_to(tmp_path)
        assert _queue(f"http+unix://{link}/a.sock") == {"length": waiting, "limit": 7}
        for client in clients:
            client.close()


@needs_ss
@pytest.mark.parametrize(("bound", "asked"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1")])
def test_the_queue_of_a_tcp_socket_is_the_one_of_ss(bound: str, asked: str) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.socket(family) as listener:
        try:
            listener.bind((bound, 0))
        except OSError as error:
            pytest.skip(f"no {bound} here: {error}")
        listener.listen(5)
        port = listener.getsockname()[1]
        with socket.create_connection((asked, port)):
            url = f"http://[{asked}]:{port}" if ":" in asked else f"http://{asked}:{port}"
            assert _queue(url) == _ss("tn", f":{port} ") == {"length": 1, "limit": 5}


def test_a_listener_of_another_host_is_not_this_hosts(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        assert _queue(f"http://192.0.2.1:{listener.getsockname()[1]}") is None  # TEST-NET-1
    assert _queue(f"http+unix://{tmp_path}/none.sock") is None


def test_an_abstract_socket_has_a_queue_and_no_file() -> None:
    name = f"weblab-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen(2)
        assert _queue(f"unix://@{name}") == {"length": 0, "limit": 2}
        assert gather(parse(f"unix://@{name}"), None, None).socket is None


def test_the_obstacle_is_the_first_closed_directory(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to ask as somebody else")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for parent in [tmp_path, *tmp_path.parents][:-1]:
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        facts = gather(parse(f"unix://{closed}/a.sock"), PermissionError(13, "Permission denied"), None)
    finally:
        os.seteuid(0)
    assert facts.obstacle
    assert facts.obstacle == {"path": str(closed), "owner": "root", "group": "root", "mode": "0700"}
    assert facts.user == "nobody"
