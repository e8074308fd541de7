# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""FastCGI 1.0 as a web server speaks it: a responder request to bytes, records to a response. No sockets.

Section numbers are those of the FastCGI Specification, document version 1.0 of 29 April 1996.
"""

from __future__ import annotations

import struct
import typing as t

from ._error import ClosedEarly, WireError
from ._http import MAX_BODY, ResponseReader

VERSION = 1
# 8: types of records
BEGIN_REQUEST, ABORT_REQUEST, END_REQUEST, PARAMS, STDIN, STDOUT, STDERR = range(1, 8)
GET_VALUES, GET_VALUES_RESULT, UNKNOWN_TYPE = 9, 10, 11
RESPONDER = 1
# 5.5: protocolStatus of END_REQUEST
REQUEST_COMPLETE, CANT_MPX_CONN, OVERLOADED, UNKNOWN_ROLE = range(4)

#: Management records carry request id 0 (3.3); this side has one request per connection.
NO_REQUEST, REQUEST = 0, 1
MAX_STDERR = 4 * 1024

_HEADER = struct.Struct(">BBHHBx")  # version, type, requestId, contentLength, paddingLength, reserved (3.3)
_MAX_CONTENT = 0xFFF8  # the longest content that needs no padding to stay aligned to 8 bytes


class Record(t.NamedTuple):
    """One record without its padding."""

    type: int
    request_id: int
    content: bytes


def encode_record(record: Record) -> bytes:
    """Spell a record, padded to a multiple of 8 bytes as 3.3 recommends."""
    padding = -len(record.content) % 8
    header = _HEADER.pack(VERSION, record.type, record.request_id, len(record.content), padding)
    return header + record.content + bytes(padding)


def encode_stream(record_type: int, data: bytes) -> bytes:
    """Spell a stream: records of data and an empty one that ends it (3.3)."""
    pieces = [data[start : start + _MAX_CONTENT] for start in range(0, len(data), _MAX_CONTENT)]
    return b"".join(encode_record(Record(record_type, REQUEST, piece)) for piece in [*pieces, b""])


def encode_pairs(pairs: t.Mapping[str, str]) -> bytes:
    """Spell name-value pairs; a length is one byte below 128, else four (3.4)."""
    spelled = []
    for name, value in pairs.items():
        items = (name.encode("utf-8"), value.encode("utf-8"))
        spelled += [struct.pack(">B", len(i)) if len(i) < 128 else struct.pack(">I", len(i) | 1 << 31) for i in items]
        spelled += items
    return b"".join(spelled)


def decode_pairs(data: bytes) -> dict[str, str]:
    """Read name-value pairs (3.4)."""
    pairs = {}
    position = 0

    def length() -> int:
        nonlocal position
        size = 4 if data[position : position + 1] >= b"\x80" else 1
        piece = data[position : position + size]
        if len(piece) < size:
            raise WireError("a name-value pair ends inside its length")
        position += size
        return int.from_bytes(piece, "big") & 0x7FFFFFFF if size == 4 else piece[0]

    while position < len(data):
        name_size = length()
        value_size = length()
        end = position + name_size + value_size
        if end > len(data):
            raise WireError("a name-value pair is longer than its record")
        name = data[position : position + name_size].decode("utf-8", "replace")
        pairs[name] = data[position + name_size : end].decode("utf-8", "replace")
        position = end
    return pairs


def encode_request(params: t.Mapping[str, str], body: bytes = b"") -> bytes:
    """Spell a complete responder request: BEGIN_REQUEST, PARAMS, STDIN (5.1 to 5.3, 6.2).

    Without FCGI_KEEP_CONN the application closes the connection after the answer.
    """
    begin = encode_record(Record(BEGIN_REQUEST, REQUEST, struct.pack(">HB5x", RESPONDER, 0)))
    return begin + encode_stream(PARAMS, encode_pairs(params)) + encode_stream(STDIN, body)


def encode_get_values(*names: str) -> bytes:
    """Spell the management query that every application answers without running anything (4.1)."""
    return encode_record(Record(GET_VALUES, NO_REQUEST, encode_pairs(dict.fromkeys(names, ""))))


class RecordReader:
    """Cuts a stream of bytes, fed in pieces of any size, into records."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of a record that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> t.Iterator[Record]:
        """Take bytes, give the records they complete, each when it is asked for. Raises WireError."""
        self._buffer += data
        while self._buffer:
            if self._buffer[0] != VERSION:
                raise WireError(f"a record starts with {bytes(self._buffer[:16])!r}, which is not FastCGI")
            if len(self._buffer) < _HEADER.size:
                break
            _version, record_type, request_id, size, padding = _HEADER.unpack_from(self._buffer)
            end = _HEADER.size + size
            if len(self._buffer) < end + padding:
                break
            record = Record(record_type, request_id, bytes(self._buffer[_HEADER.size : end]))
            del self._buffer[: end + padding]
            yield record


class ResponseStream:
    """Reads the answer to one request: STDOUT as a CGI response, STDERR, END_REQUEST (6.2)."""

    def __init__(self, *, bodiless: bool = False, max_body: int = MAX_BODY) -> None:
        self.response = ResponseReader(cgi=True, bodiless=bodiless, max_body=max_body)
        self.stderr = bytearray()
        self.complete = False
        self.app_status: int | None = None
        self.protocol_status: int | None = None
        self._records = RecordReader()
        self._started = False

    def feed(self, data: bytes) -> None:
        """Take bytes from the application. Raises WireError; what follows END_REQUEST is ignored."""
        for record in self._records.feed(data) if not self.complete else ():
            self._started = True
            if record.request_id != REQUEST:
                raise WireError(f"the answer has a record of request {record.request_id}, which nobody sent")
            if record.type == STDOUT:
                self.response.feed(record.content)
                self.complete = self.response.truncated
            elif record.type == STDERR:
                self.stderr += record.content[: MAX_STDERR - len(self.stderr)]
            elif record.type == END_REQUEST:
                self._end(record.content)
            else:
                raise WireError(f"the answer has a record of type {record.type}, which no application sends")
            if self.complete:
                break

    def feed_eof(self) -> None:
        """The application will send no more. Raises ClosedEarly unless END_REQUEST came."""
        if not self.complete:
            started = self._started or self._records.pending
            raise ClosedEarly("the answer ended without END_REQUEST" if started else "no answer came")

    def _end(self, content: bytes) -> None:
        if len(content) < 8:
            raise WireError(f"END_REQUEST has {len(content)} bytes instead of 8")
        self.app_status, self.protocol_status = struct.unpack_from(">IB", content)  # 5.5
        if self.protocol_status == REQUEST_COMPLETE:
            self.response.feed_eof()
        self.complete = True


class ManagementReader:
    """Reads the answer to a management query: GET_VALUES_RESULT, or UNKNOWN_TYPE (4.1, 4.2)."""

    def __init__(self) -> None:
        self.complete = False
        self.values: dict[str, str] = {}
        self._records = RecordReader()

    def feed(self, data: bytes) -> None:
        """Take bytes from the application. Raises WireError."""
        for record in self._records.feed(data):
            if record.type not in (GET_VALUES_RESULT, UNKNOWN_TYPE) or record.request_id != NO_REQUEST:
                raise WireError(f"the answer to GET_VALUES is a record of type {record.type}")
            if record.type == GET_VALUES_RESULT:
                self.values.update(decode_pairs(record.content))
            self.complete = True

    def feed_eof(self) -> None:
        """The application will send no more."""
        if not self.complete:
            raise ClosedEarly("the answer ended inside a record" if self._records.pending else "no answer came")
