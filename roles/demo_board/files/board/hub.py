# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one process of the event-loop server knows: the last messages, who waits for the next one, who is connected."""

from __future__ import annotations

import asyncio
import logging
import typing as t

import messages
import redis.asyncio
from messages import AT_HAND, BLOCK, FAR, PATIENCE, STREAM, Accepted, AtHand, Cursor, Message
from presence import COUNTS, REPORT, REPORTS, Presence


class Hub:
    """The messages, their broker, and everybody who waits for the next one."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(url, decode_responses=True, socket_timeout=PATIENCE)
        self._accept = self._redis.register_script(messages.ACCEPT)
        self.at_hand = AtHand()
        self._news = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[t.Any]] = []
        self.closing = False
        self.presence = Presence()

    async def start(self) -> None:
        """Read what is there, and begin to follow the stream.

        :raises redis.exceptions.RedisError: where there is no broker: better no start than a board without messages.
        """
        self.at_hand.add(reversed(await self._redis.xrevrange(STREAM, count=AT_HAND)))
        self._tasks = [asyncio.create_task(work()) for work in (self._follow, self._report)]

    async def stop(self) -> None:
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._redis.close()

    def close(self) -> None:
        """Let everybody who waits go: this process is about to end, and another one takes over."""
        self.closing = True
        self._wake()

    async def accept(self, sent: messages.Sent) -> Accepted:
        """Store a message."""
        return Accepted.read(await self._accept(**sent.entry()))

    async def after(self, cursor: Cursor) -> list[Message]:
        """What came after ``cursor``, the oldest first; in parts, when it is more than a process has at hand."""
        if self.at_hand.reaches(cursor):
            return self.at_hand.after(cursor)
        rows = await self._redis.xrange(STREAM, f"({cursor}", count=FAR)
        # A broker that has lost everything has less than this process.
        return [messages.message(place, fields) for place, fields in rows] or self.at_hand.after(cursor)

    async def wait(self, seconds: float) -> None:
        """Until there is news, or the time is over."""
        if not self.closing:
            await asyncio.wait({self._news}, timeout=seconds)

    def _wake(self) -> None:
        # One future for all: who waits for it must not cancel it, and asyncio.wait does not.
        news, self._news = self._news, asyncio.get_running_loop().create_future()
        news.set_result(None)

    async def _follow(self) -> None:
        """Read the stream. After a lost connection it goes on at the last message, so that none is missed."""
        while True:
            try:
                last = {STREAM: str(self.at_hand.last)}
                for _stream, rows in await self._redis.xread(last, block=BLOCK, count=200) or ():
                    self.at_hand.add(rows)
                    self._wake()
            except Exception as error:
                # Whatever it is: a process that does not follow serves old messages for ever. The client library itself
                # stumbles over some ways in which a Unix socket ends (AttributeError: no attribute 'host').
                logging.getLogger("board").warning("the broker does not answer (%r); trying again", error)
                await asyncio.sleep(0.2)

    async def _report(self) -> None:
        """Tell the other processes how many clients this one has, and add up what they tell."""
        while True:
            try:
                await self._redis.set(*self.presence.report(), ex=COUNTS)
                self.presence.told(await self._redis.mget([key async for key in self._redis.scan_iter(REPORTS)]))
            except Exception:  # The other task says so.
                pass
            await asyncio.sleep(REPORT)
