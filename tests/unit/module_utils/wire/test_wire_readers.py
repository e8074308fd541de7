# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for every reader of the codecs: any cut, any bytes, bounded memory, linear time."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import struct
import time
import tracemalloc
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_server import cut, server_frame

from ansible_collections.weblab.stacks.plugins.module_utils.wire import _fastcgi, _http, _scgi, _sse, _uwsgi, _websocket
from ansible_collections.weblab.stacks.plugins.module_utils.wire._error import WireError

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSE_LATER = b"HTTP/1.1 200 OK\r\n\r\n"
HUGE = 2 << 30


def record(kind: int, content: bytes, padding: int = 0, request: int = 1) -> bytes:
    return struct.pack(">BBHHBx", 1, kind, request, len(content), padding) + content + bytes(padding)


class Heard:
    """A reader, and all that has come out of it."""

    def __init__(self, reader: t.Any) -> None:
        self.reader = reader
        self.out: list[t.Any] = []

    def feed(self, data: bytes) -> None:
        self.out += self.reader.feed(data) or ()

    def feed_eof(self) -> None:
        if hasattr(self.reader, "feed_eof"):
            self.reader.feed_eof()

    def state(self) -> t.Any:
        reader = self.reader
        if isinstance(reader, _fastcgi.ResponseStream):
            return _response(reader.response), reader.complete, reader.stderr, reader.app_status, reader.protocol_status
        if isinstance(reader, _http.ResponseReader):
            return _response(reader)
        if isinstance(reader, _fastcgi.ManagementReader):
            return reader.complete, reader.values
        if isinstance(reader, _websocket.MessageReader):
            return self.out, reader.closed
        return self.out, reader.retry, reader.comments


def _response(reader: _http.ResponseReader) -> t.Any:
    return reader.complete, reader.status, reader.reason, reader.fields, bytes(reader.body), reader.truncated


class Streamed(Heard):
    """A body that is taken as it comes."""

    def feed(self, data: bytes) -> None:
        super().feed(data)
        self.out.append(self.reader.take_body())

    def state(self) -> t.Any:
        return b"".join(self.out), super().state()


@dataclasses.dataclass(frozen=True)
class Kind:
    """A reader, what a right peer sends it, and what a wrong one sends again and again after a beginning."""

    new: t.Callable[[], Heard]
    conversations: t.Sequence[bytes]
    endless: t.Mapping[str, tuple[bytes, bytes]] = dataclasses.field(default_factory=dict)


