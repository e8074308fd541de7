# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""What each running daemon has loaded: written after a success, gone with /run after a reboot."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

DIRECTORY = "/run/weblab.stacks"


class Loaded(t.NamedTuple):
    """What one unit's main process has loaded: digests of its files in the tree, and of its system files."""

    digest: str
    system: str
    pid: int
    started: int
    facts: t.Dict[str, t.Any]


def read(root: str) -> dict[str, Loaded]:
    """Unit -> what it loaded; empty when nobody knows."""
    try:
        with open(_path(root), encoding="utf-8") as file:
            return {unit: Loaded(**fields) for unit, fields in json.load(file).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write(root: str, loaded: t.Mapping[str, Loaded]) -> None:
    if not loaded:
        for remove, path in ((os.unlink, f"{_path(root)}.new"), (os.unlink, _path(root)), (os.rmdir, DIRECTORY)):
            with contextlib.suppress(OSError):
                remove(path)
        return
    os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
    temporary = f"{_path(root)}.new"
    with open(temporary, "w", encoding="utf-8", opener=_private) as file:
        json.dump({unit: item._asdict() for unit, item in loaded.items()}, file)
    os.replace(temporary, _path(root))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _path(root: str) -> str:
    return os.path.join(DIRECTORY, f"{root.strip('/').replace('/', '-')}.json")
