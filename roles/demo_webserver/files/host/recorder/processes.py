# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What /proc tells of the processes behind a socket. Each of them may end at any moment: what is gone is nothing.

Manual: proc(5). Root needs CAP_SYS_PTRACE to see the files and calls of another user's process; all see its counters.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import platform
import pwd
import re
import typing as t
from pathlib import Path

PROC = Path("/proc")
#: Numbers of the calls in which a server may be found waiting; the kernel has other ones for each architecture.
_NUMBERS = {
    "x86_64": "0 read 1 write 7 poll 20 writev 23 select 35 nanosleep 40 sendfile 43 accept 45 recvfrom 47 recvmsg"
    " 61 wait4 65 semop 72 fcntl 128 rt_sigtimedwait 130 rt_sigsuspend 202 futex 220 semtimedop 230 clock_nanosleep"
    " 232 epoll_wait 270 pselect6 271 ppoll 281 epoll_pwait 288 accept4",
    "aarch64": "22 epoll_pwait 25 fcntl 63 read 64 write 66 writev 71 sendfile 72 pselect6 73 ppoll 98 futex"
    " 101 nanosleep 115 clock_nanosleep 133 rt_sigsuspend 137 rt_sigtimedwait 192 semtimedop 193 semop 202 accept"
    " 207 recvfrom 212 recvmsg 242 accept4 260 wait4",
}
_WORDS = _NUMBERS.get(platform.machine(), "").split()
_NAMES = dict(zip(_WORDS[::2], _WORDS[1::2]))
#: Their first argument is a descriptor.
_ON_DESCRIPTOR = set("read write writev recvfrom recvmsg fcntl epoll_wait epoll_pwait accept accept4".split())
_STATES = {"01": "ESTABLISHED", "03": "SYN_RECV", "06": "TIME_WAIT", "08": "CLOSE_WAIT", "0A": "LISTEN"}


@dataclasses.dataclass
class Process:
    pid: int
    ppid: int
    user: str
    name: str
    #: The sockets on which it listens, as far as they matter.
    sockets: list[str]
    threads: list[int]
    role: str = "worker"

    def shown(self) -> dict[str, t.Any]:
        return {**dataclasses.asdict(self), "threads": len(self.threads)}


def name_of(socket: t.Mapping[str, t.Any]) -> str:
    return str(socket.get("unix") or f"{socket['host']}:{socket['port']}")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _status(path: Path) -> dict[str, str]:
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in _lines(path / "status"))}


def _tcp() -> t.Iterator[tuple[int, int, str, str]]:
    """Local port, remote port, state and inode of every TCP socket."""
    for table in ("tcp", "tcp6"):
        for line in _lines(PROC / "net" / table)[1:]:
            fields = line.split()
            local, remote = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
            yield local, remote, _STATES.get(fields[3], fields[3]), fields[9]


def listening(socket: t.Mapping[str, t.Any]) -> set[str]:
    """Inodes of the listening sockets with this path or port."""
    if socket.get("unix"):
        # Bit 16 of the flags says that somebody listens.
        rows = [line.split() for line in _lines(PROC / "net" / "unix")[1:]]
        return {row[6] for row in rows if row[7:] == [socket["unix"]] and int(row[3], 16) & 0x10000}
    return {inode for local, _remote, state, inode in _tcp() if state == "LISTEN" and local == socket["port"]}


def _pids() -> list[int]:
    # systemd may hold a socket for somebody else, and is nobody's worker.
    return [int(path.name) for path in PROC.glob("[0-9]*") if path.name not in ("1", str(os.getpid()))]


def descriptors(pid: int) -> dict[str, str]:
    """What each descriptor of a process is, where the kernel lets us look."""
    found = {}
    try:
        for path in (PROC / str(pid) / "fd").iterdir():
            try:
                found[path.name] = str(path.readlink()) if hasattr(path, "readlink") else os.readlink(path)
            except OSError:
                continue
    except OSError:
        pass
    return found


def _parent(pid: int) -> int:
    return int(_status(PROC / str(pid)).get("PPid", 0))


