# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""What this host says about an endpoint beside its answer: the socket's file, who asks, the queue."""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
import typing as t
from pathlib import Path

if t.TYPE_CHECKING:
    from .._endpoint import Endpoint


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a verdict needs to know of the host. Empty for what is not local, or not a file."""

    #: Owner, group and mode of the file at a Unix socket's path.
    socket: dict[str, str] | None = None
    is_socket: bool = False
    #: The first part of the path that does not exist.
    missing: str | None = None
    #: The directory or socket that keeps this process out: path, owner, group, mode.
    obstacle: dict[str, str] | None = None
    #: This process's user, and its groups.
    user: str = ""
    groups: tuple[str, ...] = ()
    queue: dict[str, int] | None = None
    #: Who made the Unix socket listen: pid, uid, gid, and the user's name.
    peer: dict[str, t.Any] | None = None


def gather(
    endpoint: Endpoint,
    error: Exception | None,
    queue: dict[str, int] | None,
    credentials: t.Mapping[str, int] | None = None,
) -> Facts:
    """Look at the host, as far as ``error`` gives a reason to."""
    peer = {**credentials, "user": _user(credentials["uid"])} if credentials else None
    if endpoint.unix is None or endpoint.unix.startswith("@"):
        return Facts(queue=queue, peer=peer)
    path = Path(endpoint.unix)
    code = error.errno if isinstance(error, OSError) else None
    facts = Facts(socket=_entry(path), is_socket=_is_socket(path), queue=queue, peer=peer)
    if code == errno.ENOENT:
        return dataclasses.replace(facts, missing=str(_first_missing(path)))
    if code in (errno.EACCES, errno.EPERM):
        closed = _first_closed(path)
        seen = _entry(closed) if closed else None
        return dataclasses.replace(
            facts,
            obstacle={"path": str(closed), **seen} if closed and seen else None,
            user=_user(os.geteuid()),
            groups=tuple(sorted({_group(gid) for gid in (os.getegid(), *os.getgroups())})),
        )
    return facts


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except OSError:
        return False


def _entry(path: Path) -> dict[str, str] | None:
    """Owner, group and mode of a file by name; None where it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return {
        "owner": _user(found.st_uid),
        "group": _group(found.st_gid),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
    }


def _first_missing(path: Path) -> Path:
    """The first part of ``path`` that does not exist."""
    for part in (*reversed(path.parents), path):
        if not os.path.lexists(part):
            return part
    return path


def _first_closed(path: Path) -> Path | None:
    """The first directory of ``path`` that this process may not enter, else the socket if it may not write there."""
    for parent in reversed(path.parents):
        if not os.access(parent, os.X_OK, effective_ids=True):
            return parent
    return None if os.access(path, os.W_OK, effective_ids=True) else path


def _user(uid: int) -> str:
    import pwd

    return _name(pwd.getpwuid, uid)


def _group(gid: int) -> str:
    import grp

    return _name(grp.getgrgid, gid)


def _name(find: t.Callable[[int], t.Any], number: int) -> str:
    try:
        return str(find(number)[0])
    except KeyError:
        return str(number)
