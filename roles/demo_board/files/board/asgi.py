# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The board on an event-loop server: one process holds thousands of requests, each of which costs it a coroutine.

Four ways for a message to reach a page, all from the same stream and with the same cursor:
GET poll (at once), GET poll?wait=25 (long polling), GET events (Server-Sent Events), GET ws (WebSocket).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import typing as t

import limits
import messages
import redis.exceptions
from hub import Hub
from limits import AGE, LARGEST, LONGEST_POLL
from messages import Cursor, Message, Refused
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

#: Seconds for a client to take what it was sent.
PATIENCE = 10.0
#: WebSocket close codes: RFC 6455, 7.4.1, and the IANA registry (1012); from 4000 on they are the application's own.
GOING_AWAY, NOT_TEXT, POLICY, RESTART, TOO_SLOW = 1001, 1003, 1008, 1012, 4000

#: Origins of other sites whose pages may read and write here.
ORIGINS = frozenset(os.environ.get("ORIGINS", "").split())
PREFIX = os.environ.get("PREFIX", "/").rstrip("/")

Send = t.Callable[[t.MutableMapping[str, t.Any]], t.Awaitable[None]]
Receive = t.Callable[[], t.Awaitable[t.MutableMapping[str, t.Any]]]
Scope = t.MutableMapping[str, t.Any]


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> t.AsyncIterator[None]:
    app.state.hub = hub = Hub(os.environ["REDIS_URL"])
    app.state.buckets = limits.Buckets()
    await hub.start()
    yield
    await hub.stop()


def _hub(connection: HTTPConnection) -> Hub:
    return t.cast(Hub, connection.app.state.hub)


def _cursor(connection: HTTPConnection) -> Cursor:
    """Where the client is: as a browser says it after a stream has ended, as a page says it, or near the end."""
    given = connection.headers.get("last-event-id") or connection.query_params.get("after")
    return messages.cursor(given) if given else _hub(connection).at_hand.recent()


def _foreign(connection: HTTPConnection) -> str:
    """The origin of a page of another site, when that is not listed; a client that is no browser has none."""
    origin = connection.headers.get("origin", "")
    same = limits.same_origin(origin, connection.scope["scheme"], connection.headers.get("host", ""))
    return "" if not origin or same or origin in ORIGINS else origin


def _headers(connection: HTTPConnection) -> dict[str, str]:
    """No cache keeps an answer; pages of other sites may read it when their origin is listed (CORS, Fetch standard)."""
    headers = {"Cache-Control": "no-store", "Vary": "Origin"}
    origin = connection.headers.get("origin")
    return {**headers, "Access-Control-Allow-Origin": origin} if origin in ORIGINS else headers


async def poll(request: Request) -> Response:
    """What came after the cursor: at once, or with ``wait`` when there is something."""
    hub = _hub(request)
    try:
        cursor = _cursor(request)
        wait = messages.seconds(request.query_params.get("wait", "0"), "wait", LONGEST_POLL)
        interval = messages.seconds(request.query_params.get("interval", "0"), "interval", 60.0)
    except Refused as refused:
        return _refusal(request, str(refused))
    if wait:
        found = await _held(hub, cursor, wait)
    else:
        found = await hub.after(cursor)
        hub.presence.polled(request.query_params.get("who", "")[:64], interval)
    # In parts as well: who is far behind comes again at once.
    found = found[: messages.PART]
    last = found[-1].cursor if found else cursor
    parts = ",".join(message.json for message in found)
    text = f'{{"cursor": "{last}", "clock": {hub.presence.clock()}, "messages": [{parts}]}}'
    return Response(text, media_type="application/json", headers=_headers(request))


async def _held(hub: Hub, cursor: Cursor, wait: float) -> list[Message]:
    end = asyncio.get_running_loop().time() + wait
    hub.presence.held["long"] += 1
    try:
        while not (found := await hub.after(cursor)) and not hub.closing:
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await hub.wait(left)
        return found
    finally:
        hub.presence.held["long"] -= 1


