# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP codec against the bytes of the RFCs, against http.client and h11, and in pieces of any size."""

from __future__ import annotations

import http.client
import io
import typing as t

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_server import cut

from ansible_collections.weblab.stacks.plugins.module_utils.wire import _http
from ansible_collections.weblab.stacks.plugins.module_utils.wire._error import ClosedEarly, WireError

# RFC 9110, 3.9
HELLO = (
    b"HTTP/1.1 200 OK\r\n"
    b"Date: Mon, 27 Jul 2009 12:28:53 GMT\r\n"
    b"Server: Apache\r\n"
    b"Last-Modified: Wed, 22 Jul 2009 19:15:56 GMT\r\n"
    b'ETag: "34aa387-d-1568eb00"\r\n'
    b"Accept-Ranges: bytes\r\n"
    b"Content-Length: 51\r\n"
    b"Vary: Accept-Encoding\r\n"
    b"Content-Type: text/plain\r\n"
    b"\r\n"
    b"Hello World! My payload includes a trailing CRLF.\r\n"
)
# RFC 9112, 7.1: sizes in hexadecimal, an extension, a trailer
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = CHUNKED_HEAD + b"4;a=b\r\nWiki\r\n5\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\nExpires: never\r\n\r\n"


def _read(data: bytes, *, step: int = 0, eof: bool = True, **options: t.Any) -> _http.ResponseReader:
    reader = _http.ResponseReader(**options)
    for start in range(0, len(data), step or len(data) or 1):
        reader.feed(data[start : start + (step or len(data))])
    if eof:
        reader.feed_eof()
    return reader


