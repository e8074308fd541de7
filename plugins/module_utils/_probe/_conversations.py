# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""What a conversation is, whatever the protocol. Bytes in, bytes out; the time is handed in."""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from ._check import Check


@dataclasses.dataclass(frozen=True)
class Events:
    """What came of a stream of events."""

    count: int
    #: Seconds from each event to the next.
    gaps: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the peer said, as far as the protocol has it."""

    status: int | None = None
    reason: str = ""
    headers: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: Of a stream of events: the data of the first; of a WebSocket: the first message.
    body: bytes = b""
    truncated: bool = False
    stderr: str | None = None
    events: Events | None = None
    #: The peer kept the request without a word for as long as was asked of it.
    held: bool = False
    #: The peer's own word for "too many requests" (FCGI_OVERLOADED).
    overloaded: bool = False
    #: A failure that only the protocol tells, as a sentence.
    failure: str | None = None


class Conversation:
    """One exchange with a peer. This one says nothing: that the peer accepts is enough."""

    complete = True
    #: Both sides have said what they had to: how the connection ends does not matter any more.
    parting = False
    #: Seconds of silence that are an answer too; :meth:`hold` is called then.
    patience: float | None = None
    #: When the bytes came that are fed; whoever feeds them sets it.
    now = 0.0

    def __init__(self, check: Check) -> None:
        self.check = check

    def opening(self) -> bytes:
        """The bytes to send first. Raises ValueError if the check cannot be spelled."""
        return b""

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer. Raises WireError."""

    def feed_eof(self) -> None:
        """The peer will send no more. Raises WireError if something is missing."""

    def take_output(self) -> bytes:
        """The bytes to send next."""
        return b""

    def hold(self) -> None:
        """The peer was silent for ``patience``."""

    def answer(self) -> Answer:
        """What has come so far."""
        return Answer()

    def missing(self) -> str:
        """What has not come yet, for a report; empty where there is no more to say than that."""
        return ""


class Reader(t.Protocol):
    """A codec's reader of one answer."""

    complete: bool

    def feed(self, data: bytes) -> None: ...

    def feed_eof(self) -> None: ...


class ReaderConversation(Conversation):
    """An exchange of one request and one answer, which a reader of the codec takes."""

    reader: Reader

    @property
    def complete(self) -> bool:  # type: ignore[override]
        return self.reader.complete

    def feed(self, data: bytes) -> None:
        self.reader.feed(data)

    def feed_eof(self) -> None:
        self.reader.feed_eof()
