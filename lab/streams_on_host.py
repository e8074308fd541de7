# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The clients of bench_streams: one process and one epoll hold thousands of them, on the host itself.

Reads one task as JSON from its argument and prints one JSON object. Standard library only. It asks nothing but the
address it is given, 127.0.0.1 or a Unix socket, with so many clients as it is told, and ends by itself.
"""

from __future__ import annotations

import collections
import contextlib
import glob
import heapq
import itertools
import json
import multiprocessing
import os
import re
import resource
import select
import socket
import statistics
import subprocess
import sys
import time
import typing as t

#: Connections that are under way at a time, below every backlog.
UNDER_WAY = 200
#: New ones in 20 ms.
STEP = 40
#: Seconds: for all clients to connect; until what was connected has settled; for a message to reach all; between two.
CONNECTING, SETTLING, ARRIVING, BETWEEN = 60.0, 3.0, 10.0, 0.3
#: Seconds until the processes of the application have told each other whom they hold.
COUNTING = 15.0
#: Seconds that a long poll waits for news, and between two polls.
WAIT, INTERVAL = 25, 2.0
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
#: Of which a second has so many.
TICKS = os.sysconf("SC_CLK_TCK")
_CURSOR = re.compile(rb'"cursor": "([0-9]+-[0-9]+)"')


class Client:
    """One reader of the board, by one transport."""

    def __init__(self, clients: Clients, number: int) -> None:
        self.clients, self.number = clients, number
        self.sock: socket.socket | None = None
        #: Has it what it asked for: an open stream, or a poll that is answered or waits?
        self.up = False
        self.asked = False
        #: Has this connection brought an answer already?
        self.kept = False
        self.cursor = ""
        self.seen = -1
        self._data = b""
        self._head = True

    def connect(self) -> None:
        self.sock = self.clients.connected()
        self._data, self._head, self.kept = b"", True, False
        self.clients.watch(self)

    def ask(self) -> None:
        if self.sock is None:
            self.connect()
        assert self.sock is not None
        self.clients.requests += 1
        self.asked = True
        after = f"after={self.cursor}" if self.cursor else ""
        transport, prefix = self.clients.transport, self.clients.prefix
        path = {
            "poll": f"poll?{after}&who=c{self.number}&interval={INTERVAL:g}",
            "long": f"poll?{after}&wait={WAIT}",
            "sse": f"events?{after}",
            "ws": f"ws?{after}",
        }[transport]
        # As browsers spell them: nginx counts as waiting what does not say that it stays.
        more = {"ws": f"{UPGRADE}{KEY}\r\n", "sse": "Accept: text/event-stream\r\n"}.get(transport, "")
        try:
            self.sock.sendall(f"GET {prefix}/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode())
        except ConnectionError:
            self.closed()
        # Nothing says that a long poll is held; what the server and the kernel count, does.
        if transport == "long":
            self.clients.is_up(self)

    def read(self) -> None:
        """Take what has come.

        :raises OSError: with an answer that is none of a stream or a poll.
        """
        assert self.sock is not None
        try:
            data = self.sock.recv(262144)
        except ConnectionError:
            data = b""
        if not data:
            self.closed()
            return
        self._data += data
        if self._head:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            status = head[9:12].decode("latin-1")
            if status != ("101" if self.clients.transport == "ws" else "200"):
                raise OSError(f"status {status}")
            if self.clients.transport in ("sse", "ws"):
                self._head, self._data = False, rest
                self.clients.is_up(self)
            else:
                length = re.search(rb"(?i)content-length: *([0-9]+)", head)
                if length is None:
                    raise OSError("an answer without a length")
                if len(rest) < int(length[1]):
                    return
                self._data = rest[int(length[1]) :]
                self._answered(rest)
                return
        if self.clients.transport == "ws":
            self._frames()
        else:
            self._marks(self._data)
            # What comes next may be the rest of a mark.
            self._data = self._data[-64:]

    def _answered(self, body: bytes) -> None:
        self.asked, self.kept = False, True
        found = _CURSOR.search(body)
        if found:
            self.cursor = found[1].decode()
        self._marks(body)
        if self.clients.transport == "long":
            self.ask()
        else:
            # The first pause differs, so that polls are spread over the interval as those of people are.
            share = 1.0 if self.up else self.number / self.clients.wanted
            self.clients.is_up(self)
            self.clients.later(self, share * INTERVAL)

    def _frames(self) -> None:
        """Read whole frames (RFC 6455, 5.2: a server's are not masked), and answer pings."""
        while len(self._data) >= 2:
            begin, length = 2, self._data[1] & 127
            if length == 126:
                begin, length = 4, int.from_bytes(self._data[2:4], "big")
            elif length == 127:
                begin, length = 10, int.from_bytes(self._data[2:10], "big")
            if len(self._data) < begin + length:
                return
            kind, content = self._data[0] & 15, self._data[begin : begin + length]
            self._data = self._data[begin + length :]
            if kind == 8:
                raise OSError(f"closed with {int.from_bytes(content[:2], 'big')}")
            if kind == 9 and self.sock:
                self.sock.sendall(bytes([0x8A, 0x80 | length]) + bytes(4) + content)
            if kind == 1:
                self._marks(content)

    def _marks(self, data: bytes) -> None:
        for mark in self.clients.mark.findall(data):
            if int(mark) > self.seen:
                self.seen = int(mark)
                self.clients.arrived(self.seen)

    def closed(self) -> None:
        """The server has closed: it may between two polls, also when the next is just sent (RFC 9112, 9.3.1)."""
        again = self.kept and not self._data
        self.close()
        if self.asked and again:
            self.ask()
        elif self.asked:
            raise OSError("closed")

    def close(self) -> None:
        if self.sock is not None:
            self.clients.forget(self)
            self.sock.close()
            self.sock = None


class Clients:
    """All clients of one task."""

    def __init__(self, task: t.Mapping[str, t.Any]) -> None:
        self.address, self.prefix = task["address"], task["prefix"]
        self.transport, self.wanted = task["transport"], task["clients"]
        # With an address of its own, no task meets the connections that the one before has left in TIME_WAIT.
        self.source = task["source"]
        # The board still has what the tasks before have said.
        self.name = f"{os.urandom(4).hex()}-"
        self.mark = re.compile(self.name.encode() + b"([0-9]{5})")
        self.requests = 0
        self.failures: collections.Counter[str] = collections.Counter()
        self.clients: list[Client] = []
        self.arrivals: dict[int, list[float]] = collections.defaultdict(list)
        self._epoll = select.epoll()
        self._by_file: dict[int, Client] = {}
        self._due: list[tuple[float, int, Client]] = []
        self._up = 0
        self._ties = itertools.count()

    def connected(self) -> socket.socket:
        return connected(self.address, self.source)

    def watch(self, client: Client) -> None:
        assert client.sock is not None
        self._by_file[client.sock.fileno()] = client
        self._epoll.register(client.sock.fileno(), select.EPOLLIN)

    def forget(self, client: Client) -> None:
        assert client.sock is not None
        self._epoll.unregister(client.sock.fileno())
        del self._by_file[client.sock.fileno()]

    def is_up(self, client: Client) -> None:
        self._up += not client.up
        client.up = True

    def later(self, client: Client, pause: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + pause, next(self._ties), client))

    def arrived(self, number: int) -> None:
        self.arrivals[number].append(time.monotonic())

    @property
    def up(self) -> int:
        return self._up

    def open(self) -> float:
        """Connect all, and return the seconds that it took."""
        began = time.monotonic()
        while self.up + self.failed() < self.wanted and time.monotonic() < began + CONNECTING:
            # A long poll does not say when it is held: only this pace keeps such clients from filling the backlog.
            most = min(self.wanted, len(self.clients) + STEP)
            while len(self.clients) < most and len(self.clients) - self.up - self.failed() < UNDER_WAY:
                client = Client(self, len(self.clients))
                self.clients.append(client)
                self._try(client, client.ask)
            self.run(0.02)
        return time.monotonic() - began

    def failed(self) -> int:
        return sum(self.failures.values())

    def run(self, seconds: float, until: t.Callable[[], bool] = lambda: False) -> None:
        """Let all clients do what they have to, for a time or until something is true."""
        end = time.monotonic() + seconds
        while not until() and (left := end - time.monotonic()) > 0:
            if self._due:
                left = min(left, max(self._due[0][0] - time.monotonic(), 0))
            for file, _event in self._epoll.poll(left, 1000):
                client = self._by_file.get(file)
                if client:
                    self._try(client, client.read)
            while self._due and self._due[0][0] <= time.monotonic():
                client = heapq.heappop(self._due)[2]
                self._try(client, client.ask)

    def _try(self, client: Client, what: t.Callable[[], None]) -> None:
        try:
            what()
        except OSError as error:
            self._up -= client.up
            client.up = False
            client.close()
            self.failures[str(error) or type(error).__name__] += 1

    def say(self, number: int) -> float:
        """Send a message, and return when."""
        text = f"{self.name}{number:05}"
        body = json.dumps({"key": f"bench-{text}", "by": "bench", "text": text})
        began = time.monotonic()
        request(self.connected(), "POST", f"{self.prefix}/messages", body)
        return began

    def close(self) -> None:
        for client in self.clients:
            client.close()


