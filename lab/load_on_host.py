# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What bench_load asks on the host itself, where wrk cannot: a backend's own socket, and a front with idle clients.

Reads one task as JSON from its argument and prints one JSON object. Standard library only.
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import selectors
import socket
import sys
import time
import typing as t

#: Longest wait for one answer while many connections are idle, and for those connections to become idle.
PATIENCE = 20.0
GATHERING = 3.0


def connected(address: str) -> socket.socket:
    """Unlike a front server, this waits where a queue is full."""
    if address.startswith("/"):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(10)
        made.connect(address)
        return made
    host, _colon, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def loop(address: str, request: bytes, mark: bytes, connections: int, seconds: float) -> dict[str, int]:
    """Keep so many requests under way, each on a connection of its own, as fronts do that keep none."""
    found = {"answers": 0, "wrong": 0, "errors": 0}
    watch = selectors.DefaultSelector()
    answers: dict[socket.socket, bytes] = {}

    def ask() -> None:
        try:
            made = connected(address)
            made.sendall(request)
        except OSError:
            found["errors"] += 1
            return
        answers[made] = b""
        watch.register(made, selectors.EVENT_READ)

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        while len(answers) < connections and found["errors"] < 1000:
            ask()
        if not answers:
            break
        for key, _events in watch.select(timeout=0.5):
            made = t.cast(socket.socket, key.fileobj)
            try:
                data = made.recv(65536)
            except OSError:
                data = b""
            if data:
                answers[made] += data
                continue
            watch.unregister(made)
            made.close()
            found["answers" if mark in answers.pop(made) else "wrong"] += 1
    for made in answers:
        made.close()
    return found


def backend(task: t.Mapping[str, t.Any]) -> dict[str, int]:
    """One process for each CPU, since the loop itself takes time."""
    count = os.cpu_count() or 1
    words = (
        task["address"],
        base64.b64decode(task["request"]),
        base64.b64decode(task["mark"]),
        task["connections"] // count,
        task["seconds"],
    )
    with multiprocessing.Pool(count) as pool:
        found = pool.starmap(loop, [words] * count)
    return {key: sum(part[key] for part in found) for key in found[0]}


def answered(sock: socket.socket, mark: bytes, deadline: float) -> bool:
    data = b""
    while mark not in data and time.monotonic() < deadline:
        sock.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            part = sock.recv(65536)
        except OSError:
            return False
        if not part:
            return False
        data += part
    return mark in data


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def idle(task: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Let clients ask once and stay connected, then time one more."""
    place, mark = ("127.0.0.1", task["port"]), base64.b64decode(task["mark"])
    watch = selectors.DefaultSelector()
    for _number in range(task["connections"]):
        made = socket.socket()
        made.setblocking(False)
        made.connect_ex(place)
        watch.register(made, selectors.EVENT_WRITE)
    waiting, held = task["connections"], []
    end = time.monotonic() + GATHERING
    while waiting and time.monotonic() < end:
        for key, events in watch.select(timeout=0.1):
            made = t.cast(socket.socket, key.fileobj)
            if events & selectors.EVENT_WRITE:
                made.send(request(task["static"]))
                watch.modify(made, selectors.EVENT_READ)
                continue
            try:
                data = made.recv(65536)
            except OSError:
                data = b""
            watch.unregister(made)
            waiting -= 1
            if data:
                held.append(made)
    started = time.monotonic()
    with socket.create_connection(place, timeout=PATIENCE) as one:
        one.sendall(request(task["dynamic"]))
        good = answered(one, mark, started + PATIENCE)
    taken = time.monotonic() - started
    still = 0
    for made in held:
        made.setblocking(False)
        try:
            still += made.recv(1) != b""
        except BlockingIOError:
            still += 1
        except OSError:
            pass
    return {"seconds": taken if good else None, "answered": len(held), "waiting": waiting, "open": still}


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    print(json.dumps(backend(wanted) if wanted["what"] == "backend" else idle(wanted)))
