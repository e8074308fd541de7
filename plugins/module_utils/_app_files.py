# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The files of an application on the host: what differs from what was asked for, and making it so.

Configuration of daemons goes through config_tree; this is for the code, data and secrets beside it.
"""

from __future__ import annotations

import base64
import dataclasses
import secrets
import string
import typing as t
from pathlib import Path

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError

#: What Python leaves beside its modules is nobody's declaration and nobody's garbage.
_IGNORED = "__pycache__"
#: A diff is for eyes: larger files and other bytes than UTF-8 are only named.
_DIFF_LIMIT = 64 * 1024
_ALPHABET = string.ascii_letters + string.digits
_KINDS = ("content", "base64", "link", "random", "directory")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One declared path. Exactly one kind; `value` is bytes, a link's target or a secret's length."""

    path: Path
    kind: str
    value: t.Any
    owner: str
    group: str
    mode: str


@dataclasses.dataclass
class Change:
    """What must happen to one path."""

    path: Path
    before: str
    after: str
    entry: t.Optional[Entry] = None


def read_entries(root: Path, declared: t.Sequence[t.Mapping[str, t.Any]]) -> list[Entry]:
    """The declarations as entries, parents first; DataError names the wrong one."""
    entries: dict[Path, Entry] = {}
    for number, item in enumerate(declared):
        where = f"files[{number}]"
        given = [kind for kind in _KINDS if item.get(kind) not in (None, False)]
        if len(given) != 1:
            raise DataError(where, f"say exactly one of {', '.join(_KINDS)}; it has {', '.join(given) or 'none'}")
        kind = given[0]
        value: t.Any = item[kind]
        if kind == "content":
            value = str(value).encode()
        elif kind == "base64":
            kind, value = "content", base64.b64decode(value)
        path = Path(item["path"])
        if ".." in path.parts:
            raise DataError(f"{where}.path", f"{path} climbs out of its directory; say the path without ..")
        path = root / path
        if path in entries:
            raise DataError(f"{where}.path", f"{path} is declared twice")
        default_mode = "0755" if kind == "directory" else ("0600" if kind == "random" else "0644")
        entries[path] = Entry(
            path=path,
            kind=kind,
            value=value,
            owner=item.get("owner") or "root",
            group=item.get("group") or "root",
            mode=item.get("mode") or default_mode,
        )
    for path in list(entries):
        for parent in path.parents:
            if root in parent.parents and parent not in entries:
                entries[parent] = Entry(parent, "directory", True, "root", "root", "0755")
    return [entries[path] for path in sorted(entries, key=lambda path: path.parts)]


def _shown(content: bytes) -> str:
    if len(content) > _DIFF_LIMIT:
        return f"({len(content)} bytes)\n"
    try:
        return content.decode()
    except UnicodeDecodeError:
        return f"({len(content)} bytes, not text)\n"


def _compare(entry: Entry) -> t.Optional[Change]:
    path = entry.path
    link = path.is_symlink()
    if entry.kind == "link":
        before = f"link to {path.readlink()}\n" if link else ("(not a link)\n" if path.exists() else "")
        after = f"link to {entry.value}\n"
        return None if before == after else Change(path, before, after, entry)
    if entry.kind == "directory":
        return None if path.is_dir() and not link else Change(path, "", "directory\n", entry)
    is_file = path.is_file() and not link
    if entry.kind == "random":
        # Once there, a secret stays: whoever has been given it must not lose it.
        if is_file and path.stat().st_size:
            return None
        return Change(path, "", "(a new secret)\n", entry)
    content = path.read_bytes() if is_file else None
    if content == entry.value:
        return None
    return Change(path, "" if content is None else _shown(content), _shown(entry.value), entry)


def plan(entries: t.Sequence[Entry]) -> list[Change]:
    """What differs; raises DataError where a directory is in the way of a file or the reverse."""
    changes = []
    for entry in entries:
        path = entry.path
        wants_directory = entry.kind == "directory"
        if path.exists() and not path.is_symlink() and path.is_dir() != wants_directory:
            there = "a directory" if path.is_dir() else "no directory"
            raise DataError(str(path), f"{there} is in the way; move it away and run again")
        change = _compare(entry)
        if change:
            changes.append(change)
    return changes


def undeclared(root: Path, entries: t.Sequence[Entry], keep: t.Sequence[str]) -> list[Path]:
    """Files and links below `root` that nobody declared, deepest first."""
    if not root.is_dir() or root.is_symlink():
        return []
    known = {entry.path for entry in entries}
    kept = {root / name for name in keep}
    found = []
    for path in root.rglob("*"):
        inside = {path, *path.parents}
        if path in known or inside & kept or any(part == _IGNORED for part in path.relative_to(root).parts):
            continue
        if path.is_symlink() or not path.is_dir():
            found.append(path)
    return sorted(found, key=lambda path: (-len(path.parts), path))


def secret(length: int) -> bytes:
    """Letters and digits only: it may be typed, quoted and posted anywhere."""
    return "".join(secrets.choice(_ALPHABET) for _number in range(length)).encode() + b"\n"
