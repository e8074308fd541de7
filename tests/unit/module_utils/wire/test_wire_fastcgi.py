# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The FastCGI codec against the bytes of the specification's appendix, and in pieces of one byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_server import FastCgiRequest, cut

from ansible_collections.weblab.stacks.plugins.module_utils.wire import _fastcgi as fastcgi
from ansible_collections.weblab.stacks.plugins.module_utils.wire._error import ClosedEarly, WireError

# Appendix B of the specification, example 1
B1_PARAMS = b"\013\002SERVER_PORT80\013\016SERVER_ADDR199.170.183.42"
B1_STDOUT = b"Content-type: text/html\r\n\r\n<html>\n<head> ... "


def _record(kind: int, content: bytes, padding: int = 0, request: int = 1) -> bytes:
    """A record, spelled here byte by byte after 3.3."""
    header = bytes([1, kind, request >> 8, request & 255, len(content) >> 8, len(content) & 255, padding, 0])
    return header + content + bytes(padding)


END = _record(3, b"\0\0\0\0\0\0\0\0")


def test_a_request_is_the_one_of_the_specification() -> None:
    data = fastcgi.encode_request({"SERVER_PORT": "80", "SERVER_ADDR": "199.170.183.42"})
    assert data == (
        _record(1, b"\0\1\0\0\0\0\0\0")  # BEGIN_REQUEST: responder, no FCGI_KEEP_CONN
        + _record(4, B1_PARAMS, padding=-len(B1_PARAMS) % 8)
        + _record(4, b"")
        + _record(5, b"")
    )


# Appendix B, example 2: the web server cuts the parameters as it likes, and sends a body.
B2_BODY = b"quantity=100&item=3047936"
B2_REQUEST = (
    _record(1, b"\0\1\0\0\0\0\0\0")
    + _record(4, b"\013\002SERVER_PORT80\013\016SER")
    + _record(4, b"VER_ADDR199.170.183.42")
    + _record(4, b"")
    + _record(5, B2_BODY)
    + _record(5, b"")
)


@pytest.mark.parametrize("step", [1, 9, 10_000])
def test_a_request_with_a_body_is_the_one_of_the_specification(step: int) -> None:
    ours = fastcgi.encode_request({"SERVER_PORT": "80", "SERVER_ADDR": "199.170.183.42"}, B2_BODY)
    for data in (B2_REQUEST, ours):
        request = FastCgiRequest()
        for piece in cut(data, [step] * len(data)):
            assert not request.complete
            request.feed(piece)
        assert (request.complete, request.role, request.keep_connection) == (True, fastcgi.RESPONDER, False)
        assert request.params == {"SERVER_PORT": "80", "SERVER_ADDR": "199.170.183.42"}
        assert request.body == B2_BODY


@given(st.dictionaries(st.text(max_size=300), st.text(max_size=300), max_size=8), st.binary(max_size=70_000))
def test_requests_come_back(params: dict[str, str], body: bytes) -> None:
    request = FastCgiRequest()
    request.feed(fastcgi.encode_request(params, body))
    assert (request.complete, request.params, request.body) == (True, params, body)


def test_the_management_query_is_the_one_of_the_specification() -> None:
    assert fastcgi.encode_get_values("FCGI_MAX_CONNS") == _record(9, b"\016\0FCGI_MAX_CONNS", request=0)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 70000])
def test_lengths_of_one_and_four_bytes(size: int) -> None:
    value = "v" * size
    spelled = bytes([size]) if size < 128 else (size | 0x80000000).to_bytes(4, "big")
    assert fastcgi.encode_pairs({"N": value}) == b"\1" + spelled + b"N" + value.encode()


@given(st.dictionaries(st.text(max_size=200), st.text(max_size=200), max_size=8))
def test_pairs_come_back(pairs: dict[str, str]) -> None:
    assert fastcgi.decode_pairs(fastcgi.encode_pairs(pairs)) == pairs


@pytest.mark.parametrize("cut", range(1, len(B1_PARAMS)))
def test_cut_pairs_are_refused(cut: int) -> None:
    if cut != len(b"\013\002SERVER_PORT80"):
        with pytest.raises(WireError):
            fastcgi.decode_pairs(B1_PARAMS[:cut])


@given(st.binary(max_size=200_000))
def test_a_stream_of_any_size_is_cut_into_records_and_ended(data: bytes) -> None:
    records = list(fastcgi.RecordReader().feed(fastcgi.encode_stream(fastcgi.STDIN, data)))
    assert b"".join(record.content for record in records) == data
    assert [record.content for record in records].index(b"") == len(records) - 1


