# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands that mean harm, as servers on sockets: the controller has a verdict and its memory, and asks nobody else."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import socket
import threading
import tracemalloc
import typing as t

import pytest
from empty_host import Empty

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import (
    _engine,
    _manifest,
    _report,
    _results,
    _rubric,
    _text,
    _work,
)
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._evidence import MAX_BODY

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"


class Server:
    """Says the same to everybody, for as long as somebody listens, and counts who came."""

    def __init__(self, chunks: t.Callable[[], t.Iterable[bytes]]) -> None:
        self._chunks = chunks
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.visitors = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _peer = self._listening.accept()
                self.visitors += 1
                threading.Thread(target=self._say, args=(connection,), daemon=True).start()

    def _say(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            for chunk in self._chunks():
                connection.sendall(chunk)

    def close(self) -> None:
        # A thread that waits in accept(2) is woken by a shutdown, not by a close.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def serve() -> t.Iterator[t.Callable[[t.Callable[[], t.Iterable[bytes]]], Server]]:
    made: list[Server] = []

    def start(chunks: t.Callable[[], t.Iterable[bytes]]) -> Server:
        made.append(Server(chunks))
        return made[-1]

    yield start
    for server in made:
        server.close()


def verdict(port: int, say: t.Callable[[str, int], None] = lambda step, number: None) -> dict[str, t.Any]:
    site = {"name": "shop", "port": port, "served_by": "http", "nonce": "/?q={nonce}", "process": "/pid"}
    # Also what keeps connections open.
    site |= {"token": "/token", "websocket": "/talk", "front": "apache", "mpm": "event"}
    stand = _manifest.parse({"sites": [site]}, "anna", "127.0.0.1")
    given = _engine.Given("a-token-of-hers")
    document = _engine.examine(_rubric.load("course"), stand, Empty(), given, timeout=3, say=say)
    return _results.stamped(document, "anna", "anna", ["shop"])


def of(document: dict[str, t.Any], name: str) -> tuple[str, str]:
    (one,) = (one for section in document["sections"] for one in section["criteria"] if one["id"] == name)
    return one["state"], one["results"][0]["cause"]


def ten_gigabytes() -> t.Iterator[bytes]:
    yield OK + b"Content-Length: 10737418240\r\n\r\n<title>shop</title>"
    yield from itertools.repeat(b"x" * 65536, 163840)


def without_end() -> t.Iterator[bytes]:
    yield OK + b"\r\n"
    yield from itertools.repeat(b"x" * 65536)


def headers_without_end() -> t.Iterator[bytes]:
    yield OK
    yield from (b"X-%d: y\r\n" % number for number in itertools.count())


def a_header_without_end() -> t.Iterator[bytes]:
    yield OK + b"X: "
    yield from itertools.repeat(b"y" * 65536)


def chunks_without_end() -> t.Iterator[bytes]:
    yield OK + b"Transfer-Encoding: chunked\r\n\r\n"
    yield from itertools.repeat(b"1\r\nx\r\n" * 1000)


def a_chunk_of_many_gigabytes() -> t.Iterator[bytes]:
    yield OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffff\r\n"
    yield from itertools.repeat(b"x" * 65536)


def early_answers_without_end() -> t.Iterator[bytes]:
    yield from itertools.repeat(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")


def hundreds_without_end() -> t.Iterator[bytes]:
    yield from itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n")


def drops() -> t.Iterator[bytes]:
    event = threading.Event()
    for letter in itertools.cycle(b"HTTP/1.1 200 OK and on it goes "):
        yield bytes([letter])
        event.wait(0.2)


@pytest.mark.parametrize(
    "chunks",
    [
        ten_gigabytes,
        without_end,
        headers_without_end,
        a_header_without_end,
        chunks_without_end,
        a_chunk_of_many_gigabytes,
        early_answers_without_end,
        hundreds_without_end,
        drops,
    ],
)
def test_an_answer_without_end_has_one(
    serve: t.Callable[..., Server], chunks: t.Callable[[], t.Iterator[bytes]]
) -> None:
    server = serve(chunks)
    asked: dict[str, int] = {}
    tracemalloc.start()
    try:
        document = verdict(server.port, asked.__setitem__)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert server.visitors > 0
    assert document["verdict"] == "not_accepted"
    # What is kept of every answer, as much again while it comes, and our own.
    assert peak < 2 * asked["step_asks"] * MAX_BODY + 2**22, f"{peak >> 20} MiB"
    assert len(_report.page(document, "en", "fix")) < MAX_BODY


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(serve: t.Callable[..., Server], status: int) -> None:
    """Not to the controller's own localhost, and nowhere else."""
    own = serve(lambda: [OK + b"Content-Length: 9\r\n\r\ncanary-42"])
    where = f"http://127.0.0.1:{own.port}/latest/meta-data/".encode()
    server = serve(lambda: [b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, where)])
    document = verdict(server.port)
    assert server.visitors > 0
    assert own.visitors == 0
    assert of(document, "computed") == ("failed", "nonce_not_repeated")
    assert "canary-42" not in _report.page(document, "en", "fix")


def test_what_a_page_says_is_shown_and_not_obeyed(serve: t.Callable[..., Server]) -> None:
    title = "<title>Welcome to nginx! {{ 7919 * 7919 }}\x1b[2J<script>alert(1)</script></title>".encode("ascii")
    body = title + b"<b>Fatal error</b>: in /srv/{{ lookup('pipe', 'id') }} on line <b>1"
    server = serve(lambda: [OK + b"Server: \x1b]0;owned\x07\r\nContent-Length: %d\r\n\r\n" % len(body) + body])
    document = verdict(server.port)
    assert of(document, "no_debug_page") == ("failed", "debug_page")
    assert of(document, "no_default_page") == ("failed", "default_page")
    shown = "\n".join([_report.page(document, "ru", "fix"), *_text.summary(document, "ru", "fix")])
    assert "<script>alert" not in shown
    assert "\x1b" not in shown
    assert "62710561" not in shown


def test_what_a_repository_has_is_read_and_nothing_else(tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password: hunter22", encoding="utf-8")
    work = tmp_path / "work"
    (work / "deep").mkdir(parents=True)
    (work / "README.md").symlink_to(secret)
    (work / "deep" / "up").symlink_to(tmp_path)
    (work / "{{ lookup('pipe', 'touch owned') }}\x1b[2J.yml").write_text("password: swordfish1", encoding="utf-8")
    with open(work / "large.yml", "wb") as file:
        file.truncate(10 * 2**30)
    for folder in (".git", "node_modules/left-pad"):
        (work / folder).mkdir(parents=True)
        (work / folder / "config").write_text("password: not-her-work", encoding="utf-8")
    found = _work.read(str(work))
    assert list(found.values()) == ["password: swordfish1"]
    stand = _manifest.parse({"sites": [{"name": "a", "port": 1, "served_by": "static"}]}, "anna", "127.0.0.1")
    document = _engine.examine(_rubric.load("course"), stand, Empty(), _engine.Given(work=found), timeout=1)
    page = _report.page(_results.stamped(document, "anna", "anna", ["a"]), "en", "fix")
    assert "lookup(&#39;pipe&#39;" in page
    assert "\x1b" not in page
    assert "hunter22" not in page
