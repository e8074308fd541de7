# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients of the board that do not behave, beside some that do. It runs on the test host, with Python alone.

What is asked of it (its first argument) is a function of this file; it prints what it saw as JSON.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import typing as t
import urllib.error
import urllib.request

BROKER = "/run/app/board-broker/board/redis.sock"
#: Seconds that anything may take at most.
PATIENCE = 60.0
#: So many messages, of so many bytes, are more than all buffers on the way.
MANY, LARGE = 700, 8000
#: Seconds after which a sender who was silent may send as much as a new one.
FORGOTTEN = 2.5
#: Readers of each kind that read nothing.
IDLE = 10
STORE = """
for i = 1, %d do
  local n = redis.call('INCR', 'board:messages:n')
  local text = string.rep('x', %d)
  redis.call('XADD', 'board:messages', '*', 'n', n, 'key', 'mark-' .. i, 'text', text, 'by', 'ws', 'at', 0)
end
"""


class Connection:
    """A connection to the board, by WebSocket or as a stream of events."""

    def __init__(self, port: int, path: str, *, buffer: int = 0, headers: str = "") -> None:
        self.sock = socket.socket()
        if buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(("127.0.0.1", port))
        if "events" not in path:
            headers += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            headers += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n".encode())
        self.data = b""
        while b"\r\n\r\n" not in self.data:
            self.data += self.sock.recv(1)
        self.status = int(self.data.split()[1])
        self.data = b""

    def send(self, kind: int, content: bytes) -> None:
        """Send one frame (RFC 6455, 5.2), masked with zeros."""
        length = len(content)
        if length < 126:
            size = bytes([0x80 | length])
        else:
            size = b"\xfe" + struct.pack(">H", length) if length < 65536 else b"\xff" + struct.pack(">Q", length)
        self.sock.sendall(bytes([0x80 | kind]) + size + bytes(4) + content)

    def frames(self) -> t.Iterator[tuple[int, bytes]]:
        """Frames of the server as they come, until the connection ends."""
        while True:
            while len(self.data) >= 2:
                begin, length = 2, self.data[1] & 127
                if length == 126:
                    begin, length = 4, int.from_bytes(self.data[2:4], "big")
                elif length == 127:
                    begin, length = 10, int.from_bytes(self.data[2:10], "big")
                if len(self.data) < begin + length:
                    break
                kind, content = self.data[0] & 15, self.data[begin : begin + length]
                self.data = self.data[begin + length :]
                yield kind, content
            try:
                part = self.sock.recv(262144)
            except OSError:
                return
            if not part:
                return
            self.data += part

    def until_closed(self) -> dict[str, t.Any]:
        """Read on until the server closes; return with what, and what it took before."""
        taken = []
        for kind, content in self.frames():
            if kind == 1 and b'"sent"' in content[:20]:
                taken.append(json.loads(content)["n"])
            if kind == 8:
                return {"code": int.from_bytes(content[:2], "big"), "reason": content[2:].decode(), "taken": taken}
        return {"code": None, "reason": "", "taken": taken}


def frame(port: int, path: str, kind: str, content: str) -> dict[str, t.Any]:
    """Send one frame, given as a number and in hex, or as a number of bytes of ``x``."""
    connection = Connection(port, path)
    connection.send(int(kind), bytes.fromhex(content) if not content.startswith("x") else b"x" * int(content[1:]))
    return connection.until_closed()


def flood(port: int, path: str, count: str) -> dict[str, t.Any]:
    """Send messages over one WebSocket as fast as they go."""
    # Of what this address has sent before, nothing counts any more.
    time.sleep(FORGOTTEN)
    connection = Connection(port, path)
    for number in range(int(count)):
        try:
            connection.send(1, json.dumps({"key": f"flood-{os.getpid()}-{number}", "text": "flood"}).encode())
        except OSError:
            break
    return connection.until_closed()


def crowd(port: int, path: str, sockets: str, count: str) -> dict[str, t.Any]:
    """Send messages over many WebSockets, few over each of them."""
    began = time.monotonic()
    connections = [Connection(port, path) for _number in range(int(sockets))]
    for place, connection in enumerate(connections):
        for number in range(int(count)):
            key = f"crowd-{os.getpid()}-{place}-{number}"
            connection.send(1, json.dumps({"key": key, "text": "crowd"}).encode())
    answers: list[dict[str, t.Any]] = []
    for connection in connections:
        own = []
        for kind, content in connection.frames():
            if kind == 1 and (said := json.loads(content))["type"] in ("sent", "refused"):
                own.append(said)
            if kind == 8 or len(own) == int(count):
                break
        answers += own
    return {"answers": answers, "seconds": time.monotonic() - began}