def holders(inodes: set[str], socket: str) -> list[Process]:
    """The processes that have one of these sockets, or would be seen to have it, were their descriptors open to us."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    open_to_us, closed = {}, []
    for pid in _pids():
        has = descriptors(pid)
        if has:
            open_to_us[pid] = bool(wanted & set(has.values()))
        else:
            closed.append(pid)
    pids = {pid for pid, holds in open_to_us.items() if holds}
    pids |= {pid for pid in closed if _parent(pid) in pids}
    return [process for process in (read(pid, socket) for pid in sorted(pids)) if process]


def read(pid: int, socket: str) -> Process | None:
    status = _status(PROC / str(pid))
    if not status:
        return None
    uid = int(status["Uid"].split()[0])
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    command = " ".join(_lines(PROC / str(pid) / "cmdline")).replace("\0", " ").strip()
    return Process(pid, int(status["PPid"]), user, command or status["Name"], [socket], threads(pid))


def threads(pid: int) -> list[int]:
    return sorted(int(path.name) for path in (PROC / str(pid) / "task").glob("[0-9]*"))


def is_traced(pid: int) -> bool:
    """Whether strace has all threads of a process; one that has ended needs no strace."""
    return all(_status(PROC / str(pid) / "task" / str(thread)).get("TracerPid", "1") != "0" for thread in threads(pid))


def _call(pid: int, thread: int) -> tuple[str, str] | None:
    """The system call in which a thread waits, and on what."""
    task = PROC / str(pid) / "task" / str(thread)
    words = (_lines(task / "syscall") or [""])[0].split()
    if not words or not words[0].isdigit():
        return None
    name = _NAMES.get(words[0]) or (_lines(task / "wchan") or ["?"])[0]
    if name not in _ON_DESCRIPTOR:
        return name, ""
    what = descriptors(pid).get(str(int(words[1], 16)), "")
    return name, _socket_name(what)


def _socket_name(what: str) -> str:
    inode = re.match(r"socket:\[(\d+)\]", what)
    if not inode:
        return what.replace("anon_inode:", "")
    for local, remote, state, other in _tcp():
        if other == inode[1]:
            return f"listen :{local}" if state == "LISTEN" else f":{local} <- :{remote}"
    return "socket"


def waits_of(pid: int) -> list[dict[str, t.Any]]:
    """How many threads of a process wait in which call, on what."""
    found = [_call(pid, thread) for thread in threads(pid)]
    counted = collections.Counter(call for call in found if call)
    return [{"call": name, "on": on, "threads": number} for (name, on), number in counted.most_common()]


def snapshot(watched: list[Process]) -> dict[tuple[int, int], dict[str, t.Any]]:
    """Counters of every thread: how often it gave up the processor by itself, what it has read and written."""
    found = {}
    for process in watched:
        for thread in threads(process.pid):
            task = PROC / str(process.pid) / "task" / str(thread)
            status = _status(task)
            if not status:
                continue
            counters = {"switches": int(status["voluntary_ctxt_switches"])}
            moved = dict(line.split(": ") for line in _lines(task / "io"))
            counters.update({key: int(moved[key]) for key in ("rchar", "wchar", "syscr", "syscw") if key in moved})
            found[process.pid, thread] = {"counters": counters, "call": _call(process.pid, thread)}
    return found


def moved(
    before: t.Mapping[tuple[int, int], t.Mapping[str, t.Any]], after: t.Mapping[tuple[int, int], t.Mapping[str, t.Any]]
) -> list[dict[str, t.Any]]:
    """The threads that ran between two snapshots, and by how much their counters grew."""
    found = []
    for (pid, thread), now in after.items():
        old = before.get((pid, thread), {}).get("counters", {})
        grown = {key: value - old.get(key, 0) for key, value in now["counters"].items()}
        if any(grown.values()):
            name, on = now["call"] or ("", "")
            found.append({"pid": pid, "tid": thread, **grown, "call": name, "on": on})
    return found


def connection(socket: t.Mapping[str, t.Any], port: int, watched: list[Process]) -> dict[str, t.Any]:
    """The server's end of a connection: before a process accepts it, it has no inode, and nobody holds it."""
    for local, remote, state, inode in _tcp():
        if local == socket["port"] and remote == port:
            by = [process.pid for process in watched if f"socket:[{inode}]" in descriptors(process.pid).values()]
            return {"state": state, "accepted": inode != "0", "held_by": by}
    return {"state": "", "accepted": False, "held_by": []}
