# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Who listens where, from an address to the process and its unit; and for how long nobody does."""

from __future__ import annotations

import ipaddress
import math
import os
import re
import socket
import threading
import time
import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils import _endpoint
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _service
from ansible_collections.weblab.stacks.plugins.module_utils._probe import _queues
from ansible_collections.weblab.stacks.plugins.module_utils._sockets import Listener, descriptors, tcp, unix

#: Seconds between two looks at the listening sockets.
_EVERY = 0.002


def conflicts(wanted: t.Sequence[t.Mapping[str, t.Any]], mains: t.Collection[int]) -> list[str]:
    """One line per wanted address that somebody else holds.

    :param mains: the main processes of the daemon itself; they and their descendants may hold the address.
    """
    listeners = [*tcp(_read("net/tcp")), *tcp(_read("net/tcp6")), *unix(_read("net/unix"))]
    held = []
    for item in wanted:
        endpoint = _endpoint.parse(item["endpoint"], "listen")
        held += [(item, endpoint, listener) for listener in listeners if collides(endpoint, listener)]
    if not held:
        return []
    holders, closed = _holders({listener.inode for _item, _wanted, listener in held})
    # A container without CAP_SYS_PTRACE hides the descriptors of other users' processes, the daemon's own among them.
    ours_may_hold = any(_descends(pid, mains) for pid in closed)
    lines = []
    for item, endpoint, listener in held:
        pid = holders.get(listener.inode, 0)
        if not _descends(pid, mains) and (pid or not ours_may_hold):
            what = f" ({item['what']})" if item.get("what") else ""
            place = f"the socket {endpoint.unix}" if endpoint.is_unix else f"port {endpoint.port}"
            line = f"{place}{what} is already taken by {_describe(pid)}; stop that, or choose another one"
            if line not in lines:
                lines.append(line)
    return lines


def still_open(paths: t.Collection[str]) -> set[str]:
    """Those of the sockets that somebody listens on."""
    return {listener.host for listener in unix(_read("net/unix"))} & set(paths) if paths else set()


def closed(endpoints: t.Iterable[_endpoint.Endpoint]) -> list[str]:
    """The addresses that nobody listens on."""
    wanted = list(endpoints)
    if not wanted:
        return []
    listeners = [*tcp(_read("net/tcp")), *tcp(_read("net/tcp6")), *unix(_read("net/unix"))]
    return [item.address for item in wanted if not any(collides(item, listener) for listener in listeners)]


class Watch:
    """For how long ports and paths that are open now are closed meanwhile, and how many connections waited there.

    What is not open again in the end was given up, and is no interruption.
    """

    def __init__(self, look: t.Callable[[], dict[t.Any, _queues.Waiting]] = _queues.waiting) -> None:
        self._look = look
        self._last = look()
        self._open = dict.fromkeys(self._last, time.monotonic())
        self._closed: dict[t.Any, float] = {}
        self._gaps: dict[t.Any, tuple[float, float, int]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._over.set()
        self._thread.join()
        self.sample()

    def sample(self) -> None:
        found, now = self._look(), time.monotonic()
        for address in self._open:
            if address not in found:
                self._closed.setdefault(address, self._open[address])
                continue
            # Another socket at the same address: it was closed between two looks, which a busy machine puts far apart.
            if not found[address].sockets & self._last[address].sockets:
                self._closed.setdefault(address, self._open[address])
            if address in self._closed:
                began, _end, waited = self._gaps.get(address, (self._closed[address], now, 0))
                self._gaps[address] = (began, now, waited + self._last[address].length)
                del self._closed[address]
            self._open[address], self._last[address] = now, found[address]

    def outage(self) -> dict[str, int | None]:
        """Milliseconds from the first address closed to all open again; None where the kernel does not tell."""
        if not self._open:
            return {"closed_ms": None, "waiting": None}
        gaps = self._gaps.values()
        closed = max((end for _began, end, _waited in gaps), default=0.0) - min((gap[0] for gap in gaps), default=0.0)
        return {"closed_ms": math.ceil(closed * 1000), "waiting": sum(waited for _began, _end, waited in gaps)}

    def _run(self) -> None:
        while not self._over.wait(_EVERY):
            self.sample()


def collides(wanted: _endpoint.Endpoint, listener: Listener) -> bool:
    """Can the two not be open at once?"""
    if wanted.unix is not None:
        return listener.host == wanted.unix
    if listener.port != wanted.port:
        return False
    # A listener on :: takes IPv4 as well, unless it says otherwise, which the table does not tell.
    hosts = _numeric(wanted.host or "")
    return listener.host == "::" or any(
        host in (listener.host, "::") or (_version(host) == _version(listener.host) and _any(host, listener.host))
        for host in hosts
    )


def _any(*hosts: str) -> bool:
    return any(ipaddress.ip_address(host).is_unspecified for host in hosts)


def _version(host: str) -> int:
    return ipaddress.ip_address(host).version if not host.startswith(("/", "@")) else 0


def _numeric(host: str) -> set[str]:
    try:
        return {str(ipaddress.ip_address(host))}
    except ValueError:
        pass
    try:
        return {str(item[4][0]) for item in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def _read(name: str) -> str:
    try:
        with open(os.path.join("/proc", name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _holders(inodes: t.Collection[int]) -> tuple[dict[int, int], list[int]]:
    """Inode of a socket -> the process that opened it first; and the processes that do not show their descriptors."""
    links = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, int] = {}
    closed = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            for _number, target in descriptors(pid):
                inode = links.get(target)
                if inode is not None:
                    found.setdefault(inode, pid)
        except PermissionError:
            closed.append(pid)
        except OSError:
            continue
    return found, closed


def _descends(pid: int, mains: t.Collection[int]) -> bool:
    while pid > 1:
        if pid in mains:
            return True
        process = _service.process(pid)
        pid = process.parent if process is not None else 0
    return False


def _describe(pid: int) -> str:
    if not pid:
        return "a process that cannot be seen from here"
    name = _read(f"{pid}/comm").strip() or "a process"
    units = re.findall(r"/([^/\n]+\.(?:service|scope))(?=[/\n]|$)", _read(f"{pid}/cgroup"))
    unit = f", {units[-1]}" if units else ""
    return f"{name} (pid {pid}{unit})"
