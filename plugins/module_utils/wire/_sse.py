# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Server-sent events as a browser reads them: bytes of the body to events. No sockets.

Section numbers are those of the HTML standard: 9.2.5, 9.2.6.
"""

from __future__ import annotations

import re
import typing as t

from ._error import WireError

MAX_EVENT = 64 * 1024

_LINE_END = re.compile(rb"\r\n|\r|\n")
_RETRY = re.compile(rb"[0-9]{1,15}")  # any digits, says the standard; milliseconds beyond this are no time


class Event(t.NamedTuple):
    """An event as a page gets it; ``id`` is the last one sent, with this event or before."""

    type: str
    data: str
    id: str


class EventReader:
    """Reads a stream of events, fed in pieces of any size. What the end of the stream cuts off is no event.

    ``retry`` is the reconnection time that the server asked for, in milliseconds; ``comments``
    counts the comments, which servers send to keep a connection alive.
    """

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self.retry: int | None = None
        self.comments = 0
        self._max_event = max_event
        self._line = bytearray()  # as much of it as has come
        self._first = True
        self._after_cr = False
        self._type = b""
        self._data = bytearray()
        self._id = b""

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes of the body, return the events they complete. Raises WireError for what exceeds max_event."""
        if self._after_cr and data[:1] == b"\n":  # CR LF, cut between the two
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        events = []
        *ended, rest = _LINE_END.split(data)
        for piece in ended:
            self._line += piece
            event = self._take_line()
            if event:
                events.append(event)
        self._line += rest
        self._check_size()
        return events

    def _take_line(self) -> Event | None:
        """The event that a complete line ends (9.2.6)."""
        self._check_size()
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            line = line[3:] if line.startswith(b"\xef\xbb\xbf") else line
        if not line:
            return self._dispatch()
        name, _colon, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if not name:
            self.comments += 1
        elif name == b"event":
            self._type = value
        elif name == b"data":
            self._data += value + b"\n"
        elif name == b"id" and b"\0" not in value:
            self._id = value
        elif name == b"retry" and _RETRY.fullmatch(value):
            self.retry = int(value)
        return None

    def _dispatch(self) -> Event | None:
        data, kind = bytes(self._data), self._type
        self._data.clear()
        self._type = b""
        if not data:
            return None
        return Event(_text(kind) or "message", _text(data[:-1]), _text(self._id))

    def _check_size(self) -> None:
        if len(self._line) + len(self._data) > self._max_event:
            raise WireError(f"an event is longer than {self._max_event} bytes")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
