# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A message of the board, and the one place where messages get their numbers: a stream in Redis.

Every process of every server of the board reads the same stream: what one of them accepts, all of them have. A cursor
is the stream's own id of the last message that somebody has seen (``1700000000000-0``); it grows, also when the broker
had to begin anew. ``n`` counts the messages: who sees a number missing knows that something was lost.
"""

from __future__ import annotations

import collections
import json
import math
import re
import time
import typing as t

STREAM = "board:messages"
#: Messages that the broker keeps at least, and those that each process has at hand.
KEEP = 10_000
AT_HAND = 500
#: Milliseconds that the broker is asked to wait for news, and seconds after which one that says nothing is left.
BLOCK = 5000
PATIENCE = 15.0
#: Of these, who comes without a cursor gets the last ones.
RECENT = 30
#: A poll gets so many messages at most; who is further back than what is at hand, so many from the broker; and a stream
#: so many bytes at a time. A client that does not read has no more than that in the server's memory.
PART, FAR, BUNCH = 100, 25, 64 * 1024
#: Characters of a message.
LONGEST = 2000
#: Seconds for which a message that is sent again is known as the same one.
REMEMBERED = 3600

#: In one step: a message has one number, and one that is sent twice (its sender did not see the answer) is one message.
ACCEPT = """
local known = redis.call('GET', KEYS[3])
if known then return known end
local n = redis.call('INCR', KEYS[2])
local fields = {'n', n, 'key', ARGV[2], 'text', ARGV[3], 'by', ARGV[4], 'at', ARGV[5]}
local cursor = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(fields))
local answer = cursor .. ' ' .. n
redis.call('SET', KEYS[3], answer, 'EX', ARGV[6])
return answer
"""


class Refused(ValueError):
    """What a client sent is not taken; the text says why.

    :param key: the client's own key for it, where there is one.
    :param wait: seconds after which it may be sent again; 0 when it is wrong, and stays so.
    """

    def __init__(self, problem: str, key: str = "", wait: int = 0) -> None:
        super().__init__(problem)
        self.key, self.wait = key, wait

    def json(self) -> str:
        """What a WebSocket gets."""
        return json.dumps({"type": "refused", "key": self.key, "problem": str(self), "wait": self.wait})


class Cursor(t.NamedTuple):
    """A place in the stream."""

    time: int
    number: int

    def __str__(self) -> str:
        return f"{self.time}-{self.number}"


BEGINNING = Cursor(0, 0)


class Message(t.NamedTuple):
    """A message as it goes out: made once, whoever gets it."""

    cursor: Cursor
    json: str
    event: bytes


def cursor(text: str) -> Cursor:
    """Read a cursor.

    :raises Refused: for anything else.
    """
    found = re.fullmatch(r"([0-9]{1,19})-([0-9]{1,19})", text)
    if found is None:
        raise Refused(f"{text[:40]!r} is no cursor, such as 1700000000000-0")
    return Cursor(int(found[1]), int(found[2]))


def message(place: str, fields: t.Mapping[str, str]) -> Message:
    """Make a message of an entry of the stream."""
    content = {"type": "message", "cursor": place, "n": int(fields["n"]), "at": float(fields["at"])}
    text = json.dumps({**content, **{key: fields[key] for key in ("key", "by", "text")}}, ensure_ascii=False)
    return Message(cursor(place), text, f"id: {place}\ndata: {text}\n\n".encode())


def bunches(found: t.Iterable[Message]) -> t.Iterator[bytes]:
    """Put events together, to few writes of ``BUNCH`` bytes or little more."""
    bunch: list[bytes] = []
    size = 0
    for message in found:
        bunch.append(message.event)
        size += len(message.event)
        if size >= BUNCH:
            yield b"".join(bunch)
            bunch, size = [], 0
    if bunch:
        yield b"".join(bunch)


def seconds(text: str, name: str, most: float) -> float:
    """Read a number of seconds, at most ``most`` of them.

    :raises Refused: for anything else, such as ``nan``.
    """
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise Refused(f"{name} is a number of seconds")
    return min(max(found, 0.0), most)


class Sent(t.NamedTuple):
    """What a client sends: its own key for it, by which transport, and the text."""

    key: str
    by: str
    text: str

    def entry(self) -> dict[str, t.Any]:
        """The keys and values with which ``ACCEPT`` makes it an entry of the stream."""
        values = [KEEP, self.key, self.text, self.by, time.time(), REMEMBERED]
        return {"keys": [STREAM, f"{STREAM}:n", f"{STREAM}:sent:{self.key}"], "args": values}


class Accepted(t.NamedTuple):
    """Where a message is, and its number; those of the first time, when it was sent before."""

    cursor: str
    n: int

    @classmethod
    def read(cls, answer: str) -> Accepted:
        """Read the answer of ``ACCEPT``."""
        cursor, number = answer.split()
        return cls(cursor, int(number))


def sent(data: str | bytes) -> Sent:
    """Read what a client sent.

    :raises Refused: with what is wrong with it.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Refused("this is no JSON") from None
    if not isinstance(found, dict):
        raise Refused("an object with key and text is needed")
    values = {name: found.get(name, "") for name in Sent._fields}
    if not all(isinstance(value, str) for value in values.values()):
        raise Refused("key, by and text are texts")
    if not re.fullmatch(r"[\w-]{8,64}", values["key"], re.ASCII):
        raise Refused("key is 8 to 64 letters, digits, - and _, another one for each message")
    made = Sent(**values)
    if not re.fullmatch(r"[a-z]{0,16}", made.by):
        raise Refused("by is the name of a transport", made.key)
    if not made.text.strip():
        raise Refused("the text is empty", made.key)
    if len(made.text) > LONGEST:
        raise Refused(f"the text has {len(made.text)} characters; {LONGEST} at most", made.key)
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in made.text):
        raise Refused("the text has half of a character (a lone surrogate)", made.key)
    return made


class AtHand:
    """The last messages, as one process has them. No client has a queue: each is a cursor into this."""

    def __init__(self) -> None:
        self._messages: collections.deque[Message] = collections.deque(maxlen=AT_HAND)
        self.last = BEGINNING

    def add(self, rows: t.Iterable[tuple[str, t.Mapping[str, str]]]) -> None:
        """Take entries of the stream, the oldest first; those that are known already are left out."""
        for place, fields in rows:
            found = message(place, fields)
            if found.cursor > self.last:
                self._messages.append(found)
                self.last = found.cursor

    def reaches(self, cursor: Cursor) -> bool:
        """Is everything here that came after ``cursor``?"""
        return cursor >= self.last or self._messages[0].cursor <= cursor

    def after(self, cursor: Cursor) -> list[Message]:
        return [found for found in self._messages if found.cursor > cursor] if cursor < self.last else []

    def recent(self) -> Cursor:
        """Where somebody begins who has seen nothing: before the last few messages."""
        return self._messages[-RECENT - 1].cursor if len(self._messages) > RECENT else BEGINNING