# response, options, what is read, and whether the response ends before the connection does
RESPONSES = {
    "content-length": (HELLO, {}, (200, b"Hello World! My payload includes a trailing CRLF.\r\n"), True),
    "chunked": (CHUNKED, {}, (200, b"Wikipedia in\r\n\r\nchunks."), True),
    "until close": (b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nall of it", {}, (200, b"all of it"), False),
    "no fields": (b"HTTP/1.1 200 OK\r\n\r\nx", {}, (200, b"x"), False),
    "no reason": (b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", {}, (404, b""), True),
    "bare LF": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", {}, (200, b"ok"), True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", {}, (204, b""), True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", {}, (304, b""), True),
    "interim": (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HELLO, {}, (200, HELLO[-51:]), True),
    "switching": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", {}, (101, b""), True),
    "head": (HELLO[:-51], {"bodiless": True}, (200, b""), True),
    "length twice": (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", {}, (200, b"ok"), True),
    "chunked wins": (CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n", 1), {}, (200, b"Wikipedia"), True),
    "gzip, until close": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nzz", {}, (200, b"zz"), False),
    "surplus": (HELLO + HELLO, {}, (200, HELLO[-51:]), True),
    "cgi": (b"Status: 404 Not Found\r\nContent-type: text/html\r\n\r\ngone", {"cgi": True}, (404, b"gone"), False),
    "cgi without status": (b"Content-type: text/html\n\nhello", {"cgi": True}, (200, b"hello"), False),
    "cgi redirect": (b"Location: http://a/\n\n", {"cgi": True}, (302, b""), False),
}


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize(("data", "options", "expected", "ends"), RESPONSES.values(), ids=RESPONSES)
def test_a_response_is_read_whole_and_in_pieces(
    data: bytes, options: dict[str, t.Any], expected: tuple[int, bytes], ends: bool, step: int
) -> None:
    reader = _read(data, step=step, eof=False, **options)
    assert reader.complete is ends
    reader.feed_eof()
    assert reader.complete
    assert reader.status == expected[0]
    assert bytes(reader.body).startswith(expected[1])
    assert not reader.truncated


def test_fields_are_joined_by_lower_case_name() -> None:
    reader = _read(b"HTTP/1.1 200 OK\r\nVia: a\r\nX-Fold: one\r\n  two\r\nvia:  b \r\nContent-Length: 0\r\n\r\n")
    assert reader.headers == {"via": "a, b", "x-fold": "one two", "content-length": "0"}


@pytest.mark.parametrize(
    ("data", "options", "problem"),
    [
        (b"\x01\x06\x00\x01", {}, "which is not HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x46", {}, "which is not HTTP"),
        (b"HTTP/1.1 99 Low\r\n", {}, "is not an HTTP status line"),
        (b"HTTP/1.1 2000 OK\r\n", {}, "is not an HTTP status line"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n", {}, "is not a header field"),
        (b"HTTP/1.1 200 OK\r\nName : x\r\n", {}, "is not a header field"),
        (b"HTTP/1.1 200 OK\r\n folded: first\r\n", {}, "is not a header field"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", {}, "is not a length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", {}, "is not a length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", {}, "is not a length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", {}, "is not a chunk size"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n", {}, "is not a chunk size"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", {}, "where a chunk should end"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * _http.MAX_LINE, {}, "longer than"),
        (b"HTTP/1.1 200 OK\r\n" + b"X:\r\n" * 1001, {}, "more than 1000 fields"),
        (b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"x" * 9000 + b"\r\n") * 9, {}, "the header of the answer is longer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9000, {}, "the header of the answer is longer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * _http.MAX_LINE, {}, "longer than 16384"),
        (CHUNKED_HEAD + (b"1;" + b"x" * 9000 + b"\r\nx\r\n") * 8, {}, "the header of the answer is longer"),
        (CHUNKED_HEAD + b"0\r\n" + (b"X: " + b"x" * 9000 + b"\r\n") * 8, {}, "the header of the answer is longer"),
        (b"\n\nbody", {"cgi": True}, "no CGI header"),
        (b"\x15\x03\x01", {"cgi": True}, "which is not a CGI header"),
        (b"\0", {"cgi": True}, "which is not a CGI header"),
        (b"Status: bad\n\n", {"cgi": True}, "is not a status"),
        (b"<?php phpinfo();\n", {"cgi": True}, "is not a header field"),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_what_is_not_the_protocol_is_refused(data: bytes, options: dict[str, t.Any], problem: str, step: int) -> None:
    with pytest.raises(WireError, match=problem):
        _read(data, step=step, **options)


@pytest.mark.parametrize("data", [HELLO, CHUNKED, b"HTTP/1.1 103 Early Hints\r\n\r\n" + HELLO])
def test_an_answer_that_is_cut_anywhere_is_not_complete(data: bytes) -> None:
    for size in range(len(data)):
        reader = _read(data[:size], eof=False)
        assert not reader.complete
        with pytest.raises(ClosedEarly):
            reader.feed_eof()


@pytest.mark.parametrize(("data", "words"), [(b"", "no answer"), (b"HTTP/1", "header"), (HELLO[:-9], "body, after 42")])
def test_the_error_says_where_the_answer_ended(data: bytes, words: str) -> None:
    with pytest.raises(ClosedEarly, match=words):
        _read(data)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
    ],
)
def test_a_long_body_is_kept_up_to_its_bound(head: bytes) -> None:
    reader = _http.ResponseReader(max_body=1000)
    reader.feed(head)
    for _piece in range(20):
        reader.feed(b"x" * 100)
    assert (reader.complete, reader.truncated, len(reader.body)) == (True, True, 1000)
    exact = _http.ResponseReader(max_body=5)
    exact.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345")
    assert (exact.complete, exact.truncated) == (True, False)


_NAMES = st.from_regex(r"X-[A-Za-z0-9]{1,12}", fullmatch=True)
_VALUES = st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)


@given(
    status=st.integers(200, 599).filter(lambda code: code not in (204, 304)),
    fields=st.lists(st.tuples(_NAMES, _VALUES), max_size=5),
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    chunked=st.booleans(),
    cuts=st.lists(st.integers(1, 30), max_size=40),
)
def test_reads_what_the_standard_library_reads(
    status: int, fields: list[tuple[str, str]], chunks: list[bytes], chunked: bool, cuts: list[int]
) -> None:
    body = b"".join(chunks)
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in [*fields, framing])
    data = f"HTTP/1.1 {status} Some Reason\r\n{head}\r\n".encode()
    data += b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in [*chunks, b""]) if chunked else body

    class Socket:
        def makefile(self, _mode: str) -> io.BytesIO:
            return io.BytesIO(data)

    theirs = http.client.HTTPResponse(t.cast("t.Any", Socket()))
    theirs.begin()
    ours = _http.ResponseReader()
    for piece in cut(data, cuts):
        ours.feed(piece)
    assert ours.complete
    assert (ours.status, bytes(ours.body)) == (theirs.status, theirs.read())
    assert sorted(ours.fields) == sorted((name, value) for name, value in theirs.getheaders())


def _h11(data: bytes) -> tuple[int, bytes] | None:
    """Status and body of a response that h11 takes, and its connection then ends."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    status, body = 0, b""
    while True:
        try:
            event = client.next_event()
        except h11.RemoteProtocolError:
            return None
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, body
        elif not isinstance(event, h11.InformationalResponse):
            return None


@given(
    st.sampled_from([HELLO, CHUNKED, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + CHUNKED]),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3), st.sampled_from(b"\r\n :;0159afA\0\xff")), max_size=2),
)
def test_reads_the_same_as_h11_in_what_that_takes(start: bytes, changes: list[tuple[int, int, int]]) -> None:
    data = bytearray(start)
    for position, deleted, byte in changes:
        data[position : position + deleted] = bytes([byte])
    theirs = _h11(bytes(data))
    if theirs and theirs[0] >= 200:
        ours = _read(bytes(data))
        assert (ours.status, bytes(ours.body)) == theirs


def test_what_follows_a_101_is_there_for_who_speaks_it() -> None:
    data = RESPONSES["switching"][0] + b"\x81\x02hi"
    for size in range(len(data) - 4, len(data) + 1):
        reader = _http.ResponseReader()
        reader.feed(data[:size])
        assert (reader.complete, reader.rest) == (True, data[len(data) - 4 : size])
    cut_reader = _read(data[:-5], eof=False)
    assert (cut_reader.complete, cut_reader.rest) == (False, b"")


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_taken_as_it_comes_may_be_endless(chunked: bool) -> None:
    head = b"Transfer-Encoding: chunked\r\n" if chunked else b""
    reader = _http.ResponseReader(max_body=1000)
    reader.feed(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
    for number in range(5000):
        piece = b"%d" % number * 100
        reader.feed(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        assert reader.take_body() == piece
        assert not reader.complete
    assert reader.take_body() == b""
    if chunked:
        with pytest.raises(ClosedEarly, match=f"body, after {sum(len(str(n)) for n in range(5000)) * 100} bytes"):
            reader.feed_eof()
        reader.feed(b"0\r\n\r\n")
    reader.feed_eof()
    assert (reader.complete, reader.truncated) == (True, False)


@given(st.lists(st.binary(min_size=1, max_size=50)), st.lists(st.integers(1, 30)))
def test_what_is_taken_piece_by_piece_is_the_whole_body(chunks: list[bytes], sizes: list[int]) -> None:
    data = CHUNKED_HEAD + b"".join(b"%x;x=y\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    reader = _http.ResponseReader()
    taken = b""
    for piece in cut(data, sizes):
        reader.feed(piece)
        taken += reader.take_body()
    assert reader.complete
    assert taken == b"".join(chunks)


def test_a_request_has_the_bytes_of_the_rfc() -> None:
    fields = [("User-Agent", "curl/7.64.1"), ("Host", "www.example.com"), ("Accept-Language", "en, mi")]
    assert _http.encode_request("GET", "/hello.txt", fields) == (
        b"GET /hello.txt HTTP/1.1\r\n"
        b"User-Agent: curl/7.64.1\r\n"
        b"Host: www.example.com\r\n"
        b"Accept-Language: en, mi\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize(
    ("method", "target", "field"),
    [
        ("GET /", "/", ("Host", "a")),
        ("GET", "/a b", ("Host", "a")),
        ("GET", "/\u043a", ("Host", "a")),
        ("GET", "", ("Host", "a")),
        ("GET", "/", ("Host", "a\r\nX: y")),
        ("GET", "/", ("Host:", "a")),
    ],
)
def test_nothing_is_smuggled_into_a_request(method: str, target: str, field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="is not a"):
        _http.encode_request(method, target, [field])


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
def test_the_length_of_a_request_is_not_the_callers_to_say(name: str) -> None:
    with pytest.raises(ValueError, match="the body says its length"):
        _http.encode_request("POST", "/", [(name, "1")], b"body")


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.from_regex(r"/[!-~]{0,30}", fullmatch=True),
    st.lists(st.tuples(_NAMES, _VALUES), max_size=5),
    st.binary(max_size=300),
)
def test_a_request_is_what_h11_reads(method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> None:
    server = h11.Connection(h11.SERVER)
    server.receive_data(_http.encode_request(method, target, [("Host", "a"), *fields], body))
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (method.encode(), target.encode())
    length = [("content-length", str(len(body)))] if body or method in ("POST", "PUT") else []
    expected = [("host", "a"), *((name.lower(), value) for name, value in fields), *length]
    assert [(name.decode(), value.decode()) for name, value in request.headers] == expected
    received = b""
    while isinstance(event := server.next_event(), h11.Data):
        received += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert received == body
