# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""What was seen of a stand: answers to what was asked, and the host's own facts. All of it may be hostile.

Nothing here is evaluated. Numbers are numbers, texts are bounded where they come in; who shows a text escapes it for
the place where it goes.
"""

from __future__ import annotations

import dataclasses
import typing as t

#: Bytes of an answer that are looked at.
MAX_BODY = 256 * 1024


@dataclasses.dataclass(frozen=True)
class Ask:
    """One request. Those that are equal are sent once; those of a later round after all of an earlier one."""

    #: controller, or host: through Ansible's connection.
    place: str
    #: As the probe has it, tcp://10.0.0.5:8081 or fastcgi+unix:///run/php/blog.sock.
    endpoint: str
    path: str = "/"
    #: The Host field.
    host: str = "localhost"
    headers: tuple[tuple[str, str], ...] = ()
    script_filename: str = ""
    #: Of a WebSocket: a text that is to come back.
    echo: str = ""
    #: Of a stream of events (sse://), whether it is https.
    tls: bool = False
    #: Of a stats server of uWSGI, which speaks first: the answer is the number of requests that it has counted.
    statistics: bool = False
    round: int = 0
    #: Of requests that are otherwise equal, the one that is meant.
    number: int = 0

    @property
    def stays(self) -> bool:
        """Whether the answer is a connection that stays open."""
        return self.endpoint.startswith(("ws", "sse"))

    def spec(self) -> dict[str, t.Any]:
        """What the probe is told."""
        if self.statistics:
            return {"endpoint": self.endpoint, "statistics": True}
        if self.endpoint.startswith("tcp:"):
            return {"endpoint": self.endpoint}
        spec: dict[str, t.Any] = {"endpoint": self.endpoint, "path": self.path, "host": self.host}
        if self.headers:
            spec["headers"] = dict(self.headers)
        if self.script_filename:
            spec["script_filename"] = self.script_filename
        if self.echo:
            spec["expect"] = {"echo": self.echo}
        if self.tls:
            spec["tls"] = True
        if self.tls or self.endpoint.startswith(("https", "wss")):
            # Who signed a student's certificate is not the question here.
            spec["validate_certs"] = False
        return spec


@dataclasses.dataclass(frozen=True)
class Answered:
    """What came back."""

    #: Of the probe's causes; empty where a complete answer came.
    cause: str = ""
    message: str = ""
    status: int | None = None
    #: By name in lower case.
    headers: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    truncated: bool = False

    @property
    def came(self) -> bool:
        """Whether there is an answer at all, of whatever status."""
        return self.status is not None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@dataclasses.dataclass(frozen=True)
class Process:
    """A process of the stand."""

    pid: int
    ppid: int
    user: str
    #: The name of the program, as the kernel has it.
    name: str
    #: Its words, with spaces between.
    command: str
    #: systemd's unit, or nothing.
    unit: str = ""
    #: Whether the unit is started at boot.
    enabled: bool | None = None
    #: The number of its network namespace: what runs in a container has another one than the host.
    network: int = 0


@dataclasses.dataclass(frozen=True)
class Listener:
    """A socket that accepts connections."""

    #: An address and port, or a path.
    address: str
    port: int | None
    pids: tuple[int, ...]
    mode: int | None = None
    owner: str = ""
    group: str = ""
    #: Of a path: whether every user of the host gets to it and may connect.
    open_to_all: bool = False
    network: int = 0

    @property
    def outside(self) -> bool:
        """Whether it accepts from other machines."""
        return self.port is not None and not (self.address.startswith("127.") or self.address in ("::1", "[::1]"))


@dataclasses.dataclass(frozen=True)
class Held:
    """A connection that somebody keeps open, and the process that has it."""

    port: int
    #: The number of its socket: several processes may have the same one.
    connection: int
    pid: int
    ppid: int
    #: Whether the process waits for it by epoll(7), with others, and not in a call of its own.
    polled: bool

    @classmethod
    def of(cls, data: t.Mapping[str, t.Any]) -> Held:
        """From what the module gave back."""
        port, connection, pid, ppid = (int(data[name]) for name in ("port", "connection", "pid", "ppid"))
        return cls(port, connection, pid, ppid, bool(data["polled"]))


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the host says of itself, by the module ``stand_info``."""

    processes: t.Mapping[int, Process]
    listeners: tuple[Listener, ...]
    #: The network namespace of the host itself.
    network: int
    #: Path -> text of the web servers' configuration.
    configuration: t.Mapping[str, str]
    #: Network namespaces of containers and their addresses.
    addresses: t.FrozenSet[t.Tuple[int, str]] = frozenset()

    @classmethod
    def of(cls, data: t.Mapping[str, t.Any]) -> Facts:
        """From what the module gave back; a wrong type is an error here and not later."""
        processes = {
            int(one["pid"]): Process(
                int(one["pid"]), int(one["ppid"]), str(one["user"]), str(one["name"]), str(one["command"]),
                str(one["unit"]), None if one["enabled"] is None else bool(one["enabled"]), int(one["network"]),
            )
            for one in data["processes"]
        }  # fmt: skip
        listeners = tuple(
            Listener(
                str(one["address"]), None if one["port"] is None else int(one["port"]),
                tuple(int(pid) for pid in one["pids"]), None if one["mode"] is None else int(one["mode"]),
                str(one["owner"]), str(one["group"]), bool(one["open_to_all"]), int(one["network"]),
            )
            for one in data["listeners"]
        )  # fmt: skip
        files = {str(path): str(text) for path, text in data["configuration"].items()}
        addresses = frozenset((int(one["network"]), str(one["address"])) for one in data.get("addresses", ()))
        return cls(processes, listeners, int(data["network"]), files, addresses)

    def listening_on(self, port: int) -> list[Process]:
        """Who accepts connections on the host's port."""
        pids = [pid for one in self.listeners if one.port == port and one.network == self.network for pid in one.pids]
        return [self.processes[pid] for pid in dict.fromkeys(pids) if pid in self.processes]

    def family(self, pid: int) -> list[Process]:
        """The process, and all that descend from it."""
        children: dict[int, list[int]] = {}
        for one in self.processes.values():
            children.setdefault(one.ppid, []).append(one.pid)
        # A host may say anything, also that two processes are each other's parents.
        found = {pid: None}
        left = [pid]
        while left:
            new = [child for child in children.get(left.pop(), ()) if child not in found]
            found.update(dict.fromkeys(new))
            left += new
        return [self.processes[number] for number in found]
