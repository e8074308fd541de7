# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Conversations that go on after the answer's header: WebSocket, and server-sent events."""

from __future__ import annotations

import base64
import os
import typing as t

from ..wire import _http, _sse, _websocket
from ..wire._error import ClosedEarly
from ._conversations import Answer, Conversation, Events
from ._requests import Http, http_answer, request_fields

if t.TYPE_CHECKING:
    from ._check import Check


class WebSocket(Conversation):
    """A handshake; the echo, if one is asked for; a ping; the closing handshake."""

    complete = False

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self._key = base64.b64encode(os.urandom(16)).decode("ascii")
        self._head = _http.ResponseReader(max_body=check.max_body)
        self._messages = _websocket.MessageReader()
        self._upgraded = False
        self._output = b""
        self._failure: str | None = None
        self._first: bytes | None = None
        self._awaited = ""  # the echo, the pong, or the close frame
        self._ping = os.urandom(4).hex().encode("ascii")

    def opening(self) -> bytes:
        fields = request_fields(self.check)
        if self.check.origin is not None:
            fields.append(("Origin", self.check.origin))
        if self.check.subprotocols:
            fields.append(("Sec-WebSocket-Protocol", ", ".join(self.check.subprotocols)))
        return _websocket.encode_handshake(self.check.path or "/", fields, self._key)

    def feed(self, data: bytes) -> None:
        if not self._upgraded:
            self._head.feed(data)
            endless = self._head.head_complete and is_event_stream(self._head.headers)
            if not self._head.complete:
                self.complete = endless
                return
            if self._head.status == 101:
                self._failure = self._handshake_failure()
            if self._head.status != 101 or self._failure:
                self.complete = True
                return
            self._upgraded = True
            data = self._head.rest
            self._say_next()
        for opcode, payload in self._messages.feed(data):
            self._take(opcode, payload)

    def feed_eof(self) -> None:
        if self.parting:
            self.complete = True
        elif self._upgraded:
            self._messages.feed_eof()
        else:
            self._head.feed_eof()
            self.complete = True

    def take_output(self) -> bytes:
        output, self._output = self._output, b""
        return output

    def answer(self) -> Answer:
        body = {"body": self._first or b""} if self._upgraded else {}
        return http_answer(self._head, failure=self._failure, **body)

    def missing(self) -> str:
        if not self._upgraded:
            return ""
        came = f", but {_shortened(self._first)} did" if self._first is not None else ""
        return f"the WebSocket is open, and {self._awaited} did not come{came}"

    def _handshake_failure(self) -> str | None:
        """What is wrong with a 101 (RFC 6455, 4.1)."""
        headers = self._head.headers
        expected = {"upgrade": "websocket", "connection": "upgrade"}
        for name, value in expected.items():
            if value not in {item.strip().lower() for item in headers.get(name, "").split(",")}:
                return f"the answer 101 lacks {name.title()}: {value}"
        accept = _websocket.accept_for(self._key)
        if headers.get("sec-websocket-accept") != accept:
            got = headers.get("sec-websocket-accept")
            return f"the answer 101 has Sec-WebSocket-Accept {got!r}, and the key demands {accept!r}"
        chosen = headers.get("sec-websocket-protocol")
        if chosen is not None and chosen not in self.check.subprotocols:
            return f"the server chose the subprotocol {chosen!r}, which nobody offered"
        if chosen is None and self.check.subprotocols:
            return f"the server chose none of the subprotocols {', '.join(self.check.subprotocols)}"
        return None

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _websocket.CLOSE:
            if not self.parting:
                code, reason = _websocket.decode_close(payload)
                named = f" with {code} {reason}".rstrip() if code else ""
                raise ClosedEarly(f"it closed the WebSocket{named}, and {self._awaited} had not come")
            self.complete = True
        elif opcode == _websocket.PING:
            self._send(_websocket.PONG, payload)
        elif opcode == _websocket.PONG:
            # RFC 6455, 5.5.3, wants the ping's own bytes back; uWSGI gives none.
            if self._awaited == _PONG and payload in (self._ping, b""):
                self._say_next()
        else:
            self._first = payload if self._first is None else self._first
            echo = self.check.expect.echo
            if echo is not None and self._awaited not in (_PONG, _CLOSE) and echo.encode() in payload:
                self._say_next()

    def _say_next(self) -> None:
        """Go on to the next of the echo, the ping, the close frame."""
        echo = self.check.expect.echo
        if not self._awaited and echo is not None:
            self._awaited = f"the echo of {_shortened(echo.encode())}"
            self._send(_websocket.TEXT, echo.encode())
        elif self._awaited != _PONG:
            self._awaited = _PONG
            self._send(_websocket.PING, self._ping)
        else:
            self._awaited = _CLOSE
            self.parting = True
            self._send(_websocket.CLOSE, _websocket.encode_close())

    def _send(self, opcode: int, payload: bytes) -> None:
        self._output += _websocket.encode_frame(opcode, payload, os.urandom(4))


_PONG = "the pong to a ping"
_CLOSE = "the answer to a close frame"


def _shortened(data: bytes | None) -> str:
    return repr((data or b"")[:40].decode("utf-8", "replace"))


class EventStream(Http):
    """A request for a stream of events, read until enough have come."""

    accept = "text/event-stream"

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self._events = _sse.EventReader()
        self._count = 0
        self._gaps: list[float] = []
        self._last: float | None = None
        self._first = b""

    @property
    def complete(self) -> bool:  # type: ignore[override]
        return self.reader.complete or self._count >= self.check.expect.events

    @property
    def _is_stream(self) -> bool:
        return self.reader.status == 200 and self.reader.head_complete and is_event_stream(self.reader.headers)

    def feed(self, data: bytes) -> None:
        self.reader.feed(data)
        if not self._is_stream:
            return
        for event in self._events.feed(self.reader.take_body()):
            if self._count == 0:
                self._first = event.data.encode()
            elif self._count < self.check.expect.events:
                self._gaps.append(self.now - t.cast("float", self._last))
            self._count += 1
            self._last = self.now

    def answer(self) -> Answer:
        if not self._is_stream:
            return super().answer()
        count = min(self._count, self.check.expect.events)
        return http_answer(self.reader, body=self._first, events=Events(count, tuple(self._gaps)))

    def missing(self) -> str:
        if not self._is_stream:
            return ""
        comments = f" and {self._events.comments} comments" if self._events.comments else ""
        return f"the stream is open, and {self._count} of {self.check.expect.events} events{comments} came"


def is_event_stream(headers: t.Mapping[str, str]) -> bool:
    """Whether an answer says that it is a stream of events."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"