# answer, then status, body, stderr
ANSWERS = {
    "example 1": (_record(6, B1_STDOUT) + _record(6, b"") + END, 200, b"<html>\n<head> ... ", b""),
    "example 3": (
        _record(6, b"Content-type: text/html\r\n\r\n<ht")
        + _record(7, b"config error: missing SI_UID\n")
        + _record(6, b"ml>\n<head> ... ")
        + _record(6, b"")
        + _record(7, b"")
        + _record(3, b"\0\0\3\252\0\0\0\0"),  # appStatus 938, as in the specification
        200,
        b"<html>\n<head> ... ",
        b"config error: missing SI_UID\n",
    ),
    "padded": (_record(6, B1_STDOUT, padding=255) + END, 200, b"<html>\n<head> ... ", b""),
    "PHP-FPM's 404": (
        _record(7, b"Primary script unknown", padding=2)
        + _record(6, b"Status: 404 Not Found\r\nContent-type: text/html; charset=UTF-8\r\n\r\nFile not found.\n", 7)
        + END,
        404,
        b"File not found.\n",
        b"Primary script unknown",
    ),
    "surplus": (_record(6, B1_STDOUT) + END + b"whatever", 200, b"<html>\n<head> ... ", b""),
}


@pytest.mark.parametrize("step", [1, 5, 10_000])
@pytest.mark.parametrize(("data", "status", "body", "stderr"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_read_whole_and_in_pieces(data: bytes, status: int, body: bytes, stderr: bytes, step: int) -> None:
    stream = fastcgi.ResponseStream()
    for start in range(0, len(data), step):
        stream.feed(data[start : start + step])
    stream.feed_eof()
    assert stream.complete
    assert (stream.response.status, stream.response.body, stream.stderr) == (status, body, stderr)
    assert stream.protocol_status == fastcgi.REQUEST_COMPLETE
    assert stream.app_status == (938 if b"\3\252" in data else 0)


def test_an_overloaded_application_says_so_without_a_response() -> None:
    stream = fastcgi.ResponseStream()
    stream.feed(_record(3, b"\0\0\0\0\2\0\0\0"))
    assert stream.complete
    assert stream.protocol_status == fastcgi.OVERLOADED
    assert stream.response.status is None


@pytest.mark.parametrize("cut", range(len(ANSWERS["example 1"][0])))
def test_an_answer_that_is_cut_anywhere_is_not_complete(cut: int) -> None:
    stream = fastcgi.ResponseStream()
    stream.feed(ANSWERS["example 1"][0][:cut])
    with pytest.raises(ClosedEarly, match="no answer" if cut == 0 else "without END_REQUEST"):
        stream.feed_eof()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "which is not FastCGI"),
        (b"\0", "which is not FastCGI"),
        # Appendix B, example 4: two requests on one connection, of which this side sends only one
        (_record(6, B1_STDOUT) + _record(6, B1_STDOUT, request=2), "of request 2"),
        (_record(1, b"\0\1\0\0\0\0\0\0"), "of type 1"),
        (_record(3, b"\0\0\0\0"), "END_REQUEST has 4 bytes"),
        (_record(6, b"no header\n"), "is not a header field"),
        (END, "no answer came"),
    ],
)
def test_what_is_not_the_protocol_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        fastcgi.ResponseStream().feed(data)


@given(
    st.lists(st.tuples(st.sampled_from([6, 7]), st.binary(max_size=60), st.integers(0, 255)), max_size=8),
    st.lists(st.integers(1, 40)),
)
def test_answers_come_back_however_they_are_cut(parts: list[tuple[int, bytes, int]], sizes: list[int]) -> None:
    head = b"Status: 201 Created\r\nX-A: b\r\n\r\n"
    records = [_record(kind, content, padding) for kind, content, padding in parts]
    stream = fastcgi.ResponseStream()
    for piece in cut(_record(6, head) + b"".join(records) + END, sizes):
        stream.feed(piece)
    stream.feed_eof()
    assert (stream.response.status, stream.response.headers["x-a"]) == (201, "b")
    assert stream.response.body == b"".join(content for kind, content, _padding in parts if kind == 6)
    assert stream.stderr == b"".join(content for kind, content, _padding in parts if kind == 7)


def test_memory_is_bounded() -> None:
    stream = fastcgi.ResponseStream()
    for _record_number in range(20):
        stream.feed(_record(7, b"e" * 60_000))
    assert len(stream.stderr) == fastcgi.MAX_STDERR
    stream.feed(_record(6, B1_STDOUT))
    stream.feed(_record(6, b"o" * 60_000))
    assert not stream.complete
    stream.feed(_record(6, b"o" * 60_000))
    assert stream.complete
    assert stream.response.truncated
    stream.feed_eof()


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (_record(10, b"\017\1FCGI_MPXS_CONNS0", padding=6, request=0), {"FCGI_MPXS_CONNS": "0"}),  # PHP-FPM's
        (_record(10, b"", request=0), {}),
        (_record(11, b"\11\0\0\0\0\0\0\0", request=0), {}),  # an application that does not know GET_VALUES
    ],
)
def test_a_management_answer_is_read(data: bytes, values: dict[str, str]) -> None:
    reader = fastcgi.ManagementReader()
    for byte in data[:-1]:
        reader.feed(bytes([byte]))
        assert not reader.complete
    with pytest.raises(ClosedEarly):
        reader.feed_eof()
    reader.feed(data[-1:])
    assert reader.complete
    assert reader.values == values
