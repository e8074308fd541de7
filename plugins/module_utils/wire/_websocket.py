# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""WebSocket as a client speaks it (RFC 6455), without extensions: frames to bytes, bytes to messages. No sockets.

The answer to the handshake is HTTP: :class:`ResponseReader` of the HTTP codec reads it, and
what follows it (``rest``) is the beginning of what :class:`MessageReader` reads.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import typing as t

from . import _http
from ._error import ClosedEarly, WireError

# 5.2 and 11.8
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL_CLOSURE = 1000  # 7.4.1

#: The longest payload of a control frame (5.5).
MAX_CONTROL = 125
MAX_MESSAGE = 64 * 1024

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # 1.3


class Message(t.NamedTuple):
    """A message with its fragments joined, or a control frame."""

    opcode: int
    payload: bytes


def encode_handshake(target: str, fields: t.Iterable[tuple[str, str]], key: str) -> bytes:
    """Spell the request to upgrade (4.1). ``fields`` begin with Host; ``key`` is 16 bytes in base64."""
    upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]
    return _http.encode_request("GET", target, [*fields, *upgrade])


def accept_for(key: str) -> str:
    """The Sec-WebSocket-Accept that proves that the server has read ``key`` (1.3)."""
    return base64.b64encode(hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()).decode("ascii")


def encode_frame(opcode: int, payload: bytes, mask: bytes, fin: bool = True) -> bytes:
    """Spell a frame of a client, which is always masked (5.2, 5.3)."""
    if len(mask) != 4:
        raise ValueError(f"a mask has 4 bytes, not {len(mask)}")
    size = len(payload)
    if opcode >= CLOSE and (size > MAX_CONTROL or not fin):
        raise ValueError(f"a control frame is one frame of at most {MAX_CONTROL} bytes")
    if size <= 125:
        length = struct.pack(">B", 0x80 | size)
    elif size <= 0xFFFF:
        length = struct.pack(">BH", 0x80 | 126, size)
    else:
        length = struct.pack(">BQ", 0x80 | 127, size)
    pad = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    masked = (int.from_bytes(payload, "big") ^ pad).to_bytes(size, "big")
    return bytes([(0x80 if fin else 0) | opcode]) + length + mask + masked


def encode_close(code: int = NORMAL_CLOSURE, reason: str = "") -> bytes:
    """Spell the payload of a close frame (5.5.1)."""
    return struct.pack(">H", code) + reason.encode("utf-8")


def decode_close(payload: bytes) -> tuple[int | None, str]:
    """Read the payload of a close frame: code (None: it has none) and reason (5.5.1, 7.4). Raises WireError."""
    if not payload:
        return None, ""
    code = int.from_bytes(payload[:2], "big")
    # 1004 to 1006 and 1015 are never sent; 1012 to 1014 were registered later (11.7).
    if len(payload) < 2 or not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise WireError(f"a close frame starts with {payload[:2]!r}, which is not a status code")
    return code, _text(payload[2:], "the reason of a close frame")


class MessageReader:
    """Reads what a server sends after the handshake, fed in pieces of any size.

    ``closed`` turns true with the server's close frame; what follows that is ignored.
    """

    def __init__(self, max_message: int = MAX_MESSAGE) -> None:
        self.closed = False
        self._max_message = max_message
        self._buffer = bytearray()
        #: The message whose fragments are coming.
        self._opcode: int | None = None
        self._message = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes from the server, return the messages and control frames they complete. Raises WireError."""
        messages: list[Message] = []
        self._buffer += data
        while not self.closed:
            frame = self._take_frame()
            if frame is None:
                break
            message = self._take(*frame)
            if message:
                messages.append(message)
        return messages

    def feed_eof(self) -> None:
        """The server will send no more. Raises ClosedEarly unless its close frame came."""
        if not self.closed:
            inside = "inside a message" if self._buffer or self._opcode is not None else "without a close frame"
            raise ClosedEarly(f"the connection ended {inside}")

    def _take_frame(self) -> tuple[int, bool, bytes] | None:
        """Opcode, FIN and payload of a frame that is complete (5.2)."""
        buffer = self._buffer
        if not buffer:
            return None
        fin, opcode = bool(buffer[0] & 0x80), buffer[0] & 0x0F
        # A peer that speaks something else is found out by its first byte.
        if buffer[0] & 0x70 or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise WireError(f"a frame starts with {bytes(buffer[:16])!r}, which is not WebSocket without extensions")
        if len(buffer) < 2:
            return None
        if buffer[1] & 0x80:
            raise WireError("the server's frame is masked, which only a client's may be")
        size = buffer[1]
        extended = {126: 2, 127: 8}.get(size, 0)
        start = 2 + extended
        if opcode >= CLOSE and (extended or not fin):
            raise WireError(f"a control frame is in fragments, or longer than {MAX_CONTROL} bytes")
        if len(buffer) < start:
            return None
        if extended:
            size = int.from_bytes(buffer[2:start], "big")
            if size < (126 if extended == 2 else 0x10000) or size >> 63:
                raise WireError(f"the length {size} of a frame is not spelled as short as it can be")
        kept = 0 if opcode >= CLOSE else len(self._message)
        if kept + size > self._max_message:
            raise WireError(f"a message is longer than {self._max_message} bytes: {kept + size}")
        if len(buffer) < start + size:
            return None
        payload = bytes(buffer[start : start + size])
        del buffer[: start + size]
        return opcode, fin, payload

    def _take(self, opcode: int, fin: bool, payload: bytes) -> Message | None:
        """The message that a frame completes (5.4)."""
        if opcode >= CLOSE:
            if opcode == CLOSE:
                decode_close(payload)
                self.closed = True
            return Message(opcode, payload)
        if (opcode == CONTINUATION) is (self._opcode is None):
            raise WireError(
                "a fragment continues no message" if self._opcode is None else "a message starts inside another"
            )
        if opcode != CONTINUATION:
            self._opcode = opcode
        self._message += payload
        if not fin:
            return None
        message = Message(t.cast("int", self._opcode), bytes(self._message))
        self._opcode = None
        self._message.clear()
        if message.opcode == TEXT:
            _text(message.payload, "a text message")
        return message


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"{what} is not UTF-8: {error}") from error
