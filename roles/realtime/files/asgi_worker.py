# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""gunicorn's worker for ASGI applications that keep requests open: uvicorn, which tells them before it ends.

uvicorn itself waits for open requests to end, or cuts them, and tells the application afterwards (lifespan). Here it
finds an asyncio.Event in its scope, ``scope["extensions"]["weblab.closing"]``, and has some seconds to end its streams,
so that their clients come again at once, to a process that goes on.
"""

from __future__ import annotations

import asyncio
import typing as t

import uvicorn
import uvicorn.workers

#: Seconds that the application has for it.
_PATIENCE = 3.0


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: t.Any = None) -> None:
        for server in self.servers:
            server.close()
        self.config.app.closing.set()
        end = asyncio.get_running_loop().time() + _PATIENCE
        while self.config.app.open and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.05)
        await super().shutdown(sockets=sockets)


class _Telling:
    """The application, with the event in its scope; ``open`` says how many of its requests have not ended."""

    def __init__(self, app: t.Any) -> None:
        self._app = app
        self.closing = asyncio.Event()
        self.open = 0

    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
        scope.setdefault("extensions", {})["weblab.closing"] = self.closing
        counts = scope["type"] != "lifespan"
        self.open += counts
        try:
            await self._app(scope, receive, send)
        finally:
            self.open -= counts


class Worker(uvicorn.workers.UvicornWorker):
    # Compression costs a hundred KiB for each client, also for those that say nothing. Pings find out who has gone, and
    # keep proxies from taking a silent connection for a dead one.
    CONFIG_KWARGS: t.ClassVar[dict[str, t.Any]] = {
        "loop": "uvloop",
        "http": "httptools",
        "ws": "websockets",
        "ws_max_size": 128 * 1024,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "ws_per_message_deflate": False,
        "lifespan": "on",
    }

    wsgi: t.Any

    async def _serve(self) -> None:
        self.wsgi = _Telling(self.wsgi)
        await super()._serve()


uvicorn.workers.Server = _Server
