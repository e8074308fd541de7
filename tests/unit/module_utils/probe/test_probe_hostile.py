# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Peers that are slow, broken or malicious: the probe ends in time, keeps little, and names a cause."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import time
import tracemalloc
import typing as t
from pathlib import Path

import pytest
from wire_server import server_frame

from ansible_collections.weblab.stacks.plugins.module_utils._probe import probe_all
from ansible_collections.weblab.stacks.plugins.module_utils._probe._record import CAUSES
from ansible_collections.weblab.stacks.plugins.module_utils.wire._websocket import accept_for

if t.TYPE_CHECKING:
    from .conftest import Serve

#: Takes the connection, and the request that came.
Act = t.Callable[[socket.socket, bytes], None]
Causes = t.AbstractSet[t.Optional[str]]
Table = t.Mapping[str, tuple[Act, Causes, str]]

#: How long the probe has where only its deadline ends the conversation, and where it sees what is wrong before.
SHORT, LONG = 0.8, 20.0
HUGE = 2 << 30


def fcgi(kind: int, content: bytes, padding: int = 0, request: int = 1) -> bytes:
    return struct.pack(">BBHHBx", 1, kind, request, len(content), padding) + content + bytes(padding)


# What a peer does with a connection.


def slowly(data: bytes, beginning: bytes = b"") -> Act:
    """One byte at a time, for ever."""

    def act(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(beginning)
        while True:
            for byte in data:
                connection.sendall(bytes([byte]))
                time.sleep(0.03)

    return act


def flood(data: bytes, beginning: bytes = b"") -> Act:
    """As much as the other side takes, for ever."""
    many = data * (65536 // len(data) + 1)

    def act(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(beginning)
        while True:
            connection.sendall(many)

    return act


def say(data: bytes, then: str = "close") -> Act:
    """Some bytes, and then `close`, `hold` the connection, or `reset` it."""

    def act(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(data)
        if then == "reset":
            # What is sent has to have arrived before the reset takes everything back.
            time.sleep(0.05)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        if then == "close":
            connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # a close over unread bytes would be a reset
            pass

    return act


@dataclasses.dataclass(frozen=True)
class Peer:
    """What a peer does to one that speaks its protocol, and the causes that name it."""

    protocol: str
    act: Act
    causes: Causes
    words: str = ""
    #: It does not wait for what it is asked.
    first: bool = False

    def __call__(self, connection: socket.socket, _number: int) -> None:
        # It closes on what other protocols begin with, by which the probe finds out who is there.
        request = b"" if self.first else connection.recv(65536)
        if self.first or request[:1] in BEGINNINGS[self.protocol]:
            self.act(connection, request)


#: The first bytes of requests.
WEB = (b"G",)
BEGINNINGS = {
    **dict.fromkeys(("http", "ws", "sse", "long_polling"), WEB),
    "https": (b"\x16",),
    "fastcgi": (b"\1",),
    "scgi": tuple(b"%d" % digit for digit in range(1, 10)),
    "uwsgi": (b"\0",),
}


def upgraded(then: Act, accept: t.Callable[[str], str] = accept_for) -> Act:
    """The answer to a handshake, and what comes after it."""

    def act(connection: socket.socket, request: bytes) -> None:
        key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r")[0].decode()
        connection.sendall(SWITCHING + f"Sec-WebSocket-Accept: {accept(key)}\r\n\r\n".encode())
        then(connection, request)

    return act


OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: %d\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
STREAM = OK + b"Content-Type: text/event-stream\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
DOCUMENT = b"Status: 200 OK\r\n\r\n"
END = fcgi(3, bytes(8))
BAD: Causes = {"application_error"}
LATE: Causes = {"timeout"}
GONE: Causes = {"closed"}
WRONG: Causes = {"wrong_protocol"}
NONE: Causes = {None}

HTTP: Table = {
    "a slow header": (slowly(b"X-A: b\r\n", OK), LATE, "no complete answer came after"),
    "a slow body": (slowly(b"x", SIZED % HUGE), LATE, "no complete answer came after"),
    "a header without end": (flood(b"X-A: b\r\n", OK), BAD, "more than 1000 fields"),
    "a header of long fields": (flood(b"X-A: " + b"b" * 9000 + b"\r\n", OK), BAD, "longer than 65536"),
    "a line without end": (flood(b"x", OK + b"X-A: "), BAD, "longer than 16384"),
    "a status line without end": (flood(b"x", OK[:-2]), WRONG, "longer than 16384"),
    "interim responses without end": (flood(b"HTTP/1.1 100 Continue\r\n\r\n"), BAD, "longer than 65536"),
    "chunk extensions without end": (flood(b"x", CHUNKED + b"1;"), BAD, "longer than 16384"),
    "a chunk extension on each byte": (flood(b"1;" + b"x" * 9000 + b"\r\nx\r\n", CHUNKED), BAD, "longer than 65536"),
    "a trailer without end": (flood(b"X-A: b\r\n", CHUNKED + b"0\r\n"), BAD, "longer than 65536"),
    "a chunk size that is none": (say(CHUNKED + b"-5\r\n"), BAD, "is not a chunk size"),
    "a chunk that is longer than it says": (say(CHUNKED + b"1\r\nxxx\r\n"), BAD, "where a chunk should end"),
    "a length that is none": (say(OK + b"Content-Length: -1\r\n\r\n"), BAD, "is not a length"),
    "two lengths": (say(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), BAD, "is not a length"),
    "2 GB that do not come": (say(SIZED % HUGE + b"x", "hold"), LATE, "no complete answer came after"),
    "2 GB that are cut off": (say(SIZED % HUGE + b"x"), GONE, "inside its body, after 1 bytes"),
    "a body without end": (flood(b"x", OK + b"\r\n"), NONE, ""),
    "2 GB that come": (flood(b"x", SIZED % HUGE), NONE, ""),
    "a chunk of 2 GB": (flood(b"x", CHUNKED + b"%x\r\n" % HUGE), NONE, ""),
    "one chunk for each byte": (flood(b"1\r\nx\r\n", CHUNKED), NONE | LATE, ""),
}
FASTCGI: Table = {
    "slow records": (slowly(fcgi(7, b"")), LATE, "no complete answer came after"),
    "empty records without end": (flood(fcgi(6, b"")), LATE, "no complete answer came after"),
    "errors without end": (flood(fcgi(7, b"e" * 1000)), LATE, "no complete answer came after"),
    "padding without end": (flood(fcgi(7, b"", 255)), LATE, "no complete answer came after"),
    "a header without end": (flood(fcgi(6, b"X-A: b\r\n")), BAD | WRONG, "more than 1000 fields"),
    "a body without end": (flood(fcgi(6, b"x" * 1000), fcgi(6, DOCUMENT)), NONE, ""),
    "a record that does not come": (say(fcgi(6, b"x" * 60_000)[:20], "hold"), LATE, "after 20 bytes"),
    "a record that is cut off": (say(fcgi(6, b"x" * 60_000)[:20]), GONE, "without END_REQUEST"),
    "another request's records": (say(fcgi(6, DOCUMENT, request=7) + END), WRONG | BAD, "of request 7"),
    "a short end": (say(fcgi(6, DOCUMENT) + fcgi(3, b"")), WRONG | BAD, "END_REQUEST has 0 bytes"),
    "records of an unknown type": (flood(fcgi(200, b"x")), WRONG | BAD, "of type 200"),
    "no document": (say(END), GONE, "no answer came"),
}
CGI: Table = {
    "a slow header": (slowly(b"X-A: b\r\n"), LATE, "no complete answer came after"),
    "a header without end": (flood(b"X-A: b\r\n"), WRONG, "more than 1000 fields"),
    "a line without end": (flood(b"x"), WRONG, "longer than 16384"),
    "no header": (say(b"\r\nhello"), WRONG, "has no CGI header"),
    "a status that is none": (say(b"Status: fine\r\n\r\n"), WRONG, "is not a status"),
    "a body without end": (flood(b"x", DOCUMENT), NONE, ""),
    "a body that does not come": (say(DOCUMENT, "hold"), LATE, "no complete answer came after"),
    "a header that is cut off": (say(DOCUMENT[:-2]), GONE, "inside its header"),
}
WEBSOCKET: Table = {
    "a slow handshake": (slowly(b"X-A: b\r\n", SWITCHING), LATE, "no complete answer came after"),
    "a handshake without end": (flood(b"X-A: b\r\n", SWITCHING), WRONG, "speaks http"),
    "no accept key": (say(SWITCHING + b"\r\n", "hold"), BAD, "Sec-WebSocket-Accept None"),
    "another accept key": (upgraded(say(b"", "hold"), accept=lambda key: "x"), BAD, "the key demands"),
    "silence": (upgraded(say(b"", "hold")), LATE, "the pong to a ping did not come"),
    "pings without end": (upgraded(flood(server_frame(9))), LATE, "the pong to a ping did not come"),
    "pongs without end": (upgraded(flood(server_frame(10, b"x" * 125))), LATE, "the pong to a ping did not come"),
    "messages without end": (upgraded(flood(server_frame(1, b"x"))), LATE, "the pong to a ping did not come"),
    "a slow message": (upgraded(slowly(server_frame(1, b"x" * 100))), LATE, "the pong to a ping did not come"),
    "a frame of 2 GB": (upgraded(flood(b"x", b"\x82\x7f" + struct.pack(">Q", HUGE))), BAD, "longer than 65536"),
    "fragments without end": (
        upgraded(flood(server_frame(0, b"x" * 1000, fin=False), server_frame(2, fin=False))),
        BAD,
        "longer than 65536",
    ),
    "empty fragments without end": (
        upgraded(flood(server_frame(0, fin=False), server_frame(2, fin=False))),
        LATE,
        "the pong to a ping did not come",
    ),
    "a masked frame": (upgraded(say(server_frame(1, b"x", masked=True))), BAD, "is masked"),
    "an extension": (upgraded(say(server_frame(1, b"x", reserved=4))), BAD, "without extensions"),
    "another protocol": (upgraded(say(OK)), BAD, "which is not WebSocket"),
    "text that is none": (upgraded(say(server_frame(1, b"\xff"))), BAD, "not UTF-8"),
    "a close code that is none": (upgraded(say(server_frame(8, b"\0\0"))), BAD, "not a status code"),
    "a close frame": (upgraded(say(server_frame(8, b"\x03\xe9bye"))), GONE, "with 1001 bye"),
    "a cut": (upgraded(say(server_frame(1, b"x")[:2])), GONE, "inside a message"),
    "a reset": (upgraded(say(server_frame(1, b"x"), "reset")), GONE, ""),
}
SSE: Table = {
    "a slow header": (slowly(b"X-A: b\r\n", OK), LATE, "no complete answer came after"),
    "a slow event": (slowly(b"data: x\n", STREAM), LATE, "0 of 1 events came"),
    "silence": (say(STREAM, "hold"), LATE, "0 of 1 events came"),
    "a line without end": (flood(b"x", STREAM + b"data: "), BAD, "an event is longer than 65536"),
    "an event without end": (flood(b"data: x\n", STREAM), BAD, "an event is longer than 65536"),
    "comments without end": (flood(b":\n\n", STREAM), LATE, "0 of 1 events and"),
    "a comment without end": (flood(b"x", STREAM + b":"), BAD, "an event is longer than 65536"),
    "other fields without end": (flood(b"x: y\n", STREAM), LATE, "0 of 1 events came"),
    "ids without end": (flood(b"id: 1\n\n", STREAM), LATE, "0 of 1 events came"),
    "events without end": (flood(b"data: x\n\n", STREAM), NONE, ""),
    "chunks that are none": (
        flood(b"data: x\n\n", STREAM[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"),
        BAD,
        "is not a chunk size",
    ),
    "an end in an event": (say(STREAM + b"data: x\n"), {"expectation"}, "the stream ended after 0"),
    "a reset": (say(STREAM + b"data: x\n", "reset"), GONE, ""),
}
#: What other services say first, or to anything.
GREETINGS = {
    "SSH": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "SMTP": b"220 mail.example ESMTP Postfix\r\n",
    "FTP": b"220 (vsFTPd 3.0.3)\r\n",
    "MariaDB": b"\x5a\x00\x00\x00\x0a5.5.5-10.11.6-MariaDB-0+deb12u1\x00" + bytes(60),
    "Redis": b"-ERR wrong number of arguments for 'get' command\r\n",
    "zeros": bytes(100),
    "a program's text": b"<?php phpinfo();\n",
}
TLS: Table = {
    "not TLS": (say(b"garbage" * 10), WRONG | {"tls_failed"}, ""),
    "garbage without end": (flood(b"garbage"), WRONG | {"tls_failed", "closed"}, ""),
    "records of garbage": (flood(b"\x16\x03\x03\x40\x00" + b"g" * 0x4000), {"tls_failed"}, ""),
    "a record that does not come": (say(b"\x16\x03\x03\x40\x00", "hold"), LATE, "the TLS handshake did not end"),
    "a slow record": (slowly(b"g", b"\x16\x03\x03\x40\x00\x02\x00\x3f\xf0"), LATE, "the TLS handshake did not end"),
    "an alert": (say(b"\x15\x03\x03\x00\x02\x02\x28"), {"tls_failed"}, ""),
    "alerts without end": (flood(b"\x15\x03\x03\x00\x02\x01\x00"), {"tls_failed", "closed"}, ""),
    "silence": (say(b"", "hold"), LATE, "the TLS handshake did not end"),
}

GATEWAYS = ("fastcgi", "scgi", "uwsgi")  # on Unix sockets, the others on TCP
SPEAKERS = ("http", "ws", "sse", "long_polling", *GATEWAYS)
TABLES = {
    "http": HTTP,
    "uwsgi": HTTP,
    "scgi": CGI,
    "fastcgi": FASTCGI,
    "https": TLS,
    "ws": WEBSOCKET,
    "sse": SSE,
}
PEERS = {
    **{f"{protocol}: {name}": Peer(protocol, *row) for protocol, rows in TABLES.items() for name, row in rows.items()},
    **{
        f"{protocol}: greeted by {name}": Peer(protocol, say(data, "hold"), WRONG, first=True)
        for protocol in SPEAKERS
        for name, data in GREETINGS.items()
    },
    **{
        f"{protocol}: reset {when}": Peer(protocol, say(b"", "reset"), GONE, first=first)
        for protocol in (*SPEAKERS, "https")
        for when, first in (("at once", True), ("after the request", False))
    },
    "http: reset in the header": Peer("http", say(OK, "reset"), GONE),
    "http: reset in the body": Peer("http", say(SIZED % 9 + b"x", "reset"), GONE),
    "fastcgi: reset in a record": Peer("fastcgi", say(fcgi(6, DOCUMENT)[:20], "reset"), GONE),
    "fastcgi: reset before the end": Peer("fastcgi", say(fcgi(6, DOCUMENT), "reset"), GONE),
}


def spec(peer: Peer, url: str) -> dict[str, t.Any]:
    return {"endpoint": f"{peer.protocol}{url}", "path": "/x", "validate_certs": False}


def check_cost(peer: Peer, url: str) -> None:
    timeout = SHORT if "timeout" in peer.causes else LONG
    started = time.monotonic()
    tracemalloc.start()
    (record,) = probe_all([spec(peer, url)], timeout, wait=False)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.monotonic() - started < timeout + 5  # a peer that goes on for ever would hold it for ever
    assert peak < 3_000_000, "a peer made the probe keep what it sent"
    assert record.cause in peer.causes, record
    if record.cause:
        assert record.cause in CAUSES
        assert peer.words in record.message
        assert record.hint


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_a_hostile_peer_costs_little_and_is_named(serve: Serve, tmp_path: Path, peer: Peer) -> None:
    url = serve(peer, tmp_path / "a.sock" if peer.protocol in GATEWAYS else None)
    check_cost(peer, url)


IN_TLS = {
    name: PEERS[name]
    for name in (
        "http: a slow body",
        "http: a header without end",
        "http: a body without end",
        "http: 2 GB that are cut off",
        "http: reset in the body",
        "ws: pings without end",
        "ws: a frame of 2 GB",
    )
}


@pytest.mark.parametrize("peer", IN_TLS.values(), ids=IN_TLS)
def test_tls_protects_no_hostile_peer(serve: Serve, certificate: Path, peer: Peer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def answer(connection: socket.socket, number: int) -> None:
        if connection.recv(1, socket.MSG_PEEK) in BEGINNINGS["https"]:
            with context.wrap_socket(connection, server_side=True) as inner:
                peer(inner, number)

    encrypted = dataclasses.replace(peer, protocol={"http": "https", "ws": "wss"}[peer.protocol])
    check_cost(encrypted, serve(answer))


#: Reads specifications, and tells the causes and by how many KiB the process grew.
CHILD = """\
import json, re, ssl, sys
from ansible_collections.weblab.stacks.plugins.module_utils._probe import probe_all
def size():  # not ru_maxrss, which begins with that of the parent process
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
specs = json.load(sys.stdin)
probe_all(["https://127.0.0.1:1"] * len(specs), 0.1, False)  # nobody listens there
before = size()
records = probe_all(specs, 3, True)
print(json.dumps([[record.cause for record in records], size() - before]))
"""


def test_all_hostile_peers_at_once_cost_little_and_end_in_time(serve: Serve) -> None:
    specs = [spec(peer, serve(peer)) for peer in PEERS.values()]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4] / ".collections")}
    argv = [sys.executable, "-c", CHILD]
    # A peer that goes on for ever would hold it for ever: a limit that only that reaches.
    done = subprocess.run(
        argv, env=environment, input=json.dumps(specs), stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    causes, grown = json.loads(done.stdout)
    assert len(causes) == len(PEERS)
    assert set(causes) <= {None, *CAUSES}
    assert {name for name, cause in zip(PEERS, causes) if cause is None} <= {
        name for name, peer in PEERS.items() if None in peer.causes
    }
    assert grown < 256 * len(PEERS), f"the probe of {len(PEERS)} hostile peers grew by {grown} KiB"
