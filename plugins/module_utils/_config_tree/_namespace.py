# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Run a command that sees the staged tree at its final path: a private mount namespace."""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils import _command
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _tree
from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._daemons import Command

# $1 staged tree, $2 final path, $3 directory and $4 its stand-in (or empty), then the command.
_PREPARE = """
set -e
mount --bind "$1" "$2"
if [ -n "$3" ]; then mount --bind "$4" "$3"; fi
shift 4
exec "$@"
"""


def available() -> bool:
    """Does the kernel allow a private mount namespace here?"""
    return _command.run(_unshare(["mount", "--bind", "/etc", "/etc"])).code == 0


def run(staged: str, root: str, command: Command, timeout: float, stand_in: str) -> _command.Completed:
    """Run ``command`` where ``staged`` is mounted at ``root`` (which must exist).

    :param stand_in: a path for the copy that takes the place of the command's private directory.
    """
    if command.private:
        _tree.remove(stand_in)
        copy_directories(command.private, stand_in)
    argv = ["sh", "-c", _PREPARE, "sh", staged, root, command.private, stand_in, *command.argv]
    return _command.run(_unshare(argv), timeout, command.env, command.stdin)


def copy_directories(source: str, target: str) -> None:
    """The directories below ``source`` without what is in them: same names, modes and owners."""
    os.makedirs(source, mode=0o755, exist_ok=True)
    for directory, _names, _files in os.walk(source):
        copy = os.path.normpath(os.path.join(target, os.path.relpath(directory, source)))
        os.mkdir(copy)
        info = os.stat(directory)
        os.chown(copy, info.st_uid, info.st_gid)
        os.chmod(copy, stat.S_IMODE(info.st_mode))


def _unshare(argv: t.Sequence[str]) -> list[str]:
    return ["unshare", "--mount", "--propagation", "private", "--", *argv]
