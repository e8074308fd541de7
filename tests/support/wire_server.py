# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server's side of the protocols, as far as tests need it: what a client sent, taken apart by the codecs."""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils.wire import _fastcgi


class FastCgiRequest:
    """Reads one FastCGI request, fed in pieces: its parameters and its body."""

    def __init__(self) -> None:
        self.role: int | None = None
        self.keep_connection = False
        self.request_id = 0
        self.complete = False
        self.body = b""
        self._params = b""
        self._records = _fastcgi.RecordReader()

    @property
    def params(self) -> dict[str, str]:
        return _fastcgi.decode_pairs(self._params)

    def feed(self, data: bytes) -> None:
        for record in self._records.feed(data):
            if record.type == _fastcgi.BEGIN_REQUEST:
                self.role, flags = struct.unpack_from(">HB", record.content)
                self.keep_connection = bool(flags & 1)
                self.request_id = record.request_id
            elif record.type == _fastcgi.PARAMS:
                self._params += record.content
            elif record.type == _fastcgi.STDIN:
                self.body += record.content
                self.complete = not record.content
            else:
                raise AssertionError(f"a request has no record of type {record.type}")


def server_frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = False
) -> bytes:
    """A WebSocket frame as a server spells it, or as one that breaks the rules would."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    else:
        length = struct.pack(">BH", 126, size) if size < 0x10000 else struct.pack(">BQ", 127, size)
    if masked:  # with a mask of zeros: the payload stays as it is
        length, payload = bytes([length[0] | 0x80]) + length[1:], bytes(4) + payload
    return bytes([fin << 7 | reserved << 4 | opcode]) + length + payload


def cut(data: bytes, sizes: t.Iterable[int]) -> t.Iterator[bytes]:
    """The data in pieces of these sizes, then what is left."""
    position = 0
    for size in [*sizes, len(data)]:
        if position < len(data):
            yield data[position : position + size]
        position += size
