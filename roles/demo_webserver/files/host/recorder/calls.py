# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lines of strace as calls, and each call's place among the steps of the textbook's web server."""

from __future__ import annotations

import collections
import dataclasses
import re
import typing as t

#: 1700000000.123456 name(arguments) = result <0.000012>
_LINE = re.compile(r"^(\d+\.\d+) (\w+)\((.*)\)\s+= (.+?)(?: <(\d+\.\d+)>)?$")
#: A descriptor, and what strace -yy knows of it. Sockets have an arrow in their names.
_DESCRIPTOR = re.compile(r'^(-?\d+)<((?:TCP|TCPv6|UNIX(?:-STREAM)?):\[[^\]]*\]?[^>]*?(?:->.*?)?\]?(?:,".*?")?|[^>]*)>')
_ENDS = re.compile(r"^(TCP|TCPv6|UNIX-STREAM|UNIX):\[(.*)->(.*?)(?:,\"(.*)\")?\]$")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)+"(\.\.\.)?')
#: Of a long story, the beginning and the end are told.
FIRST, LAST = 60, 30
SHOWN = 90

_READS = set("read readv recv recvfrom recvmsg".split())
_WRITES = set("write writev send sendto sendmsg sendmmsg".split())
_MOVES = _READS | _WRITES | set("pread64 preadv preadv2 pwrite64 pwritev pwritev2".split())
_STATS = set("stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getcwd".split())
_OPENS = set("open openat openat2 creat".split())
_CHANGES = set("mkdir mkdirat rename renameat renameat2 unlink unlinkat chmod fchmod utimensat".split())
_EVENTS = set("epoll_wait epoll_pwait poll ppoll select pselect6".split())


@dataclasses.dataclass
class Call:
    began: float
    took: float
    name: str
    arguments: str
    result: str

    @property
    def ended(self) -> float:
        return self.began + self.took

    @property
    def error(self) -> str | None:
        found = re.match(r"-1 (E\w+)", self.result)
        return found[1] if found else None

    @property
    def number(self) -> int:
        found = re.match(r"-?\d+", self.result)
        return int(found[0]) if found else 0

    @property
    def on(self) -> str:
        """What the descriptor among the arguments is: the first, of epoll_ctl the third, of mmap the fifth."""
        place = {"epoll_ctl": 2, "mmap": 4}.get(self.name, 0)
        text = self.arguments.split(", ", place)[-1] if place else self.arguments
        found = _DESCRIPTOR.match(text)
        return found[2] if found else ""


def read(text: str) -> list[Call]:
    """The calls of one thread. A call that strace did not see the end of is none."""
    found = []
    for line in text.splitlines():
        parts = _LINE.match(line)
        if parts and parts[5]:
            found.append(Call(float(parts[1]), float(parts[5]), parts[2], parts[3], parts[4]))
    return found


def ends(what: str) -> frozenset[str]:
    """The two ends of a connection, the same for whoever looks at it; nothing for what is no connection."""
    found = _ENDS.match(what)
    return frozenset((found[2], found[3])) if found else frozenset()


def _connections(call: Call) -> set[frozenset[str]]:
    """All connections that a call names, in its arguments and in its result."""
    found = {ends(call.on)}
    made = _DESCRIPTOR.match(call.result)
    if made:
        found.add(ends(made[2]))
    return found - {frozenset()}