def silent(port: int, path: str, seconds: str, *ports: str) -> dict[str, t.Any]:
    """Say nothing for so long but what has to be said (RFC 6455, 5.5.3), and then something: who hears it again?"""

    def hold(way: int) -> bool:
        connection = Connection(way, path)
        timer = threading.Timer(float(seconds), connection.send, (1, b"still here"))
        timer.start()
        for kind, content in connection.frames():
            if kind == 9:
                connection.send(10, content)
            if (kind, content) == (1, b"still here"):
                return True
        timer.cancel()
        return False

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return {"heard": list(pool.map(hold, [port, *map(int, ports)]))}


def memory() -> int:
    """Proportional set size of the application's processes, in KiB."""
    main = subprocess.run(
        ["systemctl", "show", "-P", "MainPID", "app@board"], capture_output=True, text=True, check=True
    ).stdout.strip()
    children = subprocess.run(["pgrep", "-P", main], capture_output=True, text=True, check=True).stdout.split()
    total = 0
    for process in [main, *children]:
        with open(f"/proc/{process}/smaps_rollup", encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total


def open_at_the_server() -> int:
    """Connections that the kernel has at the application's socket."""
    said = subprocess.run(["ss", "-Hx", "state", "established"], capture_output=True, text=True, check=True).stdout
    return sum("/run/app/board/www-data/http.sock" in line for line in said.splitlines())


def marks(port: int, path: str, found: list[int]) -> None:
    """Note which messages come, until all have; a stream of events is read by curl."""
    if "events" in path:
        argv = ["curl", "-sN", "-m", str(PATIENCE), f"http://127.0.0.1:{port}{path}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as curl:
            assert curl.stdout is not None
            note(iter(curl.stdout), found)
            curl.terminate()
    else:
        connection = Connection(port, path)
        note((content for _kind, content in connection.frames()), found)
        connection.sock.close()


def note(contents: t.Iterator[bytes], found: list[int]) -> None:
    for content in contents:
        if mark := re.search(rb'"key": "mark-([0-9]+)"', content):
            found.append(int(mark[1]))
            if len(found) == MANY:
                return


def slow(port: int, *ports: str) -> dict[str, t.Any]:
    """Readers that read nothing, beside some that do, while there is a lot of news."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/state", timeout=PATIENCE) as answer:
        after = json.load(answer)["last"]
    ways = [(way, f"/api/{kind}?after={after}") for way in [port, *map(int, ports)] for kind in ("ws", "events")]
    used = memory()
    idle = [(path, Connection(way, path, buffer=4096)) for way, path in ways for _number in range(IDLE)]
    good: list[list[int]] = [[] for _way in ways]
    threads = [threading.Thread(target=marks, args=(*way, found)) for way, found in zip(ways, good)]
    for thread in threads:
        thread.start()
    wait_until(lambda: open_at_the_server() >= len(idle) + len(good))
    subprocess.run(
        ["redis-cli", "-s", BROKER, "EVAL", STORE % (MANY, LARGE), "0"], check=True, stdout=subprocess.DEVNULL
    )
    for thread in threads:
        thread.join()
    grown = memory() - used
    # What is on the way to them is still theirs, and the last of it says why.
    dropped = wait_until(lambda: not connected(port))
    ends = []
    for path, connection in idle:
        if "ws" in path:
            end = connection.until_closed()
            ends.append([end["code"], end["reason"]])
        else:
            with contextlib.suppress(ConnectionError):
                while connection.sock.recv(262144):
                    pass
    return {
        "good": [found == list(range(1, MANY + 1)) for found in good],
        "dropped": dropped,
        "ends": ends,
        "grown": grown,
    }


def connected(port: int) -> int:
    """Streams that the processes of the application count together."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/state", timeout=PATIENCE) as answer:
        here = json.load(answer)["here"]
    return int(here["ws"] + here["sse"])


def wait_until(true: t.Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.2)
    return False


def forged(port: int, count: str) -> dict[str, t.Any]:
    """Send messages as fast as they go, each as if for another client."""
    body = json.dumps({"key": f"forged-{os.getpid()}", "text": "flood"}).encode()
    statuses, began = [], time.monotonic()
    retry = set()
    for number in range(int(count)):
        url, headers = f"http://127.0.0.1:{port}/api/messages", {"X-Forwarded-For": f"192.0.2.{number % 250}"}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=PATIENCE) as answer:
                statuses.append(answer.status)
        except urllib.error.HTTPError as error:
            statuses.append(error.code)
            retry.add(error.headers["Retry-After"])
    return {"statuses": statuses, "retry": sorted(map(str, retry)), "seconds": time.monotonic() - began}


if __name__ == "__main__":
    name, asked, *rest = sys.argv[1:]
    functions: dict[str, t.Callable[..., dict[str, t.Any]]]
    functions = {function.__name__: function for function in (frame, flood, crowd, silent, forged, slow)}
    print(json.dumps(functions[name](int(asked), *rest)))
