# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The uwsgi protocol as a web server speaks it: a request to bytes, a ping and its pong. No sockets.

After "The uwsgi Protocol" in uWSGI's documentation: a packet is modifier1, the size of its
body (16 bits, little endian), modifier2, and the body. The answer to a request is HTTP, so
:class:`ResponseReader` of the HTTP codec reads it.
"""

from __future__ import annotations

import struct
import typing as t

from ._error import ClosedEarly, WireError

HEADER = struct.Struct("<BHB")
MAX_BODY = 0xFFFF
# modifier1 of a request for an application, and of a ping; a pong has modifier2 1
WSGI, PING = 0, 100


def encode_packet(modifier1: int, body: bytes = b"", modifier2: int = 0) -> bytes:
    """Spell a packet."""
    if len(body) > MAX_BODY:
        raise ValueError(f"the variables of a uwsgi request have {len(body)} bytes, and 16 bits count {MAX_BODY}")
    return HEADER.pack(modifier1, len(body), modifier2) + body


def encode_request(variables: t.Mapping[str, str], modifier1: int = WSGI, modifier2: int = 0) -> bytes:
    """Spell a request without a body: each name and value after its size (16 bits, little endian)."""
    body = bytearray()
    for pair in variables.items():
        for item in pair:
            data = item.encode("utf-8")
            if len(data) > MAX_BODY:
                raise ValueError(f"{pair[0][:40]!r} has {len(data)} bytes, and 16 bits count {MAX_BODY}")
            body += struct.pack("<H", len(data)) + data
    return encode_packet(modifier1, bytes(body), modifier2)


def decode_variables(body: bytes) -> dict[str, str]:
    """Read the variables of a request."""
    items = []
    position = 0
    while position < len(body):
        if position + 2 > len(body):
            raise WireError("the variables end inside a size")
        end = position + 2 + struct.unpack_from("<H", body, position)[0]
        if end > len(body):
            raise WireError("a variable is longer than its packet")
        items.append(body[position + 2 : end].decode("utf-8", "replace"))
        position = end
    if len(items) % 2:
        raise WireError(f"the variable {items[-1][:40]!r} has no value")
    return dict(zip(items[::2], items[1::2]))


class PongReader:
    """Reads the answer to a ping: a packet with modifier1 100 and modifier2 1."""

    def __init__(self) -> None:
        self.complete = False
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes from the server. Raises WireError."""
        self._buffer += data[: HEADER.size]
        if self._buffer and self._buffer[0] != PING:
            raise WireError(f"the answer starts with {bytes(self._buffer[:16])!r}, which is no uwsgi pong")
        if len(self._buffer) >= HEADER.size:
            modifier2 = HEADER.unpack_from(self._buffer)[2]
            if modifier2 != 1:
                raise WireError(f"modifier2 of the pong is {modifier2} instead of 1")
            self.complete = True

    def feed_eof(self) -> None:
        """The server will send no more."""
        if not self.complete:
            raise ClosedEarly("the answer ended inside a uwsgi packet" if self._buffer else "no answer came")
