# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The running system: systemd units, processes, what the daemons wrote to their logs."""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import os
import pwd
import stat
import time
import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils._command import run

_TICKS = os.sysconf("SC_CLK_TCK")
_LOG_TAIL = 8192
_PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,MainPID,User,Group,ActiveEnterTimestampMonotonic,Listen"


class ServiceError(Exception):
    """A command or a unit did not do what it should; the message holds its own words."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """What systemd says about one unit."""

    name: str
    load: str = "not-found"
    active: str = "inactive"
    enabled: str = ""
    pid: int = 0
    user: str = ""
    group: str = ""
    #: When it became active, in seconds since the epoch.
    since: float = 0
    #: The addresses that systemd listens on for it.
    listen: frozenset[str] = frozenset()

    @property
    def known(self) -> bool:
        return self.load not in ("not-found", "")

    @property
    def up(self) -> bool:
        return self.active in ("active", "reloading")


@dataclasses.dataclass(frozen=True)
class Process:
    """One process image: ``stack`` changes with every execve, ``started`` does not."""

    pid: int
    parent: int
    started: int
    stack: int
    title: str = dataclasses.field(default="", compare=False)

    @property
    def started_at(self) -> float:
        """Seconds since the epoch, to a hundredth or so."""
        with open("/proc/uptime", encoding="ascii") as file:
            uptime = float(file.read().split()[0])
        return time.time() - uptime + self.started / _TICKS


@dataclasses.dataclass(frozen=True)
class Running:
    """A daemon at one moment: its main process, that one's children and pipes, and daemons that it runs itself."""

    main: Process | None = None
    children: frozenset[Process] = frozenset()
    parts: t.Mapping[str, Running] = dataclasses.field(default_factory=dict)
    #: Name of a pipe that the main process has open -> when it was made, in seconds since the epoch.
    pipes: t.Mapping[str, float] = dataclasses.field(default_factory=dict)


def show(names: t.Collection[str]) -> dict[str, Unit]:
    """The state of all units, with one command."""
    units = {name: Unit(name) for name in names}
    if not units:
        return units
    done = run(["systemctl", "show", f"--property={_PROPERTIES}", "--", *units])
    for name, block in zip(units, done.output.split("\n\n")):
        lines = [line.split("=", 1) for line in block.splitlines() if "=" in line]
        fields = dict(lines)
        # Microseconds of the clock that does not jump.
        active = int(fields.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
        units[name] = Unit(
            name,
            fields.get("LoadState", "not-found"),
            fields.get("ActiveState", "inactive"),
            fields.get("UnitFileState", ""),
            int(fields.get("MainPID") or 0),
            fields.get("User", ""),
            fields.get("Group", ""),
            time.time() - time.monotonic() + active if active else 0,
            frozenset(value.partition(" ")[0] for key, value in lines if key == "Listen"),
        )
    return units


def systemctl(*arguments: str, timeout: float = 60) -> None:
    done = run(["systemctl", *arguments], timeout)
    if done.code != 0:
        raise ServiceError(f"`systemctl {' '.join(arguments)}` failed: {done.output}")


def running(pid: int) -> Running:
    """The main process and its children as they are now."""
    main = process(pid) if pid else None
    if main is None:
        return Running()
    return Running(main, children([pid]))


def children(parents: t.Collection[int]) -> frozenset[Process]:
    """All whose parent is one of these processes."""
    everyone = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return frozenset(item for item in everyone if item is not None and item.parent in parents)


def stopped(pid: int) -> bool:
    """Is the process held by a signal or a debugger, so that it does nothing at all?"""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except OSError:
        return False


def process(pid: int) -> Process | None:
    """None when there is no such process, or it is only a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            title = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return None
    if fields[0] in (b"Z", b"X"):
        return None
    return Process(pid, int(fields[1]), int(fields[19]), int(fields[25]), title)


def main_group(user: str) -> str:
    """The user's own group; root for one that is only a number."""
    try:
        return str(pwd.getpwnam(user).pw_gid)
    except KeyError:
        return "0"


def give(path: str, owner: str | None = None, group: str | None = None, mode: int | None = None) -> None:
    """Say who may open a socket that is there already; what is None stays."""
    try:
        user = -1 if owner is None else int(owner) if owner.isdigit() else pwd.getpwnam(owner).pw_uid
        members = -1 if group is None else int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                raise ServiceError(f"{path} is no socket; somebody has put something else there. Remove it")
            # Applications own the directories of their sockets: the name may lead elsewhere by now, the descriptor not.
            held = f"/proc/self/fd/{descriptor}"
            os.chown(held, user, members)
            if mode is not None:
                os.chmod(held, mode)
        finally:
            os.close(descriptor)
    except (OSError, KeyError) as error:
        raise ServiceError(f"{path} cannot be given to {owner}:{group}: {error}") from error


def pipes(pid: int) -> dict[str, float]:
    """The pipes that a process has open, and when each was made; nothing where the kernel does not show it."""
    found = {}
    for path in _descriptors(pid):
        with contextlib.suppress(OSError):
            name = os.readlink(path)
            if name.startswith("pipe:"):
                found[name] = os.stat(path).st_ctime
    return found


class Words:
    """What a unit wrote to its journal and its error logs since this moment."""

    def __init__(self, unit: str, pid: int) -> None:
        self.unit = unit
        self._since = time.time()
        self._sizes = {path: os.path.getsize(path) for path in _error_logs(pid)}

    def log(self) -> str:
        """New text in the error logs only: cheap enough to be asked in a loop."""
        parts = []
        for path, size in self._sizes.items():
            try:
                with open(path, "rb") as file:
                    file.seek(max(size, os.path.getsize(path) - _LOG_TAIL))
                    parts.append(file.read().decode("utf-8", "replace"))
            except OSError:
                continue
        return "".join(parts).strip()

    def all(self) -> str:
        since = f"--since=@{self._since - 0.5:.3f}"
        done = run(["journalctl", "--unit", self.unit, since, "--output=cat", "--no-pager", "--lines=500"])
        journal = done.output if done.code == 0 and not done.output.startswith("-- No entries") else ""
        return "\n".join(part for part in (journal, self.log()) if part)


def _error_logs(pid: int) -> set[str]:
    # The daemon itself knows best where it logs: its open files do not lie.
    found: set[str] = set()
    for descriptor in _descriptors(pid):
        with contextlib.suppress(OSError):
            path = os.readlink(descriptor)
            name = os.path.basename(path)
            if path.startswith("/") and name.endswith(".log") and "access" not in name and os.path.isfile(path):
                found.add(path)
    return found


def _descriptors(pid: int) -> list[str]:
    try:
        return [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")] if pid else []
    except OSError:
        return []
