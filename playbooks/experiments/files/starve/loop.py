# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A page, and a stream of events that holds a coroutine: the application of the experiment as ASGI has it."""

from __future__ import annotations

import asyncio
import typing as t

#: Seconds after which a stream ends whoever forgot it.
_LONGEST = 60


async def application(scope: dict[str, t.Any], receive: t.Any, send: t.Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http" and scope["path"] == "/events":
        await _events(receive, send)
    elif scope["type"] == "http":
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"17")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"an ordinary page\n"})


async def _events(receive: t.Any, send: t.Any) -> None:
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    gone = asyncio.ensure_future(_gone(receive))
    for second in range(_LONGEST):
        if gone.done():
            return
        await send({"type": "http.response.body", "body": b"data: %d\n\n" % second, "more_body": True})
        await asyncio.wait({gone}, timeout=1)
    gone.cancel()
    await send({"type": "http.response.body"})


async def _gone(receive: t.Any) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