class _Server:
    """What a process knows of its sockets: which are clients' and which lead to a backend."""

    def __init__(self, sockets: t.Iterable[str]) -> None:
        self.ports = {f":{name.rpartition(':')[2]}" for name in sockets if not name.startswith("/")}
        self.paths = {name for name in sockets if name.startswith("/")}

    def kind(self, what: str) -> str:
        """listen, client, backend, log, file or other."""
        if what.startswith(("TCP", "UNIX")):
            pair = _ENDS.match(what)
            if not pair:
                return "listen"
            if pair[4]:
                return "client" if pair[4] in self.paths else "backend"
            return "client" if any(pair[2].endswith(port) for port in self.ports) else "backend"
        if what.startswith("/"):
            return "log" if what.endswith(".log") else "file"
        return "pipe" if what.startswith("pipe:") else "other"

    def explain(self, call: Call) -> tuple[str, str]:
        """The step of a call, and the name of the sentence that tells what it is for."""
        name, kind = call.name, self.kind(call.on)
        if name in ("accept", "accept4"):
            return "accept", "accept_none" if call.error else "accept"
        if name in _EVENTS:
            return "wait", "event" if call.number > 0 else "no_event"
        if name == "futex" and "LOCK_PI" in call.arguments:
            return "wait", "mutex_free" if "FUTEX_UNLOCK_PI" in call.arguments else "mutex"
        if name == "futex":
            return "wait", "hand_over" if "FUTEX_WAKE" in call.arguments else "queue"
        if name in ("semop", "semtimedop") or "F_SETLKW" in call.arguments or "F_OFD_SETLKW" in call.arguments:
            return "wait", "mutex"
        if name == "epoll_ctl":
            if kind == "listen":
                return "wait", "rotate"
            return ("backend", "watch_backend") if kind == "backend" else ("wait", "watch")
        if kind == "client":
            return self._of_client(call)
        if name == "connect" or (kind == "backend") or (name == "socket" and "NETLINK" not in call.arguments):
            return "backend", self._of_backend(call)
        if kind == "pipe":
            return "wait", "pipe"
        if name in _OPENS | _STATS:
            return self._of_path(call)
        if name in _CHANGES:
            return "fetch", "write_file"
        if kind == "log":
            return "log", "log"
        if kind == "file" and name != "fcntl":
            return "fetch", self._of_file(call)
        return "other", "other"

    @staticmethod
    def _of_client(call: Call) -> tuple[str, str]:
        if call.name in _READS:
            if call.error:
                return "close", "keep"
            return ("read", "request") if call.number else ("close", "client_closed")
        if call.name in _WRITES:
            return "send", "send"
        if call.name.startswith("sendfile"):
            return "send", "sendfile"
        if call.name in ("shutdown", "close"):
            return "close", call.name
        if "TCP_CORK" in call.arguments:
            return "send", "cork"
        return "accept", "option"

    @staticmethod
    def _of_backend(call: Call) -> str:
        if call.name in _READS:
            return "not_yet" if call.error else ("answer" if call.number else "backend_closed")
        if call.name in _WRITES:
            return "ask"
        if call.name in ("connect", "close", "shutdown"):
            return {"connect": "connect"}.get(call.name, "backend_closed")
        return "prepare_backend"

    @staticmethod
    def _of_path(call: Call) -> tuple[str, str]:
        if call.error:
            return "map", "missing"
        if call.name in _STATS:
            # Of a descriptor, not of a path: the file is open already.
            if "AT_EMPTY_PATH" in call.arguments and "S_IFDIR" not in call.arguments:
                return "fetch", "fstat"
            return "map", "lstat" if call.name == "lstat" or "AT_SYMLINK_NOFOLLOW" in call.arguments else "stat"
        if "O_CREAT" in call.arguments or call.name == "creat":
            return "fetch", "write_file"
        return "map", "open_directory" if "O_DIRECTORY" in call.arguments else "open"

    @staticmethod
    def _of_file(call: Call) -> str:
        if call.name in _READS or call.name in ("pread64", "preadv", "lseek", "fadvise64"):
            return "read_file"
        if call.name in _WRITES or call.name in ("pwrite64", "pwritev", "fchmod", "ftruncate"):
            return "write_file"
        return {"mmap": "mmap", "close": "close_file"}.get(call.name, "fstat")


def short(text: str, secret: bool = False) -> str:
    """A call's arguments for human eyes: no endless strings, and of what is `secret` none."""
    if secret:
        text = re.sub(_QUOTED, '"…"', text)
    text = re.sub(r'"((?:[^"\\]|\\.){48})(?:[^"\\]|\\.)*"(\.\.\.)?', r'"\1"...', text)
    text = re.sub(r", \{u32=\d+, u64=\d+\}|, data=\{u32=\d+, u64=\d+\}|anon_inode:", "", text)
    return text if len(text) <= 2 * SHOWN else f"{text[: 2 * SHOWN - 1]}…"


