# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""Run a command that sees the staged tree at its final path: a private mount namespace."""

from __future__ import annotations

import typing as t

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree import _service

# $1 staged tree, $2 final path, then the command. The root directory is where a missing final path is made.
_BIND = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


def available() -> bool:
    """Does the kernel allow a private mount namespace here?"""
    return _service.run(_unshare(["mount", "--bind", "/etc", "/etc"])).code == 0


def command(staged: str, root: str, argv: t.Sequence[str]) -> list[str]:
    """``argv`` inside a namespace where ``staged`` is mounted at ``root`` (which must exist)."""
    return _unshare(["sh", "-c", _BIND, "sh", staged, root, *argv])


def _unshare(argv: t.Sequence[str]) -> list[str]:
    return ["unshare", "--mount", "--propagation", "private", "--", *argv]
