# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The board on uWSGI with gevent, as the lecture has it: WSGI, and a greenlet for each request that stays open.

It serves the same messages at the same addresses as asgi.py. A process holds as many requests as it has greenlets
(``gevent`` in its configuration), and then it starves like any other.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
import typing as t
import urllib.parse

import gevent
import gevent.event
import gevent.lock
import limits
import messages
import redis
import uwsgi
from limits import AGE, LARGEST, LONGEST_POLL
from messages import AT_HAND, BLOCK, FAR, PATIENCE, STREAM, Accepted, Cursor, Message, Refused
from presence import COUNTS, REPORT, REPORTS, Presence

#: WebSocket close codes: RFC 6455, 7.4.1, and the IANA registry (1012).
GOING_AWAY, POLICY, RESTART = 1001, 1008, 1012

ORIGINS = frozenset(os.environ.get("ORIGINS", "").split())
PREFIX = os.environ.get("PREFIX", "/").rstrip("/")

StartResponse = t.Callable[[str, t.List[t.Tuple[str, str]]], t.Any]
Environ = t.Dict[str, t.Any]


class Hub:
    """What this process knows; its greenlets share it."""

    def __init__(self) -> None:
        url = os.environ["REDIS_URL"]
        self._redis = redis.Redis.from_url(url, decode_responses=True, socket_timeout=PATIENCE)
        self._accept = self._redis.register_script(messages.ACCEPT)
        self.at_hand = messages.AtHand()
        self.buckets = limits.Buckets()
        self.closing = False
        #: One for each request that waits for something.
        self._waiting: set[gevent.event.Event] = set()
        self.presence = Presence()
        self.at_hand.add(reversed(self._redis.xrevrange(STREAM, count=AT_HAND)))
        gevent.spawn(self._follow)
        gevent.spawn(self._report)
        # uWSGI tells its processes so that they shall end after their requests. It listens, too.
        gevent.signal_handler(signal.SIGHUP, self.close)

    def close(self) -> None:
        """Let everybody who waits go: this process is about to end, and another one takes over."""
        self.closing = True
        self._wake()

    @contextlib.contextmanager
    def holds(self, transport: str) -> t.Iterator[gevent.event.Event]:
        """Count a request that stays open, and wake it when there is news."""
        woken = gevent.event.Event()
        self._waiting.add(woken)
        self.presence.held[transport] += 1
        try:
            yield woken
        finally:
            self.presence.held[transport] -= 1
            self._waiting.discard(woken)

    def accept(self, sent: messages.Sent) -> Accepted:
        """Store a message."""
        return Accepted.read(self._accept(**sent.entry()))

    def after(self, cursor: Cursor) -> list[Message]:
        """What came after ``cursor``, the oldest first; in parts, when it is more than a process has at hand."""
        if self.at_hand.reaches(cursor):
            return self.at_hand.after(cursor)
        rows = self._redis.xrange(STREAM, f"({cursor}", count=FAR)
        # A broker that has lost everything has less than this process.
        return [messages.message(place, fields) for place, fields in rows] or self.at_hand.after(cursor)

    def _wake(self) -> None:
        for woken in list(self._waiting):
            woken.set()

    def _follow(self) -> None:
        """Read the stream. After a lost connection it goes on at the last message, so that none is missed."""
        while True:
            try:
                last = {STREAM: str(self.at_hand.last)}
                for _stream, rows in self._redis.xread(last, block=BLOCK, count=200) or ():
                    self.at_hand.add(rows)
                    self._wake()
            except Exception as error:
                # Whatever it is: a process that does not follow serves old messages for ever.
                print(f"the broker does not answer ({error!r}); trying again", flush=True)
                gevent.sleep(0.2)

    def _report(self) -> None:
        """Tell the other processes how many clients this one has, and add up what they tell."""
        while True:
            try:
                self._redis.set(*self.presence.report(), ex=COUNTS)
                self.presence.told(self._redis.mget(list(self._redis.scan_iter(REPORTS))))
            except Exception:  # The other greenlet says so.
                pass
            gevent.sleep(REPORT)


_hubs: list[Hub] = []
_making = gevent.lock.BoundedSemaphore()


def _hub() -> Hub:
    """The hub of this process, made for its first request: greenlets belong to the process that starts them."""
    with _making:
        if not _hubs:
            _hubs.append(Hub())
    return _hubs[0]


