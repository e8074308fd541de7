# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The WebSocket codec against the bytes of RFC 6455, and against the library `websockets`."""

from __future__ import annotations

import base64
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri
from wire_server import cut, server_frame

from ansible_collections.weblab.stacks.plugins.module_utils.wire import _websocket as websocket
from ansible_collections.weblab.stacks.plugins.module_utils.wire._error import ClosedEarly, WireError
from ansible_collections.weblab.stacks.plugins.module_utils.wire._http import ResponseReader
from ansible_collections.weblab.stacks.plugins.module_utils.wire._websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Message,
    MessageReader,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3
MASK = bytes.fromhex("37fa213d")  # 5.7


# The bytes of the RFC


def test_the_accept_key_is_the_one_of_the_rfc() -> None:
    assert websocket.accept_for(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # 1.3


def test_the_handshake_is_the_one_of_the_rfc() -> None:
    fields = [("Host", "server.example.com"), ("Origin", "http://example.com")]
    lines = websocket.encode_handshake("/chat", fields, KEY).decode().split("\r\n")
    assert lines[0] == "GET /chat HTTP/1.1"
    assert lines[-2:] == ["", ""]
    assert set(lines[1:-2]) == {  # 1.2, without the subprotocols
        "Host: server.example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Origin: http://example.com",
        "Sec-WebSocket-Version: 13",
    }


@pytest.mark.parametrize(
    ("data", "messages"),
    [  # 5.7; what a server sends
        ("81 05 48 65 6c 6c 6f", [Message(TEXT, b"Hello")]),
        ("01 03 48 65 6c 80 02 6c 6f", [Message(TEXT, b"Hello")]),
        ("89 05 48 65 6c 6c 6f", [Message(PING, b"Hello")]),
        ("82 7e 01 00" + "ab" * 256, [Message(BINARY, b"\xab" * 256)]),
        ("82 7f 00 00 00 00 00 01 00 00" + "cd" * 65536, [Message(BINARY, b"\xcd" * 65536)]),
        ("01 03 48 65 6c 89 01 21 80 02 6c 6f", [Message(PING, b"!"), Message(TEXT, b"Hello")]),  # 5.4: in between
    ],
)
@pytest.mark.parametrize("step", [1, 3, 100_000])
def test_a_servers_frames_are_those_of_the_rfc(data: str, messages: list[Message], step: int) -> None:
    raw = bytes.fromhex(data)
    reader = MessageReader()
    assert [m for start in range(0, len(raw), step) for m in reader.feed(raw[start : start + step])] == messages


@pytest.mark.parametrize(
    ("opcode", "data"),
    [(TEXT, "81 85 37 fa 21 3d 7f 9f 4d 51 58"), (PONG, "8a 85 37 fa 21 3d 7f 9f 4d 51 58")],  # 5.7
)
def test_a_clients_frames_are_those_of_the_rfc(opcode: int, data: str) -> None:
    assert websocket.encode_frame(opcode, b"Hello", MASK) == bytes.fromhex(data)


# The other side, by a library that this project did not write


def test_the_handshake_is_what_a_server_takes_and_its_answer_is_read() -> None:
    server = ServerProtocol()
    server.receive_data(websocket.encode_handshake("/chat?x=1", [("Host", "a.example:81")], KEY))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    assert (request.path, request.headers["Host"]) == ("/chat?x=1", "a.example:81")
    server.send_response(server.accept(request))
    server.send_text(b"welcome")  # in the same piece as the answer
    reader = ResponseReader()
    reader.feed(b"".join(server.data_to_send()))
    assert (reader.complete, reader.status) == (True, 101)
    assert reader.headers["sec-websocket-accept"] == websocket.accept_for(KEY)
    assert MessageReader().feed(reader.rest) == [Message(TEXT, b"welcome")]


_PAYLOADS = st.binary(max_size=300) | st.integers(125, 127).map(bytes) | st.sampled_from([bytes(65535), bytes(65536)])


@given(st.sampled_from([TEXT, BINARY, CONTINUATION]), _PAYLOADS, st.binary(min_size=4, max_size=4), st.booleans())
def test_a_clients_frames_are_read_by_the_library(opcode: int, payload: bytes, mask: bytes, fin: bool) -> None:
    server = ServerProtocol(state=State.OPEN)
    if opcode == CONTINUATION:
        server.receive_data(websocket.encode_frame(BINARY, b"", mask, fin=False))
        server.events_received()
    server.receive_data(websocket.encode_frame(opcode, payload, mask, fin))
    (frame,) = server.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, bytes(frame.data), frame.fin) == (opcode, payload, fin)


