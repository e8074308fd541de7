# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who holds an address: the kernel is the oracle, sockets of this process the example."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import time
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _listen
from ansible_collections.weblab.stacks.plugins.module_utils._endpoint import parse
from ansible_collections.weblab.stacks.plugins.module_utils._probe import _queues
from ansible_collections.weblab.stacks.plugins.module_utils._sockets import Listener


@pytest.fixture
def port() -> t.Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_names_the_process_and_the_variable(port: int) -> None:
    (line,) = _listen.conflicts([{"endpoint": f"http://0.0.0.0:{port}", "what": "sites[0].port"}], [])
    assert line.startswith(f"port {port} (sites[0].port) is already taken by ")
    assert f"(pid {os.getpid()}" in line


def test_the_daemon_itself_and_its_children_may_hold_it(port: int) -> None:
    wanted = [{"endpoint": f"http://127.0.0.1:{port}"}]
    assert _listen.conflicts(wanted, [os.getpid()]) == []
    assert _listen.conflicts(wanted, [os.getppid()]) == []


def test_a_free_port_and_another_address(port: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert _listen.conflicts([{"endpoint": f"http://127.0.0.1:{free}"}], []) == []
    assert _listen.conflicts([{"endpoint": f"http://127.0.0.2:{port}"}], []) == []


def test_unix_socket_that_listens_and_one_that_is_stale(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "a.sock")
    wanted = [{"endpoint": {"protocol": "fastcgi", "unix": path}}]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        (line,) = _listen.conflicts(wanted, [])
        assert line.startswith(f"the socket {path} is already taken by ")
    assert os.path.exists(path)
    assert _listen.conflicts(wanted, []) == []


@pytest.mark.parametrize(
    ("wanted", "held", "expected"),
    [
        ("http://127.0.0.1:80", "127.0.0.1", True),
        ("http://127.0.0.1:80", "127.0.0.2", False),
        ("http://127.0.0.1:80", "0.0.0.0", True),
        ("http://0.0.0.0:80", "127.0.0.1", True),
        ("http://0.0.0.0:80", "::", True),
        ("http://127.0.0.1:80", "::", True),
        ("http://127.0.0.1:80", "::1", False),
        ("http://[::1]:80", "127.0.0.1", False),
        ("http://[::1]:80", "::1", True),
        ("http://[::]:80", "::1", True),
        ("http://localhost:80", "127.0.0.1", True),
        ("http://127.0.0.1:81", "127.0.0.1", False),
    ],
)
def test_collision(wanted: str, held: str, expected: bool) -> None:
    assert _listen.collides(parse(wanted), Listener(held, 80, 1)) is expected


def test_an_address_that_is_given_up_is_no_outage(port: int) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    given_up = server.getsockname()[1]

    def look() -> dict[t.Any, _queues.Waiting]:
        return {address: found for address, found in _queues.waiting().items() if address in (port, given_up)}

    with _listen.Watch(look) as watch:
        server.close()
        watch.sample()
    assert watch.outage() == {"closed_ms": 0, "waiting": 0}


def test_an_address_that_comes_back_was_closed_meanwhile(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "a.sock")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def look() -> dict[t.Any, _queues.Waiting]:
        return {address: found for address, found in _queues.waiting().items() if address == path.encode()}

    with contextlib.ExitStack() as stack:
        stack.callback(os.unlink, path)
        with _listen.Watch(look) as watch:
            for _three in range(3):
                stack.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
            watch.sample()
            server.close()
            os.unlink(path)
            watch.sample()
            time.sleep(0.05)
            again = stack.enter_context(socket.socket(socket.AF_UNIX))
            again.bind(path)
            again.listen()
        outage = watch.outage()
    assert outage["waiting"] == 3
    assert outage["closed_ms"] is not None and outage["closed_ms"] >= 50


@pytest.mark.parametrize("place", ["a path", "a port"])
def test_an_address_that_was_closed_between_two_looks_was_closed(tmp_path: pathlib.Path, place: str) -> None:
    family, address = (socket.AF_UNIX, str(tmp_path / "a.sock")) if place == "a path" else (socket.AF_INET, ("", 0))
    server = socket.socket(family)
    server.bind(address)
    server.listen()
    address = server.getsockname()
    key = address.encode() if isinstance(address, str) else address[1]
    watch = _listen.Watch(lambda: {where: found for where, found in _queues.waiting().items() if where == key})
    watch.sample()
    assert watch.outage()["closed_ms"] == 0
    server.close()
    if isinstance(address, str):
        os.unlink(address)
    with socket.socket(family) as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(address)
        again.listen()
        watch.sample()
    assert (watch.outage()["closed_ms"] or 0) > 0


def test_where_the_kernel_tells_nothing_nothing_is_claimed() -> None:
    with _listen.Watch(dict) as watch:
        pass
    assert watch.outage() == {"closed_ms": None, "waiting": None}


def test_still_open(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        assert _listen.still_open([path]) == set()
        server.listen()
        assert _listen.still_open([path, "/run/nothing"]) == {path}
    assert _listen.still_open([path]) == set()
    os.unlink(path)