def connected(address: str, source: str = "") -> socket.socket:
    if address.startswith("/"):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(20)
        made.connect(address)
        return made
    host, _colon, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20, source_address=(source, 0))


def request(sock: socket.socket, method: str, path: str, body: str = "") -> str:
    """One request on a connection of its own; return the body of the answer.

    :raises OSError: when the status is not a success.
    """
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = b""
    with sock:
        sock.settimeout(20)
        sock.sendall((head + body).encode())
        while part := sock.recv(65536):
            answer += part
    if answer[9:10] != b"2":
        raise OSError(answer[:200].decode("latin-1"))
    return answer.partition(b"\r\n\r\n")[2].decode()


def processes(unit: str) -> list[int]:
    """The processes of a systemd unit, as the kernel groups them."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cgroup"):
        try:
            with open(path, encoding="ascii") as file:
                if re.search(rf"/{re.escape(unit)}$", file.read(), re.MULTILINE):
                    found.append(int(path.split("/")[2]))
        except OSError:
            pass
    return found


def of_each(unit: str, name: str) -> t.Iterator[str]:
    """What /proc says of each process of a unit (proc(5)); one that ends meanwhile has nothing to say."""
    for process in processes(unit):
        with contextlib.suppress(OSError), open(f"/proc/{process}/{name}", encoding="ascii") as file:
            yield file.read()


def memory(unit: str) -> int:
    """Proportional set size of a unit, in KiB."""
    lines = [line for text in of_each(unit, "smaps_rollup") for line in text.splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def seconds_of_processor(unit: str) -> float:
    """User and system time of a unit's processes (stat, fields 14 and 15)."""
    fields = [text.rpartition(")")[2].split() for text in of_each(unit, "stat")]
    return sum(int(user) + int(system) for user, system in (found[11:13] for found in fields)) / TICKS