@given(st.sampled_from([PING, PONG, CLOSE]), st.binary(max_size=123), st.binary(min_size=4, max_size=4))
def test_a_clients_control_frames_are_read_by_the_library(opcode: int, payload: bytes, mask: bytes) -> None:
    if opcode == CLOSE:
        payload = websocket.encode_close(4000, payload.hex()[:123])
    server = ServerProtocol(state=State.OPEN)
    server.receive_data(websocket.encode_frame(opcode, payload, mask))
    (frame,) = server.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, bytes(frame.data)) == (opcode, payload)


_FRAGMENTS = st.lists(st.binary(max_size=200), min_size=1, max_size=4)


@given(st.lists(_FRAGMENTS, max_size=5), st.lists(st.binary(max_size=125), max_size=3), st.lists(st.integers(1, 50)))
def test_the_librarys_frames_are_read_in_pieces_of_any_size(
    fragmented: list[list[bytes]], pings: list[bytes], sizes: list[int]
) -> None:
    data = b""
    expected = []
    for number, fragments in enumerate(fragmented):
        for index, fragment in enumerate(fragments):
            opcode = Opcode.BINARY if index == 0 else Opcode.CONT
            data += Frame(opcode, fragment, fin=index == len(fragments) - 1).serialize(mask=False)
            if index == 0 and number < len(pings):
                data += Frame(Opcode.PING, pings[number]).serialize(mask=False)
                # With fragments to come, the ping is there before its message is complete.
                expected += [Message(PING, pings[number])] if len(fragments) > 1 else []
        expected.append(Message(BINARY, b"".join(fragments)))
        expected += [Message(PING, pings[number])] if len(fragments) == 1 and number < len(pings) else []
    data += Frame(Opcode.CLOSE, b"\x03\xe8bye").serialize(mask=False)
    reader = MessageReader()
    messages = [message for piece in cut(data, sizes) for message in reader.feed(piece)]
    assert messages == [*expected, Message(CLOSE, b"\x03\xe8bye")]
    reader.feed_eof()


_FRAMES = st.builds(
    server_frame,
    opcode=st.sampled_from([CONTINUATION, TEXT, BINARY, PING, PONG, 3, 11]),
    payload=st.sampled_from([b"", b"a", b"x" * 125, b"x" * 126, b"x" * 700]),
    fin=st.booleans(),
    reserved=st.sampled_from([0] * 7 + [1, 2, 4]),
    masked=st.sampled_from([False] * 9 + [True]),
)


@given(st.lists(_FRAMES, max_size=6))
def test_refuses_what_the_library_refuses(frames: list[bytes]) -> None:
    theirs = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=1000)
    theirs.receive_data(b"".join(frames))
    try:
        MessageReader(1000).feed(b"".join(frames))
    except WireError as error:
        assert theirs.parser_exc, error
    else:
        assert theirs.parser_exc is None


# Close codes


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_close_code_that_may_be_sent_is_read(code: int) -> None:
    assert websocket.decode_close(websocket.encode_close(code, "\u043f\u043e\u043a\u0430")) == (
        code,
        "\u043f\u043e\u043a\u0430",
    )


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])  # 7.4.1, 7.4.2
def test_a_close_code_that_must_not_be_sent_is_refused(code: int) -> None:
    with pytest.raises(WireError, match="not a status code"):
        MessageReader().feed(server_frame(CLOSE, websocket.encode_close(code)))