HTTP = Kind(
    lambda: Heard(_http.ResponseReader(max_body=2000)),
    [
        b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 5\r\n\r\nhello",
        CHUNKED + b"4;a=b\r\nWiki\r\n5\r\npedia\r\n0\r\nExpires: never\r\n\r\n",
        CLOSE_LATER + b"all of it",
    ],
    {
        "no end of a line": (b"", b"HTTP/1.1 200 " + b"x" * 1000),
        "fields": (b"HTTP/1.1 200 OK\r\n", b"".join(b"%x:\n" % number for number in range(3000))),
        "folded lines": (b"HTTP/1.1 200 OK\r\nX: y\r\n", b" \r\n" * 300),
        "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
        "a body until the end": (CLOSE_LATER, b"x" * 1000),
        "a body of 2 GB": (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % HUGE, b"x" * 1000),
        "a chunk of 2 GB": (CHUNKED + b"%x\r\n" % HUGE, b"x" * 1000),
        "tiny chunks": (CHUNKED, b"1\r\nx\r\n" * 200),
        "tiny chunks with extensions": (CHUNKED, (b"1;" + b"x" * 500 + b"\r\nx\r\n") * 2),
        "a trailer": (CHUNKED + b"0\r\n", b"X: y\r\n" * 200),
    },
)
KINDS = {
    "http": HTTP,
    "http, taken as it comes": dataclasses.replace(HTTP, new=lambda: Streamed(_http.ResponseReader())),
    "cgi": Kind(
        lambda: Heard(_http.ResponseReader(cgi=True)),
        [b"Status: 404 Not Found\r\nContent-type: text/html\r\n\r\ngone", b"Location: /\n\n"],
        {"fields": (b"", b"X: y\r\n" * 200), "a body": (b"X: y\r\n\r\n", b"x" * 1000)},
    ),
    "fastcgi": Kind(
        lambda: Heard(_fastcgi.ResponseStream()),
        [
            record(6, b"Content-type: text/html\r\n\r\n<ht")
            + record(7, b"config error: missing SI_UID\n", 3)
            + record(6, b"ml>")
            + record(6, b"")
            + record(3, b"\0\0\3\252\0\0\0\0"),
            record(3, b"\0\0\0\0\2\0\0\0"),
        ],
        {
            "empty records": (b"", record(6, b"") * 100),
            "errors": (b"", record(7, b"e" * 1000)),
            "fields": (b"", record(6, b"X: y\r\n" * 200)),
            "a body": (record(6, b"X: y\r\n\r\n"), record(6, b"x" * 1000, 255)),
            "padding": (b"", record(7, b"", 255) * 4),
        },
    ),
    "fastcgi, management": Kind(
        lambda: Heard(_fastcgi.ManagementReader()),
        [record(10, b"\017\1FCGI_MPXS_CONNS0", 6, request=0), record(11, b"\11\0\0\0\0\0\0\0", request=0)],
        {"values": (b"", record(10, b"\1\1AB" * 200, request=0))},
    ),
    "websocket": Kind(
        lambda: Heard(_websocket.MessageReader()),
        [
            server_frame(1, b"Hel", fin=False) + server_frame(9, b"?") + server_frame(0, b"lo")
            + server_frame(2, b"x" * 200) + server_frame(8, b"\x03\xe8bye") + b"ignored",
        ],
        {
            "pings": (b"", server_frame(9, b"x" * 125) * 10),
            "empty fragments": (server_frame(1, fin=False), server_frame(0, fin=False) * 500),
            "fragments": (server_frame(2, fin=False), server_frame(0, b"x" * 1000, fin=False)),
            "a frame of 2 GB": (b"\x82\x7f" + struct.pack(">Q", HUGE), b"x" * 1000),
        },
    ),
    "sse": Kind(
        lambda: Heard(_sse.EventReader()),
        [b"\xef\xbb\xbf: c\r\ndata: a\rdata\nid: 1\nevent: e\n\nretry: 5\r\n\r\ndata:\n\n", b"data: a\r\n\r\ndata: b"],
        {
            "a line": (b"data: ", b"x" * 1000),
            "data": (b"", b"data\n" * 200),
            "comments": (b"", b":\n" * 500),
            "a comment": (b":", b"x" * 1000),
            "ids": (b"", b"id: " + b"x" * 990 + b"\n"),
            "other fields": (b"", b"x\n" * 500),
        },
    ),
}  # fmt: skip


def outcome(kind: Kind, data: bytes, sizes: t.Iterable[int] = ()) -> t.Any:
    """All that a reader makes of the bytes, or how it refuses them."""
    heard = kind.new()
    try:
        for piece in cut(data, sizes):
            heard.feed(piece)
        heard.feed_eof()
    except WireError as error:
        return type(error)
    return heard.state()


@st.composite
def _mutated(draw: st.DrawFn) -> tuple[Kind, bytes]:
    """A conversation, right, or with something replaced, taken away, put in, repeated; or bytes that are none."""
    kind = draw(st.sampled_from(list(KINDS.values())))
    data = draw(st.sampled_from([*kind.conversations, b""]))
    for _change in range(draw(st.integers(0, 4))):
        start, size = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
        new = draw(st.binary(max_size=12) | st.just(data[start : start + size] * 2))
        data = data[:start] + new + data[start + size :]
    return kind, data


