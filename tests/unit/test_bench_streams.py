# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The clients of `make bench WHAT=streams`: what they take for the arrival of a message."""

from __future__ import annotations

import importlib.util
import pathlib
import socket
import types

import pytest

_PATH = pathlib.Path(__file__).resolve().parents[2] / "lab/streams_on_host.py"


@pytest.fixture(scope="module")
def program() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("streams_on_host", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("transport", ["ws", "sse"])
def test_a_message_arrives_once_however_it_is_cut(program: types.ModuleType, transport: str, size: int) -> None:
    clients = program.Clients({"address": "/nowhere", "prefix": "", "transport": transport, "clients": 1, "source": ""})
    text = f'{{"key": "bench-{clients.name}00007", "text": "{clients.name}00007"}}'.encode() + b" " * 120
    if transport == "ws":
        stream = b"HTTP/1.1 101 Switching\r\n\r\n" + b"\x89\x02hi" + b"\x81\x7e" + len(text).to_bytes(2, "big") + text
    else:
        stream = b"HTTP/1.1 200 OK\r\n\r\n: one before: another-00009\n\ndata: " + text + b"\n\n"
    ours, server = socket.socketpair()
    client = program.Client(clients, 0)
    client.sock = ours
    clients.watch(client)
    with server:
        for begin in range(0, len(stream), size):
            server.sendall(stream[begin : begin + size])
            client.read()
        assert client.up
        assert list(clients.arrivals) == [7]
        assert len(clients.arrivals[7]) == 1
        if transport == "ws":
            assert server.recv(100) == b"\x8a\x82\0\0\0\0hi"
        client.close()


def test_an_error_is_not_a_client_that_is_held(program: types.ModuleType) -> None:
    clients = program.Clients({"address": "/nowhere", "prefix": "", "transport": "sse", "clients": 1, "source": ""})
    ours, server = socket.socketpair()
    client = program.Client(clients, 0)
    client.sock = ours
    clients.watch(client)
    with server:
        server.sendall(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        with pytest.raises(OSError, match="503"):
            client.read()
    assert not clients.up
    client.close()
