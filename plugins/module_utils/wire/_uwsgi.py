# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The uwsgi protocol as a web server speaks it: a request to bytes. No sockets.

After "The uwsgi Protocol" in uWSGI's documentation: a packet is modifier1, the size of its
body (16 bits, little endian), modifier2, and the body. The answer to a request is HTTP, so
:class:`ResponseReader` of the HTTP codec reads it.
"""

from __future__ import annotations

import struct
import typing as t

from ._error import WireError

HEADER = struct.Struct("<BHB")
MAX_BODY = 0xFFFF
#: modifier1 of a request for a WSGI application
WSGI = 0


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