@given(_mutated(), st.lists(st.integers(1, 20), max_size=60))
@settings(max_examples=500)
def test_no_cut_and_no_bytes_make_a_difference(conversation: tuple[Kind, bytes], sizes: list[int]) -> None:
    """Anything but a WireError fails here too."""
    kind, data = conversation
    whole = outcome(kind, data)
    assert outcome(kind, data, sizes) == whole
    assert outcome(kind, data, [1] * len(data)) == whole


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_no_bytes_break_what_reads_them_at_once(data: bytes) -> None:
    scgi = b"%d:CONTENT_LENGTH\x000\x00SCGI\x001\x00%s," % (len(data) + 24, data)
    decoders: list[tuple[t.Callable[[bytes], t.Any], bytes]] = [
        (_scgi.decode_request, data),
        (_scgi.decode_request, scgi),
        (_uwsgi.decode_variables, data),
        (_fastcgi.decode_pairs, data),
        (_websocket.decode_close, data),
    ]
    for decode, spelled in decoders:
        with contextlib.suppress(WireError):
            decode(spelled)


ENDLESS = {f"{name}: {what}": (kind, *parts) for name, kind in KINDS.items() for what, parts in kind.endless.items()}


@pytest.mark.parametrize(("kind", "beginning", "again"), ENDLESS.values(), ids=ENDLESS)
def test_memory_is_bounded_whatever_comes(kind: Kind, beginning: bytes, again: bytes) -> None:
    heard = kind.new()
    data = again * (16_000 // len(again))  # as the probe reads
    tracemalloc.start()
    with contextlib.suppress(WireError):
        heard.feed(beginning)
        for _time in range(60):
            heard.feed(data)
            heard.out.clear()
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000  # of 1 MB that came


#: What is as long as its bounds allow, for a length.
LONG: dict[str, tuple[t.Callable[[int], t.Any], t.Callable[[int], bytes]]] = {
    "http line": (lambda _n: _http.ResponseReader(), lambda n: b"HTTP/1.1 200 " + b"x" * n),
    "http fields": (
        lambda _n: _http.ResponseReader(),
        lambda n: b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (n // 6) + b"\r\n",
    ),
    "http folded": (
        lambda _n: _http.ResponseReader(),
        lambda n: b"HTTP/1.1 200 OK\r\nA: b\r\n" + b" c\r\n" * (n // 4) + b"\r\n",
    ),
    "http body": (lambda n: _http.ResponseReader(max_body=n), lambda n: CLOSE_LATER + b"x" * n),
    "http chunks": (lambda n: _http.ResponseReader(max_body=n), lambda n: CHUNKED + b"1\r\nx\r\n" * (n // 6)),
    "fastcgi record": (lambda _n: _fastcgi.ResponseStream(), lambda n: record(7, b"e" * (n // 4 - 1)) * 4),
    "fastcgi records": (lambda _n: _fastcgi.ResponseStream(), lambda n: record(7, b"e") * (n // 9)),
    "websocket frame": (_websocket.MessageReader, lambda n: server_frame(2, b"x" * n)),
    "websocket fragments": (
        _websocket.MessageReader,
        lambda n: server_frame(2, fin=False) + server_frame(0, b"x", fin=False) * (n // 3),
    ),
    "sse line": (_sse.EventReader, lambda n: b"data: " + b"x" * (n - 10)),
    "sse data": (_sse.EventReader, lambda n: b"data\n" * (n // 5)),
}


@pytest.mark.parametrize(("new", "spell"), LONG.values(), ids=LONG)
def test_time_grows_with_the_bytes_not_with_their_square(
    new: t.Callable[[int], t.Any], spell: t.Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "MAX_LINE", 1 << 20)
    monkeypatch.setattr(_http, "MAX_HEAD", 1 << 20)
    monkeypatch.setattr(_http, "MAX_FIELDS", 1 << 20)
    small, large = 1 << 15, 1 << 18

    def cost(size: int) -> float:
        reader, data = new(size), spell(size)
        pieces = [data[start : start + 1] for start in range(len(data))]
        start = time.thread_time()
        for piece in pieces:
            reader.feed(piece)
        return time.thread_time() - start

    # Eight times the bytes: 8 times the work if linear, 64 if quadratic. The machine does other things too: of a few
    # measurements the least counts.
    gc.disable()
    try:
        least = min(cost(small) for _time in range(5))
        assert any(cost(large) < 16 * least for _time in range(10))
    finally:
        gc.enable()