class _Request:
    """What is asked, and how it is answered."""

    def __init__(self, environ: Environ, start_response: StartResponse) -> None:
        self.environ = environ
        self.query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
        self.what = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(PREFIX)
        self._start = start_response

    def cursor(self, hub: Hub) -> Cursor:
        given = self.environ.get("HTTP_LAST_EVENT_ID") or self.query.get("after")
        return messages.cursor(given) if given else hub.at_hand.recent()

    def seconds(self, name: str, most: float) -> float:
        return messages.seconds(self.query.get(name, "0"), name, most)

    def address(self) -> str:
        return str(self.environ.get("HTTP_X_FORWARDED_FOR") or self.environ.get("REMOTE_ADDR", ""))

    def foreign(self) -> str:
        """The origin of a page of another site, when that is not listed; a client that is no browser has none."""
        origin = str(self.environ.get("HTTP_ORIGIN", ""))
        # Its socket speaks HTTP; whether TLS ended before, the front says.
        scheme = self.environ.get("HTTP_X_FORWARDED_PROTO") or self.environ["wsgi.url_scheme"]
        same = limits.same_origin(origin, scheme, self.environ.get("HTTP_HOST", ""))
        return "" if not origin or same or origin in ORIGINS else origin

    def begin(self, status: str, **more: str) -> None:
        """Begin an answer; no cache keeps it, and pages of other sites may read it when their origin is listed."""
        headers = {"Cache-Control": "no-store", "Vary": "Origin"}
        if self.environ.get("HTTP_ORIGIN") in ORIGINS:
            headers["Access-Control-Allow-Origin"] = self.environ["HTTP_ORIGIN"]
        self._start(status, [*headers.items(), *((name.replace("_", "-"), value) for name, value in more.items())])

    def answer(self, text: str, status: str = "200 OK", **more: str) -> list[bytes]:
        body = text.encode()
        self.begin(status, Content_Type="application/json", Content_Length=str(len(body)), **more)
        return [body]

    def refuse(self, problem: str, status: str = "400 Bad Request", **more: str) -> list[bytes]:
        return self.answer(json.dumps({"problem": problem}), status, **more)


def application(environ: Environ, start_response: StartResponse) -> t.Iterable[bytes]:
    """The WSGI application."""
    request = _Request(environ, start_response)
    serve = _PLACES.get(request.what)
    if serve is None:
        return request.refuse("there is nothing here", "404 Not Found")
    try:
        return serve(_hub(), request)
    except Refused as refused:
        return request.refuse(str(refused))
    except redis.exceptions.RedisError:
        # A moment later it may be there again.
        return request.refuse("the broker does not answer", "503 Service Unavailable", Retry_After="1")


def _poll(hub: Hub, request: _Request) -> t.Iterable[bytes]:
    cursor, wait = request.cursor(hub), request.seconds("wait", LONGEST_POLL)
    if wait:
        found = _held(hub, cursor, wait)
    else:
        found = hub.after(cursor)
        hub.presence.polled(request.query.get("who", "")[:64], request.seconds("interval", 60.0))
    found = found[: messages.PART]
    last = found[-1].cursor if found else cursor
    parts = ",".join(message.json for message in found)
    return request.answer(f'{{"cursor": "{last}", "clock": {hub.presence.clock()}, "messages": [{parts}]}}')


def _held(hub: Hub, cursor: Cursor, wait: float) -> list[Message]:
    end = time.monotonic() + wait
    with hub.holds("long") as woken:
        while not (found := hub.after(cursor)) and not hub.closing and (left := end - time.monotonic()) > 0:
            woken.wait(left)
            woken.clear()
    return found


def _send(hub: Hub, request: _Request) -> t.Iterable[bytes]:
    if origin := request.foreign():
        return request.refuse(f"pages of {origin} may not write here", "403 Forbidden")
    if not hub.buckets.take(request.address()):
        return request.refuse(limits.TOO_MANY, "429 Too Many Requests", Retry_After="1")
    length = request.environ.get("CONTENT_LENGTH") or "0"
    # Both front servers say how long a body is, however it came to them.
    if not length.isdecimal() or int(length) > LARGEST:
        return request.refuse(f"more than {LARGEST} bytes", "413 Request Entity Too Large")
    accepted = hub.accept(messages.sent(request.environ["wsgi.input"].read(int(length))))
    return request.answer(json.dumps(accepted._asdict()), "201 Created")


def _preflight(_hub: Hub, request: _Request) -> t.Iterable[bytes]:
    """What a browser asks before a page of another site may send JSON."""
    listed = request.environ.get("HTTP_ORIGIN") in ORIGINS
    allowed = {"Access_Control_Allow_Methods": "POST", "Access_Control_Allow_Headers": "content-type"}
    request.begin("204 No Content", **allowed if listed else {})
    return []


def _state(hub: Hub, request: _Request) -> t.Iterable[bytes]:
    return request.answer(json.dumps(hub.presence.state("uwsgi", hub.at_hand.last, request.query.get("nonce", ""))))


