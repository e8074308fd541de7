# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""HTTP/1.1 as a client speaks it: a request to bytes, bytes to a response. No sockets.

The same reader takes CGI responses (RFC 3875, section 6), which FastCGI and SCGI carry:
they differ in the first line and in the end of the body.
"""

from __future__ import annotations

import re
import typing as t

from ._error import ClosedEarly, WireError

#: Bounds on what a peer can make this side keep.
MAX_HEAD = 64 * 1024
MAX_FIELDS = 1000
MAX_BODY = 64 * 1024
MAX_LINE = 16 * 1024

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_STATUS_LINE = re.compile(rb"HTTP/[0-9]\.[0-9] ([0-9]{3})(?: (.*))?")  # RFC 9112, 4; the last space is often left out
_STATUS_FIELD = re.compile(r"([0-9]{3})(?: .*)?")  # RFC 3875, 6.3.3


def encode_request(method: str, target: str, fields: t.Iterable[tuple[str, str]], body: bytes = b"") -> bytes:
    """Spell a request (RFC 9112, 3 and 5); Content-Length is counted here where a body is meant (RFC 9110, 8.6)."""
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"{method!r} is not an HTTP method")
    if not re.fullmatch(r"[\x21-\x7e]+", target):
        raise ValueError(f"{target!r} is not a request target: percent-encode what is not printable ASCII")
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in fields:
        if not _TOKEN.fullmatch(name) or re.search(r"[\r\n\0]", value):
            raise ValueError(f"{name!r}: {value!r} is not a header field")
        if name.lower() in ("content-length", "transfer-encoding"):
            raise ValueError(f"{name!r} is not a header field to choose: the body says its length")
        lines.append(f"{name}: {value}")
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8") + body


class ResponseReader:
    """Reads one response, fed in pieces of any size.

    :param bodiless: the request was HEAD: the header fields describe a body that does not come.
    :param cgi: the response is a CGI document: no status line, the body ends with the stream.

    ``complete`` turns true at the end of the response, or when ``max_body`` bytes of the
    body are there (then ``truncated`` is true too, and the rest need not be read). A body that
    is taken as it comes, by :meth:`take_body`, may be endless.
    """

    def __init__(self, *, bodiless: bool = False, cgi: bool = False, max_body: int = MAX_BODY) -> None:
        self.status: int | None = None
        self.reason = ""
        self.body = bytearray()
        self.complete = False
        self.truncated = False
        self._bodiless = bodiless
        self._cgi = cgi
        self._max_body = max_body
        self._fields: list[tuple[str, list[str]]] = []  # a value's lines
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer that have no LF
        self._overhead = 0  # bytes of header, trailer and chunk extensions
        self._body_size = 0
        self._left = 0  # bytes to come in the body or in the chunk
        self._step: t.Callable[[], bool] = self._read_field if cgi else self._read_status_line

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The header's fields as they came; a folded line is read as a space (RFC 9112, 5.2)."""
        return [(name, " ".join(lines)) for name, lines in self._fields]

    @property
    def headers(self) -> dict[str, str]:
        """The fields by lower-case name; repeated ones are joined (RFC 9110, 5.3)."""
        values: dict[str, list[str]] = {}
        for name, value in self.fields:
            values.setdefault(name.lower(), []).append(value)
        return {name: ", ".join(found) for name, found in values.items()}

    @property
    def head_complete(self) -> bool:
        """Whether all of the final response's header is there."""
        return self.complete or self._step not in (self._read_status_line, self._read_field)

    @property
    def rest(self) -> bytes:
        """What came with the end of a complete response, and is no part of it: after 101 the other protocol's bytes."""
        return bytes(self._buffer) if self.complete else b""

    def take_body(self) -> bytes:
        """The body that has come since the last call."""
        taken = bytes(self.body)
        self.body.clear()
        return taken

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer. Raises WireError; what is fed after a complete response is ignored."""
        if self.complete:
            return
        self._buffer += data
        while not self.complete and self._step():
            pass

    def feed_eof(self) -> None:
        """The peer will send no more. Raises ClosedEarly unless that may end the response (RFC 9112, 8)."""
        if self.complete:
            return
        if self._step != self._read_until_close:
            raise ClosedEarly(self._what_is_missing())
        self.complete = True

    def _what_is_missing(self) -> str:
        if self.status is None or self._step in (self._read_status_line, self._read_field):
            return "the answer ended inside its header" if self._buffer or self._overhead else "no answer came"
        return f"the answer ended inside its body, after {self._body_size} bytes"

    # Each step consumes from the buffer what it can, and returns whether the next step has a chance.

    def _read_status_line(self) -> bool:
        start = bytes(self._buffer[:5])
        if not b"HTTP/".startswith(start):
            raise WireError(f"the answer starts with {bytes(self._buffer[:16])!r}, which is not HTTP")
        line = self._take_line()
        if line is None:
            return False
        match = _STATUS_LINE.fullmatch(line)
        if not match or match[1] < b"100":
            raise WireError(f"{line[:80]!r} is not an HTTP status line")
        self.status = int(match[1])
        self.reason = (match[2] or b"").decode("latin-1")
        self._step = self._read_field
        return True

    def _read_field(self) -> bool:
        # A peer that speaks something else is found out by its first byte, as with HTTP.
        if self._cgi and not self._fields and re.match(rb"[^\r\n!-~]", self._buffer):
            raise WireError(f"the answer starts with {bytes(self._buffer[:16])!r}, which is not a CGI header")
        line = self._take_line()
        if line is None:
            return False
        if line == b"":
            self._end_of_head()
        elif line[:1] in b" \t" and self._fields:
            self._fields[-1][1].append(line.strip().decode("latin-1"))
        else:
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or not _TOKEN.fullmatch(name):
                raise WireError(f"{line[:80]!r} is not a header field")
            if len(self._fields) == MAX_FIELDS:
                raise WireError(f"the header of the answer has more than {MAX_FIELDS} fields")
            self._fields.append((name, [value.strip(" \t")]))
        return True

    def _end_of_head(self) -> None:
        if self._cgi:
            self._end_of_cgi_head()
            return
        status = t.cast("int", self.status)
        if 100 <= status < 200 and status != 101:  # an interim response (RFC 9110, 15.2)
            self._fields.clear()
            self._step = self._read_status_line
        elif self._bodiless or status in (101, 204, 304):  # RFC 9112, 6.3, rules 1 and 2
            self.complete = True
        elif "transfer-encoding" in self.headers:  # overrides Content-Length (rule 3)
            chunked = self.headers["transfer-encoding"].lower().split(",")[-1].strip() == "chunked"
            self._step = self._read_chunk_size if chunked else self._read_until_close
        elif "content-length" in self.headers:
            self._left = _content_length(self.headers["content-length"])
            self._step = self._read_sized
            self.complete = self._left == 0
        else:
            self._step = self._read_until_close

    def _end_of_cgi_head(self) -> None:
        if not self._fields:
            raise WireError("the answer has no CGI header")
        headers = self.headers
        match = _STATUS_FIELD.fullmatch(headers.get("status", "302" if "location" in headers else "200"))
        if not match:
            raise WireError(f"'Status: {headers['status'][:40]}' is not a status")
        self.status = int(match[1])
        self._step = self._read_until_close

    def _read_until_close(self) -> bool:
        self._keep(len(self._buffer))
        return False

    def _read_sized(self) -> bool:
        self._left -= self._keep(min(self._left, len(self._buffer)))
        self.complete = self.complete or self._left == 0
        return False

    def _read_chunk_size(self) -> bool:  # RFC 9112, 7.1
        line = self._take_line()
        if line is None:
            return False
        digits, _semicolon, extensions = line.partition(b";")
        self._bear(len(extensions))
        digits = digits.strip(b" \t")
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", digits):
            raise WireError(f"{line[:40]!r} is not a chunk size")
        self._left = int(digits, 16)
        self._step = self._read_chunk if self._left else self._read_trailer
        return True

    def _read_chunk(self) -> bool:
        self._left -= self._keep(min(self._left, len(self._buffer)))
        if self._left == 0:
            self._step = self._read_chunk_end
        return self._left == 0

    def _read_chunk_end(self) -> bool:
        line = self._take_line()
        if line:
            raise WireError(f"{line[:40]!r} where a chunk should end")
        if line is not None:
            self._step = self._read_chunk_size
        return line is not None

    def _read_trailer(self) -> bool:
        line = self._take_line()
        self.complete = line == b""
        return bool(line)

    def _keep(self, size: int) -> int:
        """Move ``size`` bytes from the buffer to the body, up to its bound."""
        room = self._max_body - len(self.body)
        self.body += self._buffer[: min(size, room)]
        self._body_size += size
        del self._buffer[:size]
        if size > room:
            self.truncated = self.complete = True
        return size

    def _take_line(self) -> bytes | None:
        """A line without its end; a bare LF ends one too (RFC 9112, 2.2)."""
        end = self._buffer.find(b"\n", self._searched)
        self._searched = 0 if end >= 0 else len(self._buffer)
        if end < 0 and len(self._buffer) <= MAX_LINE:
            return None
        if end < 0 or end > MAX_LINE:
            raise WireError(f"a line of the answer is longer than {MAX_LINE} bytes")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        if self._step in (self._read_status_line, self._read_field, self._read_trailer):
            self._bear(end + 1)
        return line[:-1] if line.endswith(b"\r") else line

    def _bear(self, size: int) -> None:
        """Count what is no body."""
        self._overhead += size
        if self._overhead > MAX_HEAD:
            raise WireError(f"the header of the answer is longer than {MAX_HEAD} bytes")


def _content_length(value: str) -> int:
    """One number, perhaps repeated (RFC 9110, 8.6)."""
    sizes = {item.strip() for item in value.split(",")}
    if len(sizes) != 1 or not re.fullmatch(r"[0-9]{1,18}", min(sizes)):
        raise WireError(f"'Content-Length: {value[:40]}' is not a length")
    return int(min(sizes))
