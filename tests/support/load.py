# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client that keeps connections busy and checks every answer. It runs on the test host, with Python alone.

``VERSION`` is what one configuration makes of the application's answer, ``{version}:{nonce}:`` with ``x`` up to the
promised size and ``:{version}`` at the end. Beginning and end come from two settings of the application server, the
headers X-Front-A and X-Front-B from two settings of the front server: a mixture of two configurations shows.

A client may send an idempotent request again when the server closed a *reused* connection before the first byte of
the answer (RFC 9112, 9.3.1); such retries are counted apart. Everything else that is not the right answer is a failure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import time
import typing as t

SIZE = 20000
#: An answer that takes longer is a failure.
PATIENCE = 60.0
_MOST_FAILURES = 2000


class WrongAnswer(Exception):
    """The answer is complete, and not the right one."""


class Closed(Exception):
    """A reused connection that the server closed before the first byte of the answer."""


class Versions:
    """Which configurations may answer: never one that is older than the one before the newest that was seen."""

    def __init__(self, sides: t.Iterable[str], last: int) -> None:
        self.last = last
        self.seen: dict[str, set[int]] = {side: set() for side in sides}
        self.newest = dict.fromkeys(self.seen, 0)

    def check(self, side: str, first: str | None, second: str | None, newest: int) -> None:
        if first != second or first is None or not first.isdigit():
            raise WrongAnswer(f"{side}: a mixture of {first!r} and {second!r}")
        version = int(first)
        if not newest - 1 <= version <= self.last:
            raise WrongAnswer(f"{side}: version {version}, after {newest} had been seen")
        self.seen[side].add(version)
        self.newest[side] = max(self.newest[side], version)


class Load:
    """All clients of one run, and what they saw."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.versions = Versions(["front", *options.path], options.last)
        self.requests = 0
        self.slow = 0
        self.longest = 0.0
        self.retries: list[float] = []
        self.failures: list[dict[str, t.Any]] = []
        self.kinds: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._end = time.monotonic() + options.seconds

    async def run(self) -> dict[str, t.Any]:
        fast, slow = self.options.connections, self.options.slow
        # Half of the clients keep their connection, and each path has as many of either sort.
        paths = [path for path in self.options.path for _twice in range(2)]
        clients = [self._client(paths[n % len(paths)], n % 2 == 0, "") for n in range(fast)]
        clients += [self._client(paths[n % len(paths)], n % 2 == 0, f"&sleep={1 + n % 2 / 5}") for n in range(slow)]
        await asyncio.gather(*clients)
        return {
            "requests": self.requests,
            "slow": self.slow,
            "longest": round(self.longest, 3),
            "retries": len(self.retries),
            "kinds": self.kinds,
            "failures": self.failures,
            "versions": {side: sorted(seen) for side, seen in self.versions.seen.items()},
        }

    def _over(self) -> bool:
        return (
            time.monotonic() > self._end or self.requests >= self.options.requests or os.path.exists(self.options.stop)
        )

    async def _client(self, path: str, keep: bool, query: str) -> None:
        connection: Connection | None = None
        while not self._over():
            began, reused = time.monotonic(), connection is not None
            self.requests += 1
            try:
                try:
                    connection = await asyncio.wait_for(self._ask(connection, path, keep, query), PATIENCE)
                except Closed:
                    self.retries.append(began)
                    reused = False
                    connection = await asyncio.wait_for(self._ask(None, path, keep, query), PATIENCE)
                self.slow += bool(query)
            except (OSError, EOFError, ValueError, WrongAnswer, asyncio.TimeoutError) as error:
                connection = None
                kind = type(error).__name__
                self.kinds[kind] = self.kinds.get(kind, 0) + 1
                if len(self.failures) < _MOST_FAILURES:
                    what = {"kind": kind, "what": str(error)[:300], "reused": reused, "slow": bool(query)}
                    self.failures.append({**what, "began": began, "ended": time.monotonic()})
                # What is refused at once must not turn into a flood.
                await asyncio.sleep(0.02)
            self.longest = max(self.longest, time.monotonic() - began)

    async def _ask(self, connection: Connection | None, path: str, keep: bool, query: str) -> Connection | None:
        newest = dict(self.versions.newest)
        nonce = f"n{next(self._numbers)}"
        reused = connection is not None
        if connection is None:
            connection = await Connection.open(self.options.port)
        try:
            headers, body = await connection.get(f"{path}?nonce={nonce}{query}", keep, reused)
            self._check(path, headers, body, nonce, newest)
        except BaseException:
            connection.close()
            raise
        if keep and headers.get("connection", "").lower() != "close":
            return connection
        connection.close()
        return None

    def _check(self, path: str, headers: dict[str, str], body: bytes, nonce: str, newest: dict[str, int]) -> None:
        first, _colon, rest = body.decode("ascii", "replace").partition(":")
        middle, _colon, second = rest.rpartition(":")
        if middle != f"{nonce}:".ljust(SIZE, "x"):
            raise WrongAnswer(f"a body of {len(body)} bytes that begins with {body[:80]!r}")
        self.versions.check(path, first, second, newest[path])
        self.versions.check("front", headers.get("x-front-a"), headers.get("x-front-b"), newest["front"])


class Connection:
    """One HTTP connection; the answer is read to its last byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.writer.close()

    async def get(self, path: str, keep: bool, reused: bool) -> tuple[dict[str, str], bytes]:
        how = "keep-alive" if keep else "close"
        try:
            self.writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: {how}\r\n\r\n".encode())
            await self.writer.drain()
            first = await self.reader.read(1)
        except ConnectionError:
            first = b""
            if not reused:
                raise
        if not first:
            if reused:
                raise Closed
            raise EOFError("closed before the first byte of the answer")
        head = (first + await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _colon, value in pairs}
        body = await self._body(headers)
        if status.split()[1] != "200":
            raise WrongAnswer(f"{status}: {body[:120]!r}")
        return headers, body

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("transfer-encoding", "").lower() != "chunked":
            raise WrongAnswer("neither Content-Length nor chunks: nobody knows whether the body is complete")
        body = b""
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            chunk = await self.reader.readexactly(size + 2)
            if size == 0:
                return body
            body += chunk[:-2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", nargs="+", default=["/"])
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--slow", type=int, default=4)
    parser.add_argument("--last", type=int, default=0, help="the newest version that there will be")
    parser.add_argument("--stop", required=True, help="it ends when this file appears")
    parser.add_argument("--seconds", type=float, default=1800, help="it ends after this time at the latest")
    parser.add_argument("--requests", type=int, default=2_000_000, help="and after so many requests")
    print(json.dumps(asyncio.run(Load(parser.parse_args()).run())))


if __name__ == "__main__":
    main()