def _events(hub: Hub, request: _Request) -> t.Iterable[bytes]:
    cursor = request.cursor(hub)
    # nginx keeps the answers of a backend back; this says that it shall not do so here.
    request.begin("200 OK", Content_Type="text/event-stream", X_Accel_Buffering="no")
    return _stream(hub, cursor)


def _stream(hub: Hub, cursor: Cursor) -> t.Iterator[bytes]:
    """Messages as they come, and the clock every second; uWSGI gives up who reads nothing (``socket-timeout``)."""
    end, tick = _end(), time.monotonic()
    with hub.holds("sse") as woken:
        yield b"retry: 500\n\n"
        while not hub.closing and time.monotonic() < end:
            woken.clear()
            if found := hub.after(cursor):
                cursor = found[-1].cursor
                yield from messages.bunches(found)
            elif time.monotonic() >= tick:
                tick = time.monotonic() + 1
                yield f"event: clock\ndata: {hub.presence.clock()}\n\n".encode()
            else:
                woken.wait(max(tick - time.monotonic(), 0))


def _end() -> float:
    # Not all at the same moment.
    return time.monotonic() + AGE * random.uniform(0.8, 1.2)


def _websocket(hub: Hub, request: _Request) -> t.Iterable[bytes]:
    """Messages both ways. One greenlet has the connection: it waits for news or for bytes, and reads what is there."""
    try:
        cursor = request.cursor(hub)
    except Refused as refused:
        return request.refuse(str(refused), "403 Forbidden")
    if origin := request.foreign():
        return request.refuse(f"pages of {origin} may not connect here", "403 Forbidden")
    uwsgi.websocket_handshake()
    with contextlib.suppress(OSError), hub.holds("ws") as woken:
        try:
            code, reason = _both_ways(hub, cursor, request.address(), woken)
        except redis.exceptions.RedisError:
            code, reason = RESTART, "the broker does not answer; come again"
        # uWSGI has no function for this frame (RFC 6455, 5.5.1): FIN and opcode 8, length, code, reason.
        payload = code.to_bytes(2, "big") + reason.encode()
        os.write(uwsgi.connection_fd(), bytes([0x88, len(payload)]) + payload)
    return []


def _both_ways(hub: Hub, cursor: Cursor, address: str, woken: gevent.event.Event) -> tuple[int, str]:
    """Return why this process ends the connection; OSError says that the client did."""
    end, tick = _end(), time.monotonic()
    watcher = gevent.get_hub().loop.io(uwsgi.connection_fd(), 1)
    try:
        while not hub.closing:
            woken.clear()
            found = hub.after(cursor)
            for message in found:
                uwsgi.websocket_send(message.json)
                cursor = message.cursor
            if time.monotonic() >= tick:
                tick = time.monotonic() + 1
                uwsgi.websocket_send(hub.presence.clock())
            if time.monotonic() >= end:
                return GOING_AWAY, "come again"
            if heard := uwsgi.websocket_recv_nb():
                if not hub.buckets.take(f"{address} {id(woken)}"):
                    return POLICY, limits.TOO_MANY
                uwsgi.websocket_send(_answer(hub, heard, address))
            elif not found:
                watcher.start(woken.set)
                woken.wait(max(tick - time.monotonic(), 0))
                watcher.stop()
        return RESTART, "come again"
    finally:
        watcher.stop()
        watcher.close()


def _answer(hub: Hub, heard: bytes, address: str) -> str:
    try:
        sent = messages.sent(heard)
        if not hub.buckets.take(address):
            raise Refused(limits.TOO_MANY, sent.key, wait=1)
    except Refused as refused:
        return refused.json()
    return json.dumps({"type": "sent", "key": sent.key, **hub.accept(sent)._asdict()})


def _echo(_hub: Hub, request: _Request) -> t.Iterable[bytes]:
    """Say what is heard, as text: uWSGI does not tell what it was."""
    if origin := request.foreign():
        return request.refuse(f"pages of {origin} may not connect here", "403 Forbidden")
    uwsgi.websocket_handshake()
    with contextlib.suppress(OSError):
        while True:
            uwsgi.websocket_send(uwsgi.websocket_recv())
    return []


_PLACES: dict[tuple[str, str], t.Callable[[Hub, _Request], t.Iterable[bytes]]] = {
    ("GET", "/poll"): _poll,
    ("GET", "/events"): _events,
    ("GET", "/ws"): _websocket,
    ("GET", "/echo"): _echo,
    ("GET", "/state"): _state,
    ("POST", "/messages"): _send,
    ("OPTIONS", "/messages"): _preflight,
}