def most_files(unit: str) -> int:
    """Files that a process of a unit may open; nginx' master may open fewer than its workers, and holds no client."""
    lines = [line for text in of_each(unit, "limits") for line in text.splitlines()]
    return max((int(line.split()[3]) for line in lines if line.startswith("Max open files")), default=0)


def established(address: str) -> int:
    """Connections that the kernel has at a server's address."""
    words = ["src", address] if address.startswith("/") else ["sport", "=", f":{address.rpartition(':')[2]}"]
    family = "-x" if address.startswith("/") else "-t"
    said = subprocess.run(["ss", family, "-nH", "state", "established", *words], capture_output=True, check=True)
    return said.stdout.count(b"\n")


def hold(task: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Keep clients that hear nothing but the clock, and see what they cost in memory."""
    units = task["units"]
    before = {name: memory(unit) for name, unit in units.items()}
    clients = Clients(task)
    took = clients.open()
    clients.run(SETTLING)
    after = {name: memory(unit) for name, unit in units.items()}
    # Each worker announces its own count every two seconds, later under load.
    end = time.monotonic() + COUNTING
    while True:
        state = json.loads(request(connected(task["application"]), "GET", f"{clients.prefix}/state"))
        if state["here"][task["transport"]] == clients.up or time.monotonic() > end:
            break
        clients.run(0.5)
    found = {
        "held": clients.up,
        "kernel": established(task["address"]),
        "application": state["here"][task["transport"]],
        "seconds": took,
        "failures": dict(clients.failures),
        "memory": {name: (after[name] - before[name]) / max(clients.up, 1) for name in units},
        "files": {name: most_files(unit) for name, unit in units.items()},
    }
    clients.close()
    return found


def broadcast(task: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Send messages that reach all clients, and see when; and what clients cost that hear of so many."""
    units = task["units"]
    clients = Clients(task)
    clients.open()
    clients.run(SETTLING)
    held, requests = clients.up, clients.requests
    used = {name: seconds_of_processor(unit) for name, unit in units.items()}
    began, own = time.monotonic(), time.process_time()
    delays: list[list[float]] = []
    for number in range(task["messages"]):
        arrivals = clients.arrivals[number]
        sent = clients.say(number)
        clients.run(ARRIVING, lambda arrivals=arrivals: len(arrivals) >= clients.up)  # type: ignore[misc]
        delays.append([at - sent for at in arrivals])
        clients.run(BETWEEN)
    took = time.monotonic() - began
    everything = sorted(delay for of_one in delays for delay in of_one)
    found = {
        "held": held,
        "missing": held * task["messages"] - len(everything),
        "failures": dict(clients.failures),
        "delays": everything,
        "medians": [round(statistics.median(of_one), 4) for of_one in delays if of_one],
        "seconds": took,
        "requests": (clients.requests - requests) / took / max(held, 1),
        "processor": {
            **{name: (seconds_of_processor(unit) - used[name]) / took for name, unit in units.items()},
            "clients": (time.process_time() - own) / took,
        },
    }
    clients.close()
    return found


def bare(path: str) -> None:
    """The least that a server can do, in the same language: hold streams, and write what is said to all of them."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(4096)
    held: dict[int, socket.socket] = {}
    epoll = select.epoll()
    epoll.register(listener.fileno(), select.EPOLLIN)
    while True:
        for file, _event in epoll.poll():
            if file == listener.fileno():
                made = listener.accept()[0]
                held[made.fileno()] = made
                epoll.register(made.fileno(), select.EPOLLIN)
                continue
            data = held[file].recv(65536)
            if data.startswith(b"GET"):
                held[file].sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                continue
            epoll.unregister(file)
            sender = held.pop(file)
            if data:
                sender.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
                news = b"data: " + data.partition(b"\r\n\r\n")[2] + b"\n\n"
                for other in held.values():
                    other.sendall(news)
            sender.close()


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    task = json.loads(sys.argv[1])
    if task["what"] == "hold":
        found = hold(task)
    elif not task["bare"]:
        found = broadcast(task)
    else:
        server = multiprocessing.Process(target=bare, args=(task["address"],), daemon=True)
        server.start()
        while not os.path.exists(task["address"]):
            time.sleep(0.05)
        found = broadcast(task)
        server.terminate()
        os.unlink(task["address"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
