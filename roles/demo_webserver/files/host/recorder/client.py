# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The browser of a recording: a connection that it keeps if it may, with pauses in which the servers come to rest."""

from __future__ import annotations

import dataclasses
import http.client
import socket
import time
import typing as t

#: Long enough for a server under strace to go back to its waiting.
PAUSE = 0.15
PATIENCE = 10


class Unanswered(Exception):
    """The server did not answer, or refused."""


@dataclasses.dataclass
class Answer:
    nonce: str
    status: int
    size: int
    cache: str | None
    closes: bool
    began: float
    ended: float = 0

    def shown(self) -> dict[str, t.Any]:
        return {"status": self.status, "bytes": self.size, "cache": self.cache}


def ask(request: t.Mapping[str, t.Any], run: str) -> list[Answer]:
    """Ask `times` times, each time with a nonce of its own; on one connection, if the server keeps it."""
    answers: list[Answer] = []
    connection = None
    for number in range(request["times"]):
        began = time.time()
        if answers:
            answers[-1].ended = began
        if connection is None:
            connection = _connect(request)
            time.sleep(PAUSE)
        nonce = f"{run}{number}"
        connection.sendall(_bytes(request, run, nonce))
        answers.append(_answer(connection, nonce, began))
        time.sleep(PAUSE)
        if answers[-1].closes:
            connection.close()
            connection = None
    if connection is not None:
        connection.close()
    time.sleep(PAUSE)
    answers[-1].ended = time.time()
    return answers


def ask_slowly(request: t.Mapping[str, t.Any], run: str, look: t.Callable[[str, int], None]) -> Answer:
    """Ask once, and look around after each step."""
    began = time.time()
    with _connect(request) as connection:
        port = connection.getsockname()[1]
        asked = _bytes(request, run, run)
        for moment, part in (("connected", b""), ("half", asked[:20]), ("answered", asked[20:])):
            connection.sendall(part)
            if moment == "answered":
                answer = _answer(connection, run, began)
            time.sleep(PAUSE)
            look(moment, port)
    time.sleep(PAUSE)
    look("closed", port)
    return answer


def _connect(request: t.Mapping[str, t.Any]) -> socket.socket:
    try:
        return socket.create_connection(("127.0.0.1", request["port"]), timeout=PATIENCE)
    except OSError as error:
        raise Unanswered(f"no connection to port {request['port']}: {error}") from error


def _bytes(request: t.Mapping[str, t.Any], run: str, nonce: str) -> bytes:
    lines = [f"GET {request['path'].replace('{run}', run)} HTTP/1.1", f"X-Weblab-Step: {nonce}"]
    return "\r\n".join([*lines, f"Host: {request['host']}", "Accept: */*", "", ""]).encode()


def _answer(connection: socket.socket, nonce: str, began: float) -> Answer:
    response = http.client.HTTPResponse(connection, method="GET")
    try:
        response.begin()
        size = len(response.read())
    except (OSError, http.client.HTTPException) as error:
        raise Unanswered(f"no answer: {error!r}") from error
    if response.status >= 400:
        raise Unanswered(f"it answers {response.status}")
    return Answer(nonce, response.status, size, response.getheader("X-Cache-Status"), response.will_close, began)