def test_a_close_frame_may_be_empty_and_ends_the_stream() -> None:
    assert websocket.decode_close(b"") == (None, "")
    reader = MessageReader()
    assert reader.feed(server_frame(CLOSE) + b"what follows is not read") == [Message(CLOSE, b"")]
    assert reader.closed
    reader.feed_eof()


# What is not the protocol


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "not WebSocket"),  # its first byte has a reserved bit
        (server_frame(TEXT, b"x", reserved=4), "without extensions"),
        (server_frame(3), "not WebSocket"),
        (server_frame(11), "not WebSocket"),
        (server_frame(TEXT, b"x", masked=True), "is masked"),
        (server_frame(CONTINUATION, b"x"), "continues no message"),
        (server_frame(TEXT, b"x", fin=False) + server_frame(TEXT, b"y"), "inside another"),
        (server_frame(PING, b"x", fin=False), "control frame is in fragments"),
        (server_frame(PING, b"x" * 126), "control frame is in fragments, or longer"),
        (bytes.fromhex("82 7e 00 7d"), "as short as it can be"),
        (bytes.fromhex("82 7f 00 00 00 00 00 00 ff ff"), "as short as it can be"),
        (bytes.fromhex("82 7f 80 00 00 00 00 01 00 00"), "as short as it can be"),  # 5.2: the highest bit is 0
        (bytes.fromhex("82 7f 00 00 00 00 80 00 00 00"), "longer than 65536 bytes: 2147483648"),
        (server_frame(TEXT, b"\xff"), "not UTF-8"),
        (server_frame(TEXT, b"\xd0", fin=False) + server_frame(CONTINUATION, b""), "not UTF-8"),
        (server_frame(TEXT, b"\xed\xa0\x80"), "not UTF-8"),  # a surrogate
        (server_frame(CLOSE, b"\x03"), "not a status code"),
        (server_frame(CLOSE, b"\x03\xe8\xff"), "the reason of a close frame is not UTF-8"),
    ],
)
@pytest.mark.parametrize("step", [1, 100])
def test_what_is_not_the_protocol_is_refused(data: bytes, problem: str, step: int) -> None:
    reader = MessageReader()
    with pytest.raises(WireError, match=problem):
        for start in range(0, len(data), step):
            reader.feed(data[start : start + step])


def test_a_character_may_be_cut_by_a_fragment() -> None:
    data = server_frame(TEXT, b"\xd0", fin=False) + server_frame(CONTINUATION, b"\xb6")
    assert MessageReader().feed(data) == [Message(TEXT, b"\xd0\xb6")]


def test_what_a_length_claims_is_not_waited_for() -> None:
    reader = MessageReader(1000)
    reader.feed(server_frame(BINARY, b"x" * 600, fin=False))
    with pytest.raises(WireError, match="longer than 1000 bytes: 1001"):
        reader.feed(server_frame(CONTINUATION, b"x" * 401)[:4])  # only the header of the frame


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "without a close frame"),
        (b"\x81", "inside a message"),
        (server_frame(TEXT, b"x", fin=False), "inside a message"),
        (server_frame(TEXT, b"x"), "without a close frame"),
    ],
)
def test_the_error_says_where_the_connection_ended(data: bytes, words: str) -> None:
    reader = MessageReader()
    reader.feed(data)
    with pytest.raises(ClosedEarly, match=words):
        reader.feed_eof()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mask": b"\0\0\0"}, "a mask has 4 bytes"),
        ({"opcode": PING, "payload": b"x" * 126}, "at most 125 bytes"),
        ({"opcode": PING, "fin": False}, "one frame"),
    ],
)
def test_a_frame_that_no_server_takes_is_not_spelled(options: dict[str, t.Any], words: str) -> None:
    arguments: dict[str, t.Any] = {"opcode": TEXT, "payload": b"x", "mask": MASK, **options}
    with pytest.raises(ValueError, match=words):
        websocket.encode_frame(**arguments)


def test_nothing_is_smuggled_into_the_handshake() -> None:
    with pytest.raises(ValueError, match="not a header field"):
        websocket.encode_handshake("/", [("Host", "a\r\nX: y")], base64.b64encode(bytes(16)).decode())
