# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Readers of the board over all transports, and senders whose every message is counted. It runs on the test host.

Each reader comes again after whatever ended its request, with its cursor, as a page does; each sender repeats a
message until the server says that it has it. The client is aiohttp, which has no part in the server. The output is
one JSON object: ``readers``, how many; ``sent``, the numbers that every reader has to have; ``wrong``, who misses or
doubles one or has them in disorder; and ``ends``, how often which request ended, and how.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import random
import time
import typing as t
import uuid

import aiohttp

TRANSPORTS = ("poll", "long", "sse", "ws")
#: Messages a second of all senders together, and seconds between two requests of a reader that polls.
RATE, INTERVAL = 12.0, 0.5
#: Seconds for the last messages to arrive, and after which a request is given up.
REST, PATIENCE = 20.0, 40.0

_FAILURES = (aiohttp.ClientError, asyncio.TimeoutError, OSError)


class Board:
    """What all clients of one run share."""

    def __init__(self, bases: list[str], session: aiohttp.ClientSession) -> None:
        self.bases = bases
        self.session = session
        self.ends: collections.Counter[str] = collections.Counter()
        self.numbers: list[int] = []
        self.over = False


class Reader:
    """One client: a transport, a front server, a cursor, and the numbers that it has got."""

    def __init__(self, board: Board, transport: str, base: str, cursor: str) -> None:
        self.board, self.transport, self.base, self.cursor = board, transport, base, cursor
        self.got: list[int] = []
        self.socket: aiohttp.ClientWebSocketResponse | None = None
        self.answers: dict[str, asyncio.Future[int]] = {}

    async def run(self) -> None:
        ask = {"sse": self._events, "ws": self._socket}.get(self.transport, self._poll)
        while not self.board.over:
            try:
                await ask()
            except _FAILURES as error:
                self._ended(type(error).__name__)
            await asyncio.sleep(random.uniform(0.05, 0.4))

    def _ended(self, how: object) -> None:
        self.board.ends[f"{self.transport}: {how}"] += 1

    def _take(self, message: dict[str, t.Any]) -> None:
        self.got.append(message["n"])
        self.cursor = message["cursor"]

    async def _poll(self) -> None:
        wait = 25 if self.transport == "long" else 0
        while not self.board.over:
            query = {"after": self.cursor, "wait": str(wait)}
            async with self.board.session.get(f"{self.base}/poll", params=query) as answer:
                if answer.status != 200:
                    return self._ended(answer.status)
                found = await answer.json()
            for message in found["messages"]:
                self._take(message)
            self.cursor = found["cursor"]
            if not wait:
                await asyncio.sleep(INTERVAL)
        return None

    async def _events(self) -> None:
        headers = {"Last-Event-ID": self.cursor}
        async with self.board.session.get(f"{self.base}/events", headers=headers) as answer:
            if answer.status != 200:
                return self._ended(answer.status)
            async for line in answer.content:
                if line.startswith(b"data: "):
                    found = json.loads(line[6:])
                    if found["type"] == "message":
                        self._take(found)
                if self.board.over:
                    return None
        return self._ended("end")

    async def _socket(self) -> None:
        async with self.board.session.ws_connect(f"{self.base}/ws?after={self.cursor}") as self.socket:
            async for frame in self.socket:
                found = json.loads(frame.data)
                if found["type"] == "message":
                    self._take(found)
                elif found["type"] == "sent" and found["key"] in self.answers:
                    self.answers.pop(found["key"]).set_result(found["n"])
        self._ended(f"close {self.socket.close_code}")
        self.socket = None

    async def send(self, text: str) -> None:
        """Send a message, by the connection where there is one, until its number is known."""
        message = {"key": uuid.uuid4().hex, "by": self.transport, "text": text}
        while True:
            try:
                number = await asyncio.wait_for(self._sent(message), 5)
                if number is not None:
                    self.board.numbers.append(number)
                    return
            except _FAILURES as error:
                self.board.ends[f"send: {type(error).__name__}"] += 1
            await asyncio.sleep(random.uniform(0.05, 0.4))

    async def _sent(self, message: dict[str, str]) -> int | None:
        if self.transport == "ws":
            if self.socket is None or self.socket.closed:
                return None
            answer = self.answers[message["key"]] = asyncio.get_running_loop().create_future()
            await self.socket.send_json(message)
            return await answer
        async with self.board.session.post(f"{self.base}/messages", json=message) as posted:
            if posted.status != 201:
                self.board.ends[f"send: {posted.status}"] += 1
                return None
            return int((await posted.json())["n"])


async def watch(options: argparse.Namespace) -> dict[str, t.Any]:
    timeout = aiohttp.ClientTimeout(total=None, sock_read=PATIENCE)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        board = Board(options.base, session)
        async with session.get(f"{options.base[0]}/state") as answer:
            cursor = (await answer.json())["last"]
        readers = [
            Reader(board, transport, options.base[number % len(options.base)], cursor)
            for transport in TRANSPORTS
            for number in range(options.clients // len(TRANSPORTS))
        ]
        running = [asyncio.create_task(reader.run()) for reader in readers]
        sending = []
        end = time.monotonic() + options.seconds
        while time.monotonic() < end and not os.path.exists(options.stop):
            sending.append(asyncio.create_task(random.choice(readers).send("x" * 40)))
            await asyncio.sleep(1 / RATE)
        await asyncio.gather(*sending)
        rest = time.monotonic() + REST
        while time.monotonic() < rest and any(len(reader.got) < len(board.numbers) for reader in readers):
            await asyncio.sleep(0.1)
        board.over = True
        every = sorted(board.numbers)
        wrong = [
            {"transport": reader.transport, "base": reader.base, "lost": sorted(set(every) - set(reader.got))}
            | {"got": len(reader.got), "in order": reader.got == sorted(reader.got)}
            for reader in readers
            if reader.got != every
        ]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return {"readers": len(readers), "sent": every, "wrong": wrong, "ends": dict(board.ends)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", action="append", required=True)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--stop", required=True)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--port", type=int)
    print(json.dumps(asyncio.run(watch(parser.parse_args()))))


if __name__ == "__main__":
    main()
