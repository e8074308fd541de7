# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends a whole directory of the controller with the call, instead of file after file."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


def _directory(source: Path) -> list[dict[str, str]]:
    """Every file below `source`, in a stable order, without what a Python run has left there."""
    return [
        {"path": str(path.relative_to(source)), "base64": base64.b64encode(path.read_bytes()).decode()}
        for path in sorted(source.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        source = arguments.get("src")
        if source:
            found = Path(self._find_needle("files", source))
            if not found.is_dir():
                raise AnsibleActionFail(f"src: {found} is no directory; name a directory below the role's files/")
            arguments["files"] = [*_directory(found), *(arguments.get("files") or [])]
        return t.cast("dict[str, t.Any]", self._execute_module(module_args=arguments, task_vars=task_vars))