async def send(request: Request) -> Response:
    """Accept a message. A client that sees no answer sends it again, with the same key."""
    if origin := _foreign(request):
        return _refusal(request, f"pages of {origin} may not write here", 403)
    if not request.app.state.buckets.take(_address(request)):
        answer = _refusal(request, limits.TOO_MANY, 429)
        answer.headers["Retry-After"] = "1"
        return answer
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            return _refusal(request, f"more than {LARGEST} bytes", 413)
    try:
        accepted = await _hub(request).accept(messages.sent(body))
    except Refused as refused:
        return _refusal(request, str(refused))
    return JSONResponse(accepted._asdict(), 201, headers=_headers(request))


async def preflight(request: Request) -> Response:
    """What a browser asks before a page of another site may send JSON."""
    headers = _headers(request)
    if "Access-Control-Allow-Origin" in headers:
        headers |= {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "content-type"}
    return Response(status_code=204, headers=headers)


def _refusal(request: Request, problem: str, status: int = 400) -> Response:
    return JSONResponse({"problem": problem}, status, headers=_headers(request))


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""


class Events(Response):
    """A stream of events (HTML standard, 9.2), which ends when its client, this process or its time is over."""

    def __init__(self, hub: Hub, cursor: Cursor, headers: dict[str, str]) -> None:
        # Without a body of its own, it gets no Content-Length.
        self.status_code, self.background = 200, None
        self._hub, self._cursor = hub, cursor
        # nginx keeps the answers of a backend back; this says that it shall not do so here.
        self.init_headers({**headers, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(data: bytes, more: bool = True) -> None:
            message = {"type": "http.response.body", "body": data, "more_body": more}
            await asyncio.wait_for(send(message), PATIENCE)

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        gone = asyncio.create_task(_gone(receive))
        self._hub.presence.held["sse"] += 1
        try:
            await write(b"retry: 500\n\n")
            async for data in _stream(self._hub, self._cursor, gone):
                if isinstance(data, str):
                    await write(f"event: clock\ndata: {data}\n\n".encode())
                    continue
                for part in messages.bunches(data):
                    await write(part)
            await write(b"", more=False)
        except asyncio.TimeoutError:
            # Too slow: without an end of the body, the server closes the connection. It comes again with its cursor.
            pass
        finally:
            self._hub.presence.held["sse"] -= 1
            gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stream(hub: Hub, cursor: Cursor, gone: asyncio.Task[t.Any]) -> t.AsyncIterator[list[Message] | str]:
    """Messages as they come, and the clock every second, which also keeps proxies from taking the stream for dead."""
    loop = asyncio.get_running_loop()
    # Not all at the same moment.
    end = loop.time() + AGE * random.uniform(0.8, 1.2)
    tick = loop.time()
    while not hub.closing and not gone.done() and loop.time() < end:
        if found := await hub.after(cursor):
            cursor = found[-1].cursor
            yield found
        elif loop.time() >= tick:
            tick = loop.time() + 1
            yield hub.presence.clock()
        else:
            await hub.wait(tick - loop.time())


async def events(request: Request) -> Response:
    try:
        return Events(_hub(request), _cursor(request), _headers(request))
    except Refused as refused:
        return _refusal(request, str(refused))


async def websocket(socket: WebSocket) -> None:
    """Messages both ways over one connection."""
    hub = _hub(socket)
    if _foreign(socket):
        # Before it is accepted: the handshake's answer is 403. No browser asks first, as it does with fetch.
        await socket.close(POLICY)
        return
    try:
        cursor = _cursor(socket)
    except Refused:
        await socket.close(POLICY)
        return
    await socket.accept()
    hub.presence.held["ws"] += 1
    reader = asyncio.create_task(_read(socket, hub))
    writer = asyncio.create_task(_write(socket, hub, cursor, reader))
    try:
        await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        try:
            code, reason = (reader if reader.done() else writer).result()
        except redis.exceptions.RedisError:
            code, reason = RESTART, "the broker does not answer; come again"
        if code:
            with contextlib.suppress(asyncio.TimeoutError, RuntimeError, OSError):
                await asyncio.wait_for(socket.close(code, reason), 2)
    finally:
        hub.presence.held["ws"] -= 1
        for task in (reader, writer):
            task.cancel()
        await asyncio.gather(reader, writer, return_exceptions=True)


async def _received(socket: WebSocket) -> t.MutableMapping[str, t.Any]:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    return message


async def _read(socket: WebSocket, hub: Hub) -> tuple[int, str]:
    """Take messages until the client ends, or has to; return with which code and why."""
    address, buckets = _address(socket), socket.app.state.buckets
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            text = (await _received(socket)).get("text")
            if text is None:
                return NOT_TEXT, "a message is text"
            if not buckets.take(f"{address} {id(socket)}"):
                return POLICY, limits.TOO_MANY
            try:
                sent = messages.sent(text)
                if not buckets.take(address):
                    raise Refused(limits.TOO_MANY, sent.key, wait=1)
            except Refused as refused:
                await socket.send_text(refused.json())
                continue
            accepted = await hub.accept(sent)
            await socket.send_text(json.dumps({"type": "sent", "key": sent.key, **accepted._asdict()}))
    return 0, ""


async def _write(socket: WebSocket, hub: Hub, cursor: Cursor, reader: asyncio.Task[t.Any]) -> tuple[int, str]:
    try:
        async for data in _stream(hub, cursor, reader):
            for text in [data] if isinstance(data, str) else [message.json for message in data]:
                await asyncio.wait_for(socket.send_text(text), PATIENCE)
    except asyncio.TimeoutError:
        return TOO_SLOW, f"nothing was read for {PATIENCE:g} seconds"
    return (RESTART, "come again") if hub.closing else (GOING_AWAY, "come again")


async def echo(socket: WebSocket) -> None:
    """Say what is heard: for probes, and for those who test the server's WebSocket."""
    if _foreign(socket):
        await socket.close(POLICY)
        return
    await socket.accept()
    while (heard := await socket.receive())["type"] != "websocket.disconnect":
        if heard.get("text") is not None:
            await socket.send_text(heard["text"])
        else:
            await socket.send_bytes(heard["bytes"])


async def state(request: Request) -> Response:
    hub = _hub(request)
    said = hub.presence.state("asgi", hub.at_hand.last, request.query_params.get("nonce", ""))
    return JSONResponse(said, headers=_headers(request))


async def broker_gone(request: Request, _error: Exception) -> Response:
    """Without the broker nothing can be accepted; a moment later it may be there again."""
    answer = _refusal(request, "the broker does not answer", 503)
    answer.headers["Retry-After"] = "1"
    return answer


_routes = [
    Route("/poll", poll),
    Route("/events", events),
    Route("/messages", send, methods=["POST"]),
    Route("/messages", preflight, methods=["OPTIONS"]),
    Route("/state", state),
    WebSocketRoute("/ws", websocket),
    WebSocketRoute("/echo", echo),
]
_app = Starlette(
    routes=[Mount(PREFIX, routes=_routes)] if PREFIX else _routes,
    exception_handlers={redis.exceptions.RedisError: broker_gone},
    lifespan=lifespan,
)
_watching: set[asyncio.Task[None]] = set()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application. Where the server says that it is about to end, streams end first."""
    closing = scope.get("extensions", {}).get("weblab.closing")
    if closing is not None and not _watching and scope["type"] != "lifespan":
        _watching.add(asyncio.create_task(_close(closing)))
    await _app(scope, receive, send)


async def _close(closing: asyncio.Event) -> None:
    await closing.wait()
    _app.state.hub.close()