def round_of(
    traced: t.Mapping[int, list[Call]], owners: t.Mapping[int, t.Any], nonce: str, began: float, ended: float
) -> dict[str, t.Any]:
    """Who took part in answering the request with this nonce, by which calls; and who was woken for nothing."""
    before = {
        thread: [call for call in found if call.ended < ended] for thread, found in traced.items() if thread in owners
    }
    during = {thread: [call for call in found if began <= call.ended] for thread, found in before.items()}
    # The nonce goes with the request from server to server, and so tells which connections are its own.
    spoken = {
        pair
        for found in during.values()
        for call in found
        if call.name in _READS | _WRITES and nonce in call.arguments
        for pair in _connections(call)
    }
    actors, woken = [], []
    for thread, found in during.items():
        process = owners[thread]
        server = _Server(process.sockets)
        if any(pair in spoken for call in found for pair in _connections(call)):
            own = [call for call in _own(server, before[thread], spoken) if began <= call.ended]
            actors.append(_actor(thread, process, own, began, spoken))
        else:
            woken += [
                {"pid": process.pid, "tid": thread, "call": call.name, "error": call.error}
                for call in found
                if (call.name in ("accept", "accept4") and call.error) or (call.name in _EVENTS and call.number > 0)
            ]
    # In the order in which the request woke them.
    actors.sort(key=lambda actor: actor["calls"][0]["at"] + actor["calls"][0]["took"])
    return {"actors": actors, "woken": woken}


def _own(server: _Server, found: list[Call], spoken: set[frozenset[str]]) -> list[Call]:
    """The calls of a thread but for those of other visitors, whom it serves meanwhile.

    A call that names no connection belongs to the visitor whose connection was named before it. After each wait it may
    be another one's turn, and a backend's connection is the turn of the visitor for whom it was opened.
    """
    own: list[Call] = []
    undecided: list[Call] = []
    others: set[frozenset[str]] = set()
    wait: Call | None = None
    ours: bool | None = None
    for call in found:
        if call.name in _EVENTS:
            own += undecided
            undecided, wait, ours = [call], call, None
            continue
        pairs = _connections(call)
        if pairs:
            # Of a backend's connection, one that is first seen on our turn is ours: a database never hears the nonce.
            accepts = call.name in ("accept", "accept4")
            mine = bool(pairs & spoken) or (
                ours is True and not accepts and server.kind(call.on) == "backend" and not pairs & others
            )
            if not mine:
                others |= pairs
                undecided = []
            elif ours is False and wait is not None:
                own.append(wait)
            ours = mine
        if ours is None:
            undecided.append(call)
        elif ours:
            own += [*undecided, call]
            undecided, wait = [], None
    return own + undecided


def _actor(
    thread: int, process: t.Any, found: list[Call], began: float, spoken: set[frozenset[str]]
) -> dict[str, t.Any]:
    server = _Server(process.sockets)
    told = [call for call in found if not (call.name in ("mmap", "munmap") and "MAP_ANON" in call.arguments)]
    left_out = told[FIRST:-LAST] if len(told) > FIRST + LAST else []
    calls = [_shown(server, call, began, spoken) for call in told[:FIRST]]
    if left_out:
        count = collections.Counter(call.name for call in left_out)
        calls.append({"at": calls[-1]["at"], "left_out": dict(count.most_common())})
    if len(told) > FIRST:
        calls += [_shown(server, call, began, spoken) for call in told[max(FIRST, len(told) - LAST) :]]
    return {
        "pid": process.pid,
        "tid": thread,
        "user": process.user,
        "name": process.name,
        "threads": len(process.threads),
        "sockets": process.sockets,
        "calls": calls,
    }


def _shown(server: _Server, call: Call, began: float, spoken: set[frozenset[str]]) -> dict[str, t.Any]:
    step, why = server.explain(call)
    # What it had waited for before the request came is no part of the story.
    started = max(call.began, began)
    # Everybody may read a recording. What is in files, and what backends are told, may be keys and passwords; the
    # request is our own, and so are the head of its answer and its line in the log.
    own = bool(_connections(call) & spoken) and bool(re.search(r'"(GET /|HTTP/1)', call.arguments))
    own = own or (server.kind(call.on) == "log" and ', "127.0.0.1 ' in call.arguments)
    return {
        "at": round((started - began) * 1e6),
        "took": round((call.ended - started) * 1e6),
        "call": call.name,
        "arguments": short(call.arguments, call.name in _MOVES and not own),
        "result": short(call.result),
        "error": call.error,
        "step": step,
        "why": why,
    }
