# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Finds out which protocol a peer speaks, by trying what the probe knows."""

from __future__ import annotations

import re
import typing as t

from ..wire import _fastcgi
from ._check import Check
from ._connection import Connection, Outcome, tls_for
from ._conversations import Conversation, ReaderConversation
from ._requests import FastCgi, Scgi, Uwsgi
from ._streams import WebSocket, is_event_stream

if t.TYPE_CHECKING:
    from ._loop import Loop
    from ._names import Address

#: Servers that greet do so at once.
_GREETING = 0.3
_GREETING_KEPT = 80


class Peer(t.NamedTuple):
    """What was found out: the protocol by its name without TLS, or the bytes that it greets with."""

    protocol: str | None
    tls: bool = False
    greeting: bytes | None = None

    @property
    def name(self) -> str | None:
        """The protocol as an endpoint has it."""
        return {"http": "https", "ws": "wss", "sse": "https"}[self.protocol or ""] if self.tls else self.protocol


class _Greeting(Conversation):
    """Listens to a peer that speaks first."""

    complete = False
    heard = b""

    def feed(self, data: bytes) -> None:
        self.heard = data[:_GREETING_KEPT]
        self.complete = True


class _Web(WebSocket):
    """One GET that asks for a WebSocket and takes a stream of events; the header of the answer is enough."""

    def feed(self, data: bytes) -> None:
        self._head.feed(data)
        self.complete = self._head.head_complete

    @property
    def spoken(self) -> str | None:
        """What a status line, and the rest of the header where it is whole, prove."""
        if self._head.status == 101 and self._handshake_failure() is None:
            return "ws"
        if self._head.status is None:
            return None
        return "sse" if is_event_stream(self._head.headers) else "http"


class _FastCgi(ReaderConversation):
    """FastCGI's management query, and a request for those that do not answer it."""

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self.reader = _AnyRecord()

    def opening(self) -> bytes:
        return _fastcgi.encode_get_values("FCGI_MAX_CONNS") + FastCgi(self.check).opening()


class _AnyRecord:
    """Complete with the first record of a type that answers."""

    complete = False

    def __init__(self) -> None:
        self._records = _fastcgi.RecordReader()

    def feed(self, data: bytes) -> None:
        answers = (_fastcgi.STDOUT, _fastcgi.STDERR, _fastcgi.END_REQUEST, _fastcgi.GET_VALUES_RESULT)
        self.complete = any(record.type in answers for record in self._records.feed(data)) or self.complete

    def feed_eof(self) -> None:
        pass


#: In the order of proof: a server for HTTP with TLS answers plain HTTP too (with an error), and
#: a server for HTTP answers whatever it gets in HTTP, as an application behind uwsgi does.
_STEPS: tuple[tuple[str, t.Callable[[Check], Conversation]], ...] = (
    ("tcp", _Greeting),
    ("https", _Web),
    ("http", _Web),
    ("fastcgi", _FastCgi),
    ("scgi", Scgi),
    ("uwsgi", Uwsgi),
)


class Identification:
    """Calls ``found`` once, with the peer or None. What is sent asks the peer for nothing but an answer.

    One protocol after the other: a server with one worker serves one connection at a time.
    """

    def __init__(
        self,
        loop: Loop,
        addresses: t.Sequence[Address],
        check: Check,
        limit: float,
        found: t.Callable[[Peer | None], None],
    ) -> None:
        self._loop = loop
        self._addresses = addresses
        self._check = check
        self._limit = limit
        self._found = found
        self._untried = list(_STEPS)

    def next(self) -> None:
        """Try the next protocol, for its share of the time."""
        if not self._untried:
            self._found(None)
            return
        protocol, conversation_of = self._untried[0]
        web = protocol in ("https", "http")
        candidate = Check(
            endpoint=self._check.endpoint.speaking(protocol),
            name=protocol,
            path=(self._check.path or "/") if web else "*",
            host=self._check.host,
            method="GET" if web else "OPTIONS",
            validate_certs=False,
        )
        conversation = conversation_of(candidate)
        tls = tls_for(candidate)  # before the clock runs: it may have to import ssl
        now = self._loop.now()
        share = max(0.0, self._limit - now) / len(self._untried)
        share = min(share, _GREETING) if protocol == "tcp" else share
        connection = Connection(self._loop, self._addresses, conversation, tls, now + share, self._ended)
        self._timer = self._loop.at(now + share, lambda: self._ended(connection.abort(TimeoutError())))
        connection.start()

    def _ended(self, outcome: Outcome) -> None:
        self._timer.cancel()
        protocol, _conversation = self._untried.pop(0)
        peer = _peer(protocol, outcome)
        if peer:
            self._found(peer)
        else:
            self.next()


def _peer(protocol: str, outcome: Outcome) -> Peer | None:
    conversation = outcome.conversation
    if isinstance(conversation, _Greeting):
        return Peer(None, greeting=conversation.heard) if conversation.heard else None
    if isinstance(conversation, _Web):
        if protocol == "http":
            return Peer(conversation.spoken) if conversation.spoken else None
        # An alert comes from a TLS peer that does not like this client.
        alert = re.search("ALERT|UNRECOGNIZED_NAME", str(outcome.error))
        tls = outcome.phase not in ("connect", "tls") or bool(alert)
        return Peer(conversation.spoken or "http", tls=True) if tls else None
    if protocol == "fastcgi":
        return Peer(protocol) if outcome.conversation.complete else None
    return Peer(protocol) if conversation.answer().status is not None else None
